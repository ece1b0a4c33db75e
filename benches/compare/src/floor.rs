//! The least work of a byte cache for one operation: without a policy, and for reads without locks.
//! A read prefetches nothing, so a contender that does so may be faster.
//!
//! ```text
//!   hash --> line of the index (64 B): 8 slots of tag:16 | location:48
//!                                                           |
//!            arena: | key len:4 value len:4 | key | value .. |  (entries aligned to 32 B)
//! ```
//!
//! [`ReadFloor`] is a table that is filled before it is shared. A read hashes once, examines one
//! line of the index, compares the whole key in one line of the entry, and copies the value. The
//! table is never written again, so it needs no synchronization.
//!
//! [`WriteFloor`] only appends. A write hashes once, locks its shard, and copies the entry to the
//! end of the shard's ring. Then it stores one slot of the index, and prefetches the lines that
//! come next. It looks nothing up, and overwrites the oldest entries.
//!
//! # Invariants
//!
//! 1. A slot that is not zero holds a location inside the arena, where a whole entry was written.
//! 2. Tables and rings lie in anonymous mappings. Their length is computed from the work, and every
//!    offset is below that length.

use crate::contenders::{Contender, copy_into, shard_count};
use crate::works::{Work, blank_value, key_of, stamp};
use memmap2::{Advice, MmapMut};
use parking_lot::Mutex;

/// Bytes of the two lengths before the key of an entry.
const HEADER_LEN: usize = 8;

/// Alignment of entries. A header and a key of 24 bytes never straddle two lines.
const ENTRY_ALIGN: usize = 32;

/// Number of slots in a line.
const LINE_SLOTS: usize = 8;

/// Number of lines beyond the tail that a write prefetches: those of the next entry of 256 bytes.
const LINES_AHEAD: usize = 5;

/// The pages that a floor's memory is advised to use.
#[derive(Clone, Copy)]
pub enum Pages {
    Huge,
    Small,
}

fn mapped(len: usize, pages: Pages) -> MmapMut {
    let memory = MmapMut::map_anon(len.max(1)).expect("memory for the floor");
    let advice = match pages {
        Pages::Huge => Advice::HugePage,
        Pages::Small => Advice::NoHugePage,
    };
    // A kernel without huge pages refuses the advice. Then both floors are the same.
    let _ = memory.advise(advice);
    memory
}

fn entry_len(key_len: usize, value_len: usize) -> usize {
    (HEADER_LEN + key_len + value_len).next_multiple_of(ENTRY_ALIGN)
}

/// Returns the number of lines of eight slots with which at most half the slots are used.
fn line_count(entries: usize) -> usize {
    (entries * 2).div_ceil(LINE_SLOTS).next_power_of_two()
}

/// Returns the upper 16 bits of a slot. They are never zero, so a used slot is not zero.
#[inline(always)]
fn tag_of(hash: u64) -> u64 {
    (hash >> 48) | 1
}

/// A table that is complete before it is read.
pub struct ReadFloor {
    hasher: ahash::RandomState,
    line_mask: usize,
    index: MmapMut,
    arena: MmapMut,
}

impl ReadFloor {
    /// Creates the table with every key of `work`.
    pub fn filled(work: &Work, pages: Pages) -> Self {
        let lines = line_count(work.keys);
        let entry_len = entry_len(work.payload_bytes() - work.value_len, work.value_len);
        let mut floor = Self {
            hasher: ahash::RandomState::new(),
            line_mask: lines - 1,
            index: mapped(lines * 64, pages),
            arena: mapped(work.keys * entry_len, pages),
        };
        let mut value = blank_value(work.value_len);
        for index in 0..work.keys {
            stamp(&mut value, index as u64);
            floor.put(&key_of(index as u64), &value, index * entry_len);
        }
        floor
    }

    /// Writes an entry at `offset` of the arena and into the first line with a free slot.
    fn put(&mut self, key: &[u8], value: &[u8], offset: usize) {
        let lengths = [key.len() as u32, value.len() as u32].map(u32::to_le_bytes);
        let entry = &mut self.arena[offset..];
        entry[..HEADER_LEN].copy_from_slice(lengths.as_flattened());
        entry[HEADER_LEN..][..key.len()].copy_from_slice(key);
        entry[HEADER_LEN + key.len()..][..value.len()].copy_from_slice(value);

        let hash = self.hasher.hash_one(key);
        let slot = tag_of(hash) << 48 | offset as u64;
        let mut line = hash as usize & self.line_mask;
        loop {
            let slots = self.index[line * 64..][..64].chunks_exact_mut(8);
            if let Some(free) = slots.into_iter().find(|slot| slot.iter().all(|&byte| byte == 0)) {
                free.copy_from_slice(&slot.to_ne_bytes());
                return;
            }
            line = (line + 1) & self.line_mask;
        }
    }

    #[inline(always)]
    fn line(&self, line: usize) -> &[u64; LINE_SLOTS] {
        let at = self.index.as_ptr().cast::<[u64; LINE_SLOTS]>();
        // SAFETY: every caller masks `line`, so it is below the number of lines (2).
        let line = unsafe { at.add(line) };
        // SAFETY: mappings are aligned to pages, and any bits are valid slots.
        unsafe { &*line }
    }

    #[inline(always)]
    fn entry(&self, offset: usize) -> (&[u8], &[u8]) {
        // SAFETY: offsets come from slots, so they are inside the arena (1).
        let entry = unsafe { self.arena.as_ptr().add(offset) };
        // SAFETY: an entry starts with the two lengths (1), at a multiple of 32.
        let [key_len, value_len] = unsafe { entry.cast::<[u32; 2]>().read() }.map(|n| n as usize);
        // SAFETY: the key follows the header (1).
        let key = unsafe { entry.add(HEADER_LEN) };
        // SAFETY: the value follows the key (1).
        let value = unsafe { key.add(key_len) };
        // SAFETY: `key_len` bytes were written there, and nothing is written while `self` is
        // shared.
        let key = unsafe { std::slice::from_raw_parts(key, key_len) };
        // SAFETY: `value_len` bytes were written there, and nothing is written while `self` is
        // shared.
        let value = unsafe { std::slice::from_raw_parts(value, value_len) };
        (key, value)
    }

    #[inline(always)]
    fn find(&self, key: &[u8]) -> Option<&[u8]> {
        let hash = self.hasher.hash_one(key);
        let tag = tag_of(hash);
        let mut at = hash as usize & self.line_mask;
        loop {
            let line = self.line(at);
            let mut same = 0u32;
            let mut used = 0u32;
            for (nth, &slot) in line.iter().enumerate() {
                same |= u32::from(slot >> 48 == tag) << nth;
                used += u32::from(slot != 0);
            }
            while same != 0 {
                let slot = line[same.trailing_zeros() as usize % LINE_SLOTS];
                let (found, value) = self.entry((slot & 0xffff_ffff_ffff) as usize);
                if found == key {
                    return Some(value);
                }
                same &= same - 1;
            }
            if used < LINE_SLOTS as u32 {
                return None;
            }
            at = (at + 1) & self.line_mask;
        }
    }
}

impl Contender for ReadFloor {
    #[inline(always)]
    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(value) = self.find(key) else { return false };
        copy_into(value, out);
        true
    }

    fn insert(&self, _key: &[u8], _value: &[u8]) -> bool {
        false
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }
}

/// Rings to which entries are only appended.
pub struct WriteFloor {
    hasher: ahash::RandomState,
    shards: Box<[Shard]>,
}

/// A shard on cache lines of its own, so that shards do not disturb each other.
#[repr(align(128))]
struct Shard(Mutex<Ring>);

struct Ring {
    memory: MmapMut,
    index: MmapMut,
    line_mask: usize,
    tail: usize,
}

impl WriteFloor {
    /// Creates rings whose total size is the limit of `work`.
    pub fn for_work(work: &Work, pages: Pages) -> Self {
        let count = shard_count();
        let entry_len = entry_len(work.payload_bytes() - work.value_len, work.value_len);
        let shard_bytes = work.max_bytes / count;
        let lines = line_count(shard_bytes / entry_len);
        let shard = |_| {
            let memory = mapped(shard_bytes, pages);
            let index = mapped(lines * 64, pages);
            Shard(Mutex::new(Ring { memory, index, line_mask: lines - 1, tail: 0 }))
        };
        Self { hasher: ahash::RandomState::new(), shards: (0..count).map(shard).collect() }
    }
}

impl Ring {
    #[inline(always)]
    fn append(&mut self, hash: u64, key: &[u8], value: &[u8]) {
        let len = entry_len(key.len(), value.len());
        if self.tail + len > self.memory.len() {
            self.tail = 0;
        }
        let entry = &mut self.memory[self.tail..][..len];
        let lengths = [key.len() as u32, value.len() as u32].map(u32::to_le_bytes);
        entry[..HEADER_LEN].copy_from_slice(lengths.as_flattened());
        entry[HEADER_LEN..][..key.len()].copy_from_slice(key);
        entry[HEADER_LEN + key.len()..][..value.len()].copy_from_slice(value);

        let slot = tag_of(hash) << 48 | self.tail as u64;
        let at = (hash as usize & self.line_mask) * 64 + (hash >> 40) as usize % LINE_SLOTS * 8;
        self.index[at..at + 8].copy_from_slice(&slot.to_ne_bytes());

        self.tail += len;
        for ahead in 0..LINES_AHEAD {
            prefetch_for_write(self.memory.as_ptr().wrapping_add(self.tail + ahead * 64));
        }
    }
}

#[inline(always)]
fn prefetch_for_write(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
        // SAFETY: a prefetch is a hint that never faults, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

impl Contender for WriteFloor {
    fn get_into(&self, _key: &[u8], _out: &mut Vec<u8>) -> bool {
        false
    }

    #[inline(always)]
    fn insert(&self, key: &[u8], value: &[u8]) -> bool {
        let hash = self.hasher.hash_one(key);
        let shard = &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)];
        shard.0.lock().append(hash, key, value);
        true
    }

    fn contains(&self, _key: &[u8]) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_floor_finds_every_key_and_no_other() {
        let work = Work::named("hot", 100).expect("a work");
        let floor = ReadFloor::filled(&work, Pages::Small);
        let mut out = Vec::new();
        for index in 0..work.keys as u64 {
            assert!(floor.get_into(&key_of(index), &mut out));
            assert_eq!(out[..8], index.to_le_bytes());
        }
        assert!(!floor.get_into(&key_of(work.keys as u64), &mut out));
    }

    #[test]
    fn write_floor_wraps() {
        let work = Work::named("insert", 1000).expect("a work");
        let floor = WriteFloor::for_work(&work, Pages::Small);
        for index in 0..10_000 {
            assert!(floor.insert(&key_of(index), &blank_value(work.value_len)));
        }
    }
}
