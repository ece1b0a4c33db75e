//! With one shard and one thread, `Policy::Lru` is exactly LRU. Each request misses if and only if
//! it misses in a model that holds as many bytes.
//!
//! The tests run on the generated trace, and on the trace `twitter52_a` if `BYTECACHE_TRACES` names
//! a folder of traces. README.md says where these come from.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

use bytecache::policy::Request;
use bytecache::{Cache, Policy};
use bytecache_tools::collection::Collection;

/// LRU by its definition: a hit makes the entry the newest, and the oldest entry is evicted for
/// space.
#[derive(Default)]
struct Lru {
    /// The time of the last access and the charge of each key.
    entries: HashMap<u64, (u64, usize)>,
    by_time: BTreeMap<u64, u64>,
    bytes: usize,
    time: u64,
}

impl Lru {
    fn access(&mut self, key: u64) -> bool {
        self.time += 1;
        let Some((time, _)) = self.entries.get_mut(&key) else { return false };
        self.by_time.remove(time);
        *time = self.time;
        self.by_time.insert(self.time, key);
        true
    }

    fn insert(&mut self, key: u64, charge: usize) {
        self.entries.insert(key, (self.time, charge));
        self.by_time.insert(self.time, key);
        self.bytes += charge;
    }

    fn evict_to(&mut self, bytes: usize) {
        while self.bytes > bytes {
            let (_, key) = self.by_time.pop_first().expect("bytes are left");
            self.bytes -= self.entries.remove(&key).expect("both maps know it").1;
        }
    }
}

/// Returns the charge of an entry as documented: header, key and value, rounded up to a multiple of
/// 4.
fn charge(value_len: usize) -> usize {
    let header = if value_len <= 65_535 { 4 } else { 12 };
    (header + 8 + value_len).next_multiple_of(4)
}

/// Lock that lets one test run at a time. Readers of any cache in the process can delay reclamation
/// in all of them.
static ALONE: Mutex<()> = Mutex::new(());

fn assert_exact(requests: &[Request], max_bytes: usize) {
    let _alone = ALONE.lock();
    let cache = Cache::builder().max_bytes(max_bytes).shards(1).policy(Policy::Lru).build().unwrap();
    let mut lru = Lru::default();
    let bytes = vec![b'v'; cache.max_entry_bytes()];
    let (mut misses, mut lru_misses, mut count) = (0, 0, 0_u64);
    for &Request { hash: key, charge: size } in requests {
        let value = &bytes[..(size as usize).min(bytes.len() - 8)];
        count += 1;
        lru_misses += u64::from(!lru.access(key));
        if cache.view(key.to_le_bytes(), |_| ()).is_none() {
            misses += 1;
            cache.insert(key.to_le_bytes(), value).unwrap();
            lru.insert(key, charge(value.len()));
            lru.evict_to(cache.memory().live);
        }
        assert_eq!(misses, lru_misses, "request {count} of key {key}");
    }
    assert_eq!(cache.len(), lru.entries.len());
    assert_eq!(cache.stats().dropped_touches, 0);
    assert!(cache.stats().evictions > count / 100, "the cache is too large for this test");
    println!("{count} requests, {:.4} missed by both", misses as f64 / count as f64);
}

#[test]
fn the_generated_trace_misses_as_often_as_lru_does() {
    let mut requests = Collection::Generated.requests("mixture").unwrap();
    // An entry larger than a chunk, which has 4 KiB here, may evict entries that LRU would keep.
    requests.iter_mut().for_each(|request| request.charge = request.charge.min(3_000));
    assert_exact(&requests, 512 << 10);
}

#[test]
fn twitter52_a_misses_as_often_as_lru_does() {
    let Some(traces) = Collection::recorded() else {
        println!("skipped: BYTECACHE_TRACES names no folder of traces");
        return;
    };
    assert_exact(&traces.requests("twitter52_a").unwrap(), 4 << 20);
}
