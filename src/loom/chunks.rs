//! A chunk's life under readers and values: it is pinned, retired, freed once, and written again.

use super::*;
use crate::reclaim::Batch;

/// The counts of the ring's `Arc` while no chunk is retired: one each for the writer and the
/// readers.
const COUNTS: usize = 2;

/// Returns a ring of four chunks, of which all but one are open or sealed. Key `a` lies alone in
/// the first.
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
    /// Fills the first chunk again if it is free. Returns `true` if it was.
    fn try_reuse(&mut self) -> bool {
        let is_free = self.ring.counts().free > 0;
        if is_free {
            self.fill_free_chunk();
        }
        is_free
    }

    /// Removes the only entry while the reader runs, and writes to its chunk again if the chunk is
    /// free.
    fn remove_and_reuse(&mut self, reader: thread::JoinHandle<()>, readers: &Arc<Readers>) {
        self.remove(b'a');
        self.collect();
        let reused = self.try_reuse();
        reader.join().unwrap();
        self.assert_freed_once(reused, readers);
    }

    /// Checks, when nobody holds anything any more, that the first chunk comes back, unless it did
    /// before.
    fn assert_freed_once(&mut self, reused: bool, readers: &Arc<Readers>) {
        self.collect();
        assert_eq!(self.ring.counts().free, usize::from(!reused), "the chunk came back twice, or not at all");
        if !reused {
            self.fill_free_chunk();
        }
        // The chunk works like any other.
        let (value, pinned) = readers.value(b'x').unwrap();
        assert!(pinned && whole(&value) == 0xff);
        drop(value);
        self.collect();
        assert_eq!((self.ring.counts().free, self.ring.counts().retired), (0, 0));
        assert_eq!(Arc::strong_count(&readers.ring), COUNTS, "a chunk's count of the ring");
        assert_eq!(self.ring.shared().pinned_bytes(), 0);
    }
}

/// Fails if `Ring::reclaim` does not scan the slots, if the search does not load the lane again, if
/// either fence is missing, or if the clearing of a slot is Relaxed.
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

/// A slot names one entry and then another. The first entry is removed, and its chunk is used
/// again.
///
/// Fails if the store of `SlotName::hold` is Relaxed: a slot with its second name says that the
/// reads under the first are over.
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
                        assert_eq!(whole(found.value()), 1);
                    }
                }
                // Not cleared before the writer has scanned it.
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

/// Two keys are read together.
///
/// Fails if the fence of `Batch::hold` is missing, if `Holds::clear_next` is Relaxed, if
/// `find_guessed` does not load the lane again, or if the scan leaves batches out.
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
                        assert_eq!(whole(found.value()), 1);
                    }
                    holds.clear_next();
                }
            })
        };
        writer.remove_and_reuse(reader, &readers);
    });
}

/// Fails if `PinWord::unpin` or `FreedSet::mark` is Relaxed, if the Acquire of `FreedSet::take` or
/// the fence in `PinWord::ended` is missing, if the own pin is dropped without a scan of the slots,
/// or if `RingShared::unpin` or `drop_own` miscounts the ring's `Arc`.
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

/// A thread with a value frees the chunk after a thread without a value has read it.
///
/// Fails if the second look, `Bucket::live_again`, is Relaxed.
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

/// While a thread recounts, a run of two chunks that it examines is freed, and one of them is used
/// and pinned again. A value holds the chunk that was marked last, so its mark is not taken over.
///
/// Fails if a recount subtracts the span that the chunk has at that time, instead of the number
/// that was counted.
#[test]
fn a_recount_takes_off_what_was_counted() {
    explore(2, || {
        let (mut writer, readers) = store(12);
        writer.insert(b'b', 1);
        let draft = Draft { key: b"a", value: &[1; 80], stamps: &Stamps::NONE };
        let layout = writer.ring.layout(&draft);
        let first = writer.ring.free_run(2, None).unwrap();
        let location = writer.ring.write_run(first, &layout, &draft).unwrap();
        let lane = writer.index.free_lane(hash(b'a')).unwrap();
        writer.index.publish(lane, hash(b'a'), location);
        assert!(readers.value(b'a').unwrap().1);
        writer.next_chunk();
        writer.insert(b'e', 1);
        let (_last, is_pinned) = readers.value(b'e').unwrap();
        assert!(is_pinned);
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
        assert_eq!(held.iter().filter(|&&(_, pinned)| pinned).count(), 2, "two more chunks may be pinned");
    });
}

/// Two threads get values while the limit is reached by two marks without a value.
///
/// Fails if `take_over` reads a mark and removes it afterwards.
#[test]
fn a_mark_is_taken_over_once() {
    explore(2, || {
        let (mut writer, readers) = store(8);
        for key in *b"abcd" {
            writer.insert(key, 1);
            writer.next_chunk();
        }
        for key in *b"ab" {
            assert!(readers.value(key).unwrap().1);
        }
        let other = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || readers.value(b'c').unwrap())
        };
        let own = readers.value(b'd').unwrap();
        let other = other.join().unwrap();
        let third = readers.value(b'a').unwrap();
        let pinned = [own, other, third].iter().filter(|&&(_, is_pinned)| is_pinned).count();
        assert!(pinned <= 2, "two chunks may be pinned");
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

/// Fails if `Ring::drop` does not hand a count of itself over to the remaining values.
#[test]
fn values_outlive_the_ring_and_let_it_go_once() {
    explore(3, || drop_ring_under_values(|_| {}));
}

/// Like the model above, but the chunk is retired when the ring is dropped.
#[test]
fn values_in_a_retired_chunk_outlive_the_ring() {
    explore(3, || drop_ring_under_values(|writer| writer.remove(b'a')));
}

/// Drops the ring while another thread drops a value in it.
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

/// Two threads take and drop values of one chunk at once, while two chunks may be pinned.
/// Afterwards two chunks can be pinned, and no more.
///
/// Fails if both threads count the chunk, or if a recount finds none, or removes the mark of one
/// that is still held.
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

/// One chunk may be pinned. It may be freed while another thread wants to pin a second one.
///
/// Fails if a freed chunk stays counted.
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
