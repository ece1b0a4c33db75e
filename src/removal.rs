//! Why entries leave, and how the listener is told.
//!
//! Entries that leave under a shard's lock are copied to a [`Removals`] list, and the cache's [`Teller`] tells its listener
//! of them once the lock is free. Without a listener nothing is copied.
//!
//! ```text
//!   operation    what had to wait, what left in it .......... told, all of it
//!     listener     its own writes -> what leaves there ......... NESTED of the thread: told next, up to 1,000 entries
//!                                                                | the rest
//!   next write, maintain <-------------------------------------- KEPT of the teller
//! ```
//!
//! A listener that writes makes more entries leave. Telling of those within its writes would take another frame of the
//! stack for each, without end if each call makes another entry leave. So while a listener runs on a thread, whatever leaves
//! there, from any cache, joins that thread's queue; and the operation on the outside, which called the listener, goes through
//! the queue when the call has returned.
//!
//! # Invariants
//!
//! 1. An entry that has left lies in one list, and goes out of it before the listener is called with it: it is told once.
//! 2. On one thread, one listener runs at a time.
//! 3. Stores within a listener are refused while [`max_waiting`](Teller::refuses) bytes wait.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};

/// Why an entry left the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// Its time to live or its time to idle, and its stale period, came to an end.
    Expired,
    /// The eviction policy, or the want of space, chose it; or the policy would not have it at all.
    Evicted,
    /// A caller removed it: `remove`, `take`, `retain` or `clear`.
    Removed,
    /// A caller stored another value under its key, or a write to its key failed, which removes what is older.
    Replaced,
}

/// A function of the user's that is told of entries that left.
pub(crate) type Listener = Arc<dyn Fn(&[u8], &[u8], RemovalCause) + Send + Sync>;

/// Entries that left through listeners' writes and that one operation tells of.
const MAX_NESTED: usize = 1_000;
/// Bytes that may wait in any cache before stores of listeners are refused. So much is little beside a cache, and enough for
/// what a store of average entries makes leave.
const MIN_WAITING_BYTES: usize = 256 << 10;
/// What an entry that waits takes up beside key and value: its place in a list, and mostly a list of its own.
const WAITING_OVERHEAD: usize = 128;
/// Bytes, or entries, that an operation in several steps removes before it tells of them: copies of all might be as large as
/// the cache. Fewer entries than one operation tells of, so that a listener which stores each elsewhere keeps up.
const STEP_BYTES: usize = 256 << 10;
const STEP_ENTRIES: usize = 500;

/// Entries that have left and that the listener has not been told of yet, in the order in which they left.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    /// Keys and values, one after the other.
    bytes: Vec<u8>,
    entries: Vec<(usize, usize, RemovalCause)>,
    /// Entries that have been told, and their bytes.
    notified: (usize, usize),
}

impl Removals {
    /// Whether it is time to tell of them.
    pub(crate) fn are_many(&self) -> bool {
        self.bytes.len() >= STEP_BYTES || self.entries.len() >= STEP_ENTRIES
    }

    pub(crate) fn push(&mut self, key: &[u8], value: &[u8], cause: RemovalCause) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.entries.push((key.len(), value.len(), cause));
    }

    /// Adds entries that left later, none of which has been told.
    pub(crate) fn append(&mut self, later: &Self) {
        debug_assert_eq!(later.notified, (0, 0));
        self.bytes.extend_from_slice(&later.bytes);
        self.entries.extend_from_slice(&later.entries);
    }

    /// Takes the next entry out.
    fn next(&mut self) -> Option<(&[u8], &[u8], RemovalCause)> {
        let (entries, bytes) = self.notified;
        let &(key, value, cause) = self.entries.get(entries)?;
        self.notified = (entries + 1, bytes + key + value);
        let (key, value) = self.bytes[bytes..bytes + key + value].split_at(key);
        Some((key, value, cause))
    }

    fn is_empty(&self) -> bool {
        self.notified.0 == self.entries.len()
    }

    /// What the entries that have not been told take up.
    fn cost(&self) -> usize {
        (self.entries.len() - self.notified.0) * WAITING_OVERHEAD + self.bytes.len() - self.notified.1
    }
}

/// What left through writes of the listeners that this thread calls.
type Nested = VecDeque<(Arc<Teller>, Removals)>;

thread_local! {
    /// `Some` while the thread tells a listener. Never dropped with the thread, so that it is there in the destructors of other
    /// locals; it is `None` then, or a caller of listeners is still there to take it.
    static NESTED: RefCell<ManuallyDrop<Option<Nested>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

fn with_nested<R>(work: impl FnOnce(&mut Option<Nested>) -> R) -> R {
    NESTED.with(|nested| work(&mut nested.borrow_mut()))
}

/// Tells the listener of one cache.
pub(crate) struct Teller {
    listener: Listener,
    panics: AtomicU64,
    /// What operations have left to the next one.
    kept: Mutex<VecDeque<Removals>>,
    /// How many lists are kept.
    kept_lists: AtomicUsize,
    /// What the entries take up that wait: in `kept` and in queues of threads.
    waiting_bytes: AtomicUsize,
    max_waiting: usize,
}

impl Teller {
    pub(crate) fn new(listener: Listener, max_entry_bytes: usize) -> Self {
        Self {
            listener,
            panics: AtomicU64::new(0),
            kept: Mutex::new(VecDeque::new()),
            kept_lists: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            max_waiting: max_entry_bytes.max(MIN_WAITING_BYTES),
        }
    }

    /// Calls of the listener that have panicked.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed) // A counter.
    }

    /// Whether a former operation has left something to be told.
    #[inline]
    pub(crate) fn keeps_some(&self) -> bool {
        // Relaxed: the lists are behind their lock. A write that came after the operation sees its store.
        self.kept_lists.load(Ordering::Relaxed) > 0
    }

    /// Whether a store of the thread is one of a listener's, and too much waits to be told already.
    pub(crate) fn refuses(&self) -> bool {
        // Relaxed: a bound that other threads may pass by what they have just added.
        self.waiting_bytes.load(Ordering::Relaxed) >= self.max_waiting && with_nested(|nested| nested.is_some())
    }

    /// Tells the listener of what has waited and of what has left now, and then of what leaves through writes of its own. Within
    /// a listener: has the operation outside do so.
    pub(crate) fn tell(self: &Arc<Self>, removals: Option<Removals>) {
        match Telling::begin() {
            Some(telling) => telling.tell(self, removals),
            None => {
                let Some(removals) = removals else { return };
                self.note_waiting(&removals);
                let entry = (Arc::clone(self), removals);
                with_nested(|nested| nested.get_or_insert_default().push_back(entry));
            }
        }
    }

    /// Leaves entries to the next operation.
    pub(crate) fn keep(&self, removals: Removals) {
        self.note_waiting(&removals);
        self.keep_waiting(removals);
    }

    fn note_waiting(&self, removals: &Removals) {
        self.waiting_bytes.fetch_add(removals.cost(), Ordering::Relaxed); // A bound.
    }

    fn keep_waiting(&self, removals: Removals) {
        let mut kept = self.kept.lock();
        kept.push_back(removals);
        self.kept_lists.store(kept.len(), Ordering::Relaxed); // See `keeps_some`.
    }

    fn take_kept(&self) -> VecDeque<Removals> {
        let mut kept = self.kept.lock();
        self.kept_lists.store(0, Ordering::Relaxed); // See `keeps_some`.
        core::mem::take(&mut *kept)
    }

    /// Tells of entries that have waited, `most` of them at most. Returns how many.
    fn tell_waiting(&self, removals: &mut Removals, most: usize) -> usize {
        for notified in 0..most {
            let before = removals.cost();
            let Some((key, value, cause)) = removals.next() else { return notified };
            self.call(key, value, cause);
            self.waiting_bytes.fetch_sub(before - removals.cost(), Ordering::Relaxed); // A bound.
        }
        most
    }

    /// Calls the listener. The listener's own state is its own concern; nothing of the cache is lent to it.
    fn call(&self, key: &[u8], value: &[u8], cause: RemovalCause) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.listener)(key, value, cause))) {
            self.panics.fetch_add(1, Ordering::Relaxed); // A counter.
            // What was thrown may panic as it is dropped, and so may what that throws, which is let be.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                core::mem::forget(payload);
            }
        }
    }
}

/// Tells of what still waits, unless a listener drops the cache.
impl Drop for Teller {
    fn drop(&mut self) {
        if self.keeps_some() {
            if let Some(telling) = Telling::begin() {
                telling.tell(self, None);
            }
        }
    }
}

/// While it is there, listeners are called on this thread. What leaves meanwhile joins the thread's queue, and is kept for
/// later operations if it is still there at the end.
struct Telling(());

impl Telling {
    /// `None` if the thread is within a listener.
    fn begin() -> Option<Self> {
        with_nested(|nested| {
            let is_outside = nested.is_none();
            nested.get_or_insert_default();
            is_outside.then(|| Self(()))
        })
    }

    fn tell(self, teller: &Teller, removals: Option<Removals>) {
        if teller.keeps_some() {
            for mut kept in teller.take_kept() {
                teller.tell_waiting(&mut kept, usize::MAX);
            }
        }
        if let Some(mut removals) = removals {
            while let Some((key, value, cause)) = removals.next() {
                teller.call(key, value, cause);
            }
        }
        let mut left = MAX_NESTED;
        while left > 0 {
            let Some((teller, mut removals)) = Self::next() else { return };
            left -= teller.tell_waiting(&mut removals, left);
            if !removals.is_empty() {
                teller.keep_waiting(removals);
            }
        }
    }

    fn next() -> Option<(Arc<Teller>, Removals)> {
        with_nested(|nested| nested.as_mut()?.pop_front())
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        // One by one, as a cache may go with its teller here, and other listeners be told of that.
        while let Some((teller, removals)) = Self::next() {
            teller.keep_waiting(removals);
        }
        with_nested(Option::take);
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn departed_entries_come_out_once_in_their_order() {
        let mut removals = Removals::default();
        removals.push(b"a", b"first", RemovalCause::Evicted);
        let mut later = Removals::default();
        later.push(b"", b"", RemovalCause::Expired);
        later.push(b"key", b"", RemovalCause::Removed);
        removals.append(&later);
        let cost = removals.cost();
        assert_eq!(removals.next(), Some((&b"a"[..], &b"first"[..], RemovalCause::Evicted)));
        assert!(removals.cost() < cost && !removals.is_empty());
        assert_eq!(removals.next(), Some((&b""[..], &b""[..], RemovalCause::Expired)));
        assert_eq!(removals.next(), Some((&b"key"[..], &b""[..], RemovalCause::Removed)));
        assert_eq!(removals.next(), None);
        assert_eq!((removals.cost(), removals.is_empty()), (0, true));
    }
}
