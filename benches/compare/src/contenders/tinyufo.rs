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

    /// With its tables for less memory and slower reads.
    pub fn compact(work: &Work) -> Self {
        Self(::tinyufo::TinyUfo::new_compact(work.max_bytes, work.expected_entries))
    }
}

/// The key as the type that TinyUFO hashes; it borrows no slices.
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

    /// Counts as a use, which changes what is evicted later but not what is there.
    fn contains(&self, key: &[u8]) -> bool {
        self.0.get(&sized(key)).is_some()
    }
}
