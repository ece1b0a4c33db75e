//! Loads of the keys of a [`Namespace`]: those of a cache, through the namespace's handle.

use core::future::Future;

use super::{IntoLoaded, LoadError, LoaderBuilder, LoaderError};
use crate::cache::Namespace;
use crate::ring::Value;

/// # Loading
///
/// Each of these is like the method of [`Cache`](crate::Cache) with the same name, for the keys of
/// the namespace. An [invalidation](Namespace::invalidate_all) detaches the loads in progress.
impl Namespace {
    /// Returns a builder of a loader of this namespace. See
    /// [`Cache::loader`](crate::Cache::loader).
    ///
    /// The function of the loader gets keys of the namespace, without a prefix.
    ///
    /// ```
    /// use bytecache::Loaded;
    /// use std::io::Error;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// let loader = users.loader().build(|id: &[u8]| Ok::<_, Error>([b"user ", id].concat()))?;
    /// assert_eq!(loader.get("1")?, "user 1");
    /// assert!(users.contains_key("1") && !cache.contains_key("1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn loader(&self) -> LoaderBuilder {
        self.handle().loader()
    }

    /// Returns the value under `key`. If there is none, calls `load`, and stores and returns its
    /// result. See [`Cache::get_or_load`](crate::Cache::get_or_load).
    ///
    /// # Errors
    ///
    /// Those of [`Cache::get_or_load`](crate::Cache::get_or_load).
    ///
    /// ```
    /// use std::io::Error;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// assert_eq!(users.get_or_load("1", || Ok::<_, Error>("Ada"))?, "Ada");
    /// assert!(users.contains_key("1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn get_or_load<V, E, Kind>(
        &self,
        key: impl AsRef<[u8]>,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<Value, LoadError<E>>
    where
        V: IntoLoaded,
        E: LoaderError<Kind>,
    {
        self.handle().get_or_load(key, load)
    }

    /// Like [`get_or_load`](Self::get_or_load), but for tasks. See
    /// [`Cache::get_or_load_async`](crate::Cache::get_or_load_async).
    ///
    /// # Errors
    ///
    /// Those of [`Cache::get_or_load`](crate::Cache::get_or_load).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::Error;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// let user = users.get_or_load_async("1", async || Ok::<_, Error>("Ada")).await?;
    /// assert_eq!(user, "Ada");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_or_load_async<V, E, Kind, F>(
        &self,
        key: impl AsRef<[u8]>,
        load: impl FnOnce() -> F,
    ) -> Result<Value, LoadError<E>>
    where
        V: IntoLoaded,
        E: LoaderError<Kind>,
        F: Future<Output = Result<V, E>>,
    {
        self.handle().get_or_load_async(key, load).await
    }

    /// Returns the value under `key`. If there is none, calls `load`, which cannot fail, and stores
    /// and returns its value. See [`Cache::get_or_insert_with`](crate::Cache::get_or_insert_with).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// assert_eq!(users.get_or_insert_with("1", || "Ada"), "Ada");
    /// assert!(users.contains_key("1") && !cache.contains_key("1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_or_insert_with<V: AsRef<[u8]>>(&self, key: impl AsRef<[u8]>, load: impl FnOnce() -> V) -> Value {
        self.handle().get_or_insert_with(key, load)
    }

    /// Like [`get_or_insert_with`](Self::get_or_insert_with), but for tasks. See
    /// [`Cache::get_or_insert_with_async`](crate::Cache::get_or_insert_with_async).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// assert_eq!(users.get_or_insert_with_async("1", async || "Ada").await, "Ada");
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_or_insert_with_async<V, F>(&self, key: impl AsRef<[u8]>, load: impl FnOnce() -> F) -> Value
    where
        V: AsRef<[u8]>,
        F: Future<Output = V>,
    {
        self.handle().get_or_insert_with_async(key, load).await
    }

    /// Returns the values under many keys, after one call of `load` for all that are missing. See
    /// [`Cache::get_or_load_many`](crate::Cache::get_or_load_many).
    ///
    /// # Errors
    ///
    /// Those of [`Cache::get_or_load_many`](crate::Cache::get_or_load_many).
    ///
    /// ```
    /// use std::io::Error;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// let found = users.get_or_load_many(&["1", "2"], |missing| {
    ///     assert_eq!(missing, [&"2"]);
    ///     Ok::<_, Error>(vec![Some("Grace")])
    /// })?;
    /// assert!(found.iter().all(Option::is_some));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_or_load_many<K, V, E, Kind>(
        &self,
        keys: &[K],
        load: impl FnMut(&[&K]) -> Result<Vec<Option<V>>, E>,
    ) -> Result<Vec<Option<Value>>, LoadError<E>>
    where
        K: AsRef<[u8]>,
        V: IntoLoaded,
        E: LoaderError<Kind>,
    {
        self.handle().get_or_load_many(keys, load)
    }

    /// Like [`get_or_load_many`](Self::get_or_load_many), but for tasks. See
    /// [`Cache::get_or_load_many_async`](crate::Cache::get_or_load_many_async).
    ///
    /// # Errors
    ///
    /// Those of [`Cache::get_or_load_many`](crate::Cache::get_or_load_many).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io::Error;
    ///
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// let load = async |missing: Vec<&&str>| {
    ///     assert_eq!(missing, [&"2"]);
    ///     Ok::<_, Error>(vec![Some("Grace")])
    /// };
    /// let found = users.get_or_load_many_async(&["1", "2"], load).await?;
    /// assert!(found.iter().all(Option::is_some));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_or_load_many_async<'a, K, V, E, Kind, F>(
        &self,
        keys: &'a [K],
        load: impl FnMut(Vec<&'a K>) -> F,
    ) -> Result<Vec<Option<Value>>, LoadError<E>>
    where
        K: AsRef<[u8]>,
        V: IntoLoaded,
        E: LoaderError<Kind>,
        F: Future<Output = Result<Vec<Option<V>>, E>>,
    {
        self.handle().get_or_load_many_async(keys, load).await
    }
}
