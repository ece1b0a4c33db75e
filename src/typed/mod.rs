//! Namespaces with typed keys and values: [`Typed`].
//!
//! ```text
//!   key   --Key------> bytes of the namespace's key   \
//!                                                      Namespace, Loader
//!   value --Codec----> bytes of the entry's value     /
//!   value <--Codec---- bytes, in place, validated
//! ```
//!
//! A [`Typed`] is a [`Namespace`] with a [`Codec`], and in most cases with a loader.
//! [`NamespaceBuilder::typed`] begins to build one. The page [`docs::typed`](crate::docs::typed) is
//! the guide.
//!
//! | codec | feature | values | read in place |
//! |---|---|---|---|
//! | `Postcard` | `postcard` | types of serde | no |
//! | `Zerocopy` | `zerocopy` | types whose bytes are their value | yes |
//! | `Rkyv` | `rkyv` | types of rkyv | yes |
//! | [`RawBytes`] | | `Vec<u8>`, `Box<[u8]>` | yes |
//! | [`Utf8`] | | `String`, `Box<str>` | yes |
//! | [`Counter`] | | `i64` | no |
//!
//! [`NamespaceBuilder::typed`]: crate::NamespaceBuilder::typed

mod builder;
mod codec;
mod decoders;
#[cfg(any(feature = "postcard", feature = "zerocopy", feature = "rkyv"))]
mod foreign;
mod key;
mod many;
mod newtype;
mod present;
mod read;
mod runtime;
mod source;
mod write;

use core::borrow::Borrow;
use core::fmt;
use core::marker::PhantomData;
use std::sync::Arc;

pub use builder::TypedBuilder;
pub use codec::{Codec, Counter, EncodeError, RawBytes, Utf8, ViewCodec};
#[cfg(any(feature = "postcard", feature = "zerocopy", feature = "rkyv"))]
pub use foreign::*;
pub use key::{Key, OwnedKey};
pub use source::{NoLoads, SharedError, Tasks, Threads};

pub use crate::namespace::KeyBuffer;

use crate::cache::Namespace;
use crate::error::Error;
use crate::expiry::Lifetime;
use crate::stats::Stats;

/// A [`Namespace`] whose keys have the type `K` and whose values have the type `V`, converted by
/// the [`Codec`] `C`.
///
/// It is a cheap handle, and clones are the same namespace. Its type names no function, so a struct
/// can have a field of this type. `L` is the kind of loads:
///
/// | `L` | built by | reads |
/// |---|---|---|
/// | [`Tasks`], the default | [`build_async`](TypedBuilder::build_async), [`build_batched_async`](TypedBuilder::build_batched_async) | are futures, which load what is missing |
/// | [`Threads`] | [`build_loader`](TypedBuilder::build_loader), [`build_batched_loader`](TypedBuilder::build_batched_loader) | load what is missing |
/// | [`NoLoads`] | [`build`](TypedBuilder::build) | find what was inserted |
///
/// A read of a value that does not decode is a miss. The value is removed, and counted in
/// [`Stats::undecodable`](crate::Stats::undecodable). A write of a value that does not encode
/// fails, and removes the older entry. It is counted in
/// [`Stats::unencodable`](crate::Stats::unencodable).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io;
/// use std::time::Duration;
/// use bytecache::typed::Utf8;
/// use bytecache::{Cache, Typed};
///
/// /// Reads a name from a database.
/// async fn name(id: u64) -> Result<Option<String>, io::Error> {
///     Ok((id == 1).then(|| "Ada".to_string()))
/// }
///
/// struct Service {
///     names: Typed<u64, String, Utf8>,
/// }
///
/// let cache = Cache::new(1 << 20)?;
/// let names = cache
///     .namespace("names")
///     .version(3)
///     .typed(Utf8)
///     .ttl(Duration::from_secs(600))
///     .negative_ttl(Duration::from_secs(30))
///     .build_async(name)?;
/// let service = Service { names };
///
/// assert_eq!(service.names.get(&1).await?.as_deref(), Some("Ada"));
/// assert_eq!(service.names.get(&2).await?, None); // Remembered for half a minute.
/// service.names.insert(&2, &"Grace".to_string())?;
/// assert!(service.names.remove(&1));
/// service.names.invalidate_all();
/// assert_eq!(service.names.stats().loads, 2);
/// # Ok(())
/// # }
/// ```
pub struct Typed<K, V, C, L = Tasks> {
    values: Arc<Values<C>>,
    loads: L,
    types: PhantomData<fn(K) -> V>,
}

/// A namespace, with the codec and the lifetime of its values.
struct Values<C> {
    space: Namespace,
    codec: C,
    lifetime: Lifetime,
}

impl<K, V, C, L> Typed<K, V, C, L> {
    /// Returns the namespace, whose operations are on bytes.
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u16, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// names.insert(&258, &"Ada".to_string())?;
    /// assert_eq!(names.namespace().get([1, 2]).as_deref(), Some(&b"Ada"[..]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.values.space
    }

    /// Removes all entries of the namespace, in all its versions. See
    /// [`Namespace::invalidate_all`].
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// names.insert(&1, &"Ada".to_string())?;
    /// names.invalidate_all();
    /// assert!(names.get(&1).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn invalidate_all(&self) {
        self.values.space.invalidate_all();
    }

    /// Returns the counters of the namespace. See [`Namespace::stats`].
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// assert!(names.get(&1).is_none());
    /// assert_eq!(names.stats().misses, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.values.space.stats()
    }

    /// Returns the bytes of a key, for an [`Invalidation`](crate::Invalidation) and for the methods
    /// of the [namespace](Self::namespace).
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Invalidation, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u16, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// names.insert(&258, &"Ada".to_string())?;
    /// assert_eq!(names.key_bytes(&258), [1, 2]);
    /// cache.apply(Invalidation::KeyIn("names", &names.key_bytes(&258)));
    /// assert!(names.get(&258).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn key_bytes<Q>(&self, key: &Q) -> Vec<u8>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        own_bytes(key).as_bytes().to_vec()
    }

    /// Writes the stored key to an empty buffer.
    #[inline(always)]
    fn write_stored_key<Q>(&self, key: &Q, buffer: &mut KeyBuffer)
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        self.values.space.begin_key(buffer);
        key.write(buffer);
    }
}

/// Returns the bytes of a key without a prefix.
fn own_bytes<Q: Key + ?Sized>(key: &Q) -> KeyBuffer {
    let mut buffer = KeyBuffer::default();
    key.write(&mut buffer);
    buffer
}

impl<C> Values<C> {
    /// Returns the bytes of a value.
    fn encode<V>(&self, value: &V) -> Result<Vec<u8>, EncodeError>
    where
        C: Codec<V>,
    {
        let mut bytes = Vec::new();
        self.codec.encode(value, &mut bytes)?;
        Ok(bytes)
    }

    /// Returns the bytes of a value for a store under `key`. If the value does not encode, removes
    /// the older entry.
    fn encode_for<V>(&self, key: &[u8], value: &V) -> Result<Vec<u8>, Error>
    where
        C: Codec<V>,
    {
        self.encode(value).map_err(|error| {
            self.space.refuse_unencodable(key);
            Error::Unencodable { reason: error.into_reason() }
        })
    }
}

impl<K, V, C, L: Clone> Clone for Typed<K, V, C, L> {
    fn clone(&self) -> Self {
        Self { values: Arc::clone(&self.values), loads: self.loads.clone(), types: PhantomData }
    }
}

impl<K, V, C, L> fmt::Debug for Typed<K, V, C, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").field("namespace", &self.values.space).finish_non_exhaustive()
    }
}
