//! The size that a cache needs for its entries.
//!
//! [`max_bytes`](crate::CacheBuilder::max_bytes) is a limit on everything that the cache allocates.
//! Part of it is not available to keys and values. This page says which part.
//!
//! # Computing it
//!
//! [`CacheBuilder::bytes_for`](crate::CacheBuilder::bytes_for) returns the `max_bytes` for a number
//! of entries of one size. It knows the policy, the shards, the alignment and the deadlines of its
//! builder:
//!
//! ```
//! use std::time::Duration;
//! use bytecache::{Cache, Policy};
//!
//! let builder = Cache::builder()
//!     .shards(8)
//!     .policy(Policy::S3Fifo)
//!     .ttl(Duration::from_secs(600));
//! // A million sessions: keys of 24 bytes, values of 256 bytes.
//! let max_bytes = builder.bytes_for(1_000_000, 24, 256);
//! let cache = builder.max_bytes(max_bytes).build()?;
//! assert_eq!(cache.max_bytes(), max_bytes);
//! # Ok::<(), bytecache::BuildError>(())
//! ```
//!
//! A full cache of this size holds a million entries, within 3 %. The result is within 4 % for
//! entries larger than 4 KiB, which may share runs of chunks. `tests/memory/sizing.rs` checks every
//! policy, entries of 32 to 20,000 bytes, one and several shards, with and without a time to live.
//! Shards below 1 MiB may hold fewer.
//!
//! For entries of several sizes, pass the mean length of the keys and the mean length of the
//! values. The result is then an estimate. A size-aware policy (`adaptive`, `gdsf`) keeps more
//! small entries than large ones, so its cache may hold more entries than computed.
//!
//! # The formula
//!
//! An entry takes its *charge* in its ring. The charge is rounded up to 4 bytes, or to the
//! [alignment of values](crate::CacheBuilder::value_alignment):
//!
//! ```text
//! charge  =  header + 4 x stamps + key + padding + value
//! ```
//!
//! * The header has 4 bytes. It has 12 if the key is longer than 255 bytes or the value longer than
//!   65,535.
//! * A stamp has 4 bytes and records a time. An entry has one for its time to live, one for its
//!   time to idle and one for its refresh. It has one more if its time to idle differs from the
//!   cache's, and one more if its stale period does.
//! * The padding before the value is empty unless values are aligned.
//!
//! Outside its ring, an entry of a full shard costs:
//!
//! | | bytes for each entry |
//! |---|---|
//! | index | 6.3 |
//! | policy | 4 to 31: the [bytes for each id](super::policies), divided by 0.85 |
//! | timing wheel, if entries have deadlines | 1.2 |
//!
//! The index grows in steps, so index, policy and wheel may be a few percent larger.
//!
//! A ring cannot be full of live entries:
//!
//! * At most 97.5 % of it is live. The cache lowers this limit, to 79 % at worst, if it has to copy
//!   many entries to free chunks.
//! * Some chunks are kept free: one in 64 and two more. A chunk is 1/400 to 1/200 of the shard, and
//!   at least 4 KiB.
//! * The end of a chunk is unused if the next entry does not fit there. Large entries use runs of
//!   chunks, which lose less.
//!
//! Each shard has a fixed part of 18 to 37 KiB, most of it about 85 bytes for each of its 200 to
//! 400 chunks. It is smaller below 1 MiB, where a shard has fewer chunks. It is larger above 400
//! MiB, where it has more. The cache itself takes 9 KiB or less.
//!
//! Bytes of `max_bytes` for each entry, for a million entries in eight shards, as `bytes_for`
//! returns them:
//!
//! | key + value | `fifo` | `lru` | `adaptive` | `w-tinylfu` | `gdsf` | `adaptive`, with a time to live |
//! |---|---:|---:|---:|---:|---:|---:|
//! | 16 + 16 | 49 | 55 | 54 | 75 | 80 | 59 |
//! | 24 + 100 | 143 | 150 | 148 | 169 | 175 | 153 |
//! | 24 + 256 | 303 | 309 | 308 | 329 | 334 | 313 |
//! | 24 + 1,000 | 1,069 | 1,075 | 1,073 | 1,094 | 1,100 | 1,079 |
//! | 24 + 10,000 | 10,305 | 10,311 | 10,310 | 10,331 | 10,336 | 10,311 |
//!
//! # Several shards
//!
//! Hashes divide keys between shards, and not evenly. Of `n` entries for each shard on average, a
//! shard gets `n` plus or minus the square root of `n`. The fullest of many shards has about `n + 3
//! * sqrt(n)`.
//!
//! `bytes_for` computes the size at which a *full* cache holds the number of entries. To keep a
//! fixed set of keys without evictions, the fullest shard has to hold its part. Ask for more
//! entries then:
//!
//! ```
//! let (entries, shards) = (1_000_000_f64, 8.0);
//! let to_ask_for = entries + 3.0 * (entries * shards).sqrt();
//! assert_eq!(to_ask_for.round(), 1_008_485.0);
//! ```
//!
//! An entry may still be evicted at any time: a cache is not a database.
//!
//! # Changing it
//!
//! [`Cache::set_max_bytes`](crate::Cache::set_max_bytes) sets another limit while the cache is
//! used, up to [`max_bytes_ceiling`](crate::CacheBuilder::max_bytes_ceiling):
//!
//! ```
//! use bytecache::Cache;
//!
//! let cache = Cache::builder().max_bytes(64 << 20).max_bytes_ceiling(256 << 20).build()?;
//! cache.set_max_bytes(128 << 20)?; // At peak times.
//! cache.set_max_bytes(32 << 20)?;
//! while cache.maintain() {} // Writes do the same, in steps.
//! assert!(cache.memory().allocated <= 32 << 20);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! These follow the limit that was set last:
//!
//! * the live entries, the indexes, and the capacity that policies keep to;
//! * the quarter of a shard that values may hold, and the eighth of it for loads;
//! * the chunks that are kept free, and the shares by which the live target is steered;
//! * the sizes that a snapshot records, and the memory for its changed keys.
//!
//! These follow the limit that the cache was built with, and do not change:
//!
//! * the number of shards, the size of chunks, and the largest entry;
//! * the number of namespaces, the stripes of counters, and the logs of touches and misses;
//! * the first tables of the rings, and the block lengths of the policies' queues;
//! * the memory for what waits for a removal listener.
//!
//! If the limit is to vary much, build the cache with a limit in the middle. A chunk is 1/400 to
//! 1/200 of a shard at first. After a growth to 64 times the size, chunks are small and many. After
//! a shrinking to a tenth, they are large parts of the shard, so the free ones cost more. Each
//! shard keeps room for two of its largest entries. To shrink far, set a small
//! [`max_entry_bytes`](crate::CacheBuilder::max_entry_bytes).
//!
//! # Measuring it
//!
//! * [`Cache::memory`](crate::Cache::memory) returns the bytes of each part: live entries, index,
//!   policy, wheels, overhead.
//! * [`Stats::evictions`](crate::Stats::evictions) stays 0 as long as everything fits.
//! * `cargo run --release -p bytecache-tools -- simulate TRACE` prints the miss ratio of every
//!   policy at several sizes, for requests that you recorded. Beyond some size, more memory hardly
//!   lowers the miss ratio. That size is usually smaller than the working set.
