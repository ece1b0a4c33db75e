//! Slots: how a reader keeps the bytes that it reads from being overwritten.
//!
//! These are hazard pointers (Michael, 2004) with a chunk as the unit. A thread has a [`Record`]
//! that every writer can read. A reader stores the address of an entry in a slot of its record, and
//! clears the slot when it has finished. A writer that wants to reuse chunks scans all slots of all
//! records. It leaves a chunk alone if a slot names an entry in it.
//!
//! ```text
//!   record   | slots[4]: address, state, stripe | has_batch, batch[16] |   4 cache lines
//! ```
//!
//! A reader may stop anywhere, in a closure or in the middle of a search. It delays the reuse of
//! the chunks that its slots name, and of nothing else.
//!
//! # Invariants
//!
//! 1. A record has one owner at a time: a thread, or a single read that cannot use the record of
//!    its thread. Only the owner stores to the record.
//! 2. A record changes owners with all its slots clear, under the registry's lock.
//! 3. Every record with an owner is in the registry's list.
//!
//! # Synchronization
//!
//! ```text
//!   reader   finds a location in a lane -- names it in a slot -- fence -- loads the lane again
//!            -- reads -- clears the slot
//!   writer   changes the lane -- fence -- scans the slots -- reuses the chunk
//! ```
//!
//! Both fences are SeqCst, so one of them comes first. If the reader's fence comes first, the
//! writer sees the slot and leaves the chunk alone. If the writer's fence comes first, the reader
//! sees the changed lane and searches again.
//!
//! * [`SlotName::hold`] (Release) and the clearing of a slot (Release) pair with the loads in
//!   [`for_each_hold`] (Acquire). So a writer that finds a slot clear, or naming another entry,
//!   knows that the reads under the former hold are over.
//! * The list of records and `has_batch` are stored before a slot that they lead to, and loaded
//!   after the writer's fence. If the writer does not see them, its fence came first. Then the
//!   reader sees the changed lane.
//!
//! # Not here
//!
//! The second look of a reader: `shard/lookup.rs`. Holds on a chunk beyond a call: the pins of
//! `ring/chunk.rs`.

use core::ptr::NonNull;
use core::sync::atomic::AtomicU32 as OwnersWord;
use std::sync::Arc;

use super::Published;
use super::epochs;
use crate::sync::{AtomicU32, AtomicUsize, Mutex, Ordering, fence, store_and_fence};

/// The slots of a thread for reads of single keys. A read that is nested deeper, in closures of
/// callers, registers a record of its own.
const SLOTS: usize = if cfg!(bytecache_loom) { 2 } else { 4 };

/// The number of keys that are read together, each with a slot.
pub(crate) const BATCH: usize = if cfg!(bytecache_loom) { 2 } else { 16 };

/// The number of records without an owner from which on the list is made shorter.
const SPARE_RECORDS: usize = 32;

/// The slots of a thread. Aligned to two lines, because some processors fetch these together.
#[repr(C, align(128))]
struct Record {
    slots: [SlotOfRecord; SLOTS],
    /// Not 0 from the first use of `batch` on. Until then no scan loads `batch`.
    has_batch: AtomicU32,
    batch_state: State,
    batch: [AtomicUsize; BATCH],
}

/// A slot, and what its reader needs beside it.
#[repr(C)]
struct SlotOfRecord {
    address: AtomicUsize,
    state: State,
    /// The number of the owner's counters. No other record has this number.
    stripe: u32,
}

/// The use of a slot or a batch. Only the owner of the record accesses it, so it is not a word of
/// `sync/`.
struct State(OwnersWord);

const FREE: u32 = 0;
const IN_USE: u32 = 1;
/// In use, and the record serves nothing else.
const ALONE: u32 = 2;

#[cfg(all(not(bytecache_loom), target_pointer_width = "64"))]
const _: () = assert!(core::mem::offset_of!(Record, has_batch) == crate::prefetch::LINE, "single reads use one line");

impl State {
    #[inline(always)]
    fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed) // Relaxed: only the owner stores.
    }

    #[inline(always)]
    fn set(&self, state: u32) {
        self.0.store(state, Ordering::Relaxed); // Relaxed: only the owner loads.
    }

    /// Changes a free state to `state`. Returns `false` if it is not free.
    #[inline(always)]
    fn take(&self, state: u32) -> bool {
        let is_free = self.get() == FREE;
        if is_free {
            self.set(state);
        }
        is_free
    }
}

impl Record {
    fn new(stripe: u32) -> Self {
        let state = || State(OwnersWord::new(FREE));
        Self {
            slots: core::array::from_fn(|_| SlotOfRecord { address: AtomicUsize::new(0), state: state(), stripe }),
            has_batch: AtomicU32::new(0),
            batch_state: state(),
            batch: core::array::from_fn(|_| AtomicUsize::new(0)),
        }
    }

    fn stripe(&self) -> u32 {
        self.slots[0].stripe
    }

    /// Returns `true` if a slot or the batch is in use.
    fn is_in_use(&self) -> bool {
        self.batch_state.get() != FREE || self.slots.iter().any(|slot| slot.state.get() != FREE)
    }
}

/// All records, and those without an owner.
struct Registry {
    list: Published<Vec<Arc<Record>>>,
    spare: Mutex<Spare>,
}

#[derive(Default)]
struct Spare {
    records: Vec<Arc<Record>>,
    /// Numbers of records that were dropped.
    stripes: Vec<u32>,
    /// The lowest number that no record has had.
    next_stripe: u32,
}

impl Registry {
    fn new() -> Self {
        Self { list: Published::new(Arc::default()), spare: Mutex::new(Spare::default()) }
    }

    /// Returns a record without another owner, with all its slots clear.
    fn register(&self) -> Arc<Record> {
        let mut spare = self.spare.lock();
        if let Some(record) = spare.records.pop() {
            return record;
        }
        let stripe = spare.stripes.pop().unwrap_or_else(|| {
            spare.next_stripe += 1;
            spare.next_stripe - 1
        });
        let record = Arc::new(Record::new(stripe));
        let pin = epochs::pin();
        let mut list = self.list.load(&pin).clone();
        list.push(Arc::clone(&record));
        self.list.replace(Arc::new(list), &pin);
        record
    }

    /// Takes a record back from its owner.
    fn unregister(&self, record: Arc<Record>) {
        debug_assert!(!record.is_in_use(), "a record with a slot in use was given up");
        let mut spare = self.spare.lock();
        spare.records.push(record);
        let pin = epochs::pin();
        let list = self.list.load(&pin);
        if spare.records.len() > SPARE_RECORDS.max(list.len() / 2) {
            let (mut gone, stripes): (Vec<_>, Vec<_>) =
                spare.records.drain(..).map(|record| (Arc::as_ptr(&record), record.stripe())).unzip();
            gone.sort_unstable();
            let kept = list.iter().filter(|record| gone.binary_search(&Arc::as_ptr(record)).is_err());
            let kept: Vec<_> = kept.map(Arc::clone).collect();
            self.list.replace(Arc::new(kept), &pin);
            spare.stripes.extend(stripes);
        }
    }
}

#[cfg(not(bytecache_loom))]
mod globals {
    use std::sync::LazyLock;

    use super::{Arc, Record, Registry};

    static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

    thread_local! {
        pub(super) static PARTICIPANT: Participant = Participant(REGISTRY.register());
    }

    /// The record of a thread, which owns it until the thread's locals are destroyed. The list
    /// keeps the record beyond that while slots are in use.
    pub(super) struct Participant(pub(super) Arc<Record>);

    impl Drop for Participant {
        fn drop(&mut self) {
            // Slots are in use if the process ends from inside a closure of a read. They stay in
            // use, and no other thread gets the record.
            if !self.0.is_in_use() {
                REGISTRY.unregister(Arc::clone(&self.0));
            }
        }
    }

    pub(super) fn registry() -> &'static Registry {
        &REGISTRY
    }
}

#[cfg(bytecache_loom)]
mod globals {
    use super::{Arc, Record, Registry};

    loom::lazy_static! {
        static ref REGISTRY: Registry = Registry::new();
    }

    loom::thread_local! {
        pub(super) static PARTICIPANT: Participant = Participant(registry().register());
    }

    /// The record of a thread. Records of threads that have ended stay in the list until the model
    /// ends.
    pub(super) struct Participant(pub(super) Arc<Record>);

    pub(super) fn registry() -> &'static Registry {
        &REGISTRY
    }
}

use globals::{PARTICIPANT, registry};

/// A slot of this thread, in use until it is dropped.
///
/// While the slot names an entry that its reader has found and looked up again, the bytes of that
/// entry stay as they are.
pub(crate) struct Slot(NonNull<SlotOfRecord>);

impl Slot {
    /// Takes a slot. Waits for nothing but the registry's lock. It needs the lock if the thread has
    /// no record yet, if its locals are being destroyed, or if all its slots are in use.
    #[inline(always)]
    pub(crate) fn take() -> Self {
        let first = PARTICIPANT.try_with(|participant| {
            let slot = &participant.0.slots[0];
            slot.state.take(IN_USE).then(|| NonNull::from(slot))
        });
        // No function that is not inlined gets the address of a `Slot`. So it stays in a register.
        Self(if let Ok(Some(slot)) = first { slot } else { Self::take_other() })
    }

    /// Takes a slot of this thread, or of a record without an owner.
    #[cold]
    #[inline(never)]
    fn take_other() -> NonNull<SlotOfRecord> {
        let own = PARTICIPANT
            .try_with(|participant| participant.0.slots.iter().find(|slot| slot.state.take(IN_USE)).map(NonNull::from));
        if let Ok(Some(slot)) = own {
            return slot;
        }
        // Ends in the first round: a record without an owner has all its slots clear.
        loop {
            let record = registry().register();
            if record.slots[0].state.take(ALONE) {
                // The pointer comes from the `Arc`, because a reference does not reach the counts.
                // This keeps a count, which `give_up_record` drops.
                if let Some(record) = NonNull::new(Arc::into_raw(record).cast_mut()) {
                    return record.cast(); // The first slot is the first field.
                }
            }
        }
    }

    #[inline(always)]
    fn slot(&self) -> &SlotOfRecord {
        // SAFETY: this slot is in use. Until it is dropped,
        // * the record of the thread exists. Slots live on frames (a slot is not `Send`, and a
        //   cache keeps none), and a thread's locals are destroyed after its frames have ended. If
        //   the process ends from inside a frame, the locals are destroyed first, but the list
        //   keeps a record whose slots are in use;
        // * a record that serves only this slot is kept by the count that `take_other` has left to
        //   `give_up_record`.
        unsafe { self.0.as_ref() }
    }

    /// Returns the number of this thread's counters. No other living thread uses it.
    #[inline(always)]
    pub(crate) fn stripe(&self) -> u32 {
        self.slot().stripe
    }

    /// Returns the word in which a search names what it finds.
    #[inline(always)]
    pub(crate) fn name(&mut self) -> SlotName<'_> {
        SlotName(&self.slot().address)
    }
}

/// The word of a [`Slot`].
#[derive(Clone, Copy)]
pub(crate) struct SlotName<'a>(&'a AtomicUsize);

impl SlotName<'_> {
    /// Names an entry by its address. If a lane that is loaded after this still leads to the entry,
    /// its bytes stay as they are until the slot is dropped or names another entry.
    #[inline(always)]
    pub(crate) fn hold(self, address: usize) {
        // Release: pairs with the Acquire of `for_each_hold`. The reads under the former hold are
        // over. The fence pairs with that of `for_each_hold`: see the module.
        store_and_fence(self.0, address);
    }
}

impl Drop for Slot {
    #[inline(always)]
    fn drop(&mut self) {
        let slot = self.slot();
        // Release: pairs with the Acquire of `for_each_hold`. The reads under the hold are over.
        slot.address.store(0, Ordering::Release);
        let state = slot.state.get();
        slot.state.set(FREE);
        if state == ALONE {
            // SAFETY: the slot has the state that `take_other` gives to slots of such records. It
            // is not used any more.
            unsafe { Self::give_up_record(self.0) };
        }
    }
}

impl Slot {
    /// Gives back the record of a slot that it serves alone.
    ///
    /// # Safety
    ///
    /// `take_other` has made the pointer from that of the record, and this is called once for it.
    #[cold]
    #[inline(never)]
    unsafe fn give_up_record(slot: NonNull<SlotOfRecord>) {
        // SAFETY:
        // * the pointer came from `Arc::into_raw` in `take_other`;
        // * `take_other` has left its count to this call.
        let record = unsafe { Arc::from_raw(slot.cast::<Record>().as_ptr().cast_const()) };
        registry().unregister(record);
    }
}

/// The slots of this thread for keys that are read together, in use until the batch is dropped. In
/// this state they are being named.
pub(crate) struct Batch {
    record: NonNull<Record>,
    /// The number of slots that are clear, from the first on.
    cleared: usize,
}

impl Batch {
    /// Takes the slots. Returns `None` if a call further up in this thread has them, or if the
    /// thread's locals are being destroyed.
    #[inline]
    pub(crate) fn take() -> Option<Self> {
        let own = PARTICIPANT.try_with(|participant| {
            let record = &*participant.0;
            record.batch_state.take(IN_USE).then(|| {
                // Relaxed: the fence of `hold` orders it before the reader's second look.
                record.has_batch.store(1, Ordering::Relaxed);
                Self { record: NonNull::from(record), cleared: 0 }
            })
        });
        own.ok().flatten()
    }

    #[inline(always)]
    fn record(&self) -> &Record {
        // SAFETY: the batch is in use, so the record of the thread exists, for the reasons in
        // `Slot::slot`.
        unsafe { self.record.as_ref() }
    }

    /// Names an entry by its address, like [`SlotName::hold`], but without the fence.
    #[inline(always)]
    pub(crate) fn name(&mut self, number: usize, address: usize) {
        // Release: as in `SlotName::hold`.
        self.record().batch[number].store(address, Ordering::Release);
    }

    /// Ends the naming. If a lane that is loaded after this still leads to a named entry, the bytes
    /// of that entry stay as they are.
    #[inline(always)]
    pub(crate) fn hold(self) -> Holds {
        fence(Ordering::SeqCst); // Pairs with the fence of `for_each_hold`.
        Holds(self)
    }

    #[inline(always)]
    fn clear_next(&mut self) {
        if let Some(slot) = self.record().batch.get(self.cleared) {
            slot.store(0, Ordering::Release); // Release: as in `Slot::drop`.
            self.cleared += 1;
        }
    }
}

/// The slots of a [`Batch`] after they were named.
pub(crate) struct Holds(Batch);

impl Holds {
    /// Returns the number of this thread's counters.
    #[inline(always)]
    pub(crate) fn stripe(&self) -> u32 {
        self.0.record().stripe()
    }

    /// Returns `true` if the slot `number` names the entry at an address.
    #[inline(always)]
    pub(crate) fn names(&self, number: usize, address: usize) -> bool {
        // Relaxed: only this thread stores.
        self.0.record().batch.get(number).is_some_and(|slot| slot.load(Ordering::Relaxed) == address)
    }

    /// Ends the hold of the first slot that is not clear.
    #[inline(always)]
    pub(crate) fn clear_next(&mut self) {
        self.0.clear_next();
    }
}

impl Drop for Batch {
    #[inline]
    fn drop(&mut self) {
        while self.cleared < BATCH {
            self.clear_next();
        }
        self.record().batch_state.set(FREE);
    }
}

/// Calls `each` with every address that a slot names, of any thread and any cache.
///
/// No reader can see memory that the caller unlinked before this call and that no slot names.
pub(crate) fn for_each_hold(mut each: impl FnMut(usize)) {
    // Pairs with that of `SlotName::hold`: see the module.
    fence(Ordering::SeqCst);
    let mut look = |slot: &AtomicUsize| {
        // Acquire: pairs with the Release of `SlotName::hold` and of the clearing.
        let address = slot.load(Ordering::Acquire);
        if address != 0 {
            each(address);
        }
    };
    let pin = epochs::pin();
    for record in registry().list.load(&pin) {
        record.slots.iter().for_each(|slot| look(&slot.address));
        // Relaxed: the fence above orders this load, like that of the list.
        if record.has_batch.load(Ordering::Relaxed) != 0 {
            record.batch.iter().for_each(&mut look);
        }
    }
}

/// Returns `true` if this thread is in the middle of a read. Then it may wait for itself.
pub(crate) fn thread_is_reading() -> bool {
    PARTICIPANT.try_with(|participant| participant.0.is_in_use()).unwrap_or(true)
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the addresses from `first` to `last` that slots name. Other tests read caches at the
    /// same time, elsewhere in memory.
    fn held(first: usize, last: usize) -> Vec<usize> {
        let mut held = Vec::new();
        for_each_hold(|address| held.extend((first..=last).contains(&address).then_some(address)));
        held.sort_unstable();
        held
    }

    #[test]
    fn an_entry_is_held_until_its_slot_names_another_or_is_dropped() {
        let mut slot = Slot::take();
        assert_eq!(held(1, 9), []);
        slot.name().hold(1);
        assert_eq!(held(1, 9), [1]);
        slot.name().hold(2);
        assert_eq!(held(1, 9), [2]);
        drop(slot);
        assert_eq!(held(1, 9), []);
    }

    #[test]
    fn nested_slots_are_all_seen_however_many_there_are() {
        let slots: Vec<Slot> = (11..11 + 3 * SLOTS)
            .map(|address| {
                let mut slot = Slot::take();
                slot.name().hold(address);
                slot
            })
            .collect();
        assert!(thread_is_reading());
        assert_eq!(held(11, 99), (11..11 + 3 * SLOTS).collect::<Vec<_>>());
        // Each slot has counters of its own, except those that share the thread's record.
        let mut stripes: Vec<u32> = slots.iter().map(Slot::stripe).collect();
        stripes.dedup();
        assert_eq!(stripes.len(), 1 + 2 * SLOTS);
        drop(slots);
        assert!(!thread_is_reading());
        assert_eq!(held(11, 99), []);
    }

    #[test]
    fn a_batch_is_taken_once_and_cleared_one_by_one_and_as_a_whole() {
        let mut batch = Batch::take().unwrap();
        assert!(Batch::take().is_none());
        (0..BATCH).for_each(|number| batch.name(number, 101 + number));
        let mut holds = batch.hold();
        assert_eq!(held(101, 199).len(), BATCH);
        assert!(holds.names(0, 101) && !holds.names(0, 102));
        holds.clear_next();
        assert!(!holds.names(0, 101));
        assert_eq!(held(101, 199).first(), Some(&102));
        drop(holds);
        assert_eq!(held(101, 199), []);
        assert!(Batch::take().is_some());
    }

    #[test]
    fn a_thread_that_ends_in_the_middle_of_a_read_of_a_local_holds_nothing() {
        struct ReadsLate;
        impl Drop for ReadsLate {
            fn drop(&mut self) {
                let mut slot = Slot::take();
                slot.name().hold(201);
                assert_eq!(held(201, 299), [201]);
            }
        }
        thread_local!(static LOCAL: ReadsLate = const { ReadsLate });
        for registers_first in [true, false] {
            let thread = std::thread::spawn(move || {
                // The order in which locals are destroyed depends on the order of their first uses.
                let uses: [fn(); 2] = [|| drop(Slot::take()), || LOCAL.with(|_| ())];
                uses[usize::from(!registers_first)]();
                uses[usize::from(registers_first)]();
            });
            thread.join().unwrap();
            assert_eq!(held(201, 299), []);
        }
    }

    #[test]
    fn records_and_numbers_of_ended_threads_are_used_again() {
        let registry = Registry::new();
        let mut owned: Vec<_> = (0..200).map(|_| registry.register()).collect();
        assert_eq!(owned.iter().map(|record| record.stripe()).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
        let kept = owned.pop().unwrap();
        owned.into_iter().for_each(|record| registry.unregister(record));
        let listed = registry.list.load(&epochs::pin()).len();
        assert!(listed <= 1 + 2 * SPARE_RECORDS, "{listed} records for one owner");
        assert!(registry.list.load(&epochs::pin()).iter().any(|record| Arc::ptr_eq(record, &kept)));
        let stripes: std::collections::BTreeSet<_> = (0..199).map(|_| registry.register().stripe()).collect();
        assert!(stripes.len() == 199 && stripes.iter().all(|&stripe| stripe < 199));
    }
}
