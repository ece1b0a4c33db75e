//! A damaged snapshot costs what is damaged, and nothing else: no panic, and no wrong value.

use std::io::{self, Write};
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, CacheBuilder, Policy, SnapshotError, StableHash};

use super::{DAY, blocks, restored, saved};

fn builder() -> CacheBuilder {
    Cache::builder().max_bytes(1 << 16).shards(1).policy(Policy::Lru)
}

fn value_of(key: u32) -> Vec<u8> {
    format!("value {key} ").repeat(key as usize % 5 + 1).into_bytes()
}

fn small_snapshot() -> Vec<u8> {
    let cache = builder().build().unwrap();
    for key in 0..30_u32 {
        let lifetime = bytecache::Lifetime::new().ttl(Duration::from_secs(u64::from(key) * 100 + 100));
        cache.insert_with_lifetime(key.to_le_bytes(), value_of(key), lifetime).unwrap();
    }
    saved(&cache)
}

/// Checks that a cache has no value but those that were saved. Returns the number of entries.
#[track_caller]
fn check(cache: &Cache) -> usize {
    let mut entries = 0;
    cache.for_each(|key, value| {
        let key = u32::from_le_bytes(key.try_into().unwrap());
        assert_eq!(value, value_of(key));
        entries += 1;
    });
    cache.validate();
    entries
}

#[test]
fn a_flipped_bit_never_leads_to_a_wrong_value() {
    let snapshot = small_snapshot();
    let mut refused = 0;
    for at in 0..snapshot.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = snapshot.clone();
            damaged[at] ^= flip;
            match builder().restore_from(&damaged[..], DAY) {
                Ok((cache, report)) => {
                    let entries = check(&cache);
                    assert_eq!(entries as u64, report.entries);
                    assert!(report.damaged_blocks == 1, "byte {at}: {report:?}");
                }
                Err(
                    SnapshotError::NotASnapshot | SnapshotError::DamagedHeader | SnapshotError::UnknownVersion { .. },
                ) => refused += 1,
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
    }
    assert_eq!(refused, 104 * 3, "only the header is vital");
}

#[test]
fn a_cut_snapshot_has_what_came_before_the_cut() {
    let snapshot = small_snapshot();
    for length in 0..snapshot.len() {
        match builder().restore_from(&snapshot[..length], DAY) {
            Ok((cache, report)) => {
                let entries = check(&cache);
                assert!(!report.is_complete && report.damaged_blocks == 1, "{length} bytes: {report:?}");
                assert_eq!(entries as u64, report.entries);
            }
            Err(SnapshotError::NotASnapshot) => assert!(length < 8),
            Err(SnapshotError::DamagedHeader) => assert!((8..104).contains(&length)),
            Err(other) => panic!("{length} bytes: {other}"),
        }
    }
}

#[test]
fn bytes_that_are_missing_or_too_many_cost_the_block_that_they_were_in() {
    let snapshot = small_snapshot();
    for at in 104..snapshot.len() {
        let mut shorter = snapshot.clone();
        shorter.remove(at);
        let (cache, report) = restored(builder(), &shorter);
        check(&cache);
        assert_eq!(report.damaged_blocks, 1, "byte {at}");
        let mut longer = snapshot.clone();
        longer.insert(at, 0x55);
        check(&restored(builder(), &longer).0);
    }
}

#[test]
fn blocks_behind_a_damaged_one_are_restored() {
    let builder = || Cache::builder().max_bytes(16 << 20).shards(2);
    let cache = builder().build().unwrap();
    for key in 0..20_000_u32 {
        cache.insert(key.to_le_bytes(), [0x41; 100]).unwrap();
    }
    let mut snapshot = saved(&cache);
    let entries = cache.len() as u64;
    let middle = snapshot.len() / 2;
    snapshot[middle..middle + 60].fill(0);
    let (cache, report) = restored(builder(), &snapshot);
    assert_eq!(report.damaged_blocks, 1);
    assert!(report.is_complete && report.entries < entries && report.entries > entries / 2, "{report:?}");
    cache.validate();
    // Two places with a whole block between them.
    let quarter = snapshot.len() / 4;
    snapshot[quarter..quarter + 60].fill(0);
    let (cache, report) = restored(builder(), &snapshot);
    assert_eq!(report.damaged_blocks, 2);
    assert!(report.is_complete && !cache.is_empty(), "{report:?}");
}

#[test]
fn blocks_that_come_twice_restore_what_they_restore_once() {
    let snapshot = small_snapshot();
    let twice = [&snapshot[..], &snapshot[104..], &snapshot[104..]].concat();
    for shards in [1, 2] {
        let (cache, report) = restored(builder().shards(shards).max_bytes(1 << 20), &twice);
        assert_eq!((check(&cache), report.entries), (30, 30));
    }
}

#[test]
fn blocks_in_any_order_and_blocks_that_are_missing_do_no_harm() {
    for &policy in Policy::ALL {
        let builder = || Cache::builder().max_bytes(1 << 17).shards(1).policy(policy);
        let cache = builder().build().unwrap();
        let users = cache.namespace("users").build().unwrap();
        for key in 0..1_500_u32 {
            cache.insert(key.to_le_bytes(), value_of(key)).unwrap();
        }
        users.insert("1", "a value of the namespace").unwrap();
        users.remove("1");
        let snapshot = saved(&cache);
        let whole = blocks(&snapshot);
        assert!(whole.len() >= 4, "{} blocks", whole.len());
        for first in 0..whole.len() {
            for second in first..whole.len() {
                // Two blocks change places, or one is missing.
                let mut blocks = whole.clone();
                blocks.swap(first, second);
                if first == second {
                    blocks.remove(first);
                }
                let file = [&snapshot[..104], &blocks.concat()].concat();
                let (next, report) = restored(builder(), &file);
                assert_eq!(check(&next) as u64, report.entries, "{policy}: {first} and {second}");
                assert!(report.damaged_blocks > 0, "{policy}: {first} and {second}");
                // It goes on to work.
                (0..500_u32).for_each(|key| next.insert(key.to_le_bytes(), value_of(key)).unwrap());
                check(&next);
            }
        }
    }
}

/// Returns a snapshot whose first block says that the index of its only shard has `size` buckets,
/// with right checksums.
fn with_index_size(snapshot: &[u8], size: u64) -> Vec<u8> {
    let sums = StableHash::with_seed(u64::from_le_bytes(snapshot[16..24].try_into().unwrap()));
    let (block, others) = blocks(snapshot).split_first().map(|(first, others)| (*first, others.concat())).unwrap();
    let (mut header, payload) = (block[..56].to_vec(), &block[56..]);
    // The name of the policy comes first, and then the number: seven bits in a byte.
    let (name, rest) = payload.split_at(1 + usize::from(payload[0]));
    let former = rest.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
    let mut number: Vec<u8> = (0..9).map(|place| (size >> (7 * place)).to_le_bytes()[0] | 0x80).collect();
    number.push(u8::from(size >> 63 != 0));
    let payload = [name, &number, &rest[former..]].concat();
    header[24..32].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    header[40..48].copy_from_slice(&sums.hash_bytes(&payload).to_le_bytes());
    let sum = sums.hash_bytes(&header[..48]);
    header[48..56].copy_from_slice(&sum.to_le_bytes());
    [&snapshot[..104], &header, &payload, &others].concat()
}

#[test]
fn an_index_of_any_size_in_a_snapshot_leaves_room_for_entries() {
    let cache = builder().shards(1).build().unwrap();
    (0..30_u32).for_each(|key| cache.insert(key.to_le_bytes(), value_of(key)).unwrap());
    let snapshot = saved(&cache);
    for size in [0, 1, 1_000, 1 << 20, u64::from(u32::MAX), 1 << 40, u64::MAX] {
        for max_bytes in [64 << 10, 1 << 20, 64 << 20] {
            let (next, report) = restored(builder().shards(1).max_bytes(max_bytes), &with_index_size(&snapshot, size));
            assert_eq!((check(&next), report.entries), (30, 30), "{size} in {max_bytes}");
            // A larger size is heeded, as far as it leaves room.
            assert!(next.memory().allocated <= max_bytes && (size < 1_000 || next.memory().index > 4_096));
        }
    }
}

#[test]
fn files_that_are_no_snapshots_are_refused() {
    for foreign in [&b""[..], b"{}", b"SQLite format 3\0", &[0; 1000], &[0xff; 100]] {
        let error = builder().restore_from(foreign, DAY).unwrap_err();
        assert!(matches!(error, SnapshotError::NotASnapshot), "{error:?}");
    }
    let mut later = small_snapshot();
    later[8] = 2;
    let error = builder().restore_from(&later[..], DAY).unwrap_err();
    assert!(matches!(error, SnapshotError::UnknownVersion { version: 2, latest: 1 }), "{error:?}");
}

#[test]
fn a_snapshot_within_a_value_is_not_taken_for_blocks() {
    let inner = small_snapshot();
    let cache = builder().build().unwrap();
    cache.insert("file", &inner).unwrap();
    cache.insert("other", "1").unwrap();
    let mut snapshot = saved(&cache);
    // The header of the block with the entries is destroyed, so the reader looks for the next.
    let at = snapshot.windows(8).enumerate().filter(|(_, bytes)| *bytes == &snapshot[104..112]).nth(1).unwrap().0;
    snapshot[at] ^= 1;
    let (cache, report) = restored(builder(), &snapshot);
    assert_eq!((cache.len(), report.damaged_blocks), (0, 1));
}

/// Takes a number of bytes, and then fails.
struct Failing(usize);

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("the disk is full"));
        }
        let written = bytes.len().min(self.0);
        self.0 -= written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_writer_that_fails_anywhere_leaves_a_cache_that_works_and_can_be_saved() {
    let cache = builder().build().unwrap();
    (0..30_u32).for_each(|key| cache.insert(key.to_le_bytes(), value_of(key)).unwrap());
    let length = saved(&cache).len();
    for bytes in 0..length {
        let error = cache.save_to(Failing(bytes)).unwrap_err();
        assert!(matches!(error, SnapshotError::Io(_)), "{bytes} bytes: {error}");
        assert_eq!(check(&cache), 30);
    }
    assert_eq!(cache.save_to(Failing(length)).unwrap().entries, 30);
}
