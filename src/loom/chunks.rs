//! A chunk's life under readers and values: pinned, retired, freed once, written again.

use super::*;
use crate::reclaim::Batch;

/// The counts of the ring's `Arc` while nothing is retired: the writer's and the readers'.
const COUNTS: usize = 2;

/// A ring of four chunks, all but one of them open or sealed; key `a` lies alone in the first.
fn one_entry() -> (Writer, Arc<Readers>) {
    let (mut writer, readers) = store(4);
    writer.insert(b'a', 1);
    for key in *b"bcd" {
        if writer.ring.counts().free > 0 {
            writer.next_chunk();
            writer.insert(key, 1);
        }
    }
    (writer, readers)
}

impl Writer {
    /// Fills the first chunk anew, if it can be had; whether it could.
    fn try_reuse(&mut self) -> bool {
        let is_free = self.ring.counts().free > 0;
        if is_free {
            self.fill_free_chunk();
        }
        is_free
    }

    /// Removes the only entry and writes to its chunk again, if it can be had, while the reader is at it.
    fn remove_and_reuse(&mut self, reader: thread::JoinHandle<()>, readers: &Arc<Readers>) {
        self.remove(b'a');
        self.collect();
        let reused = self.try_reuse();
        reader.join().unwrap();
        self.assert_freed_once(reused, readers);
    }

    /// When nobody holds anything any more: the first chunk comes back, unless it did before.
    fn assert_freed_once(&mut self, reused: bool, readers: &Arc<Readers>) {
        self.collect();
        assert_eq!(self.ring.counts().free, usize::from(!reused), "the chunk came back twice, or not at all");
        if !reused {
            self.fill_free_chunk();
        }
        // It works like any other.
        let (value, pinned) = readers.value(b'x').unwrap();
        assert!(pinned && whole(&value) == 0xff);
        drop(value);
        self.collect();
        assert_eq!((self.ring.counts().free, self.ring.counts().retired), (0, 0));
        assert_eq!(Arc::strong_count(&readers.ring), COUNTS, "a chunk's count of the ring");
        assert_eq!(self.ring.pinned_bytes(), 0);
    }
}

/// Fails if `Ring::reclaim` does not look at the slots, if the search does not look at the lane again, if either fence is
/// left out, and if the clearing of a slot is Relaxed.
#[test]
fn bytes_stay_while_a_slot_names_them() {
    explore(3, || {
        let (mut writer, readers) = one_entry();
        let reader = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || assert!(readers.view(b'a').is_none_or(|value| value == 1)))
        };
        writer.remove_and_reuse(reader, &readers);
    });
}

/// A slot that names one entry after another, of which the first leaves, and its chunk is used again.
///
/// Fails if the store of `Slot::hold` is Relaxed: a slot that shows its second name says that the reads under the first are over.
#[test]
fn a_slot_that_names_another_entry_has_let_the_former_go() {
    explore(3, || {
        let (mut writer, readers) = store(3);
        writer.insert(b'a', 1);
        writer.next_chunk();
        writer.insert(b'b', 1);
        writer.next_chunk();
        let reader = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || {
                let mut slot = Slot::take();
                for key in *b"ab" {
                    if let Some(found) = readers.found(key, &mut slot) {
                        assert_eq!(whole(found.value), 1);
                    }
                }
                // Not cleared before the writer has looked.
                std::mem::forget(slot);
            })
        };
        writer.remove(b'a');
        writer.collect();
        if writer.ring.counts().free > 0 {
            writer.fill_free_chunk();
        }
        reader.join().unwrap();
    });
}

/// Two keys that are read together.
///
/// Fails if the fence of `Batch::hold` is left out, if `Holds::clear_next` is Relaxed, if `find_guessed` does not look at the
/// lane again, and if the scan leaves batches out.
#[test]
fn bytes_stay_while_a_batch_names_them() {
    explore(3, || {
        let (mut writer, readers) = one_entry();
        let reader = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || {
                let mut batch = Batch::take().expect("nobody else has it");
                let guesses =
                    [b'a', b'b'].map(|key| (key, readers.guess(hash(key), &mut batch, usize::from(key - b'a'))));
                let mut holds = batch.hold();
                for (key, guess) in guesses {
                    if let Some(found) = readers.find_guessed(guess, &[key], &holds, usize::from(key - b'a')) {
                        assert_eq!(whole(found.value), 1);
                    }
                    holds.clear_next();
                }
            })
        };
        writer.remove_and_reuse(reader, &readers);
    });
}

/// Fails if `PinWord::unpin` or `FreedSet::mark` is Relaxed, if the Acquire of `FreedSet::take` or the
/// fence in `PinWord::ended` is missing, if the own pin is dropped without a grace period, and if
/// `RingShared::unpin` or `drop_own` mistakes the count of the ring's `Arc`.
#[test]
fn bytes_stay_while_a_value_holds_them() {
    explore(3, || {
        let (mut writer, readers) = one_entry();
        let reader = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || {
                let Some((value, pinned)) = readers.value(b'a') else { return };
                assert!(pinned);
                let copy = value.clone();
                drop(value);
                assert_eq!(whole(&copy), 1);
            })
        };
        writer.remove_and_reuse(reader, &readers);
    });
}

/// The chunk is freed by a thread that holds a value, after a thread that did not hold one has read it.
///
/// Fails if `PinWord::drop_own` is Relaxed.
#[test]
fn a_value_that_frees_the_chunk_waits_for_readers_without_values() {
    explore(3, || {
        let (mut writer, readers) = one_entry();
        let (value, _) = readers.value(b'a').unwrap();
        let holder = thread::spawn(move || {
            assert_eq!(whole(&value), 1);
        });
        let reader = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || assert!(readers.view(b'a').is_none_or(|value| value == 1)))
        };
        writer.remove(b'a');
        writer.collect();
        let reused = writer.try_reuse();
        holder.join().unwrap();
        reader.join().unwrap();
        writer.assert_freed_once(reused, &readers);
    });
}

/// While a thread recounts, a run of two chunks that it looks at is freed, and one of them used and pinned again.
///
/// Fails if a recount takes off what the chunk spanned when it looked, rather than what was counted.
#[test]
fn a_recount_takes_off_what_was_counted() {
    explore(2, || {
        let (mut writer, readers) = store(8);
        writer.insert(b'b', 1);
        let draft = Draft { key: b"a", value: &[1; 80], stamps: &Stamps::NONE };
        let layout = writer.ring.layout(&draft);
        let first = writer.ring.free_run(2, None).unwrap();
        let location = writer.ring.write_run(first, &layout, &draft).unwrap();
        let id = writer.index.free_lane(hash(b'a')).unwrap();
        writer.index.publish(id, hash(b'a'), location);
        assert!(readers.value(b'a').unwrap().1);
        writer.remove(b'a');
        let recounter = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || drop(readers.value(b'b')))
        };
        writer.collect();
        writer.next_chunk();
        writer.insert(b'c', 1);
        drop(readers.value(b'c'));
        recounter.join().unwrap();
        writer.next_chunk();
        writer.insert(b'd', 1);
        let held = [b'b', b'c', b'd'].map(|key| readers.value(key).unwrap());
        assert_eq!(held.iter().filter(|&&(_, pinned)| pinned).count(), 2, "two chunks may be pinned");
    });
}

/// Fails if `FreedSet::mark` is a load and a store.
#[test]
fn chunks_that_are_freed_at_once_all_come_back() {
    explore(3, || {
        let (mut writer, readers) = store(8);
        for key in *b"ab" {
            writer.insert(key, 1);
            writer.next_chunk();
        }
        let before = writer.ring.counts().free;
        let held = [b'a', b'b'].map(|key| readers.value(key).unwrap());
        writer.remove(b'a');
        writer.remove(b'b');
        writer.collect();
        let holders = held.map(|held| thread::spawn(move || drop(held)));
        writer.collect();
        holders.into_iter().for_each(|holder| holder.join().unwrap());
        writer.collect();
        assert_eq!(writer.ring.counts().free, before + 2);
    });
}

/// Fails if `Ring::drop` hands no count of itself over to the values that are left.
#[test]
fn values_outlive_the_ring_and_let_it_go_once() {
    explore(3, || drop_ring_under_values(|_| {}));
}

/// As above, but that the chunk is retired when the ring goes.
#[test]
fn values_in_a_retired_chunk_outlive_the_ring() {
    explore(3, || drop_ring_under_values(|writer| writer.remove(b'a')));
}

/// Drops the ring while another thread lets go of a value in it.
fn drop_ring_under_values(before: impl FnOnce(&mut Writer)) {
    let (mut writer, readers) = one_entry();
    let (value, pinned) = readers.value(b'a').unwrap();
    assert!(pinned);
    let ring: Weak<RingShared> = Arc::downgrade(&readers.ring);
    drop(readers);
    before(&mut writer);
    let clone = value.clone();
    let holder = thread::spawn(move || assert_eq!(whole(&clone), 1));
    drop(writer);
    assert!(ring.strong_count() > 0, "a value has lost its ring");
    assert_eq!(whole(&value), 1);
    drop(value);
    holder.join().unwrap();
    assert_eq!(ring.strong_count(), 0, "the ring was not let go");
}

/// Two threads take values of one chunk at once, and let them go, while two chunks may be pinned.
/// Afterwards two can be, no more.
///
/// Fails if both threads count the chunk, if a recount finds none, or takes one that is still held.
#[test]
fn pinned_chunks_are_counted_once() {
    explore(3, || {
        let (mut writer, readers) = store(8);
        for key in *b"abcd" {
            writer.insert(key, 1);
            writer.next_chunk();
        }
        let other = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || drop(readers.value(b'a')))
        };
        let held = readers.value(b'a').unwrap();
        other.join().unwrap();
        let second = readers.value(b'b').unwrap();
        assert!(held.1 && second.1, "a chunk is counted twice");
        assert!(!readers.value(b'c').unwrap().1, "more chunks are pinned than may be");
        drop((held, second));
        let held = [b'c', b'd'].map(|key| readers.value(key).unwrap());
        assert!(held.iter().all(|&(_, pinned)| pinned), "a chunk stays counted");
    });
}

/// One chunk may be pinned. It is freed, or not, while another thread wants its place.
///
/// Fails if a chunk that is freed stays counted.
#[test]
fn a_freed_chunk_is_not_counted_as_pinned() {
    explore(3, || {
        let (mut writer, readers) = one_entry();
        let other = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || drop(readers.value(b'b')))
        };
        let held = readers.value(b'a').unwrap();
        writer.remove(b'a');
        writer.collect();
        drop(held);
        other.join().unwrap();
        writer.collect();
        assert_eq!(writer.ring.counts().free, 1);
        let held = readers.value(b'b').unwrap();
        assert!(held.1, "a chunk is counted as pinned that is not");
        assert!(!readers.value(b'c').unwrap().1, "more chunks are pinned than may be");
    });
}
