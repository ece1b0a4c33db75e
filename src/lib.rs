#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod cache;
mod clock;
pub mod docs;
mod error;
mod expiry;
mod flight;
mod hash;
mod index;
mod loader;
#[cfg(all(test, bytecache_loom))]
mod loom;
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
mod stats;
mod sync;
#[doc(hidden)]
pub mod testing;
mod units;

pub use builder::CacheBuilder;
pub use cache::{Cache, MaybeStale};
pub use clock::{Clock, ManualClock, SystemClock, TICK};
pub use error::{BuildError, Error, ParsePolicyError};
pub use expiry::{Lifetime, Remaining};
pub use hash::{StableHash, StableHasher};
pub use loader::{AsyncLoader, IntoLoaded, LoadError, Loaded, Loader, LoaderBuilder, Refresh};
pub use policy::Policy;
pub use removal::RemovalCause;
pub use ring::Value;
pub use stats::{LoadTimes, Memory, Stats};
