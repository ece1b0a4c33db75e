//! Random operations, a save, a restore, and a comparison.

use std::collections::HashMap;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, Lifetime, ManualClock, Policy, Remaining, TICK};
use proptest::prelude::*;

use super::{restored, saved};

#[derive(Clone, Debug)]
enum Operation {
    Insert { key: u16, length: u16 },
    InsertFor { key: u16, seconds: u16, idle: bool, stale: u8 },
    Remove(u16),
    Read(u16),
    SetTtl { key: u16, seconds: u16 },
    Persist(u16),
    Advance(u16),
    SaveAndRestore { policy: usize, shards: u32, seconds_later: u16 },
}

fn operation() -> impl Strategy<Value = Operation> {
    let key = 0..400_u16;
    prop_oneof![
        8 => (key.clone(), 0..3_000_u16).prop_map(|(key, length)| Operation::Insert { key, length }),
        6 => (key.clone(), 1..200_u16, any::<bool>(), 0..20_u8)
            .prop_map(|(key, seconds, idle, stale)| Operation::InsertFor { key, seconds, idle, stale }),
        2 => key.clone().prop_map(Operation::Remove),
        4 => key.clone().prop_map(Operation::Read),
        1 => (key.clone(), 1..200_u16).prop_map(|(key, seconds)| Operation::SetTtl { key, seconds }),
        1 => key.prop_map(Operation::Persist),
        2 => (0..20_u16).prop_map(Operation::Advance),
        1 => (0..Policy::ALL.len(), 0..3_u32, 0..5_u16)
            .prop_map(|(policy, shards, seconds_later)| Operation::SaveAndRestore { policy, shards, seconds_later }),
    ]
}

fn build(clock: &ManualClock, policy: usize, shards: u32) -> bytecache::CacheBuilder {
    let builder = Cache::builder().max_bytes(1 << 20).shards(1 << shards).max_entry_bytes(8 << 10);
    builder.policy(Policy::ALL[policy]).clock(clock.clone())
}

/// Returns the state of every key that reads find.
fn state(cache: &Cache) -> HashMap<Vec<u8>, (Vec<u8>, Remaining)> {
    let mut state = HashMap::new();
    let _ = cache.try_for_each(|key, value, left| {
        state.insert(key.to_vec(), (value.to_vec(), left));
        std::ops::ControlFlow::<()>::Continue(())
    });
    state
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_cache_has_the_entries_of_the_saved_one(
        operations in prop::collection::vec(operation(), 1..300),
        end in (0..Policy::ALL.len(), 0..3_u32),
    ) {
        let clock = ManualClock::new();
        let mut cache = build(&clock, 0, 1).build().unwrap();
        let last = Operation::SaveAndRestore { policy: end.0, shards: end.1, seconds_later: 0 };
        for (step, operation) in (0..).zip(operations.into_iter().chain([last])) {
            let [byte, ..] = u64::to_le_bytes(step);
            match operation {
                Operation::Insert { key, length } => {
                    cache.insert(key.to_le_bytes(), vec![byte; length.into()]).unwrap();
                }
                Operation::InsertFor { key, seconds, idle, stale } => {
                    let (length, stale) = (Duration::from_secs(seconds.into()), Duration::from_secs(stale.into()));
                    let lifetime = if idle { Lifetime::new().time_to_idle(length) } else { Lifetime::new().ttl(length) };
                    let lifetime = if stale.is_zero() { lifetime } else { lifetime.stale_for(stale) };
                    cache.insert_with_lifetime(key.to_le_bytes(), [byte; 50], lifetime).unwrap();
                }
                Operation::Remove(key) => _ = cache.remove(key.to_le_bytes()),
                Operation::Read(key) => _ = cache.get(key.to_le_bytes()),
                Operation::SetTtl { key, seconds } => {
                    cache.set_ttl(key.to_le_bytes(), Duration::from_secs(seconds.into())).unwrap();
                }
                Operation::Persist(key) => _ = cache.persist(key.to_le_bytes()),
                Operation::Advance(seconds) => clock.advance(Duration::from_secs(seconds.into())),
                Operation::SaveAndRestore { policy, shards, seconds_later } => {
                    let before = state(&cache);
                    let snapshot = saved(&cache);
                    // The clock of the cache is not the one that decides what has expired
                    // meanwhile.
                    clock.advance(Duration::from_secs(seconds_later.into()));
                    let (next, report) = restored(build(&clock, policy, shards), &snapshot);
                    next.validate();
                    prop_assert_eq!(report.damaged_blocks, 0);
                    prop_assert!(report.is_complete);
                    let after = state(&next);
                    for (key, (value, left)) in &after {
                        let Some((expected, left_before)) = before.get(key) else {
                            return Err(TestCaseError::fail("a key came from nowhere"));
                        };
                        prop_assert_eq!(value, expected);
                        match (left, left_before) {
                            (Remaining::Forever, Remaining::Forever) => {}
                            (Remaining::For(left), Remaining::For(before)) => prop_assert!(left <= before),
                            other => prop_assert!(false, "{other:?}"),
                        }
                    }
                    let nearly_over = Remaining::For(Duration::from_secs(60) + TICK);
                    let must_stay = |left: &Remaining| match (left, &nearly_over) {
                        (Remaining::For(left), Remaining::For(limit)) => left > limit,
                        _ => true,
                    };
                    let lost = before.iter().filter(|(key, (_, left))| must_stay(left) && !after.contains_key(*key)).count();
                    prop_assert!(lost as u64 <= report.left_out, "{lost} entries are lost: {report:?}");
                    cache = next;
                }
            }
        }
    }
}
