//! A shard: one ring, its index and its policy under one write lock. Readers go past the lock.
//!
//! ```text
//!   readers   Lookup: table, ring     lookup.rs  read.rs  walk.rs   no lock, a slot of the thread
//!             TouchLog, MissLog       touch.rs  misses.rs
//!             ShardTime               lifetimes.rs  idle.rs
//!             Sampling                sampling.rs       what the advisor learns
//!
//!   writers   lock -> State
//!               Entries               entries.rs       index and ring
//!               Evictor               evictor.rs       policy, victims
//!               Cleaner               cleaner.rs       how full the ring is, what is emptied
//!               Deadlines             deadlines.rs     timing wheel
//!               Flights               flights.rs       loads in progress
//!               Resizing              resizing.rs      the size that the index gets next
//!               Sweep                 sweep.rs         where the search for outdated entries is
//!               Clears                clear.rs         how far calls of `clear` have come
//!               Shrinking             shrinking.rs     the way to a lower limit
//!             Writer                  writer.rs        makes them work together: see its list
//! ```
//!
//! A part of the state keeps its fields to itself. The cleaner, the evictor and the deadlines use
//! the entries. Otherwise no part knows another: the [`Writer`] makes them work together.
//! `tests/layering.rs` checks that.
//!
//! # Invariants
//!
//! 1. A lane of the index points to a live entry of the ring, and each live entry has one lane
//!    (`entries.rs`).
//! 2. The policy's residents are the used lanes, and the entry that is being stored (`evictor.rs`).
//! 3. What is allocated is accounted for, and never more than the shard's budget (`account.rs`).
//! 4. User code (a policy, a hasher) that panics under the lock leaves an empty shard behind, and
//!    no load in progress that could be stored (`writer.rs`).
//! 5. A bucket with an entry that is to be removed at some tick is filed under that tick or an
//!    earlier one (`deadlines.rs`).
//!
//! [`Shard::validate`] recounts them.
//!
//! # Synchronization
//!
//! A writer publishes an entry by a Release store to its lane (`index/bucket.rs`), and moves one by
//! another. It retires a chunk only when no lane points into it. The chunk comes back when no
//! reader's slot names it (`reclaim/slots.rs`) and no value holds it (`ring/chunk.rs`). A reader
//! never waits. A writer waits for the lock, and never for a reader.

mod account;
mod candidates;
mod change;
mod cleaner;
mod clear;
mod config;
mod deadlines;
mod entries;
mod estimate;
mod evictor;
mod expire;
mod flights;
mod governor;
mod idle;
mod large_share;
mod lease;
mod leases;
mod lifetimes;
mod load;
mod lookup;
mod misses;
mod notice;
mod prefetch;
mod read;
mod remove;
mod resizing;
mod restore;
mod runs;
mod sampling;
mod save;
mod shrinking;
mod space;
mod sweep;
mod touch;
mod walk;
mod write;
mod writer;

use core::mem::offset_of;
use std::sync::Arc;

use account::Account;
pub(crate) use account::Room;
pub(crate) use change::DeadlineRule;
use cleaner::Cleaner;
use clear::Clears;
use config::{Logs, MIN_CHUNKS};
pub(crate) use config::{MAX_SHARD_BYTES, Options, ShardConfig};
use deadlines::Deadlines;
use entries::Entries;
pub(crate) use estimate::PolicyBytes;
#[cfg(all(test, not(bytecache_loom)))]
pub(crate) use evictor::NoPolicy;
use evictor::{Evictor, Pending};
use flights::Flights;
pub(crate) use flights::{KeyFlight, Outcome, Pass, Ticket};
pub(crate) use leases::LeaseTicket;
pub(crate) use load::{Boarding, LoadResult, Negative, Reason, RefreshPermit, Waiter};
pub(crate) use lookup::{Advance, FoundEntry, Guess, Lookup};
pub(crate) use misses::MissLog;
pub(crate) use notice::Notice;
use prefetch::PolicyHint;
pub(crate) use read::{Access, Visit};
use resizing::Resizing;
pub(crate) use restore::RestoredEntry;
use save::Recording;
pub(crate) use save::{Changes, RECORD_SHARE, SaveSink, SaveWalk, SavedEntry, bit_of};
use shrinking::Shrinking;
use sweep::Sweep;
pub(crate) use touch::TouchLog;
pub(crate) use walk::WalkedEntry;
pub(crate) use write::{Condition, Stored};
pub(crate) use writer::Writer;

use crate::advisor::Sampling;
use crate::expiry::{Rules, ShardTime};
use crate::index::{LocationBits, MIN_BUCKETS, Table};
use crate::namespace::Registry;
use crate::prefetch::LINE;
use crate::removal::Notifier;
use crate::ring::Ring;
use crate::stats::{Memory, Stats, WriteCounts};
use crate::sync::{AtomicU64, Mutex};

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
    policy_hint: PolicyHint,
    /// Only for ordered policies.
    touches: Option<TouchLog>,
    /// Only for policies that want to know of misses.
    misses: Option<CachePadded<MissLog>>,
    account: Arc<Account>,
    overhead: usize,
    /// Chunks that the ring needs for the largest entry.
    min_chunks: usize,
    /// Keys with a hash below it are sampled for the advisor.
    sampled_below: AtomicU64,
    sampling: Option<Box<Sampling>>,
    time: ShardTime,
    pub(crate) rules: Rules,
    notifier: Arc<Notifier>,
    registry: Arc<Registry>,
    state: CachePadded<Mutex<State>>,
}

/// A value in cache lines that no field beside it shares. Readers of those fields do not feel what
/// writers write here.
#[repr(align(64))]
struct CachePadded<T>(T);

impl<T> core::ops::Deref for CachePadded<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The state that the shard's lock guards.
///
/// Each store writes to the lock, and to the fields from the start of the state to the first ones
/// of the ring. They fill three cache lines, which mostly come from another core. The fields after
/// them are mostly read, so all cores have them in their caches. Each store changes [`Pending`], so
/// it is apart from the [`Evictor`].
#[repr(C)]
pub(crate) struct State {
    pending: Pending,
    counts: WriteCounts,
    entries: Entries,

    cleaner: Cleaner,
    evictor: Evictor,
    deadlines: Deadlines,
    flights: Flights,
    resizing: Resizing,
    sweep: Sweep,
    /// Entries were evicted ahead since the last chunk was opened, as no chunk was worth cleaning.
    is_crowded: bool,
    clears: Clears,
    shrinking: Shrinking,
    /// The record of changes, while the cache is being saved.
    recording: Option<Box<Recording>>,
}

impl State {
    /// From the lock, which lies before the state, to the end of what each store writes to.
    const WRITTEN_BYTES: usize = align_of::<Self>() + offset_of!(Self, entries) + Entries::WRITTEN_BYTES;

    /// Prefetches what a store will touch, whatever its key is. The lines that this thread has
    /// written last are mostly in its core's cache.
    #[inline]
    fn prefetch_to_store(&mut self) {
        if self.pending.note_writer() {
            self.prefetch_from_other_core();
        }
    }

    #[inline(never)]
    fn prefetch_from_other_core(&self) {
        let (ring, table) = (self.entries.ring(), self.entries.table());
        ring.prefetch_tail();
        self.evictor.prefetch(&self.pending);
        // Only its lane: its location is known when the next victim is announced.
        table.prefetch_lane(self.pending.announced().newest());
        let victim = self.pending.announced().oldest();
        table.prefetch_lane(victim.id);
        if let Some(location) = victim.location {
            ring.prefetch_death(location);
        }
    }

    /// Derives how many bytes may be live, and tells the policy when that has changed.
    fn update_capacity(&mut self, account: &Account) {
        let derived = self.cleaner.derive_capacity(self.entries.ring(), account);
        // On the way to a lower limit it falls with what is live, a little at a time.
        self.evictor.set_capacity(self.shrinking.limit(derived, self.entries.ring().live_bytes()));
    }
}

const _: () = assert!(State::WRITTEN_BYTES <= 3 * LINE);

impl Shard {
    /// Returns the budget that a shard of this kind needs at least. The result depends on
    /// `config.budget`: a shard with a larger budget may need more.
    pub(crate) fn min_budget(config: &ShardConfig) -> usize {
        config.needed(MIN_BUCKETS, &*config.policy(MIN_BUCKETS))
    }

    /// Creates an empty shard.
    pub(crate) fn new(config: &ShardConfig) -> Result<Self, NoShard> {
        let account = Arc::new(Account::new(config.budget, Arc::clone(&config.room)));
        let first_buckets = config.first_buckets();
        let mut buckets = first_buckets;
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
        let size = config.ring_size();
        let mut ring = Ring::new(size, config.chunk_shift(), config.options.alignment).ok_or(NoShard::OutOfMemory)?;
        ring.set_usual_chunks(ring.whole_chunks(account.left()));
        let bits = LocationBits::for_arena(size.most << config.chunk_shift());
        let table = Arc::new(Table::new(buckets, config.max_size(first_buckets), bits).ok_or(NoShard::OutOfMemory)?);
        account.note_index(Table::footprint(buckets));
        let (stripes, places) = config.touch_log();
        let logs = Logs::of(&*policy);
        let mut state = State {
            pending: Pending::new(),
            counts: WriteCounts::default(),
            entries: Entries::new(Arc::clone(&table), ring, config.options.hasher.clone(), config.shard_bits),
            cleaner: Cleaner::new(),
            evictor: Evictor::new(policy, Arc::clone(&config.options.factory)),
            deadlines: Deadlines::new(),
            flights: Flights::default(),
            resizing: Resizing::of_size(buckets),
            sweep: Sweep::default(),
            is_crowded: false,
            clears: Clears::default(),
            shrinking: Shrinking::new(),
            recording: None,
        };
        state.update_capacity(&account);
        if let Some(sampler) = &config.sampler {
            sampler.note_capacity(0, state.evictor.capacity());
        }
        Ok(Self {
            policy_hint: PolicyHint::new(state.evictor.policy()),
            lookup: Lookup { table, ring: Arc::clone(state.entries.ring().shared()) },
            touches: logs.has_touches.then(|| TouchLog::new(stripes, places)),
            misses: logs.has_misses.then(|| CachePadded(MissLog::new(config.miss_places()))),
            account,
            overhead: config.overhead(logs),
            min_chunks: config.min_chunks(),
            sampled_below: AtomicU64::new(0),
            sampling: config.sampler.clone().map(|sampler| Box::new(Sampling::new(sampler))),
            time: ShardTime::new(config.options.clock.clone()),
            rules: config.options.rules.clone(),
            notifier: Arc::clone(&config.notifier),
            registry: Arc::clone(&config.registry),
            state: CachePadded(Mutex::new(state)),
        })
    }

    /// Returns what readers go through: for models.
    #[cfg(all(test, bytecache_loom))]
    pub(crate) fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().entries.len()
    }

    /// Adds this shard's counters to `stats`, and returns its live target from 0 to 1.
    pub(crate) fn add_stats(&self, stats: &mut Stats) -> f64 {
        let state = self.state.lock();
        state.counts.add_to(stats);
        state.cleaner.target()
    }

    /// Returns the bytes that namespaces have of this shard's memory, and keep.
    pub(crate) fn namespace_bytes(&self) -> usize {
        self.account.namespace_bytes()
    }

    pub(crate) fn memory(&self) -> Memory {
        // Without the lock, as the pins of a chunk fill a cache line.
        let pinned = self.lookup.ring.pinned_bytes();
        let state = self.state.lock();
        let ring = state.entries.ring();
        let counts = ring.counts();
        let chunk = ring.chunk_bytes();
        Memory {
            max: self.account.budget(),
            allocated: self.account.allocated(),
            chunks: ring.chunks_in_use() * chunk,
            index: self.account.index_bytes(),
            policy: state.evictor.bytes(),
            wheels: state.deadlines.bytes(),
            flights: self.account.flight_bytes(),
            overhead: self.overhead + ring.added_bytes() + self.account.save_bytes(),
            live: ring.live_bytes(),
            dead: ring.dead_bytes(),
            retired: counts.retired * chunk,
            pinned,
        }
    }

    /// Returns `true` if the index is getting another size.
    pub(crate) fn is_resizing(&self) -> bool {
        !self.state.lock().resizing.is_at_rest()
    }

    /// Returns `true` if the shard has less than its share of the limit.
    pub(crate) fn is_short(&self) -> bool {
        self.account.is_short()
    }

    /// Recounts everything and panics where it differs.
    pub(crate) fn validate(&self) {
        let state = self.state.lock();
        state.entries.validate();
        let ring = state.entries.ring();
        let chunks = ring.chunks_in_use() * ring.chunk_bytes();
        let known = chunks + state.evictor.bytes() + state.deadlines.bytes() + self.overhead + ring.added_bytes();
        let known = known + self.account.index_bytes() + self.account.flight_bytes() + self.account.save_bytes();
        assert_eq!(self.account.allocated(), known, "the account differs");
        assert!(known <= self.account.budget(), "more is allocated than allowed");
        state.deadlines.validate(&state.entries, &self.rules, self.time.reached());
    }

    /// Takes memory that nothing holds: for a test of [`validate`](Self::validate).
    #[cfg(all(test, not(bytecache_loom)))]
    pub(crate) fn disturb(&self) -> bool {
        self.account.take(8)
    }
}
