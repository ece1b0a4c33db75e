//! The registry of namespaces in a snapshot.
//!
//! ```text
//!   payload   | count | name's length, name, version, generation | ...
//! ```
//!
//! The record before the entries opens the namespaces, each in the slot that it had. So stored keys
//! lead to the same entries as before. If a namespace is opened or invalidated while the cache is
//! saved, there is another record at the end. Its generations outdate the entries of earlier ones.

use super::format::{Reader, put_number};
use crate::cache::Cache;

/// The number of generations: a prefix has 54 bits for one.
const GENERATIONS: u64 = 1 << 54;

/// Returns the record of the namespaces of a cache. It is empty if there are none.
pub(super) fn encode(cache: &Cache) -> Vec<u8> {
    let (namespaces, mut payload) = (cache.namespaces(), Vec::new());
    if namespaces.is_empty() {
        return payload;
    }
    put_number(&mut payload, namespaces.len() as u64);
    for space in namespaces {
        put_number(&mut payload, space.name().len() as u64);
        payload.extend_from_slice(space.name().as_bytes());
        put_number(&mut payload, space.version().into());
        put_number(&mut payload, space.generation());
    }
    payload
}

/// Opens the namespaces of a record, and outdates their entries of earlier generations. Returns
/// `None` if the record is damaged.
///
/// If one cannot be opened, those after it are not opened, as they would get other slots.
pub(super) fn restore(cache: &Cache, payload: &[u8]) -> Option<()> {
    let mut reader = Reader(payload);
    let count = usize::try_from(reader.number()?).ok()?;
    for index in 0..count {
        let name = core::str::from_utf8(reader.counted()?).ok()?;
        let version = u32::try_from(reader.number()?).ok()?;
        let generation = reader.number().filter(|&generation| generation < GENERATIONS)?;
        if !cache.restore_namespace(index, name, version, generation) {
            break;
        }
    }
    Some(())
}
