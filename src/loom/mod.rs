//! Models: short programs on the code that ships. loom explores their schedules.
//!
//! ```text
//! RUSTFLAGS="--cfg bytecache_loom" cargo test --lib --release loom
//! ```
//!
//! Two parts are stand-ins: the epochs (`reclaim/epochs.rs`, `mod model`), and the arena's memory,
//! which loom cannot see (`ring/shadow.rs`). The words of headers are loom's own atomics, behind
//! the functions that ship. All other bytes have cells, which report an access that nothing orders.
//!
//! Each model says which faults it was seen to detect. loom explores all schedules with a few
//! preemptions, and every value that a load may return. It does not explore a load that passes a
//! later store of its thread, nor memory that is freed.
//!
//! `docs/internals/ordering.rs` says which pair of memory orders each model covers.
//!
//! # Not here
//!
//! Behaviour that one thread can see: unit tests, next to the code.

#![allow(unsafe_code, reason = "models make the token of a lock")]

use std::sync::{Arc, Weak};

use loom::model::Builder;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;

use crate::clock::ClockSource;
use crate::expiry::{Lifetime, Rules};
use crate::hash::{KeyHash, KeyHasher, StableHash};
use crate::index::{Index, LocationBits, Table};
use crate::namespace::Registry;
use crate::policy::Policy;
use crate::reclaim::{Live, Slot, WriteToken};
use crate::removal::Notifier;
use crate::ring::{Alignment, Draft, OwnedValue, Ring, RingShared, RingSize, Stream, Value};
use crate::shard::{Access, Condition, FoundEntry, Lookup, NoShard, Options, Room, Shard, ShardConfig, TouchLog};
use crate::units::{EntryId, LANES, Location, Stamps, Tick};

/// Explores all schedules with at most `preemptions` switches away from a thread that could go on.
/// Two to four detect every fault that was tried, within seconds.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    explore_some(preemptions, usize::MAX, model);
}

/// Like [`explore`], but explores at most `schedules` schedules. For models of three threads, of
/// which all schedules take minutes.
fn explore_some(preemptions: usize, schedules: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    builder.max_permutations = Some(schedules);
    builder.check(model);
}

/// Chunks of a small ring: four entries each.
const CHUNK_SHIFT: u32 = 6;
const VALUE_BYTES: usize = 11;

/// The part that readers share: the searching part of a shard, as it ships.
type Readers = Lookup;

/// The data of the holder of a shard's lock. Its steps come in the order of `shard/write.rs`.
struct Writer {
    index: Index,
    ring: Ring,
    token: WriteToken,
}

const HASHER: StableHash = StableHash::with_seed(0);

fn hash(key: u8) -> KeyHash {
    KeyHash::new(HASHER.hash_bytes(&[key]))
}

fn bytes(value: u8) -> [u8; VALUE_BYTES] {
    [value; VALUE_BYTES]
}

/// Returns the key with the largest hash. Its home is the last one in a table of any size.
fn last_key() -> u8 {
    (0..=u8::MAX).max_by_key(|&key| hash(key).get()).expect("keys")
}

/// Returns a table of one bucket, and a ring whose `chunks` chunks are in use.
fn store(chunks: u32) -> (Writer, Arc<Readers>) {
    store_of_size(chunks, 1, 1)
}

/// Like [`store`], with a table of `size` buckets that may get any size up to `max_size`.
fn store_of_size(chunks: u32, size: usize, max_size: usize) -> (Writer, Arc<Readers>) {
    drop(Slot::take()); // This thread registers here.
    let mut ring = Ring::new(RingSize::fixed(chunks as usize), CHUNK_SHIFT, Alignment::new(1).unwrap()).unwrap();
    let table = Arc::new(Table::new(size, max_size, LocationBits::for_arena(ring.usual_bytes())).unwrap());
    (0..chunks).for_each(|_| assert!(ring.put_to_use()));
    let readers = Readers { table: Arc::clone(&table), ring: Arc::clone(ring.shared()) };
    // SAFETY: the model has one writer, which stands for the holder of the lock and is not shared.
    let token = unsafe { WriteToken::new() };
    let mut writer = Writer { index: Index::new(table), ring, token };
    writer.next_chunk();
    (writer, Arc::new(readers))
}

impl Writer {
    /// Seals the open chunk, and opens the first free one.
    fn next_chunk(&mut self) {
        assert!(self.ring.open_next(Stream::Fresh, None), "no free chunk");
    }

    fn write(&mut self, key: u8, value: u8, stamps: &Stamps) -> Location {
        let draft = Draft { key: &[key], value: &bytes(value), stamps };
        self.ring.append(Stream::Fresh, &self.ring.layout(&draft), &draft).expect("room in the chunk")
    }

    fn insert(&mut self, key: u8, value: u8) {
        self.insert_with(key, value, &Stamps::NONE);
    }

    fn insert_with(&mut self, key: u8, value: u8, stamps: &Stamps) {
        let location = self.write(key, value, stamps);
        let lane = self.index.free_lane(hash(key)).expect("a free lane");
        self.index.publish(lane, hash(key), location);
    }

    fn find(&self, key: u8) -> (EntryId, Location) {
        let candidates = self.index.table().own_candidates(hash(key));
        let mut entries = candidates.filter_map(|found| Some((found.lane().id(), found.live(&self.token)?)));
        let found = entries.find(|&(_, live)| self.ring.entry(live).key == [key]);
        found.map(|(id, live)| (id, live.location())).expect("the writer's own entry")
    }

    fn update(&mut self, key: u8, value: u8) {
        let (id, before) = self.find(key);
        let location = self.write(key, value, &Stamps::NONE);
        self.index.replace(id, location);
        self.ring.kill(before);
    }

    fn remove(&mut self, key: u8) {
        let (id, location) = self.find(key);
        self.index.erase(id, Some(hash(key)));
        self.ring.kill(location);
    }

    /// Takes back chunks that nobody holds any more.
    fn collect(&mut self) {
        self.ring.reclaim();
    }

    /// Opens a free chunk and fills it. Fails if somebody can still read its former bytes.
    fn fill_free_chunk(&mut self) {
        self.next_chunk();
        b"wxyz".iter().for_each(|&key| self.insert(key, 0xff));
    }
}

impl Readers {
    fn found<'a>(&'a self, key: u8, slot: &'a mut Slot) -> Option<FoundEntry<'a>> {
        self.find(hash(key), &[key], slot, || Tick::new(0), |_, _, _| Some(())).map(|(found, ())| found)
    }

    /// Returns the value under `key`, after reading it twice under one hold.
    fn view(&self, key: u8) -> Option<u8> {
        let mut slot = Slot::take();
        let found = self.found(key, &mut slot)?;
        let first = whole(found.value());
        thread::yield_now();
        // A second access, for loom to see.
        assert_eq!(self.ring.arena().entry(found.live()).value, bytes(first));
        Some(first)
    }

    /// Returns a [`Value`] of `key`, and whether it is pinned.
    fn value(&self, key: u8) -> Option<(Value, bool)> {
        let mut slot = Slot::take();
        Some(match self.hold(&self.found(key, &mut slot)?) {
            OwnedValue::Pinned(value) => (value, true),
            OwnedValue::Copied(value) => (value, false),
        })
    }
}

/// Reads a whole value and returns its byte. All bytes of a value are the same.
fn whole(value: &[u8]) -> u8 {
    assert!(value.len() == VALUE_BYTES && value.iter().all(|&byte| byte == value[0]), "a torn value: {value:?}");
    value[0]
}

/// Creates an empty shard with as few chunks as a shard has.
fn small_shard(config: &ShardConfig) -> Arc<Shard> {
    drop(Slot::take()); // This thread registers here.
    let mut budget = Shard::min_budget(config);
    loop {
        match Shard::new(&ShardConfig { budget, ceiling: budget, ..config.clone() }) {
            Ok(shard) => return Arc::new(shard),
            Err(NoShard::TooSmall) => budget += 1 << 10,
            Err(NoShard::OutOfMemory) => panic!("out of memory"),
        }
    }
}

fn put(shard: &Shard, key: u8, value: u8) {
    let stored =
        shard.write(|writer| writer.store(hash(key), &[key], &bytes(value), Condition::Always, &Lifetime::new()));
    stored.expect("space");
}

fn get(shard: &Shard, key: u8) -> Option<u8> {
    let mut slot = Slot::take();
    shard.find_served(hash(key), &[key], Access::Peek, &mut slot).map(|found| whole(found.value()))
}

/// Returns the configuration of most shards of models. Without deadlines.
fn config() -> ShardConfig {
    let registry = Arc::new(Registry::new(1 << 16, false));
    ShardConfig {
        budget: 1 << 16,
        ceiling: 1 << 16,
        max_entry_bytes: 1 << 13,
        shard_bits: 0,
        options: Options {
            alignment: Alignment::new(1).unwrap(),
            expected_entry_bytes: None,
            expected_buckets: None,
            hasher: KeyHasher::custom(HASHER),
            factory: Arc::new(|context| Policy::S3Fifo.build(&context)),
            rules: Rules::default(),
            clock: ClockSource::System,
        },
        notifier: Arc::new(Notifier::new(None, Arc::clone(&registry), 1 << 13)),
        registry,
        sampler: None,
        room: Arc::new(Room::new()),
    }
}

mod chunks;
mod idle;
mod loads;
mod publishing;
mod relay;
mod saves;
mod sweeps;

mod touches {
    use super::*;

    const ONE: EntryId = EntryId::new(1);
    const TWO: EntryId = EntryId::new(2);

    fn drain(log: &TouchLog) -> Vec<EntryId> {
        let mut drained = Vec::new();
        log.drain(|id| drained.push(id));
        drained
    }

    fn push(log: &Arc<TouchLog>, id: EntryId) -> thread::JoinHandle<bool> {
        let log = Arc::clone(log);
        thread::spawn(move || log.push(0, id))
    }

    /// Fails if `TouchLog::push` takes a place with a load and a store, not one step.
    #[test]
    fn touches_that_meet_no_drain_all_arrive() {
        explore(3, || {
            let log = Arc::new(TouchLog::new(1, 2));
            let pushes = [push(&log, ONE), push(&log, TWO)];
            let here = log.push(0, EntryId::new(3));
            let taken = pushes.map(|push| push.join().unwrap());
            let mut drained = drain(&log);
            drained.sort();
            let taken = [(taken[0], ONE), (taken[1], TWO), (here, EntryId::new(3))];
            let expected: Vec<_> = taken.into_iter().filter(|&(taken, _)| taken).map(|(_, id)| id).collect();
            assert_eq!(expected.len(), 2, "two places, three touches");
            assert_eq!(drained, expected);
        });
    }

    /// Fails if `TouchLog::drain` leaves the ids in their places.
    #[test]
    fn a_touch_arrives_at_most_once_however_often_the_log_is_drained() {
        explore(3, || {
            let log = Arc::new(TouchLog::new(1, 2));
            let pushes = [push(&log, ONE), push(&log, TWO)];
            let mut drained = drain(&log);
            drained.extend(drain(&log));
            let taken = pushes.map(|push| push.join().unwrap());
            drained.extend(drain(&log));
            for (taken, id) in taken.into_iter().zip([ONE, TWO]) {
                let arrived = drained.iter().filter(|&&drained| drained == id).count();
                assert!(arrived <= usize::from(taken), "{id:?} came {arrived} times");
            }
            assert!(drained.iter().all(|id| [ONE, TWO].contains(id)));
        });
    }
}
