//! Reads of a [`Typed`].
//!
//! A hit decodes the value in place, while its entry is held. If there is no fresh value, the
//! loader of bytes counts the read and loads.

use core::borrow::Borrow;
use std::sync::Arc;

use super::decoders::{Viewed, Whole};
use super::source::Conversion;
use super::{Codec, Key, NoLoads, OwnedKey, SharedError, Tasks, Threads, Typed, Values, ViewCodec, own_bytes};
use crate::cache::{Decode, Decoded, Misses};
use crate::loader::{Failure, LoadError};

/// The most calls of the loader for one read: values that do not decode are loaded again.
const ATTEMPTS: usize = 2;

/// The result of a read that may load.
pub(super) type Answer<R> = Result<Option<R>, LoadError<SharedError>>;

impl<C> Values<C> {
    /// Reads the entry under `key`, and removes a value that does not decode. Returns the
    /// decoder if there is no value to serve.
    #[inline(always)]
    fn read<Q: Key + ?Sized, D: Decode>(&self, key: &Q, misses: Misses, decoder: D) -> Result<D::Output, D> {
        match self.space.decode(|stored| key.write(stored), misses, decoder) {
            Decoded::Value(value) => Ok(value),
            Decoded::Absent(decoder) => Err(decoder),
            Decoded::Undecodable(decoder) => {
                self.remove_undecodable(own_bytes(key).as_bytes(), &decoder);
                Err(decoder)
            }
        }
    }

    /// Removes the entry under `key` if its value does not decode.
    #[cold]
    fn remove_undecodable(&self, key: &[u8], decoder: &impl Decode) {
        self.space.remove_undecodable(key, |bytes| !decoder.is_value(bytes));
    }
}

fn undecodable() -> LoadError<SharedError> {
    let error: SharedError = Arc::new(Conversion::Value);
    LoadError::Failed(Failure::new(error))
}

/// Reads of a namespace whose values are not loaded.
impl<K: OwnedKey, V, C: Codec<V>> Typed<K, V, C, NoLoads> {
    /// Returns the value under `key`, or `None` if there is none.
    ///
    /// # Cost
    ///
    /// That of [`Namespace::view`](crate::Namespace::view), and of decoding.
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// names.insert(&1, &"Ada".to_string())?;
    /// assert_eq!(names.get(&1).as_deref(), Some("Ada"));
    ///
    /// // A value that does not decode is a miss.
    /// names.namespace().insert(2_u64.to_be_bytes(), [0xff])?;
    /// assert_eq!(names.get(&2), None);
    /// assert_eq!(names.stats().undecodable, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        self.values.read(key, Misses::Counted, Whole::new(&self.values.codec)).ok()
    }

    /// Calls `read` with the value under `key`, in place, and returns its result. Returns `None` if
    /// there is no value.
    ///
    /// `read` holds the entry while it runs, as the closure of
    /// [`Namespace::view`](crate::Namespace::view) does.
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// names.insert(&1, &"Ada".to_string())?;
    /// assert_eq!(names.view(&1, |name: &str| name.len()), Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn view<Q, R>(&self, key: &Q, read: impl FnOnce(&C::View) -> R) -> Option<R>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
        C: ViewCodec<V>,
    {
        self.values.read(key, Misses::Counted, Viewed::new(&self.values.codec, read)).ok()
    }
}

/// Reads of a namespace whose values are loaded by threads.
impl<K: OwnedKey, V, C: Codec<V>> Typed<K, V, C, Threads> {
    /// Returns the value under `key`. If there is none, loads and stores it. Returns `None` if the
    /// load finds nothing, or if the cache has recorded that an earlier load found nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Loader::get`](crate::Loader::get) except `Absent`. [`LoadError::Failed`] has the
    /// error of the function that loads. It also has the error of a loaded value that does not
    /// encode, or that does not decode from its own bytes.
    ///
    /// # Cost
    ///
    /// A hit costs as much as [`Namespace::view`](crate::Namespace::view) and decoding. A miss
    /// costs as much as that of [`Loader::get`](crate::Loader::get), and encoding.
    ///
    /// ```
    /// use bytecache::Cache;
    /// use bytecache::typed::Utf8;
    /// use std::io::Error;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let load = |id: u64| match id {
    ///     0 => Err(Error::other("down")),
    ///     id => Ok((id == 1).then(|| "Ada".to_string())),
    /// };
    /// let names = cache.namespace("names").typed(Utf8).build_loader(load)?;
    /// assert_eq!(names.get(&1)?.as_deref(), Some("Ada"));
    /// assert_eq!(names.get(&2)?, None);
    /// let error = names.get(&0).unwrap_err();
    /// assert_eq!(error.failure().map(ToString::to_string).as_deref(), Some("down"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Answer<V>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        self.get_with(key, Whole::new(&self.values.codec))
    }

    /// Calls `read` with the value under `key`, in place, and returns its result. If there is no
    /// value, loads and stores it first.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    ///
    /// ```
    /// use bytecache::Cache;
    /// use bytecache::typed::Utf8;
    /// use std::io::Error;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let load = |_: u64| Ok::<_, Error>(Some("Ada".to_string()));
    /// let names = cache.namespace("names").typed(Utf8).build_loader(load)?;
    /// assert_eq!(names.view(&1, |name: &str| name.len())?, Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn view<Q, R>(&self, key: &Q, read: impl FnOnce(&C::View) -> R) -> Answer<R>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
        C: ViewCodec<V>,
    {
        self.get_with(key, Viewed::new(&self.values.codec, read))
    }

    #[inline(always)]
    fn get_with<Q, D>(&self, key: &Q, mut decoder: D) -> Answer<D::Output>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
        D: Decode,
    {
        if !self.loads.0.refreshes_early() {
            match self.values.read(key, Misses::Ignored, decoder) {
                Ok(value) => return Ok(Some(value)),
                Err(unused) => decoder = unused,
            }
        }
        self.load(own_bytes(key).as_bytes(), decoder)
    }

    #[cold]
    fn load<D: Decode>(&self, key: &[u8], mut decoder: D) -> Answer<D::Output> {
        for _ in 0..ATTEMPTS {
            match self.loads.0.get(key) {
                Ok(value) => match decoder.decode(&value) {
                    Ok(value) => return Ok(Some(value)),
                    Err(unused) => decoder = unused,
                },
                Err(LoadError::Absent) => return Ok(None),
                Err(error) => return Err(error),
            }
            self.values.remove_undecodable(key, &decoder);
        }
        Err(undecodable())
    }
}

/// Reads of a namespace whose values are loaded by tasks.
impl<K: OwnedKey, V, C: Codec<V>> Typed<K, V, C, Tasks> {
    /// Returns the value under `key`. If there is none, loads and stores it. Returns `None` if the
    /// load finds nothing, or if the cache has recorded that an earlier load found nothing.
    ///
    /// # Errors
    ///
    /// Those of [`AsyncLoader::get_async`](crate::AsyncLoader::get_async) except `Absent`.
    /// [`LoadError::Failed`] has the error of the function that loads. It also has the error of a
    /// loaded value that does not encode, or that does not decode from its own bytes.
    ///
    /// # Cost
    ///
    /// A hit costs as much as [`Namespace::view`](crate::Namespace::view) and decoding. A miss
    /// costs as much as that of [`AsyncLoader::get_async`](crate::AsyncLoader::get_async), and
    /// encoding.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bytecache::Cache;
    /// use bytecache::typed::Utf8;
    /// use std::io::Error;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let load = |id: u64| async move { Ok::<_, Error>((id == 1).then(|| "Ada".to_string())) };
    /// let names = cache.namespace("names").typed(Utf8).build_async(load)?;
    /// assert_eq!(names.get(&1).await?.as_deref(), Some("Ada"));
    /// assert_eq!(names.get(&2).await?, None);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub async fn get<Q>(&self, key: &Q) -> Answer<V>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        match self.get_now(key, Whole::new(&self.values.codec)) {
            Ok(value) => Ok(Some(value)),
            Err(decoder) => self.load(key, decoder).await,
        }
    }

    /// Calls `read` with the value under `key`, in place, and returns its result. If there is no
    /// value, loads and stores it first.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bytecache::Cache;
    /// use bytecache::typed::Utf8;
    /// use std::io::Error;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let load = |_: u64| async { Ok::<_, Error>(Some("Ada".to_string())) };
    /// let names = cache.namespace("names").typed(Utf8).build_async(load)?;
    /// assert_eq!(names.view(&1, |name: &str| name.len()).await?, Some(3));
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub async fn view<Q, R>(&self, key: &Q, read: impl FnOnce(&C::View) -> R) -> Answer<R>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
        C: ViewCodec<V>,
    {
        match self.get_now(key, Viewed::new(&self.values.codec, read)) {
            Ok(value) => Ok(Some(value)),
            Err(decoder) => self.load(key, decoder).await,
        }
    }

    /// Returns the value if it is present and fresh. Otherwise gives the decoder back.
    #[inline(always)]
    fn get_now<Q, D>(&self, key: &Q, decoder: D) -> Result<D::Output, D>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
        D: Decode,
    {
        if self.loads.0.refreshes_early() {
            return Err(decoder); // The loader decides for each read.
        }
        self.values.read(key, Misses::Ignored, decoder)
    }

    async fn load<Q, D>(&self, key: &Q, mut decoder: D) -> Answer<D::Output>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
        D: Decode,
    {
        let key = own_bytes(key);
        for _ in 0..ATTEMPTS {
            match self.loads.0.get(key.as_bytes()).await {
                Ok(value) => match decoder.decode(&value) {
                    Ok(value) => return Ok(Some(value)),
                    Err(unused) => decoder = unused,
                },
                Err(LoadError::Absent) => return Ok(None),
                Err(error) => return Err(error),
            }
            self.values.remove_undecodable(key.as_bytes(), &decoder);
        }
        Err(undecodable())
    }
}

/// # Reads that never load
impl<K: OwnedKey, V, C: Codec<V>, L> Typed<K, V, C, L> {
    /// Returns the value under `key` without counting as a read, or `None` if there is no value.
    /// Does not load. Removes a value that does not decode.
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// names.insert(&1, &"Ada".to_string())?;
    /// assert_eq!(names.peek(&1).as_deref(), Some("Ada"));
    /// assert_eq!(names.stats().hits, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        let Values { space, codec, .. } = &*self.values;
        let key = own_bytes(key);
        let bytes = space.peek(key.as_bytes())?;
        let value = codec.decode(&bytes);
        if value.is_none() {
            space.remove_undecodable(key.as_bytes(), |bytes| !is_whole(codec, bytes));
        }
        value
    }

    /// Returns `true` if there is an entry under `key`, without counting as a read. The value is
    /// not decoded.
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// assert!(!names.contains_key(&1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        self.values.space.contains_key(own_bytes(key).as_bytes())
    }

    /// Calls `each` with the key and the value of every entry. Skips entries that do not decode,
    /// and does not remove them. See [`Namespace::for_each`](crate::Namespace::for_each).
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// names.insert(&1, &"Ada".to_string())?;
    /// names.for_each(|key, name| assert_eq!((key, name.as_str()), (1, "Ada")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_each(&self, mut each: impl FnMut(K, V)) {
        let Values { space, codec, .. } = &*self.values;
        space.for_each(|key, bytes| {
            if let (Some(key), Some(value)) = (K::read(key), codec.decode(bytes)) {
                each(key, value);
            }
        });
    }
}

/// Returns `true` if these are the bytes of a value.
pub(super) fn is_whole<V, C: Codec<V>>(codec: &C, bytes: &[u8]) -> bool {
    codec.decode(bytes).is_some()
}
