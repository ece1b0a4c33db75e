//! quick_cache: sharded, with a policy like Clock-PRO. A read clones the value, so values are
//! `Arc<[u8]>`.

use super::{Contender, copy_into};
use crate::works::Work;
use ::quick_cache::Weighter;
use ::quick_cache::sync::{Cache, DefaultLifecycle};
use std::hash::Hash;
use std::sync::Arc;

#[derive(Clone)]
pub struct PayloadBytes;

impl<K: AsRef<[u8]>> Weighter<K, Arc<[u8]>> for PayloadBytes {
    fn weight(&self, key: &K, value: &Arc<[u8]>) -> u64 {
        (key.as_ref().len() + value.len()) as u64
    }
}

pub type ByteCache<K> = Cache<K, Arc<[u8]>, PayloadBytes, ahash::RandomState>;

pub fn byte_cache<K: AsRef<[u8]> + Eq + Hash>(work: &Work) -> ByteCache<K> {
    let max_bytes = work.max_bytes as u64;
    Cache::with(work.expected_entries, max_bytes, PayloadBytes, ahash::RandomState::new(), DefaultLifecycle::default())
}

pub struct QuickCache(ByteCache<Box<[u8]>>);

impl QuickCache {
    pub fn for_work(work: &Work) -> Self {
        Self(byte_cache(work))
    }
}

impl Contender for QuickCache {
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
        self.0.clear();
        true
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }
}
