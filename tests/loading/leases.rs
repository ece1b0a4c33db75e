//! Leases: what was read before a write to its key is not stored, and nothing is left behind.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytecache::{Cache, Error, Lifetime, Loaded, Remaining, Update};

use crate::support::{Gate, Hand, alone, assert_nothing_is_left, timed};

const MINUTE: Duration = Duration::from_secs(60);

fn cache() -> Cache {
    Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap()
}

#[test]
fn each_write_to_its_key_ends_a_lease() {
    let _alone = alone();
    type Write = fn(&Cache);
    let large = |cache: &Cache| assert!(cache.insert("key", vec![0; 1 << 20]).is_err());
    let writes: [Write; 15] = [
        |cache| cache.insert("key", "new").unwrap(),
        large,
        |cache| assert!(cache.insert_if_absent("key", "new").unwrap()),
        |cache| assert!(!cache.replace("key", "new").unwrap()),
        |cache| cache.insert_with_ttl("key", "new", Duration::ZERO).unwrap(),
        |cache| assert!(!cache.remove("key")),
        |cache| assert!(cache.take("key").is_none()),
        |cache| assert!(!cache.remove_if("key", |_| true)),
        |cache| assert!(cache.update("key", |_| Update::Store("new")).unwrap()),
        |cache| assert!(cache.increment("key", 1, Lifetime::new()).is_ok()),
        |cache| assert!(cache.swap("key", "new").is_ok()),
        |cache| cache.retain(|_, _| true),
        |cache| cache.clear(),
        |cache| assert!(cache.get_or_load("key", || Ok::<_, &str>("new")).is_ok()),
        |cache| assert!(cache.lease("key").store("new", Lifetime::new()).unwrap()),
    ];
    for (number, write) in writes.into_iter().enumerate() {
        let cache = cache();
        let lease = cache.lease("key");
        write(&cache);
        let before = cache.get("key");
        assert!(!lease.store("old", Lifetime::new()).unwrap(), "write {number}");
        assert_eq!(cache.get("key"), before, "write {number}");
        // A lease that begins after the write has not ended.
        assert!(cache.lease("key").store("newer", Lifetime::new()).unwrap());
        assert_eq!(cache.get("key").unwrap(), "newer");
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn what_is_no_write_to_its_key_does_not_end_a_lease() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    cache.insert_with_ttl("key", "old", MINUTE).unwrap();
    let lease = cache.lease("key");
    assert!(cache.get("key").is_some() && cache.touch("key"));
    assert!(!cache.insert_if_absent("key", "new").unwrap() && !cache.replace_if("key", "other", "new").unwrap());
    assert!(!cache.update("key", |_| Update::<&str>::Keep).unwrap());
    cache.insert("another", "value").unwrap();
    cache.remove("another");
    clock.advance(2 * MINUTE);
    cache.maintain();
    assert!(!cache.contains_key("key"));
    assert!(cache.get_or_load("key", || Err::<&str, _>("down")).is_err());
    assert!(lease.store("new", Lifetime::new().ttl(MINUTE)).unwrap());
    assert_eq!(cache.get("key").unwrap(), "new");
    assert!(matches!(cache.ttl("key"), Some(Remaining::For(left)) if left >= MINUTE));
    // It replaces what there is.
    assert!(cache.lease("key").store("newer", Lifetime::new()).unwrap());
    assert_eq!((cache.get("key").unwrap().to_vec(), cache.stats().updates), (b"newer".to_vec(), 1));
    assert_nothing_is_left(&cache);
}

#[test]
fn leases_and_loads_of_a_key_do_not_wait_for_each_other() {
    let _alone = alone();
    let cache = cache();
    let gate = Gate::new();
    let waits = gate.clone();
    let mut load = Hand::new(cache.get_or_load_async("key", async || {
        waits.await;
        Ok::<_, &str>("loaded")
    }));
    assert!(load.poll().is_pending());
    let (first, second) = (cache.lease("key"), cache.lease("key"));
    assert!(first.store("leased", Lifetime::new()).unwrap());
    gate.open();
    assert!(matches!(load.poll(), Poll::Ready(Ok(value)) if value == "loaded"));
    assert_eq!(cache.get("key").unwrap(), "leased");
    assert_eq!(cache.stats().discarded_loads, 1, "the lease was a write");
    assert!(!second.store("older", Lifetime::new()).unwrap());
    drop(load);
    // A load that finds nothing is a write as well.
    cache.remove("key");
    let lease = cache.lease("key");
    assert!(cache.get_or_load("key", || Ok::<_, &str>(Loaded::<&str>::AbsentFor(MINUTE))).is_err());
    assert!(!lease.store("older", Lifetime::new()).unwrap());
    assert_nothing_is_left(&cache);
}

#[test]
fn a_store_that_fails_removes_what_is_older_unless_the_lease_has_ended() {
    let _alone = alone();
    let cache = cache();
    let large = vec![0; 1 << 20];
    cache.insert("key", "old").unwrap();
    let (first, second) = (cache.lease("key"), cache.lease("key"));
    assert!(matches!(first.store(&large, Lifetime::new()), Err(Error::TooLarge { .. })));
    assert!(!cache.contains_key("key"));
    cache.insert("key", "new").unwrap();
    assert!(matches!(second.store(&large, Lifetime::new()), Err(Error::TooLarge { .. })));
    assert_eq!(cache.get("key").unwrap(), "new");
    let too_long = vec![0; 70_000];
    let error = cache.lease(&too_long).store("value", Lifetime::new());
    assert_eq!(error, Err(Error::KeyTooLong { bytes: 70_000, max: 65_535 }));
    assert_nothing_is_left(&cache);
}

#[test]
fn leases_are_part_of_the_memory_and_have_an_eighth_of_it_at_most() {
    let _alone = alone();
    let cache = cache();
    assert_eq!(cache.memory().flights, 0);
    let one = cache.lease("key");
    let bytes = cache.memory().flights;
    let others: Vec<_> = (0..9).map(|_| cache.lease("key")).collect();
    assert!(bytes > 0 && cache.memory().flights == bytes, "they share it");
    drop(others);
    assert_eq!(cache.memory().flights, bytes);
    drop(one);
    assert_eq!(cache.memory().flights, 0);
    let leases: Vec<_> = (0..2_000_u32).map(|key| cache.lease(key.to_le_bytes())).collect();
    assert!(cache.memory().flights <= cache.max_bytes() / 8 && cache.memory().allocated <= cache.max_bytes());
    let stored = leases.into_iter().map(|lease| lease.store("value", Lifetime::new()).unwrap());
    let stored = stored.filter(|is_stored| *is_stored).count();
    assert!(stored > 100 && stored < 2_000, "{stored}");
    assert_nothing_is_left(&cache);
}

#[test]
fn nothing_older_than_an_invalidation_is_stored_whatever_threads_do() {
    let _alone = alone();
    let cache = cache();
    // The store, whose writers invalidate after each change.
    let version = AtomicU64::new(0);
    let last_invalidated = Mutex::new(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..500 {
                let new = version.fetch_add(1, Ordering::SeqCst) + 1;
                cache.remove("key");
                *last_invalidated.lock().unwrap() = new;
                thread::yield_now();
            }
            is_over.store(true, Ordering::SeqCst);
        });
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    let lease = cache.lease("key");
                    let read = version.load(Ordering::SeqCst);
                    thread::yield_now();
                    lease.store(read.to_le_bytes(), Lifetime::new()).unwrap();
                }
            });
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    let least: u64 = *last_invalidated.lock().unwrap();
                    if let Some(value) = cache.get("key") {
                        let found = u64::from_le_bytes(value[..].try_into().unwrap());
                        assert!(found >= least, "{found} is older than {least}");
                    }
                }
            });
        }
    });
    assert_nothing_is_left(&cache);
}
