//! [`TypedTiered`]: typed keys and values over a [`Tiered`].

use core::borrow::Borrow;
use core::fmt;
use core::future::Future;
use core::marker::PhantomData;
use std::sync::Arc;

use bytecache::Value;
use bytecache::typed::{Codec, Key, KeyBuffer, OwnedKey};

use crate::batch::WRONG_NUMBER;
use crate::error::{BoxError, Error, SetupError};
use crate::load::Answer;
use crate::tiered::{Tiered, TieredBuilder};

/// A [`Tiered`] with typed keys and values. A codec of [`bytecache::typed`] converts the values.
///
/// Other instances read what this one has written. So give values of another type or codec another
/// name: they do not decode.
///
/// A clone is a handle of the same namespace.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bytecache::Cache;
/// use bytecache::typed::Utf8;
/// use bytecache_redis::{Remote, Tiered, TypedTiered};
///
/// async fn name(id: u64) -> Result<Option<String>, std::io::Error> {
///     Ok((id == 1).then(|| "Ada".to_string())) // From a database.
/// }
///
/// let cache = Cache::new(64 << 20)?;
/// let remote = Remote::builder(redis::Client::open("redis://127.0.0.1:6379")?).connect()?;
/// let names: TypedTiered<u64, String, Utf8> =
///     Tiered::builder(&cache, &remote, "names").build_typed(Utf8, name)?;
/// assert_eq!(names.get(&1).await?.as_deref(), Some("Ada"));
/// # Ok(())
/// # }
/// ```
pub struct TypedTiered<K, V, C> {
    tiered: Tiered,
    codec: Arc<C>,
    types: PhantomData<fn(K) -> V>,
}

impl TieredBuilder {
    /// Builds the namespace with typed keys and values. `load` loads a missing value from the
    /// store. It returns `None` if there is nothing.
    ///
    /// A key that is not the bytes of a `K`, from [`TypedTiered::tiered`], is not loaded.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build).
    pub fn build_typed<K, V, C, F, T, E>(self, codec: C, load: F) -> Result<TypedTiered<K, V, C>, SetupError>
    where
        K: OwnedKey,
        V: 'static,
        C: Codec<V>,
        F: Fn(K) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Option<V>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let codec = Arc::new(codec);
        let encoder = Arc::clone(&codec);
        let tiered = self.build(move |key| {
            let loading = K::read(&key).map(&load);
            let codec = Arc::clone(&encoder);
            async move {
                let Some(loading) = loading else { return Ok(None) };
                encoded(&*codec, loading.await.map_err(Into::into)?)
            }
        })?;
        Ok(TypedTiered { tiered, codec, types: PhantomData })
    }

    /// Like [`build_typed`](Self::build_typed), with a loader of several keys at once, at most
    /// `max_keys`. `load` returns a value, or `None`, for each key, in order. See
    /// [`build_batched`](Self::build_batched).
    ///
    /// A value that cannot be encoded is an error of all keys of its batch.
    ///
    /// # Errors
    ///
    /// Those of [`build`](Self::build).
    ///
    /// ```no_run
    /// # fn example(builder: bytecache_redis::TieredBuilder) -> Result<(), bytecache_redis::SetupError> {
    /// use bytecache::typed::Utf8;
    /// use bytecache_redis::TypedTiered;
    ///
    /// let names: TypedTiered<u64, String, Utf8> = builder.build_typed_batched(Utf8, 256, |ids: Vec<u64>| async move {
    ///     // By one query of a database.
    ///     Ok::<_, std::io::Error>(ids.iter().map(|id| Some(id.to_string())).collect())
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn build_typed_batched<K, V, C, F, T, E>(
        self,
        codec: C,
        max_keys: usize,
        load: F,
    ) -> Result<TypedTiered<K, V, C>, SetupError>
    where
        K: OwnedKey,
        V: 'static,
        C: Codec<V>,
        F: Fn(Vec<K>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<Vec<Option<V>>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let codec = Arc::new(codec);
        let encoder = Arc::clone(&codec);
        let tiered = self.build_batched(max_keys, move |keys| {
            let keys: Vec<Option<K>> = keys.iter().map(|key| K::read(key)).collect();
            let are_keys: Vec<bool> = keys.iter().map(Option::is_some).collect();
            let keys: Vec<K> = keys.into_iter().flatten().collect();
            let count = keys.len();
            let loading = (count > 0).then(|| load(keys));
            let codec = Arc::clone(&encoder);
            async move {
                let values = match loading {
                    Some(loading) => loading.await.map_err(Into::into)?,
                    None => vec![],
                };
                if values.len() != count {
                    return Err(WRONG_NUMBER.into());
                }
                let mut values = values.into_iter();
                let value_of = |is_key| if is_key { values.next().flatten() } else { None };
                are_keys.into_iter().map(value_of).map(|value| encoded(&*codec, value)).collect()
            }
        })?;
        Ok(TypedTiered { tiered, codec, types: PhantomData })
    }
}

/// Returns the bytes of a value that was loaded.
fn encoded<V, C: Codec<V>>(codec: &C, value: Option<V>) -> Answer {
    let Some(value) = value else { return Ok(None) };
    let mut bytes = Vec::new();
    codec.encode(&value, &mut bytes)?;
    Ok(Some(bytes))
}

impl<K, V, C> TypedTiered<K, V, C> {
    /// Returns the namespace of bytes.
    #[must_use]
    pub fn tiered(&self) -> &Tiered {
        &self.tiered
    }
}

impl<K: OwnedKey, V, C: Codec<V>> TypedTiered<K, V, C> {
    /// Returns the value under `key`, or `None` if there is none. See [`Tiered::get`].
    ///
    /// # Errors
    ///
    /// Those of [`Tiered::get`], and [`Error::Undecodable`] if the bytes are not those of a value.
    ///
    /// # Cost
    ///
    /// Like [`Tiered::get`], and the decoding. A codec with an alignment above that of the cache
    /// needs a copy of the bytes.
    ///
    /// ```no_run
    /// # use bytecache::typed::Utf8;
    /// # use bytecache_redis::TypedTiered;
    /// # async fn example(names: TypedTiered<u64, String, Utf8>) -> Result<(), bytecache_redis::Error> {
    /// let name: Option<String> = names.get(&1).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get<Q>(&self, key: &Q) -> Result<Option<V>, Error>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        self.decode(self.tiered.get(bytes_of(key).as_bytes()).await)
    }

    /// Returns the values under `keys`, in order. See [`Tiered::get_many`].
    ///
    /// # Errors
    ///
    /// Each key has a result of its own, as of [`get`](Self::get).
    ///
    /// ```no_run
    /// # use bytecache::typed::Utf8;
    /// # use bytecache_redis::TypedTiered;
    /// # async fn example(names: TypedTiered<u64, String, Utf8>) {
    /// for name in names.get_many(&[1, 2]).await {
    ///     println!("{name:?}");
    /// }
    /// # }
    /// ```
    pub async fn get_many<Q>(&self, keys: &[Q]) -> Vec<Result<Option<V>, Error>>
    where
        K: Borrow<Q>,
        Q: Key,
    {
        let keys: Vec<_> = keys.iter().map(|key| bytes_of(key).as_bytes().to_vec()).collect();
        self.tiered.get_many(&keys).await.into_iter().map(|value| self.decode(value)).collect()
    }

    /// Stores `value` under `key` in both tiers. See [`Tiered::insert`].
    ///
    /// # Errors
    ///
    /// Those of [`Tiered::insert`], and [`Error::Unencodable`], which changes nothing.
    ///
    /// ```no_run
    /// # use bytecache::typed::Utf8;
    /// # use bytecache_redis::TypedTiered;
    /// # async fn example(names: TypedTiered<u64, String, Utf8>) -> Result<(), bytecache_redis::Error> {
    /// names.insert(&1, &"Ada".to_string()).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn insert<Q>(&self, key: &Q, value: &V) -> Result<(), Error>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        let mut bytes = Vec::new();
        self.codec.encode(value, &mut bytes).map_err(Error::Unencodable)?;
        self.tiered.insert(bytes_of(key).as_bytes(), bytes).await
    }

    /// Removes the value under `key` from both tiers, of all instances. See [`Tiered::remove`].
    ///
    /// # Errors
    ///
    /// Those of [`Tiered::remove`].
    ///
    /// ```no_run
    /// # use bytecache::typed::Utf8;
    /// # use bytecache_redis::TypedTiered;
    /// # async fn example(names: TypedTiered<u64, String, Utf8>) -> Result<(), bytecache_redis::Error> {
    /// names.remove(&1).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "invalidate")]
    pub async fn remove<Q>(&self, key: &Q) -> Result<(), Error>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        self.tiered.remove(bytes_of(key).as_bytes()).await
    }

    fn decode(&self, value: Result<Option<Value>, Error>) -> Result<Option<V>, Error> {
        let Some(value) = value? else { return Ok(None) };
        let alignment = self.codec.alignment();
        let decoded = match value.as_ptr().align_offset(alignment) {
            0 => self.codec.decode(&value),
            _ => {
                let mut copy = vec![0; value.len() + alignment];
                let start = copy.as_ptr().align_offset(alignment);
                let aligned = copy.get_mut(start..start.saturating_add(value.len())).ok_or(Error::Undecodable)?;
                aligned.copy_from_slice(&value);
                self.codec.decode(aligned)
            }
        };
        decoded.map(Some).ok_or(Error::Undecodable)
    }
}

fn bytes_of<Q: Key + ?Sized>(key: &Q) -> KeyBuffer {
    let mut bytes = KeyBuffer::default();
    key.write(&mut bytes);
    bytes
}

impl<K, V, C> Clone for TypedTiered<K, V, C> {
    fn clone(&self) -> Self {
        Self { tiered: self.tiered.clone(), codec: Arc::clone(&self.codec), types: PhantomData }
    }
}

impl<K, V, C> fmt::Debug for TypedTiered<K, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedTiered").field("tiered", &self.tiered).finish_non_exhaustive()
    }
}
