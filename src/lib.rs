//! An in-process cache from bytes to bytes: a hard memory limit, reads without locks, exact
//! eviction, expiry, and loads that run once for each key.
//!
//! A [`Cache`] holds serialized entries in preallocated byte rings. It suits services that keep
//! many small entries in a fixed amount of memory. It does not suit values that are Rust objects,
//! which would be deserialized for each read.
//!
//! # Quick start
//!
//! ```
//! use bytecache::Cache;
//!
//! // 64 MiB, all included: entries, index, policy and counters.
//! let cache = Cache::new(64 << 20)?;
//!
//! cache.insert("user:1", "Ada")?;
//! assert_eq!(cache.get("user:1").as_deref(), Some(&b"Ada"[..]));
//!
//! assert!(cache.remove("user:1"));
//! assert!(cache.get("user:1").is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A `Cache` is a cheap handle. Clone it into every thread and every task: all clones are the same
//! cache. [`Cache::builder`] has the options.
//!
//! # Which read method to take
//!
//! | method | returns | choose it |
//! |---|---|---|
//! | [`view`](Cache::view) | what your closure returns | to parse or compare a value in place; the cheapest |
//! | [`get_into`](Cache::get_into) | the value, copied to your buffer | to keep a value for long, with one buffer for many reads |
//! | [`get`](Cache::get) | a [`Value`], without a copy | to keep or pass on a value for a short time |
//! | [`get_many`](Cache::get_many) | each value, to your closure | to read several keys: their memory accesses overlap |
//! | [`peek`](Cache::peek) | a [`Value`] | to look without counting as a read |
//! | [`get_or_stale`](Cache::get_or_stale) | a [`MaybeStale`] | to read an entry even within its stale period |
//! | [`get_or_load`](Cache::get_or_load) | a [`Value`] | to load what is missing |
//!
//! ```
//! # let cache = bytecache::Cache::new(1 << 20)?;
//! cache.insert("a", "1")?;
//! cache.insert("b", "22")?;
//!
//! // In place.
//! assert_eq!(cache.view("b", |bytes| bytes.len()), Some(2));
//!
//! // Into a buffer that is used again.
//! let mut buffer = Vec::new();
//! assert!(cache.get_into("a", &mut buffer));
//! assert_eq!(buffer, b"1");
//!
//! // Many keys at once. The closure gets the index of each key, in order.
//! let mut lengths = Vec::new();
//! cache.get_many(&["a", "b", "c"], |_index, value| lengths.push(value.map(<[u8]>::len)));
//! assert_eq!(lengths, [Some(1), Some(2), None]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Value`] keeps its bytes after its key is removed or replaced. Memory that values hold cannot
//! be reused. Copy the bytes that you keep for long: see [`docs::limitations`].
//!
//! # Expiry
//!
//! The builder sets defaults: [`ttl`](CacheBuilder::ttl),
//! [`time_to_idle`](CacheBuilder::time_to_idle), [`ttl_jitter`](CacheBuilder::ttl_jitter) and
//! [`stale_for`](CacheBuilder::stale_for). [`insert_with_ttl`](Cache::insert_with_ttl) and
//! [`insert_with_lifetime`](Cache::insert_with_lifetime) set them for one entry. [`ManualClock`]
//! moves time in tests.
//!
//! ```
//! use bytecache::{Cache, Lifetime, ManualClock, Remaining};
//! use std::time::Duration;
//!
//! let clock = ManualClock::new();
//! let cache = Cache::builder()
//!     .max_bytes(1 << 20)
//!     .ttl(Duration::from_secs(600))
//!     .stale_for(Duration::from_secs(60))
//!     .clock(clock.clone())
//!     .build()?;
//!
//! cache.insert_with_ttl("token", "abc", Duration::from_secs(30))?;
//! let session = Lifetime::forever().time_to_idle(Duration::from_secs(900));
//! cache.insert_with_lifetime("session", "Ada", session)?;
//! cache.insert("page", "<html>")?;
//!
//! clock.advance(Duration::from_secs(31));
//! assert!(cache.get("token").is_none());
//! // It can still be read for the rest of its stale period.
//! assert!(cache.get_or_stale("token").is_some_and(|found| found.is_stale()));
//!
//! // A deadline changes in place.
//! assert!(cache.set_ttl("page", Duration::from_secs(3600))?);
//! assert!(cache.persist("page"));
//! assert_eq!(cache.ttl("page"), Some(Remaining::Forever));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`docs::expiry`] gives the guarantees in numbers.
//!
//! # Loading
//!
//! [`get_or_load`](Cache::get_or_load) returns the value, or loads and stores it. One caller runs
//! the loader for a key, and other callers wait for its result. A [`Loader`] has rules that are set
//! once. [`AsyncLoader`] and [`get_or_load_async`](Cache::get_or_load_async) do the same for tasks,
//! on any runtime. An `AsyncLoader` with a [`spawner`](LoaderBuilder::spawner) runs each load as a
//! task of its own. The load goes on if its callers give up.
//! [`build_batched_async`](LoaderBuilder::build_batched_async) and
//! [`build_batched`](LoaderBuilder::build_batched) build a loader that loads the keys of several
//! calls at once.
//!
//! ```
//! use bytecache::{Cache, LoadError, Loaded};
//! use std::io::Error;
//! use std::time::Duration;
//!
//! /// A store with one user.
//! fn read_user(id: &[u8]) -> Result<Option<String>, Error> {
//!     Ok((id == b"1").then(|| "Ada".to_string()))
//! }
//!
//! let cache = Cache::new(1 << 20)?;
//! let users = cache
//!     .loader()
//!     .ttl(Duration::from_secs(600))
//!     .refresh_after(Duration::from_secs(540)) // The first reader after nine minutes loads again.
//!     .negative_ttl(Duration::from_secs(30)) // "There is no such user" is remembered, too.
//!     .stale_for(Duration::from_secs(3600)) // A failed load returns the older value.
//!     .wait_limit(Duration::from_secs(2))
//!     .build(|id| read_user(id).map(Loaded::from))?;
//!
//! assert_eq!(users.get("1")?, *b"Ada");
//! assert!(matches!(users.get("2"), Err(LoadError::Absent)));
//!
//! // Change the store first, then remove the key. The result of an earlier load is not stored.
//! cache.remove("1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`docs::loading`] lists what followers get when a loader fails, panics, stalls or is dropped.
//!
//! # Typed values
//!
//! A [`Namespace`] is a named set of keys, which never meet other keys of the cache. One call
//! invalidates all its entries. A [`Typed`] is a namespace whose keys and values have types.
//!
//! ```
//! use bytecache::typed::Utf8;
//! use bytecache::{Cache, Typed};
//!
//! let cache = Cache::new(1 << 20)?;
//! let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
//! names.insert(&1, &"Ada".to_string())?;
//! assert_eq!(names.get(&1).as_deref(), Some("Ada"));
//! names.invalidate_all();
//! assert_eq!(names.get(&1), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`docs::typed`] has an example of a service with loads, and a table of the codecs.
//!
//! # Choosing a policy
//!
//! Keep the default, [`Policy::Adaptive`], unless your own requests show that another one is
//! better. [`policy::simulate`] counts the misses of a policy, without a cache. The program
//! `bytecache-tools` of the repository does so for request traces. [`docs::policies`] has a table
//! of policies and the traffic that each suits.
//!
//! ```
//! use bytecache::policy::{Request, Unit, simulate};
//! use bytecache::{Cache, Policy};
//!
//! // A loop over four keys, with room for three.
//! let requests = || (0..1_000).map(|step| Request { hash: step % 4, charge: 1 });
//! let lru = simulate(&Policy::Lru, 3, Unit::Entries, requests());
//! let mru = simulate(&Policy::Mru, 3, Unit::Entries, requests());
//! assert!(mru.miss_ratio() < lru.miss_ratio());
//!
//! let cache = Cache::builder().max_bytes(1 << 20).policy("s3-fifo(small=20)".parse()?).build()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! An [`Advisor`] answers the same question in a running cache, and says what more memory would
//! bring: see [`docs::advisor`].
//!
//! To write a custom policy, see [`policy`] and [`CacheBuilder::custom_policy`].
//!
//! # When an insert fails
//!
//! A method that stores a value returns an [`Error`] if it fails:
//!
//! | error | reason | remedy |
//! |---|---|---|
//! | [`KeyTooLong`](Error::KeyTooLong) | the key has more than 65,535 bytes | use a shorter key |
//! | [`TooLarge`](Error::TooLarge) | key and value exceed [`max_entry_bytes`](Cache::max_entry_bytes) | set a [larger limit](CacheBuilder::max_entry_bytes) |
//! | [`Rejected`](Error::Rejected) | readers and values hold the space | drop values; the same call can succeed later |
//! | [`NotACounter`](Error::NotACounter) | [`increment`](Cache::increment) found a value that does not have 8 bytes | use another key |
//! | [`CounterOverflow`](Error::CounterOverflow) | the sum of [`increment`](Cache::increment) does not fit into an [`i64`] | insert another value |
//! | [`Unencodable`](Error::Unencodable) | the codec of a [`Typed`] does not encode the value | read the message of the codec |
//!
//! A write that fails removes the older entry under its key. Reads then miss the key, and never
//! return the older value. So a service that can load the value again may ignore the error. The
//! docs of [`Error`] list the exceptions: an `increment` that returns `NotACounter` or
//! `CounterOverflow`, and conditional writes whose condition does not hold, leave the entry.
//!
//! ```
//! use bytecache::Error;
//!
//! # let cache = bytecache::Cache::new(1 << 20)?;
//! cache.insert("key", "old")?;
//! let too_large = vec![0; cache.max_entry_bytes()];
//! assert!(matches!(cache.insert("key", too_large), Err(Error::TooLarge { .. })));
//! assert!(cache.get("key").is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Size and statistics
//!
//! [`CacheBuilder::bytes_for`] computes `max_bytes` for a number of entries.
//! [`Cache::set_max_bytes`] changes the limit of a running cache. [`Cache::stats`] returns
//! counters, and [`Cache::memory`] a breakdown of the memory.
//!
//! ```
//! use bytecache::Cache;
//!
//! // 10,000 entries with keys of 24 bytes and values of 200 bytes.
//! let builder = Cache::builder().shards(2);
//! let max_bytes = builder.bytes_for(10_000, 24, 200);
//! let cache = builder.max_bytes(max_bytes).build()?;
//!
//! cache.insert("key", "value")?;
//! cache.get("key");
//! cache.get("another key");
//! assert_eq!(cache.stats().hit_ratio(), 0.5);
//! assert!(cache.memory().allocated <= max_bytes);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to read on
//!
//! * [`docs::sizing`]: the size that a cache needs;
//! * [`docs::advisor`]: the best policy and size, answered by a running cache;
//! * [`docs::policies`], [`docs::expiry`], [`docs::loading`]: each subject in full;
//! * [`docs::typed`]: several kinds of values in one cache;
//! * [`docs::service`]: a service with a database, from the first request to the shutdown;
//! * [`docs::snapshots`]: a cache that survives its process;
//! * [`docs::limitations`]: the limits of the cache, and workarounds;
//! * [`docs::coming_from`]: for users of moka and quick_cache;
//! * [`docs::glossary`]: the words of this documentation;
//! * [`docs::internals`]: how it works.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `bytes` | `Bytes::from(value)`: makes a `bytes::Bytes` of a [`Value`] without a copy. It holds memory of the cache, as the value does. |
//! | `metrics` | `MetricsPublisher`: sets the statistics of a cache as metrics of the facade `metrics` 0.24, when you call it. |
//! | `postcard` | [`typed`]: the codec `Postcard`, for types of serde. |
//! | `prometheus` | `PrometheusCollector`: reads the statistics of caches when a registry of `prometheus-client` 0.26 is scraped. |
//! | `rkyv` | [`typed`]: the codec `Rkyv`, whose values are read in place. |
//! | `tracing` | Spans around loads, and one warning for each cache about a loaded value that is too large to be stored. |
//! | `uuid` | [`typed`]: `Uuid` as a key. |
//! | `zerocopy` | [`typed`]: the codec `Zerocopy`, whose values are read in place. |
//!
//! All features are off by default.

#![deny(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

// Tests share code with integration tests, which know the crate by its name.
#[cfg(test)]
extern crate self as bytecache;

mod advisor;
mod builder;
mod cache;
mod clock;
pub mod docs;
mod error;
mod expiry;
#[cfg(any(feature = "prometheus", feature = "metrics"))]
mod export;
mod flight;
mod growable;
mod hash;
mod index;
mod loader;
#[cfg(all(test, bytecache_loom))]
mod loom;
mod namespace;
pub mod policy;
mod prefetch;
mod reclaim;
mod region;
mod removal;
mod ring;
mod shard;
#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod shared_lines;
mod snapshot;
mod stats;
mod sync;
#[doc(hidden)]
pub mod testing;
pub mod typed;
mod units;

/// The examples of the README, which are tested with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub use advisor::{Advice, AdvisedRow, Advisor, AgeHistogram, Ages, HotKey};
pub use builder::CacheBuilder;
pub use cache::{Cache, Invalidation, Lease, MaybeStale, Namespace, NamespaceBuilder, Update, WeakCache};
pub use clock::{Clock, ManualClock, SystemClock, TICK};
pub use error::{BuildError, Error, ParsePolicyError, ResizeError};
pub use expiry::{Lifetime, Remaining};
#[cfg(feature = "metrics")]
#[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
pub use export::MetricsPublisher;
#[cfg(feature = "prometheus")]
#[cfg_attr(docsrs, doc(cfg(feature = "prometheus")))]
pub use export::PrometheusCollector;
pub use hash::{StableHash, StableHasher};
pub use loader::{
    AsyncLoad, AsyncLoader, Batch, Batched, BoxAsyncLoad, BoxAsyncLoader, Failure, HasError, IntoLoaded, IsBox,
    IsError, IsPlain, Load, LoadError, Loaded, Loader, LoaderBuilder, LoaderError, Origin, Present, Refresh,
    WarmOptions, Warmed,
};
pub use policy::Policy;
pub use removal::RemovalCause;
pub use ring::Value;
pub use snapshot::{Restored, RestoredFrom, SaveOptions, SaveProgress, Saved, SnapshotError};
pub use stats::{LoadTimes, Memory, Stats};
pub use typed::Typed;
