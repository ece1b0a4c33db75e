//! Snapshots: a cache is saved to a file beside its traffic, and another process begins with the
//! entries in the file.
//!
//! ```text
//!   Cache::save            save.rs      walks all shards in step, writes blocks
//!                          file.rs      a temporary file, synced and renamed
//!   CacheBuilder::restore  restore.rs   reads blocks, checks them, stores their entries
//!                          source.rs    a window over the file, which finds the next block
//!                          changed.rs   the keys that have changed while the cache was saved
//!                          namespaces.rs   the registry of namespaces
//!                          reserve.rs  memory for the record of changes
//!                          format.rs    headers, blocks, entries
//! ```
//!
//! The shards show their entries (`shard/save.rs`) and store them (`shard/restore.rs`). The page
//! [`docs::snapshots`](crate::docs::snapshots) is for users, and has the format.
//!
//! # Invariants
//!
//! 1. A snapshot has an entry of a key with the value that the key had at the end of the save, or
//!    none. A key whose entry was replaced or has left before is recorded as changed, and left out.
//! 2. The record of changes is part of the cache's memory, but for the smallest one of 1 KiB.
//!    Beside the cache, a save allocates one bit for each lane of the indexes, three blocks, and
//!    one large value.
//! 3. Reading never panics, whatever the file contains. It allocates a window of the largest
//!    entry's size, and a record of changes that is a small part of the cache.

mod changed;
mod error;
mod file;
mod format;
mod namespaces;
mod reserve;
mod restore;
mod save;
mod source;

use std::time::{SystemTime, UNIX_EPOCH};

pub use error::SnapshotError;
pub use restore::{Restored, RestoredFrom};
pub use save::{SaveOptions, SaveProgress, Saved};

/// Returns the time of the wall clock in milliseconds since 1970, or 0 if it is before that.
fn wall_clock_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
