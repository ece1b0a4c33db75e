//! An instance to watch: start it twice, and change the value by `redis-cli`.
//!
//! ```sh
//! cargo run -p bytecache-redis --example instance -- first      # in one terminal
//! cargo run -p bytecache-redis --example instance -- second     # in another one
//! redis-cli SET demo:0:greeting hello EX 60                     # both print the new value
//! redis-cli DEL demo:0:greeting                                 # one of them loads it again
//! redis-cli INCR demo:generation                                # the same for all values
//! redis-cli CLIENT PAUSE 3000                                   # both go on without Redis
//! ```
//!
//! The second argument is the address of the server, and the third one ends the program after some
//! seconds.

use std::error::Error;
use std::time::{Duration, Instant};

use bytecache::Cache;
use bytecache_redis::{Remote, Tiered};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "instance".to_string());
    let address = arguments.next().unwrap_or_else(|| "redis://127.0.0.1:6379".to_string());
    let limit = arguments.next().map(|seconds| seconds.parse().map(Duration::from_secs)).transpose()?;

    let cache = Cache::new(1 << 20)?;
    let remote = Remote::builder(redis::Client::open(address)?).connect()?;
    let loader_name = name.clone();
    let demo = Tiered::builder(&cache, &remote, "demo").ttl(Duration::from_secs(30)).build(move |_key| {
        let name = loader_name.clone();
        async move {
            println!("{name}: the loader is called");
            Ok::<_, std::io::Error>(Some(format!("loaded by {name}").into_bytes()))
        }
    })?;
    if !remote.wait_until_connected(Duration::from_secs(2)).await {
        println!("{name}: no server yet, going on without it");
    }

    let began = Instant::now();
    let mut shown = (String::new(), false);
    while limit.is_none_or(|limit| began.elapsed() < limit) {
        let value = demo.get("greeting").await?;
        let text = value.map_or_else(|| "nothing".to_string(), |value| String::from_utf8_lossy(&value).into_owned());
        let state = (text, demo.is_tracked());
        if state != shown {
            let connection = if state.1 { "tracked" } else { "without Redis" };
            println!("{name}: {:?} ({connection}, {} reads of Redis)", state.0, demo.stats().redis_hits);
            shown = state;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
