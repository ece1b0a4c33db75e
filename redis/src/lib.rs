//! A second tier for the cache [`bytecache`], on Redis or Valkey. The instances of a service share
//! values there, and keep hot ones in their own memory. A change of a value by any client removes
//! it from the memory of all instances.
//!
//! ```no_run
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bytecache::Cache;
//! use bytecache_redis::{Remote, Tiered};
//! use std::time::Duration;
//!
//! let cache = Cache::new(64 << 20)?;
//! let remote = Remote::builder(redis::Client::open("redis://127.0.0.1:6379")?).connect()?;
//! let users = Tiered::builder(&cache, &remote, "users")
//!     .ttl(Duration::from_secs(600))
//!     .build(|key| async move {
//!         // From a database.
//!         Ok::<_, std::io::Error>((&*key == b"1").then(|| b"Ada".to_vec()))
//!     })?;
//!
//! assert_eq!(users.get("1").await?.as_deref(), Some(&b"Ada"[..]));
//! // After a change in the database:
//! users.remove("1").await?;
//! # Ok(())
//! # }
//! ```
//!
//! The client is the crate [`redis`], which is exported here, too.
//!
//! A [`Remote`] is the connection of an instance to a server. A [`Tiered`] is a namespace of
//! values. The page [`docs`] says what is guaranteed, how entries lie in Redis, and what is not
//! there.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

pub mod docs;

mod batch;
mod breaker;
mod chance;
mod cluster;
mod error;
mod format;
mod generation;
mod load;
mod numbering;
#[cfg(feature = "prometheus")]
mod prometheus;
mod recent;
mod remote;
mod running;
mod session;
mod space;
mod stats;
mod sync;
mod tiered;
mod trace;
mod trust;
mod typed;
mod verify;
mod wire;
mod write;
mod writing;

pub use error::{BoxError, Error, SetupError};
#[cfg(feature = "prometheus")]
#[cfg_attr(docsrs, doc(cfg(feature = "prometheus")))]
pub use prometheus::TierCollector;
pub use redis;
pub use remote::{Remote, RemoteBuilder, RemoteStats};
pub use stats::TierStats;
pub use tiered::{Tiered, TieredBuilder};
pub use typed::TypedTiered;
pub use verify::Verified;

/// The example of the README, which is tested with those of the documentation.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
