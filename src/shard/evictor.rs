//! The evictor: the policy of a shard, and all that is known about victims.
//!
//! ```text
//!   a store   insert, update -> policy
//!   no room   choose         -> policy names a victim -> the writer unlinks it
//!                            -> it names none         -> any entry, which it is told to forget
//! ```
//!
//! The evictor chooses and the writer removes, as a removal copies the entry for the listener
//! first. What each store changes is apart from the rest, in [`Pending`]: it lies with the shard's
//! lock (see [`State`](super::State)).
//!
//! # Invariants
//!
//! 1. The policy's residents are the used lanes, and the entry that is being stored:
//!    `Pending::arrival`.
//! 2. A policy that has panicked, or whose entries were cleared away, is replaced before it is
//!    called again: `is_outdated`.
//! 3. The account holds `bytes` for the policy. [`Writer::account_for_policy`](super::Writer)
//!    brings that up to date once a chunk.

use core::cell::Cell;
use core::num::NonZeroU32;
use core::ops::Range;

use super::entries::{Entries, Known};
use super::prefetch::{Announced, LastWriter};
use crate::hash::KeyHash;
use crate::policy::{
    Arrival, Choice, EvictionPolicy, MAX_UNKNOWN, Newcomer, PolicyContext, PolicyFactory, ResidentSource, Residents,
    Standing, Turn, Unvisited,
};
use crate::reclaim::Live;
use crate::units::EntryId;

/// The part of the evictor that each store changes.
pub(super) struct Pending {
    /// The entry that came last, until it has its place in the policy. While it is being stored it
    /// has an id for the policy, and no location yet.
    arrival: Arrival,
    /// The entry that is being updated, and the charge that the policy was told of already.
    updated: Option<(EntryId, NonZeroU32)>,
    announced: Announced,
    last_writer: LastWriter,
}

impl Pending {
    pub(super) fn new() -> Self {
        let (announced, last_writer) = (Announced::new(), LastWriter::NONE);
        Self { arrival: Arrival::new(), updated: None, announced, last_writer }
    }

    /// Notes that this thread writes. Returns `true` if another one wrote before it.
    #[inline]
    pub(super) fn note_writer(&mut self) -> bool {
        let thread = LastWriter::this_thread();
        core::mem::replace(&mut self.last_writer, thread) != thread
    }

    /// Returns the victims that the policy announced last.
    #[inline]
    pub(super) fn announced(&self) -> &Announced {
        &self.announced
    }

    /// Returns `true` if an entry is being stored and the policy has not evicted it.
    #[inline]
    pub(super) fn has_newcomer(&self) -> bool {
        self.arrival.being_stored().is_some()
    }

    /// Ends the store of an entry. Returns `true` if the policy has not evicted it meanwhile.
    #[inline]
    pub(super) fn end_insert(&mut self) -> bool {
        self.arrival.end()
    }

    /// Ends an update: the ring has the charge that the policy was told of, or the policy is told
    /// of the former one.
    #[inline]
    pub(super) fn end_update(&mut self) {
        self.updated = None;
    }

    /// Forgets the entry that came last and the one that is being updated.
    pub(super) fn clear(&mut self) {
        self.arrival = Arrival::new();
        self.updated = None;
    }

    /// Returns the charge that the policy was told of, for an entry whose charge in the ring is
    /// another.
    #[inline]
    fn charge_of(&self, id: EntryId) -> Option<u32> {
        let newcomer = self.arrival.being_stored().map(|newcomer| (newcomer.id, newcomer.charge));
        let in_store = newcomer.or_else(|| self.updated.map(|(id, charge)| (id, charge.get())));
        in_store.and_then(|(in_store, charge)| (in_store == id).then_some(charge))
    }
}

/// A choice of the [`Evictor`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// The policy has forgotten this entry, which is to be unlinked. [`Asked`] is about it if
    /// `is_known`.
    Entry { id: EntryId, is_known: bool },
    /// The entry that is being stored: it will not be.
    Newcomer,
    /// There is no entry.
    None,
}

/// The policy of a shard.
pub(super) struct Evictor {
    policy: Box<dyn EvictionPolicy>,
    factory: PolicyFactory,
    /// Bytes that the account holds for the policy.
    bytes: usize,
    /// The live bytes that the policy was told to keep to.
    capacity: usize,
    /// The lane that was examined last for a victim when the policy named none.
    examined: u32,
    /// The policy is to be replaced before it is called again.
    is_outdated: bool,
}

impl Evictor {
    /// Creates the evictor of a new policy, whose bytes the account holds.
    pub(super) fn new(policy: Box<dyn EvictionPolicy>, factory: PolicyFactory) -> Self {
        Self { bytes: policy.bytes(), policy, factory, capacity: 0, examined: 0, is_outdated: false }
    }

    #[inline]
    pub(super) fn policy(&self) -> &dyn EvictionPolicy {
        &*self.policy
    }

    /// Returns the bytes that the account holds for the policy.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes how many bytes the account holds for the policy.
    pub(super) fn set_bytes(&mut self, bytes: usize) {
        self.bytes = bytes;
    }

    /// Returns how many bytes may be live.
    #[inline]
    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sets how many bytes may be live, and tells the policy when that has changed.
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        if capacity != self.capacity {
            self.capacity = capacity;
            self.policy.set_capacity(capacity as u64);
        }
    }

    /// Gives the entry that came last its place in the policy.
    #[inline]
    pub(super) fn settle(&mut self, pending: &Pending) {
        pending.arrival.settle(&mut *self.policy);
    }

    /// Prefetches what [`settle`](Self::settle) will touch.
    #[inline]
    pub(super) fn prefetch(&self, pending: &Pending) {
        pending.arrival.prefetch(&*self.policy);
    }

    /// Tells the policy of a read that found nothing.
    #[inline]
    pub(super) fn missed(&mut self, pending: &Pending, hash: u64) {
        self.settle(pending);
        self.policy.missed(hash);
    }

    /// Tells the policy of a read.
    #[inline]
    pub(super) fn touch(&mut self, pending: &Pending, id: EntryId) {
        self.settle(pending);
        self.policy.touch(id);
    }

    /// Tells the policy of an entry that is about to be stored.
    #[inline]
    pub(super) fn insert(&mut self, pending: &mut Pending, id: EntryId, hash: KeyHash, charge: usize) {
        let newcomer = Newcomer { id, hash: hash.get(), charge: charge_u32(charge) };
        pending.arrival.begin(&mut *self.policy, newcomer);
    }

    /// Takes back an insert for which no space was found. Returns `true` if the policy has not
    /// evicted the entry meanwhile.
    pub(super) fn undo_insert(&mut self, pending: &Pending) -> bool {
        pending.arrival.cancel(&mut *self.policy)
    }

    /// Tells the policy of an update that is about to be stored.
    #[inline]
    pub(super) fn update(&mut self, pending: &mut Pending, id: EntryId, old_charge: usize, charge: usize) {
        let (old_charge, charge) = (charge_u32(old_charge), charge_u32(charge));
        pending.updated = NonZeroU32::new(charge).map(|charge| (id, charge));
        self.settle(pending);
        self.policy.update(id, old_charge, charge);
    }

    /// Takes back an update for which no space was found.
    pub(super) fn undo_update(&mut self, pending: &Pending, id: EntryId, old_charge: usize, charge: usize) {
        self.settle(pending);
        self.policy.update(id, charge_u32(charge), charge_u32(old_charge));
    }

    /// Removes a resident from the policy that the policy has not chosen.
    #[inline]
    pub(super) fn forget(&mut self, pending: &Pending, entries: &Entries, id: EntryId) {
        let charge = charge_of(pending, entries, id);
        pending.arrival.remove(&mut *self.policy, id, charge);
    }

    /// Chooses who leaves. What is known of the victim is in `asked` then, which is new.
    #[inline(always)]
    pub(super) fn choose(&mut self, pending: &Pending, entries: &Entries, asked: &Asked) -> Victim {
        for _ in 0..MAX_UNKNOWN {
            let source = Source { entries, pending, asked };
            match pending.arrival.evict(&mut *self.policy, &mut Residents::new(&source)) {
                None => break,
                Some(Choice::Newcomer(_)) => return Victim::Newcomer,
                Some(Choice::Resident(victim)) => {
                    // Only entries that are present are noted.
                    let is_known = asked.is_about(victim);
                    if is_known || entries.live(victim).is_some() {
                        return Victim::Entry { id: victim, is_known };
                    }
                }
            }
        }
        self.choose_any(pending, entries)
    }

    /// Chooses any entry: the policy names none, or none that is there.
    #[cold]
    fn choose_any(&mut self, pending: &Pending, entries: &Entries) -> Victim {
        if entries.len() == 0 {
            return Victim::None;
        }
        // Ends: an entry is in one of the lanes. The search goes on where the last one ended, so it
        // examines each lane once before it comes to one again.
        let lanes = charge_u32(entries.table().lanes());
        for _ in 0..lanes {
            self.examined = (self.examined + 1) % lanes;
            let id = EntryId::new(self.examined);
            if entries.live(id).is_some() {
                self.forget(pending, entries, id);
                return Victim::Entry { id, is_known: false };
            }
        }
        Victim::None
    }

    /// Tells the policy how many ids there are, and how many may be resident. Returns `false` if it
    /// needs further calls to adapt.
    pub(super) fn resize(&mut self, pending: &Pending, ids: usize, max_entries: usize) -> bool {
        self.settle(pending);
        self.policy.resize(ids, max_entries)
    }

    /// Announces renames to the policy. Returns `false` if it needs further calls to prepare.
    pub(super) fn prepare_renames(&mut self, pending: &Pending, from: Range<u32>, to: Range<u32>) -> bool {
        self.settle(pending);
        self.policy.prepare_renames(from, to)
    }

    /// Tells the policy that an entry has another id. Nothing is pending.
    pub(super) fn rename(&mut self, from: EntryId, to: EntryId) {
        self.policy.rename(from, to);
    }

    /// Tells the policy that no rename follows.
    pub(super) fn end_renames(&mut self) {
        self.policy.end_renames();
    }

    /// Appends the policy's state.
    pub(super) fn save_state(&mut self, pending: &Pending, state: &mut Vec<u8>) {
        self.settle(pending);
        self.policy.save_state(state);
    }

    /// Begins a walk of the policy.
    pub(super) fn begin_walk(&mut self, pending: &Pending) {
        self.settle(pending);
        self.policy.begin_walk();
    }

    /// Appends about `most` more entries of the walk. Returns `true` at its end.
    pub(super) fn walk(&mut self, pending: &Pending, most: usize, shown: &mut Vec<(EntryId, Standing)>) -> bool {
        self.settle(pending);
        self.policy.walk(most, &mut |id, standing| shown.push((id, standing)))
    }

    /// Restores the policy's state.
    pub(super) fn restore_state(&mut self, state: &[u8]) {
        self.policy.restore_state(state);
    }

    /// Restores a part of what the policy remembers of keys.
    pub(super) fn restore_history(&mut self, part: usize, bytes: &[u8]) {
        self.policy.restore_history(part, bytes);
    }

    /// Tells the policy of an entry of a snapshot, which is stored already. The standing is there
    /// if the policy knows its meaning.
    pub(super) fn restore(
        &mut self,
        pending: &Pending,
        id: EntryId,
        hash: KeyHash,
        charge: usize,
        standing: Option<Standing>,
    ) {
        let newcomer = Newcomer { id, hash: hash.get(), charge: charge_u32(charge) };
        self.settle(pending);
        match standing {
            Some(standing) => self.policy.restore(&newcomer, standing),
            None => {
                self.policy.prepare_insert(&newcomer);
                self.policy.insert(&newcomer);
            }
        }
    }

    /// Returns `true` if the policy is to be replaced before it is called again.
    #[inline]
    pub(super) fn is_outdated(&self) -> bool {
        self.is_outdated
    }

    /// Marks the policy as one that is to be replaced before it is called again. Runs no user code.
    pub(super) fn set_outdated(&mut self) {
        self.is_outdated = true;
    }

    /// Takes the policy out, before another is [created](Self::create_policy).
    pub(super) fn take_policy(&mut self) -> Box<dyn EvictionPolicy> {
        core::mem::replace(&mut self.policy, Box::new(NoPolicy))
    }

    /// Creates a policy for an empty index of `lanes` lanes.
    pub(super) fn create_policy(&mut self, lanes: usize, max_entries: usize) {
        self.policy = (self.factory)(PolicyContext::for_entries(lanes, max_entries, self.capacity as u64));
        self.is_outdated = false;
    }
}

/// Returns the charge that the policy knows a resident by.
#[inline]
fn charge_of(pending: &Pending, entries: &Entries, id: EntryId) -> u32 {
    pending
        .charge_of(id)
        .unwrap_or_else(|| entries.live(id).map_or(0, |live| charge_u32(entries.ring().charge_at(live))))
}

/// No policy: stands where one is about to be made.
pub(crate) struct NoPolicy;

impl EvictionPolicy for NoPolicy {
    fn insert(&mut self, _newcomer: &Newcomer) {}
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

/// The view that a policy has of the shard's entries.
struct Source<'a> {
    entries: &'a Entries,
    pending: &'a Pending,
    asked: &'a Asked,
}

/// The last resident whose hash the policy has asked for, and what is known of it. Mostly it is the
/// victim.
pub(super) struct Asked {
    id: Cell<EntryId>,
    hash: Cell<KeyHash>,
    /// 0 if no hash was asked for.
    charge: Cell<u32>,
}

impl Asked {
    pub(super) fn new() -> Self {
        Self { id: Cell::new(EntryId::new(0)), hash: Cell::new(KeyHash::new(0)), charge: Cell::new(0) }
    }

    /// Returns `true` if an entry is the one that was asked for.
    #[inline]
    fn is_about(&self, id: EntryId) -> bool {
        self.id.get() == id && self.charge.get() > 0
    }

    /// Returns what is known of the entry, if this is about it.
    #[inline(always)]
    pub(super) fn known(&self, is_about_it: bool) -> Known {
        match is_about_it {
            true => Known { hash: Some(self.hash.get()), charge: NonZeroU32::new(self.charge.get()) },
            false => Known::default(),
        }
    }
}

impl Source<'_> {
    /// Returns the charge in the ring, and the hash, of an entry that is there. Notes them.
    #[inline(always)]
    fn look_up(&self, id: EntryId, live: Live<'_>) -> (u32, KeyHash) {
        let (charge, hash) = self.entries.charge_and_hash_of(live);
        let charge = charge_u32(charge);
        self.asked.id.set(id);
        self.asked.hash.set(hash);
        self.asked.charge.set(charge);
        (charge, hash)
    }

    /// Returns the charge and the hash that the policy knows an entry by that is there.
    #[inline(always)]
    fn known_charge_and_hash(&self, id: EntryId, live: Live<'_>) -> (u32, u64) {
        let (charge, hash) = self.look_up(id, live);
        let charge = if self.pending.updated.is_none() { charge } else { self.charge(id) };
        (charge, hash.get())
    }
}

impl ResidentSource for Source<'_> {
    fn visits(&self, id: EntryId) -> u8 {
        if self.entries.live(id).is_some() { self.entries.table().visits(id) } else { 0 }
    }

    fn set_visits(&self, id: EntryId, visits: u8) {
        if self.entries.live(id).is_some() {
            self.entries.table().set_visits(id, visits);
        }
    }

    fn hash(&self, id: EntryId) -> u64 {
        if let Some(live) = self.entries.live(id) {
            return self.look_up(id, live).1.get();
        }
        // The newcomer is not there before it is published.
        let newcomer = self.pending.arrival.being_stored().filter(|newcomer| newcomer.id == id);
        newcomer.map_or(0, |newcomer| newcomer.hash)
    }

    fn charge(&self, id: EntryId) -> u32 {
        charge_of(self.pending, self.entries, id)
    }

    fn charge_and_hash(&self, id: EntryId) -> (u32, u64) {
        match self.entries.live(id) {
            Some(live) => self.known_charge_and_hash(id, live),
            None => (self.charge(id), self.hash(id)),
        }
    }

    fn turn(&self, id: EntryId, later: Option<EntryId>, fate: Unvisited) -> Turn {
        if let Some(later) = later {
            self.expect(later);
        }
        let Some(live) = self.entries.live(id) else { return Turn { visits: 0, charge: 0, hash: 0 } };
        let visits = self.entries.table().visits(id);
        let is_leaving = visits == 0 && fate == Unvisited::Leaves;
        let (charge, hash) = if is_leaving { self.known_charge_and_hash(id, live) } else { (0, 0) };
        Turn { visits, charge, hash }
    }

    #[inline]
    fn expect(&self, id: EntryId) {
        self.entries.table().prefetch_lane(id);
        // The lane of the one before has arrived by now, and says where its header is.
        self.pending.announced.push(id, |before| {
            let location = self.entries.live(before)?.location();
            self.entries.ring().prefetch_death(location);
            Some(location)
        });
    }
}

/// Converts a charge. It always fits: key and value are at most an eighth of the largest shard,
/// which is 2 GiB, and the rest is less than a chunk.
fn charge_u32(charge: usize) -> u32 {
    debug_assert!(u32::try_from(charge).is_ok());
    #[allow(clippy::cast_possible_truncation, reason = "see above")]
    {
        charge as u32
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::hash::KeyHasher;
    use crate::index::{FreeLane, LocationBits, MIN_BUCKETS, Table};
    use crate::policy::Policy;
    use crate::ring::{Alignment, Draft, Ring, RingSize, Stream};
    use crate::units::Stamps;

    /// Entries with one chunk to write to.
    fn entries() -> Entries {
        let mut ring = Ring::new(RingSize::fixed(8), 12, Alignment::new(1).expect("an alignment")).expect("memory");
        assert!(ring.put_to_use() && ring.open_next(Stream::Fresh, None));
        let table = Table::new(MIN_BUCKETS, MIN_BUCKETS, LocationBits::for_arena(ring.usual_bytes())).expect("memory");
        Entries::new(Arc::new(table), ring, KeyHasher::random(), 0)
    }

    fn evictor(policy: impl Fn() -> Box<dyn EvictionPolicy> + Send + Sync + 'static) -> Evictor {
        Evictor::new(policy(), Arc::new(move |_| policy()))
    }

    fn hash(entries: &Entries, key: &[u8]) -> KeyHash {
        entries.hasher().hash(key).within_shard(0)
    }

    /// Writes an entry and publishes it in a lane, without the policy.
    fn publish(entries: &mut Entries, lane: FreeLane, key: &[u8]) {
        let draft = Draft { key, value: b"value", stamps: &Stamps::NONE };
        let layout = entries.ring().layout(&draft);
        let location = entries.ring_mut().append(Stream::Fresh, &layout, &draft).expect("room in the chunk");
        let hash = hash(entries, key);
        entries.publish(lane, hash, location);
    }

    #[test]
    fn a_thread_that_writes_again_is_the_last_writer() {
        let mut pending = Pending::new();
        assert!(pending.note_writer() && !pending.note_writer());
    }

    #[test]
    fn any_entry_is_chosen_for_a_policy_that_names_none() {
        let (mut entries, pending) = (entries(), Pending::new());
        let mut evictor = evictor(|| Box::new(NoPolicy));
        assert_eq!(evictor.choose(&pending, &entries, &Asked::new()), Victim::None);
        let lane = entries.free_lane(hash(&entries, b"key")).expect("a free lane");
        publish(&mut entries, lane, b"key");
        assert_eq!(evictor.choose(&pending, &entries, &Asked::new()), Victim::Entry { id: lane.id(), is_known: false });
    }

    #[test]
    fn an_entry_that_is_being_stored_may_be_chosen_and_then_there_is_nothing_to_undo() {
        let (mut entries, mut pending) = (entries(), Pending::new());
        let context = PolicyContext::new(100, 1 << 12);
        let mut evictor = evictor(move || Policy::Mru.build(&context));
        for key in [b"a", b"b"] {
            let hash = hash(&entries, key);
            let lane = entries.free_lane(hash).expect("a free lane");
            evictor.insert(&mut pending, lane.id(), hash, 16);
            publish(&mut entries, lane, key);
            assert!(pending.end_insert());
        }
        let newcomer = hash(&entries, b"c");
        let lane = entries.free_lane(newcomer).expect("a free lane");
        evictor.insert(&mut pending, lane.id(), newcomer, 16);
        let mut victims = Vec::new();
        while pending.has_newcomer() {
            let asked = Asked::new();
            let victim = evictor.choose(&pending, &entries, &asked);
            if let Victim::Entry { id, is_known } = victim {
                entries.unlink(id, asked.known(is_known));
            }
            victims.push(victim);
        }
        assert_eq!(victims.last(), Some(&Victim::Newcomer));
        assert!(!evictor.undo_insert(&pending));
    }
}
