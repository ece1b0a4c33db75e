//! [`Residents`]: the answers that a policy gets about the entries of its shard.

use core::cell::RefCell;
use core::fmt;
use std::collections::HashMap;

use super::EntryId;
use crate::units::MAX_VISITS;

/// The entries of a shard, as [`EvictionPolicy::evict`](super::EvictionPolicy::evict) may ask for
/// them: their visits, hashes and charges.
///
/// An id that is not resident has no visits, the hash 0 and the charge 0.
///
/// ```
/// use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents, Unit};
/// use bytecache::policy::{Request, simulate_custom};
///
/// /// Evicts the entry with the fewest visits, and of these the largest. Slow, as it asks for all.
/// #[derive(Default)]
/// struct FewestVisits(Vec<EntryId>);
///
/// impl EvictionPolicy for FewestVisits {
///     fn evict(
///         &mut self,
///         _newcomer: Option<&Newcomer>,
///         residents: &mut Residents<'_>,
///     ) -> Option<EntryId> {
///         let wanted = |&id: &EntryId| (residents.visits(id), u32::MAX - residents.charge(id));
///         let victim = self.0.iter().copied().min_by_key(wanted)?;
///         self.remove(victim, residents.charge(victim));
///         self.0.iter().for_each(|&id| residents.set_visits(id, residents.visits(id) / 2));
///         Some(victim)
///     }
///     // ...
/// #   fn insert(&mut self, newcomer: &Newcomer) { self.0.push(newcomer.id); }
/// #   fn remove(&mut self, id: EntryId, _: u32) { self.0.retain(|&other| other != id); }
/// #   fn resize(&mut self, _: usize, _: usize) -> bool { true }
/// #   fn rename(&mut self, from: EntryId, to: EntryId) {
/// #       self.0.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
/// #   }
/// #   fn bytes(&self) -> usize { 0 }
/// }
///
/// let requests = [(1, 10), (1, 10), (2, 40), (3, 10), (4, 50), (1, 10)];
/// let requests = requests.map(|(hash, charge)| Request { hash, charge });
/// let policy = |_| -> Box<dyn EvictionPolicy> { Box::new(FewestVisits::default()) };
/// let simulation = simulate_custom(policy, 100, Unit::Bytes, requests);
/// assert_eq!(simulation.misses, 4); // 2 leaves for 4.
/// ```
pub struct Residents<'a> {
    source: &'a dyn ResidentSource,
}

/// The source of the answers of [`Residents`]. Ids that are not resident have no visits, no hash
/// and no charge.
pub(crate) trait ResidentSource {
    fn visits(&self, id: EntryId) -> u8;
    fn set_visits(&self, id: EntryId, visits: u8);
    fn hash(&self, id: EntryId) -> u64;
    fn charge(&self, id: EntryId) -> u32;
    fn expect(&self, id: EntryId);

    /// Returns the charge and the hash.
    fn charge_and_hash(&self, id: EntryId) -> (u32, u64) {
        (self.charge(id), self.hash(id))
    }

    /// Is [`Residents::turn`].
    fn turn(&self, id: EntryId, later: Option<EntryId>, fate: Unvisited) -> Turn {
        if let Some(later) = later {
            self.expect(later);
        }
        let visits = self.visits(id);
        let (charge, hash) = if visits == 0 && fate == Unvisited::Leaves { self.charge_and_hash(id) } else { (0, 0) };
        Turn { visits, charge, hash }
    }
}

/// The fate of an entry that has no visits when its turn comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unvisited {
    /// Its charge and hash are not needed, as it stays or the policy asks for them later.
    Stays,
    /// Both are needed.
    Leaves,
}

/// The answers about an entry whose turn it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turn {
    pub(crate) visits: u8,
    /// The charge and the hash of an entry without visits that leaves. 0 for others.
    pub(crate) charge: u32,
    pub(crate) hash: u64,
}

impl<'a> Residents<'a> {
    pub(crate) fn new(source: &'a dyn ResidentSource) -> Self {
        Self { source }
    }

    /// Returns what a queue needs to know of the entry whose turn it is, in one call. Announces
    /// `later`, as [`expect`](Self::expect).
    #[inline]
    pub(crate) fn turn(&self, id: EntryId, later: Option<EntryId>, fate: Unvisited) -> Turn {
        self.source.turn(id, later, fate)
    }

    /// Returns the charge and the hash of an entry that leaves after its turn.
    #[inline]
    pub(crate) fn charge_and_hash_after(&self, turn: Turn, id: EntryId) -> (u32, u64) {
        if turn.charge > 0 { (turn.charge, turn.hash) } else { self.charge_and_hash(id) }
    }

    /// Returns how often the entry was read since its visits were last set, from 0 to 3. For
    /// [`Recency::Counted`](super::Recency::Counted).
    ///
    /// ```
    /// use std::collections::VecDeque;
    /// use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents};
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// /// Evicts the oldest entry that was never read.
    /// struct Unread(VecDeque<EntryId>);
    ///
    /// impl EvictionPolicy for Unread {
    ///     fn evict(
    ///         &mut self,
    ///         _newcomer: Option<&Newcomer>,
    ///         residents: &mut Residents<'_>,
    ///     ) -> Option<EntryId> {
    ///         let unread = self.0.iter().position(|&id| residents.visits(id) == 0);
    ///         self.0.remove(unread.unwrap_or(0))
    ///     }
    ///     // ...
    /// # fn insert(&mut self, newcomer: &Newcomer) { self.0.push_back(newcomer.id); }
    /// # fn remove(&mut self, id: EntryId, _: u32) { self.0.retain(|&other| other != id); }
    /// # fn resize(&mut self, _: usize, _: usize) -> bool { true }
    /// # fn rename(&mut self, from: EntryId, to: EntryId) {
    /// #     self.0.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
    /// # }
    /// # fn bytes(&self) -> usize { 0 }
    /// }
    ///
    /// let policy = Unread(VecDeque::new());
    /// let mut simulator = Simulator::custom(|_| Box::new(policy), 2, Unit::Entries);
    /// [1, 2, 1, 3].map(|hash| simulator.request(Request { hash, charge: 1 }));
    /// assert_eq!(simulator.evicted(), [2]);
    /// ```
    #[must_use]
    pub fn visits(&self, id: EntryId) -> u8 {
        self.source.visits(id)
    }

    /// Sets the entry's visits. A number above 3 counts as 3.
    ///
    /// ```
    /// use std::collections::VecDeque;
    /// use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents};
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// /// Evicts the oldest entry that was not read since its last turn: CLOCK.
    /// struct Clock(VecDeque<EntryId>);
    ///
    /// impl EvictionPolicy for Clock {
    ///     fn evict(
    ///         &mut self,
    ///         _newcomer: Option<&Newcomer>,
    ///         residents: &mut Residents<'_>,
    ///     ) -> Option<EntryId> {
    ///         loop {
    ///             let oldest = self.0.pop_front()?;
    ///             if residents.visits(oldest) == 0 {
    ///                 return Some(oldest);
    ///             }
    ///             residents.set_visits(oldest, 0);
    ///             self.0.push_back(oldest);
    ///         }
    ///     }
    ///     // ...
    /// # fn insert(&mut self, newcomer: &Newcomer) { self.0.push_back(newcomer.id); }
    /// # fn remove(&mut self, id: EntryId, _: u32) { self.0.retain(|&other| other != id); }
    /// # fn resize(&mut self, _: usize, _: usize) -> bool { true }
    /// # fn rename(&mut self, from: EntryId, to: EntryId) {
    /// #     self.0.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
    /// # }
    /// # fn bytes(&self) -> usize { 0 }
    /// }
    ///
    /// let policy = Clock(VecDeque::new());
    /// let mut simulator = Simulator::custom(|_| Box::new(policy), 2, Unit::Entries);
    /// [1, 2, 1, 3, 4].map(|hash| simulator.request(Request { hash, charge: 1 }));
    /// assert!(!simulator.contains(1)); // It was read before its first turn only.
    /// ```
    pub fn set_visits(&mut self, id: EntryId, visits: u8) {
        self.source.set_visits(id, visits);
    }

    /// Returns the hash of the entry's key: [`Newcomer::hash`](super::Newcomer::hash). Reads the
    /// key.
    ///
    /// ```
    /// use std::collections::{HashSet, VecDeque};
    /// use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents};
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// /// Evicts the oldest entry, and refuses keys that it has not seen before.
    /// #[derive(Default)]
    /// struct SecondTime {
    ///     queue: VecDeque<EntryId>,
    ///     /// The hashes of keys that were refused or have left.
    ///     ghosts: HashSet<u64>,
    /// }
    ///
    /// impl EvictionPolicy for SecondTime {
    ///     fn evict(
    ///         &mut self,
    ///         newcomer: Option<&Newcomer>,
    ///         residents: &mut Residents<'_>,
    ///     ) -> Option<EntryId> {
    ///         if let Some(new) = newcomer.filter(|new| self.ghosts.insert(new.hash)) {
    ///             return Some(new.id);
    ///         }
    ///         let oldest = self.queue.pop_front()?;
    ///         self.ghosts.insert(residents.hash(oldest));
    ///         Some(oldest)
    ///     }
    ///     // ...
    /// # fn insert(&mut self, newcomer: &Newcomer) { self.queue.push_back(newcomer.id); }
    /// # fn remove(&mut self, id: EntryId, _: u32) { self.queue.retain(|&other| other != id); }
    /// # fn resize(&mut self, _: usize, _: usize) -> bool { true }
    /// # fn rename(&mut self, from: EntryId, to: EntryId) {
    /// #     self.queue.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
    /// # }
    /// # fn bytes(&self) -> usize { 0 }
    /// }
    ///
    /// let policy = SecondTime::default();
    /// let mut simulator = Simulator::custom(|_| Box::new(policy), 1, Unit::Entries);
    /// [1, 2, 2, 1].map(|hash| simulator.request(Request { hash, charge: 1 }));
    /// assert_eq!(simulator.evicted(), [2]); // 1 has a ghost, so it is stored at once.
    /// ```
    #[must_use]
    pub fn hash(&self, id: EntryId) -> u64 {
        self.source.hash(id)
    }

    /// Returns the entry's charge in bytes, as `insert` or `update` named it last. Reads the
    /// entry's header.
    ///
    /// ```
    /// use std::collections::VecDeque;
    /// use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents};
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// /// Evicts the largest entry.
    /// struct Largest(VecDeque<EntryId>);
    ///
    /// impl EvictionPolicy for Largest {
    ///     fn evict(
    ///         &mut self,
    ///         _newcomer: Option<&Newcomer>,
    ///         residents: &mut Residents<'_>,
    ///     ) -> Option<EntryId> {
    ///         let charges = self.0.iter().map(|&id| residents.charge(id));
    ///         let (_charge, largest) = charges.zip(0..).max()?;
    ///         self.0.remove(largest)
    ///     }
    ///     // ...
    /// # fn insert(&mut self, newcomer: &Newcomer) { self.0.push_back(newcomer.id); }
    /// # fn remove(&mut self, id: EntryId, _: u32) { self.0.retain(|&other| other != id); }
    /// # fn resize(&mut self, _: usize, _: usize) -> bool { true }
    /// # fn rename(&mut self, from: EntryId, to: EntryId) {
    /// #     self.0.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
    /// # }
    /// # fn bytes(&self) -> usize { 0 }
    /// }
    ///
    /// let policy = Largest(VecDeque::new());
    /// let mut simulator = Simulator::custom(|_| Box::new(policy), 100, Unit::Bytes);
    /// for (hash, charge) in [(1, 20), (2, 70), (3, 30)] {
    ///     simulator.request(Request { hash, charge });
    /// }
    /// assert_eq!(simulator.evicted(), [2]);
    /// ```
    #[must_use]
    pub fn charge(&self, id: EntryId) -> u32 {
        self.source.charge(id)
    }

    /// Returns the charge and the hash, with one look at the entry.
    pub(super) fn charge_and_hash(&self, id: EntryId) -> (u32, u64) {
        self.source.charge_and_hash(id)
    }

    /// Announces that `id` will probably be evicted soon, so that its cache lines are prefetched.
    /// Only a hint.
    ///
    /// ```
    /// use std::collections::VecDeque;
    /// use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents};
    /// use bytecache::policy::{Request, Simulator, Unit};
    ///
    /// /// Evicts the oldest entry, and announces the next one.
    /// struct Fifo(VecDeque<EntryId>);
    ///
    /// impl EvictionPolicy for Fifo {
    ///     fn evict(
    ///         &mut self,
    ///         _newcomer: Option<&Newcomer>,
    ///         residents: &mut Residents<'_>,
    ///     ) -> Option<EntryId> {
    ///         let oldest = self.0.pop_front()?;
    ///         if let Some(&next) = self.0.front() {
    ///             residents.expect(next);
    ///         }
    ///         Some(oldest)
    ///     }
    ///     // ...
    /// # fn insert(&mut self, newcomer: &Newcomer) { self.0.push_back(newcomer.id); }
    /// # fn remove(&mut self, id: EntryId, _: u32) { self.0.retain(|&other| other != id); }
    /// # fn resize(&mut self, _: usize, _: usize) -> bool { true }
    /// # fn rename(&mut self, from: EntryId, to: EntryId) {
    /// #     self.0.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
    /// # }
    /// # fn bytes(&self) -> usize { 0 }
    /// }
    ///
    /// let policy = Fifo(VecDeque::new());
    /// let mut simulator = Simulator::custom(|_| Box::new(policy), 2, Unit::Entries);
    /// [1, 2, 3].map(|hash| simulator.request(Request { hash, charge: 1 }));
    /// assert_eq!(simulator.evicted(), [1]);
    /// ```
    pub fn expect(&self, id: EntryId) {
        self.source.expect(id);
    }
}

/// The residents of another source, under other ids. Visits that are set are kept here.
pub(crate) struct OtherIds<'a> {
    source: &'a dyn ResidentSource,
    ids: &'a dyn Fn(EntryId) -> EntryId,
    visits: RefCell<HashMap<EntryId, u8>>,
}

impl<'a> OtherIds<'a> {
    /// Creates the source of residents under ids that `ids` translates.
    pub(crate) fn new(residents: &'a Residents<'_>, ids: &'a dyn Fn(EntryId) -> EntryId) -> Self {
        Self { source: residents.source, ids, visits: RefCell::default() }
    }
}

impl ResidentSource for OtherIds<'_> {
    fn visits(&self, id: EntryId) -> u8 {
        let set = self.visits.borrow().get(&id).copied();
        set.unwrap_or_else(|| self.source.visits((self.ids)(id)))
    }
    fn set_visits(&self, id: EntryId, visits: u8) {
        self.visits.borrow_mut().insert(id, visits.min(MAX_VISITS));
    }
    fn hash(&self, id: EntryId) -> u64 {
        self.source.hash((self.ids)(id))
    }
    fn charge(&self, id: EntryId) -> u32 {
        self.source.charge((self.ids)(id))
    }
    fn expect(&self, _id: EntryId) {}
}

impl fmt::Debug for Residents<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Residents").finish_non_exhaustive()
    }
}
