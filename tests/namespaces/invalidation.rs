//! Invalidations of namespaces: what they remove, what they detach, and what is swept.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use bytecache::testing::Inspect;
use bytecache::{Cache, Invalidation, Lifetime, Namespace};

fn open(cache: &Cache, name: &str, version: u32) -> Namespace {
    cache.namespace(name).version(version).build().unwrap()
}

#[test]
fn an_invalidation_covers_all_versions_of_a_name_and_nothing_else() {
    let cache = Cache::new(1 << 20).unwrap();
    let spaces = [open(&cache, "users", 1), open(&cache, "users", 2), open(&cache, "pages", 1)];
    spaces.iter().for_each(|space| space.insert("key", "value").unwrap());
    cache.insert("key", "value").unwrap();
    spaces[0].invalidate_all();
    assert_eq!(spaces.each_ref().map(|space| space.contains_key("key")), [false, false, true]);
    assert!(cache.contains_key("key"));
    assert_eq!(spaces.each_ref().map(|space| space.stats().invalidations), [1, 1, 0]);
    assert_eq!(cache.stats().invalidations, 2);
}

#[test]
fn a_namespace_stays_usable_through_thousands_of_invalidations() {
    let cache = Cache::new(1 << 20).unwrap();
    let space = open(&cache, "space", 0);
    for round in 0..20_000_u32 {
        space.insert("key", round.to_le_bytes()).unwrap();
        assert_eq!(space.get("key").unwrap(), round.to_le_bytes());
        space.invalidate_all();
        assert!(space.get("key").is_none());
    }
    cache.validate();
}

#[test]
fn a_load_that_began_before_an_invalidation_is_returned_and_not_stored() {
    let cache = Cache::new(1 << 20).unwrap();
    let space = open(&cache, "space", 0);
    let value = space.get_or_load("key", || {
        space.invalidate_all();
        Ok::<_, io::Error>("old")
    });
    assert_eq!(value.unwrap(), "old");
    assert!(!space.contains_key("key"));
    assert_eq!((cache.len(), space.stats().discarded_loads), (0, 1));
}

#[test]
fn a_caller_after_an_invalidation_does_not_wait_for_the_load_before_it() {
    let cache = Cache::new(1 << 20).unwrap();
    let space = open(&cache, "space", 0);
    let loads = AtomicUsize::new(0);
    let load = || {
        loads.fetch_add(1, Ordering::Relaxed);
        Ok::<_, io::Error>("new")
    };
    // It would be an error to ask for the key that this thread loads, were it the same load.
    let outer = space.get_or_load("key", || {
        space.invalidate_all();
        assert_eq!(space.get_or_load("key", load).unwrap(), "new");
        Ok::<_, io::Error>("old")
    });
    assert_eq!(outer.unwrap(), "old");
    assert_eq!(space.get_or_load("key", load).unwrap(), "new");
    assert_eq!(loads.load(Ordering::Relaxed), 1);
}

#[test]
fn a_lease_ends_with_an_invalidation_of_its_namespace_alone() {
    let cache = Cache::new(1 << 20).unwrap();
    let (users, pages) = (open(&cache, "users", 0), open(&cache, "pages", 0));
    let leases = [users.lease("key"), pages.lease("key"), cache.lease("key")];
    cache.apply(Invalidation::Namespace("users"));
    assert_eq!(leases.map(|lease| lease.store("value", Lifetime::new()).unwrap()), [false, true, true]);
    assert!(!users.contains_key("key") && pages.contains_key("key"));
    let lease = pages.lease("other");
    cache.apply(Invalidation::KeyIn("pages", b"other"));
    assert!(!lease.store("value", Lifetime::new()).unwrap());
}

#[test]
fn an_unknown_name_is_ignored_and_counted() {
    let cache = Cache::new(1 << 20).unwrap();
    let space = open(&cache, "space", 0);
    space.insert("key", "value").unwrap();
    cache.apply(Invalidation::Namespace("other"));
    cache.apply(Invalidation::KeyIn("other", b"key"));
    assert!(space.contains_key("key"));
    assert_eq!(cache.stats().unknown_namespaces, 2);
}

#[test]
fn an_invalidation_of_a_key_concerns_all_versions_and_a_reset_everything() {
    let cache = Cache::new(1 << 20).unwrap();
    let spaces = [open(&cache, "users", 1), open(&cache, "users", 2), open(&cache, "pages", 0)];
    spaces.iter().for_each(|space| space.insert("key", "value").unwrap());
    cache.insert("key", "value").unwrap();
    cache.apply(Invalidation::KeyIn("users", b"key"));
    assert_eq!(spaces.each_ref().map(|space| space.contains_key("key")), [false, false, true]);
    assert!(cache.contains_key("key"));
    cache.apply(Invalidation::Reset);
    assert_eq!((cache.len(), spaces[2].contains_key("key"), cache.contains_key("key")), (0, false, false));
}

#[test]
fn maintain_sweeps_what_was_invalidated_and_keeps_the_rest() {
    let cache = Cache::builder().max_bytes(4 << 20).shards(1).build().unwrap();
    let (old, kept) = (open(&cache, "old", 0), open(&cache, "kept", 0));
    for key in 0..10_000_u32 {
        old.insert(key.to_le_bytes(), [0; 32]).unwrap();
    }
    for key in 0..100_u32 {
        kept.insert(key.to_le_bytes(), [1; 32]).unwrap();
        cache.insert(key.to_le_bytes(), [2; 32]).unwrap();
    }
    let before = cache.len();
    assert_eq!(before, 10_200, "nothing was evicted");
    old.invalidate_all();
    assert_eq!(cache.len(), before);
    cache.maintain();
    assert!(cache.len() > 200, "a call of maintain does a bounded amount of work");
    // A second invalidation during a sweep is swept by the next one.
    old.insert("again", "value").unwrap();
    old.invalidate_all();
    (0..20).for_each(|_| _ = cache.maintain());
    assert_eq!(cache.len(), 200);
    assert!((0..100_u32).all(|key| kept.contains_key(key.to_le_bytes()) && cache.contains_key(key.to_le_bytes())));
    assert_eq!((old.stats().removals, kept.stats().removals), (10_001, 0));
    cache.validate();
}

#[test]
fn outdated_entries_leave_by_the_policy_without_maintain() {
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap();
    let space = open(&cache, "space", 0);
    let fill = |from: u32| (from..from + 5_000).for_each(|key| space.insert(key.to_le_bytes(), [0; 128]).unwrap());
    fill(0);
    space.invalidate_all();
    (1..6).for_each(|round| fill(round * 5_000));
    let stats = space.stats();
    assert!(stats.evictions > 5_000);
    let held = stats.inserts - stats.evictions - stats.removals - stats.expirations;
    assert_eq!(held, cache.len() as u64);
    cache.validate();
}

#[test]
fn no_call_after_an_invalidation_gets_what_was_loaded_before_it() {
    const CHANGES: u64 = 3_000;
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap();
    let space = open(&cache, "space", 0);
    // What the store has, and what it had at the last invalidation that has ended.
    let (store, invalidated) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for reader in 0..3 {
            let (space, store, invalidated) = (&space, &store, &invalidated);
            scope.spawn(move || {
                let mut least = 0;
                while least < CHANGES {
                    least = invalidated.load(Ordering::Acquire);
                    let load = || Ok::<_, io::Error>(store.load(Ordering::Acquire).to_le_bytes());
                    let value = match reader {
                        0 => space.get("key").map(|value| <[u8; 8]>::try_from(&*value).unwrap()),
                        _ => Some((*space.get_or_load("key", load).unwrap()).try_into().unwrap()),
                    };
                    if let Some(value) = value.map(u64::from_le_bytes) {
                        assert!(value >= least, "{value} is older than {least}");
                    }
                }
            });
        }
        for change in 1..=CHANGES {
            store.store(change, Ordering::Release);
            space.invalidate_all();
            invalidated.store(change, Ordering::Release);
            if change % 64 == 0 {
                cache.maintain();
                thread::yield_now();
            }
        }
    });
    cache.validate();
}
