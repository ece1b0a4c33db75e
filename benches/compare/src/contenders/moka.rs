//! moka: a concurrent hash table, TinyLFU admission and an LRU kept by logs. A read clones the
//! value, so values are `Arc<[u8]>`.

use super::{Contender, copy_into};
use crate::works::Work;
use ::moka::sync::Cache;
use std::sync::Arc;

type Key = Box<[u8]>;

pub struct Moka(Cache<Key, Arc<[u8]>, ahash::RandomState>);

impl Moka {
    pub fn for_work(work: &Work) -> Self {
        let cache = Cache::builder()
            .max_capacity(work.max_bytes as u64)
            .weigher(|key: &Key, value: &Arc<[u8]>| (key.len() + value.len()) as u32)
            .build_with_hasher(ahash::RandomState::new());
        Self(cache)
    }
}

impl Contender for Moka {
    #[inline(always)]
    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(value) = self.0.get(key) else { return false };
        copy_into(&value, out);
        true
    }

    #[inline(always)]
    fn insert(&self, key: &[u8], value: &[u8]) -> bool {
        self.0.insert(Box::from(key), Arc::from(value));
        true
    }

    fn clear(&self) -> bool {
        // The call only marks the entries. Housekeeping removes them.
        self.0.invalidate_all();
        self.0.run_pending_tasks();
        true
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}
