//! The format of a snapshot: its header, its blocks, and the entries in them.
//!
//! ```text
//!   file   | header | policy | namespaces | history .. | entries .. | changes .. | namespaces | end |
//!
//!   header   | magic 8 | version 4 | shards 4 | nonce 8 | start 8 | entries 8 |
//!            | max_bytes 8 | buckets 8 | probe 8 | seeds 32 | checksum 8 |
//!
//!   block    | mark 8 | kind 4 | count 4 | number 8 | length 8 | time 8 | sum of payload 8 |
//!            | checksum 8 | payload: length bytes |
//! ```
//!
//! All numbers are little-endian. Checksums are xxh3 hashes with the nonce as seed, a random number
//! for each file. Nobody who stores values in a cache knows it, so no value looks like a block.
//! [`docs::snapshots`](crate::docs::snapshots) describes the payloads.
//!
//! # Invariants
//!
//! 1. Decoding never panics, and allocates nothing. Every length is compared with the bytes that
//!    are there.
//! 2. Blocks of unknown kinds are skipped.

use crate::expiry::TimesLeft;
use crate::hash::StableHash;
use crate::policy::Standing;
use crate::shard::SavedEntry;

/// The first bytes of a snapshot. They contain line ends, so that a transfer in text mode damages
/// them visibly.
pub(super) const MAGIC: [u8; 8] = *b"\x89BCS\r\n\x1a\n";
/// The version of the format.
pub(super) const VERSION: u32 = 1;
/// The first bytes of a block. A reader that has lost its place looks for them.
pub(super) const MARK: [u8; 8] = *b"\xb1ocK\x0d\x0a\x00\xfe";

/// The payload of a block of entries is little longer than this, unless it has a single entry.
pub(super) const BLOCK_BYTES: usize = 256 << 10;
/// The longest payload of a block of another kind, but for that with the policies' states.
pub(super) const MAX_OTHER_BYTES: u64 = 1 << 20;
/// The longest payload of a block with the policies' states.
pub(super) const MAX_POLICY_BYTES: u64 = 8 << 20;

/// The kinds of blocks.
pub(super) mod kind {
    /// The policy's name, and for each shard the size of its index, its live target and the
    /// policy's state. This block comes first.
    pub(in crate::snapshot) const POLICY: u32 = 1;
    pub(in crate::snapshot) const ENTRIES: u32 = 2;
    /// Keys that have changed since the snapshot was begun.
    pub(in crate::snapshot) const CHANGES: u32 = 3;
    /// The registry of namespaces: before the entries if there are any, and once more if it has
    /// changed since.
    pub(in crate::snapshot) const NAMESPACES: u32 = 4;
    /// A part of what the policy of a shard remembers of keys by their hashes.
    pub(in crate::snapshot) const HISTORY: u32 = 6;
    /// The end of the file.
    pub(in crate::snapshot) const END: u32 = 5;
}

/// The header of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The seed of all checksums, and of the hashes of changed keys.
    pub(super) nonce: u64,
    /// The time at which the save began, in milliseconds since 1970.
    pub(super) start_millis: u64,
    /// The number of entries in the cache at that time.
    pub(super) entries: u64,
    pub(super) shards: u32,
    /// The limit of the cache, in bytes.
    pub(super) max_bytes: u64,
    /// The home buckets of all indices.
    pub(super) buckets: u64,
    /// The hash of an empty key. Hashes mean the same to another cache if this is the same.
    pub(super) probe: u64,
    /// The seeds of the hasher, or zeros if it is not the default one.
    pub(super) seeds: [u64; 4],
}

/// The reason why a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Foreign,
    UnknownVersion(u32),
    Damaged,
}

impl Header {
    pub(super) const BYTES: usize = 104;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.shards.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.nonce.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.start_millis.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.entries.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.max_bytes.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.buckets.to_le_bytes());
        bytes[56..64].copy_from_slice(&self.probe.to_le_bytes());
        for (place, seed) in bytes[64..96].chunks_exact_mut(8).zip(self.seeds) {
            place.copy_from_slice(&seed.to_le_bytes());
        }
        let checksum = StableHash::with_seed(self.nonce).hash_bytes(&bytes[..96]);
        bytes[96..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads a header from the first bytes of a file.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut reader = Reader(bytes);
        if reader.take(MAGIC.len()) != Some(&MAGIC) {
            return Err(HeaderError::Foreign);
        }
        let version = reader.u32().ok_or(HeaderError::Damaged)?;
        if version != VERSION {
            return Err(HeaderError::UnknownVersion(version));
        }
        Self::checked(reader, bytes).ok_or(HeaderError::Damaged)
    }

    /// Reads what follows the version, if the checksum is right.
    fn checked(mut reader: Reader<'_>, bytes: &[u8]) -> Option<Self> {
        let shards = reader.u32()?;
        let (nonce, start_millis, entries) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let (max_bytes, buckets, probe) = (reader.u64()?, reader.u64()?, reader.u64()?);
        let seeds = [reader.u64()?, reader.u64()?, reader.u64()?, reader.u64()?];
        let expected = StableHash::with_seed(nonce).hash_bytes(bytes.get(..96)?);
        let header = Self { nonce, start_millis, entries, shards, max_bytes, buckets, probe, seeds };
        (reader.u64()? == expected).then_some(header)
    }
}

/// The header of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) kind: u32,
    /// The number of entries.
    pub(super) count: u32,
    /// The number of blocks before it.
    pub(super) number: u64,
    /// The length of the payload, in bytes.
    pub(super) length: u64,
    /// The time from which the remaining times of the entries count, in milliseconds since 1970.
    pub(super) time_millis: u64,
    /// The checksum of the payload.
    pub(super) payload_sum: u64,
}

impl BlockHeader {
    pub(super) const BYTES: usize = 56;

    pub(super) fn to_bytes(self, nonce: u64) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&MARK);
        bytes[8..12].copy_from_slice(&self.kind.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.count.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.length.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.time_millis.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.payload_sum.to_le_bytes());
        let checksum = StableHash::with_seed(nonce).hash_bytes(&bytes[..48]);
        bytes[48..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header of a block. Returns `None` if these bytes are none.
    pub(super) fn from_bytes(bytes: &[u8], nonce: u64) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.take(MARK.len())? != MARK {
            return None;
        }
        let (kind, count) = (reader.u32()?, reader.u32()?);
        let (number, length) = (reader.u64()?, reader.u64()?);
        let (time_millis, payload_sum) = (reader.u64()?, reader.u64()?);
        let expected = StableHash::with_seed(nonce).hash_bytes(bytes.get(..48)?);
        (reader.u64()? == expected).then_some(Self { kind, count, number, length, time_millis, payload_sum })
    }
}

/// Flags of an entry.
const VISITS: u8 = 0b11;
const HAS_STANDING: u8 = 1 << 2;
const HAS_TIMES: u8 = 1 << 3;
/// Flags of its times.
const HAS_REMOVAL: u8 = 1;
const HAS_IDLE: u8 = 1 << 1;
const HAS_REFRESH: u8 = 1 << 2;
const HAS_FAILED: u8 = 1 << 3;
const IS_NEGATIVE: u8 = 1 << 4;

/// Appends an entry to a payload, all but its value.
pub(super) fn encode_entry(entry: &SavedEntry<'_>, payload: &mut Vec<u8>) {
    let SavedEntry { key, value, standing, visits, times } = entry;
    let has_standing = *standing != Standing::new();
    let has_times = !times.are_endless();
    let flags = visits & VISITS | if has_standing { HAS_STANDING } else { 0 } | if has_times { HAS_TIMES } else { 0 };
    payload.push(flags);
    put_number(payload, key.len() as u64);
    put_number(payload, value.len() as u64);
    if has_standing {
        payload.push(standing.class);
        put_number(payload, standing.rank);
        put_number(payload, standing.uses.into());
        put_number(payload, standing.order.into());
    }
    if has_times {
        encode_times(times, payload);
    }
    payload.extend_from_slice(key);
}

fn encode_times(times: &TimesLeft, payload: &mut Vec<u8>) {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    payload.push(
        flag(times.removal_millis.is_some(), HAS_REMOVAL)
            | flag(times.idle_millis.is_some(), HAS_IDLE)
            | flag(times.refresh_ticks.is_some(), HAS_REFRESH)
            | flag(times.has_failed, HAS_FAILED)
            | flag(times.is_negative, IS_NEGATIVE),
    );
    put_number(payload, times.stale_ticks.into());
    if let Some(millis) = times.removal_millis {
        put_number(payload, millis);
    }
    if let Some(millis) = times.idle_millis {
        put_number(payload, millis);
        put_number(payload, times.idle_ticks.into());
    }
    if let Some(ticks) = times.refresh_ticks {
        payload.extend_from_slice(&ticks.to_le_bytes());
    }
}

/// Appends a number, seven bits in each byte, the lowest first.
pub(super) fn put_number(payload: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        payload.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    payload.push(number.to_le_bytes()[0]);
}

/// A reader of bytes, which may be any bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// Returns the next `count` bytes, or `None` if there are fewer.
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*bytes))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    /// Returns a number that [`put_number`] has written.
    #[inline]
    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// Returns the next bytes, after their length.
    pub(super) fn counted(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.take(count)
    }

    /// Returns the next entry of a payload, or `None` if there is no whole one.
    pub(super) fn entry(&mut self) -> Option<SavedEntry<'a>> {
        let flags = self.u8()?;
        let key_bytes = usize::try_from(self.number()?).ok()?;
        let value_bytes = usize::try_from(self.number()?).ok()?;
        let mut standing = Standing::new();
        if flags & HAS_STANDING != 0 {
            standing = Standing::new().class(self.u8()?).rank(self.number()?);
            standing = standing.uses(u32::try_from(self.number()?).ok()?);
            standing = standing.order(u32::try_from(self.number()?).ok()?);
        }
        let times = if flags & HAS_TIMES != 0 { self.times()? } else { TimesLeft::default() };
        let (key, value) = (self.take(key_bytes)?, self.take(value_bytes)?);
        Some(SavedEntry { key, value, standing, visits: flags & VISITS, times })
    }

    fn times(&mut self) -> Option<TimesLeft> {
        let flags = self.u8()?;
        let mut times = TimesLeft {
            stale_ticks: u32::try_from(self.number()?).ok()?,
            has_failed: flags & HAS_FAILED != 0,
            is_negative: flags & IS_NEGATIVE != 0,
            ..TimesLeft::default()
        };
        if flags & HAS_REMOVAL != 0 {
            times.removal_millis = Some(self.number()?);
        }
        if flags & HAS_IDLE != 0 {
            times.idle_millis = Some(self.number()?);
            times.idle_ticks = u32::try_from(self.number()?).ok()?;
        }
        if flags & HAS_REFRESH != 0 {
            times.refresh_ticks = Some(i32::from_le_bytes(self.u32()?.to_le_bytes()));
        }
        Some(times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written() {
        for number in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            let mut reader = Reader(&bytes);
            assert_eq!((reader.number(), reader.0.len()), (Some(number), 0));
            assert_eq!(Reader(&bytes[..bytes.len() - 1]).number(), None);
        }
        assert_eq!(Reader(&[0xff; 20]).number(), None);
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let times = TimesLeft {
            removal_millis: Some(70_000),
            idle_millis: Some(0),
            idle_ticks: 9,
            stale_ticks: 7,
            refresh_ticks: Some(-3),
            has_failed: true,
            is_negative: true,
        };
        for times in [TimesLeft::default(), TimesLeft { removal_millis: Some(1), ..TimesLeft::default() }, times] {
            for standing in [Standing::new(), Standing::new().class(2).rank(u64::MAX).uses(u32::MAX).order(9)] {
                let entry = SavedEntry { key: b"key", value: b"a value", standing, visits: 3, times };
                let mut bytes = Vec::new();
                encode_entry(&entry, &mut bytes);
                bytes.extend_from_slice(entry.value);
                let mut reader = Reader(&bytes);
                let read = reader.entry().expect("a whole entry");
                assert_eq!((read.key, read.value, read.visits), (entry.key, entry.value, 3));
                assert_eq!((read.standing, read.times, reader.0.len()), (standing, times, 0));
                assert!((0..bytes.len()).all(|length| Reader(&bytes[..length]).entry().is_none()));
            }
        }
    }

    #[test]
    fn a_header_with_a_changed_bit_is_refused() {
        let header = Header {
            nonce: 77,
            start_millis: 1_700_000_000_000,
            entries: 5,
            shards: 4,
            max_bytes: 3,
            buckets: 2,
            probe: 1,
            seeds: [9, 8, 7, 6],
        };
        let block = BlockHeader { kind: kind::ENTRIES, count: 3, number: 4, length: 9, time_millis: 8, payload_sum: 7 };
        let (bytes, block_bytes) = (header.to_bytes(), block.to_bytes(77));
        assert_eq!(Header::from_bytes(&bytes), Ok(header));
        assert_eq!(BlockHeader::from_bytes(&block_bytes, 77), Some(block));
        assert_eq!(BlockHeader::from_bytes(&block_bytes, 78), None);
        for bit in 0..8 * Header::BYTES {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::from_bytes(&changed).is_err());
        }
        for bit in 0..8 * BlockHeader::BYTES {
            let mut changed = block_bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(BlockHeader::from_bytes(&changed, 77), None);
        }
    }
}
