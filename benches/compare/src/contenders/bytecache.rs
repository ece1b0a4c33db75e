//! This repository's cache.

use super::{Contender, copy_into};
use crate::works::Work;
use ::bytecache::{Cache, CacheBuilder, Policy};
use std::hint::black_box;
use std::time::Duration;

pub struct Bytecache(Cache);

impl Bytecache {
    pub fn for_work(work: &Work, policy: Policy) -> Self {
        Self::built(builder(work).policy(policy))
    }

    /// Creates a cache with this number of shards, a power of two, whatever the number of cores.
    pub fn with_shards(work: &Work, shards: usize) -> Self {
        Self::built(builder(work).shards(shards))
    }

    fn built(builder: CacheBuilder) -> Self {
        Self(builder.build().expect("the works' limits are valid"))
    }
}

fn builder(work: &Work) -> CacheBuilder {
    let builder = Cache::builder().max_bytes(work.max_bytes);
    if work.expected_entries == 0 { builder } else { builder.expected_entry_bytes(work.payload_bytes()) }
}

impl Contender for Bytecache {
    #[inline(always)]
    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        self.0.get_into(key, out)
    }

    #[inline(always)]
    fn load_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        let value = self.0.get_or_load(key, || Err::<&[u8], ()>(()));
        value.is_ok_and(|value| {
            copy_into(&value, out);
            true
        })
    }

    #[inline(always)]
    fn insert(&self, key: &[u8], value: &[u8]) -> bool {
        self.0.insert(key, value).is_ok()
    }

    fn insert_expiring(&self, key: &[u8], value: &[u8], ttl: Duration) -> bool {
        self.0.insert_with_ttl(key, value, ttl).is_ok()
    }

    fn clear(&self) -> bool {
        self.0.clear();
        true
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }

    #[inline(always)]
    fn get_many_into(&self, keys: &[&[u8]], out: &mut Vec<u8>) -> u64 {
        let mut hits = 0;
        self.0.get_many(keys, |_, value| {
            if let Some(value) = value {
                copy_into(value, out);
                black_box(&out);
                hits += 1;
            }
        });
        hits
    }
}
