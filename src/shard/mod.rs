//! One ring, its index and its policy under one write lock; readers go past the lock.
//!
//! ```text
//!   readers   table, ring, touches, time ............. lock-free, with a slot          read.rs, idle.rs, walk.rs
//!   writers   lock -> State: index, ring, policy, wheel, flights     write.rs, space.rs, expire.rs, load.rs, walk.rs
//! ```
//!
//! # Invariants
//!
//! 1. A lane of the index points to a live entry of the ring, and each live entry has one lane.
//! 2. The policy's residents are the used lanes, but for the entry that is being stored (`State::newcomer`).
//! 3. What is allocated is accounted for, and never more than the shard's budget.
//! 4. User code (a policy, a hasher) that panics under the lock leaves an empty shard behind, and no load under way that
//!    could be stored.
//! 5. A bucket with an entry that is to be removed at some tick is filed in the wheel under that tick or an earlier one.
//!
//! # Synchronization
//!
//! A writer publishes an entry by a Release store to its lane (`index/bucket.rs`), moves one by another, and
//! retires a chunk only when no lane points into it. A chunk comes back when no reader's slot names it (`reclaim/slots.rs`)
//! and no value holds it (`ring/chunk.rs`). A reader never waits; a writer waits for the lock, and never for a reader.

mod account;
mod cleaner;
mod deadlines;
mod entries;
mod estimate;
mod evictor;
mod expire;
mod flights;
mod governor;
mod grow;
mod idle;
mod large_share;
mod load;
mod lookup;
mod notice;
mod prefetch;
mod read;
mod runs;
mod space;
mod touch;
mod walk;
mod write;

use core::mem::offset_of;
use std::sync::Arc;

use account::Account;
use cleaner::Cleaner;
use deadlines::Deadlines;
use entries::Entries;
pub(crate) use estimate::PolicyBytes;
use evictor::{Evictor, NoPolicy, Pending};
use flights::Flights;
pub(crate) use flights::{KeyFlight, Outcome, Ticket};
pub(crate) use load::{Boarding, LoadResult, Negative, Reason, RefreshPermit, Waiter};
pub(crate) use lookup::{FoundEntry, Guess, Lookup, Meeting};
pub(crate) use notice::Notice;
use prefetch::PolicyHint;
pub(crate) use read::{Access, Visit};
pub(crate) use touch::TouchLog;
pub(crate) use walk::Met;
pub(crate) use write::{Condition, Stored, Writer};

use crate::clock::ClockSource;
use crate::expiry::{Rules, ShardTime, Wheel};
use crate::hash::KeyHasher;
use crate::index::{Index, LocationBits, MIN_BUCKETS, Table, TableHint};
use crate::policy::{EvictionPolicy, PolicyContext, PolicyFactory, Recency};
use crate::prefetch::LINE;
use crate::reclaim::Kept;
use crate::removal::Teller;
use crate::ring::{Alignment, Ring};
use crate::stats::{LoadCounts, Memory, Stats, WriteCounts};
use crate::sync::Mutex;
use crate::units::{LANES, MAX_ARENA_BYTES};

/// A ring has at least this many chunks, if they can be so small, and less than twice as many: fewer make space
/// coarse, more make the unused ends of chunks cost. A shard of a little less than a power of two gets 255.
const CHUNKS: usize = 200;
/// Smaller in models and under Miri, so that a few entries fill a chunk.
const MIN_CHUNK_SHIFT: u32 = if cfg!(any(bytecache_loom, miri)) { 8 } else { 12 };
const MAX_CHUNK_SHIFT: u32 = 20;
/// Fewer chunks than this leave the cleaner no choice.
const MIN_CHUNKS: usize = 8;
/// A ring has at least the chunks of so many largest entries, as chunks in use lie between free ones.
const MIN_LARGEST: usize = 2;
/// Chunks beside those of a largest entry: to write to, to keep ready, and two that a small ring gives up for its wheel.
const MIN_OTHERS: usize = 5;
/// The largest budget whose arena locations can address.
pub(crate) const MAX_SHARD_BYTES: u64 = MAX_ARENA_BYTES >> MAX_CHUNK_SHIFT << MAX_CHUNK_SHIFT;

/// What a shard is made from.
#[derive(Clone)]
pub(crate) struct ShardConfig {
    pub(crate) budget: usize,
    /// The largest sum of key and value, in bytes.
    pub(crate) max_entry_bytes: usize,
    pub(crate) shard_bits: u32,
    pub(crate) alignment: Alignment,
    pub(crate) expected_entry_bytes: Option<usize>,
    pub(crate) hasher: KeyHasher,
    pub(crate) factory: PolicyFactory,
    pub(crate) rules: Rules,
    pub(crate) clock: ClockSource,
    pub(crate) listener: Option<Arc<Teller>>,
    pub(crate) loads: Arc<LoadCounts>,
}

impl ShardConfig {
    fn chunk_shift(&self) -> u32 {
        (self.budget / CHUNKS).max(1).ilog2().clamp(MIN_CHUNK_SHIFT, MAX_CHUNK_SHIFT)
    }

    /// Chunks that would fit if nothing else were needed.
    fn max_chunks(&self) -> usize {
        self.budget >> self.chunk_shift()
    }

    /// Stripes and places of the touch log: under a hundredth of a small shard.
    fn touch_log(&self) -> (usize, u32) {
        if self.budget < 1 << 20 { (1, 64) } else { (4, 128) }
    }

    /// What the shard allocates whatever it holds.
    fn overhead(&self) -> usize {
        let (stripes, capacity) = self.touch_log();
        size_of::<Shard>()
            + size_of::<Account>()
            + Ring::footprint(self.max_chunks())
            + TouchLog::footprint(stripes, capacity)
    }

    /// Chunks that the ring has to have at first, so that the largest entry fits. A growing index leaves it more: while it grows,
    /// the policy's arrays are there twice.
    fn min_chunks(&self) -> usize {
        let largest = self.max_entry_bytes + self.alignment.max_overhead();
        let span = largest.div_ceil(1 << self.chunk_shift());
        MIN_CHUNKS.max(MIN_LARGEST * span).max(span + MIN_OTHERS)
    }

    /// Makes a policy for so many buckets.
    fn policy(&self, buckets: usize) -> Box<dyn EvictionPolicy> {
        let max_entries = Index::max_len_of(buckets);
        (self.factory)(PolicyContext::for_entries(buckets * LANES, max_entries, self.budget as u64))
    }

    /// What the shard allocates beside its ring's chunks while it is empty.
    fn taken(&self, buckets: usize, policy: &dyn EvictionPolicy) -> usize {
        (self.overhead() + table_bytes(buckets)).saturating_add(policy.bytes())
    }

    /// The budget that is needed with so many buckets, for a ring that can hold the largest entry.
    fn needed(&self, buckets: usize, policy: &dyn EvictionPolicy) -> usize {
        // Policies grow with what they remember.
        let usual = self.taken(MIN_BUCKETS, &NoPolicy) + 2 * MIN_BUCKETS * LANES * 16 + 4096;
        // Of the smallest index the chunks that are given up for a wheel suffice.
        let wheel = if buckets == MIN_BUCKETS { 0 } else { Wheel::footprint(buckets) };
        let taken = self.taken(buckets, policy).saturating_add(wheel).max(usual);
        taken.saturating_add(self.min_chunks() << self.chunk_shift())
    }

    /// Buckets to start with: for a sixteenth of the entries that are expected, or of some that are not small.
    fn first_buckets(&self) -> usize {
        let entries = match self.expected_entry_bytes {
            Some(bytes) => self.budget / bytes.saturating_add(EXPECTED_OVERHEAD),
            None => self.budget / 16_384,
        };
        Index::buckets_for(entries).min(Table::max_buckets())
    }
}

/// What an entry costs beyond key and value, roughly.
const EXPECTED_OVERHEAD: usize = 24;

/// Why a shard could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoShard {
    /// Its budget is too small for it and its policy.
    TooSmall,
    OutOfMemory,
}

/// A shard of a cache.
#[repr(align(128))]
pub(crate) struct Shard {
    lookup: Lookup,
    hint: TableHint,
    policy_hint: PolicyHint,
    /// Only for ordered policies.
    touches: Option<TouchLog>,
    account: Arc<Account>,
    overhead: usize,
    time: ShardTime,
    rules: Rules,
    listener: Option<Arc<Teller>>,
    loads: Arc<LoadCounts>,
    state: CachePadded<Mutex<State>>,
}

/// On cache lines that no field beside it shares: readers do not feel what writers write there.
#[repr(align(64))]
struct CachePadded<T>(T);

impl<T> core::ops::Deref for CachePadded<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// What the shard's lock guards.
///
/// In this order: what each store writes to lies in three cache lines with the lock, as another core mostly has them. They end
/// with the first fields of the ring; what comes after that mostly stays in the caches of all cores.
#[repr(C)]
pub(crate) struct State {
    pending: Pending,
    counts: WriteCounts,
    entries: Entries,

    cleaner: Cleaner,
    evictor: Evictor,
    deadlines: Deadlines,
    flights: Flights,
}

impl State {
    /// Derives how many bytes may be live, and tells the policy when that has changed.
    fn update_capacity(&mut self, account: &Account) {
        self.evictor.set_capacity(self.cleaner.derive_capacity(self.entries.ring(), account));
    }

    /// From the lock, which lies before the state, to the end of what each store writes to.
    const WRITTEN_BYTES: usize = align_of::<Self>() + offset_of!(Self, entries) + Entries::WRITTEN_BYTES;
}

const _: () = assert!(State::WRITTEN_BYTES <= 3 * LINE);

/// What a table takes of the account. All but what it [releases](Table::release) stays taken when it is replaced.
fn table_bytes(buckets: usize) -> usize {
    Table::footprint(buckets) + Kept::<Table>::BYTES
}

impl Shard {
    /// The budget that a shard of this kind needs; if that is more than it has, one that has so much may need more again.
    pub(crate) fn min_budget(config: &ShardConfig) -> usize {
        config.needed(MIN_BUCKETS, &*config.policy(MIN_BUCKETS))
    }

    /// An empty shard.
    pub(crate) fn new(config: &ShardConfig) -> Result<Self, NoShard> {
        let account = Arc::new(Account::new(config.budget));
        let mut buckets = config.first_buckets();
        let policy = loop {
            let policy = config.policy(buckets);
            if config.needed(buckets, &*policy) <= config.budget && account.take(config.taken(buckets, &*policy)) {
                break policy;
            }
            if buckets == MIN_BUCKETS {
                return Err(NoShard::TooSmall);
            }
            buckets = (buckets / 2).max(MIN_BUCKETS);
        };
        #[allow(clippy::cast_possible_truncation, reason = "at most 16 GiB in chunks of 4 KiB or more")]
        let chunks = (account.left() >> config.chunk_shift()) as u32;
        let ring = Ring::new(chunks, config.chunk_shift(), config.alignment).ok_or(NoShard::OutOfMemory)?;
        let bits = LocationBits::for_arena(ring.bytes());
        let table = Arc::new(Table::new(buckets, bits).ok_or(NoShard::OutOfMemory)?);
        account.note_table(table_bytes(buckets));
        let (stripes, places) = config.touch_log();
        let ordered = policy.recency() == Recency::Ordered;
        let mut state = State {
            entries: Entries::new(Arc::clone(&table), ring, config.hasher.clone(), config.shard_bits),
            pending: Pending::new(),
            evictor: Evictor::new(policy, Arc::clone(&config.factory)),
            cleaner: Cleaner::new(),
            deadlines: Deadlines::new(),
            flights: Flights::default(),
            counts: WriteCounts::default(),
        };
        state.update_capacity(&account);
        Ok(Self {
            hint: TableHint::new(&table),
            policy_hint: PolicyHint::new(state.evictor.policy()),
            lookup: Lookup { table: Kept::new(table), ring: Arc::clone(state.entries.ring().shared()) },
            touches: ordered.then(|| TouchLog::new(stripes, places)),
            account,
            overhead: config.overhead(),
            time: ShardTime::new(config.clock.clone()),
            rules: config.rules.clone(),
            listener: config.listener.clone(),
            loads: Arc::clone(&config.loads),
            state: CachePadded(Mutex::new(state)),
        })
    }

    /// What readers go through: for models.
    #[cfg(bytecache_loom)]
    pub(crate) fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// Entries in the shard.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Adds this shard's counters to `stats`, and returns its live target from 0 to 1.
    pub(crate) fn add_stats(&self, stats: &mut Stats) -> f64 {
        let state = self.state.lock();
        state.counts.add_to(stats);
        state.cleaner.target()
    }

    pub(crate) fn memory(&self) -> Memory {
        let state = self.state.lock();
        let counts = state.entries.ring().counts();
        let chunk = state.entries.ring().chunk_bytes();
        Memory {
            max: self.account.budget(),
            allocated: self.account.allocated(),
            chunks: (state.entries.ring().chunks() - counts.absent) * chunk,
            index: self.account.index_bytes(),
            policy: state.evictor.bytes(),
            wheels: state.deadlines.bytes(),
            flights: self.account.flight_bytes(),
            overhead: self.overhead,
            live: state.entries.ring().live_bytes(),
            dead: state.entries.ring().dead_bytes(),
            retired: counts.retired * chunk,
            pinned: state.entries.ring().pinned_bytes(),
        }
    }

    /// Recounts everything and panics where it differs.
    pub(crate) fn validate(&self) {
        let state = self.state.lock();
        state.entries.validate();
        let counts = state.entries.ring().counts();
        let chunks = (state.entries.ring().chunks() - counts.absent) * state.entries.ring().chunk_bytes();
        let known = chunks + state.evictor.bytes() + state.deadlines.bytes() + self.overhead;
        let known = known + self.account.index_bytes() + self.account.flight_bytes();
        assert_eq!(self.account.allocated(), known, "the account differs");
        assert!(known <= self.account.budget());
        state.deadlines.validate(&state.entries, &self.rules, self.time.reached());
    }
}
