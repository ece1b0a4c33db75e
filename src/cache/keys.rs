//! From the keys of callers to stored keys, and back: see [`namespace`](crate::namespace).
//!
//! A method of the cache converts its key once, before anything else. From there on `key` is a
//! stored key.

use std::sync::Arc;

use super::Cache;
use crate::namespace::{KeyState, Origin, Registry, Scope, StoredKey, is_marked, origin};
use crate::stats::{LoadCounts, ReadCounts};

impl Cache {
    /// Returns `true` if `key` is not its own stored key.
    #[inline(always)]
    fn needs_conversion(&self, key: &[u8]) -> bool {
        self.scope.is_some() || is_marked(key)
    }

    /// Returns the stored key of a caller's key.
    #[inline(always)]
    pub(crate) fn stored_key<'k>(&self, key: &'k [u8]) -> StoredKey<'k> {
        match &self.scope {
            None => StoredKey::plain(key),
            Some(scope) => scope.stored_key(key),
        }
    }

    /// Calls `work` with the stored key of a caller's key. Plain keys that need no conversion are
    /// not written to memory again.
    #[inline(always)]
    pub(crate) fn with_stored_key<R>(&self, key: &[u8], work: impl FnOnce(&[u8]) -> R) -> R {
        if self.needs_conversion(key) { self.with_converted_key(key, work) } else { work(key) }
    }

    #[cold]
    #[inline(never)]
    fn with_converted_key<R>(&self, key: &[u8], work: impl FnOnce(&[u8]) -> R) -> R {
        work(&self.stored_key(key))
    }

    /// Returns the caller's key of a stored key, or `None` if it is not one of this handle's set.
    #[inline]
    pub(crate) fn own_key<'k>(&self, stored: &'k [u8]) -> Option<&'k [u8]> {
        match (origin(stored), &self.scope) {
            (Origin::Plain(key), None) => Some(key),
            (Origin::Scoped { prefix, key, .. }, Some(scope)) if scope.prefix() == prefix => Some(key),
            _ => None,
        }
    }

    /// Returns `true` if a stored key is of this handle's set, in whichever generation.
    pub(super) fn is_own(&self, stored: &[u8]) -> bool {
        match (self.registry().scope_of(stored), &self.scope) {
            (None, None) => true,
            (Some(scope), Some(own)) => Arc::ptr_eq(scope, own),
            _ => false,
        }
    }

    /// Returns the caller's key of a stored key, for a loader.
    pub(crate) fn loaders_key(&self, stored: &Arc<[u8]>) -> Arc<[u8]> {
        match origin(stored) {
            Origin::Plain(key) | Origin::Scoped { key, .. } if key.len() < stored.len() => key.into(),
            _ => Arc::clone(stored),
        }
    }

    /// Returns the state of bytes that may be a stored key.
    pub(crate) fn key_state(&self, stored: &[u8]) -> KeyState {
        self.registry().state_of(stored)
    }

    /// Returns a handle of the plain keys.
    pub(crate) fn without_scope(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), scope: None }
    }

    /// Returns a handle of the keys of a namespace.
    pub(super) fn with_scope(&self, scope: Arc<Scope>) -> Self {
        Self { inner: Arc::clone(&self.inner), scope: Some(scope) }
    }

    #[inline]
    pub(super) fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Returns the counters of reads of this handle's set.
    #[inline(always)]
    pub(super) fn counts(&self) -> &ReadCounts {
        match &self.scope {
            None => &self.inner.counts,
            Some(scope) => &scope.counts,
        }
    }

    /// Returns the counters of loads of this handle's set.
    pub(crate) fn loads(&self) -> &LoadCounts {
        match &self.scope {
            None => &self.inner.registry.loads,
            Some(scope) => &scope.loads,
        }
    }
}
