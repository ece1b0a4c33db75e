//! Listeners that use caches. The stack stays bounded, each operation ends, and the listener is
//! notified once of each entry that leaves.

use std::cell::Cell;
use std::collections::HashSet;
use std::panic::panic_any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytecache::testing::Inspect;
use bytecache::{Cache, CacheBuilder, Error, Policy, RemovalCause};

use crate::support::alone;

/// Most notifications that one operation makes of entries that left through its listener's writes.
const NESTED: usize = 1_000;

/// The action of a listener when it is notified.
type Act = Box<dyn Fn(&Listened, &[u8], RemovalCause) + Send + Sync>;

/// A cache with a record of its listener's notifications. All stored values are distinct.
#[derive(Default)]
struct Listened {
    /// Emptied at the end of a test. Otherwise the listener would keep the cache alive.
    cache: Mutex<Option<Cache>>,
    next: AtomicU64,
    stored: Mutex<HashSet<u64>>,
    told: Mutex<Vec<u64>>,
    /// While `true`, the listener only records its notifications.
    is_passive: AtomicBool,
}

fn id(value: &[u8]) -> u64 {
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

impl Listened {
    fn new(options: impl FnOnce(CacheBuilder) -> CacheBuilder, act: Act) -> Arc<Self> {
        thread_local! {
            static IS_INSIDE: Cell<bool> = const { Cell::new(false) };
        }
        let listened = Arc::new(Self::default());
        let listener = {
            let listened = Arc::downgrade(&listened);
            move |key: &[u8], value: &[u8], cause| {
                let Some(listened) = listened.upgrade() else { return };
                listened.told.lock().unwrap().push(id(value));
                if !listened.is_passive.load(Ordering::SeqCst) {
                    assert!(!IS_INSIDE.replace(true), "a listener within a listener");
                    act(&listened, key, cause);
                    IS_INSIDE.set(false);
                }
            }
        };
        let builder = Cache::builder().max_bytes(100 << 10).shards(1).policy(Policy::Fifo);
        let cache = options(builder).on_removal(listener).build().unwrap();
        *listened.cache.lock().unwrap() = Some(cache);
        listened
    }

    fn cache(&self) -> Cache {
        self.cache.lock().unwrap().clone().unwrap()
    }

    /// Stores a distinct value of `len` bytes. Returns `true` if it was stored.
    fn try_insert(&self, key: impl AsRef<[u8]>, len: usize) -> bool {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let stored = self.cache().insert(key, [&id.to_le_bytes()[..], &vec![1; len - 8]].concat());
        match &stored {
            Ok(()) => assert!(self.stored.lock().unwrap().insert(id)),
            Err(error) => assert_eq!(*error, Error::Rejected),
        }
        stored.is_ok()
    }

    fn insert(&self, key: impl AsRef<[u8]>, len: usize) {
        self.try_insert(key, len);
    }

    /// Returns the number of notifications while `work` runs.
    fn told_during(&self, work: impl FnOnce()) -> usize {
        let before = self.told.lock().unwrap().len();
        work();
        self.told.lock().unwrap().len() - before
    }

    /// Returns the number of entries that have left without a notification yet.
    fn waiting(&self) -> usize {
        self.stored.lock().unwrap().len() - self.cache().len() - self.told.lock().unwrap().len()
    }

    /// Checks that the listener was notified once of each entry that has left.
    #[track_caller]
    fn assert_told_once(&self) {
        self.is_passive.store(true, Ordering::SeqCst);
        self.cache().maintain();
        assert_eq!(self.waiting(), 0);
        let told = self.told.lock().unwrap();
        let stored = self.stored.lock().unwrap();
        let distinct: HashSet<_> = told.iter().copied().collect();
        assert!(distinct.len() == told.len() && distinct.is_subset(&stored));
        self.cache().for_each(|_, value| assert!(!distinct.contains(&id(value)) && stored.contains(&id(value))));
        assert_eq!(self.cache().stats().listener_panics, 0);
        self.cache().validate();
    }

    fn fill(&self, entries: u64, len: usize) {
        self.is_passive.store(true, Ordering::SeqCst);
        (0..entries).for_each(|key| assert!(self.try_insert(key.to_le_bytes(), len)));
        self.is_passive.store(false, Ordering::SeqCst);
    }
}

/// Runs a test with a small stack, which a few nested calls of listeners would overflow.
fn with_small_stack(test: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(512 << 10).spawn(test).unwrap().join().unwrap();
}

#[test]
fn a_listener_that_inserts_what_was_evicted_is_told_of_a_thousand_more_and_of_the_rest_next_time() {
    let _alone = alone();
    for policy in [Policy::Fifo, Policy::Lru, Policy::default()] {
        with_small_stack(move || {
            let insert = |listened: &Listened, key: &[u8], _| listened.insert(key, 100);
            let listened = Listened::new(|builder| builder.policy(policy), Box::new(insert));
            listened.fill(2_000, 100);
            let mut waited = 0;
            for key in 3_000..3_020_u64 {
                let mut stored = 0;
                let told = listened.told_during(|| {
                    let before = listened.cache().stats().evictions;
                    listened.insert(key.to_le_bytes(), 100);
                    stored = listened.cache().stats().evictions - before;
                });
                let waits = listened.waiting();
                assert!(told <= waited + 10 + NESTED, "{policy}: {told} notifications");
                assert_eq!((told + waits) as u64, waited as u64 + stored, "{policy}");
                waited = waits;
            }
            assert!(waited > 0, "{policy}");
            listened.assert_told_once();
        });
    }
}

#[test]
fn what_waits_is_told_by_maintain_or_the_next_write_or_when_the_cache_goes() {
    let _alone = alone();
    type Next = fn(&Listened);
    let nexts: [(&str, Next); 4] = [
        ("maintain", |listened| _ = listened.cache().maintain()),
        ("remove", |listened| assert!(!listened.cache().remove("nothing"))),
        ("an insert", |listened| assert!(listened.cache().insert("last", 0_u64.to_le_bytes()).is_ok())),
        ("drop", |listened| drop(listened.cache.lock().unwrap().take())),
    ];
    for (name, next) in nexts {
        let insert = |listened: &Listened, key: &[u8], _| listened.insert(key, 100);
        let listened = Listened::new(|builder| builder, Box::new(insert));
        listened.fill(2_000, 100);
        (5_000..5_010_u64).for_each(|key| listened.insert(key.to_le_bytes(), 100));
        let waiting = listened.waiting();
        assert!(waiting >= 5, "{waiting}");
        // Reads send no notifications.
        assert_eq!(listened.told_during(|| drop(listened.cache().get(5_000_u64.to_le_bytes()))), 0);
        listened.is_passive.store(true, Ordering::SeqCst);
        let told = listened.told_during(|| next(&listened));
        assert!((waiting..waiting + 3).contains(&told), "{name}: {told} notifications of {waiting}");
    }
}

#[test]
fn stores_of_a_listener_are_rejected_when_too_much_waits_and_what_is_older_goes() {
    let _alone = alone();
    let refused = Arc::new(AtomicU64::new(0));
    let insert = {
        let refused = Arc::clone(&refused);
        move |listened: &Listened, key: &[u8], _| {
            // The listener inserts twice for each entry that leaves. Without a bound, the waiting
            // entries would double with each round.
            for name in [[key, b"'"].concat(), key.to_vec()] {
                let name = &name[name.len().saturating_sub(9)..];
                if !listened.try_insert(name, 100) {
                    refused.fetch_add(1, Ordering::SeqCst);
                    assert!(!listened.cache().contains_key(name), "an older value is left");
                }
            }
        }
    };
    let listened = Listened::new(|builder| builder, Box::new(insert));
    listened.fill(2_000, 100);
    let mut most = 0;
    for key in 5_000..5_020_u64 {
        listened.insert(key.to_le_bytes(), 100);
        most = listened.waiting().max(most);
    }
    assert!(refused.load(Ordering::SeqCst) > 0);
    // Waiting entries are bounded by 256 KiB, and each takes more than its 109 bytes. The entries
    // that the last store evicts come on top.
    assert!((500..2_500).contains(&most), "{most} wait");
    listened.assert_told_once();
}

#[test]
fn listeners_of_two_caches_that_write_to_each_other_take_turns() {
    let _alone = alone();
    with_small_stack(|| {
        let pair: Arc<Mutex<Vec<Arc<Listened>>>> = Arc::default();
        for number in 0..2 {
            let others = Arc::clone(&pair);
            let pass_on = move |_: &Listened, key: &[u8], _| {
                let other = others.lock().unwrap().get(1 - number).cloned();
                other.unwrap().insert(key, 100);
            };
            let listened = Listened::new(|builder| builder, Box::new(pass_on));
            pair.lock().unwrap().push(listened);
        }
        let [first, second] = [0, 1].map(|number| Arc::clone(&pair.lock().unwrap()[number]));
        first.fill(2_000, 100);
        second.fill(2_000, 100);
        // Without an eviction, an insert of one cache leads to none in the other.
        let mut most = 0;
        for key in 5_000..5_010_u64 {
            let (waited, mut by_second) = (first.waiting(), 0);
            let by_first =
                first.told_during(|| by_second = second.told_during(|| first.insert(key.to_le_bytes(), 100)));
            assert!(by_first + by_second <= waited + 10 + NESTED, "{by_first} and {by_second}");
            most = most.max(by_second);
        }
        assert!(most > 100);
        first.assert_told_once();
        second.assert_told_once();
        pair.lock().unwrap().clear();
    });
}

#[test]
fn whatever_a_listener_calls_ends_and_is_told_of_once() {
    let _alone = alone();
    type Call = fn(&Listened, &[u8]);
    let calls: [(&str, Call); 8] = [
        ("clear", |listened, _| listened.cache().clear()),
        ("retain", |listened, key| listened.cache().retain(|other, _| other[0] != key[0])),
        ("take", |listened, key| drop(listened.cache().take([key[0].wrapping_add(1), key[1]]))),
        ("remove", |listened, key| _ = listened.cache().remove([key[0], key[1].wrapping_add(1)])),
        ("maintain", |listened, _| _ = listened.cache().maintain()),
        ("get_or_load", |listened, key| {
            let load = || Err::<[u8; 1], _>(listened.try_insert([key[0] ^ 1, key[1]], 100));
            assert!(listened.cache().get_or_load([key[0], key[1] ^ 1], load).is_ok() || key.len() == 2);
        }),
        ("for_each", |listened, key| listened.cache().for_each(|_, _| _ = listened.cache().remove(key))),
        ("threads", |listened, key| {
            thread::scope(|scope| {
                scope.spawn(|| listened.cache().remove([key[0], key[1] ^ 3]));
            });
        }),
    ];
    for (name, call) in calls {
        for cause in [RemovalCause::Evicted, RemovalCause::Removed, RemovalCause::Replaced] {
            let begun = AtomicU64::new(0);
            let act = move |listened: &Listened, key: &[u8], told: RemovalCause| {
                if told == cause && begun.fetch_add(1, Ordering::SeqCst) < 20 {
                    call(listened, key);
                }
            };
            let listened = Listened::new(|builder| builder, Box::new(act));
            for number in 0..3_000_u64 {
                let key = [(number * 7 % 40) as u8, (number * 11 % 41) as u8];
                listened.insert(key, 100);
                if number % 10 == 0 {
                    listened.cache().remove([key[1] % 40, key[0] % 41]);
                }
            }
            println!("{name} for {cause:?}");
            listened.assert_told_once();
        }
    }
}

/// A panic payload whose drop panics with another payload.
struct Thrown(u32);

impl Drop for Thrown {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Self(self.0 - 1));
        }
    }
}

#[test]
fn panics_of_listeners_are_counted_also_when_what_they_threw_panics() {
    let _alone = alone();
    let (told, handle) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None::<Cache>)));
    let listener = {
        let (told, handle) = (Arc::clone(&told), Arc::clone(&handle));
        move |key: &[u8], _: &[u8], _| {
            told.lock().unwrap().push(key.to_vec());
            let cache = handle.lock().unwrap().clone().unwrap();
            cache.remove([key, b"'"].concat());
            panic_any(Thrown(2));
        }
    };
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).on_removal(listener).build().unwrap();
    *handle.lock().unwrap() = Some(cache.clone());
    for key in ["a", "a'", "a''", "b", "c", "c'"] {
        cache.insert(key, "value").unwrap();
    }
    assert!(cache.remove("a"));
    assert!(cache.remove("b") && cache.remove("c"));
    let expected: Vec<Vec<u8>> = ["a", "a'", "a''", "b", "c", "c'"].iter().map(|key| key.as_bytes().to_vec()).collect();
    assert_eq!(*told.lock().unwrap(), expected);
    assert_eq!((cache.stats().listener_panics, cache.len()), (6, 0));
    handle.lock().unwrap().take();
}

#[test]
fn what_one_operation_made_leave_comes_first_and_then_what_its_listener_did_in_order() {
    let _alone = alone();
    let (told, handle) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None::<Cache>)));
    let listener = {
        let (told, handle) = (Arc::clone(&told), Arc::clone(&handle));
        move |key: &[u8], _: &[u8], _| {
            let cache = handle.lock().unwrap().clone().unwrap();
            let mut told = told.lock().unwrap();
            told.push(String::from_utf8(key.to_vec()).unwrap());
            for digit in [b"1", b"2"] {
                // The entry is gone when `remove` returns, and the listener is notified later.
                assert_eq!(cache.remove([key, digit].concat()), key.len() < 3);
            }
        }
    };
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).on_removal(listener).build().unwrap();
    *handle.lock().unwrap() = Some(cache.clone());
    let expected = ["a", "a1", "a2", "a11", "a12", "a21", "a22"];
    expected.iter().for_each(|key| cache.insert(key, "value").unwrap());
    assert!(cache.remove("a"));
    assert_eq!(*told.lock().unwrap(), expected);
    handle.lock().unwrap().take();
}

#[test]
fn threads_whose_listener_writes_tell_of_everything_once() {
    let _alone = alone();
    let insert = |listened: &Listened, key: &[u8], cause| {
        if cause == RemovalCause::Evicted {
            listened.insert(key, 100);
        }
    };
    let listened = Listened::new(|builder| builder.max_bytes(400 << 10).shards(2), Box::new(insert));
    listened.fill(4_000, 100);
    thread::scope(|scope| {
        for thread in 0..3_u64 {
            let listened = &listened;
            scope.spawn(move || {
                for number in 0..100 {
                    listened.insert((thread * 1_000 + number).to_le_bytes(), 100);
                    listened.cache().remove((thread * 1_000 + number / 2).to_le_bytes());
                }
            });
        }
    });
    listened.assert_told_once();
}
