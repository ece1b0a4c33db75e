//! Entries that a save copies without the lock while a writer replaces and removes them.

use core::time::Duration;

use super::*;
use crate::shard::{Changes, SaveSink, SavedEntry, bit_of};

/// Of [`Changes`].
const SEED: u64 = 1;

/// The keys and values that were copied.
#[derive(Default)]
struct Copied(Vec<(u8, u8)>);

impl SaveSink for Copied {
    fn since(&self) -> Duration {
        Duration::ZERO
    }

    fn take(&mut self, entry: &SavedEntry<'_>, _held: Option<Value>) {
        self.0.push((entry.key[0], whole(entry.value)));
    }

    fn is_full(&self) -> bool {
        false
    }
}

/// Saves a shard with `a` and `b` while `change` runs in another thread.
///
/// A key that is not in the record is there with the value that a read finds before the last look
/// into the record. `c` may be stored meanwhile, and is missing or has its last value then.
fn what_is_saved_is_current_or_recorded(preemptions: usize, change: fn(&Shard)) {
    explore(preemptions, move || {
        let shard = small_shard(&config());
        put(&shard, b'a', 1);
        put(&shard, b'b', 1);
        let changes = Arc::new(Changes::new(1, SEED));
        let (mut walk, _) = shard.begin_save(&changes).expect("no other save");
        let writer = {
            let shard = Arc::clone(&shard);
            thread::spawn(move || change(&shard))
        };
        let mut copied = Copied::default();
        while walk.is_behind(None, 1) {
            shard.save_some(&mut walk, &mut copied);
        }
        // A change that is seen here has begun before the last look into the record.
        let seen = [b'a', b'b'].map(|key| (key, get(&shard, key)));
        shard.settle_changes();
        let record: Vec<_> = changes.take_words().collect();
        let saved = |key: u8| copied.0.iter().filter(|saved| saved.0 == key).map(|saved| saved.1).collect::<Vec<_>>();
        for (key, value) in seen {
            let bit = bit_of(StableHash::with_seed(SEED).hash_bytes(&[key]), record.len());
            if record[0] >> bit & 1 == 0 {
                assert_eq!(saved(key), Vec::from_iter(value), "{}", key.escape_ascii());
            }
        }
        writer.join().unwrap();
        let added = saved(b'c');
        assert!(added.is_empty() || added == Vec::from_iter(get(&shard, b'c')), "{added:?}");
        shard.end_save(&changes);
        shard.validate();
    });
}

/// Fails if an update is not recorded.
#[test]
fn a_key_that_is_updated_while_it_is_copied_is_recorded() {
    what_is_saved_is_current_or_recorded(3, |shard| put(shard, b'a', 2));
}

/// Fails if neither the removal nor the store that follows is recorded.
#[test]
fn a_key_that_is_removed_and_stored_again_while_it_is_copied_is_recorded() {
    what_is_saved_is_current_or_recorded(2, |shard| {
        assert!(shard.write(|writer| writer.remove(hash(b'b'), b"b")));
        put(shard, b'b', 2);
    });
}

/// Fails if a removal is not recorded.
#[test]
fn a_key_that_is_removed_while_it_is_copied_is_recorded() {
    what_is_saved_is_current_or_recorded(3, |shard| {
        assert!(shard.write(|writer| writer.remove(hash(b'b'), b"b")));
        put(shard, b'c', 3); // It may get the lane.
    });
}
