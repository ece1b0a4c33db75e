//! Entries that readers find while a writer stores, moves and removes them.

use super::*;
use crate::reclaim::Batch;

fn shard() -> Arc<Shard> {
    let shard = small_shard(&config());
    put(&shard, b'0', 0); // Opens a chunk.
    shard
}

/// Fails if `Bucket::set_location` or `Bucket::move_location` is Relaxed.
#[test]
fn an_entry_is_seen_whole_or_not_at_all() {
    explore(3, || {
        let shard = shard();
        let writer = {
            let shard = Arc::clone(&shard);
            thread::spawn(move || {
                put(&shard, b'a', 1);
                put(&shard, b'a', 2);
                assert!(shard.write(|writer| writer.remove(hash(b'a'), b"a")));
            })
        };
        let (first, second) = (get(&shard, b'a'), get(&shard, b'a'));
        assert!(second.is_none_or(|second| second >= first.unwrap_or(0)), "{first:?}, then {second:?}");
        writer.join().unwrap();
        assert_eq!(get(&shard, b'a'), None);
        shard.validate();
    });
}

/// Fails if an update frees the lane in between, if `Bucket::move_location` or `Bucket::live_again`
/// is Relaxed, or if the moved location loses the lane's bits of the hash.
#[test]
fn a_key_that_is_updated_is_never_absent() {
    explore(3, || {
        let shard = shard();
        put(&shard, b'a', 1);
        let writer = {
            let shard = Arc::clone(&shard);
            thread::spawn(move || put(&shard, b'a', 2))
        };
        let first = get(&shard, b'a').expect("present throughout");
        let second = get(&shard, b'a').expect("present throughout");
        assert!(first <= second && second <= 2);
        writer.join().unwrap();
        assert_eq!(get(&shard, b'a'), Some(2));
    });
}

/// A reader of many keys guesses where an entry is. It reads the entry after others have read and
/// written it.
///
/// Fails if `find_guessed` does not load the lane again.
fn a_guess_is_followed_after(changes: fn(&Shard, u8)) {
    explore(2, move || {
        let (shard, key) = (shard(), last_key());
        put(&shard, key, 1);
        let writer = {
            let shard = Arc::clone(&shard);
            thread::spawn(move || changes(&shard, key))
        };
        let mut batch = Batch::take().expect("nobody else has it");
        let guess = shard.guess(hash(key), &mut batch, 0);
        let seen = get(&shard, key).expect("present throughout");
        let holds = batch.hold();
        let found = shard.find_guessed(guess, &[key], &holds, 0);
        assert!(found.is_none_or(|found| whole(found.value()) >= seen), "an older value than was seen before");
        drop(holds);
        writer.join().unwrap();
    });
}

#[test]
fn what_a_guess_finds_is_not_older_than_what_was_read_since() {
    a_guess_is_followed_after(|shard, key| put(shard, key, 2));
}

/// Fails if `find_guessed` does not check that the slot names the entry.
#[test]
fn a_guess_is_not_believed_without_the_slot_that_names_it() {
    explore(0, || {
        let shard = small_shard(&config());
        put(&shard, b'a', 1);
        let mut batch = Batch::take().expect("nobody else has it");
        let [of_a, of_b] = [b'a', b'b'].map(|key| shard.guess(hash(key), &mut batch, usize::from(key == b'b')));
        let holds = batch.hold();
        assert!(shard.find_guessed(of_b, b"b", &holds, 1).is_none());
        assert!(shard.find_guessed(of_a, b"a", &holds, 1).is_none(), "held by the slot of another");
        drop(holds);
    });
}

/// Fails also if a step of a sweep does not clear the old lane.
#[test]
fn a_guess_in_a_lane_that_a_sweep_has_cleared_since_is_not_believed() {
    a_guess_is_followed_after(|shard, key| {
        shard.write(|writer| writer.grow());
        put(shard, key, 2);
    });
}

/// All entries are removed, and the chunk of an entry is written again as soon as it is free.
#[test]
fn bytes_stay_while_a_reader_looks_at_them_and_the_shard_is_cleared() {
    explore(2, || {
        let shard = small_shard(&config());
        put(&shard, b'a', 1);
        let reader = {
            let shard = Arc::clone(&shard);
            thread::spawn(move || assert!(shard.lookup().view(b'a').is_none_or(|value| value == 1)))
        };
        shard.clear();
        shard.write(|writer| writer.maintain());
        put(&shard, b'b', 2);
        reader.join().unwrap();
        assert_eq!((get(&shard, b'a'), get(&shard, b'b')), (None, Some(2)));
        shard.validate();
    });
}
