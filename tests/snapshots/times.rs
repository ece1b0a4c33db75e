//! The time that a save or a restore takes itself counts for each entry, and counts once.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents, Standing};
use bytecache::{Cache, CacheBuilder, Lifetime, ManualClock, Remaining, TICK};

use super::{DAY, saved};
use crate::support::until;

const LIFETIME: Duration = Duration::from_secs(3_000);
/// The time that a part of a save or restore takes. It is much longer than the ticks by which a
/// deadline is rounded.
const WAIT: Duration = Duration::from_millis(300);

/// Waits, and returns the moment after that.
fn wait() -> Instant {
    let began = Instant::now();
    until(|| began.elapsed() > WAIT);
    Instant::now()
}

/// The moment at which a policy has waited last.
type Waited = Arc<Mutex<Option<Instant>>>;

/// A policy whose walk and whose inserts take long. It names no victims.
struct Slow {
    in_walk: bool,
    in_insert: bool,
    waited: Waited,
}

impl EvictionPolicy for Slow {
    fn walk(&mut self, _most: usize, _show: &mut dyn FnMut(EntryId, Standing)) -> bool {
        if self.in_walk {
            *self.waited.lock().unwrap() = Some(wait());
        }
        true
    }
    fn insert(&mut self, _newcomer: &Newcomer) {
        if self.in_insert {
            *self.waited.lock().unwrap() = Some(wait());
        }
    }
    fn remove(&mut self, _id: EntryId, _charge: u32) {}
    fn evict(&mut self, _newcomer: Option<&Newcomer>, _residents: &mut Residents<'_>) -> Option<EntryId> {
        None
    }
    fn resize(&mut self, _ids: usize, _max_entries: usize) -> bool {
        true
    }
    fn rename(&mut self, _from: EntryId, _to: EntryId) {}
    fn bytes(&self) -> usize {
        0
    }
}

/// Returns the builder of a cache with a clock that stands still.
fn builder() -> CacheBuilder {
    Cache::builder().max_bytes(1 << 20).shards(1).clock(ManualClock::new())
}

/// Returns the builder of a cache with a slow policy, and when that has waited last.
fn slow(in_walk: bool, in_insert: bool) -> (CacheBuilder, Waited) {
    let waited = Waited::default();
    let policys = Arc::clone(&waited);
    let policy = move |_| Box::new(Slow { in_walk, in_insert, waited: Arc::clone(&policys) }) as _;
    (builder().custom_policy(policy), waited)
}

fn left(cache: &Cache, key: &str) -> Duration {
    let Some(Remaining::For(left)) = cache.ttl(key) else { panic!("{key} has no deadline") };
    left
}

#[test]
fn an_entry_loses_no_time_while_its_block_waits_for_entries() {
    let (builder_of_slow, waited) = slow(true, false);
    let cache = builder_of_slow.build().unwrap();
    cache.insert_with_ttl("token", "1", LIFETIME).unwrap();
    cache.insert_with_lifetime("session", "2", Lifetime::forever().time_to_idle(LIFETIME)).unwrap();
    let stale = Lifetime::new().ttl(LIFETIME).stale_for(LIFETIME);
    cache.insert_with_lifetime("stale", "3", stale).unwrap();
    let snapshot = saved(&cache);
    let (cache, _) = builder().restore_from(&snapshot[..], DAY).unwrap();
    let passed = waited.lock().unwrap().expect("a walk").elapsed();
    for key in ["token", "session", "stale"] {
        let left = left(&cache, key);
        assert!(left + passed + 2 * TICK >= LIFETIME, "{key} has {left:?} after {passed:?}");
        assert!(left <= LIFETIME);
    }
}

/// A reader that takes long once it has read the header.
struct SlowReader<'a> {
    header: &'a [u8],
    rest: &'a [u8],
}

impl Read for SlowReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.header.is_empty() {
            self.rest.read(buffer)
        } else {
            wait();
            self.header.read(buffer)
        }
    }
}

#[test]
fn an_entry_gains_no_time_while_a_restore_begins() {
    let cache = builder().build().unwrap();
    cache.insert_with_ttl("token", "1", LIFETIME).unwrap();
    let snapshot = saved(&cache);
    let (header, rest) = snapshot.split_at(104);
    let (cache, _) = builder().restore_from(SlowReader { header, rest }, DAY).unwrap();
    let left = left(&cache, "token");
    assert!(left + WAIT <= LIFETIME, "{left:?} although the header took {WAIT:?}");
}

#[test]
fn an_entry_gains_no_time_while_those_before_it_are_restored() {
    let cache = builder().build().unwrap();
    for key in ["a", "b", "c"] {
        cache.insert_with_ttl(key, "1", LIFETIME).unwrap();
    }
    let snapshot = saved(&cache);
    let since = Instant::now();
    let (builder_of_slow, waited) = slow(false, true);
    let (cache, _) = builder_of_slow.restore_from(&snapshot[..], DAY).unwrap();
    let passed = waited.lock().unwrap().expect("an insert").duration_since(since);
    let mut left = ["a", "b", "c"].map(|key| left(&cache, key));
    left.sort_unstable();
    // The policy has waited after each of them: twice before the last one.
    assert!(passed >= 3 * WAIT && left[0] + 2 * WAIT <= LIFETIME, "{left:?} after {passed:?}");
    assert!(left[1] + WAIT <= LIFETIME, "{left:?} after {passed:?}");
}
