//! The atomics and locks of [`trust`](crate::trust): those of loom while its models run.

#[cfg(bytecache_loom)]
pub(crate) use loom::sync::{Mutex, atomic::AtomicU64};
#[cfg(not(bytecache_loom))]
pub(crate) use std::sync::{Mutex, atomic::AtomicU64};
