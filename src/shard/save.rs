//! Saving a shard beside its traffic: a walk that shows every entry once, and a record of the keys
//! that change meanwhile.
//!
//! ```text
//!   begin_save   the policy's state; from here on changes are recorded
//!   save_some    under the lock, the ids of a few entries:
//!                  first in the order of the policy, those that leave first before the others
//!                  then those that the policy has not shown, in the order of the index
//!                without the lock, shows these entries
//!   end_save     changes are not recorded from here on
//! ```
//!
//! # Invariants
//!
//! 1. Each entry that stays unchanged during the save is shown exactly once.
//! 2. A key that is written or removed, or whose entry leaves, between `begin_save` and `end_save`
//!    is recorded before the lock is free.
//!
//! # Synchronization
//!
//! Entries are read as any reader reads them, by their lanes: while they were copied under the
//! lock, a thread that wrote had a seventh of its speed beside a save. An entry keeps its id during
//! the save, so a lane leads to the entry that was there when its id was taken, or to one that was
//! written since. The key of the latter is recorded, and so is that of the former.
//!
//! Shards record under their locks, in one set of bits for all. The thread that saves takes each
//! lock once before it reads the bits. So it sees the records of all changes that came before.

use core::time::Duration;
use std::sync::Arc;

use super::lookup::Lookup;
use super::writer::Writer;
use super::{Shard, State};
use crate::expiry::{Freshness, TimesLeft};
use crate::hash::StableHash;
use crate::index::{Step, Walk};
use crate::policy::Standing;
use crate::reclaim::Slot;
use crate::ring::Value;
use crate::sync::{AtomicU64, Ordering};
use crate::units::EntryId;

/// The ids that one hold of the lock takes from the policy. A list may lead from one cache line to
/// another, so this may take a microsecond. A writer that has to wait does so without going to
/// sleep.
const SHOWN_AT_ONCE: usize = 8;
/// Times that a policy's walk may pass all ids without showing one, beyond the steps for them.
const PASSES: usize = 32;
/// The most steps through the index for each hold of the lock.
const STEPS_AT_ONCE: usize = 64;
/// Values from this size on are held, and get blocks of their own.
const LARGE_VALUE_BYTES: usize = 32 << 10;
/// Bytes of the record for each entry that is present at its start.
const RECORD_BYTES: usize = 1;
/// The bounds of the record, in words.
const MIN_RECORD_WORDS: usize = 128;
const MAX_RECORD_WORDS: usize = 1 << 23;
/// The record takes at most one part in this of the limit, unless it has the fewest words.
pub(crate) const RECORD_SHARE: usize = 64;
/// The holds of the lock in which a shard may free memory for its part of the record. In each one
/// it cleans a few KiB.
const MAX_STEPS: usize = 8192;

/// The record of the keys that have changed while a cache is saved: a bit for each range of hashes.
/// A key that has not changed may share the bit of one that has.
#[derive(Debug)]
pub(crate) struct Changes {
    hasher: StableHash,
    words: Box<[AtomicU64]>,
    /// Not 0 once everything has changed.
    are_all: AtomicU64,
}

impl Changes {
    /// The fewest words of a record. They are not part of the cache's memory.
    pub(crate) const MIN_WORDS: usize = MIN_RECORD_WORDS;

    /// Returns the words of a record for a cache of `entries` entries and `max_bytes` bytes: a
    /// power of two.
    pub(crate) fn words_for(entries: usize, max_bytes: usize) -> usize {
        let affordable = 1 << (max_bytes / RECORD_SHARE / size_of::<u64>()).max(1).ilog2();
        let wanted = (entries / size_of::<u64>()).saturating_mul(RECORD_BYTES);
        wanted.min(MAX_RECORD_WORDS).next_power_of_two().min(affordable).max(Self::MIN_WORDS)
    }

    /// Creates an empty record of `words` words, a power of two.
    pub(crate) fn new(words: usize, seed: u64) -> Self {
        let words = (0..words).map(|_| AtomicU64::new(0)).collect();
        Self { hasher: StableHash::with_seed(seed), words, are_all: AtomicU64::new(0) }
    }

    /// Records a key.
    pub(crate) fn note(&self, key: &[u8]) {
        let bit = bit_of(self.hasher.hash_bytes(key), self.words.len());
        let (word, mask) = (&self.words[bit / 64], 1 << (bit % 64));
        // Relaxed: see the module. A key that is written often costs one store.
        if word.load(Ordering::Relaxed) & mask == 0 {
            word.fetch_or(mask, Ordering::Relaxed);
        }
    }

    fn note_all(&self) {
        // Relaxed: see the module.
        self.are_all.store(1, Ordering::Relaxed);
    }

    /// Returns `true` if everything has changed.
    pub(crate) fn are_all(&self) -> bool {
        self.are_all.load(Ordering::Relaxed) != 0 // See the module.
    }

    /// Clears the record, word by word, and returns the words as they were.
    pub(crate) fn take_words(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        // See the module. Mostly nothing has changed, and nothing is written.
        let is_zero = |word: &AtomicU64| word.load(Ordering::Relaxed) == 0;
        self.words.iter().map(move |word| if is_zero(word) { 0 } else { word.swap(0, Ordering::Relaxed) })
    }
}

/// Returns the bit of a hash in a record of `words` words.
pub(crate) fn bit_of(hash: u64, words: usize) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "the product's top half is below the number of bits")]
    {
        ((u128::from(hash) * (words as u128 * 64)) >> 64) as usize
    }
}

/// An entry that is to be saved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SavedEntry<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) standing: Standing,
    /// For policies that count visits.
    pub(crate) visits: u8,
    pub(crate) times: TimesLeft,
}

impl SavedEntry<'_> {
    /// Returns the bytes of key and value.
    pub(crate) fn bytes(&self) -> usize {
        self.key.len().saturating_add(self.value.len())
    }
}

/// The place to which a shard shows its entries, without its lock.
pub(crate) trait SaveSink {
    /// Returns the time since the moment from which the times left of its entries count.
    fn since(&self) -> Duration;

    /// Takes an entry. `held` is its value, if that is large and not to be copied here.
    fn take(&mut self, entry: &SavedEntry<'_>, held: Option<Value>);

    /// Returns `true` if no more entries can be taken by this call.
    fn is_full(&self) -> bool;
}

/// The place of a save in one shard.
#[derive(Debug)]
pub(crate) struct SaveWalk {
    phase: Phase,
    /// A bit for each lane whose id was taken.
    shown: Vec<u64>,
    /// The size of the index for which the bits are.
    buckets: usize,
    /// The number of ids that were taken.
    shown_entries: usize,
    /// The number of entries at the start.
    entries: usize,
    /// Steps that the policy's walk may still take. Readers that move entries ahead of it could
    /// make it endless.
    steps_left: usize,
    /// Entries whose ids were taken, and that are still to be shown. The next one is the last.
    waiting: Vec<(EntryId, Standing)>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    InOrder,
    Rest(Walk),
    Done,
}

/// The experience of a shard with its traffic.
#[derive(Clone, Debug, Default)]
pub(crate) struct Experience {
    /// The home buckets of its index, or those that it is growing to.
    pub(crate) index_size: usize,
    /// The share of its ring that may be live.
    pub(crate) live_target: u32,
    /// The state of its policy.
    pub(crate) policy: Vec<u8>,
}

impl SaveWalk {
    /// Returns `true` if fewer ids were taken than by the end of a round of `rounds`. With
    /// no round, returns `true` until the walk is at its end.
    pub(crate) fn is_behind(&self, round: Option<usize>, rounds: usize) -> bool {
        let is_over = matches!(self.phase, Phase::Done) && self.waiting.is_empty();
        !is_over
            && round.is_none_or(|round| {
                (self.shown_entries as u128) * (rounds as u128) < self.entries as u128 * round as u128
            })
    }
}

impl Shard {
    /// Takes `bytes` for a part of the record of changes. If the account has fewer, the ring gives
    /// chunks back, in steps. Returns `false` if that is not enough. Then nothing is taken.
    pub(crate) fn take_for_save(&self, bytes: usize) -> bool {
        let mut taken = Taken { shard: self, bytes: 0 };
        for _ in 0..MAX_STEPS {
            let goes_on = self.write(|writer| writer.take_for_save(bytes, &mut taken.bytes));
            if taken.bytes == bytes {
                core::mem::forget(taken);
                return true;
            }
            if !goes_on {
                break;
            }
        }
        false
    }

    /// Gives bytes of the record of changes back, which was freed.
    pub(crate) fn give_from_save(&self, bytes: usize) {
        self.account.give_from_save(bytes);
    }

    /// Begins to record changes, and to walk. Returns `None` if the shard is being saved already.
    pub(crate) fn begin_save(&self, changes: &Arc<Changes>) -> Option<(SaveWalk, Experience)> {
        self.write(|writer| writer.begin_save(changes))
    }

    /// Shows a few more entries. Takes the lock only if none is waiting to be shown.
    pub(crate) fn save_some(&self, walk: &mut SaveWalk, sink: &mut impl SaveSink) {
        if walk.waiting.is_empty() {
            self.write(|writer| writer.take_some_to_save(walk));
            walk.waiting.reverse();
        }
        let next = walk.waiting.len().saturating_sub(STEPS_AT_ONCE);
        self.prefetch_waiting(&walk.waiting[next..]);
        let mut slot = Slot::take();
        while !sink.is_full() {
            let Some((id, standing)) = walk.waiting.pop() else { break };
            self.save_entry(id, standing, &mut slot, sink);
        }
    }

    /// Prefetches entries that are to be shown. Their order is not that of memory.
    fn prefetch_waiting(&self, waiting: &[(EntryId, Standing)]) {
        let Lookup { table, ring } = &self.lookup;
        waiting.iter().for_each(|&(id, _)| table.prefetch_lane(id));
        waiting.iter().filter_map(|&(id, _)| table.candidate(id)).for_each(|found| ring.prefetch(found.location()));
    }

    /// Shows the entry in a lane. Skips one that has expired, or belongs to an invalidated
    /// namespace.
    fn save_entry(&self, id: EntryId, standing: Standing, slot: &mut Slot, sink: &mut impl SaveSink) {
        let ring = &self.lookup.ring;
        // Ends: each round but the first follows a writer's change of the lane.
        let (live, times) = loop {
            // The reached time is loaded before the search: see `expiry/mod.rs`.
            let reached = self.time.reached();
            let Some(live) = self.lookup.find_by_id(id, slot) else { return };
            if ring.arena().entry_with_stamps(live).1.set.is_empty() {
                break (live, TimesLeft::default());
            }
            // Before the shard's time: see `expiry/left.rs`.
            let since = sink.since();
            let now = self.time.now(reached);
            let stamps = ring.arena().stamps(live);
            // Otherwise the entry may have been moved, and a reader may have postponed its idle
            // deadline there.
            if ring.arena().has_left(live) {
                continue;
            }
            if self.rules.times(&stamps, reached).freshness(now.tick()) == Freshness::Gone {
                return;
            }
            break (live, self.rules.times_left(&stamps, since, now, reached));
        };
        let entry = ring.arena().entry(live);
        if self.registry.is_outdated(entry.key) {
            return;
        }
        let held = (entry.value.len() >= LARGE_VALUE_BYTES).then(|| ring.value(live).into_value());
        let visits = self.lookup.table.visits(id);
        sink.take(&SavedEntry { key: entry.key, value: entry.value, standing, visits, times }, held);
    }

    /// Appends a part of what the policy remembers of keys. Returns `false` if there is none.
    pub(crate) fn save_history(&self, part: usize, bytes: &mut Vec<u8>) -> bool {
        self.write(|writer| writer.state.evictor.policy().save_history(part, bytes))
    }

    /// Waits until no other thread has the lock. All changes before that are in the record.
    pub(crate) fn settle_changes(&self) {
        drop(self.state.lock());
    }

    /// Returns `true` if the shard is being saved.
    pub(crate) fn is_being_saved(&self) -> bool {
        self.state.lock().changes.is_some()
    }

    /// Ends the recording of changes in this record. Has no effect on another save.
    pub(crate) fn end_save(&self, changes: &Arc<Changes>) {
        let mut state = self.state.lock();
        if state.changes.as_ref().is_some_and(|own| Arc::ptr_eq(own, changes)) {
            state.changes = None;
        }
    }

    /// Returns the name under which the policy's knowledge is saved.
    pub(crate) fn snapshot_name(&self) -> &'static str {
        self.write(|writer| writer.state.evictor.policy().snapshot_name())
    }
}

impl Writer<'_> {
    /// Records that a key is written or removed, if the cache is being saved.
    #[inline]
    pub(super) fn note_change(&self, key: &[u8]) {
        if let Some(changes) = &self.state.changes {
            changes.note(key);
        }
    }

    /// Records that an entry leaves, if the cache is being saved.
    #[inline]
    pub(super) fn note_change_of(&self, id: EntryId) {
        if let Some(changes) = &self.state.changes {
            self.note_departure(changes, id);
        }
    }

    #[inline(never)]
    fn note_departure(&self, changes: &Changes, id: EntryId) {
        if let Some(live) = self.state.entries.live(id) {
            changes.note(self.ring().entry(live).key);
        }
    }

    /// Records that all entries leave, if the cache is being saved.
    pub(super) fn note_change_of_all(&self) {
        if let Some(changes) = &self.state.changes {
            changes.note_all();
        }
    }

    /// Takes bytes for a part of the record of changes, until `taken` is `bytes`. If the account
    /// has fewer, takes a step towards a chunk that the ring gives back. Returns `true` if another
    /// call may take more.
    fn take_for_save(&mut self, bytes: usize, taken: &mut usize) -> bool {
        let account = &self.shard.account;
        *taken += account.take_for_save(bytes - *taken);
        let missing = bytes - *taken;
        let goes_on = missing > 0 && self.can_spare(missing) && self.give_chunk_back_in_steps();
        // Before another writer puts the chunk to use again.
        *taken += account.take_for_save(missing);
        self.update_capacity();
        goes_on
    }

    /// Returns `true` if the ring can give `bytes` and has its fewest chunks left.
    fn can_spare(&self, bytes: usize) -> bool {
        let in_use = self.ring().chunks_in_use() * self.ring().chunk_bytes();
        self.shard.account.left() + in_use >= self.shard.min_chunks * self.ring().chunk_bytes() + bytes
    }

    fn begin_save(&mut self, changes: &Arc<Changes>) -> Option<(SaveWalk, Experience)> {
        if self.state.changes.is_some() {
            return None;
        }
        self.drain_touches();
        self.state.changes = Some(Arc::clone(changes));
        let State { evictor, pending, entries, cleaner, .. } = &mut *self.state;
        let mut experience = Experience { live_target: cleaner.exact_target(), ..Experience::default() };
        evictor.save_state(pending, &mut experience.policy);
        let entries = entries.len();
        let mut walk = SaveWalk {
            phase: Phase::InOrder,
            shown: Vec::new(),
            buckets: 0,
            shown_entries: 0,
            entries,
            steps_left: 0,
            waiting: Vec::new(),
        };
        self.fit_to_index(&mut walk);
        // A growth that has begun ends first: the policy has the bounds of the larger index, or is
        // about to get them.
        let grows_to = self.state.resizing.target().unwrap_or(0);
        experience.index_size = self.state.entries.table().size().max(grows_to);
        Some((walk, experience))
    }

    /// Restarts the walk if the shard was emptied and its index has another size. Otherwise the
    /// index keeps its size, and entries their ids, until the save ends.
    fn fit_to_index(&mut self, walk: &mut SaveWalk) {
        let table = self.state.entries.table();
        if walk.buckets == table.buckets() {
            return;
        }
        walk.buckets = table.buckets();
        walk.shown = vec![0; table.lanes().div_ceil(64)];
        // A policy may pass all ids several times, many of them in one step.
        walk.steps_left = 4 * self.state.entries.len() + table.lanes() + PASSES * SHOWN_AT_ONCE;
        walk.waiting.clear();
        walk.phase = Phase::InOrder;
        let State { evictor, pending, .. } = &mut *self.state;
        evictor.begin_walk(pending);
    }

    /// Takes the ids of a few entries that are to be shown.
    fn take_some_to_save(&mut self, walk: &mut SaveWalk) {
        self.fit_to_index(walk);
        match walk.phase {
            Phase::InOrder => self.take_in_order(walk),
            Phase::Rest(rest) => self.take_rest(walk, rest),
            Phase::Done => {}
        }
    }

    fn take_in_order(&mut self, walk: &mut SaveWalk) {
        self.drain_touches();
        let State { evictor, pending, .. } = &mut *self.state;
        let is_over = evictor.walk(pending, SHOWN_AT_ONCE, &mut walk.waiting) || walk.steps_left < SHOWN_AT_ONCE;
        walk.steps_left = walk.steps_left.saturating_sub(SHOWN_AT_ONCE);
        let lanes = self.state.entries.table().lanes();
        let mut shown = Shown { bits: &mut walk.shown, entries: &mut walk.shown_entries };
        walk.waiting.retain(|&(id, _)| id.index() < lanes && shown.note(id));
        if is_over {
            walk.phase = Phase::Rest(Walk::start());
        }
    }

    fn take_rest(&mut self, walk: &mut SaveWalk, mut rest: Walk) {
        let table = self.state.entries.table();
        let mut shown = Shown { bits: &mut walk.shown, entries: &mut walk.shown_entries };
        walk.phase = Phase::Done;
        for _ in 0..STEPS_AT_ONCE {
            match table.step(table.progress(), &mut rest) {
                Step::End => return,
                Step::Onward => {}
                Step::Lane(id) if shown.note(id) => walk.waiting.push((id, Standing::new())),
                Step::Lane(_) => {}
            }
        }
        walk.phase = Phase::Rest(rest);
    }
}

/// Bytes that were taken for the record of changes. The account gets them back when this is
/// dropped, also if a policy panics while it evicts for them.
struct Taken<'a> {
    shard: &'a Shard,
    bytes: usize,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.shard.give_from_save(self.bytes);
    }
}

/// The record of the lanes whose ids were taken.
struct Shown<'a> {
    bits: &'a mut Vec<u64>,
    entries: &'a mut usize,
}

impl Shown<'_> {
    /// Records an id. Returns `false` if it was recorded before, or lies beyond all lanes.
    fn note(&mut self, id: EntryId) -> bool {
        let Some(word) = self.bits.get_mut(id.index() / 64) else { return false };
        let bit = 1 << (id.index() % 64);
        let is_new = *word & bit == 0;
        *word |= bit;
        *self.entries += usize::from(is_new);
        is_new
    }
}
