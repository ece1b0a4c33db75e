//! moka and quick_cache for the works that load. On a miss, their calls make a key from a borrowed
//! one, so their keys have to be `Vec`s.

use super::quick_cache::{ByteCache, byte_cache};
use super::{Contender, copy_into};
use crate::works::Work;
use std::sync::Arc;

type Key = Vec<u8>;
type Value = Arc<[u8]>;

pub struct Moka(::moka::sync::Cache<Key, Value, ahash::RandomState>);

impl Moka {
    pub fn for_work(work: &Work) -> Self {
        let cache = ::moka::sync::Cache::builder()
            .max_capacity(work.max_bytes as u64)
            .weigher(|key: &Key, value: &Value| (key.len() + value.len()) as u32)
            .build_with_hasher(ahash::RandomState::new());
        Self(cache)
    }
}

impl Contender for Moka {
    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        self.0.get(key).is_some_and(|value| is_copied(&value, out))
    }

    #[inline(always)]
    fn load_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        // The variant of `get_with_by_ref` for loads that may fail, like those of the others.
        self.0.try_get_with_by_ref(key, || Err(())).is_ok_and(|value| is_copied(&value, out))
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> bool {
        self.0.insert(key.to_vec(), Arc::from(value));
        true
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}

pub struct QuickCache(ByteCache<Key>);

impl QuickCache {
    pub fn for_work(work: &Work) -> Self {
        Self(byte_cache(work))
    }
}

impl Contender for QuickCache {
    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        self.0.get(key).is_some_and(|value| is_copied(&value, out))
    }

    #[inline(always)]
    fn load_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        self.0.get_or_insert_with(key, || Err(())).is_ok_and(|value| is_copied(&value, out))
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> bool {
        self.0.insert(key.to_vec(), Arc::from(value));
        true
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }
}

#[inline(always)]
fn is_copied(value: &[u8], out: &mut Vec<u8>) -> bool {
    copy_into(value, out);
    true
}
