//! Reads of a [`Namespace`].

use super::Namespace;
use crate::cache::MaybeStale;
use crate::expiry::Remaining;
use crate::namespace::{KeyBuffer, StoredKey};
use crate::ring::Value;

/// # Reading
///
/// Each of these is like the method of [`Cache`](crate::Cache) with the same name, for the keys of
/// the namespace.
impl Namespace {
    /// Returns the value under `key` without a copy, or `None` if there is no entry. See
    /// [`Cache::get`](crate::Cache::get).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert_eq!(users.get("1").as_deref(), Some(&b"Ada"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        let mut stored = KeyBuffer::default();
        stored.push_scoped(self.scope.prefix(), key.as_ref());
        self.cache.get_stored(stored.as_bytes(), &self.scope.counts)
    }

    /// Calls `read` with the value under `key`, in place, and returns its result. Returns `None` if
    /// there is no entry. See [`Cache::view`](crate::Cache::view).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert_eq!(users.view("1", <[u8]>::len), Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn view<R>(&self, key: impl AsRef<[u8]>, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let mut stored = KeyBuffer::default();
        stored.push_scoped(self.scope.prefix(), key.as_ref());
        self.cache.view_stored(stored.as_bytes(), &self.scope.counts, read)
    }

    /// Replaces the contents of `value` with a copy of the value under `key`. Returns `true` if
    /// there is an entry. See [`Cache::get_into`](crate::Cache::get_into).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// let mut name = Vec::new();
    /// assert!(users.get_into("1", &mut name));
    /// assert_eq!(name, b"Ada");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn get_into(&self, key: impl AsRef<[u8]>, value: &mut Vec<u8>) -> bool {
        let copied = self.view(key, |bytes| {
            value.clear();
            value.extend_from_slice(bytes);
        });
        copied.is_some()
    }

    /// Calls `each` with every index and the value under that key, in order. See
    /// [`Cache::get_many`](crate::Cache::get_many).
    ///
    /// # Cost
    ///
    /// Beyond that of the cache, a call makes one allocation for the stored keys.
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// let mut found = vec![];
    /// users.get_many(&["1", "2"], |index, value| found.push((index, value.is_some())));
    /// assert_eq!(found, [(0, true), (1, false)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: &[K], each: impl FnMut(usize, Option<&[u8]>)) {
        let prefix = self.scope.prefix();
        let keys: Vec<_> = keys.iter().map(|key| StoredKey::scoped(prefix, key.as_ref())).collect();
        self.cache.read_many(&keys, each);
    }

    /// Returns the value under `key` without counting as a read. See
    /// [`Cache::peek`](crate::Cache::peek).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert_eq!(users.peek("1").as_deref(), Some(&b"Ada"[..]));
    /// assert_eq!(users.stats().hits, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn peek(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        self.cache.peek(key)
    }

    /// Returns `true` if there is an entry under `key`, without counting as a read. See
    /// [`Cache::contains_key`](crate::Cache::contains_key).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert!(users.contains_key("1") && !cache.contains_key("1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn contains_key(&self, key: impl AsRef<[u8]>) -> bool {
        self.cache.contains_key(key)
    }

    /// Returns the value under `key`, even within its stale period, or `None` if there is none. See
    /// [`Cache::get_or_stale`](crate::Cache::get_or_stale).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert!(users.get_or_stale("1").is_some_and(|found| !found.is_stale()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn get_or_stale(&self, key: impl AsRef<[u8]>) -> Option<MaybeStale> {
        self.cache.get_or_stale(key)
    }

    /// Returns the time until the deadline of the entry under `key`, or `None` if there is no
    /// entry. See [`Cache::ttl`](crate::Cache::ttl).
    ///
    /// ```
    /// use bytecache::Remaining;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert_eq!(users.ttl("1"), Some(Remaining::Forever));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn ttl(&self, key: impl AsRef<[u8]>) -> Option<Remaining> {
        self.cache.ttl(key)
    }

    /// Counts as a read of the entry under `key` for its idle deadline and for the policy. Returns
    /// `true` if there is an entry. See [`Cache::touch`](crate::Cache::touch).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert!(users.touch("1") && !users.touch("2"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn touch(&self, key: impl AsRef<[u8]>) -> bool {
        self.cache.touch(key)
    }
}
