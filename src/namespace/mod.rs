//! Namespaces: sets of keys within one cache that do not meet each other, nor the plain keys.
//!
//! ```text
//!   plain key                                                 | key |
//!   plain key that begins with the mark         | mark 2 | 0 | key |
//!   key of a namespace      | mark 2 | slot 1 | generation 1..7 | key |
//!                           `------------- prefix -------------'
//! ```
//!
//! A key is stored as one of these *stored keys*. All parts below the cache know only stored keys:
//! rings, indexes, policies and flights treat them as they treat any key. The cache converts at its
//! surface: see [`StoredKey`]. Two keys have the same stored key only if they are equal and of the
//! same set, since the mark at the start tells the kinds apart.
//!
//! The slot is the place of a namespace in the [`Registry`]. The generation says how often the
//! namespace was invalidated. To invalidate it is to count its generation up: from then on, no key
//! leads to the entries that were stored before, and no flight or lease of theirs is found. Such
//! entries are *outdated*. They leave by the policy, or when a shard is swept.
//!
//! | file | |
//! |---|---|
//! | `prefix.rs` | the layout of stored keys |
//! | `scope.rs` | one namespace: its generation, its counters, its listener |
//! | `registry.rs` | all namespaces of a cache, by slot and by name |
//!
//! # Invariants
//!
//! 1. A stored key that begins with the mark has one of the two layouts with a mark.
//! 2. A slot belongs to the same name and version for as long as the cache lives. Its generation
//!    only grows.
//!
//! # Synchronization
//!
//! A generation is stored with Release and loaded with Acquire. So a caller that learns of an
//! invalidation reads what came before it. An operation that has loaded the earlier generation may
//! end after the invalidation. It then stores an outdated entry, or reads one, as if it had come
//! first.

mod prefix;
mod registry;
mod scope;

pub use prefix::KeyBuffer;
pub(crate) use prefix::{MAX_PREFIX_BYTES, Origin, StoredKey, copy_short, counted_key_bytes, is_marked, origin};
pub(crate) use registry::{KeyState, NoScope, Registry};
pub(crate) use scope::{Scope, WriteCount};
