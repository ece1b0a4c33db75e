//! Policies as their papers state them: a miss makes room first, then the new entry takes its place.
//!
//! The [`EvictionPolicy`] contract tells a policy of a new entry before it asks for victims, so that a policy may
//! refuse the newcomer. Most algorithms are defined the other way round, and it matters: a clock whose hand
//! comes round to an entry that is not placed yet would evict it. [`RoomFirst`] turns one order into the other,
//! once for all of them: it keeps the newcomer until its victims have been chosen. The next access gives it its
//! place; by then the memory that this touches has been fetched, and what that access looks for is on its way.
//!
//! ```text
//!   insert(x)                         settle the one before; miss(x): look for a ghost, adapt
//!   evict() ...                       evict(Some(x)) ...
//!   settle, touch, update, insert, remove(x)   place(x)
//! ```
//!
//! The other calls come in the middle of an insert, and leave it waiting: the capacity changes, another entry is removed
//! because space was needed where it lies.

use super::{EntryId, EvictionPolicy, Recency, Renumbering, Residents};

/// A key that comes in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Newcomer {
    pub(super) id: EntryId,
    pub(super) hash: u64,
    pub(super) charge: u32,
}

/// An eviction algorithm. Calls mean what they mean for [`EvictionPolicy`], but for `miss` and `place`.
pub(super) trait Algorithm: Send {
    fn recency(&self) -> Recency;

    /// A new key is about to come in; room for it is made next. Here ghosts are looked up.
    fn miss(&mut self, _newcomer: &Newcomer) {}

    /// Names the next victim, to make room for the newcomer if there is one, and forgets it. It may be the
    /// newcomer, which has no place yet. `None` if no entry has a place.
    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId>;

    /// Asks the processor for what [`place`](Self::place) will touch.
    fn prefetch(&self, _newcomer: &Newcomer) {}

    /// There is room: the newcomer takes its place.
    fn place(&mut self, newcomer: &Newcomer);

    /// The entry was read. Only for [`Recency::Ordered`].
    fn hit(&mut self, _id: EntryId) {}

    /// Returns `true` if the algorithm wants to know of misses. Asked once.
    fn wants_misses(&self) -> bool {
        false
    }

    /// A read found nothing. Only for algorithms that want to know.
    fn missed(&mut self, _hash: u64) {}

    /// The entry has another charge. An ordered algorithm counts that as a hit.
    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32);

    fn remove(&mut self, id: EntryId, charge: u32);

    fn set_capacity(&mut self, _charge: u64) {}

    fn renumber(&mut self, moved: &Renumbering);

    fn bytes(&self) -> usize;

    /// Recounts what is kept, and panics where it differs.
    fn validate(&self);
}

/// An algorithm, as a policy. It begins a cache line; what each insert writes to comes first.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct RoomFirst<A> {
    newcomer: Option<Newcomer>,
    algorithm: A,
}

impl<A: Algorithm> RoomFirst<A> {
    pub(super) fn new(algorithm: A) -> Self {
        Self { algorithm, newcomer: None }
    }

    /// The algorithm, with every entry in its place.
    fn settled(&mut self) -> &mut A {
        if let Some(newcomer) = self.newcomer.take() {
            self.algorithm.place(&newcomer);
        }
        &mut self.algorithm
    }
}

impl<A: Algorithm> EvictionPolicy for RoomFirst<A> {
    fn recency(&self) -> Recency {
        self.algorithm.recency()
    }

    fn insert(&mut self, id: EntryId, hash: u64, charge: u32) {
        let newcomer = Newcomer { id, hash, charge };
        self.settled().miss(&newcomer);
        self.newcomer = Some(newcomer);
    }

    fn settle(&mut self) {
        self.settled();
    }

    fn prefetch(&self) {
        if let Some(newcomer) = &self.newcomer {
            self.algorithm.prefetch(newcomer);
        }
    }

    fn touch(&mut self, id: EntryId) {
        self.settled().hit(id);
    }

    fn wants_misses(&self) -> bool {
        self.algorithm.wants_misses()
    }

    fn missed(&mut self, hash: u64) {
        self.settled().missed(hash);
    }

    fn update(&mut self, id: EntryId, old_charge: u32, charge: u32) {
        self.settled().update(id, old_charge, charge);
    }

    fn remove(&mut self, id: EntryId, charge: u32) {
        if self.newcomer.is_some_and(|newcomer| newcomer.id == id) {
            // It takes its ghost with it.
            self.settled();
        }
        self.algorithm.remove(id, charge);
    }

    fn evict(&mut self, residents: &mut Residents<'_>) -> Option<EntryId> {
        // If nothing but the newcomer is left, it goes like any other.
        let victim = self.algorithm.evict(self.newcomer.as_ref(), residents);
        let victim = victim.or_else(|| self.settled().evict(None, residents));
        if self.newcomer.is_some_and(|newcomer| Some(newcomer.id) == victim) {
            self.newcomer = None;
        }
        victim
    }

    fn set_capacity(&mut self, charge: u64) {
        self.algorithm.set_capacity(charge);
    }

    fn renumber(&mut self, moved: &Renumbering) {
        self.settled().renumber(moved);
    }

    fn bytes(&self) -> usize {
        self.algorithm.bytes()
    }

    fn validate(&self) {
        self.algorithm.validate();
    }
}
