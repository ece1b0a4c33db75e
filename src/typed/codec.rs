//! [`Codec`]: the conversion of values to bytes and back, and the codecs that need no other crate.

use core::fmt;

/// The conversion of values of type `V` to bytes and back.
///
/// The features `postcard`, `zerocopy` and `rkyv` add codecs for many types. Implement this trait
/// for a format of your own.
///
/// ```
/// use bytecache::typed::{Codec, EncodeError};
/// use bytecache::{Cache, Typed};
///
/// /// Points, as two numbers with a comma between them.
/// struct Commas;
///
/// impl Codec<(i32, i32)> for Commas {
///     fn encode(&self, &(x, y): &(i32, i32), bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
///         bytes.extend(format!("{x},{y}").as_bytes());
///         Ok(())
///     }
///
///     fn decode(&self, bytes: &[u8]) -> Option<(i32, i32)> {
///         let (x, y) = core::str::from_utf8(bytes).ok()?.split_once(',')?;
///         Some((x.parse().ok()?, y.parse().ok()?))
///     }
/// }
///
/// let cache = Cache::new(1 << 20)?;
/// let points: Typed<u32, _, _, _> = cache.namespace("points").typed(Commas).build()?;
/// points.insert(&7, &(3, -4))?;
/// assert_eq!(points.get(&7), Some((3, -4)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Codec<V>: Send + Sync + 'static {
    /// Appends the bytes of a value.
    ///
    /// # Errors
    ///
    /// An [`EncodeError`] if the value cannot be encoded. Then it is not stored, and the older
    /// entry is removed.
    ///
    /// ```
    /// use bytecache::typed::{Codec, Utf8};
    ///
    /// let mut bytes = vec![];
    /// Utf8.encode(&"Ada".to_string(), &mut bytes)?;
    /// assert_eq!(bytes, b"Ada");
    /// # Ok::<(), bytecache::typed::EncodeError>(())
    /// ```
    fn encode(&self, value: &V, bytes: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Returns the value with these bytes, or `None` if they are not the bytes of a value. With
    /// `None`, the entry is removed and the read is a miss.
    ///
    /// The entry is held during the call, as for the closure of
    /// [`Cache::view`](crate::Cache::view).
    ///
    /// ```
    /// use bytecache::typed::{Codec, Utf8};
    ///
    /// assert_eq!(Utf8.decode(b"Ada"), Some("Ada".to_string()));
    /// assert_eq!(Utf8.decode(&[0xff]), None::<String>);
    /// ```
    fn decode(&self, bytes: &[u8]) -> Option<V>;

    /// Returns the alignment that the bytes of a value need, in bytes. The default is 1.
    ///
    /// If it is above the cache's [`value_alignment`](crate::CacheBuilder::value_alignment),
    /// building a [`Typed`](crate::Typed) fails with
    /// [`BuildError::CodecAlignment`](crate::BuildError::CodecAlignment).
    ///
    /// ```
    /// use bytecache::typed::{Codec, Utf8};
    ///
    /// assert_eq!(Codec::<String>::alignment(&Utf8), 1);
    /// ```
    fn alignment(&self) -> usize {
        1
    }
}

/// A [`Codec`] whose values can be read in place, without decoding.
pub trait ViewCodec<V>: Codec<V> {
    /// The type that the bytes of a value are read as.
    type View: ?Sized;

    /// Returns a reference to the value in these bytes, or `None` if they are not the bytes of one.
    ///
    /// ```
    /// use bytecache::typed::{Utf8, ViewCodec};
    ///
    /// assert_eq!(ViewCodec::<String>::view(&Utf8, b"Ada"), Some("Ada"));
    /// ```
    fn view<'a>(&self, bytes: &'a [u8]) -> Option<&'a Self::View>;
}

/// The reason why a codec did not encode a value, as a message.
///
/// ```
/// use bytecache::typed::EncodeError;
///
/// let error = EncodeError::new("a length does not fit");
/// assert_eq!(error.to_string(), "a length does not fit");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodeError {
    reason: String,
}

impl EncodeError {
    /// Creates an error with this message.
    ///
    /// ```
    /// use bytecache::typed::EncodeError;
    ///
    /// assert_eq!(EncodeError::new(7).to_string(), "7");
    /// ```
    #[must_use]
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string() }
    }

    pub(super) fn into_reason(self) -> String {
        self.reason
    }
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl core::error::Error for EncodeError {}

/// The codec of values that are bytes: `Vec<u8>` and `Box<[u8]>`, read in place as `[u8]`.
///
/// ```
/// use bytecache::typed::RawBytes;
/// use bytecache::{Cache, Typed};
///
/// let cache = Cache::new(1 << 20)?;
/// let icons: Typed<String, Vec<u8>, _, _> = cache.namespace("icons").typed(RawBytes).build()?;
/// icons.insert("home", &vec![1, 2, 3])?;
/// assert_eq!(icons.view("home", |bytes| bytes.len()), Some(3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RawBytes;

/// The codec of texts: `String` and `Box<str>`, read in place as `str`.
///
/// ```
/// use bytecache::typed::Utf8;
/// use bytecache::{Cache, Typed};
///
/// let cache = Cache::new(1 << 20)?;
/// let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
/// names.insert(&1, &"Ada".to_string())?;
/// assert_eq!(names.get(&1).as_deref(), Some("Ada"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8;

/// The codec of counters: `i64`, as eight bytes, the lowest first.
///
/// A [`Typed`](crate::Typed) with this codec has [`increment`](crate::Typed::increment).
///
/// ```
/// use bytecache::typed::Counter;
/// use bytecache::{Cache, Typed};
///
/// let cache = Cache::new(1 << 20)?;
/// let visits: Typed<String, i64, _, _> = cache.namespace("visits").typed(Counter).build()?;
/// assert_eq!(visits.increment("index", 2)?, 2);
/// assert_eq!(visits.get("index"), Some(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter;

macro_rules! raw {
    ($($type:ty)*) => {$(
        impl Codec<$type> for RawBytes {
            fn encode(&self, value: &$type, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
                bytes.extend_from_slice(value);
                Ok(())
            }

            fn decode(&self, bytes: &[u8]) -> Option<$type> {
                Some(bytes.into())
            }
        }

        impl ViewCodec<$type> for RawBytes {
            type View = [u8];

            fn view<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
                Some(bytes)
            }
        }
    )*};
}

raw! { Vec<u8> Box<[u8]> }

macro_rules! texts {
    ($($type:ty)*) => {$(
        impl Codec<$type> for Utf8 {
            fn encode(&self, value: &$type, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
                bytes.extend_from_slice(value.as_bytes());
                Ok(())
            }

            fn decode(&self, bytes: &[u8]) -> Option<$type> {
                core::str::from_utf8(bytes).ok().map(<$type>::from)
            }
        }

        impl ViewCodec<$type> for Utf8 {
            type View = str;

            fn view<'a>(&self, bytes: &'a [u8]) -> Option<&'a str> {
                core::str::from_utf8(bytes).ok()
            }
        }
    )*};
}

texts! { String Box<str> }

impl Codec<i64> for Counter {
    fn encode(&self, value: &i64, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
        bytes.extend_from_slice(&value.to_le_bytes());
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Option<i64> {
        bytes.try_into().ok().map(i64::from_le_bytes)
    }
}
