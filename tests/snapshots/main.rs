//! Snapshots: what is restored is what was saved, whatever happens between and meanwhile.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../support/mod.rs"]
mod support;

mod contents;
mod damage;
mod files;
mod freshness;
mod kills;
mod model;
mod namespaces;
mod order;
mod targets;

use std::time::Duration;

use bytecache::{Cache, CacheBuilder, Restored};

/// An age that no snapshot of a test reaches.
const DAY: Duration = Duration::from_secs(24 * 3600);

fn saved(cache: &Cache) -> Vec<u8> {
    let mut snapshot = Vec::new();
    let saved = cache.save_to(&mut snapshot).unwrap();
    assert_eq!(saved.bytes, snapshot.len() as u64);
    snapshot
}

fn restored(builder: CacheBuilder, snapshot: &[u8]) -> (Cache, Restored) {
    builder.restore_from(snapshot, DAY).unwrap()
}
