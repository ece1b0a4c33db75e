//! [`WeakCache`]: a handle that does not keep its cache alive.

use core::fmt;
use std::sync::{Arc, Weak};

use super::{Cache, Inner};

/// A handle of a [`Cache`] that does not keep it alive, from [`Cache::downgrade`].
///
/// It suits the parts that a cache owns, such as its removal listener. A listener that owned a
/// `Cache` would keep the cache alive forever.
///
/// ```
/// use bytecache::{Cache, WeakCache};
/// use std::sync::{Arc, OnceLock};
///
/// // The listener counts the entries that leave, in the cache that they leave.
/// let weak = Arc::new(OnceLock::<WeakCache>::new());
/// let handle = Arc::clone(&weak);
/// let cache = Cache::builder()
///     .max_bytes(1 << 20)
///     .on_removal(move |key, _value, _cause| {
///         if let Some(cache) = handle.get().and_then(WeakCache::upgrade) {
///             let _ = cache.insert([b"left:", key].concat(), "1");
///         }
///     })
///     .build()?;
/// let _ = weak.set(cache.downgrade());
///
/// cache.insert("key", "value")?;
/// cache.remove("key");
/// assert!(cache.contains_key("left:key"));
/// drop(cache);
/// assert!(weak.get().is_some_and(|weak| weak.upgrade().is_none()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// A weak handle keeps a few hundred bytes of a cache that has been dropped. Its entries are freed.
#[derive(Clone)]
pub struct WeakCache {
    inner: Weak<Inner>,
}

impl WeakCache {
    /// Returns the cache, or `None` if its last handle has been dropped.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("key", "value")?;
    /// let weak = cache.downgrade();
    /// assert!(weak.upgrade().is_some_and(|cache| cache.contains_key("key")));
    /// drop(cache);
    /// assert!(weak.upgrade().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn upgrade(&self) -> Option<Cache> {
        self.inner.upgrade().map(|inner| Cache { inner, scope: None })
    }
}

impl fmt::Debug for WeakCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(WeakCache)")
    }
}

impl Cache {
    /// Returns a handle that does not keep the cache alive.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let weak = cache.downgrade();
    /// assert!(weak.upgrade().is_some());
    /// drop(cache);
    /// assert!(weak.upgrade().is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn downgrade(&self) -> WeakCache {
        WeakCache { inner: Arc::downgrade(&self.inner) }
    }
}
