//! Restores any bytes, damaged snapshots, and forged ones whose checksums are right.
//!
//! Damage is found by the checksums, so no value that was not saved may come out. An edit is made
//! to the blocks of a snapshot, and then all checksums are computed again. So it reaches what lies
//! behind them. Then any value may come out, and the cache has to stay sound.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use bytecache::testing::Inspect;
use bytecache::{Cache, CacheBuilder, Lifetime, Policy, StableHash};
use libfuzzer_sys::fuzz_target;

const HEADER_BYTES: usize = 104;
const BLOCK_HEADER_BYTES: usize = 56;
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Arbitrary, Debug)]
struct Input {
    saved: Setup,
    restored: Setup,
    entries: u16,
    /// Comes in place of the snapshot, if it is there.
    foreign: Option<Vec<u8>>,
    edits: Vec<Edit>,
    damage: Vec<Damage>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Setup {
    policy: u8,
    size: u8,
    two_shards: bool,
}

impl Setup {
    fn builder(self) -> CacheBuilder {
        let policy = Policy::ALL[usize::from(self.policy) % Policy::ALL.len()];
        let max_bytes = [1 << 17, 1 << 18, 1 << 20][usize::from(self.size) % 3];
        let builder = Cache::builder().max_bytes(max_bytes).shards(1 + usize::from(self.two_shards)).policy(policy);
        // The same hashes, so that what a policy remembers of keys is restored.
        builder.hasher(StableHash::with_seed(3))
    }
}

/// Damage to the bytes of a file.
#[derive(Arbitrary, Debug)]
enum Damage {
    Flip { at: u16, bits: u8 },
    Cut { at: u16 },
    Remove { at: u16, count: u8 },
    Insert { at: u16, bytes: Vec<u8> },
    /// Copies a part of the snapshot to another place.
    Copy { from: u16, count: u16, to: u16 },
}

/// A change of blocks whose checksums are computed again.
#[derive(Arbitrary, Debug)]
enum Edit {
    /// Sets a field of the header of the file.
    Header { field: u8, number: u64 },
    Kind { block: u8, kind: u8 },
    Count { block: u8, count: u32 },
    Number { block: u8, number: u64 },
    Time { block: u8, millis: u64 },
    Swap { first: u8, second: u8 },
    Repeat { block: u8, at: u8 },
    Omit { block: u8 },
    /// Adds a block.
    Forge { at: u8, kind: u8, count: u8, payload: Vec<u8> },
    /// Puts a number in the place of the one that is there, in the encoding of the format.
    PutNumber { block: u8, at: u16, number: u64 },
    Overwrite { block: u8, at: u16, bytes: Vec<u8> },
    Insert { block: u8, at: u16, bytes: Vec<u8> },
    Remove { block: u8, at: u16, count: u8 },
    Cut { block: u8, at: u16 },
}

#[derive(Clone)]
struct Block {
    kind: u32,
    count: u32,
    number: u64,
    time_millis: u64,
    payload: Vec<u8>,
}

impl Block {
    /// Reads the first block of bytes that a save has written, and passes it.
    fn read(bytes: &mut &[u8]) -> Self {
        let length = usize::try_from(number_at(bytes, 24)).expect("a length in memory");
        let (block, rest) = bytes.split_at(BLOCK_HEADER_BYTES + length);
        *bytes = rest;
        let kind_and_count = number_at(block, 8);
        Self {
            kind: kind_and_count as u32,
            count: (kind_and_count >> 32) as u32,
            number: number_at(block, 16),
            time_millis: number_at(block, 32),
            payload: block[BLOCK_HEADER_BYTES..].to_vec(),
        }
    }

    fn write(&self, sums: StableHash, file: &mut Vec<u8>) {
        let mut header = b"\xb1ocK\x0d\x0a\x00\xfe".to_vec();
        header.extend_from_slice(&self.kind.to_le_bytes());
        header.extend_from_slice(&self.count.to_le_bytes());
        for number in [self.number, self.payload.len() as u64, self.time_millis, sums.hash_bytes(&self.payload)] {
            header.extend_from_slice(&number.to_le_bytes());
        }
        let sum = sums.hash_bytes(&header);
        header.extend_from_slice(&sum.to_le_bytes());
        assert_eq!(header.len(), BLOCK_HEADER_BYTES);
        file.extend_from_slice(&header);
        file.extend_from_slice(&self.payload);
    }
}

fn number_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

/// Returns the encoding of a number in payloads.
fn encoded(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn place(at: u16, bytes: &[u8]) -> usize {
    usize::from(at) % (bytes.len() + 1)
}

/// Makes the edits to a snapshot, and returns the file with right checksums.
fn edited(snapshot: &[u8], edits: &[Edit]) -> Vec<u8> {
    let (header, mut rest) = snapshot.split_at(HEADER_BYTES);
    let (mut header, mut blocks) = (header.to_vec(), Vec::new());
    while !rest.is_empty() {
        blocks.push(Block::read(&mut rest));
    }
    for edit in edits {
        apply(edit, &mut header, &mut blocks);
    }
    let sums = StableHash::with_seed(number_at(&header, 16));
    let sum = sums.hash_bytes(&header[..96]);
    header[96..].copy_from_slice(&sum.to_le_bytes());
    let mut file = header;
    blocks.iter().for_each(|block| block.write(sums, &mut file));
    file
}

fn apply(edit: &Edit, header: &mut [u8], blocks: &mut Vec<Block>) {
    if let Edit::Header { field, number } = *edit {
        // The number of shards, or one of the eight bytes from the start of the save to the probe.
        match usize::from(field) % 6 {
            0 => header[12..16].copy_from_slice(&(number as u32).to_le_bytes()),
            field => header[16 + 8 * field..24 + 8 * field].copy_from_slice(&number.to_le_bytes()),
        }
        return;
    }
    let count = blocks.len();
    if let Edit::Forge { at, kind, count: entries, payload } = edit {
        let at = usize::from(*at) % (count + 1);
        let (number, time_millis) = (at as u64, number_at(header, 24));
        let payload = payload.clone();
        blocks.insert(at, Block { kind: (*kind % 9).into(), count: (*entries).into(), number, time_millis, payload });
        return;
    }
    if count == 0 {
        return;
    }
    let index = |block: u8| usize::from(block) % count;
    match edit {
        Edit::Header { .. } | Edit::Forge { .. } => {}
        Edit::Kind { block, kind } => blocks[index(*block)].kind = (*kind % 9).into(),
        Edit::Count { block, count } => blocks[index(*block)].count = *count,
        Edit::Number { block, number } => blocks[index(*block)].number = *number,
        Edit::Time { block, millis } => blocks[index(*block)].time_millis = *millis,
        Edit::Swap { first, second } => blocks.swap(index(*first), index(*second)),
        Edit::Repeat { block, at } => {
            let block = blocks[index(*block)].clone();
            blocks.insert(index(*at), block);
        }
        Edit::Omit { block } => _ = blocks.remove(index(*block)),
        Edit::PutNumber { block, at, number } => {
            let payload = &mut blocks[index(*block)].payload;
            let at = place(*at, payload);
            let length = payload[at..].iter().position(|byte| byte & 0x80 == 0).map_or(0, |last| last + 1);
            payload.splice(at..at + length, encoded(*number));
        }
        Edit::Overwrite { block, at, bytes } => {
            let payload = &mut blocks[index(*block)].payload;
            let at = place(*at, payload);
            payload[at..].iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        }
        Edit::Insert { block, at, bytes } => {
            let payload = &mut blocks[index(*block)].payload;
            let at = place(*at, payload);
            payload.splice(at..at, bytes.iter().copied());
        }
        Edit::Remove { block, at, count } => {
            let payload = &mut blocks[index(*block)].payload;
            let at = place(*at, payload);
            let end = payload.len().min(at + usize::from(*count));
            payload.drain(at..end);
        }
        Edit::Cut { block, at } => {
            let payload = &mut blocks[index(*block)].payload;
            payload.truncate(place(*at, payload));
        }
    }
}

fn damage(snapshot: &mut Vec<u8>, damage: &Damage) {
    match damage {
        Damage::Flip { at, bits } => {
            let at = place(*at, snapshot);
            if let Some(byte) = snapshot.get_mut(at) {
                *byte ^= bits;
            }
        }
        Damage::Cut { at } => snapshot.truncate(place(*at, snapshot)),
        Damage::Remove { at, count } => {
            let at = place(*at, snapshot);
            let end = snapshot.len().min(at + usize::from(*count));
            snapshot.drain(at..end);
        }
        Damage::Insert { at, bytes } => {
            let at = place(*at, snapshot);
            snapshot.splice(at..at, bytes.iter().copied());
        }
        Damage::Copy { from, count, to } => {
            let from = place(*from, snapshot);
            let copied = snapshot[from..snapshot.len().min(from + usize::from(*count))].to_vec();
            let to = place(*to, snapshot);
            snapshot.splice(to..to, copied);
        }
    }
}

fn value_of(key: &[u8]) -> Vec<u8> {
    // Some take a part of a chunk, or several chunks.
    let times = match key[0] % 64 {
        0 => 1_500,
        1 => 200,
        rest => 1 + usize::from(rest % 7),
    };
    key.repeat(times)
}

/// Fills a cache, and returns its snapshot.
fn saved(setup: Setup, entries: u16) -> Vec<u8> {
    let cache = setup.builder().build().expect("a small cache");
    let users = cache.namespace("users").build().expect("a namespace");
    for number in 0..entries % 2_048 {
        let [low, high] = number.to_le_bytes();
        let key = [low, high, 2, 3];
        let lifetime = if number % 3 == 0 { Lifetime::new().ttl(HOUR * (1 + u32::from(low))) } else { Lifetime::new() };
        let _ = cache.insert_with_lifetime(key, value_of(&key), lifetime);
        let _ = cache.get([low / 2, 0, 2, 3]);
    }
    let _ = users.insert("1", "a value of the namespace");
    users.remove("1");
    let mut snapshot = Vec::new();
    cache.save_to(&mut snapshot).expect("memory to write to");
    snapshot
}

fuzz_target!(|input: Input| {
    let mut file = saved(input.saved, input.entries);
    if !input.edits.is_empty() {
        file = edited(&file, &input.edits);
    } else if let Some(foreign) = input.foreign {
        file = foreign;
    }
    input.damage.iter().for_each(|part| damage(&mut file, part));
    let Ok((cache, report)) = input.restored.builder().restore_from(&file[..], HOUR) else { return };
    cache.validate();
    assert!(cache.memory().allocated <= cache.max_bytes());
    assert_eq!(report.entries, cache.len() as u64);
    if input.edits.is_empty() {
        cache.for_each(|key, value| assert_eq!(value, value_of(key)));
    }
    // It goes on to work.
    for number in 0..300_u32 {
        let key = number.to_be_bytes();
        let is_stored = cache.insert(key, [7; 300]).is_ok();
        let found = cache.get(key);
        assert!(found.is_none_or(|value| is_stored && value[..] == [7; 300]));
    }
    cache.validate();
    assert!(cache.memory().allocated <= cache.max_bytes());
});
