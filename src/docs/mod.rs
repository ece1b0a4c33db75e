//! The manual: pages for users, and how the cache works inside.
//!
//! # For users
//!
//! * [`policies`]: which eviction policy to choose, and how each compares with published
//!   references;
//! * [`sizing`]: the bytes that a cache needs for its entries;
//! * [`advisor`]: the same questions, answered by a running cache;
//! * [`expiry`]: lifetimes, their accuracy and their cost;
//! * [`loading`]: one load for each key, whose result is never stale;
//! * [`typed`]: namespaces, and typed keys and values;
//! * [`service`]: a service with a database, from the first request to the shutdown;
//! * [`snapshots`]: saving a cache, and restoring it in the next process;
//! * [`limitations`]: the limits of the cache, and workarounds;
//! * [`coming_from`]: the methods of moka and quick_cache, and their counterparts here;
//! * [`glossary`]: the words that these pages use.
//!
//! # For readers of the source
//!
//! * [`internals`]: the map of the source, the [design](internals::design), and the [memory
//!   orders](internals::ordering).

pub mod advisor;
pub mod coming_from;
pub mod expiry;
pub mod glossary;
pub mod internals;
pub mod limitations;
pub mod loading;
pub mod policies;
pub mod service;
pub mod sizing;
pub mod snapshots;
pub mod typed;
