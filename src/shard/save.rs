//! Saving a shard beside its traffic: a walk that shows every entry once, and a record of the keys
//! that change meanwhile.
//!
//! ```text
//!   begin_save   the policy's state; from here on changes are recorded
//!   save_some    the ids of a few entries:
//!                  first in the order of the policy, those that leave first before the others,
//!                  under the lock
//!                  then those that the policy has not shown, in the order of the lanes
//!                then shows these entries, without the lock
//!   end_save     changes are not recorded from here on
//! ```
//!
//! # Invariants
//!
//! 1. Each entry that stays unchanged during the save is shown exactly once.
//! 2. An entry that is replaced, gets another deadline, or leaves, between `begin_save` and
//!    `end_save`, has its key in the record once the shard's changes are settled.
//! 3. If a key is not in the record, all that is shown of it is its last value.
//!
//! The third follows from the second. A key that is not in the record has had at most one value
//! since `begin_save`: one that was there before, or one that was stored while the key was absent.
//! A second value replaces the first, or is stored after the first has left. Both are recorded. So
//! the store of an absent key needs no record. Nor does the removal of an absent key: if its entry
//! was shown, that has left since, and was recorded then.
//!
//! # Synchronization
//!
//! Entries are read as any reader reads them, by their lanes: while they were copied under the
//! lock, a thread that wrote had a seventh of its speed beside a save. An entry keeps its id during
//! the save, so a lane leads to the entry that was there when its id was taken, or to one that was
//! written since. In the second case, the key of the former is in the record.
//!
//! Shards record under their locks, in one set of bits for all, and keep a few changes back
//! ([`Recording`]). The thread that saves takes each lock once before it reads the bits, and
//! records what was kept back. So it sees the records of all changes that came before.

use core::time::Duration;
use std::sync::Arc;

use super::lookup::Lookup;
use super::writer::Writer;
use super::{Shard, State};
use crate::expiry::{Freshness, TimesLeft};
use crate::hash::StableHash;
use crate::policy::Standing;
use crate::prefetch::prefetch;
use crate::reclaim::Slot;
use crate::ring::Value;
use crate::sync::{AtomicU64, Ordering};
use crate::units::{EntryId, to_u32};

/// The ids that one hold of the lock takes from the policy. A list may lead from one cache line to
/// another, so this may take a microsecond. A writer that has to wait does so without going to
/// sleep. With fewer ids, the cache lines of lock and policy move between the cores more often.
const SHOWN_AT_ONCE: usize = 16;
/// Times that a policy's walk may pass all ids without showing one, beyond the steps for them.
const PASSES: usize = 32;
/// Values from this size on are held, and get blocks of their own.
const LARGE_VALUE_BYTES: usize = 32 << 10;
/// Bytes of the record for each entry that is present at its start.
const RECORD_BYTES: usize = 1;
/// The bounds of the record, in words.
const MIN_RECORD_WORDS: usize = 128;
const MAX_RECORD_WORDS: usize = 1 << 23;
/// The record takes at most one part in this of the limit, unless it has the fewest words.
pub(crate) const RECORD_SHARE: usize = 64;
/// The changes of a shard that wait to be recorded.
const WAITING: usize = 8;
/// The value of a place that no change waits in.
const NO_BIT: usize = usize::MAX;
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
    #[cfg(all(test, not(bytecache_loom)))]
    pub(crate) fn note(&self, key: &[u8]) {
        self.set(self.bit_of_key(key));
    }

    fn bit_of_key(&self, key: &[u8]) -> usize {
        bit_of(self.hasher.hash_bytes(key), self.words.len())
    }

    fn set(&self, bit: usize) {
        let (word, mask) = (&self.words[bit / 64], 1 << (bit % 64));
        // Relaxed: see the module. A key that is written often costs one load.
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

/// The record of changes as a shard knows it, with the changes that it has not recorded yet. The
/// word of a bit is mostly in no cache of the processor. So it is prefetched, and the bit is set a
/// few changes later.
pub(super) struct Recording {
    changes: Arc<Changes>,
    /// The bits that wait, or [`NO_BIT`].
    waiting: [usize; WAITING],
    /// The number of the next place in `waiting`.
    next: usize,
}

impl Recording {
    fn new(changes: &Arc<Changes>) -> Self {
        Self { changes: Arc::clone(changes), waiting: [NO_BIT; WAITING], next: 0 }
    }

    /// Notes a key. A later call, or [`settle`](Self::settle), sets its bit.
    fn note(&mut self, key: &[u8]) {
        let bit = self.changes.bit_of_key(key);
        prefetch(&raw const self.changes.words[bit / 64]);
        let before = core::mem::replace(&mut self.waiting[self.next], bit);
        self.next = (self.next + 1) % WAITING;
        if before != NO_BIT {
            self.changes.set(before);
        }
    }

    /// Records what waits.
    fn settle(&mut self) {
        for waiting in &mut self.waiting {
            let bit = core::mem::replace(waiting, NO_BIT);
            if bit != NO_BIT {
                self.changes.set(bit);
            }
        }
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
    /// From this lane on.
    Rest {
        lane: usize,
    },
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
            match walk.phase {
                Phase::InOrder => self.write(|writer| writer.take_in_order(walk)),
                Phase::Rest { lane } => self.take_rest(walk, lane),
                Phase::Done => {}
            }
            walk.waiting.reverse();
        }
        self.prefetch_waiting(&walk.waiting);
        let mut slot = Slot::take();
        while !sink.is_full() {
            let Some((id, standing)) = walk.waiting.pop() else { break };
            self.save_entry(id, standing, &mut slot, sink);
        }
    }

    /// Takes the ids of a few entries that the policy has not shown, from a lane on. Needs no lock,
    /// as an entry keeps its lane.
    fn take_rest(&self, walk: &mut SaveWalk, mut lane: usize) {
        let mut shown = Shown { bits: &mut walk.shown, entries: &mut walk.shown_entries };
        while walk.waiting.len() < SHOWN_AT_ONCE {
            let Some(&word) = shown.bits.get(lane / 64) else {
                walk.phase = Phase::Done;
                return;
            };
            let not_shown = !word >> (lane % 64);
            if not_shown == 0 {
                lane = (lane / 64 + 1) * 64;
                continue;
            }
            lane += not_shown.trailing_zeros() as usize;
            let id = EntryId::new(to_u32(lane));
            if self.lookup.table.candidate(id).is_some() && shown.note(id) {
                walk.waiting.push((id, Standing::new()));
            }
            lane += 1;
        }
        walk.phase = Phase::Rest { lane };
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

    /// Waits until no other thread has the lock, and records all changes before that.
    pub(crate) fn settle_changes(&self) {
        if let Some(recording) = &mut self.state.lock().recording {
            recording.settle();
        }
    }

    /// Returns `true` if the shard is being saved.
    pub(crate) fn is_being_saved(&self) -> bool {
        self.state.lock().recording.is_some()
    }

    /// Ends the recording of changes in this record. Has no effect on another save.
    pub(crate) fn end_save(&self, changes: &Arc<Changes>) {
        let mut state = self.state.lock();
        if state.recording.as_ref().is_some_and(|own| Arc::ptr_eq(&own.changes, changes)) {
            state.recording = None;
        }
    }

    /// Returns the name under which the policy's knowledge is saved.
    pub(crate) fn snapshot_name(&self) -> &'static str {
        self.write(|writer| writer.state.evictor.policy().snapshot_name())
    }
}

impl Writer<'_> {
    /// Records that the entry under a key is replaced or gets another deadline, if the cache is
    /// being saved.
    #[inline]
    pub(super) fn note_change(&mut self, key: &[u8]) {
        if let Some(recording) = &mut self.state.recording {
            recording.note(key);
        }
    }

    /// Records that an entry leaves, if the cache is being saved.
    #[inline]
    pub(super) fn note_departure(&mut self, id: EntryId) {
        if self.state.recording.is_some() {
            self.record_departure(id);
        }
    }

    #[inline(never)]
    fn record_departure(&mut self, id: EntryId) {
        let State { recording, entries, .. } = &mut *self.state;
        if let (Some(recording), Some(live)) = (recording, entries.live(id)) {
            recording.note(entries.ring().entry(live).key);
        }
    }

    /// Records that all entries leave, if the cache is being saved.
    pub(super) fn note_change_of_all(&self) {
        if let Some(recording) = &self.state.recording {
            recording.changes.note_all();
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
        if self.state.recording.is_some() {
            return None;
        }
        self.drain_touches();
        self.state.recording = Some(Box::new(Recording::new(changes)));
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
        walk.shown = none_shown(table.lanes());
        // A policy may pass all ids several times, many of them in one step.
        walk.steps_left = 4 * self.state.entries.len() + table.lanes() + PASSES * SHOWN_AT_ONCE;
        walk.waiting.clear();
        walk.phase = Phase::InOrder;
        let State { evictor, pending, .. } = &mut *self.state;
        evictor.begin_walk(pending);
    }

    /// Takes the ids of a few entries that are to be shown, in the order of the policy.
    fn take_in_order(&mut self, walk: &mut SaveWalk) {
        self.fit_to_index(walk);
        self.drain_touches();
        let State { evictor, pending, .. } = &mut *self.state;
        let is_over = evictor.walk(pending, SHOWN_AT_ONCE, &mut walk.waiting) || walk.steps_left < SHOWN_AT_ONCE;
        walk.steps_left = walk.steps_left.saturating_sub(SHOWN_AT_ONCE);
        let lanes = self.state.entries.table().lanes();
        let mut shown = Shown { bits: &mut walk.shown, entries: &mut walk.shown_entries };
        walk.waiting.retain(|&(id, _)| id.index() < lanes && shown.note(id));
        if is_over {
            walk.phase = Phase::Rest { lane: 0 };
        }
    }
}

/// Returns a bit for each lane. None is shown, but those beyond the last lane.
fn none_shown(lanes: usize) -> Vec<u64> {
    let mut shown = vec![0; lanes.div_ceil(64)];
    if let Some(last) = shown.last_mut().filter(|_| lanes % 64 != 0) {
        *last = u64::MAX << (lanes % 64);
    }
    shown
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

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::none_shown;

    #[test]
    fn no_bit_stands_for_a_lane_that_does_not_exist() {
        for lanes in [1, 60, 63, 64, 65, 128, 268_435_452] {
            let shown = none_shown(lanes);
            let clear: usize = shown.iter().map(|word| word.count_zeros() as usize).sum();
            assert_eq!(clear, lanes);
            assert!(shown[..lanes / 64].iter().all(|&word| word == 0));
        }
    }
}
