//! Entries that readers find while a sweep moves them.

use super::*;
use crate::index::Swept;
use crate::ring::{Found, Search};

/// Returns a store of one entry, which a sweep from `size` to `max_size` or back moves.
fn one_entry(chunks: u32, size: usize, max_size: usize) -> (Writer, Arc<Readers>, u8) {
    let (mut writer, readers) = store_of_size(chunks, size, max_size);
    let key = last_key();
    writer.insert(key, 1);
    (writer, readers, key)
}

impl Writer {
    /// Moves the entries of the next home bucket. Returns `false` if all have moved.
    fn sweep_home(&mut self) -> bool {
        let Self { index, ring, token } = self;
        let hash_of = |live: Live<'_>| hash(ring.entry(live).key[0]);
        let mut moving = Vec::with_capacity(2 * LANES);
        let swept = index.sweep_home(&mut moving, token, |_| {}, hash_of, |_, _, _| {});
        assert!(!matches!(swept, Swept::Crowded(_)), "no room for the entries of a home");
        swept != Swept::All
    }

    /// Gives the table another size.
    fn sweep_to(&mut self, size: usize) {
        self.index.begin_sweep(size);
        while self.sweep_home() {}
        self.index.end_sweep();
    }

    fn validate(&self) {
        self.index.validate(&self.token, |live| hash(self.ring.entry(live).key[0]));
    }
}

impl Readers {
    fn get(&self, key: u8) -> Option<u8> {
        let mut slot = Slot::take();
        self.found(key, &mut slot).map(|found| whole(found.value()))
    }
}

/// Spawns a thread that finds `key` twice. It does not see an older value after a newer one.
fn reader_of_a_present_key(readers: &Arc<Readers>, key: u8) -> thread::JoinHandle<()> {
    let readers = Arc::clone(readers);
    thread::spawn(move || {
        let first = readers.get(key).expect("present throughout");
        let second = readers.get(key).expect("present throughout");
        assert!(first <= second && second <= 2, "{first}, then {second}");
    })
}

/// Fails if the store of the word in `set_progress` is Relaxed, if the fence after it is missing,
/// if `Table::progress` is Relaxed, if the fence of `may_have_moved` is missing, if that always
/// returns `false`, if a step clears the old lanes before it stores the word, or if it stores the
/// word before the new lanes.
#[test]
fn a_key_is_found_while_its_table_grows() {
    explore(2, || a_key_is_found_while_the_size_changes(1, 2));
}

/// Fails for the same reasons.
#[test]
fn a_key_is_found_while_its_table_shrinks() {
    explore(2, || a_key_is_found_while_the_size_changes(2, 1));
}

fn a_key_is_found_while_the_size_changes(from: usize, to: usize) {
    let (mut writer, readers, key) = one_entry(1, from, 2);
    let reader = reader_of_a_present_key(&readers, key);
    writer.sweep_to(to);
    reader.join().unwrap();
    assert_eq!(readers.get(key), Some(1));
    writer.validate();
}

/// Thirteen entries have one home, which is their alternative, too, in both tables. The one that
/// has no room there stays in its lane, which the larger table reaches by another way.
///
/// Fails if a step lowers the overflow counts of the old way before it stores the word, or raises
/// those of the new way after that.
#[test]
fn a_stray_is_found_while_the_way_to_it_changes() {
    explore(1, || {
        let (mut writer, readers) = store_of_size(4, 2, 3);
        let suits = |hash: KeyHash| hash.bucket(3) == 2 && hash.low_bits() % 3 == 2;
        let keys: Vec<_> = (0..=u8::MAX).filter(|&key| suits(hash(key))).take(LANES + 1).collect();
        for of_chunk in keys.chunks(4) {
            of_chunk.iter().for_each(|&key| writer.insert(key, 1));
            if writer.ring.counts().free > 0 {
                writer.next_chunk();
            }
        }
        assert_eq!(keys.len(), LANES + 1);
        let last = keys[LANES];
        let (lane, _) = writer.find(last);
        assert_eq!(lane.bucket(), 0);
        let reader = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || assert_eq!(readers.get(last), Some(1)))
        };
        writer.index.begin_sweep(3);
        assert!(writer.sweep_home());
        reader.join().unwrap();
        assert_eq!(writer.find(last).0, lane);
        assert_eq!([1, 2].map(|bucket| writer.index.table().overflow(bucket)), [0, 1]);
        assert_eq!(readers.get(last), Some(1));
        writer.validate();
    });
}

/// The entry is updated as soon as it has moved.
///
/// Fails if the fence of `set_progress` is missing, or if a step does not clear the old lane.
#[test]
fn a_key_that_moves_and_is_updated_is_never_absent() {
    explore(2, || {
        let (mut writer, readers, key) = one_entry(1, 1, 2);
        let reader = reader_of_a_present_key(&readers, key);
        writer.index.begin_sweep(2);
        assert!(writer.sweep_home());
        writer.update(key, 2);
        reader.join().unwrap();
        assert_eq!(readers.get(key), Some(2));
        writer.validate();
    });
}

/// The bytes of the entry are relocated before and after its lane changes. Then their chunk is used
/// again.
///
/// Fails if the fence of `set_progress` is missing, or if `Bucket::live_again` does not compare the
/// location.
#[test]
fn a_key_whose_bytes_move_before_and_after_its_lane_is_never_absent() {
    explore(2, || {
        let (mut writer, readers, key) = one_entry(3, 1, 2);
        writer.next_chunk();
        assert!(writer.ring.open_next(Stream::Survivors, None));
        let reader = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || assert_eq!(readers.view(key), Some(1)))
        };
        writer.index.begin_sweep(2);
        writer.relocate(key);
        let Found::Chunks([Some(emptied), ..]) = writer.ring.search_emptiest(&mut Search::default(), 8) else {
            panic!("its former chunk is empty");
        };
        writer.ring.retire(emptied);
        assert!(writer.sweep_home());
        writer.relocate(key);
        writer.collect();
        if writer.ring.counts().free > 0 {
            writer.fill_free_chunk();
        }
        reader.join().unwrap();
        assert_eq!(readers.get(key), Some(1));
    });
}

/// The second sweep stores its sizes in place of those of the first, and has moved nothing yet.
///
/// Fails if `has_passed` compares positions of different sweeps, if it does not look at the word
/// again after it has loaded the sizes, or if its fence is missing.
#[test]
fn a_key_is_found_while_one_sweep_follows_another() {
    explore(2, || {
        let (mut writer, readers, key) = one_entry(1, 1, 4);
        let reader = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || assert_eq!(readers.get(key), Some(1)))
        };
        writer.sweep_to(2);
        writer.index.begin_sweep(4);
        reader.join().unwrap();
        assert_eq!(readers.get(key), Some(1));
        writer.validate();
    });
}

/// A reader finds an entry in a lane that a sweep then clears. It does not read the entry after its
/// chunk was used again.
///
/// Fails if a step does not clear the old lane, if `Bucket::live_again` does not compare the
/// location, or if `Bucket::set_location` is Relaxed.
#[test]
fn an_entry_that_leaves_after_it_has_moved_is_not_read() {
    explore(2, || {
        let (mut writer, readers, key) = one_entry(2, 1, 2);
        let reader = {
            let readers = Arc::clone(&readers);
            thread::spawn(move || assert!(readers.view(key).is_none_or(|value| value == 1)))
        };
        writer.index.begin_sweep(2);
        assert!(writer.sweep_home());
        writer.next_chunk();
        writer.remove(key);
        writer.collect();
        if writer.ring.counts().free > 0 {
            writer.fill_free_chunk();
        }
        reader.join().unwrap();
    });
}
