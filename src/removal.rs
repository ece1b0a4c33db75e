//! Why entries leave, and how the removal listener is notified of them.
//!
//! Entries that leave under a shard's lock are copied to a list of [`Removals`]. When the lock is
//! free, the [`Notifier`] of the cache calls the listener with each of them. Without a listener
//! nothing is copied.
//!
//! ```text
//!   operation    entries that waited, entries that left in it ...... notified, all of them
//!     listener     its own writes -> entries leave ................. NESTED queue of the thread:
//!                                                                    notified next, up to 1,000
//!                                                                  | the rest
//!   next write, maintain <----------------------------------------- deferred lists of the notifier
//! ```
//!
//! A listener that writes makes more entries leave. To notify of those within its writes would take
//! another stack frame for each, without end if each call makes another entry leave. So while a
//! listener runs on a thread, entries that leave there, from any cache, join the queue of the
//! thread. The outermost operation, which called the listener, empties the queue when the call has
//! returned.
//!
//! # Invariants
//!
//! 1. An entry that has left is in one list. It is taken out before the listener is called with it.
//!    So each entry is notified once.
//! 2. On one thread, one listener runs at a time.
//! 3. Stores within a listener are refused while [`max_waiting_bytes`](Notifier::refuses_stores)
//!    bytes wait.
//!
//! # Synchronization
//!
//! The deferred lists are behind a lock. The atomics are counters, bounds and hints: all Relaxed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::namespace::{Origin, Registry, origin};
use crate::sync::{AtomicU64, AtomicUsize, Mutex, Ordering};

/// The reason why an entry left the cache.
///
/// The [removal listener](crate::CacheBuilder::on_removal) gets it with each entry.
///
/// ```
/// use bytecache::{Cache, RemovalCause};
/// use std::sync::{Arc, Mutex};
///
/// let causes = Arc::new(Mutex::new(vec![]));
/// let log = Arc::clone(&causes);
/// let cache = Cache::builder()
///     .max_bytes(1 << 20)
///     .on_removal(move |_key, _value, cause| log.lock().unwrap().push(cause))
///     .build()?;
/// cache.insert("key", "old")?;
/// cache.insert("key", "new")?;
/// cache.remove("key");
/// assert_eq!(*causes.lock().unwrap(), [RemovalCause::Replaced, RemovalCause::Removed]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// Its time to live or its time to idle ended, and so did its stale period.
    Expired,
    /// The eviction policy chose it, or its space was needed. Also a new entry that the policy did
    /// not admit.
    Evicted,
    /// A caller removed it: by `remove`, `take`, `remove_if`, `update`, `retain` or `clear`. Also
    /// an entry of a namespace that leaves after an invalidation of the namespace.
    Removed,
    /// A caller stored another value under its key. This is also the cause if a write to its key
    /// failed, or if the other value has a lifetime of zero. A stale entry leaves for this cause if
    /// [`replace`](crate::Cache::replace) finds it.
    Replaced,
}

/// The removal listener of a cache: a function of the user.
pub(crate) type Listener = Arc<dyn Fn(&[u8], &[u8], RemovalCause) + Send + Sync>;

/// The most entries that left through writes of listeners and that one operation notifies of.
const MAX_NESTED: usize = 1_000;
/// Bytes that may wait in any cache before stores of listeners are refused. It is little beside a
/// cache, and enough for the entries that a store of average size makes leave.
const MIN_WAITING_BYTES: usize = 256 << 10;
/// Bytes that a waiting entry takes beside key and value: its place in a list, and mostly a list of
/// its own.
const WAITING_OVERHEAD: usize = 128;
/// Bytes that an operation in several steps removes before it notifies the listener: copies of all
/// entries might be as large as the cache.
const STEP_BYTES: usize = 256 << 10;
/// Entries that an operation in several steps removes before it notifies the listener. Fewer than
/// [`MAX_NESTED`], so that a listener which stores each in another cache keeps up.
const STEP_ENTRIES: usize = 500;

/// Entries that have left and that the listener has not been notified of, in the order in which
/// they left.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    /// Keys and values, one after the other.
    bytes: Vec<u8>,
    /// The lengths of key and value, and the cause.
    entries: Vec<(usize, usize, RemovalCause)>,
    /// The number of entries that have been taken out, and their bytes.
    taken: (usize, usize),
}

impl Removals {
    /// Returns `true` if it is time to notify the listener: there are [`STEP_ENTRIES`] entries, or
    /// [`STEP_BYTES`] bytes of them.
    pub(crate) fn are_many(&self) -> bool {
        self.bytes.len() >= STEP_BYTES || self.entries.len() >= STEP_ENTRIES
    }

    /// Adds a copy of an entry.
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8], cause: RemovalCause) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.entries.push((key.len(), value.len(), cause));
    }

    /// Adds entries that left later. None of them has been taken out.
    pub(crate) fn append(&mut self, later: &Self) {
        debug_assert_eq!(later.taken, (0, 0));
        self.bytes.extend_from_slice(&later.bytes);
        self.entries.extend_from_slice(&later.entries);
    }

    /// Takes the next entry out: its key, its value and the cause.
    fn next(&mut self) -> Option<(&[u8], &[u8], RemovalCause)> {
        let (entries, bytes) = self.taken;
        let &(key, value, cause) = self.entries.get(entries)?;
        self.taken = (entries + 1, bytes + key + value);
        let (key, value) = self.bytes[bytes..bytes + key + value].split_at(key);
        Some((key, value, cause))
    }

    fn is_empty(&self) -> bool {
        self.taken.0 == self.entries.len()
    }

    /// Returns the bytes that the remaining entries count, overhead included.
    fn waiting_bytes(&self) -> usize {
        (self.entries.len() - self.taken.0) * WAITING_OVERHEAD + self.bytes.len() - self.taken.1
    }
}

/// Entries that left through writes of the listeners that this thread calls.
type Nested = VecDeque<(Arc<Notifier>, Removals)>;

thread_local! {
    /// `Some` while the thread calls a listener.
    ///
    /// Not dropped with the thread, so that it exists in the destructors of other thread locals. It
    /// is `None` by then, or a [`Notifying`] is still alive and takes it.
    static NESTED: RefCell<ManuallyDrop<Option<Nested>>> = const { RefCell::new(ManuallyDrop::new(None)) };
}

fn with_nested<R>(work: impl FnOnce(&mut Option<Nested>) -> R) -> R {
    NESTED.with(|nested| work(&mut nested.borrow_mut()))
}

/// The listeners of one cache: that of plain keys, and those of namespaces. And the entries that
/// wait for them.
pub(crate) struct Notifier {
    /// The listener of plain keys.
    listener: Option<Listener>,
    registry: Arc<Registry>,
    panics: AtomicU64,
    /// Lists that operations have left to the next one.
    deferred: Mutex<VecDeque<Removals>>,
    /// The number of deferred lists.
    deferred_lists: AtomicUsize,
    /// Bytes of waiting entries: those in `deferred`, and those in queues of threads.
    waiting_bytes: AtomicUsize,
    max_waiting_bytes: usize,
}

impl Notifier {
    pub(crate) fn new(listener: Option<Listener>, registry: Arc<Registry>, max_entry_bytes: usize) -> Self {
        Self {
            listener,
            registry,
            panics: AtomicU64::new(0),
            deferred: Mutex::new(VecDeque::new()),
            deferred_lists: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            max_waiting_bytes: max_entry_bytes.max(MIN_WAITING_BYTES),
        }
    }

    /// Returns the number of calls of the listener that panicked.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed) // A counter.
    }

    /// Returns `true` if the entry under this stored key has a listener.
    pub(crate) fn wants(&self, key: &[u8]) -> bool {
        match origin(key) {
            Origin::Plain(_) => self.listener.is_some(),
            Origin::Scoped { .. } => self.registry.is_listened_to(key),
        }
    }

    /// Returns `true` if an earlier operation has deferred entries.
    #[inline]
    pub(crate) fn has_deferred(&self) -> bool {
        // Relaxed: the lists are behind their lock. A write that comes after the operation that
        // deferred them sees its store.
        self.deferred_lists.load(Ordering::Relaxed) > 0
    }

    /// Returns `true` if a store of this thread is one of a listener, and too many bytes wait.
    pub(crate) fn refuses_stores(&self) -> bool {
        // Relaxed: a bound. Other threads may exceed it by the entries that they are adding.
        self.waiting_bytes.load(Ordering::Relaxed) >= self.max_waiting_bytes && with_nested(|nested| nested.is_some())
    }

    /// Notifies the listener of the entries that have waited, of `removals`, and then of entries
    /// that leave through its own writes. Within a listener, leaves that to the outermost
    /// operation.
    pub(crate) fn notify(self: &Arc<Self>, removals: Option<Removals>) {
        match Notifying::begin() {
            Some(notifying) => notifying.run(self, removals),
            None => {
                let Some(removals) = removals else { return };
                self.count_waiting(&removals);
                let entry = (Arc::clone(self), removals);
                with_nested(|nested| nested.get_or_insert_default().push_back(entry));
            }
        }
    }

    /// Leaves entries to the next operation.
    pub(crate) fn defer(&self, removals: Removals) {
        self.count_waiting(&removals);
        self.defer_counted(removals);
    }

    fn count_waiting(&self, removals: &Removals) {
        self.waiting_bytes.fetch_add(removals.waiting_bytes(), Ordering::Relaxed); // A bound.
    }

    /// Leaves entries that `waiting_bytes` counts already to the next operation.
    fn defer_counted(&self, removals: Removals) {
        let mut deferred = self.deferred.lock();
        deferred.push_back(removals);
        self.deferred_lists.store(deferred.len(), Ordering::Relaxed); // See `has_deferred`.
    }

    fn take_deferred(&self) -> VecDeque<Removals> {
        let mut deferred = self.deferred.lock();
        self.deferred_lists.store(0, Ordering::Relaxed); // See `has_deferred`.
        core::mem::take(&mut *deferred)
    }

    /// Calls the listener with entries that have waited, at most `most` of them. Returns their
    /// number.
    fn call_with_waiting(&self, removals: &mut Removals, most: usize) -> usize {
        for called in 0..most {
            let before = removals.waiting_bytes();
            let Some((key, value, cause)) = removals.next() else { return called };
            self.call(key, value, cause);
            self.waiting_bytes.fetch_sub(before - removals.waiting_bytes(), Ordering::Relaxed); // A bound.
        }
        most
    }

    /// Calls the listener of a stored key, and counts a panic of it.
    fn call(&self, key: &[u8], value: &[u8], cause: RemovalCause) {
        match origin(key) {
            Origin::Plain(key) => self.listener.iter().for_each(|listener| self.call_one(listener, key, value, cause)),
            Origin::Scoped { key: without_prefix, .. } => {
                // What left after an invalidation was removed by that.
                let cause = if self.registry.is_outdated(key) { RemovalCause::Removed } else { cause };
                let listener = self.registry.listener_of(key);
                listener.iter().for_each(|listener| self.call_one(listener, without_prefix, value, cause));
            }
        }
    }

    fn call_one(&self, listener: &Listener, key: &[u8], value: &[u8], cause: RemovalCause) {
        // Unwind safe: the listener borrows nothing that the cache changes. Its own state is the
        // user's concern.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| listener(key, value, cause))) {
            self.panics.fetch_add(1, Ordering::Relaxed); // A counter.
            // The payload may panic as it is dropped. The payload of that panic may do so too, and
            // is leaked.
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                core::mem::forget(payload);
            }
        }
    }
}

/// Notifies the listener of entries that still wait, unless a listener drops the cache.
impl Drop for Notifier {
    fn drop(&mut self) {
        if self.has_deferred() {
            if let Some(notifying) = Notifying::begin() {
                notifying.run(self, None);
            }
        }
    }
}

/// The right of a thread to call listeners, of which it has one at a time.
///
/// While it exists, entries that leave on the thread join its queue. Entries that are still in the
/// queue at the end are deferred to later operations.
struct Notifying(());

impl Notifying {
    /// Begins to call listeners. Returns `None` within a listener.
    fn begin() -> Option<Self> {
        with_nested(|nested| {
            let is_outermost = nested.is_none();
            nested.get_or_insert_default();
            is_outermost.then(|| Self(()))
        })
    }

    /// Notifies of deferred entries, then of `removals`, then of up to [`MAX_NESTED`] entries of
    /// the queue.
    fn run(self, notifier: &Notifier, removals: Option<Removals>) {
        if notifier.has_deferred() {
            for mut deferred in notifier.take_deferred() {
                notifier.call_with_waiting(&mut deferred, usize::MAX);
            }
        }
        if let Some(mut removals) = removals {
            while let Some((key, value, cause)) = removals.next() {
                notifier.call(key, value, cause);
            }
        }
        let mut left = MAX_NESTED;
        while left > 0 {
            let Some((notifier, mut removals)) = Self::next() else { return };
            left -= notifier.call_with_waiting(&mut removals, left);
            if !removals.is_empty() {
                notifier.defer_counted(removals);
            }
        }
    }

    /// Takes the next list out of the thread's queue.
    fn next() -> Option<(Arc<Notifier>, Removals)> {
        with_nested(|nested| nested.as_mut()?.pop_front())
    }
}

impl Drop for Notifying {
    fn drop(&mut self) {
        // One by one, with the queue in place: the last handle of a notifier may be dropped here,
        // and with it what its listener owns. Entries that leave meanwhile join the queue.
        while let Some((notifier, removals)) = Self::next() {
            notifier.defer_counted(removals);
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
        let before = removals.waiting_bytes();
        assert_eq!(removals.next(), Some((&b"a"[..], &b"first"[..], RemovalCause::Evicted)));
        assert!(removals.waiting_bytes() < before && !removals.is_empty());
        assert_eq!(removals.next(), Some((&b""[..], &b""[..], RemovalCause::Expired)));
        assert_eq!(removals.next(), Some((&b"key"[..], &b""[..], RemovalCause::Removed)));
        assert_eq!(removals.next(), None);
        assert_eq!((removals.waiting_bytes(), removals.is_empty()), (0, true));
    }
}
