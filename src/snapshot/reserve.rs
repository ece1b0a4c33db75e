//! The memory of the record of changes, which the shards of the cache give for a save.

use crate::cache::Cache;
use crate::shard::Changes;

/// Memory of the shards' accounts for the record of changes, until it is dropped.
pub(super) struct Reserve<'a> {
    cache: &'a Cache,
    /// The bytes of each of the first `shards` shards.
    bytes: usize,
    shards: usize,
}

impl<'a> Reserve<'a> {
    /// Takes memory for a record for a cache of `entries` entries. Returns it, and the words of the
    /// record: fewer than they should be if there is too little memory.
    pub(super) fn for_record(cache: &'a Cache, entries: usize) -> (Self, usize) {
        let mut words = Changes::words_for(entries, cache.max_bytes());
        // Ends: the record becomes smaller, and the smallest one needs none of this memory.
        loop {
            let is_smallest = words == Changes::MIN_WORDS;
            let bytes = if is_smallest { 0 } else { (words * size_of::<u64>()).div_ceil(cache.shards()) };
            let mut reserve = Self { cache, bytes, shards: 0 };
            if (0..cache.shards()).all(|number| reserve.take_from(number)) {
                return (reserve, words);
            }
            words /= 2;
        }
    }

    /// Takes the part of the next shard, which has this number. Returns `false` if it has too
    /// little memory.
    fn take_from(&mut self, number: usize) -> bool {
        let is_taken = self.cache.shard(number).take_for_save(self.bytes);
        self.shards += usize::from(is_taken);
        is_taken
    }
}

impl Drop for Reserve<'_> {
    fn drop(&mut self) {
        for number in 0..self.shards {
            self.cache.shard(number).give_from_save(self.bytes);
        }
    }
}
