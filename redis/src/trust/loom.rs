//! Models of the state, beside a local tier of one entry.
//!
//! Reads of the entry take no lock, as in the cache. Loads and resets do: a load that began before
//! a reset stores nothing.

use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use super::Trust;

const LONG: Duration = Duration::from_secs(3_600);

/// A namespace with one entry.
struct Space {
    trust: Trust,
    /// There is an entry that was stored as a tracked one.
    has_entry: AtomicBool,
    resets: Mutex<u32>,
}

impl Space {
    /// Creates a tracked namespace. Its entry may be served for `max_staleness`.
    fn tracked(max_staleness: Duration) -> Arc<Self> {
        let trust = Trust::new(max_staleness);
        trust.attach(Instant::now(), || ());
        Arc::new(Self { trust, has_entry: AtomicBool::new(true), resets: Mutex::new(0) })
    }

    fn reset(&self) {
        let mut resets = self.resets.lock().expect("no model panics with it");
        *resets += 1;
        // The pairings of the state make it visible.
        self.has_entry.store(false, Ordering::Relaxed);
    }

    /// Loads the entry. Stores it only as a tracked one: others leave by their lifetimes.
    fn load(&self) {
        let began = *self.resets.lock().expect("no model panics with it");
        let is_tracked = self.trust.is_tracked();
        let resets = self.resets.lock().expect("no model panics with it");
        if is_tracked && *resets == began {
            self.has_entry.store(true, Ordering::Relaxed);
        }
    }

    /// Returns `true` if a read finds the entry.
    fn read(&self) -> bool {
        if !self.trust.may_read() {
            self.trust.settle(|| self.reset());
        }
        self.has_entry.load(Ordering::Relaxed)
    }

    fn spawn(self: &Arc<Self>, run: impl FnOnce(&Self) + 'static) -> thread::JoinHandle<()> {
        let space = Arc::clone(self);
        thread::spawn(move || run(&space))
    }
}

#[test]
fn entry_past_its_moment_is_never_found() {
    loom::model(|| {
        let space = Space::tracked(Duration::ZERO);
        let loading = space.spawn(Space::load);
        let reading = space.spawn(|space| assert!(!space.read()));
        assert!(!space.read());
        loading.join().expect("it ends");
        reading.join().expect("it ends");
        assert!(!space.read());
    });
}

#[test]
fn entry_of_a_lost_session_is_not_found_after_it() {
    loom::model(|| {
        let space = Space::tracked(LONG);
        let loading = space.spawn(Space::load);
        let detaching = space.spawn(|space| {
            space.trust.detach(|| space.reset());
            assert!(!space.read());
        });
        loading.join().expect("it ends");
        detaching.join().expect("it ends");
        assert!(!space.read() && !space.trust.is_tracked());
    });
}

#[test]
fn late_ping_does_not_undo_a_reset() {
    loom::model(|| {
        let space = Space::tracked(Duration::ZERO);
        let extending = space.spawn(|space| _ = space.trust.extend(Instant::now()));
        let loading = space.spawn(Space::load);
        assert!(!space.read());
        extending.join().expect("it ends");
        loading.join().expect("it ends");
        assert!(!space.read() && !space.trust.is_tracked());
    });
}
