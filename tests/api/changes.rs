//! Atomic changes of one entry: exact under contention, with the deadlines that were promised, and
//! a write for loads, policies and the listener.

use core::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Recency, Residents};
use bytecache::testing::Inspect;
use bytecache::{Cache, Error, Lifetime, LoadError, Loaded, Policy, Remaining, RemovalCause, TICK, Update};

use crate::support::{Gate, Hand, alone, assert_nothing_is_left, timed};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn cache() -> Cache {
    Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap()
}

fn ttl(ttl: Duration) -> Lifetime {
    Lifetime::new().ttl(ttl)
}

fn count(cache: &Cache, key: &str) -> i64 {
    i64::from_le_bytes(cache.peek(key).unwrap()[..].try_into().unwrap())
}

// Contention.

/// `BYTECACHE_INCREMENTS` sets the number of increments, in sum.
fn increments() -> i64 {
    std::env::var("BYTECACHE_INCREMENTS").map_or(200_000, |number| number.parse().unwrap())
}

const THREADS: i64 = 16;
const COUNTERS: [&str; 3] = ["a", "b", "c"];

/// Runs `count_up` on many threads, so that each counter should count up to the result.
fn contend(count_up: impl Fn(&str) + Sync) -> i64 {
    let each = increments() / THREADS / COUNTERS.len() as i64;
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..each).for_each(|_| COUNTERS.iter().for_each(|key| count_up(key))));
        }
    });
    each * THREADS
}

#[test]
fn no_increment_is_lost_under_contention() {
    let _alone = alone();
    let cache = cache();
    let sum = contend(|key| {
        cache.increment(key, 1, Lifetime::new()).unwrap();
    });
    assert_eq!(cache.stats().evictions, 0);
    assert_eq!(COUNTERS.map(|key| count(&cache, key)), [sum; 3]);
    cache.validate();
}

#[test]
fn no_update_is_lost_under_contention() {
    let _alone = alone();
    let cache = cache();
    let sum = contend(|key| {
        let add = |old: Option<&[u8]>| {
            let old = old.map_or(0, |old| i64::from_le_bytes(old.try_into().unwrap()));
            Update::Store((old + 1).to_le_bytes())
        };
        assert!(cache.update(key, add).unwrap());
    });
    assert_eq!(cache.stats().evictions, 0);
    assert_eq!(COUNTERS.map(|key| count(&cache, key)), [sum; 3]);
    cache.validate();
}

#[test]
fn no_replacement_is_lost_under_contention() {
    let _alone = alone();
    let cache = cache();
    COUNTERS.iter().for_each(|key| cache.insert(key, 0_i64.to_le_bytes()).unwrap());
    let sum = contend(|key| {
        loop {
            let old = count(&cache, key);
            if cache.replace_if(key, old.to_le_bytes(), (old + 1).to_le_bytes()).unwrap() {
                return;
            }
        }
    });
    assert_eq!(COUNTERS.map(|key| count(&cache, key)), [sum; 3]);
    cache.validate();
}

#[test]
fn each_swapped_value_goes_to_one_caller() {
    let _alone = alone();
    let cache = cache();
    let got = thread::scope(|scope| {
        let swaps = |thread: u16| {
            let cache = &cache;
            move || {
                let swap = |number: u16| cache.swap("key", (thread << 8 | number).to_le_bytes()).unwrap();
                (0..200).filter_map(swap).map(|value| value.to_vec()).collect::<Vec<_>>()
            }
        };
        let threads: Vec<_> = (0..8).map(|thread| scope.spawn(swaps(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let mut all = got;
    all.extend(cache.take("key").map(|value| value.to_vec()));
    all.sort();
    let mut expected: Vec<_> =
        (0..8_u16).flat_map(|thread| (0..200_u16).map(move |n| (thread << 8 | n).to_le_bytes())).collect();
    expected.sort();
    assert_eq!(all, expected);
}

// The closure.

#[test]
fn an_update_runs_again_with_what_has_come_meanwhile() {
    let _alone = alone();
    let cache = cache();
    cache.insert("key", "old").unwrap();
    let mut seen = Vec::new();
    let changed = cache.update("key", |old| {
        seen.push(old.map(<[u8]>::to_vec));
        match seen.len() {
            1 => cache.insert("key", "other").unwrap(),
            2 => assert!(cache.remove("key")),
            3 => cache.insert("key", "old").unwrap(),
            // An equal value is the same.
            _ => cache.insert("key", "old").unwrap(),
        }
        Update::Store("new")
    });
    assert_eq!(changed, Ok(true));
    let values =
        ["old", "other", "", "old"].map(|value| Some(value.as_bytes().to_vec()).filter(|value| !value.is_empty()));
    assert_eq!(seen, values);
    assert_eq!(cache.get("key").unwrap(), *b"new");
}

#[test]
fn an_entry_that_expires_during_an_update_is_none_to_the_next_run() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder.stale_for(MINUTE));
    cache.insert_with_ttl("key", "old", SECOND).unwrap();
    let mut seen = Vec::new();
    let changed = cache.update("key", |old| {
        seen.push(old.map(<[u8]>::to_vec));
        clock.advance(2 * SECOND);
        Update::Store("new")
    });
    assert_eq!((changed, seen), (Ok(true), vec![Some(b"old".to_vec()), None]));
    assert_eq!(cache.ttl("key"), Some(Remaining::Forever), "a new entry");
}

#[test]
fn what_says_that_there_is_nothing_is_none() {
    let _alone = alone();
    let (cache, _clock) = timed(|builder| builder);
    let remember = || {
        let answer = cache.get_or_load("key", || Ok::<_, &str>(Loaded::<&str>::AbsentFor(MINUTE)));
        assert!(matches!(answer, Err(LoadError::Absent)));
    };
    remember();
    assert!(!cache.replace_if("key", "", "new").unwrap());
    assert!(cache.get_or_load("key", || Ok::<_, &str>("loaded")).is_err(), "it is still remembered");
    let kept = cache.update("key", |old| {
        assert_eq!(old, None);
        Update::<&str>::Keep
    });
    assert!(!kept.unwrap() && cache.get_or_load("key", || Ok::<_, &str>("loaded")).is_err());
    assert_eq!(cache.increment("key", 3, Lifetime::new()).unwrap(), 3);
    assert_eq!(cache.ttl("key"), Some(Remaining::Forever));
    cache.remove("key");
    remember();
    assert_eq!(cache.swap("key", "new").unwrap(), None);
    cache.remove("key");
    remember();
    assert!(!cache.remove_if("key", |_| panic!("there is nothing to ask about")));
    assert_eq!(cache.get_or_load("key", || Ok::<_, &str>("loaded")).unwrap(), "loaded");
}

#[test]
fn a_panic_leaves_the_entry_and_the_next_change_is_done() {
    let _alone = alone();
    let cache = cache();
    cache.insert("key", "old").unwrap();
    let update = || cache.update("key", |_| -> Update<&str> { panic!("on purpose") });
    assert!(catch_unwind(AssertUnwindSafe(update)).is_err());
    let remove = || cache.remove_if("key", |_| panic!("on purpose"));
    assert!(catch_unwind(AssertUnwindSafe(remove)).is_err());
    assert_eq!(cache.get("key").unwrap(), *b"old");
    assert!(cache.update("key", |_| Update::Store("new")).unwrap());
    assert_eq!((cache.memory().pinned, cache.stats().updates), (0, 1));
    cache.validate();
}

#[test]
fn an_entry_is_removed_if_its_value_is_refused_in_its_stale_period_too() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder.stale_for(MINUTE));
    cache.insert_with_ttl("key", "old", SECOND).unwrap();
    assert!(!cache.remove_if("key", |value| value == b"new"));
    clock.advance(2 * SECOND);
    assert!(!cache.remove_if("key", |value| value == b"new"));
    assert!(cache.get_or_stale("key").is_some());
    assert!(!cache.remove_if("key", |value| value == b"old"), "reads missed it");
    assert!(cache.get_or_stale("key").is_none());
    // What comes meanwhile is asked about.
    cache.insert("key", "old").unwrap();
    let removed = cache.remove_if("key", |value| {
        let is_old = value == b"old";
        if is_old {
            cache.insert("key", "new").unwrap();
        }
        is_old
    });
    assert!(!removed);
    assert_eq!(cache.get("key").unwrap(), *b"new");
}

// Deadlines.

/// The time that an entry has left.
fn left(cache: &Cache, key: &str) -> Duration {
    match cache.ttl(key) {
        Some(Remaining::For(left)) => left,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_deadlines_of_an_entry_are_kept() {
    let _alone = alone();
    type Change = fn(&Cache);
    let changes: [Change; 3] = [
        |cache| assert!(cache.update("key", |_| Update::Store(8_i64.to_le_bytes())).unwrap()),
        |cache| assert!(cache.replace_if("key", 7_i64.to_le_bytes(), 8_i64.to_le_bytes()).unwrap()),
        |cache| assert_eq!(cache.increment("key", 1, ttl(9 * MINUTE)).unwrap(), 8),
    ];
    for change in changes {
        let (cache, clock) = timed(|builder| builder.ttl(3 * MINUTE));
        // A time to live, a stale period and a refresh.
        let lifetime = ttl(MINUTE).stale_for(MINUTE).refresh_after(SECOND);
        cache.insert_with_lifetime("key", 7_i64.to_le_bytes(), lifetime).unwrap();
        clock.advance(10 * SECOND);
        let before = left(&cache, "key");
        change(&cache);
        assert_eq!((count(&cache, "key"), left(&cache, "key")), (8, before));
        assert!(cache.get_or_stale("key").unwrap().is_refresh_due());
        clock.advance(before);
        assert!(cache.get("key").is_none() && cache.get_or_stale("key").unwrap().is_stale());
        clock.advance(MINUTE);
        assert!(cache.get_or_stale("key").is_none());
        cache.validate();

        // A time to idle, which no change extends.
        cache.insert_with_lifetime("key", 7_i64.to_le_bytes(), Lifetime::forever().time_to_idle(MINUTE)).unwrap();
        clock.advance(50 * SECOND);
        let before = left(&cache, "key");
        change(&cache);
        assert_eq!(left(&cache, "key"), before);
        assert!(cache.touch("key") && left(&cache, "key") >= MINUTE);
        clock.advance(MINUTE + 2 * TICK);
        assert!(!cache.contains_key("key"));

        // None at all, in a cache with a default.
        cache.insert_with_lifetime("key", 7_i64.to_le_bytes(), Lifetime::forever()).unwrap();
        change(&cache);
        assert_eq!(cache.ttl("key"), Some(Remaining::Forever));
        cache.validate();
    }
}

#[test]
fn a_new_entry_gets_the_defaults_and_a_new_counter_its_lifetime() {
    let _alone = alone();
    let (cache, _clock) = timed(|builder| builder.ttl(MINUTE));
    assert!(cache.update("key", |_| Update::Store("value")).unwrap());
    assert!(left(&cache, "key") <= MINUTE + TICK);
    assert_eq!(cache.increment("counter", 1, ttl(9 * MINUTE)).unwrap(), 1);
    assert!(left(&cache, "counter") >= 9 * MINUTE);
    assert_eq!(cache.increment("other", 1, Lifetime::new()).unwrap(), 1);
    assert!(left(&cache, "other") <= MINUTE + TICK);
    assert!(cache.update("key", |_| Update::StoreFor("value", Lifetime::forever())).unwrap());
    assert_eq!(cache.ttl("key"), Some(Remaining::Forever));
    assert_eq!(cache.swap("key", "other").unwrap().unwrap(), *b"value");
    assert!(left(&cache, "key") <= MINUTE + TICK, "a swap is an insert");
    assert!(cache.update("key", |_| Update::StoreFor("value", ttl(Duration::ZERO))).unwrap());
    assert!(!cache.contains_key("key"));
}

// Errors.

#[test]
fn a_failed_change_leaves_what_is_documented() {
    let _alone = alone();
    let cache = cache();
    let large = vec![0; 1 << 20];
    cache.insert("key", "value").unwrap();
    assert_eq!(cache.increment("key", 1, Lifetime::new()), Err(Error::NotACounter { bytes: 5 }));
    assert_eq!(cache.get("key").unwrap(), *b"value");
    for (value, by) in [(i64::MAX, 1), (i64::MIN, -1)] {
        cache.insert("counter", value.to_le_bytes()).unwrap();
        assert_eq!(cache.increment("counter", by, Lifetime::new()), Err(Error::CounterOverflow { value, by }));
        assert_eq!(count(&cache, "counter"), value);
    }
    assert!(matches!(cache.replace_if("key", "other", &large), Err(Error::TooLarge { .. })));
    assert_eq!(cache.get("key").unwrap(), *b"value");
    assert!(matches!(cache.replace_if("key", "value", &large), Err(Error::TooLarge { .. })));
    assert!(!cache.contains_key("key"));
    // If the entry has changed meanwhile, the closure runs again.
    cache.insert("key", "value").unwrap();
    let mut runs = 0;
    let result = cache.update("key", |_| {
        runs += 1;
        if runs == 1 {
            cache.insert("key", "other").unwrap();
            return Update::Store(&large[..]);
        }
        Update::Store(b"new")
    });
    assert_eq!((result, runs), (Ok(true), 2));
    assert_eq!(cache.get("key").unwrap(), *b"new");
    assert!(cache.swap("key", &large).is_err() && !cache.contains_key("key"));
    let small = Cache::builder().max_bytes(1 << 20).max_entry_bytes(10).build().unwrap();
    assert_eq!(small.increment("key", 1, Lifetime::new()), Err(Error::TooLarge { bytes: 11, max: 10 }));
}

// What else hears of a change.

#[test]
fn the_listener_hears_of_each_change() {
    let _alone = alone();
    type Told = (Vec<u8>, RemovalCause);
    let log = Arc::<Mutex<Vec<Told>>>::default();
    let told = Arc::clone(&log);
    let (cache, _clock) =
        timed(|builder| builder.on_removal(move |_, value, cause| told.lock().unwrap().push((value.to_vec(), cause))));
    let take = || std::mem::take(&mut *log.lock().unwrap());
    cache.insert_with_ttl("key", "a", MINUTE).unwrap();
    cache.update("key", |_| Update::Store("b")).unwrap();
    cache.update("key", |_| Update::StoreFor("c", Lifetime::forever())).unwrap();
    cache.replace_if("key", "c", "d").unwrap();
    cache.swap("key", "e").unwrap();
    let replaced = ["a", "b", "c", "d"].map(|value| (value.as_bytes().to_vec(), RemovalCause::Replaced));
    assert_eq!(take(), replaced);
    cache.update("key", |_| Update::<&str>::Keep).unwrap();
    assert!(!cache.replace_if("key", "other", "f").unwrap() && !cache.remove_if("key", |_| false));
    assert_eq!(take(), []);
    cache.update("key", |_| Update::<&str>::Remove).unwrap();
    assert_eq!(take(), [(b"e".to_vec(), RemovalCause::Removed)]);
    cache.increment("key", 1, Lifetime::new()).unwrap();
    cache.increment("key", 1, Lifetime::new()).unwrap();
    assert!(cache.remove_if("key", |_| true));
    let counters = [(1_i64, RemovalCause::Replaced), (2, RemovalCause::Removed)];
    assert_eq!(take(), counters.map(|(value, cause)| (value.to_le_bytes().to_vec(), cause)));
    let stats = cache.stats();
    assert_eq!((stats.inserts, stats.updates, stats.removals, stats.hits, stats.misses), (2, 5, 2, 0, 0));
}

#[test]
fn a_change_detaches_the_load_of_its_key() {
    let _alone = alone();
    type Change = fn(&Cache) -> bool;
    let changes: [(Change, bool); 9] = [
        (|cache| cache.update("key", |_| Update::Store("new")).unwrap(), true),
        (|cache| cache.update("key", |_| Update::StoreFor("new", ttl(MINUTE))).unwrap(), true),
        (|cache| !cache.update("key", |_| Update::<&str>::Remove).unwrap(), true),
        (|cache| cache.increment("key", 1, Lifetime::new()).is_ok(), true),
        (|cache| cache.swap("key", "new").is_ok(), true),
        (|cache| !cache.remove_if("key", |_| true), true),
        (|cache| cache.update("key", |_| Update::Store(vec![0; 1 << 20])).is_err(), true),
        // These change nothing.
        (|cache| !cache.update("key", |_| Update::<&str>::Keep).unwrap(), false),
        (|cache| !cache.replace_if("key", "old", "new").unwrap(), false),
    ];
    for (number, (change, detaches)) in changes.into_iter().enumerate() {
        let cache = cache();
        let gate = Gate::new();
        let waits = gate.clone();
        let mut load = Hand::new(cache.get_or_load_async("key", async || {
            waits.await;
            Ok::<_, &str>("loaded")
        }));
        assert!(load.poll().is_pending());
        assert!(change(&cache), "change {number}");
        gate.open();
        assert!(matches!(load.poll(), Poll::Ready(Ok(value)) if value == *b"loaded"));
        assert_eq!(cache.stats().discarded_loads, u64::from(detaches), "change {number}");
        let is_stored = cache.get("key").is_some_and(|value| value == *b"loaded");
        assert_eq!(is_stored, !detaches, "change {number}");
        drop(load);
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn a_replacement_detaches_the_refresh_of_its_entry() {
    let _alone = alone();
    let (cache, clock) = timed(|builder| builder);
    let gate = Gate::new();
    let waits = gate.clone();
    let loader = cache.loader().refresh_after(SECOND).build_async(move |_| {
        let gate = waits.clone();
        async move {
            gate.await;
            Ok::<_, &str>("loaded")
        }
    });
    let loader = loader.unwrap();
    cache.insert_with_lifetime("key", "old", Lifetime::new().refresh_after(SECOND)).unwrap();
    clock.advance(2 * SECOND);
    let mut load = Hand::new(loader.get_async("key"));
    assert!(load.poll().is_pending());
    assert!(cache.replace_if("key", "old", "new").unwrap());
    gate.open();
    assert!(load.poll().is_ready());
    assert_eq!(cache.get("key").unwrap(), *b"new");
    assert_eq!(cache.stats().discarded_loads, 1);
}

/// A policy that records the calls that it gets.
struct Recorder(Box<dyn EvictionPolicy>, Arc<Mutex<Vec<&'static str>>>);

impl EvictionPolicy for Recorder {
    fn recency(&self) -> Recency {
        self.0.recency()
    }
    fn prepare_insert(&mut self, newcomer: &Newcomer) {
        self.1.lock().unwrap().push("insert");
        self.0.prepare_insert(newcomer);
    }
    fn insert(&mut self, newcomer: &Newcomer) {
        self.0.insert(newcomer);
    }
    fn touch(&mut self, id: EntryId) {
        self.1.lock().unwrap().push("touch");
        self.0.touch(id);
    }
    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
        self.1.lock().unwrap().push("update");
        self.0.update(id, old_charge, charge);
    }
    fn remove(&mut self, id: EntryId, charge: u32) {
        self.1.lock().unwrap().push("remove");
        self.0.remove(id, charge);
    }
    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.0.evict(newcomer, residents)
    }
    fn set_capacity(&mut self, charge: u64) {
        self.0.set_capacity(charge);
    }
    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        self.0.resize(ids, max_entries)
    }
    fn prepare_renames(&mut self, from: Range<u32>, to: Range<u32>) -> bool {
        self.0.prepare_renames(from, to)
    }
    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.0.rename(from, to);
    }
    fn end_renames(&mut self) {
        self.0.end_renames();
    }
    fn bytes(&self) -> usize {
        self.0.bytes()
    }
}

#[test]
fn the_policy_sees_a_change_as_it_sees_an_insert() {
    let _alone = alone();
    type Change = fn(&Cache);
    let told = |change: Change| {
        let calls = Arc::<Mutex<Vec<_>>>::default();
        let log = Arc::clone(&calls);
        let policy =
            move |context| Box::new(Recorder(Policy::Lru.build(&context), Arc::clone(&log))) as Box<dyn EvictionPolicy>;
        let cache = Cache::builder().max_bytes(1 << 20).shards(1).custom_policy(policy).build().unwrap();
        for _ in 0..2 {
            change(&cache);
        }
        let calls = calls.lock().unwrap();
        (calls.clone(), cache.stats().updates)
    };
    let expected = (vec!["insert", "update"], 1);
    assert_eq!(told(|cache| cache.insert("key", "value").unwrap()), expected);
    assert_eq!(told(|cache| assert!(cache.update("key", |_| Update::Store("value")).unwrap())), expected);
    assert_eq!(told(|cache| assert!(cache.increment("key", 1, Lifetime::new()).is_ok())), expected);
    assert_eq!(told(|cache| drop(cache.swap("key", "value").unwrap())), expected);
}
