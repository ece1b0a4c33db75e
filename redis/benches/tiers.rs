//! Compares reads through two tiers with plain `GET`s, and with the local cache of the client.
//!
//! ```sh
//! cargo bench -p bytecache-redis --bench tiers
//! ```
//!
//! It starts a `redis-server` on a free port. Eight tasks read values of 100 bytes. A part of the
//! requests, the hit ratio, goes to 1,000 hot keys that were read before. The others go to keys
//! that are only in Redis, each of which is read once.

use std::net::{TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytecache::Cache;
use bytecache_redis::{Remote, Tiered};
use redis::aio::MultiplexedConnection;
use redis::caching::CacheConfig;
use redis::{AsyncConnectionConfig, Client, ProtocolVersion, cmd};

const TASKS: usize = 8;
const HOT: usize = 1_000;
const VALUE: [u8; 100] = [b'x'; 100];

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Clone)]
enum Reader {
    Plain(MultiplexedConnection),
    /// The client with a local cache of its own.
    Client(MultiplexedConnection),
    Tiered(Tiered),
}

impl Reader {
    fn name(&self) -> &'static str {
        match self {
            Self::Plain(_) => "plain GET",
            Self::Client(_) => "client's cache",
            Self::Tiered(_) => "bytecache-redis",
        }
    }

    async fn read(&mut self, key: &str) {
        let bytes = match self {
            Self::Plain(connection) | Self::Client(connection) => {
                let value: redis::RedisResult<Vec<u8>> =
                    cmd("GET").arg(format!("bench:0:{key}")).query_async(connection).await;
                value.expect("the server answers").len()
            }
            Self::Tiered(tiered) => tiered.get(key).await.expect("the server answers").expect("it is there").len(),
        };
        assert_eq!(bytes, VALUE.len());
    }
}

/// A sequence of keys with a hit ratio, in thousandths. Each cold key comes once.
fn keys(hits: usize, requests: usize, first_cold: usize) -> Vec<String> {
    let mut cold = first_cold;
    let mut state = 88_172_645_463_325_252_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits fit")
    };
    let key = |_| match next() % 1_000 < hits {
        true => format!("hot{}", next() % HOT),
        false => {
            cold += 1;
            format!("cold{}", cold - 1)
        }
    };
    (0..requests).map(key).collect()
}

/// Returns the requests a second, and the 99th percentile of their times.
async fn measure(reader: &Reader, keys: Arc<Vec<String>>) -> (f64, Duration) {
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (mut reader, keys) = (reader.clone(), Arc::clone(&keys));
        tasks.spawn(async move {
            let mut times = Vec::with_capacity(keys.len() / TASKS + 1);
            for key in keys.iter().skip(task).step_by(TASKS) {
                let began = Instant::now();
                reader.read(key).await;
                times.push(began.elapsed());
                // A local hit does not suspend a task.
                tokio::task::consume_budget().await;
            }
            times
        });
    }
    let mut times: Vec<Duration> = tasks.join_all().await.concat();
    let requests = u32::try_from(times.len()).map_or(0.0, f64::from);
    let a_second = requests / began.elapsed().as_secs_f64();
    times.sort_unstable();
    (a_second, times[times.len() * 99 / 100])
}

async fn fill(connection: &mut MultiplexedConnection, cold: usize) {
    let names = (0..HOT).map(|key| format!("hot{key}")).chain((0..cold).map(|key| format!("cold{key}")));
    let names: Vec<_> = names.collect();
    for names in names.chunks(1_000) {
        let mut all = redis::pipe();
        for name in names {
            all.cmd("SET").arg(format!("bench:0:{name}")).arg(&VALUE[..]).arg("EX").arg(3_600).ignore();
        }
        all.query_async::<()>(connection).await.expect("the server answers");
    }
}

async fn run(url: String, requests: usize) {
    let client = |protocol| {
        let info = Client::open(url.as_str()).expect("the address is one").get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(protocol);
        Client::open(info.set_redis_settings(settings)).expect("the address is one")
    };
    let plain = client(ProtocolVersion::RESP3);
    let mut connection = plain.get_multiplexed_async_connection().await.expect("the server runs");
    let most_cold = 3 * requests;
    fill(&mut connection, most_cold).await;

    let size = NonZeroUsize::new(200_000).expect("it is not zero");
    let config = AsyncConnectionConfig::new().set_cache_config(CacheConfig::new().set_size(size));
    let cached = client(ProtocolVersion::RESP3).get_multiplexed_async_connection_with_config(&config).await;
    let remote = Remote::builder(plain).connect().expect("the options are valid");
    let cache = Cache::new(256 << 20).expect("the options are valid");
    let tiered = Tiered::builder(&cache, &remote, "bench").build_without_loader().expect("the options are valid");
    assert!(remote.wait_until_connected(Duration::from_secs(5)).await);
    while !tiered.is_tracked() {
        tokio::task::yield_now().await;
    }

    println!("{:<18}{:>6}{:>14}{:>12}", "", "hits", "requests/s", "p99");
    let readers = [Reader::Plain(connection), Reader::Client(cached.expect("the server runs")), Reader::Tiered(tiered)];
    for reader in &readers {
        let warm = (0..HOT).map(|key| format!("hot{key}")).collect();
        measure(reader, Arc::new(warm)).await;
        let mut first_cold = 0;
        for hits in [500, 900, 990] {
            let keys = Arc::new(keys(hits, requests, first_cold));
            first_cold += keys.iter().filter(|key| key.starts_with("cold")).count();
            let (a_second, p99) = measure(reader, keys).await;
            println!("{:<18}{:>5}%{a_second:>14.0}{:>9} us", reader.name(), hits / 10, p99.as_micros());
        }
    }
}

fn main() {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let port =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port is free").port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
    let Ok(child) = command.current_dir(std::env::temp_dir()).stdout(Stdio::null()).spawn() else {
        println!("no redis-server: left out");
        return;
    };
    let _server = Server(child);
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(10), "the server starts");
        std::thread::sleep(Duration::from_millis(10));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let requests = if is_test { 1_000 } else { 100_000 };
    runtime.expect("threads can be started").block_on(run(format!("redis://127.0.0.1:{port}"), requests));
}
