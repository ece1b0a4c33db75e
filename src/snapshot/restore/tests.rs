//! The wall clock decides what has expired while nothing ran.

use super::super::format::{encode_entry, put_number};
use super::super::save::SaveOptions;
use super::*;
use crate::clock::ManualClock;
use crate::expiry::{Lifetime, Remaining, TimesLeft};
use crate::policy::{Policy, Standing, spread};
use crate::shard::SavedEntry;

const HOUR: Duration = Duration::from_secs(3600);

fn builder() -> CacheBuilder {
    Cache::builder().max_bytes(1 << 20).clock(ManualClock::new())
}

/// Saves a cache with an entry that lives for 1,000 seconds, one that is stale for another 1,000,
/// and one without a deadline. Returns the snapshot and its time. The time that the test takes
/// counts, too, so all bounds leave 100 seconds.
fn snapshot() -> (Vec<u8>, u64) {
    let cache = builder().build().unwrap();
    let lifetime = Duration::from_secs(1_000);
    cache.insert_with_ttl("mortal", "1", lifetime).unwrap();
    cache.insert_with_lifetime("stale", "2", Lifetime::new().ttl(lifetime).stale_for(lifetime)).unwrap();
    cache.insert("forever", "3").unwrap();
    let mut snapshot = Vec::new();
    cache.save_to(&mut snapshot).unwrap();
    let start = Header::from_bytes(&snapshot).unwrap().start_millis;
    (snapshot, start)
}

fn restored_at(snapshot: &[u8], now_millis: u64, max_age: Duration) -> (Cache, Restored) {
    restore_at(builder(), snapshot, max_age, Instant::now(), now_millis).unwrap()
}

#[test]
fn what_has_expired_while_nothing_ran_is_left_out() {
    let (snapshot, start) = snapshot();
    let (cache, restored) = restored_at(&snapshot, start + 500_000, HOUR);
    let Some(Remaining::For(left)) = cache.ttl("mortal") else { panic!("no deadline") };
    assert!((400..=600).contains(&left.as_secs()), "{left:?}");
    assert_eq!((restored.entries, restored.expired, restored.age), (3, 0, Some(Duration::from_secs(500))));

    let (cache, restored) = restored_at(&snapshot, start + 1_100_000, HOUR);
    assert_eq!((restored.entries, restored.expired, restored.left_out), (2, 1, 0));
    assert!(cache.get("mortal").is_none() && cache.get("stale").is_none());
    assert!(cache.get_or_stale("stale").is_some_and(|found| found.is_stale()));

    let (cache, restored) = restored_at(&snapshot, start + 2_100_000, HOUR);
    assert_eq!((restored.entries, restored.expired), (1, 2));
    assert!(cache.contains_key("forever"));
}

#[test]
fn the_counts_of_all_blocks_add_up() {
    let cache = builder().max_bytes(4 << 20).shards(1).max_entry_bytes(16 << 10).build().unwrap();
    for key in 0..6_000_u32 {
        match key % 60 {
            0 => cache.insert(key.to_le_bytes(), [0; 12_000]).unwrap(),
            1..20 => cache.insert_with_ttl(key.to_le_bytes(), [0; 200], Duration::from_secs(1_000)).unwrap(),
            _ => cache.insert(key.to_le_bytes(), [0; 200]).unwrap(),
        }
    }
    let (mut snapshot, mut blocks) = (Vec::new(), 0);
    let saved = cache.save_to_with(&mut snapshot, SaveOptions::new().progress(|_| blocks += 1)).unwrap();
    assert!(saved.entries == 6_000 && blocks > 5, "{blocks} blocks");
    let later = Header::from_bytes(&snapshot).unwrap().start_millis + 1_100_000;
    let restored = |builder| restore_at(builder, &snapshot[..], HOUR, Instant::now(), later).unwrap().1;

    // 100 are too large.
    let report = restored(builder().max_bytes(4 << 20).max_entry_bytes(8 << 10));
    assert_eq!((report.entries, report.expired, report.left_out, report.changed), (4_000, 1_900, 100, 0));
    // Most do not fit.
    let report = restored(builder().max_bytes(256 << 10).shards(1));
    assert_eq!((report.entries + report.left_out, report.expired, report.changed), (4_100, 1_900, 0));
    assert!((500..1_200).contains(&report.entries), "{report:?}");
}

#[test]
fn a_clock_that_has_gone_back_extends_nothing() {
    let (snapshot, start) = snapshot();
    let (cache, restored) = restored_at(&snapshot, start - 1_000_000, HOUR);
    assert_eq!((restored.origin, restored.age), (RestoredFrom::Snapshot, Some(Duration::ZERO)));
    let Some(Remaining::For(left)) = cache.ttl("mortal") else { panic!("no deadline") };
    assert!(left <= Duration::from_secs(1_000), "{left:?}");
}

#[test]
fn the_greatest_age_counts_from_the_start_of_the_save_in_both_directions() {
    let (snapshot, start) = snapshot();
    let hour = 3_600_000;
    for (now, origin) in [
        (start + hour, RestoredFrom::Snapshot),
        (start + hour + 1, RestoredFrom::TooOld),
        (start - hour, RestoredFrom::Snapshot),
        (start - hour - 1, RestoredFrom::TooOld),
        (0, RestoredFrom::TooOld),
        (u64::MAX, RestoredFrom::TooOld),
    ] {
        let (cache, restored) = restored_at(&snapshot, now, HOUR);
        assert_eq!((restored.origin, cache.is_empty()), (origin, origin == RestoredFrom::TooOld), "at {now}");
    }
    assert_eq!(restored_at(&snapshot, start + 1, Duration::ZERO).1.origin, RestoredFrom::TooOld);
}

/// Returns a snapshot with one block of this kind, whose checksums are right.
fn forged(kind: u32, count: u32, length: Option<u64>, payload: &[u8]) -> Vec<u8> {
    let header = Header {
        nonce: 5,
        start_millis: 1_000,
        entries: u64::MAX,
        shards: u32::MAX,
        max_bytes: 1,
        buckets: u64::MAX,
        probe: 0,
        seeds: [u64::MAX; 4],
    };
    let payload_sum = StableHash::with_seed(5).hash_bytes(payload);
    let length = length.unwrap_or(payload.len() as u64);
    let block = BlockHeader { kind, count, number: 0, length, time_millis: u64::MAX, payload_sum };
    [&header.to_bytes()[..], &block.to_bytes(5), payload].concat()
}

#[test]
fn hostile_blocks_with_the_right_checksums_do_no_harm() {
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let with_lengths = [&[0][..], &huge, &huge, b"key"].concat();
    let changes = [&[0, 0x80, 0x80, 0x80, 0x04][..], &huge, &[0xff; 8]].concat();
    let payloads: [&[u8]; 6] = [b"", &[0; 100], &[0xff; 100], &huge, &with_lengths, &changes];
    for number in 0..8 {
        for payload in payloads {
            for (count, length) in [(0, None), (1, None), (u32::MAX, None), (1, Some(u64::MAX)), (9, Some(1 << 40))] {
                let file = forged(number, count, length, payload);
                let (cache, restored) = restored_at(&file, 1_000, HOUR);
                assert!(restored.damaged_blocks > 0 || number == kind::END, "it has no end");
                assert!(cache.memory().allocated <= cache.max_bytes());
                cache.validate();
            }
        }
    }
}

#[test]
fn a_record_of_changes_larger_than_the_cache_affords_is_folded() {
    let key = |number: u32| number.to_le_bytes();
    let changes = crate::shard::Changes::new(1 << 21, 9);
    (0..1_000).for_each(|number| changes.note(&key(number)));
    let mut known = ChangedKeys::new(9, 1 << 20);
    let mut writer = super::super::changed::ChangesWriter::default();
    let mut read = |payload: &[u8]| known.read(payload).ok_or(());
    assert_eq!(writer.write(&changes, &mut read), Ok(true));
    assert_eq!(writer.write(&changes, &mut read), Ok(false), "nothing has been added");
    changes.note(&key(5_000));
    assert_eq!(writer.write(&changes, &mut read), Ok(true));
    assert!((0..1_000).chain([5_000]).all(|number| known.have(&key(number))));
    let others = (10_000..20_000).filter(|&number| known.have(&key(number))).count();
    assert!(others < 1_500, "{others} of 10,000 other keys count as changed");
}

/// Numbers that look random, and are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u32) -> u32 {
        self.0 += 1;
        u32::try_from(spread(self.0) % u64::from(bound)).unwrap()
    }

    /// Returns a number of any size.
    fn number(&mut self) -> u64 {
        self.0 += 1;
        spread(self.0) >> self.below(64)
    }

    fn small(&mut self) -> u32 {
        let [a, b, c, d, ..] = self.number().to_le_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    fn bytes(&mut self, most: u32) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.below(256).to_le_bytes()[0]).collect()
    }

    /// Returns the state of a policy: numbers of all sizes, or bytes.
    fn state(&mut self) -> Vec<u8> {
        match self.below(4) {
            0 => self.bytes(1024),
            _ => {
                let scale = [1.0, 1e3, 1e-19, 1.0][self.below(4) as usize];
                (0..40).flat_map(|_| (self.number() as f64 * scale).to_le_bytes()).collect()
            }
        }
    }

    fn entry<'a>(&mut self, key: &'a [u8], value: &'a [u8]) -> SavedEntry<'a> {
        let standing = Standing::new().class(self.below(5).to_le_bytes()[0]).rank(self.number());
        let standing = standing.uses(self.small()).order(self.small());
        let times = TimesLeft {
            removal_millis: (self.below(3) == 0).then(|| self.number()),
            idle_millis: (self.below(3) == 0).then(|| self.number()),
            idle_ticks: self.small(),
            stale_ticks: self.small(),
            refresh_ticks: (self.below(3) == 0).then(|| self.small().cast_signed()),
            has_failed: self.below(9) == 0,
            is_negative: self.below(9) == 0,
        };
        let times = if self.below(2) == 0 { TimesLeft::default() } else { times };
        SavedEntry { key, value, standing, visits: self.below(4).to_le_bytes()[0], times }
    }
}

/// Returns a file with right checksums, in which all that has a length has a right one.
fn forged_for(policy: Policy, random: &mut Random, probe: u64) -> Vec<u8> {
    let nonce = 5;
    let header = Header {
        nonce,
        start_millis: 1_000,
        entries: 9,
        shards: 1,
        max_bytes: 1 << 20,
        buckets: random.number(),
        probe,
        seeds: [0; 4],
    };
    let mut blocks = Vec::new();
    let mut payload = Vec::new();
    put_number(&mut payload, policy.name().len() as u64);
    payload.extend_from_slice(policy.name().as_bytes());
    put_number(&mut payload, [4, 60, random.number()][random.below(3) as usize]);
    put_number(&mut payload, random.small().into());
    let state = random.state();
    put_number(&mut payload, state.len() as u64);
    payload.extend_from_slice(&state);
    blocks.push((kind::POLICY, 0, payload));
    for part in 0..3 {
        let total = random.below(400).to_le_bytes();
        let first = random.below(300).to_le_bytes();
        blocks.push((kind::HISTORY, 0, [&[0, part], &total[..], &first, &random.bytes(16 << 10)].concat()));
    }
    let (mut payload, count) = (Vec::new(), 400);
    let value = [7; 9_000];
    for key in 0..count {
        let length = [10, 100, 1_000, 9_000][random.below(64).trailing_zeros().min(3) as usize];
        let key = u32::to_le_bytes(key);
        let entry = random.entry(&key, &value[..length]);
        encode_entry(&entry, &mut payload);
        payload.extend_from_slice(entry.value);
    }
    blocks.push((kind::ENTRIES, count, payload));
    blocks.push((kind::END, 0, vec![0]));
    let mut file = header.to_bytes().to_vec();
    for (number, (kind, count, payload)) in (0..).zip(&blocks) {
        let payload_sum = StableHash::with_seed(nonce).hash_bytes(payload);
        let length = payload.len() as u64;
        let block = BlockHeader { kind: *kind, count: *count, number, length, time_millis: 1_000, payload_sum };
        file.extend_from_slice(&block.to_bytes(nonce));
        file.extend_from_slice(payload);
    }
    file
}

#[test]
fn hostile_knowledge_of_policies_does_no_harm() {
    let mut random = Random(1);
    for &policy in Policy::ALL {
        let builder = || builder().shards(1).policy(policy).hasher(StableHash::with_seed(3));
        let cache = builder().build().unwrap();
        let probe = cache.hash_probe();
        for _ in 0..40 {
            let file = forged_for(policy, &mut random, probe);
            let (cache, report) = restore_at(builder(), &file[..], HOUR, Instant::now(), 1_000).unwrap();
            assert_eq!((report.damaged_blocks, report.is_complete), (0, true), "{policy}");
            assert_eq!(report.entries + report.expired + report.left_out, 400, "{policy}: {report:?}");
            cache.validate();
            assert!(cache.memory().allocated <= cache.max_bytes());
            cache.for_each(|_, value| assert!(value.iter().all(|&byte| byte == 7)));
            // It goes on to work.
            for key in 0..2_000_u32 {
                cache.insert(key.to_be_bytes(), vec![7; key as usize % 700]).unwrap();
            }
            cache.validate();
        }
    }
}
