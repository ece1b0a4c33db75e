//! A read-through cache for threads. Each key is loaded by one caller at a time. The calls below
//! show the results when the store has no value, changes, or fails.
//!
//! ```sh
//! cargo run --example read_through
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use bytecache::{Cache, LoadError, Loaded};

/// A slow store that is sometimes down.
#[derive(Default)]
struct Store {
    rows: Mutex<HashMap<String, String>>,
    reads: AtomicUsize,
    is_down: AtomicBool,
}

impl Store {
    fn read(&self, key: &str) -> Result<Option<String>, std::io::Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(20));
        if self.is_down.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("the store is down"));
        }
        Ok(self.rows().get(key).cloned())
    }

    fn write(&self, key: &str, row: &str) {
        self.rows().insert(key.into(), row.into());
    }

    fn rows(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.rows.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let store = Arc::new(Store::default());
    store.write("user:1", "Ada");
    let cache = Cache::new(16 << 20)?;

    // The loader's settings apply to all its loads.
    let users = {
        let store = Arc::clone(&store);
        cache
            .loader()
            .ttl(Duration::from_millis(200))
            .negative_ttl(Duration::from_millis(100)) // The absence of a user is remembered.
            .stale_for(Duration::from_secs(60)) // Older values are read while the store is down.
            .wait_limit(Duration::from_secs(1)) // For callers that wait for another caller's load.
            .build(move |key| {
                let key = std::str::from_utf8(key).map_err(std::io::Error::other)?;
                store.read(key).map(Loaded::from)
            })?
    };

    // Thirty-two threads read at once. One of them loads from the store.
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| assert_eq!(users.get("user:1").as_deref().ok(), Some(&b"Ada"[..])));
        }
    });
    println!("32 threads, {} read of the store", store.reads.load(Ordering::Relaxed));

    // A key without a value is loaded once, and its absence is remembered.
    for _ in 0..10 {
        assert!(matches!(users.get("user:2"), Err(LoadError::Absent)));
    }
    println!("10 reads of an absent user, {} read of the store", store.reads.load(Ordering::Relaxed) - 1);

    // Write to the store first, and then remove the key. The result of a load that began earlier is
    // not stored.
    store.write("user:1", "Ada Lovelace");
    cache.remove("user:1");
    println!("after a change: {}", String::from_utf8_lossy(&users.get("user:1")?));

    // The value has expired and the store is down, so the call returns the older value.
    store.is_down.store(true, Ordering::Relaxed);
    thread::sleep(Duration::from_millis(300));
    println!("while the store is down: {}", String::from_utf8_lossy(&users.get("user:1")?));
    match users.get("user:3") {
        Err(LoadError::Failed(error)) => println!("a user that is not cached: {error}"),
        other => return Err(format!("{other:?}").into()),
    }

    // One call reads many keys. Its loader gets the missing ones.
    let answers = cache.get_or_load_many(&["user:7", "user:8"], |missing| {
        Ok::<_, std::io::Error>(missing.iter().map(|key| Some(format!("row of {key}"))).collect())
    })?;
    println!("{} rows by one call", answers.iter().flatten().count());

    let stats = cache.stats();
    println!(
        "{} loads ({} failed, {} found nothing); {} callers waited for one, {} used a remembered result",
        stats.loads, stats.load_failures, stats.loads_not_found, stats.followers, stats.negative_hits
    );
    Ok(())
}
