//! A service that starts warm: it saves its cache when it ends, and restores it when it starts.
//!
//! ```sh
//! cargo run --release --example warm_restart
//! cargo run --release --example warm_restart
//! ```
//!
//! The first run begins with an empty cache. The second run begins with the entries that the first
//! has saved, and prints a higher hit ratio from its first second on. An argument names another
//! file for the snapshot. `--forget` removes it first. The folder should be one to which nobody
//! else can write, as the service trusts the values in it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytecache::{Cache, RestoredFrom};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::Zipf;

/// The greatest age of a snapshot that the service accepts. If a user is changed while the service
/// is down, reads return the former value until the entry expires or is invalidated.
const MAX_AGE: Duration = Duration::from_secs(600);
const USERS: f64 = 1_000_000.0;
const SECONDS: u32 = 3;

/// Stands for a database, which needs a while for each query.
fn read_user(id: &[u8]) -> Result<Vec<u8>, std::io::Error> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_micros(20) {
        std::hint::spin_loop();
    }
    Ok([b"user ", id, &[b' '; 200]].concat())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (options, paths): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument == "--forget");
    let path = paths.first().map_or_else(|| PathBuf::from("target/warm_restart.snapshot"), PathBuf::from);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    if !options.is_empty() && path.exists() {
        std::fs::remove_file(&path)?;
    }

    // A service begins to read its invalidations before it restores. `MAX_AGE` limits the effect of
    // those that came between the save and this moment.
    let builder = Cache::builder().max_bytes(64 << 20).ttl(Duration::from_secs(3600));
    let cache = match builder.clone().restore(&path, MAX_AGE) {
        Ok((cache, restored)) => {
            match restored.origin {
                RestoredFrom::Snapshot => {
                    println!("{} entries restored, {} expired meanwhile", restored.entries, restored.expired)
                }
                other => println!("an empty cache: {other:?}"),
            }
            cache
        }
        // A file that cannot be read is no reason not to start. The next save replaces it.
        Err(error) => {
            println!("an empty cache: {error}");
            builder.build()?
        }
    };

    let users = cache.loader().build(read_user)?;
    let mut random = SmallRng::from_os_rng();
    let popularity = Zipf::new(USERS, 1.05)?;
    for second in 1..=SECONDS {
        let before = cache.stats();
        let end = Instant::now() + Duration::from_secs(1);
        while Instant::now() < end {
            for _ in 0..50 {
                let id: f64 = random.sample(popularity);
                users.get(id.to_bits().to_le_bytes())?;
            }
        }
        let after = cache.stats();
        let (hits, misses) = (after.hits - before.hits, after.misses - before.misses);
        let ratio = hits as f64 / (hits + misses) as f64;
        println!("second {second}: hit ratio {ratio:.3}, {} requests", hits + misses);
    }

    let saved = cache.save(&path)?;
    println!("{} entries saved to {} in {:.1?}", saved.entries, path.display(), saved.elapsed);
    Ok(())
}
