//! [`Key`]: types as keys of a typed namespace.
//!
//! Texts and bytes are written as they are, and integers in big-endian order. So keys need no
//! length, and a process that only knows bytes can name them. A tuple writes the length of a part
//! of variable length before the part, in two bytes. The last part needs no length.

use super::KeyBuffer;

/// A type whose values are written as keys.
///
/// Different values are written as different bytes. If a type can be borrowed as another type, as
/// `String` can as `str`, both write the same bytes.
///
/// For a struct around a key, such as `UserId(u64)`, [`newtype_key!`](crate::newtype_key)
/// implements this trait and [`OwnedKey`] in one line. For another type, implement both:
///
/// ```
/// use bytecache::typed::{Key, KeyBuffer, OwnedKey};
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// struct Tile {
///     x: u32,
///     y: u32,
/// }
///
/// impl Key for Tile {
///     fn write(&self, key: &mut KeyBuffer) {
///         (self.x, self.y).write(key);
///     }
/// }
///
/// impl OwnedKey for Tile {
///     fn read(key: &[u8]) -> Option<Self> {
///         <(u32, u32)>::read(key).map(|(x, y)| Tile { x, y })
///     }
/// }
///
/// let mut key = KeyBuffer::default();
/// Tile { x: 7, y: 8 }.write(&mut key);
/// assert_eq!(Tile::read(key.as_bytes()), Some(Tile { x: 7, y: 8 }));
/// ```
pub trait Key {
    /// The number of bytes of every key of this type, or `None` if keys have different lengths.
    const BYTES: Option<usize> = None;

    /// Appends the bytes of the key.
    ///
    /// ```
    /// use bytecache::typed::{Key, KeyBuffer};
    ///
    /// let mut key = KeyBuffer::default();
    /// ("en", 7_u16).write(&mut key);
    /// assert_eq!(key.as_bytes(), b"\x00\x02en\x00\x07");
    /// ```
    fn write(&self, key: &mut KeyBuffer);
}

/// A [`Key`] that can be read from its bytes: the type of the keys of a [`Typed`](crate::Typed).
pub trait OwnedKey: Key + Sized + Send + Sync + 'static {
    /// Returns the key with these bytes, or `None` if they are not the bytes of a key.
    ///
    /// ```
    /// use bytecache::typed::OwnedKey;
    ///
    /// assert_eq!(u16::read(&[1, 2]), Some(0x102));
    /// assert_eq!(u16::read(&[1, 2, 3]), None);
    /// assert_eq!(String::read(b"user"), Some("user".to_string()));
    /// ```
    fn read(key: &[u8]) -> Option<Self>;
}

impl<T: Key + ?Sized> Key for &T {
    const BYTES: Option<usize> = T::BYTES;

    #[inline]
    fn write(&self, key: &mut KeyBuffer) {
        (**self).write(key);
    }
}

macro_rules! bytes {
    ($($type:ty)*) => {$(
        impl Key for $type {
            #[inline]
            fn write(&self, key: &mut KeyBuffer) {
                key.push(self.as_ref());
            }
        }
    )*};
}

bytes! { str String [u8] Vec<u8> Box<[u8]> }

impl Key for Box<str> {
    #[inline]
    fn write(&self, key: &mut KeyBuffer) {
        key.push(self.as_bytes());
    }
}

macro_rules! read_text {
    ($($type:ty)*) => {$(
        impl OwnedKey for $type {
            fn read(key: &[u8]) -> Option<Self> {
                core::str::from_utf8(key).ok().map(Self::from)
            }
        }
    )*};
}

read_text! { String Box<str> }

macro_rules! read_bytes {
    ($($type:ty)*) => {$(
        impl OwnedKey for $type {
            fn read(key: &[u8]) -> Option<Self> {
                Some(key.into())
            }
        }
    )*};
}

read_bytes! { Vec<u8> Box<[u8]> }

impl<const N: usize> Key for [u8; N] {
    const BYTES: Option<usize> = Some(N);

    #[inline]
    fn write(&self, key: &mut KeyBuffer) {
        key.push(self);
    }
}

impl<const N: usize> OwnedKey for [u8; N] {
    fn read(key: &[u8]) -> Option<Self> {
        key.try_into().ok()
    }
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl Key for $type {
            const BYTES: Option<usize> = Some(size_of::<Self>());

            #[inline]
            fn write(&self, key: &mut KeyBuffer) {
                key.push(&self.to_be_bytes());
            }
        }

        impl OwnedKey for $type {
            fn read(key: &[u8]) -> Option<Self> {
                key.try_into().ok().map(Self::from_be_bytes)
            }
        }
    )*};
}

integers! { u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 }

#[cfg(feature = "uuid")]
#[cfg_attr(docsrs, doc(cfg(feature = "uuid")))]
impl Key for uuid::Uuid {
    const BYTES: Option<usize> = Some(16);

    #[inline]
    fn write(&self, key: &mut KeyBuffer) {
        key.push(self.as_bytes());
    }
}

#[cfg(feature = "uuid")]
#[cfg_attr(docsrs, doc(cfg(feature = "uuid")))]
impl OwnedKey for uuid::Uuid {
    fn read(key: &[u8]) -> Option<Self> {
        Self::from_slice(key).ok()
    }
}

/// Writes a part of a tuple that is not the last one.
#[inline]
fn write_part<T: Key + ?Sized>(part: &T, key: &mut KeyBuffer) {
    match T::BYTES {
        Some(_) => part.write(key),
        None => key.push_with_length(|key| part.write(key)),
    }
}

/// Reads a part of a tuple that is not the last one. Returns it and the other parts.
fn read_part<T: OwnedKey>(key: &[u8]) -> Option<(T, &[u8])> {
    let (length, key) = match T::BYTES {
        Some(bytes) => (bytes, key),
        None => {
            let (length, key) = key.split_first_chunk()?;
            (u16::from_be_bytes(*length).into(), key)
        }
    };
    let (part, others) = key.split_at_checked(length)?;
    Some((T::read(part)?, others))
}

/// Returns the length of a tuple whose parts have these lengths.
const fn sum(parts: &[Option<usize>]) -> Option<usize> {
    let (mut sum, mut index) = (0, 0);
    while index < parts.len() {
        match parts[index] {
            Some(bytes) => sum += bytes,
            None => return None,
        }
        index += 1;
    }
    Some(sum)
}

macro_rules! tuples {
    ($(($($part:ident)* , $last:ident))*) => {$(
        #[allow(non_snake_case, reason = "the types of parts name their values")]
        impl<$($part: Key,)* $last: Key> Key for ($($part,)* $last,) {
            const BYTES: Option<usize> = sum(&[$($part::BYTES,)* $last::BYTES]);

            #[inline]
            fn write(&self, key: &mut KeyBuffer) {
                let ($($part,)* $last,) = self;
                $(write_part($part, key);)*
                $last.write(key);
            }
        }

        #[allow(non_snake_case, reason = "the types of parts name their values")]
        impl<$($part: OwnedKey,)* $last: OwnedKey> OwnedKey for ($($part,)* $last,) {
            fn read(key: &[u8]) -> Option<Self> {
                $(let ($part, key) = read_part(key)?;)*
                Some(($($part,)* $last::read(key)?,))
            }
        }
    )*};
}

tuples! { (A, B) (A B, C) (A B C, D) (A B C D, E) }

#[cfg(test)]
mod tests {
    use core::fmt::Debug;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Id(u32);
    #[derive(Debug, PartialEq)]
    struct Name(String);

    bytecache::newtype_key!(Id(u32), Name(String));

    fn bytes<K: Key + ?Sized>(key: &K) -> Vec<u8> {
        let mut buffer = KeyBuffer::default();
        key.write(&mut buffer);
        buffer.as_bytes().to_vec()
    }

    fn assert_read_back<K: OwnedKey + PartialEq + Debug>(key: K) {
        let written = bytes(&key);
        assert!(K::BYTES.is_none_or(|length| length == written.len()));
        assert_eq!(K::read(&written), Some(key));
    }

    #[test]
    fn each_key_is_read_back() {
        assert_read_back("user".to_string());
        assert_read_back(vec![0_u8, 255]);
        assert_read_back(*b"four");
        assert_read_back(u64::MAX - 1);
        assert_read_back(-2_i128);
        assert_read_back((7_u8, "en".to_string()));
        assert_read_back(("en".to_string(), vec![1_u8], "x".repeat(70)));
        assert_read_back(("x".repeat(70), 9_u32, [1_u8; 3], (1_u8, "a".to_string())));
        assert_read_back(Id(7));
        assert_read_back((Name("en".to_string()), Id(7), Name("x".repeat(70))));
        #[cfg(feature = "uuid")]
        assert_read_back(uuid::Uuid::from_u128(7));
    }

    #[test]
    fn a_borrowed_key_is_written_as_the_owned_one() {
        assert_eq!(bytes("user"), bytes(&"user".to_string()));
        assert_eq!(bytes(&[1_u8, 2][..]), bytes(&vec![1_u8, 2]));
        assert_eq!(bytes(&("en", 7_u16)), bytes(&("en".to_string(), 7_u16)));
    }

    #[test]
    fn a_struct_around_a_key_is_written_as_the_key() {
        assert_eq!(bytes(&(Name("en".to_string()), Id(7))), bytes(&("en", 7_u32)));
        assert_eq!((Id::BYTES, Name::BYTES, Id::read(&[0; 5])), (Some(4), None, None));
    }

    #[test]
    fn tuples_whose_texts_are_divided_elsewhere_are_different_keys() {
        assert_ne!(bytes(&("ab", "c")), bytes(&("a", "bc")));
        assert_ne!(bytes(&("", "ab", "c")), bytes(&("a", "b", "c")));
    }

    #[test]
    fn bytes_of_another_shape_are_no_key() {
        assert_eq!(u32::read(&[0; 5]), None);
        assert_eq!(String::read(&[0xff]), None);
        assert_eq!(<(String, u8)>::read(b"\x00\x09short"), None);
        assert_eq!(<(u32, u8)>::read(&[0; 3]), None);
        assert_eq!(<(String, u8)>::read(b"\x00"), None);
    }
}
