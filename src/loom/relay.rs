//! Idle stamps that readers change while their entries are relocated. `ring/relay.rs` runs under a
//! ring and an index, without a shard, so that three threads can be explored. The models of
//! `idle.rs` run whole shards.

use super::*;
use crate::ring::StampsAt;
use crate::units::{Stamp, is_later};

/// The first idle stamps of keys `a` and `b`.
const EARLY: u32 = 10;
const OTHER: u32 = 5;

/// Returns a ring with keys and their idle stamps, in which a chunk is open for survivors.
fn idling(keys: &[(u8, u32)]) -> (Writer, Arc<Readers>) {
    let (mut writer, readers) = store(8);
    for &(key, stamp) in keys {
        let mut stamps = Stamps::NONE;
        stamps.set(Stamp::Idle, stamp);
        writer.insert_with(key, 1, &stamps);
    }
    assert!(writer.ring.open_next(Stream::Survivors, None));
    (writer, readers)
}

impl Writer {
    /// Relocates a key, like `Entries::relocate`.
    pub(super) fn relocate(&mut self, key: u8) {
        self.relocate_while(key, || ());
    }

    /// Relocates a key. Calls `meanwhile` after the new location is published, before the stamp is
    /// stored there.
    fn relocate_while(&mut self, key: u8, meanwhile: impl FnOnce()) {
        let (id, from) = self.find(key);
        let (to, _) = self.ring.relocate(from, Stream::Survivors, &self.token).expect("room");
        self.index.replace(id, to);
        meanwhile();
        self.ring.end_relocation(from, to);
    }
}

impl Readers {
    /// Extends an idle stamp, like `freshness_of` in `shard/idle.rs`.
    fn put_off(&self, key: u8, word: u32) {
        self.judge(key, |live, stamps| {
            self.ring.arena().change_idle_stamp(live, stamps, |seen| is_later(word, seen).then_some(word));
        });
    }

    fn idle_stamp(&self, key: u8) -> u32 {
        self.judge(key, |_, stamps| self.ring.arena().stamp_at(stamps, Stamp::Idle).expect("a stamp"))
    }

    /// Returns the result of `look` for the entry that a search returns in the end.
    fn judge<R>(&self, key: u8, look: impl Fn(Live<'_>, StampsAt<'_>) -> R) -> R {
        let mut slot = Slot::take();
        let judge = |live: Live<'_>, stamps: StampsAt<'_>, _| {
            Some(look(live, stamps)).filter(|_| !self.ring.arena().has_left(live))
        };
        let found = self.find(hash(key), &[key], &mut slot, || Tick::new(0), judge);
        found.expect("present throughout").1
    }

    fn spawn<R: 'static>(self: &Arc<Self>, work: impl FnOnce(&Self) -> R + 'static) -> thread::JoinHandle<R> {
        let readers = Arc::clone(self);
        thread::spawn(move || work(&readers))
    }
}

/// A reader sees its own change at once, wherever the entry is. In the end every thread sees it.
///
/// Fails if the stamp is taken over only when the new location is published, or only before; or if
/// a reader takes a leaving stamp for the entry's, or does not check the dead mark.
#[test]
fn a_reader_sees_its_change_of_a_stamp_that_is_on_its_way() {
    explore(3, || {
        let (mut writer, readers) = idling(&[(b'a', EARLY)]);
        let reader = readers.spawn(|readers| {
            readers.put_off(b'a', 20);
            assert_eq!(readers.idle_stamp(b'a'), 20);
        });
        writer.relocate(b'a');
        reader.join().unwrap();
        assert_eq!(readers.idle_stamp(b'a'), 20);
    });
}

/// Two readers: the second one may have found the other place.
///
/// Fails if the cleaner or a reader stores a stamp without comparing.
#[test]
fn the_later_of_two_changes_counts() {
    explore_some(1, 100_000, || {
        let (mut writer, readers) = idling(&[(b'a', EARLY)]);
        let first = readers.spawn(|readers| readers.put_off(b'a', 20));
        let second = readers.spawn(|readers| readers.put_off(b'a', 30));
        writer.relocate(b'a');
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(readers.idle_stamp(b'a'), 30);
    });
}

/// The relay serves the next relocation, of the same entry or of another one, while a reader takes
/// it for the former one's.
///
/// Fails if a reader does not check whose stamp it is about to change in the relay, in either way;
/// if `LEAVING` and `ARRIVING` are one word; if turns are not counted; or if opening the relay is
/// Relaxed.
#[test]
fn a_change_counts_for_its_own_entry_while_others_are_relocated() {
    while_two_are_relocated(20, |readers| {
        readers.put_off(b'a', 20);
        assert_eq!(readers.idle_stamp(b'a'), 20);
    });
}

/// Like the model above, but the reader only loads.
///
/// Fails if a reader does not check whose stamp it has loaded from the relay.
#[test]
fn a_reader_sees_the_stamp_of_its_own_entry_while_others_are_relocated() {
    while_two_are_relocated(EARLY, |readers| assert_eq!(readers.idle_stamp(b'a'), EARLY));
}

/// Runs `read` while key `a` is relocated, and then another key or the same one again. `at_last` is
/// the final idle stamp of `a`.
fn while_two_are_relocated(at_last: u32, read: fn(&Readers)) {
    for next in *b"ab" {
        explore(1, move || {
            let (mut writer, readers) = idling(&[(b'a', EARLY), (b'b', OTHER)]);
            let reader = readers.spawn(read);
            writer.relocate(b'a');
            writer.relocate(next);
            reader.join().unwrap();
            assert_eq!((readers.idle_stamp(b'a'), readers.idle_stamp(b'b')), (at_last, OTHER));
        });
    }
}

/// A thread that sees that an entry was read also sees everything that the reading thread did
/// before. A write to another shard might be among it.
///
/// Fails if `LEAVING`, the closing, or a load of a stamp or of the relay is Relaxed. The exchanges
/// of readers may be Relaxed: the fence of a reader's hold comes before them.
#[test]
fn who_sees_a_change_sees_what_was_done_before_it() {
    a_change_is_seen_with_what_was_done_before(|writer, changing| {
        writer.relocate(b'a');
        changing.join().unwrap();
    });
}

/// Like the model above, but the cleaner takes the change from the relay to the new place.
///
/// Fails if the exchange in `end_relocation` is Relaxed.
#[test]
fn who_sees_a_stamp_that_has_arrived_sees_what_was_done_before_it_was_changed() {
    a_change_is_seen_with_what_was_done_before(|writer, changing| {
        writer.relocate_while(b'a', || changing.join().unwrap());
    });
}

/// Runs `relocate` while one thread does something and then changes the stamp of `a`, and another
/// looks at that stamp.
fn a_change_is_seen_with_what_was_done_before(relocate: fn(&mut Writer, thread::JoinHandle<()>)) {
    explore(1, move || {
        let (mut writer, readers) = idling(&[(b'a', EARLY)]);
        let done = Arc::new(AtomicUsize::new(0));
        let changing = {
            let done = Arc::clone(&done);
            readers.spawn(move |readers| {
                done.store(1, Ordering::Relaxed);
                readers.put_off(b'a', 20);
            })
        };
        let looking = readers.spawn(move |readers| {
            if readers.idle_stamp(b'a') == 20 {
                assert_eq!(done.load(Ordering::Relaxed), 1);
            }
        });
        relocate(&mut writer, changing);
        looking.join().unwrap();
    });
}
