//! foyer-memory with its S3-FIFO. A read returns a counted handle of the entry, so the value needs
//! no count of its own and is a `Box<[u8]>`.

use super::{Contender, copy_into, shard_count};
use crate::works::Work;
use foyer_memory::{Cache, CacheBuilder, S3FifoConfig};

type Bytes = Box<[u8]>;

pub struct Foyer(Cache<Bytes, Bytes, ahash::RandomState>);

impl Foyer {
    pub fn for_work(work: &Work) -> Self {
        let cache = CacheBuilder::new(work.max_bytes)
            .with_shards(shard_count())
            .with_eviction_config(S3FifoConfig::default())
            .with_hash_builder(ahash::RandomState::new())
            .with_weighter(|key: &Bytes, value: &Bytes| key.len() + value.len())
            .build();
        Self(cache)
    }
}

impl Contender for Foyer {
    #[inline(always)]
    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(entry) = self.0.get(key) else { return false };
        copy_into(entry.value(), out);
        true
    }

    #[inline(always)]
    fn insert(&self, key: &[u8], value: &[u8]) -> bool {
        self.0.insert(Box::from(key), Box::from(value));
        true
    }

    fn clear(&self) -> bool {
        self.0.clear();
        true
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.0.contains(key)
    }
}
