//! Eviction policies: the built-in ones, a simulator for all of them, and the trait to write
//! another.
//!
//! A policy decides which entry leaves when space is needed. [`Policy`] names the built-in ones.
//! [`docs::policies`](crate::docs::policies) says which to choose. [`simulate`] counts what any of
//! them would miss, without a cache. The rest of this page is for authors of a policy: they
//! implement [`EvictionPolicy`], as the built-in ones do.
//!
//! Each shard has its own policy object, which is only called under that shard's lock. It knows
//! entries by [`EntryId`], by the 64-bit hash of their key, and by their *charge*: the bytes that
//! they take in the ring. It never sees their bytes.
//!
//! # The order of calls
//!
//! The order is that of the papers: a new key makes room first, then it gets its place.
//!
//! ```text
//!   a new key x     prepare_insert(x), then evict(Some(x)) until x fits. Readers find x.
//!   the next call   insert(x)
//!   a known key     update(id, old, charge), then evict(None) until the new value fits
//!   a read          a visit is counted (Counted), or touch(id) follows (Ordered)
//!   a miss          missed(hash) may follow before the next write
//!   a removal       remove(id, charge)
//!   other bounds    resize(ids, max_entries), until it returns true
//!   other ids       prepare_renames(from, to), until it returns true; then rename(from, to), for
//!                   some entries; then the next prepare_renames, or end_renames()
//!   other space     set_capacity(charge)
//! ```
//!
//! * `insert(x)` comes late: just before the next `prepare_insert`, `touch`, `update`, `missed`,
//!   `resize`, `prepare_renames` or `rename`, and before `remove(x)`. By then the memory that it
//!   needs has been [prefetched](EvictionPolicy::prefetch_insert). Until then there may be
//!   `set_capacity`, `remove` of other entries, and `evict(Some(x))`.
//! * The index of a shard grows and shrinks a few entries at a time, so an entry may get another
//!   id. While a policy is resized or prepares for renames, all other calls may come in between.
//! * A policy *refuses* `x` by returning its id from `evict(Some(x))`. Then `x` is not stored, or
//!   it leaves if it was, and no `insert(x)` follows.
//! * If `evict(Some(x))` returns `None`, `insert(x)` follows at once, then `evict(None)`.
//! * `evict(None)` is also called when nothing is stored, because the ring needs room.
//! * A read that misses is reported to policies that want it ([`EvictionPolicy::wants_misses`]),
//!   for some keys. Often a store of the key follows: the two calls are one access.
//! * An `insert_if_absent` or a `replace` that is declined is no access. The policy is not
//!   notified.
//! * An insert for which no space is found ends with `insert` and `remove`. Such an update ends
//!   with an `update` that takes it back, and a `remove`.
//! * An id that `evict` returns and that is not resident is ignored. If a policy names no resident
//!   while there are some, the cache chooses one and calls `remove` for it.
//!
//! # What a policy may assume
//!
//! * Ids are below [`PolicyContext::ids`], or the bound that [`resize`](EvictionPolicy::resize) set
//!   last. So arrays that are indexed by ids need no checks. At most
//!   [`PolicyContext::max_entries`] ids are resident at a time, or as many as `resize` said.
//! * `prepare_insert` names an id that is not resident. `touch`, `update` and `remove` name one
//!   that is. An id is free for another entry after `remove` named it or `evict` returned it.
//! * The hash of a key never changes. Its bits are well mixed, except for the lowest eight.
//! * A charge is at least 4, and at most a fifth of the shard, or a half once its limit was
//!   lowered. The sum of all charges is within the capacity, unless that was just lowered.
//!   `update`, `remove` and [`Residents::charge`] repeat the charge that was named last, so a
//!   policy that only needs it then need not keep it.
//! * A larger id appears only after `resize` has returned `true` for it. Before `resize` lowers the
//!   bound, every resident has an id below the lower bound.
//! * `rename` names a resident, and an id that no resident has. An [`IdArray`] moves the resident's
//!   value.
//! * Calls come one at a time, from any thread.
//!
//! In return a policy takes constant time on average, as all writers to the shard wait for it. A
//! single call of `resize`, `prepare_renames` or `rename` should be short, too. A policy
//! reports its memory in [`EvictionPolicy::bytes`], and does not use the cache.
//!
//! # Trying it out
//!
//! [`simulate_custom`] runs a policy over requests, and [`Simulator::custom`] step by step.
//! [`Simulator::validate`] calls [`EvictionPolicy::validate`]. With one shard and one thread the
//! cache does the same as the simulator. `CacheBuilder::custom_policy` makes a cache with a custom
//! policy. Calls to it cost what calls to a built-in one cost. [`Policy::build`] makes a built-in
//! policy that a custom one can wrap.
//!
//! # A complete policy
//!
//! This one evicts at random, here once in the simulator and once in a cache.
//!
//! ```
//! use bytecache::policy::{EntryId, EvictionPolicy, IdArray, Newcomer, PolicyContext};
//! use bytecache::policy::{Request, Residents, Unit, simulate_custom};
//!
//! struct Random {
//!     residents: Vec<EntryId>,
//!     /// The index in `residents` of each id.
//!     places: IdArray<u32>,
//!     state: u64,
//! }
//!
//! impl Random {
//!     fn new(context: &PolicyContext) -> Self {
//!         Self { residents: Vec::new(), places: IdArray::new(context), state: 1 }
//!     }
//! }
//!
//! impl EvictionPolicy for Random {
//!     fn insert(&mut self, newcomer: &Newcomer) {
//!         self.places[newcomer.id] = self.residents.len() as u32;
//!         self.residents.push(newcomer.id);
//!     }
//!     fn remove(&mut self, id: EntryId, _charge: u32) {
//!         let place = self.places[id] as usize;
//!         self.residents.swap_remove(place);
//!         if let Some(moved) = self.residents.get(place) {
//!             self.places[*moved] = place as u32;
//!         }
//!     }
//!     fn evict(&mut self, _: Option<&Newcomer>, _: &mut Residents<'_>) -> Option<EntryId> {
//!         self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1);
//!         let place = (self.state >> 33) as usize % self.residents.len().max(1);
//!         let victim = *self.residents.get(place)?;
//!         self.remove(victim, 0);
//!         Some(victim)
//!     }
//!     fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
//!         self.places.resize(ids);
//!         self.residents.reserve_exact(max_entries.saturating_sub(self.residents.len()));
//!         true
//!     }
//!     fn rename(&mut self, from: EntryId, to: EntryId) {
//!         self.places.rename(from, to);
//!         self.residents[self.places[to] as usize] = to;
//!     }
//!     fn bytes(&self) -> usize {
//!         size_of::<EntryId>() * self.residents.capacity() + self.places.bytes()
//!     }
//! }
//!
//! // Of a loop over four keys, random eviction keeps some until they come again.
//! let requests = (0..10_000).map(|step| Request { hash: step % 4, charge: 1 });
//! let random = |context| -> Box<dyn EvictionPolicy> { Box::new(Random::new(&context)) };
//! let simulation = simulate_custom(random, 3, Unit::Entries, requests);
//! assert!((0.2..0.8).contains(&simulation.miss_ratio()));
//!
//! let cache = bytecache::Cache::builder()
//!     .max_bytes(1 << 20)
//!     .custom_policy(random)
//!     .build()?;
//! for key in 0..100_000_u32 {
//!     cache.insert(key.to_le_bytes(), b"value")?;
//! }
//! assert!(cache.stats().evictions > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod algorithms;
mod arrival;
mod built_in;
mod id_array;
mod parameter;
mod residents;
mod simulator;
mod standing;
mod structures;

use core::ops::Range;
use std::sync::Arc;

pub use algorithms::{
    AdaptiveConfig, Ageing, ClockConfig, Favor, LfuConfig, Policy, S3FifoConfig, SlruConfig, TinyLfuConfig, Tuned,
    TwoQueueConfig,
};
pub(crate) use arrival::{Arrival, Choice};
pub use id_array::IdArray;
pub use residents::Residents;
pub(crate) use residents::{OtherIds, ResidentSource, Turn, Unvisited};
pub(crate) use simulator::{MAX_UNKNOWN, spread};
pub use simulator::{Request, Simulation, Simulator, Unit, simulate, simulate_custom};
pub use standing::Standing;

pub use crate::units::EntryId;
use crate::units::MAX_IDS;

/// The way in which a policy is notified of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recency {
    /// Readers count up to three visits in two bits beside the entry, which [`Residents`] shows. A
    /// read of an entry with three visits writes nothing.
    Counted,
    /// Every read is reported through [`EvictionPolicy::touch`], in order. With one thread none is
    /// lost.
    Ordered,
}

/// A key that comes in, and its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Newcomer {
    /// The id of the entry, from `prepare_insert` on.
    pub id: EntryId,
    /// The hash of the key. It is the same whenever the key comes back, so ghosts are found by it.
    pub hash: u64,
    /// The bytes that the entry takes in the ring.
    pub charge: u32,
}

/// An algorithm that decides which entry is evicted. The [module](self) describes the order of
/// calls.
///
/// A policy has to implement [`insert`](Self::insert), [`evict`](Self::evict),
/// [`remove`](Self::remove), [`resize`](Self::resize), [`rename`](Self::rename) and
/// [`bytes`](Self::bytes). One that moves entries when they are read also implements
/// [`recency`](Self::recency) and [`touch`](Self::touch).
///
/// All methods run under a shard's lock. They should take constant time, and must not use the
/// cache. If one panics, its shard is emptied, and another policy object serves the shard from then
/// on. The panic continues in the thread that wrote to the shard.
pub trait EvictionPolicy: Send {
    /// Returns how this policy is notified of reads: by default [`Recency::Counted`]. The cache
    /// asks once, when it is built.
    fn recency(&self) -> Recency {
        Recency::Counted
    }

    /// Announces a new key. Room for its entry is made next, and [`insert`](Self::insert) follows
    /// once it is stored. By default nothing happens.
    ///
    /// A policy with ghosts looks for that of the key here if the ghost has an effect on the
    /// victims.
    fn prepare_insert(&mut self, _newcomer: &Newcomer) {}

    /// Prefetches the memory that [`insert`](Self::insert) will touch. By default nothing happens.
    ///
    /// The thread that stored the newcomer may have prefetched that memory, but to another core.
    /// The cache calls this before most stores, while a newcomer waits for its place. A call is
    /// only a hint: results must not depend on it.
    fn prefetch_insert(&self, _newcomer: &Newcomer) {}

    /// Adds the entry of a newcomer. It is resident from here on.
    fn insert(&mut self, newcomer: &Newcomer);

    /// Notifies the policy of a read of the entry. It is called only with [`Recency::Ordered`].
    fn touch(&mut self, _id: EntryId) {}

    /// Returns `true` if the policy wants to be notified of reads that find nothing: by default
    /// `false`. The cache asks once, when it is built.
    fn wants_misses(&self) -> bool {
        false
    }

    /// Notifies the policy that a read found no entry under a key with this `hash`. It is called
    /// only for policies that [want](Self::wants_misses) it. By default nothing happens.
    ///
    /// It is called for one key in eight, chosen by its hash, before the next call for a write.
    /// Some misses are lost where many come between two writes. Often a store of the key follows:
    /// the two calls are one access.
    ///
    /// ```
    /// use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents, Simulator, Unit};
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// /// Stores nothing, and counts misses.
    /// struct Count(Arc<AtomicU32>);
    ///
    /// impl EvictionPolicy for Count {
    ///     fn wants_misses(&self) -> bool {
    ///         true
    ///     }
    ///     fn missed(&mut self, _hash: u64) {
    ///         self.0.fetch_add(1, Ordering::Relaxed);
    ///     }
    ///     // ...
    /// #   fn insert(&mut self, _: &Newcomer) {}
    /// #   fn remove(&mut self, _: EntryId, _: u32) {}
    /// #   fn evict(&mut self, _: Option<&Newcomer>, _: &mut Residents<'_>) -> Option<EntryId> {
    /// #       None
    /// #   }
    /// #   fn resize(&mut self, _: usize, _: usize) -> bool { true }
    /// #   fn rename(&mut self, _: EntryId, _: EntryId) {}
    /// #   fn bytes(&self) -> usize { 0 }
    /// }
    ///
    /// let misses = Arc::new(AtomicU32::new(0));
    /// let count = Count(Arc::clone(&misses));
    /// let mut simulator = Simulator::custom(|_| Box::new(count), 100, Unit::Entries);
    /// (0..8000).for_each(|key| assert!(!simulator.read(key)));
    /// assert!((900..1100).contains(&misses.load(Ordering::Relaxed)));
    /// ```
    fn missed(&mut self, _hash: u64) {}

    /// Notifies the policy of a new value for the entry, which takes `charge` bytes instead of
    /// `old_charge`. The update counts as an access: a visit was counted before the call. By
    /// default the entry is [touched](Self::touch).
    fn update(&mut self, id: EntryId, _old_charge: u32, _charge: u32) {
        self.touch(id);
    }

    /// Forgets the entry, which took `charge` bytes. It was removed or has expired, so it leaves no
    /// ghost.
    fn remove(&mut self, id: EntryId, charge: u32);

    /// Chooses the next victim, forgets it, and returns it. Returns `None` if no entry is resident.
    ///
    /// A `newcomer` is the key for which room is made, or one that is stored and not inserted yet.
    /// A policy refuses it by returning its id.
    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId>;

    /// Sets the sum of charges that entries may have, in bytes. If they have more, later calls
    /// evict them. By default nothing happens.
    fn set_capacity(&mut self, _charge: u64) {}

    /// Sets the bounds: every id is below `ids`, and at most `max_entries` ids are resident at a
    /// time. Returns `true` once that is done.
    ///
    /// Each call does a limited amount of work. The cache calls again with the same bounds until
    /// this returns `true`, and other calls come in between. Only then does the first larger id
    /// appear. Before the bound of ids becomes lower, all residents have been renamed below it. A
    /// policy without arrays returns `true`.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::PolicyContext;
    ///
    /// let mut policy = Policy::S3Fifo.build(&PolicyContext::new(1000, 1 << 20));
    /// let bytes = policy.bytes();
    /// while !policy.resize(100_000, 85_000) {} // A cache does other work in between.
    /// assert!(policy.bytes() > 10 * bytes);
    /// ```
    fn resize(&mut self, ids: usize, max_entries: usize) -> bool;

    /// Announces that entries with ids in `from` may get ids in `to`. The ranges may overlap.
    /// Returns `true` once the policy is ready. By default it is ready at once.
    ///
    /// Each call does a limited amount of work. The cache calls again with the same ranges until
    /// this returns `true`, and other calls come in between. Then [renames](Self::rename) are
    /// within the ranges, until ranges are announced again or [`end_renames`](Self::end_renames)
    /// follows. The exceptions are entries that a poor hasher has put far from their place: ids
    /// outside of the ranges have to be renamed, too, but may take longer.
    ///
    /// A policy needs no preparation if its structures lead from an id to its place. A policy with
    /// queues uses the preparation to look for the places.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{EntryId, PolicyContext};
    ///
    /// let mut policy = Policy::Fifo.build(&PolicyContext::new(1000, 1 << 20));
    /// while !policy.prepare_renames(0..16, 500..532) {}
    /// policy.end_renames(); // None of these ids had an entry.
    /// ```
    fn prepare_renames(&mut self, _from: Range<u32>, _to: Range<u32>) -> bool {
        true
    }

    /// Gives the entry with the id `from` the id `to`. No resident has the id `to` before, and none
    /// has `from` afterwards.
    ///
    /// Follows a [preparation](Self::prepare_renames), which nearly always included both.
    ///
    /// ```
    /// use bytecache::policy::{EntryId, IdArray};
    ///
    /// fn rename(uses: &mut IdArray<u32>, hand: &mut Option<EntryId>, from: EntryId, to: EntryId) {
    ///     uses.rename(from, to);
    ///     if *hand == Some(from) {
    ///         *hand = Some(to);
    ///     }
    /// }
    /// ```
    fn rename(&mut self, from: EntryId, to: EntryId);

    /// Notifies the policy that no rename follows until the next preparation. The policy frees the
    /// memory that it kept for renames. By default nothing happens.
    fn end_renames(&mut self) {}

    /// Returns the bytes that the policy has allocated. They count against `max_bytes`. They should
    /// change only in [`resize`](Self::resize), and by little in
    /// [`prepare_renames`](Self::prepare_renames) and [`end_renames`](Self::end_renames).
    fn bytes(&self) -> usize;

    /// Recounts the state of the policy, and panics if it contradicts itself. Tests call it. By
    /// default nothing is checked.
    fn validate(&self) {}

    /// Returns the name under which the policy's [standings](Standing) and
    /// [state](Self::save_state) are saved. A [snapshot](crate::docs::snapshots) of a policy with
    /// another name restores the order of the entries only. By default the name is empty, and
    /// nothing else is saved.
    fn snapshot_name(&self) -> &'static str {
        ""
    }

    /// Begins a [walk](Self::walk), and ends the one before. By default nothing happens.
    fn begin_walk(&mut self) {}

    /// Shows about `most` more entries of the walk with their standings, those that leave first
    /// before the others. Returns `true` at the end of the walk. By default it ends at once.
    ///
    /// The policy keeps the place of the walk. Other calls come between two steps, so entries may
    /// move, leave or be shown twice meanwhile. An entry that the walk does not show is saved all
    /// the same, with the default standing and after the others. A walk that shows none leaves the
    /// order to chance.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents, Standing};
    /// use std::collections::VecDeque;
    ///
    /// /// First in, first out, and the number of entries that the walk has passed.
    /// #[derive(Default)]
    /// struct Fifo(VecDeque<EntryId>, usize);
    ///
    /// impl EvictionPolicy for Fifo {
    ///     fn snapshot_name(&self) -> &'static str {
    ///         "my fifo"
    ///     }
    ///     fn begin_walk(&mut self) {
    ///         self.1 = 0;
    ///     }
    ///     fn walk(&mut self, most: usize, show: &mut dyn FnMut(EntryId, Standing)) -> bool {
    ///         self.0.iter().skip(self.1).take(most).for_each(|&id| show(id, Standing::new()));
    ///         self.1 += most;
    ///         self.1 >= self.0.len()
    ///     }
    ///     // ...
    /// #   fn insert(&mut self, newcomer: &Newcomer) { self.0.push_back(newcomer.id); }
    /// #   fn remove(&mut self, id: EntryId, _: u32) { self.0.retain(|&other| other != id); }
    /// #   fn evict(&mut self, _: Option<&Newcomer>, _: &mut Residents<'_>) -> Option<EntryId> {
    /// #       self.0.pop_front()
    /// #   }
    /// #   fn resize(&mut self, _: usize, _: usize) -> bool { true }
    /// #   fn rename(&mut self, from: EntryId, to: EntryId) {
    /// #       self.0.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
    /// #   }
    /// #   fn bytes(&self) -> usize { 0 }
    /// }
    ///
    /// let mut fifo = Fifo([3, 1, 2].map(EntryId::new).into(), 0);
    /// let mut shown = Vec::new();
    /// fifo.begin_walk();
    /// while !fifo.walk(2, &mut |id, _standing| shown.push(id.get())) {}
    /// assert_eq!(shown, [3, 1, 2]);
    /// ```
    fn walk(&mut self, _most: usize, _show: &mut dyn FnMut(EntryId, Standing)) -> bool {
        true
    }

    /// Adds an entry of a snapshot, in place of [`insert`](Self::insert). It is resident from here
    /// on. By default it is prepared and inserted like a key that comes in.
    ///
    /// Entries come in the order in which they were [shown](Self::walk). Those of several shards
    /// may be mixed. The standing may be any: a damaged file may have the right checksums.
    fn restore(&mut self, newcomer: &Newcomer, _standing: Standing) {
        self.prepare_insert(newcomer);
        self.insert(newcomer);
    }

    /// Appends the state of the policy that belongs to no single entry, at most 1,024 bytes. By
    /// default nothing is appended.
    fn save_state(&self, _state: &mut Vec<u8>) {}

    /// Appends a part of what the policy remembers of keys by their hashes, such as ghosts. Returns
    /// `false` if there is no part with this number. Parts are numbered from 0, and have at most 16
    /// KiB. By default there is none.
    ///
    /// Other calls come between two parts, so the parts need not agree.
    fn save_history(&self, _part: usize, _bytes: &mut Vec<u8>) -> bool {
        false
    }

    /// Restores a part that [`save_history`](Self::save_history) has appended, after the
    /// [state](Self::restore_state) and before the first entry.
    ///
    /// It is called only if keys have the same hashes and shards. The shard may have another size,
    /// and parts may be missing. `bytes` may be any bytes. By default nothing happens.
    fn restore_history(&mut self, _part: usize, _bytes: &[u8]) {}

    /// Restores what [`save_state`](Self::save_state) appended, before the first entry is
    /// [restored](Self::restore). The shard may have another size. `state` may be any bytes. By
    /// default nothing happens.
    fn restore_state(&mut self, _state: &[u8]) {}
}

/// The shard that a policy is made for.
#[derive(Clone, Debug)]
pub struct PolicyContext {
    ids: usize,
    max_entries: usize,
    capacity: u64,
}

impl PolicyContext {
    /// Creates the context of a shard of `ids` ids, for tests of a policy. A number above 2^28 - 1
    /// is cut to that. All ids may be resident. The sum of their charges may be `capacity`, in
    /// bytes.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{PolicyContext, Recency};
    ///
    /// let context = PolicyContext::new(1000, 1 << 20);
    /// assert_eq!((context.ids(), context.max_entries()), (1000, 1000));
    /// assert_eq!(context.capacity(), 1 << 20);
    /// assert_eq!(Policy::Lru.build(&context).recency(), Recency::Ordered);
    /// ```
    #[must_use]
    pub fn new(ids: usize, capacity: u64) -> Self {
        Self::for_entries(ids.min(MAX_IDS), ids, capacity)
    }

    /// Creates a context like [`new`](Self::new), in which at most `max_entries` ids are resident.
    pub(crate) fn for_entries(ids: usize, max_entries: usize, capacity: u64) -> Self {
        Self { ids, max_entries: max_entries.min(ids), capacity }
    }

    /// Returns the number of ids. Every id is below it, until [`EvictionPolicy::resize`] sets
    /// another bound.
    ///
    /// ```
    /// use bytecache::policy::PolicyContext;
    ///
    /// let context = PolicyContext::new(1000, 1 << 20);
    /// let marks = vec![false; context.ids()]; // Indexed by ids.
    /// assert_eq!(marks.len(), 1000);
    /// ```
    #[must_use]
    pub fn ids(&self) -> usize {
        self.ids
    }

    /// Returns the most ids that are resident at a time, the entry that is being inserted included,
    /// until [`EvictionPolicy::resize`] sets another bound. In a cache that is 85 % of all ids.
    ///
    /// ```
    /// use bytecache::{Cache, Policy};
    ///
    /// let lru = |context: bytecache::policy::PolicyContext| {
    ///     assert!(context.max_entries() < context.ids());
    ///     Policy::Lru.build(&context)
    /// };
    /// let cache = Cache::builder().max_bytes(1 << 20).custom_policy(lru).build()?;
    /// # drop(cache);
    /// # Ok::<(), bytecache::BuildError>(())
    /// ```
    #[must_use]
    pub fn max_entries(&self) -> usize {
        self.max_entries
    }

    /// Returns the sum of charges that entries may have at first, in bytes.
    ///
    /// ```
    /// use bytecache::policy::PolicyContext;
    ///
    /// let context = PolicyContext::new(1000, 1 << 20);
    /// let protected = context.capacity() / 10 * 8;
    /// assert_eq!(protected, 838_856);
    /// ```
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }
}

/// A function that makes the policy object of a shard, a custom or a built-in one.
pub(crate) type PolicyFactory = Arc<dyn Fn(PolicyContext) -> Box<dyn EvictionPolicy> + Send + Sync>;

/// The number of misses that a report stands for: of eight keys, the misses of one are reported.
pub(crate) const MISSES_PER_REPORT: u32 = 8;
/// The lowest of the hash's bits that choose the keys. None of them chooses a shard, a bucket, a
/// tag, or a set or fingerprint of ghosts.
const REPORTED_SHIFT: u32 = 37;

/// Returns `true` if misses of a key with this hash are reported.
#[inline(always)]
pub(crate) fn is_miss_reported(hash: u64) -> bool {
    (hash >> REPORTED_SHIFT) % u64::from(MISSES_PER_REPORT) == 0
}

/// Returns a share of a charge, rounded down.
fn percent_of(charge: u64, percent: u8) -> u64 {
    // In this order, as the product might not fit.
    charge / 100 * u64::from(percent) + charge % 100 * u64::from(percent) / 100
}

#[cfg(test)]
mod tests;
