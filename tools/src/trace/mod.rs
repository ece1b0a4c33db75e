//! Requests in memory, of sixteen bytes each, from any kind of file.
//!
//! ```text
//!   request   | key u64 | size u32 | operation u8 | padding |
//!
//!   key of a numeric trace: the number
//!   key of a text trace:    | offset u48 | length u16 | into one arena of distinct keys
//! ```
//!
//! # Invariants
//!
//! 1. Two requests of a trace have the same `key` word if and only if they have the same key.
//! 2. The arena contains each distinct text key once. A numeric trace has no arena.
//!
//! # Files
//!
//! `format`, `binary` and `text` read files. Times to live are checked if a format has them, and
//! then dropped, because a trace is replayed faster than it was recorded.

pub(crate) mod binary;
pub(crate) mod format;
mod text;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hasher};

/// Length of the longest key that the cache accepts and that a [`Span`] can describe.
const MAX_KEY_BYTES: usize = 65_535;

/// The effect of a request on the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// A look-up, and an insert on a miss.
    Fetch,
    /// An insert without a look-up.
    Store,
    /// A removal.
    Delete,
}

/// One request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// The key's number, or the place of its text. It is unique for each key.
    pub(crate) key: u64,
    /// Length of the value.
    pub(crate) size_bytes: u32,
    /// The effect of the request.
    pub(crate) operation: Operation,
}

impl Request {
    /// Returns eight bytes that no other key of the trace has. The key's values start with them.
    pub(crate) fn mark(&self) -> [u8; 8] {
        // The key is mixed, because a short value contains only the first bytes of a mark. These
        // differ between neighbouring keys, too.
        mix(self.key).to_le_bytes()
    }
}

/// Returns a number whose bits all depend on all bits of `number` (splitmix64). Different numbers
/// give different results.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The requests of one file, or of the generator.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    requests: Vec<Request>,
    arena: Option<Vec<u8>>,
    unique_keys: u64,
    unique_bytes: u64,
    largest_bytes: u32,
}

impl Trace {
    /// Returns all requests, in order.
    pub(crate) fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Returns the number of distinct keys.
    pub(crate) fn unique_keys(&self) -> u64 {
        self.unique_keys
    }

    /// Returns the bytes of all distinct keys, each with the value of its first request.
    pub(crate) fn unique_bytes(&self) -> u64 {
        self.unique_bytes
    }

    /// Returns the length of the largest value.
    pub(crate) fn largest_bytes(&self) -> u32 {
        self.largest_bytes
    }

    /// Returns the key's bytes. The bytes of a number are written to `number`, little-endian.
    pub(crate) fn key<'a>(&'a self, request: &Request, number: &'a mut [u8; 8]) -> &'a [u8] {
        match &self.arena {
            Some(arena) => Span(request.key).of(arena),
            None => {
                *number = request.key.to_le_bytes();
                number
            }
        }
    }
}

/// The place of a text key in the arena.
#[derive(Clone, Copy)]
struct Span(u64);

impl Span {
    const LENGTH_BITS: u32 = 16;

    /// Returns the span of `key`, which is to be appended to `arena`.
    fn appended(arena: &[u8], key: &[u8]) -> Self {
        Self((arena.len() as u64) << Self::LENGTH_BITS | key.len() as u64)
    }

    fn of(self, arena: &[u8]) -> &[u8] {
        let length = self.0 & ((1 << Self::LENGTH_BITS) - 1);
        let start = self.0 >> Self::LENGTH_BITS;
        let word = |offset: u64| usize::try_from(offset).expect("spans lie inside the arena");
        &arena[word(start)..word(start + length)]
    }
}

/// A collector of requests. It also has the map of known keys, which the finished trace does not
/// need.
#[derive(Default)]
pub(crate) struct TraceBuilder {
    trace: Trace,
    /// Map from a number, or from the fingerprint of a text, to its key word.
    known: HashMap<u64, u64>,
}

impl TraceBuilder {
    /// Appends a request for a numeric key.
    pub(crate) fn push_number(&mut self, number: u64, size_bytes: u32, operation: Operation) {
        let is_new = self.known.insert(number, number).is_none();
        let key_bytes = is_new.then_some(size_of_val(&number));
        self.push(number, key_bytes, size_bytes, operation);
    }

    /// Appends a request for a text key. Returns an error if the text is too long for a key.
    fn push_text(&mut self, text: &[u8], size_bytes: u32, operation: Operation) -> Result<(), String> {
        if text.len() > MAX_KEY_BYTES {
            return Err(format!("a key of {} bytes: the longest is {MAX_KEY_BYTES}", text.len()));
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(text);
        let (span, is_new) = self.intern(hasher.finish(), text);
        let key_bytes = is_new.then_some(text.len());
        self.push(span.0, key_bytes, size_bytes, operation);
        Ok(())
    }

    /// Returns the span of `text`, and `true` if the text was appended for it.
    ///
    /// A fingerprint that belongs to another text is skipped. The loop ends because the map has
    /// fewer entries than there are fingerprints.
    fn intern(&mut self, mut fingerprint: u64, text: &[u8]) -> (Span, bool) {
        let arena = self.trace.arena.get_or_insert_default();
        loop {
            match self.known.entry(fingerprint) {
                Entry::Vacant(vacant) => {
                    let span = Span::appended(arena, text);
                    arena.extend_from_slice(text);
                    vacant.insert(span.0);
                    return (span, true);
                }
                Entry::Occupied(known) if Span(*known.get()).of(arena) == text => {
                    return (Span(*known.get()), false);
                }
                Entry::Occupied(_) => fingerprint = fingerprint.wrapping_add(1),
            }
        }
    }

    fn push(&mut self, key: u64, new_key_bytes: Option<usize>, size_bytes: u32, operation: Operation) {
        if let Some(key_bytes) = new_key_bytes {
            self.trace.unique_keys += 1;
            self.trace.unique_bytes += key_bytes as u64 + u64::from(size_bytes);
        }
        self.trace.largest_bytes = self.trace.largest_bytes.max(size_bytes);
        self.trace.requests.push(Request { key, size_bytes, operation });
    }

    /// Returns the trace of the collected requests.
    pub(crate) fn finish(mut self) -> Trace {
        self.trace.requests.shrink_to_fit();
        self.trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_takes_sixteen_bytes() {
        assert_eq!(size_of::<Request>(), 16);
    }

    #[test]
    fn numbers_become_little_endian_keys() {
        let mut builder = TraceBuilder::default();
        builder.push_number(0x0102, 5, Operation::Fetch);
        let trace = builder.finish();
        let mut number = [0; 8];
        assert_eq!(trace.key(&trace.requests()[0], &mut number), [2, 1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn unique_bytes_count_a_key_once_with_its_first_size() {
        let mut builder = TraceBuilder::default();
        builder.push_number(1, 100, Operation::Fetch);
        builder.push_number(2, 10, Operation::Store);
        builder.push_number(1, 7, Operation::Fetch);
        let trace = builder.finish();
        assert_eq!((trace.unique_keys(), trace.unique_bytes(), trace.largest_bytes()), (2, 126, 100));
    }

    #[test]
    fn texts_of_one_fingerprint_stay_apart() {
        let mut builder = TraceBuilder::default();
        let (first, first_is_new) = builder.intern(u64::MAX, b"first");
        let (second, second_is_new) = builder.intern(u64::MAX, b"second");
        let (again, again_is_new) = builder.intern(u64::MAX, b"second");
        assert_eq!((first_is_new, second_is_new, again_is_new), (true, true, false));
        assert_ne!(first.0, second.0);
        assert_eq!(second.0, again.0);
        let arena = builder.trace.arena.expect("two texts");
        assert_eq!((first.of(&arena), second.of(&arena)), (&b"first"[..], &b"second"[..]));
    }

    #[test]
    fn a_key_may_be_empty_or_as_long_as_the_cache_takes_but_not_longer() {
        let mut builder = TraceBuilder::default();
        let longest = vec![b'k'; MAX_KEY_BYTES];
        builder.push_text(b"", 1, Operation::Fetch).expect("an empty key");
        builder.push_text(&longest, 1, Operation::Fetch).expect("the longest key");
        let too_long = builder.push_text(&[longest.as_slice(), b"k"].concat(), 1, Operation::Fetch);
        assert!(too_long.expect_err("one byte more").contains("65536 bytes"));
        let trace = builder.finish();
        let lengths = trace.requests().iter().map(|request| trace.key(request, &mut [0; 8]).len());
        assert_eq!(lengths.collect::<Vec<_>>(), [0, MAX_KEY_BYTES]);
    }

    #[test]
    fn marks_of_neighbouring_keys_differ_in_their_first_byte_mostly() {
        let mark = |key| Request { key, size_bytes: 0, operation: Operation::Fetch }.mark();
        let same = (0..1000).filter(|key| mark(*key)[0] == mark(key + 1)[0]).count();
        assert!(same < 20, "{same} of 1000");
    }
}
