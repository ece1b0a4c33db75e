//! Policies inside a cache whose index grows: the victims are those of an object whose ids stay the
//! same.

use bytecache::testing::Inspect;
use bytecache::{Cache, Policy, StableHash};

use crate::support::{alone, random};
use crate::twin::Twin;

#[test]
fn every_policy_evicts_in_a_growing_index_what_it_evicts_when_ids_stay_the_same() {
    let _alone = alone();
    for &policy in Policy::ALL {
        let cache = Cache::builder()
            .max_bytes(512 << 10)
            .shards(1)
            .hasher(StableHash::with_seed(5))
            .custom_policy(move |context| Box::new(Twin::new(&context, |context| policy.build(context))))
            .build()
            .unwrap();
        let mut state = 1;
        for number in 0..60_000_u32 {
            let key = (random(&mut state) % 20_000).to_le_bytes();
            // Entries become smaller, so the index has to grow again and again.
            let len = if number < 10_000 { 200 } else { 10 };
            match number % 16 {
                0 => _ = cache.remove(key),
                1..6 => _ = cache.get(key),
                _ => cache.insert(key, vec![7; len]).unwrap(),
            }
        }
        cache.validate();
        let stats = cache.stats();
        assert!(stats.index_growths > 3 && stats.evictions > 1000, "{policy}: {stats:?}");
    }
}
