//! Stores to a [`Namespace`], removals from it, and atomic changes of its entries.

use core::time::Duration;

use super::Namespace;
use crate::cache::Update;
use crate::error::Error;
use crate::expiry::Lifetime;
use crate::ring::Value;

/// # Writing
///
/// Each of these is like the method of [`Cache`](crate::Cache) with the same name, for the keys of
/// the namespace. Lengths in errors include a prefix of 10 bytes.
impl Namespace {
    /// Stores `value` under `key`, replacing the current entry. See
    /// [`Cache::insert`](crate::Cache::insert).
    ///
    /// # Errors
    ///
    /// Those of [`Cache::insert`](crate::Cache::insert), which leave no entry under `key`.
    ///
    /// ```
    /// use bytecache::Error;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// let error = users.insert([0; 65_526], "");
    /// assert_eq!(error, Err(Error::KeyTooLong { bytes: 65_536, max: 65_535 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.cache.insert(key, value)
    }

    /// Stores `value` under `key` with a time to live. See
    /// [`Cache::insert_with_ttl`](crate::Cache::insert_with_ttl).
    ///
    /// # Errors
    ///
    /// Those of [`insert`](Self::insert).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let tokens = cache.namespace("tokens").build()?;
    /// tokens.insert_with_ttl("1", "abc", Duration::from_secs(30))?;
    /// assert!(tokens.contains_key("1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert_with_ttl(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>, ttl: Duration) -> Result<(), Error> {
        self.cache.insert_with_ttl(key, value, ttl)
    }

    /// Stores `value` under `key` with a lifetime. See
    /// [`Cache::insert_with_lifetime`](crate::Cache::insert_with_lifetime).
    ///
    /// # Errors
    ///
    /// Those of [`insert`](Self::insert).
    ///
    /// ```
    /// use bytecache::Lifetime;
    /// use std::time::Duration;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let sessions = cache.namespace("sessions").build()?;
    /// let lifetime = Lifetime::new().time_to_idle(Duration::from_secs(900));
    /// sessions.insert_with_lifetime("1", "Ada", lifetime)?;
    /// assert!(sessions.contains_key("1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert_with_lifetime(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        lifetime: Lifetime,
    ) -> Result<(), Error> {
        self.cache.insert_with_lifetime(key, value, lifetime)
    }

    /// Stores `value` under `key` if there is no entry. Returns `true` if it was stored. See
    /// [`Cache::insert_if_absent`](crate::Cache::insert_if_absent).
    ///
    /// # Errors
    ///
    /// Those of [`Cache::insert_if_absent`](crate::Cache::insert_if_absent). A current entry stays.
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// assert!(users.insert_if_absent("1", "Ada")?);
    /// assert!(!users.insert_if_absent("1", "Grace")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert_if_absent(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.cache.insert_if_absent(key, value)
    }

    /// Stores `value` under `key` if there is an entry to replace. Returns `true` if it was stored.
    /// See [`Cache::replace`](crate::Cache::replace).
    ///
    /// # Errors
    ///
    /// Those of [`insert`](Self::insert).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// assert!(!users.replace("1", "Ada")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.cache.replace(key, value)
    }

    /// Stores `value` under `key` and returns the former value. See
    /// [`Cache::swap`](crate::Cache::swap).
    ///
    /// # Errors
    ///
    /// Those of [`insert`](Self::insert).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert_eq!(users.swap("1", "Grace")?.as_deref(), Some(&b"Ada"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn swap(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        self.cache.swap(key, value)
    }

    /// Removes the entry under `key`. Returns `true` if there was one. Entries of other versions
    /// stay. See [`Cache::remove`](crate::Cache::remove).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert!(users.remove("1") && !users.remove("1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "invalidate")]
    pub fn remove(&self, key: impl AsRef<[u8]>) -> bool {
        self.cache.remove(key)
    }

    /// Removes the entry under `key` and returns its value, or `None` if there was no entry. See
    /// [`Cache::take`](crate::Cache::take).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let jobs = cache.namespace("jobs").build()?;
    /// jobs.insert("1", "resize")?;
    /// assert_eq!(jobs.take("1").as_deref(), Some(&b"resize"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        self.cache.take(key)
    }

    /// Calls `update` with the value under `key`, or with `None`, and stores its result. Returns
    /// `true` if an entry was stored or removed. See [`Cache::update`](crate::Cache::update).
    ///
    /// # Errors
    ///
    /// Those of [`Cache::update`](crate::Cache::update), which leave no entry under `key`.
    ///
    /// ```
    /// use bytecache::Update;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let lists = cache.namespace("lists").build()?;
    /// let mut append = |word: &[u8]| {
    ///     lists.update("words", |words| Update::Store([words.unwrap_or_default(), word].concat()))
    /// };
    /// assert!(append(b"one;")? && append(b"two;")?);
    /// assert_eq!(lists.get("words").as_deref(), Some(&b"one;two;"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn update<V: AsRef<[u8]>>(
        &self,
        key: impl AsRef<[u8]>,
        update: impl FnMut(Option<&[u8]>) -> Update<V>,
    ) -> Result<bool, Error> {
        self.cache.update(key, update)
    }

    /// Stores `new` under `key` if the current value is `expected`. Returns `true` if it was
    /// stored. See [`Cache::replace_if`](crate::Cache::replace_if).
    ///
    /// # Errors
    ///
    /// Those of [`Cache::replace_if`](crate::Cache::replace_if). An entry with another value stays.
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert!(users.replace_if("1", "Ada", "Grace")? && !users.replace_if("1", "Ada", "Alan")?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace_if(
        &self,
        key: impl AsRef<[u8]>,
        expected: impl AsRef<[u8]>,
        new: impl AsRef<[u8]>,
    ) -> Result<bool, Error> {
        self.cache.replace_if(key, expected, new)
    }

    /// Removes the entry under `key` if `condition` returns `true` for its value. Returns `true` if
    /// it was removed. See [`Cache::remove_if`](crate::Cache::remove_if).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert!(!users.remove_if("1", |name| name == b"Grace"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn remove_if(&self, key: impl AsRef<[u8]>, condition: impl FnMut(&[u8]) -> bool) -> bool {
        self.cache.remove_if(key, condition)
    }

    /// Adds `by` to the counter under `key`, and returns the sum. See
    /// [`Cache::increment`](crate::Cache::increment).
    ///
    /// # Errors
    ///
    /// Those of [`Cache::increment`](crate::Cache::increment).
    ///
    /// ```
    /// use bytecache::Lifetime;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let visits = cache.namespace("visits").build()?;
    /// assert_eq!(visits.increment("index", 2, Lifetime::new())?, 2);
    /// assert_eq!(visits.increment("index", 3, Lifetime::new())?, 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn increment(&self, key: impl AsRef<[u8]>, by: i64, lifetime: Lifetime) -> Result<i64, Error> {
        self.cache.increment(key, by, lifetime)
    }

    /// Sets the entry under `key` to expire `ttl` from now. Returns `true` if there is one. See
    /// [`Cache::set_ttl`](crate::Cache::set_ttl).
    ///
    /// # Errors
    ///
    /// [`Error::Rejected`] if there is no space for a first deadline: the entry is removed.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert!(users.set_ttl("1", Duration::from_secs(60))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_ttl(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<bool, Error> {
        self.cache.set_ttl(key, ttl)
    }

    /// Removes the deadlines of the entry under `key`. Returns `true` if there is one. See
    /// [`Cache::persist`](crate::Cache::persist).
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert_with_ttl("1", "Ada", Duration::from_secs(60))?;
    /// assert!(users.persist("1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn persist(&self, key: impl AsRef<[u8]>) -> bool {
        self.cache.persist(key)
    }
}
