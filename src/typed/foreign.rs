//! The codecs that other crates provide, each behind a feature.

#[cfg(feature = "postcard")]
#[cfg_attr(docsrs, doc(cfg(feature = "postcard")))]
pub use with_postcard::Postcard;
#[cfg(feature = "rkyv")]
#[cfg_attr(docsrs, doc(cfg(feature = "rkyv")))]
pub use with_rkyv::Rkyv;
#[cfg(feature = "zerocopy")]
#[cfg_attr(docsrs, doc(cfg(feature = "zerocopy")))]
pub use with_zerocopy::Zerocopy;

#[cfg(feature = "postcard")]
mod with_postcard {
    use serde::Serialize;
    use serde::de::DeserializeOwned;

    use crate::typed::{Codec, EncodeError};

    /// The codec of types of serde: the compact format of the crate `postcard`.
    ///
    /// The bytes contain no names and no types. Set another
    /// [version](crate::NamespaceBuilder::version) when you change a type. A value with bytes left
    /// over does not decode.
    ///
    /// ```
    /// use bytecache::typed::Postcard;
    /// use bytecache::{Cache, Typed};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct User {
    ///     name: String,
    ///     age: u32,
    /// }
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let users: Typed<u64, User, Postcard, _> =
    ///     cache.namespace("users").version(1).typed(Postcard).build()?;
    /// let ada = User { name: "Ada".to_string(), age: 36 };
    /// users.insert(&1, &ada)?;
    /// assert_eq!(users.get(&1), Some(ada));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Postcard;

    impl<V: Serialize + DeserializeOwned> Codec<V> for Postcard {
        fn encode(&self, value: &V, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
            *bytes = postcard::to_extend(value, core::mem::take(bytes)).map_err(EncodeError::new)?;
            Ok(())
        }

        #[inline]
        fn decode(&self, bytes: &[u8]) -> Option<V> {
            let (value, rest) = postcard::take_from_bytes(bytes).ok()?;
            rest.is_empty().then_some(value)
        }
    }
}

#[cfg(feature = "zerocopy")]
mod with_zerocopy {
    use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

    use crate::typed::{Codec, EncodeError, ViewCodec};

    /// The codec of types whose bytes are their value: those of the crate `zerocopy`.
    ///
    /// Values are read in place, after their bytes were validated. The cache needs the
    /// [`value_alignment`](crate::CacheBuilder::value_alignment) of the type.
    ///
    /// ```
    /// use bytecache::typed::Zerocopy;
    /// use bytecache::{Cache, Typed};
    /// use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};
    ///
    /// #[derive(Immutable, IntoBytes, KnownLayout, TryFromBytes)]
    /// #[repr(C)]
    /// struct Score {
    ///     points: u32,
    ///     rank: u32,
    /// }
    ///
    /// let cache = Cache::builder().max_bytes(1 << 20).value_alignment(8).build()?;
    /// let scores: Typed<u64, Score, Zerocopy, _> =
    ///     cache.namespace("scores").typed(Zerocopy).build()?;
    /// scores.insert(&1, &Score { points: 9_000, rank: 3 })?;
    /// assert_eq!(scores.view(&1, |score| score.rank), Some(3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Clone, Copy, Debug, Default)]
    pub struct Zerocopy;

    impl<V: TryFromBytes + IntoBytes + KnownLayout + Immutable> Codec<V> for Zerocopy {
        fn encode(&self, value: &V, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
            bytes.extend_from_slice(value.as_bytes());
            Ok(())
        }

        #[inline]
        fn decode(&self, bytes: &[u8]) -> Option<V> {
            V::try_read_from_bytes(bytes).ok()
        }

        fn alignment(&self) -> usize {
            align_of::<V>()
        }
    }

    impl<V: TryFromBytes + IntoBytes + KnownLayout + Immutable> ViewCodec<V> for Zerocopy {
        type View = V;

        #[inline]
        fn view<'a>(&self, bytes: &'a [u8]) -> Option<&'a V> {
            V::try_ref_from_bytes(bytes).ok()
        }
    }
}

#[cfg(feature = "rkyv")]
mod with_rkyv {
    use rkyv::api::high::{HighDeserializer, HighSerializer, HighValidator, access, from_bytes, to_bytes_in};
    use rkyv::bytecheck::CheckBytes;
    use rkyv::rancor::Error;
    use rkyv::ser::allocator::ArenaHandle;
    use rkyv::{Archive, Deserialize, Portable, Serialize};

    use crate::typed::{Codec, EncodeError, ViewCodec};

    /// The codec of types of the crate `rkyv`.
    ///
    /// Archived values are read in place, after their bytes were validated. Their parts may need
    /// any alignment up to 16 bytes, so the cache needs that
    /// [`value_alignment`](crate::CacheBuilder::value_alignment). If no part needs more than 8,
    /// use [`aligned_to_8`](Self::aligned_to_8).
    ///
    /// ```
    /// use bytecache::typed::Rkyv;
    /// use bytecache::{BuildError, Cache, Typed};
    ///
    /// #[derive(rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
    /// struct User {
    ///     name: String,
    ///     logins: Vec<u64>,
    /// }
    ///
    /// let cache = Cache::builder().max_bytes(1 << 20).value_alignment(16).build()?;
    /// let users: Typed<u64, User, Rkyv, _> = cache.namespace("users").typed(Rkyv::new()).build()?;
    /// users.insert(&1, &User { name: "Ada".to_string(), logins: vec![7, 9] })?;
    /// assert_eq!(users.view(&1, |user| user.logins.len()), Some(2));
    ///
    /// let other = Cache::new(1 << 20)?;
    /// let error = other.namespace("users").typed(Rkyv::new()).build::<u64, User>().unwrap_err();
    /// assert_eq!(error, BuildError::CodecAlignment { needed: 16, alignment: 1 });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[derive(Clone, Copy, Debug)]
    pub struct Rkyv {
        alignment: usize,
    }

    impl Rkyv {
        /// Creates the codec for all types. It needs a `value_alignment` of 16 bytes.
        ///
        /// ```
        /// use bytecache::typed::{Codec, Rkyv};
        ///
        /// assert_eq!(Codec::<u64>::alignment(&Rkyv::new()), 16);
        /// ```
        #[must_use]
        pub const fn new() -> Self {
            Self { alignment: 16 }
        }

        /// Creates the codec for types none of whose parts needs an alignment above 8 bytes, as
        /// `u128` does.
        ///
        /// Values of other types may not decode, since their bytes are validated.
        ///
        /// ```
        /// use bytecache::typed::{Codec, Rkyv};
        ///
        /// assert_eq!(Codec::<u64>::alignment(&Rkyv::aligned_to_8()), 8);
        /// ```
        #[must_use]
        pub const fn aligned_to_8() -> Self {
            Self { alignment: 8 }
        }
    }

    impl Default for Rkyv {
        fn default() -> Self {
            Self::new()
        }
    }

    impl<V> Codec<V> for Rkyv
    where
        V: Archive + for<'a> Serialize<HighSerializer<Vec<u8>, ArenaHandle<'a>, Error>>,
        V::Archived: for<'a> CheckBytes<HighValidator<'a, Error>> + Deserialize<V, HighDeserializer<Error>>,
    {
        fn encode(&self, value: &V, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
            // Positions are counted from the start of the buffer, which has to be that of the
            // value.
            let archive = to_bytes_in::<_, Error>(value, Vec::new()).map_err(EncodeError::new)?;
            bytes.extend_from_slice(&archive);
            Ok(())
        }

        #[inline]
        fn decode(&self, bytes: &[u8]) -> Option<V> {
            from_bytes::<V, Error>(bytes).ok()
        }

        fn alignment(&self) -> usize {
            self.alignment.max(align_of::<V::Archived>())
        }
    }

    impl<V> ViewCodec<V> for Rkyv
    where
        Self: Codec<V>,
        V: Archive,
        V::Archived: Portable + for<'a> CheckBytes<HighValidator<'a, Error>>,
    {
        type View = V::Archived;

        #[inline]
        fn view<'a>(&self, bytes: &'a [u8]) -> Option<&'a V::Archived> {
            access::<V::Archived, Error>(bytes).ok()
        }
    }
}
