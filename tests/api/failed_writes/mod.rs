//! A write that fails leaves nothing older under its key: neither an entry nor a load that could
//! bring one back.
//!
//! The tests combine every operation that stores with every error that it can meet, and with every
//! earlier state of the key.

mod scene;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, Error, Lifetime, LoadError, Loaded, ManualClock, RemovalCause, TICK, Update};
use scene::{Failure, HOUR, KEY, Present, Scene, panicking, without_room_for_a_wheel};

use crate::support::{Gate, Hand, alone, assert_nothing_is_left};

const ZERO: Lifetime = Lifetime::new().ttl(Duration::ZERO);

/// An operation that stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Insert,
    InsertWithTtl,
    InsertWithLifetime,
    InsertIfAbsent,
    InsertIfAbsentWithLifetime,
    Replace,
    ReplaceWithLifetime,
    Update,
    UpdateWithLifetime,
    ReplaceIf,
    Swap,
    SetTtl,
}

impl Operation {
    const ALL: [Self; 12] = [
        Self::Insert,
        Self::InsertWithTtl,
        Self::InsertWithLifetime,
        Self::InsertIfAbsent,
        Self::InsertIfAbsentWithLifetime,
        Self::Replace,
        Self::ReplaceWithLifetime,
        Self::Update,
        Self::UpdateWithLifetime,
        Self::ReplaceIf,
        Self::Swap,
        Self::SetTtl,
    ];

    /// Returns `true` if the operation can fail in this way.
    fn can_meet(self, failure: Failure) -> bool {
        match failure {
            Failure::TooLarge => self != Self::SetTtl,
            Failure::NoRun => true,
            Failure::NoWheel => matches!(
                self,
                Self::InsertWithTtl
                    | Self::InsertWithLifetime
                    | Self::InsertIfAbsentWithLifetime
                    | Self::ReplaceWithLifetime
                    | Self::UpdateWithLifetime
                    | Self::SetTtl
            ),
        }
    }

    fn is_if_absent(self) -> bool {
        matches!(self, Self::InsertIfAbsent | Self::InsertIfAbsentWithLifetime)
    }

    fn is_if_present(self) -> bool {
        matches!(self, Self::Replace | Self::ReplaceWithLifetime)
    }

    fn apply(self, cache: &Cache, value: &[u8]) -> Result<bool, Error> {
        let lifetime = Lifetime::new().time_to_idle(HOUR);
        match self {
            Self::Insert => cache.insert(KEY, value).map(|()| true),
            Self::InsertWithTtl => cache.insert_with_ttl(KEY, value, HOUR).map(|()| true),
            Self::InsertWithLifetime => cache.insert_with_lifetime(KEY, value, lifetime).map(|()| true),
            Self::InsertIfAbsent => cache.insert_if_absent(KEY, value),
            Self::InsertIfAbsentWithLifetime => cache.insert_if_absent_with_lifetime(KEY, value, lifetime),
            Self::Replace => cache.replace(KEY, value),
            Self::ReplaceWithLifetime => cache.replace_with_lifetime(KEY, value, lifetime),
            Self::Update => cache.update(KEY, |_| Update::Store(value)),
            Self::UpdateWithLifetime => cache.update(KEY, |_| Update::StoreFor(value, lifetime)),
            Self::ReplaceIf => cache.replace_if(KEY, "old", value),
            Self::Swap => cache.swap(KEY, value).map(|_| true),
            Self::SetTtl => cache.set_ttl(KEY, HOUR),
        }
    }

    /// Returns the operation's expected result (`Err(())` for an error), and `true` if it leaves
    /// the key as it was.
    fn expected(self, failure: Failure, present: Present) -> (Result<bool, ()>, bool) {
        let is_fresh = present == Present::Fresh;
        match failure {
            // Nothing has the expected value.
            Failure::TooLarge if self == Self::ReplaceIf && !is_fresh => (Err(()), true),
            _ if self == Self::ReplaceIf && !is_fresh => (Ok(false), true),
            Failure::TooLarge => (Err(()), self.is_if_absent() && is_fresh),
            _ if self.is_if_absent() && is_fresh => (Ok(false), true),
            _ if self.is_if_present() && !is_fresh => (Ok(false), false),
            _ if self == Self::SetTtl && !is_fresh => (Ok(false), true),
            _ => (Err(()), false),
        }
    }
}

fn rejections(cache: &Cache) -> [u64; 3] {
    let stats = cache.stats();
    [stats.rejected_key_too_long, stats.rejected_too_large, stats.rejected_no_space]
}

fn check(operation: Operation, failure: Failure, present: Present, is_loading: bool) {
    let what = format!("{operation:?}, {failure:?}, over {present:?}, loading: {is_loading}");
    // `set_ttl` writes the entry again. The old entry is large, because a small one would find
    // room.
    let scene = Scene::with(failure, failure == Failure::NoRun && operation == Operation::SetTtl, false);
    let held = scene.prepare(failure, present);
    let gate = Gate::new();
    let load = is_loading.then(|| scene.load(Loaded::Value(b"loaded".to_vec()), &gate));
    let cache = &scene.cache;
    let before = rejections(cache);

    let result = operation.apply(cache, &scene.new);
    let (expected, is_as_before) = operation.expected(failure, present);
    assert_eq!(result.clone().map_err(|_| ()), expected, "{what}");
    let mut rejected = before;
    match result {
        Ok(_) => {}
        Err(Error::TooLarge { .. }) => rejected[1] += 1,
        Err(Error::Rejected) => rejected[2] += 1,
        Err(other) => panic!("{what}: {other:?}"),
    }
    assert_eq!(rejections(cache), rejected, "{what}");
    if is_as_before {
        assert_eq!(cache.contains_key(KEY), present == Present::Fresh, "{what}");
        assert_eq!(cache.get_or_stale(KEY).is_some(), matches!(present, Present::Fresh | Present::Stale), "{what}");
        assert!(scene.told.lock().unwrap().is_empty(), "{what}");
    } else {
        scene.assert_gone(failure, present, &what);
    }
    if let Some(mut load) = load {
        gate.open();
        let Poll::Ready(answer) = load.poll() else { panic!("{what}: the load has not ended") };
        assert_eq!(answer.unwrap(), *b"loaded", "{what}");
        assert_eq!(cache.stats().discarded_loads, u64::from(!is_as_before), "{what}");
        assert!(is_as_before || !cache.contains_key(KEY), "{what}: the load was stored");
    }
    drop(held);
    // No absence is remembered either, unless the negative entry was left as it was.
    let again = scene.cache.get_or_load(KEY, || Ok::<_, &str>("again"));
    assert_eq!(again.is_err(), is_as_before && present == Present::Negative, "{what}");
    scene.assert_sound();
}

#[test]
fn a_write_that_is_too_large_leaves_nothing_older() {
    let _alone = alone();
    check_all(Failure::TooLarge, &[Present::Nothing, Present::Fresh, Present::Stale, Present::Negative]);
}

#[test]
fn a_write_that_finds_no_space_leaves_nothing_older() {
    let _alone = alone();
    check_all(Failure::NoRun, &[Present::Nothing, Present::Fresh, Present::Stale, Present::Negative]);
}

#[test]
fn a_first_deadline_that_finds_no_room_for_a_wheel_leaves_nothing_older() {
    let _alone = alone();
    // A cache with deadlines would have a wheel already.
    check_all(Failure::NoWheel, &[Present::Nothing, Present::Fresh]);
}

fn check_all(failure: Failure, presents: &[Present]) {
    for operation in Operation::ALL.into_iter().filter(|operation| operation.can_meet(failure)) {
        for &present in presents {
            check(operation, failure, present, false);
            // The key of a negative entry is not loaded. A refresh needs a mark, which needs a
            // wheel.
            let can_be_loading = match present {
                Present::Negative => false,
                Present::Fresh => failure != Failure::NoWheel,
                _ => true,
            };
            if can_be_loading {
                check(operation, failure, present, true);
            }
        }
    }
}

#[test]
fn an_entry_that_the_policy_would_choose_next_is_told_of_once() {
    let _alone = alone();
    for operation in
        [Operation::Insert, Operation::Replace, Operation::InsertWithTtl, Operation::Update, Operation::Swap]
    {
        let scene = Scene::with(Failure::NoRun, false, true);
        let held = scene.prepare(Failure::NoRun, Present::Fresh);
        let error = operation.apply(&scene.cache, &scene.new).unwrap_err();
        assert_eq!(error, Error::Rejected);
        // An entry is not evicted if that cannot make room for the write.
        assert_eq!(*scene.told.lock().unwrap(), [(scene.old.clone(), RemovalCause::Replaced)], "{operation:?}");
        scene.assert_gone(Failure::NoRun, Present::Fresh, "chosen by the policy");
        drop(held);
        scene.assert_sound();
    }
}

#[test]
fn an_entry_that_is_evicted_for_its_own_update_is_told_of_once() {
    let _alone = alone();
    for operation in
        [Operation::Insert, Operation::Replace, Operation::InsertWithTtl, Operation::Update, Operation::Swap]
    {
        let scene = Scene::with(Failure::NoRun, false, true);
        drop(scene.prepare(Failure::NoRun, Present::Fresh));
        operation.apply(&scene.cache, &scene.new).unwrap();
        assert_eq!(*scene.told.lock().unwrap(), [(scene.old.clone(), RemovalCause::Evicted)], "{operation:?}");
        scene.assert_sound();
    }
}

#[test]
fn a_key_that_is_too_long_has_nothing_older() {
    let _alone = alone();
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap();
    cache.insert(KEY, "value").unwrap();
    let small = Cache::builder().max_bytes(64 << 10).shards(1).build().unwrap();
    let (too_long, too_large) = (vec![7; 70_000], vec![7; small.max_entry_bytes() + 1]);
    for (cache, key) in [(&cache, &too_long), (&small, &too_large)] {
        // The load of such a key is not shared, and the writes during the load do not end it.
        let loaded = cache.get_or_load(key, || {
            let errors = [
                cache.insert(key, "new").unwrap_err(),
                cache.insert_if_absent(key, "new").unwrap_err(),
                cache.replace(key, "new").unwrap_err(),
                cache.insert_with_ttl(key, "new", HOUR).unwrap_err(),
                cache.update(key, |_| Update::Store("new")).unwrap_err(),
                cache.replace_if(key, "old", "new").unwrap_err(),
                cache.swap(key, "new").unwrap_err(),
                cache.increment(key, 1, Lifetime::new()).unwrap_err(),
            ];
            let is_long = |error: &Error| matches!(error, Error::KeyTooLong { bytes: 70_000, .. });
            let is_large = |error: &Error| matches!(error, Error::TooLarge { .. });
            assert!(if key.len() == 70_000 { errors.iter().all(is_long) } else { errors.iter().all(is_large) });
            assert!(!cache.set_ttl(key, HOUR).unwrap());
            Ok::<_, &str>("loaded")
        });
        assert_eq!(loaded.unwrap(), *b"loaded");
        assert_eq!(cache.stats().removals, 0);
        assert_nothing_is_left(cache);
    }
    assert_eq!((rejections(&cache), rejections(&small)), ([9, 0, 0], [0, 9, 0]));
    assert_eq!(cache.get(KEY).unwrap(), *b"value");
}

#[test]
fn a_write_in_which_the_policy_panics_leaves_nothing_older() {
    let _alone = alone();
    type Write = fn(&Cache);
    let writes: [Write; 2] = [
        |cache| drop(cache.insert(KEY, "new")),
        |cache| drop(cache.insert_with_lifetime(KEY, "new", ZERO.stale_for(HOUR))),
    ];
    for write in writes {
        let panics = Arc::new(AtomicBool::new(false));
        let builder = Cache::builder().max_bytes(1 << 20).shards(1);
        let cache = {
            let panics = Arc::clone(&panics);
            builder.custom_policy(move |context| panicking(&context, &panics)).build().unwrap()
        };
        // The policy inserts this entry when the next store begins, and then it panics.
        cache.insert("another", "value").unwrap();
        let gate = Gate::new();
        let waits = gate.clone();
        let mut load = Hand::new(cache.get_or_load_async(KEY, async || {
            waits.await;
            Ok::<_, &str>("loaded")
        }));
        assert!(load.poll().is_pending());
        panics.store(true, Ordering::Relaxed);
        assert!(catch_unwind(AssertUnwindSafe(|| write(&cache))).is_err());
        panics.store(false, Ordering::Relaxed);
        gate.open();
        assert!(matches!(load.poll(), Poll::Ready(Ok(value)) if value == *b"loaded"));
        assert!(!cache.contains_key(KEY), "the load was stored");
        drop(load);
        assert_nothing_is_left(&cache);
    }
}

// Lifetimes of zero.

#[test]
fn what_has_expired_already_needs_no_wheel() {
    let _alone = alone();
    let scene = Scene::new(Failure::NoWheel);
    let cache = &scene.cache;
    type Write = fn(&Cache) -> bool;
    let writes: [(Write, RemovalCause); 8] = [
        (|cache| cache.insert_with_ttl(KEY, "new", Duration::ZERO).is_ok(), RemovalCause::Replaced),
        (|cache| cache.insert_with_lifetime(KEY, "new", ZERO).is_ok(), RemovalCause::Replaced),
        (
            |cache| cache.insert_with_lifetime(KEY, "new", Lifetime::new().time_to_idle(Duration::ZERO)).is_ok(),
            RemovalCause::Replaced,
        ),
        (|cache| cache.replace_with_lifetime(KEY, "new", ZERO).unwrap(), RemovalCause::Replaced),
        (|cache| cache.set_ttl(KEY, Duration::ZERO).unwrap(), RemovalCause::Expired),
        // With a stale period, the value has to be kept, which needs a wheel.
        (|cache| cache.insert_with_lifetime(KEY, "new", ZERO.stale_for(HOUR)).is_err(), RemovalCause::Replaced),
        (|cache| cache.replace_with_lifetime(KEY, "new", ZERO.stale_for(HOUR)).is_err(), RemovalCause::Replaced),
        (|cache| cache.set_ttl(KEY, HOUR).is_err(), RemovalCause::Replaced),
    ];
    for (number, (write, cause)) in writes.into_iter().enumerate() {
        cache.insert(KEY, &scene.old).unwrap();
        scene.told.lock().unwrap().clear();
        assert!(write(cache), "write {number}");
        assert!(!cache.contains_key(KEY) && cache.get_or_stale(KEY).is_none(), "write {number}");
        assert_eq!(*scene.told.lock().unwrap(), [(scene.old.clone(), cause)], "write {number}");
    }
    scene.told.lock().unwrap().clear();
    // The key is absent, so the value is stored, and has expired at once.
    assert!(cache.insert_if_absent_with_lifetime(KEY, "new", ZERO).unwrap());
    assert!(!cache.replace_with_lifetime(KEY, "new", ZERO).unwrap() && !cache.set_ttl(KEY, Duration::ZERO).unwrap());
    // A loader's results are treated alike: a value with a lifetime of zero, and an absence that is
    // not to be remembered.
    let answer = cache.get_or_load(KEY, || Ok::<_, &str>(Loaded::ValueFor("loaded", ZERO)));
    assert_eq!(answer.unwrap(), *b"loaded");
    assert!(cache.get_or_load(KEY, || Ok::<_, &str>(Loaded::<&str>::Absent)).is_err());
    assert!(!cache.contains_key(KEY));
    assert!(scene.told.lock().unwrap().is_empty());
    assert_eq!((rejections(cache), cache.memory().wheels), ([0, 0, 3], 0));
    scene.assert_sound();
}

#[test]
fn a_stale_period_of_the_cache_keeps_what_has_expired_already() {
    let _alone = alone();
    let cache = without_room_for_a_wheel(|| Cache::builder().max_bytes(1 << 20).shards(1).stale_for(HOUR));
    for (write, is_done) in [
        (cache.insert(KEY, "old").and_then(|()| cache.set_ttl(KEY, Duration::ZERO)), false),
        (cache.insert(KEY, "old").and_then(|()| cache.replace_with_lifetime(KEY, "new", ZERO)), false),
        (
            cache
                .insert(KEY, "old")
                .and_then(|()| cache.replace_with_lifetime(KEY, "new", ZERO.stale_for(Duration::ZERO))),
            true,
        ),
    ] {
        assert_eq!(write.is_ok(), is_done);
        assert!(cache.get_or_stale(KEY).is_none());
    }
    assert_eq!(cache.memory().wheels, 0);
}

#[test]
fn what_has_expired_already_is_gone_on_ticks_that_cannot_be_recorded_too() {
    let _alone = alone();
    for before_the_end in 0..5 {
        let clock = ManualClock::new();
        clock.set(TICK * (u32::MAX - before_the_end));
        let cache = Cache::builder().max_bytes(1 << 20).shards(1).clock(clock).build().unwrap();
        cache.insert_with_ttl("another", "value", HOUR).unwrap();
        cache.insert_with_ttl(KEY, "value", Duration::ZERO).unwrap();
        assert!(!cache.contains_key(KEY));
        cache.insert_with_ttl(KEY, "value", HOUR).unwrap();
        assert!(cache.set_ttl(KEY, Duration::ZERO).unwrap());
        assert!(!cache.contains_key(KEY));
        cache.validate();
    }
}

#[test]
fn a_store_that_is_declined_makes_no_wheel() {
    let _alone = alone();
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap();
    cache.insert(KEY, "value").unwrap();
    assert!(!cache.insert_if_absent_with_lifetime(KEY, "new", Lifetime::new().ttl(HOUR)).unwrap());
    assert!(!cache.replace_with_lifetime("absent", "new", Lifetime::new().ttl(HOUR)).unwrap());
    assert_eq!(cache.memory().wheels, 0);
    assert!(cache.replace_with_lifetime(KEY, "new", Lifetime::new().ttl(HOUR)).unwrap());
    assert!(cache.memory().wheels > 0);
}

// Results of loads.

#[test]
fn a_load_whose_result_cannot_be_stored_leaves_nothing_older() {
    let _alone = alone();
    for failure in [Failure::TooLarge, Failure::NoRun, Failure::NoWheel] {
        for present in [Present::Nothing, Present::Fresh, Present::Stale] {
            if failure == Failure::NoWheel && present != Present::Nothing {
                continue; // A refresh and a stale entry need a wheel.
            }
            let what = format!("{failure:?}, over {present:?}");
            let scene = Scene::new(failure);
            let held = scene.prepare(failure, present);
            let gate = Gate::new();
            let given = Loaded::ValueFor(scene.new.clone(), Lifetime::new().ttl(HOUR));
            let mut load = scene.load(given, &gate);
            let before = rejections(&scene.cache);
            gate.open();
            let Poll::Ready(answer) = load.poll() else { panic!("{what}: the load has not ended") };
            assert!(answer.unwrap() == *scene.new, "{what}");
            drop(load);
            scene.assert_gone(failure, present, &what);
            let rejected: u64 = rejections(&scene.cache).iter().sum::<u64>() - before.iter().sum::<u64>();
            assert_eq!(rejected, 1, "{what}");
            drop(held);
            scene.assert_sound();
        }
    }
}

#[test]
fn what_cannot_be_remembered_of_a_load_leaves_nothing_older() {
    let _alone = alone();
    let scene = Scene::new(Failure::NoWheel);
    let loader = scene.cache.loader().error_ttl(HOUR).build(|_| Err::<&str, _>("down")).unwrap();
    for _ in 0..2 {
        // There is no room for the deadline of a remembered failure, nor for that of a negative
        // entry.
        assert!(matches!(loader.get(KEY), Err(LoadError::Failed(_))));
        let answer = scene.cache.get_or_load(KEY, || Ok::<_, &str>(Loaded::<&str>::AbsentFor(HOUR)));
        assert!(answer.unwrap_err().is_absent());
    }
    assert_eq!((rejections(&scene.cache), scene.cache.stats().negative_hits), ([0, 0, 4], 0));
    scene.assert_sound();
}

#[test]
fn a_load_that_is_not_shared_leaves_nothing_that_had_expired() {
    let _alone = alone();
    let scene = Scene::new(Failure::TooLarge);
    // Loads may occupy at most an eighth of the cache.
    let mut loading: Vec<_> = (0..2_000_u32)
        .map(|key| {
            Hand::new(scene.cache.get_or_load_async(key.to_le_bytes(), async || {
                Gate::new().await;
                Ok::<_, &str>("never")
            }))
        })
        .collect();
    assert!(loading.iter_mut().all(|load| load.poll().is_pending()));
    let unshared = scene.cache.stats().unshared_loads;
    assert!(unshared > 0);
    for brings_nothing in [false, true] {
        drop(scene.prepare(Failure::TooLarge, Present::Stale));
        // A failure brings no newer value, so the stale entry stays.
        assert!(scene.cache.get_or_load(KEY, || Err::<&str, _>("down")).is_err());
        assert!(scene.cache.get_or_stale(KEY).is_some());
        let given = if brings_nothing { Loaded::Absent } else { Loaded::Value("loaded") };
        assert_eq!(scene.cache.get_or_load(KEY, || Ok::<_, &str>(given)).is_err(), brings_nothing);
        scene.assert_gone(Failure::TooLarge, Present::Stale, "not shared");
        // A value that was inserted while the load ran stays.
        let answer = scene.cache.get_or_load(KEY, || {
            scene.cache.insert(KEY, "newer").unwrap();
            Ok::<_, &str>("loaded")
        });
        assert_eq!(answer.unwrap(), *b"loaded");
        assert_eq!(scene.cache.get(KEY).unwrap(), *b"newer");
    }
    drop(loading);
    scene.assert_sound();
}
