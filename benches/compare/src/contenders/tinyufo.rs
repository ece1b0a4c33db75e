//! TinyUFO: lock-free S3-FIFO with TinyLFU. It stores a 64-bit hash in place of the key and
//! compares nothing else. A read clones the value.

use super::{Contender, copy_into};
use crate::works::{KEY_LEN, Work};
use std::sync::Arc;

pub struct TinyUfo(::tinyufo::TinyUfo<[u8; KEY_LEN], Arc<[u8]>>);

impl TinyUfo {
    pub fn for_work(work: &Work) -> Self {
        Self(::tinyufo::TinyUfo::new(work.max_bytes, work.expected_entries))
    }

    /// Creates a cache with tables that take less memory and are slower to read.
    pub fn compact(work: &Work) -> Self {
        Self(::tinyufo::TinyUfo::new_compact(work.max_bytes, work.expected_entries))
    }
}

/// Returns the key as the type that TinyUFO hashes. It does not borrow keys as slices.
#[inline(always)]
fn sized(key: &[u8]) -> [u8; KEY_LEN] {
    key.try_into().expect("keys of 24 bytes")
}

impl Contender for TinyUfo {
    #[inline(always)]
    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(value) = self.0.get(&sized(key)) else { return false };
        copy_into(&value, out);
        true
    }

    #[inline(always)]
    fn insert(&self, key: &[u8], value: &[u8]) -> bool {
        let weight = (key.len() + value.len()) as u16;
        self.0.put(sized(key), Arc::from(value), weight);
        true
    }

    /// Returns `true` if the key is present. The call counts as a use, which changes later
    /// evictions, but not the contents.
    fn contains(&self, key: &[u8]) -> bool {
        self.0.get(&sized(key)).is_some()
    }
}
