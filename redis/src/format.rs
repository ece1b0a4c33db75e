//! The format of entries in Redis: the names of keys, and the bytes that stand for no value.
//!
//! | key in Redis | value |
//! |---|---|
//! | `users:generation` | a decimal number; absent: 0 |
//! | `users:0:KEY` | the plain bytes of the value, of generation 0 |
//! | `users:0:KEY` | `\0bytecache:nothing`: the loader found nothing |
//! | `users:0:KEY` | `\0bytecache:removed:` and 16 hexadecimal digits: a tombstone |
//!
//! A name contains no colon, so the prefix `users:` belongs to one namespace, and prefixes do not
//! overlap, as Redis demands. The digits of a tombstone differ each time: a load that has seen one
//! may replace this one only.

use crate::chance;

/// The bytes with which entries begin that have no value.
pub(crate) const RESERVED: &[u8] = b"\0bytecache:";

/// The entry of a key under which the loader found nothing.
pub(crate) const NOTHING: &[u8] = b"\0bytecache:nothing";

/// Returns the key of an entry.
pub(crate) fn entry_key(name: &str, generation: i64, key: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{name}:{generation}:").into_bytes();
    bytes.extend_from_slice(key);
    bytes
}

/// Returns the key of the number of a namespace's generation.
pub(crate) fn generation_key(name: &str) -> String {
    format!("{name}:generation")
}

/// Returns a tombstone, different from all others.
pub(crate) fn tombstone() -> Vec<u8> {
    format!("\0bytecache:removed:{:016x}", chance::number()).into_bytes()
}

/// A value as it lies in Redis.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    Value(Vec<u8>),
    /// The loader found nothing.
    Nothing,
    /// The key was removed a short time ago. It holds the whole tombstone. Reserved values of an
    /// unknown kind count as tombstones.
    Removed(Vec<u8>),
}

impl From<Vec<u8>> for Stored {
    fn from(bytes: Vec<u8>) -> Self {
        match &*bytes {
            NOTHING => Self::Nothing,
            value if value.starts_with(RESERVED) => Self::Removed(bytes),
            _ => Self::Value(bytes),
        }
    }
}

/// The subject of an invalidation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Changed<'a> {
    Generation(&'a str),
    Entry { name: &'a str, generation: i64, key: &'a [u8] },
}

impl Changed<'_> {
    /// Returns the name of the namespace.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Generation(name) | Self::Entry { name, .. } => name,
        }
    }
}

/// Returns the subject of an invalidation, or `None` if the key has none of the forms above.
pub(crate) fn parse(key: &[u8]) -> Option<Changed<'_>> {
    let (name, rest) = split_at_colon(key)?;
    let name = core::str::from_utf8(name).ok()?;
    if rest == b"generation" {
        return Some(Changed::Generation(name));
    }
    let (digits, key) = split_at_colon(rest)?;
    let generation = core::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(Changed::Entry { name, generation, key })
}

fn split_at_colon(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = bytes.iter().position(|&byte| byte == b':')?;
    Some((&bytes[..colon], &bytes[colon + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_they_are_written() {
        let key = entry_key("users", 12, b"a:b");
        assert_eq!(key, b"users:12:a:b");
        assert_eq!(parse(&key), Some(Changed::Entry { name: "users", generation: 12, key: b"a:b" }));
        assert_eq!(parse(generation_key("users").as_bytes()), Some(Changed::Generation("users")));
    }

    #[test]
    fn key_called_generation_is_an_entry() {
        let key = entry_key("users", 0, b"generation");
        assert_eq!(parse(&key), Some(Changed::Entry { name: "users", generation: 0, key: b"generation" }));
    }

    #[test]
    fn keys_of_other_forms_have_no_subject() {
        for key in [&b"users"[..], b"users:", b"users:x:key", b"users:1", b"\xff:1:key", b"users:generations"] {
            assert_eq!(parse(key), None);
        }
    }

    #[test]
    fn each_tombstone_is_another() {
        let (first, second) = (tombstone(), tombstone());
        assert_ne!(first, second);
        assert_eq!(Stored::from(first.clone()), Stored::Removed(first));
    }

    #[test]
    fn plain_bytes_are_values() {
        assert_eq!(Stored::from(b"Ada".to_vec()), Stored::Value(b"Ada".to_vec()));
        assert_eq!(Stored::from(NOTHING.to_vec()), Stored::Nothing);
        assert_eq!(Stored::from(b"\0bytecache:later".to_vec()), Stored::Removed(b"\0bytecache:later".to_vec()));
        assert_eq!(Stored::from(b"\0byte".to_vec()), Stored::Value(b"\0byte".to_vec()));
    }
}
