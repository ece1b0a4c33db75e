//! [`Invalidation`]: what a source of invalidations tells a cache, as a value.

use super::Cache;

/// A message that entries of a cache are older than their store, for [`Cache::apply`].
///
/// It borrows its parts, so that it can be made of a message as it arrives.
///
/// ```
/// use bytecache::{Cache, Invalidation};
///
/// /// Parses "users/1", "users" or "*".
/// fn parse(message: &str) -> Invalidation<'_> {
///     match message.split_once('/') {
///         _ if message == "*" => Invalidation::Reset,
///         Some((name, key)) => Invalidation::KeyIn(name, key.as_bytes()),
///         None => Invalidation::Namespace(message),
///     }
/// }
///
/// let cache = Cache::new(1 << 20)?;
/// let users = cache.namespace("users").build()?;
/// users.insert("1", "Ada")?;
/// cache.apply(parse("users/1"));
/// assert!(users.get("1").is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalidation<'a> {
    /// The value under a plain key has changed.
    Key(&'a [u8]),
    /// The value under a key of a namespace has changed: the name, and the key. It concerns all
    /// versions of the namespace.
    KeyIn(&'a str, &'a [u8]),
    /// All values of a namespace may have changed. It concerns all versions.
    Namespace(&'a str),
    /// Everything may have changed: for instance, messages were lost.
    Reset,
}

impl Cache {
    /// Removes what a message says is older than the store. The results of loads in progress that
    /// it concerns are not stored, and neither are those of [leases](crate::Lease).
    ///
    /// A name that has no namespace is ignored, and counted in
    /// [`Stats::unknown_namespaces`](crate::Stats::unknown_namespaces). Another process may use
    /// namespaces that this one does not.
    ///
    /// # Cost
    ///
    /// That of [`remove`](Self::remove), of [`Namespace::invalidate_all`], or of
    /// [`clear`](Self::clear).
    ///
    /// [`Namespace::invalidate_all`]: crate::Namespace::invalidate_all
    ///
    /// ```
    /// use bytecache::{Cache, Invalidation};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// users.insert("2", "Grace")?;
    /// cache.insert("1", "plain")?;
    ///
    /// cache.apply(Invalidation::KeyIn("users", b"1"));
    /// assert!(users.get("1").is_none() && users.get("2").is_some());
    /// cache.apply(Invalidation::Namespace("users"));
    /// assert!(users.get("2").is_none() && cache.get("1").is_some());
    /// cache.apply(Invalidation::Key(b"1"));
    /// assert!(cache.get("1").is_none());
    ///
    /// cache.apply(Invalidation::Namespace("pages"));
    /// assert_eq!(cache.stats().unknown_namespaces, 1);
    /// cache.apply(Invalidation::Reset);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn apply(&self, invalidation: Invalidation<'_>) {
        let registry = self.registry();
        match invalidation {
            Invalidation::Key(key) => {
                self.without_scope().remove(key);
            }
            Invalidation::KeyIn(name, key) => {
                let mut is_known = false;
                for scope in registry.named(name) {
                    self.with_scope(scope.clone()).remove(key);
                    is_known = true;
                }
                if !is_known {
                    registry.count_unknown();
                }
            }
            Invalidation::Namespace(name) => {
                registry.invalidate(name);
            }
            Invalidation::Reset => self.clear(),
        }
    }
}
