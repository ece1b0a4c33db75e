//! The record of changes in a snapshot: a bit for each range of hashes. The bit of each key that
//! changed while the cache was saved is set.
//!
//! ```text
//!   payload   | all 1 | words | gap, word | gap, word | ...      only words that are not 0
//! ```
//!
//! The bits of all records of a file are combined. All records must have the size of the first.

use super::format::{Reader, put_number};
use crate::hash::StableHash;
use crate::shard::{Changes, RECORD_SHARE, bit_of};

/// The most words in a payload.
const WORDS_IN_A_BLOCK: usize = 1 << 14;
/// The largest size of a record in a file, in words.
const MAX_WORDS: u64 = 1 << 40;

/// A writer of records, which writes only the bits that were set since the former call.
#[derive(Debug, Default)]
pub(super) struct ChangesWriter {
    has_written_all: bool,
}

impl ChangesWriter {
    /// Calls `write` with payloads that have all bits which were set since the former call, and
    /// clears them. Returns `true` if there were any.
    pub(super) fn write<E>(
        &mut self,
        changes: &Changes,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<bool, E> {
        let words = changes.take_words();
        let total = words.len();
        let (mut payload, mut count, mut last, mut has_written) = (Vec::new(), 0, 0, false);
        let are_all = changes.are_all() && !self.has_written_all;
        let begin = |payload: &mut Vec<u8>| {
            payload.clear();
            payload.push(u8::from(are_all));
            put_number(payload, total as u64);
        };
        begin(&mut payload);
        for (place, word) in (0_u64..).zip(words).filter(|&(_, word)| word != 0) {
            put_number(&mut payload, place - last);
            payload.extend_from_slice(&word.to_le_bytes());
            (last, count) = (place, count + 1);
            if count == WORDS_IN_A_BLOCK {
                write(&payload)?;
                begin(&mut payload);
                (count, last, has_written) = (0, 0, true);
            }
        }
        if count > 0 || are_all {
            write(&payload)?;
            has_written = true;
        }
        self.has_written_all |= are_all;
        Ok(has_written)
    }
}

/// The keys that have changed, as far as they are known.
#[derive(Debug)]
pub(super) struct ChangedKeys {
    hasher: StableHash,
    /// Folded to this size: a bit stands for several of the record.
    words: Vec<u64>,
    /// The size of the record in the file, in words.
    recorded_words: usize,
    max_words: usize,
    are_all: bool,
}

impl ChangedKeys {
    /// Creates an empty record for a cache of `max_bytes` bytes.
    pub(super) fn new(nonce: u64, max_bytes: usize) -> Self {
        let most = (max_bytes / RECORD_SHARE / size_of::<u64>()).max(Changes::MIN_WORDS);
        Self {
            hasher: StableHash::with_seed(nonce),
            words: Vec::new(),
            recorded_words: 0,
            max_words: 1 << most.ilog2(),
            are_all: false,
        }
    }

    /// Reads a payload. Returns `None` if it is damaged.
    pub(super) fn read(&mut self, payload: &[u8]) -> Option<()> {
        let mut reader = Reader(payload);
        let are_all = reader.u8()? != 0;
        let words = reader.number().filter(|&words| words.is_power_of_two() && words <= MAX_WORDS)?;
        let words = usize::try_from(words).ok()?;
        if self.recorded_words != 0 && self.recorded_words != words {
            return None;
        }
        self.are_all |= are_all;
        let mut place = 0_u64;
        while !reader.0.is_empty() {
            place = place.checked_add(reader.number()?)?;
            let word = reader.u64()?;
            let at = usize::try_from(place).ok().filter(|&at| at < words)?;
            if self.words.is_empty() {
                self.recorded_words = words;
                self.words = vec![0; words.min(self.max_words)];
            }
            self.note(at, word);
        }
        Some(())
    }

    fn note(&mut self, at: usize, word: u64) {
        // A power of two, as both numbers of words are. The number of a bit may exceed a `usize`.
        let fold = (self.recorded_words / self.words.len()) as u64;
        let mut left = word;
        while left != 0 {
            let bit = (at as u64 * 64 + u64::from(left.trailing_zeros())) / fold;
            #[allow(clippy::cast_possible_truncation, reason = "below the number of words")]
            let at = (bit / 64) as usize;
            self.words[at] |= 1 << (bit % 64);
            left &= left - 1;
        }
    }

    /// Returns `true` if no key has changed.
    pub(super) fn are_none(&self) -> bool {
        self.words.is_empty() && !self.are_all
    }

    /// Returns `true` if a key may have changed.
    pub(super) fn have(&self, key: &[u8]) -> bool {
        if self.are_all {
            return true;
        }
        if self.words.is_empty() {
            return false;
        }
        let bit = bit_of(self.hasher.hash_bytes(key), self.words.len());
        self.words[bit / 64] >> (bit % 64) & 1 != 0
    }
}
