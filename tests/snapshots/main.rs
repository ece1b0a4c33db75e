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
mod times;

use std::time::Duration;

use bytecache::{Cache, CacheBuilder, Restored};

/// An age that no snapshot of a test reaches.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Saves a cache, and checks what the save says of itself.
fn saved(cache: &Cache) -> Vec<u8> {
    let mut snapshot = Vec::new();
    let saved = cache.save_to(&mut snapshot).unwrap();
    assert_eq!((saved.entries, saved.bytes), (entries_in(&snapshot), snapshot.len() as u64));
    snapshot
}

/// Restores a snapshot, and checks what the restore says of itself.
fn restored(builder: CacheBuilder, snapshot: &[u8]) -> (Cache, Restored) {
    let (cache, report) = builder.restore_from(snapshot, DAY).unwrap();
    assert_eq!((report.entries, report.bytes), (cache.len() as u64, cache.memory().live as u64));
    if report.damaged_blocks == 0 {
        let all = report.entries + report.expired + report.changed + report.left_out;
        assert_eq!(all, entries_in(snapshot), "each entry counts once: {report:?}");
    }
    (cache, report)
}

/// Returns the blocks of a whole snapshot, with their headers.
fn blocks(snapshot: &[u8]) -> Vec<&[u8]> {
    let (mut blocks, mut rest) = (Vec::new(), &snapshot[104..]);
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[24..32].try_into().unwrap());
        let (block, behind) = rest.split_at(56 + usize::try_from(length).unwrap());
        blocks.push(block);
        rest = behind;
    }
    blocks
}

/// Returns the number of entries that the blocks of a whole snapshot have.
fn entries_in(snapshot: &[u8]) -> u64 {
    let count = |block: &&[u8]| u32::from_le_bytes(block[12..16].try_into().unwrap());
    blocks(snapshot).iter().map(count).map(u64::from).sum()
}
