//! Restores any bytes, and damaged snapshots. No value that was not saved may come out.
#![no_main]

use std::time::Duration;

use arbitrary::Arbitrary;
use bytecache::testing::Inspect;
use bytecache::{Cache, CacheBuilder, Lifetime, Policy};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input {
    policies: (u8, u8),
    entries: u8,
    damage: Vec<Damage>,
    /// Comes in place of the snapshot, if it is there.
    foreign: Option<Vec<u8>>,
}

#[derive(Arbitrary, Debug)]
enum Damage {
    Flip { at: u16, bits: u8 },
    Cut { at: u16 },
    Remove { at: u16, count: u8 },
    Insert { at: u16, bytes: Vec<u8> },
    /// Copies a part of the snapshot to another place.
    Copy { from: u16, count: u16, to: u16 },
}

fn builder(policy: u8) -> CacheBuilder {
    let policy = Policy::ALL[usize::from(policy) % Policy::ALL.len()];
    Cache::builder().max_bytes(1 << 16).shards(1).policy(policy)
}

fn value_of(key: &[u8]) -> Vec<u8> {
    key.repeat(1 + usize::from(key[0] % 7))
}

fn damage(snapshot: &mut Vec<u8>, damage: &Damage) {
    let place = |at: u16, snapshot: &[u8]| usize::from(at) % (snapshot.len() + 1);
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

fuzz_target!(|input: Input| {
    let cache = builder(input.policies.0).build().expect("a small cache");
    for number in 0..input.entries {
        let key = [number, 1, 2, 3];
        let seconds = Duration::from_secs(u64::from(number) * 1000 + 1000);
        let lifetime = if number % 3 == 0 { Lifetime::new().ttl(seconds) } else { Lifetime::new() };
        let _ = cache.insert_with_lifetime(key, value_of(&key), lifetime);
    }
    let mut snapshot = Vec::new();
    cache.save_to(&mut snapshot).expect("memory to write to");
    if let Some(foreign) = input.foreign {
        snapshot = foreign;
    }
    input.damage.iter().for_each(|part| damage(&mut snapshot, part));
    if let Ok((cache, restored)) = builder(input.policies.1).restore_from(&snapshot[..], Duration::from_secs(3600)) {
        cache.for_each(|key, value| assert_eq!(value, value_of(key)));
        cache.validate();
        assert!(restored.entries <= u64::from(input.entries));
        assert!(cache.memory().allocated <= cache.max_bytes());
    }
});
