//! The cache of many programs: the `lru` crate with a mutex for each shard, and a manual count of
//! bytes.

use super::{Contender, copy_into, shard_count};
use crate::works::Work;
use lru::LruCache;
use parking_lot::Mutex;

type Bytes = Box<[u8]>;

struct Shard {
    entries: LruCache<Bytes, Bytes, ahash::RandomState>,
    /// Key and value bytes of `entries`.
    bytes: usize,
}

pub struct ShardedLru {
    shards: Box<[Mutex<Shard>]>,
    hasher: ahash::RandomState,
    max_shard_bytes: usize,
}

impl ShardedLru {
    pub fn for_work(work: &Work) -> Self {
        let shard = |_| {
            let entries = LruCache::unbounded_with_hasher(ahash::RandomState::new());
            Mutex::new(Shard { entries, bytes: 0 })
        };
        let count = shard_count();
        Self {
            shards: (0..count).map(shard).collect(),
            hasher: ahash::RandomState::new(),
            max_shard_bytes: work.max_bytes / count,
        }
    }

    #[inline(always)]
    fn shard(&self, key: &[u8]) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(key) as usize;
        &self.shards[hash & (self.shards.len() - 1)]
    }
}

impl Contender for ShardedLru {
    #[inline(always)]
    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        let mut shard = self.shard(key).lock();
        let Some(value) = shard.entries.get(key) else { return false };
        copy_into(value, out);
        true
    }

    #[inline(always)]
    fn insert(&self, key: &[u8], value: &[u8]) -> bool {
        let entry_bytes = key.len() + value.len();
        let (key, value) = (Bytes::from(key), Bytes::from(value));
        // Mostly one entry leaves. The last one that leaves is freed outside the lock.
        let mut leaving = None;
        let mut shard = self.shard(&key).lock();
        shard.bytes += entry_bytes;
        if let Some(replaced) = shard.entries.push(key, value) {
            shard.bytes -= replaced.0.len() + replaced.1.len();
            leaving = Some(replaced);
        }
        while shard.bytes > self.max_shard_bytes {
            let Some(oldest) = shard.entries.pop_lru() else { break };
            shard.bytes -= oldest.0.len() + oldest.1.len();
            leaving = Some(oldest);
        }
        drop(shard);
        drop(leaving);
        true
    }

    fn clear(&self) -> bool {
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.entries.clear();
            shard.bytes = 0;
        }
        true
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.shard(key).lock().entries.contains(key)
    }
}
