//! The queue of a shard's events, which nobody waits for.
//!
//! A lock guards it, and all threads only try it. A thread that does not get the lock drops its
//! event. Events of a key are all in the queue of its shard, so they come in their order.
//!
//! # Synchronization
//!
//! `len` is Relaxed: it is a hint that spares a look at an empty queue. It is stored by the holder
//! of the lock only.

use super::event::{Event, EventKind};
use crate::sync::{AtomicUsize, Mutex, Ordering};

/// The places of a queue. A read that finds it full drains it, which bounds what one read does.
const PLACES: usize = 32;
/// The places that evictions may fill. One write may evict many entries, and is itself told last.
const PLACES_FOR_EVICTIONS: usize = PLACES / 2;

/// The events of one shard.
pub(crate) struct EventQueue {
    len: AtomicUsize,
    events: Mutex<Vec<Event>>,
}

/// The result of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Push {
    Done,
    /// All places for such an event are taken.
    Full,
    /// Another thread has the lock.
    Busy,
}

impl EventQueue {
    pub(super) fn new() -> Self {
        Self { len: AtomicUsize::new(0), events: Mutex::new(Vec::with_capacity(PLACES)) }
    }

    /// Returns the bytes that [`new`](Self::new) allocates.
    pub(super) fn footprint() -> usize {
        PLACES * size_of::<Event>()
    }

    /// Returns `true` if there is probably no event.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0 // A hint.
    }

    /// Adds an event, if there is room and no other thread has the lock.
    pub(super) fn push(&self, event: Event) -> Push {
        let Some(mut events) = self.events.try_lock() else { return Push::Busy };
        let places = if event.kind == EventKind::Eviction { PLACES_FOR_EVICTIONS } else { PLACES };
        if events.len() >= places {
            return Push::Full;
        }
        events.push(event);
        self.len.store(events.len(), Ordering::Relaxed); // A hint.
        Push::Done
    }

    /// Takes all events out, the oldest first. Takes none if another thread has the lock.
    pub(super) fn take(&self) -> impl Iterator<Item = Event> + use<> {
        let none = Event { hash: 0, kind: EventKind::Miss };
        let (mut taken, mut len) = ([none; PLACES], 0);
        if let Some(mut events) = self.events.try_lock() {
            len = events.len();
            taken[..len].copy_from_slice(&events);
            events.clear();
            self.len.store(0, Ordering::Relaxed); // A hint.
        }
        taken.into_iter().take(len)
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    fn event(hash: u64) -> Event {
        Event { hash, kind: EventKind::Miss }
    }

    #[test]
    fn events_come_out_once_and_in_order_and_a_full_queue_takes_no_more() {
        let queue = EventQueue::new();
        let pushes: Vec<_> = (0..=PLACES as u64).map(|hash| queue.push(event(hash))).collect();
        assert!(pushes[..PLACES].iter().all(|&push| push == Push::Done));
        assert_eq!(pushes[PLACES], Push::Full);
        assert!(queue.take().map(|event| event.hash).eq(0..PLACES as u64));
        assert!(queue.is_empty() && queue.take().next().is_none());
        assert_eq!(queue.push(event(7)), Push::Done);
        assert!(queue.take().eq([event(7)]));
    }

    #[test]
    fn evictions_leave_places_to_the_write_that_evicts() {
        let queue = EventQueue::new();
        let eviction = |hash| Event { hash, kind: EventKind::Eviction };
        let done = (0..100).filter(|&hash| queue.push(eviction(hash)) == Push::Done).count();
        assert_eq!(done, PLACES_FOR_EVICTIONS);
        assert_eq!(queue.push(event(1)), Push::Done);
        assert_eq!(queue.push(eviction(2)), Push::Full);
        assert!(queue.take().map(|event| event.hash).eq((0..16).chain([1])));
    }

    #[test]
    fn nobody_waits_for_the_lock() {
        let queue = EventQueue::new();
        queue.push(event(1));
        let held = queue.events.lock();
        assert_eq!(queue.push(event(2)), Push::Busy);
        assert_eq!(queue.take().count(), 0);
        drop(held);
        assert!(queue.take().eq([event(1)]));
    }
}
