//! Eviction policies: the built-in ones, what each would do with your traffic, and how to write another.
//!
//! A policy decides which entry leaves when space is wanted. [`Policy`] names the built-in ones; which to choose
//! is in [`docs::policies`](crate::docs::policies). [`simulate`] shows what any of them would miss, without a cache.
//! The rest of this page is for those who write their own.
//!
//! Each shard has its own policy object, which is only called under that shard's lock. It knows entries by
//! [`EntryId`], the 64-bit hash of their key, and their *charge* (the bytes that they take in the ring), never by
//! their bytes.
//!
//! # The order of calls
//!
//! ```text
//!   a store begins  prefetch(), settle(), mostly
//!   a new key       insert(id, hash, charge), then evict() until the entry fits; then it is visible
//!   a known key     update(id, old, charge), then evict() until the new value fits
//!   a read          a visit is counted (Counted) or touch(id) follows before the next call for a write (Ordered)
//!   a miss          missed(hash) may follow before the next call for a write
//!   a removal       remove(id, charge)
//!   the index grew  renumber(moved)
//!   space changed   set_capacity(charge)
//! ```
//!
//! * A read that misses is reported to policies that want it ([`EvictionPolicy::wants_misses`]), for
//!   some keys. Often an insert of the key follows, which is the access.
//! * An `insert_if_absent` or a `replace` that is declined is no access: the policy does not learn of it.
//! * `evict` may return the entry that is just being inserted: then that entry is not stored (admission
//!   control). If that entry should not be looked at yet, as in most published algorithms, the policy keeps it
//!   aside until the next call that is not `evict`.
//! * `evict` may also be called when nothing is inserted, because the ring needs room.
//! * An insert for which no space is found ends with `remove`; an update with an `update` that takes it back, and a `remove`.
//! * An id that `evict` returns and that is not resident is ignored; a policy that returns nothing useful
//!   while entries are there has one chosen for it, which it learns of through `remove`.
//!
//! # What may be assumed
//!
//! * Ids are below [`PolicyContext::ids`], and [`Renumbering::ids`] after the index has grown. So arrays that are
//!   indexed by them need no checks. Fewer of them are resident at a time: [`PolicyContext::max_entries`].
//! * `insert` names an id that is not resident; `touch`, `update` and `remove` name one that is. An id is free for
//!   another entry after `remove` named it or `evict` returned it.
//! * The hash of a key never changes. Its bits are well mixed, but for the lowest eight.
//! * A charge is at least 4, and at most a fifth of the shard. The sum of all charges is within the capacity, unless
//!   that was just lowered. `update`, `remove` and [`Residents::charge`] name what was said of the entry last, so a policy that
//!   only needs charges then need not keep them.
//! * `renumber` gives every resident its new id. No resident keeps its old one, except by chance: all arrays
//!   are to be moved ([`Renumbering::apply`]).
//! * Calls come one at a time, from any thread.
//!
//! What is asked of a policy in return: constant time on average, as all writers to the shard wait for it; memory
//! only for what [`EvictionPolicy::bytes`] says; and that it leaves the cache alone.
//!
//! # Trying it out
//!
//! [`simulate_custom`] runs a policy over requests, [`Simulator::custom`] step by step;
//! [`Simulator::validate`] calls [`EvictionPolicy::validate`]. With one shard and one thread the cache does the same
//! as the simulator. In the cache, `CacheBuilder::custom_policy` takes it; a policy of your own is called as the
//! built-in ones are, and is as fast. [`Policy::build`] makes a built-in one that yours can wrap.
//!
//! # A complete policy
//!
//! Evicts at random; here once in the simulator and once in a cache.
//!
//! ```
//! use bytecache::policy::{EntryId, EvictionPolicy, PolicyContext, Recency, Renumbering, Residents};
//! use bytecache::policy::{Request, Unit, simulate_custom};
//!
//! struct Random {
//!     residents: Vec<EntryId>,
//!     /// Where each id is in `residents`.
//!     places: Vec<u32>,
//!     state: u64,
//! }
//!
//! impl Random {
//!     fn new(context: &PolicyContext) -> Self {
//!         Self { residents: Vec::new(), places: vec![0; context.ids()], state: 1 }
//!     }
//!
//!     fn forget(&mut self, id: EntryId) {
//!         let place = self.places[id.index()] as usize;
//!         self.residents.swap_remove(place);
//!         if let Some(moved) = self.residents.get(place) {
//!             self.places[moved.index()] = place as u32;
//!         }
//!     }
//! }
//!
//! impl EvictionPolicy for Random {
//!     fn recency(&self) -> Recency {
//!         Recency::Counted // The cheaper one, for a policy that asks for neither.
//!     }
//!     fn insert(&mut self, id: EntryId, _hash: u64, _charge: u32) {
//!         self.places[id.index()] = self.residents.len() as u32;
//!         self.residents.push(id);
//!     }
//!     fn touch(&mut self, _id: EntryId) {}
//!     fn update(&mut self, _id: EntryId, _old_charge: u32, _charge: u32) {}
//!     fn remove(&mut self, id: EntryId, _charge: u32) {
//!         self.forget(id);
//!     }
//!     fn evict(&mut self, _residents: &mut Residents<'_>) -> Option<EntryId> {
//!         self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
//!         let place = (self.state >> 33) as usize % self.residents.len().max(1);
//!         let victim = *self.residents.get(place)?;
//!         self.forget(victim);
//!         Some(victim)
//!     }
//!     fn set_capacity(&mut self, _charge: u64) {}
//!     fn renumber(&mut self, moved: &Renumbering) {
//!         let mut places = vec![0; moved.ids()];
//!         for (place, id) in self.residents.iter_mut().enumerate() {
//!             *id = moved.get(*id).expect("a resident has a number");
//!             places[id.index()] = place as u32;
//!         }
//!         self.places = places;
//!     }
//!     fn bytes(&self) -> usize {
//!         self.residents.capacity() * size_of::<EntryId>() + self.places.capacity() * size_of::<u32>()
//!     }
//! }
//!
//! // Of a loop over four keys, random eviction keeps some until they come again.
//! let requests = (0..10_000).map(|step| Request { hash: step % 4, charge: 1 });
//! let simulation = simulate_custom(|context| Box::new(Random::new(&context)), 3, Unit::Entries, requests);
//! assert!((0.2..0.8).contains(&simulation.miss_ratio()));
//!
//! let cache = bytecache::Cache::builder()
//!     .max_bytes(1 << 20)
//!     .custom_policy(|context| Box::new(Random::new(&context)))
//!     .build()?;
//! for key in 0..100_000_u32 {
//!     cache.insert(key.to_le_bytes(), b"value")?;
//! }
//! assert!(cache.stats().evictions > 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adaptive;
mod algorithm;
mod arc;
mod border;
mod charges;
mod choice;
mod clock;
mod fifo;
mod gdsf;
mod ghost;
mod ghost_sets;
mod heap;
mod id_set;
mod lfu;
mod list;
mod lru;
mod mru;
mod parameter;
mod queue;
mod rounds;
mod s3fifo;
mod sieve;
mod simulate;
mod sketch;
mod slru;
mod tiny_lfu;
mod two_queue;

use core::fmt;
use std::sync::Arc;

pub use adaptive::{AdaptiveConfig, Favor};
pub use choice::{Policy, Tuned};
pub use clock::ClockConfig;
pub use lfu::{Ageing, LfuConfig};
pub use s3fifo::S3FifoConfig;
pub(crate) use simulate::MAX_UNKNOWN;
pub use simulate::{Request, Simulation, Simulator, Unit, simulate, simulate_custom};
pub use slru::SlruConfig;
pub use tiny_lfu::TinyLfuConfig;
pub use two_queue::TwoQueueConfig;

pub use crate::units::EntryId;
use crate::units::MAX_IDS;

/// How a policy learns of reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recency {
    /// Readers count up to three visits in two bits beside the entry, which [`Residents`] shows. A hot entry
    /// costs them nothing.
    Counted,
    /// Every read is reported through [`EvictionPolicy::touch`], in order. With one thread none is lost.
    Ordered,
}

/// Decides which entry leaves. See the [module](self) for the order of calls.
///
/// All methods run under a shard's lock: they should take constant time, and must not use the cache. If one
/// panics, its shard is emptied, the panic goes on in the thread that wrote to it, and a policy made anew
/// serves the shard from then on.
pub trait EvictionPolicy: Send {
    /// How this policy learns of reads. Asked once.
    fn recency(&self) -> Recency;

    /// A new key comes in under `id`. `hash` is the same whenever the key comes back, so ghosts are looked up by it.
    fn insert(&mut self, id: EntryId, hash: u64, charge: u32);

    /// A store begins. A policy may ask the processor for the memory of what it has put off: the thread that put it off may have
    /// asked for that already, but on another core. A policy that wraps another one hands it on.
    ///
    /// Called before most of the stores, and before touches that precede them. Only a hint: whether it is called must make no
    /// difference.
    fn prefetch(&self) {}

    /// A key is about to be looked for, to be stored: its memory takes a moment to come. What the policy has put off until the next
    /// call can be done meanwhile.
    ///
    /// Called before some of the stores. Whether it is must make no difference to who is evicted. A policy that wraps another one
    /// hands it on.
    fn settle(&mut self) {}

    /// The entry was read. Only for [`Recency::Ordered`].
    fn touch(&mut self, id: EntryId);

    /// Returns `true` if the policy wants to know of reads that find nothing. The cache asks once,
    /// when it is built.
    fn wants_misses(&self) -> bool {
        false
    }

    /// A read found no entry under a key with this `hash`. Only for policies that
    /// [want](Self::wants_misses) it.
    ///
    /// Called for one key in eight, chosen by its hash, before the next call for a write. Some misses
    /// are lost where many come between two writes. Often a store of the key follows: the two calls
    /// are one access.
    ///
    /// ```
    /// use bytecache::policy::{EntryId, EvictionPolicy, PolicyContext, Recency, Renumbering, Residents};
    /// use bytecache::policy::{Simulator, Unit};
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
    /// #   fn recency(&self) -> Recency { Recency::Counted }
    /// #   fn insert(&mut self, _: EntryId, _: u64, _: u32) {}
    /// #   fn touch(&mut self, _: EntryId) {}
    /// #   fn update(&mut self, _: EntryId, _: u32, _: u32) {}
    /// #   fn remove(&mut self, _: EntryId, _: u32) {}
    /// #   fn evict(&mut self, _: &mut Residents<'_>) -> Option<EntryId> { None }
    /// #   fn set_capacity(&mut self, _: u64) {}
    /// #   fn renumber(&mut self, _: &Renumbering) {}
    /// #   fn bytes(&self) -> usize { 0 }
    /// }
    ///
    /// let misses = Arc::new(AtomicU32::new(0));
    /// let policy = |_: PolicyContext| -> Box<dyn EvictionPolicy> { Box::new(Count(Arc::clone(&misses))) };
    /// let mut simulator = Simulator::custom(policy, 100, Unit::Entries);
    /// (0..8000).for_each(|key| assert!(!simulator.read(key)));
    /// assert!((900..1100).contains(&misses.load(Ordering::Relaxed)));
    /// ```
    fn missed(&mut self, _hash: u64) {}

    /// The entry gets a new value and takes `charge` bytes from now on, instead of `old_charge`. Counts as an access; a visit was
    /// counted before the call.
    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32);

    /// The entry, which took `charge` bytes, was removed or has expired: it leaves no ghost.
    fn remove(&mut self, id: EntryId, charge: u32);

    /// Names the next victim, and forgets it. `None` if there is none.
    fn evict(&mut self, residents: &mut Residents<'_>) -> Option<EntryId>;

    /// The entries' charges may add up to `charge` bytes from now on. What is too much is evicted by later calls.
    fn set_capacity(&mut self, charge: u64);

    /// The index grew: every resident has another id, and there are more of them.
    fn renumber(&mut self, moved: &Renumbering);

    /// What the policy has allocated, in bytes. Should change in [`renumber`](Self::renumber) only: it counts
    /// against `max_bytes`.
    fn bytes(&self) -> usize;

    /// Recounts what the policy keeps, and panics where it contradicts itself. For tests; checks nothing unless it
    /// is implemented.
    fn validate(&self) {}
}

/// What a policy is made for: one shard of a cache.
#[derive(Clone, Debug)]
pub struct PolicyContext {
    ids: usize,
    max_entries: usize,
    capacity: u64,
}

impl PolicyContext {
    /// A shard of so many ids, all of which may be resident, whose entries may be charged `capacity` together: for tests of a
    /// policy. At most 2^28 ids.
    #[must_use]
    pub fn new(ids: usize, capacity: u64) -> Self {
        Self::for_entries(ids.min(MAX_IDS), ids, capacity)
    }

    /// As [`new`](Self::new), where fewer than all ids are resident at a time.
    pub(crate) fn for_entries(ids: usize, max_entries: usize, capacity: u64) -> Self {
        Self { ids, max_entries: max_entries.min(ids), capacity }
    }

    /// Every id is below this number, until [`EvictionPolicy::renumber`] says otherwise.
    #[must_use]
    pub fn ids(&self) -> usize {
        self.ids
    }

    /// At most so many ids are resident at a time, the entry that is being inserted included, until
    /// [`EvictionPolicy::renumber`] says otherwise. In a cache that is 85 % of all ids.
    #[must_use]
    pub fn max_entries(&self) -> usize {
        self.max_entries
    }

    /// The charge that entries may add up to at first, in bytes.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.capacity
    }
}

/// Makes a policy object for a shard; the user's own or a built-in one.
pub(crate) type PolicyFactory = Arc<dyn Fn(PolicyContext) -> Box<dyn EvictionPolicy> + Send + Sync>;

/// What only the shard knows of its entries.
pub struct Residents<'a> {
    source: &'a dyn ResidentSource,
}

/// Where [`Residents`] gets its answers. Ids that are not resident have no visits, no hash and no charge.
pub(crate) trait ResidentSource {
    fn visits(&self, id: EntryId) -> u8;
    fn set_visits(&self, id: EntryId, visits: u8);
    fn hash(&self, id: EntryId) -> u64;
    fn charge(&self, id: EntryId) -> u32;
    fn expect(&self, id: EntryId);
}

impl<'a> Residents<'a> {
    pub(crate) fn new(source: &'a dyn ResidentSource) -> Self {
        Self { source }
    }

    /// How often the entry was read since its visits were last set, from 0 to 3. For [`Recency::Counted`].
    #[must_use]
    pub fn visits(&self, id: EntryId) -> u8 {
        self.source.visits(id)
    }

    /// Sets the entry's visits; more than 3 are 3.
    pub fn set_visits(&mut self, id: EntryId, visits: u8) {
        self.source.set_visits(id, visits);
    }

    /// The hash of the entry's key, as [`EvictionPolicy::insert`] got it. Reads the key.
    #[must_use]
    pub fn hash(&self, id: EntryId) -> u64 {
        self.source.hash(id)
    }

    /// The entry's charge in bytes, as `insert` or `update` said it last. Reads the entry's header.
    #[must_use]
    pub fn charge(&self, id: EntryId) -> u32 {
        self.source.charge(id)
    }

    /// Says that `id` will probably be evicted soon, so that its cache lines can be fetched. Only a hint.
    pub fn expect(&self, id: EntryId) {
        self.source.expect(id);
    }
}

impl fmt::Debug for Residents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Residents").finish_non_exhaustive()
    }
}

/// In the place of a new number: no table has so many lanes.
const NOT_RESIDENT: u32 = u32::MAX;

/// Where the ids of all residents went when the index grew.
#[derive(Debug)]
pub struct Renumbering {
    /// The new number of each old id, or `NOT_RESIDENT`.
    moves: Vec<u32>,
    ids: usize,
    max_entries: usize,
}

impl Renumbering {
    /// No resident, at first; `old_ids` of them to `ids` new ones, of which `max_entries` may be resident.
    pub(crate) fn new(old_ids: usize, ids: usize, max_entries: usize) -> Self {
        Self { moves: vec![NOT_RESIDENT; old_ids], ids, max_entries }
    }

    /// What a renumbering of so many old ids allocates.
    pub(crate) fn footprint(old_ids: usize) -> usize {
        old_ids * size_of::<u32>()
    }

    pub(crate) fn set(&mut self, old: EntryId, new: EntryId) {
        self.moves[old.index()] = new.get();
    }

    /// The new id of the resident that had the id `old`; `None` for one that was not resident.
    pub fn get(&self, old: EntryId) -> Option<EntryId> {
        let new = self.moves.get(old.index()).copied();
        new.filter(|&new| new != NOT_RESIDENT).map(EntryId::new)
    }

    /// Every new id is below this number.
    #[must_use]
    pub fn ids(&self) -> usize {
        self.ids
    }

    /// At most so many of the new ids are resident at a time: see [`PolicyContext::max_entries`].
    #[must_use]
    pub fn max_entries(&self) -> usize {
        self.max_entries
    }

    /// Moves the values of an array that is indexed by ids to the new ids. Those of no resident are defaults.
    ///
    /// ```
    /// # use bytecache::policy::Renumbering;
    /// fn renumber(counts: &mut Vec<u8>, moved: &Renumbering) {
    ///     moved.apply(counts);
    ///     assert_eq!(counts.len(), moved.ids());
    /// }
    /// ```
    pub fn apply<T: Copy + Default>(&self, values: &mut Vec<T>) {
        let mut moved = vec![T::default(); self.ids];
        for (&new, &value) in self.moves.iter().zip(values.iter()) {
            if new != NOT_RESIDENT {
                moved[new as usize] = value;
            }
        }
        *values = moved;
    }
}

/// Misses are reported for one key in so many. A report then stands for as many misses.
pub(crate) const MISSES_PER_REPORT: u32 = 8;
/// The lowest of the hash's bits that choose the keys. None of them chooses a shard, a bucket, a tag,
/// or a set or fingerprint of ghosts.
const REPORTED_SHIFT: u32 = 37;

/// Returns `true` if misses of a key with this hash are reported.
#[inline(always)]
pub(crate) fn is_miss_reported(hash: u64) -> bool {
    (hash >> REPORTED_SHIFT) % u64::from(MISSES_PER_REPORT) == 0
}

/// A share of a charge, rounded down.
fn percent_of(charge: u64, percent: u8) -> u64 {
    // In this order, as the product might not fit.
    charge / 100 * u64::from(percent) + charge % 100 * u64::from(percent) / 100
}

#[cfg(test)]
mod tests;
