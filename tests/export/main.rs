//! The metrics of a cache: a scrape by Prometheus, and the facade `metrics`.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[cfg(any(feature = "metrics", feature = "prometheus"))]
use std::time::Duration;

#[cfg(any(feature = "metrics", feature = "prometheus"))]
use bytecache::{Advisor, Cache, ManualClock};

#[cfg(feature = "metrics")]
mod facade;
#[cfg(feature = "prometheus")]
mod scrape;

/// A cache with an advisor that has something to say.
#[cfg(any(feature = "metrics", feature = "prometheus"))]
fn advised() -> (Cache, ManualClock) {
    let clock = ManualClock::new();
    let builder = Cache::builder().max_bytes(8 << 20).shards(1).clock(clock.clone());
    let cache = builder.advisor(Advisor::new().share(1.0)).build().unwrap();
    for key in 0..40_000_u32 {
        let key = if key % 4 == 0 { b"secret".to_vec() } else { key.to_le_bytes().to_vec() };
        if cache.get(&key).is_none() {
            cache.insert(&key, [7; 300]).unwrap();
        }
    }
    clock.advance(Duration::from_secs(10));
    read_last(&cache);
    (cache, clock)
}

/// Reads the keys that were stored last.
#[cfg(any(feature = "metrics", feature = "prometheus"))]
fn read_last(cache: &Cache) {
    let found = (38_000..40_000_u32).filter(|key| cache.get(key.to_le_bytes()).is_some()).count();
    assert!(found > 1_000, "{found}");
}
