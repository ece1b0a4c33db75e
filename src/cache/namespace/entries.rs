//! Operations on all entries of a [`Namespace`], and leases of its keys.

use core::ops::ControlFlow;

use super::Namespace;
use crate::cache::Lease;
use crate::expiry::Remaining;

/// # All entries
///
/// The iterations walk through all entries of the cache, including those of other namespaces. They
/// are expensive for a namespace that is small beside its cache.
impl Namespace {
    /// Calls `each` with the key and the value of every entry of the namespace. See
    /// [`Cache::for_each`](crate::Cache::for_each).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// cache.insert("2", "plain")?;
    /// let mut entries = vec![];
    /// users.for_each(|key, value| entries.push((key.to_vec(), value.to_vec())));
    /// assert_eq!(entries, [(b"1".to_vec(), b"Ada".to_vec())]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each(&self, each: impl FnMut(&[u8], &[u8])) {
        self.cache.for_each(each);
    }

    /// Calls `each` with the key, the value and the time left of every entry of the namespace,
    /// until it breaks. See [`Cache::try_for_each`](crate::Cache::try_for_each).
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// let first = users.try_for_each(|key, _value, _left| ControlFlow::Break(key.to_vec()));
    /// assert_eq!(first, ControlFlow::Break(b"1".to_vec()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_for_each<B>(&self, each: impl FnMut(&[u8], &[u8], Remaining) -> ControlFlow<B>) -> ControlFlow<B> {
        self.cache.try_for_each(each)
    }

    /// Removes the entries of the namespace for which `keep` returns `false`. See
    /// [`Cache::retain`](crate::Cache::retain).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// users.insert("2", "Grace")?;
    /// users.retain(|_key, value| value == b"Ada");
    /// assert!(users.contains_key("1") && !users.contains_key("2"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn retain(&self, keep: impl FnMut(&[u8], &[u8]) -> bool) {
        self.cache.retain(keep);
    }

    /// Returns a lease of `key`: the permit to store a value that is read after this call. An
    /// invalidation of the namespace ends the lease. See [`Cache::lease`](crate::Cache::lease).
    ///
    /// ```
    /// use bytecache::Lifetime;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// let lease = users.lease("1");
    /// users.invalidate_all();
    /// assert!(!lease.store("Ada", Lifetime::new())?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn lease(&self, key: impl AsRef<[u8]>) -> Lease {
        self.cache.lease(key)
    }
}
