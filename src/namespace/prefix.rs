//! Stored keys: plain keys, and keys with the prefix of a namespace.
//!
//! The bytes of the mark never occur in UTF-8, and are not the start of small numbers. So plain
//! keys that have to be escaped are rare. They work like all others, and take three bytes more.
//!
//! A prefix is kept as a word: the bytes after the mark, in little-endian order. The three lowest
//! bits of the second byte are the number of bytes that the generation takes, these bits included.

use core::ops::Deref;

/// The start of all stored keys that are not plain keys as they are.
const MARK: [u8; 2] = [0xfd, 0xc1];
/// The start of the stored key of a plain key that begins with the mark.
const ESCAPE: [u8; 3] = [MARK[0], MARK[1], 0];
/// The bits of a generation that give the number of its bytes.
const LENGTH_BITS: u32 = 3;
const LENGTH_MASK: u64 = (1 << LENGTH_BITS) - 1;

/// The longest prefix of a namespace, in bytes. Limits count as much for each key of a namespace,
/// so that they do not depend on its generation.
pub(crate) const MAX_PREFIX_BYTES: usize = MARK.len() + 8;

/// The prefix of the keys of a namespace in one of its generations, without the mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix(u64);

impl Prefix {
    /// Returns the prefix of a slot, which is not 0, in a generation.
    pub(super) fn new(slot: u8, generation: u64) -> Self {
        debug_assert_ne!(slot, 0, "slot 0 is the escape");
        let bits = u64::BITS - generation.leading_zeros() + LENGTH_BITS;
        let length = u64::from(bits.div_ceil(8)).min(LENGTH_MASK);
        Self(u64::from(slot) | (generation << LENGTH_BITS | length) << 8)
    }

    /// Returns the prefix with these bits, which [`bits`](Self::bits) has returned.
    #[inline]
    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Returns the prefix as a word.
    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// Returns the number of invalidations that the prefix counts.
    pub(crate) fn generation(self) -> u64 {
        self.0 >> 8 >> LENGTH_BITS
    }

    /// Returns the length of the prefix in bytes, with the mark.
    #[inline]
    fn bytes(self) -> usize {
        #[allow(clippy::cast_possible_truncation, reason = "three bits are left")]
        {
            MARK.len() + 1 + (self.0 >> 8 & LENGTH_MASK) as usize
        }
    }
}

/// Returns `true` if a stored key has a mark. Plain keys that begin with it have to be escaped.
#[inline(always)]
pub(crate) fn is_marked(key: &[u8]) -> bool {
    key.starts_with(&MARK)
}

/// The meaning of a stored key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin<'a> {
    /// It stands for this plain key.
    Plain(&'a [u8]),
    /// It stands for a key of the namespace in this slot, in some generation.
    Scoped { slot: u8, prefix: Prefix, key: &'a [u8] },
}

/// Returns the meaning of a stored key.
#[inline]
pub(crate) fn origin(stored: &[u8]) -> Origin<'_> {
    if is_marked(stored) { marked_origin(stored) } else { Origin::Plain(stored) }
}

fn marked_origin(stored: &[u8]) -> Origin<'_> {
    match stored[MARK.len()..] {
        [slot, second, ..] if slot != 0 => {
            let bytes = 1 + (u64::from(second) & LENGTH_MASK) as usize;
            let Some((prefix, key)) = stored[MARK.len()..].split_at_checked(bytes) else {
                return Origin::Plain(stored); // Never, by invariant 1.
            };
            let mut word = [0; 8];
            word[..bytes].copy_from_slice(prefix);
            Origin::Scoped { slot, prefix: Prefix(u64::from_le_bytes(word)), key }
        }
        _ => Origin::Plain(stored.strip_prefix(&ESCAPE).unwrap_or(stored)),
    }
}

/// Returns the length that counts towards the limits of keys and entries: that of a plain key, or
/// that of a key of a namespace together with the longest prefix.
#[inline]
pub(crate) fn counted_key_bytes(stored: &[u8]) -> usize {
    match origin(stored) {
        Origin::Plain(key) => key.len(),
        Origin::Scoped { key, .. } => key.len() + MAX_PREFIX_BYTES,
    }
}

/// A key as it is stored.
pub(crate) enum StoredKey<'a> {
    /// A plain key without the mark: as it is.
    Same(&'a [u8]),
    Built(KeyBuffer),
}

impl<'a> StoredKey<'a> {
    /// Returns the stored key of a plain key.
    #[inline(always)]
    pub(crate) fn plain(key: &'a [u8]) -> Self {
        if is_marked(key) { Self::escaped(key) } else { Self::Same(key) }
    }

    #[cold]
    fn escaped(key: &[u8]) -> Self {
        let mut buffer = KeyBuffer::default();
        buffer.push(&ESCAPE);
        buffer.push(key);
        Self::Built(buffer)
    }

    /// Returns the stored key of a key of a namespace.
    #[inline]
    pub(crate) fn scoped(prefix: Prefix, key: &[u8]) -> Self {
        let mut buffer = KeyBuffer::default();
        buffer.push_scoped(prefix, key);
        Self::Built(buffer)
    }
}

impl Deref for StoredKey<'_> {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Same(key) => key,
            Self::Built(buffer) => buffer.as_bytes(),
        }
    }
}

impl AsRef<[u8]> for StoredKey<'_> {
    #[inline(always)]
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Copies bytes to a place of the same length. The usual lengths of keys take two moves.
#[inline(always)]
pub(crate) fn copy_short(place: &mut [u8], bytes: &[u8]) {
    fn copy_ends<const N: usize>(place: &mut [u8], bytes: &[u8]) -> Option<()> {
        *place.first_chunk_mut::<N>()? = *bytes.first_chunk()?;
        *place.last_chunk_mut::<N>()? = *bytes.last_chunk()?;
        Some(())
    }
    // In this order, keys of 17 to 32 bytes need three comparisons, and no other more.
    let is_copied = match bytes.len() {
        33.. | ..4 => None,
        17.. => copy_ends::<16>(place, bytes),
        8.. => copy_ends::<8>(place, bytes),
        4.. => copy_ends::<4>(place, bytes),
    };
    if is_copied.is_none() {
        place.copy_from_slice(bytes);
    }
}

/// Bytes up to which a key is built without an allocation.
const SHORT_BYTES: usize = 64;

/// The bytes of a key that is being built. Keys of up to 54 bytes need no allocation.
///
/// A [`Key`](crate::typed::Key) writes itself to it.
///
/// ```
/// use bytecache::typed::KeyBuffer;
///
/// let mut key = KeyBuffer::default();
/// key.push(b"user");
/// key.push(&[1]);
/// assert_eq!(key.as_bytes(), b"user\x01");
/// ```
#[derive(Clone, Debug)]
pub struct KeyBuffer {
    short: [u8; SHORT_BYTES],
    len: usize,
    /// All bytes, if they are more than `short` takes.
    #[allow(clippy::box_collection, reason = "one word to set and to look at, as long keys are rare")]
    long: Option<Box<Vec<u8>>>,
}

impl Default for KeyBuffer {
    #[inline]
    fn default() -> Self {
        Self { short: [0; SHORT_BYTES], len: 0, long: None }
    }
}

impl KeyBuffer {
    /// Begins with the prefix of a namespace. The buffer is empty before.
    #[inline(always)]
    pub(crate) fn begin(&mut self, prefix: Prefix) {
        debug_assert_eq!(self.len, 0, "a prefix comes first");
        self.short[..MARK.len()].copy_from_slice(&MARK);
        self.short[MARK.len()..MAX_PREFIX_BYTES].copy_from_slice(&prefix.0.to_le_bytes());
        self.len = prefix.bytes(); // The next bytes overwrite those beyond the prefix.
    }

    /// Writes the stored key of a key of a namespace. The buffer is empty before.
    #[inline(always)]
    pub(crate) fn push_scoped(&mut self, prefix: Prefix, key: &[u8]) {
        self.begin(prefix);
        self.push(key);
    }

    /// Appends bytes.
    ///
    /// ```
    /// use bytecache::typed::KeyBuffer;
    ///
    /// let mut key = KeyBuffer::default();
    /// key.push(&[7; 100]);
    /// assert_eq!(key.as_bytes(), [7; 100]);
    /// ```
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        match self.short.get_mut(self.len..end) {
            Some(place) => {
                copy_short(place, bytes);
                self.len = end;
            }
            None => self.push_long(bytes),
        }
    }

    #[cold]
    fn push_long(&mut self, bytes: &[u8]) {
        let (short, len) = (&self.short, self.len);
        let long = self.long.get_or_insert_with(|| Box::new(short[..len].to_vec()));
        long.extend_from_slice(bytes);
        self.len = long.len(); // Beyond `short`, so further bytes come here, too.
    }

    /// Appends what `write` writes, after its length: two bytes, the higher one first. A length
    /// beyond 65,535 is written as that, since such a key cannot be stored anyway.
    pub(crate) fn push_with_length(&mut self, write: impl FnOnce(&mut Self)) {
        let start = self.len + 2;
        self.push(&[0; 2]);
        write(self);
        let length = u16::try_from(self.len - start).unwrap_or(u16::MAX);
        let bytes = self.long.as_mut().map_or(&mut self.short[..], |long| long);
        bytes[start - 2..start].copy_from_slice(&length.to_be_bytes());
    }

    /// Returns the bytes.
    ///
    /// ```
    /// use bytecache::typed::KeyBuffer;
    ///
    /// assert!(KeyBuffer::default().as_bytes().is_empty());
    /// ```
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self.short.get(..self.len) {
            Some(short) => short,
            None => self.long.as_ref().map_or(&[], |long| long),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_grows_with_its_generation_and_is_read_back() {
        for (generation, bytes) in [
            (0, 4),
            (31, 4),
            (32, 5),
            ((1 << 13) - 1, 5),
            (1 << 13, 6),
            ((1 << 45) - 1, 9),
            (1 << 45, MAX_PREFIX_BYTES),
            ((1 << 53) - 1, MAX_PREFIX_BYTES),
        ] {
            let prefix = Prefix::new(7, generation);
            assert_eq!((prefix.bytes(), prefix.generation()), (bytes, generation));
            for key in [&b""[..], b"key", &MARK, &[0; 200]] {
                let stored = StoredKey::scoped(prefix, key);
                assert_eq!(stored.len(), bytes + key.len());
                assert_eq!(origin(&stored), Origin::Scoped { slot: 7, prefix, key });
                assert_eq!(counted_key_bytes(&stored), key.len() + MAX_PREFIX_BYTES);
            }
        }
    }

    #[test]
    fn plain_keys_are_stored_as_they_are_unless_they_begin_with_the_mark() {
        let stored_of_another = StoredKey::scoped(Prefix::new(1, 0), b"key").to_vec();
        for key in [&b""[..], &MARK[..1], &MARK, &ESCAPE, &stored_of_another, b"key"] {
            let stored = StoredKey::plain(key);
            assert_eq!(origin(&stored), Origin::Plain(key));
            assert_eq!(matches!(stored, StoredKey::Same(_)), !key.starts_with(&MARK));
            assert_eq!(counted_key_bytes(&stored), key.len());
        }
        assert_ne!(*StoredKey::plain(&stored_of_another), *stored_of_another);
    }

    #[test]
    fn a_buffer_takes_keys_of_all_lengths_in_any_pieces() {
        for lengths in [
            [3, 4, 5],
            [7, 8, 9],
            [15, 16, 17],
            [31, 32, 1],
            [0, 33, 31],
            [0, 0, 0],
            [64, 0, 1],
            [63, 1, 1],
            [63, 2, 0],
            [1, 70, 3],
            [65, 1, 1],
            [0, 64, 64],
        ] {
            let (mut buffer, mut expected) = (KeyBuffer::default(), Vec::new());
            for (piece, length) in (1_u8..).zip(lengths) {
                buffer.push(&vec![piece; length]);
                expected.extend(vec![piece; length]);
            }
            assert_eq!(buffer.as_bytes(), expected, "{lengths:?}");
        }
    }
}
