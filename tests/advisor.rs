//! The advisor, through the public interface.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Residents};
use bytecache::testing::Inspect;
use bytecache::{Advice, Advisor, Cache, CacheBuilder, ManualClock, Policy, StableHash};

/// Reads keys, and inserts those that are missing.
fn read_through(cache: &Cache, keys: impl Iterator<Item = u32>) {
    for key in keys {
        let key = key.to_le_bytes();
        if cache.view(key, |_| ()).is_none() {
            cache.insert(key, [7; 400]).unwrap();
        }
    }
}

fn builder() -> CacheBuilder {
    let builder = Cache::builder().max_bytes(8 << 20).shards(1).policy(Policy::Lru).hasher(StableHash::with_seed(1));
    builder.advisor(Advisor::new().share(1.0))
}

fn hit_ratio(advice: &Advice, size_percent: u32) -> f64 {
    advice.curve().find(|row| row.size_percent == size_percent).unwrap().hit_ratio
}

#[test]
fn a_loop_needs_a_larger_cache_or_another_policy() {
    let cache = builder().build().unwrap();
    // About 24,000 entries do not fit into 8 MiB, and do into 16 MiB.
    read_through(&cache, (0..240_000).map(|step| step % 24_000));
    let advice = cache.advice().unwrap();
    assert_eq!(advice.live_hit_ratio, 0.0);
    assert_eq!(advice.reads, 240_000.0);
    assert!(hit_ratio(&advice, 100) < 0.01 && hit_ratio(&advice, 50) < 0.01, "{advice:#}");
    assert!((0.85..0.95).contains(&hit_ratio(&advice, 200)), "{advice:#}");
    assert!(advice.better_policy().is_some(), "{advice:#}");
    assert_eq!(advice.flattens_at().map(|row| row.size_percent), Some(150));
    let text = advice.to_string();
    assert!(text.contains("100 % more memory: +") && text.contains(" would hit "), "{text}");
}

#[test]
fn a_cache_without_an_advisor_or_without_reads_has_no_advice() {
    let cache = Cache::builder().max_bytes(8 << 20).build().unwrap();
    assert!(cache.get("key").is_none());
    assert_eq!(cache.advice(), None);
    assert_eq!(builder().build().unwrap().advice(), None);
    // Too little memory for an advisor.
    let cache = Cache::builder().max_bytes(64 << 10).advisor(Advisor::new()).build().unwrap();
    assert!(cache.get("key").is_none());
    assert_eq!(cache.advice(), None);
}

#[test]
fn an_entry_that_was_removed_or_has_expired_misses_at_every_size() {
    let clock = ManualClock::new();
    let cache = builder().clock(clock.clone()).ttl(Duration::from_secs(10)).build().unwrap();
    for round in 0..20_u32 {
        read_through(&cache, 0..100);
        match round % 2 {
            0 => (0..100_u32).for_each(|key| assert!(cache.remove(key.to_le_bytes()))),
            _ => clock.advance(Duration::from_secs(11)),
        }
    }
    let advice = cache.advice().unwrap();
    assert_eq!(advice.live_hit_ratio, 0.0);
    assert!(advice.rows.iter().all(|row| row.hit_ratio == 0.0), "{advice:#}");
}

#[test]
fn advice_follows_traffic_that_changes() {
    let clock = ManualClock::new();
    let advisor = Advisor::new().share(1.0).half_life(Duration::from_secs(60));
    let cache = builder().clock(clock.clone()).advisor(advisor).build().unwrap();
    read_through(&cache, (0..100_000).map(|step| step % 24_000));
    clock.advance(Duration::from_secs(600));
    read_through(&cache, (0..100_000).map(|step| step % 100));
    let advice = cache.advice().unwrap();
    assert!(advice.live_hit_ratio > 0.99 && hit_ratio(&advice, 25) > 0.99, "{advice:#}");
    assert!(advice.reads < 101_000.0);
}

#[test]
fn any_options_build_a_cache_whose_advice_is_sound() {
    let advisor = || Advisor::new().share(1.0);
    for advisor in [
        advisor().share(f64::NAN).share(-1.0),
        advisor().share(f64::INFINITY),
        advisor().half_life(Duration::ZERO),
        advisor().half_life(Duration::MAX),
        advisor().max_bytes(0),
        advisor().max_bytes(usize::MAX),
        advisor().sizes([]).policies([]),
        advisor().sizes([0, u32::MAX, 1, 100, 100]),
        advisor().sizes(1..1000).policies(Policy::ALL.iter().copied()),
    ] {
        let cache = builder().advisor(advisor.clone()).build().unwrap();
        read_through(&cache, (0..60_000).map(|step| step * step % 30_011));
        cache.validate();
        assert!(cache.memory().allocated <= cache.max_bytes());
        let Some(advice) = cache.advice() else { continue };
        assert!(advice.rows.len() <= 32 && advice.present().is_some(), "{advisor:?}");
        for row in &advice.rows {
            for ratio in [row.hit_ratio, row.hit_ratio_error, row.byte_hit_ratio, row.byte_hit_ratio_error] {
                assert!((0.0..=1.0).contains(&ratio), "{row:?}");
            }
        }
        assert!(advice.sampled_reads <= 60_000.0 && !format!("{advice:#}").is_empty());
    }
}

#[test]
fn threads_that_share_a_cache_get_sound_advice() {
    let cache = builder().shards(2).build().unwrap();
    thread::scope(|scope| {
        for seed in 0..4 {
            let cache = &cache;
            scope.spawn(move || {
                read_through(cache, (0..50_000).map(|step| (step * 7 + seed * 1_000) % 3_000));
                (0..500_u32).for_each(|key| _ = cache.remove(key.to_le_bytes()));
                assert!(cache.advice().is_some());
            });
        }
    });
    let advice = cache.advice().unwrap();
    assert_eq!(advice.reads, 200_000.0);
    assert!(advice.sampled_reads + advice.dropped >= 200_000.0 && advice.sampled_reads <= 200_000.0);
    cache.clear();
    cache.validate();
}

/// Panics in its next `insert` once the fuse is lit.
struct Fused {
    policy: Box<dyn EvictionPolicy>,
    fuse: Arc<AtomicBool>,
}

impl EvictionPolicy for Fused {
    fn insert(&mut self, newcomer: &Newcomer) {
        assert!(!self.fuse.swap(false, Ordering::Relaxed), "the policy has panicked");
        self.policy.insert(newcomer);
    }
    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        self.policy.evict(newcomer, residents)
    }
    fn remove(&mut self, id: EntryId, charge: u32) {
        self.policy.remove(id, charge);
    }
    fn set_capacity(&mut self, charge: u64) {
        self.policy.set_capacity(charge);
    }
    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        self.policy.resize(ids, max_entries)
    }
    fn prepare_renames(&mut self, from: core::ops::Range<u32>, to: core::ops::Range<u32>) -> bool {
        self.policy.prepare_renames(from, to)
    }
    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.policy.rename(from, to);
    }
    fn end_renames(&mut self) {
        self.policy.end_renames();
    }
    fn bytes(&self) -> usize {
        self.policy.bytes()
    }
}

#[test]
fn a_custom_policy_is_simulated_and_one_that_panics_stops_the_advisor_only() {
    let fuse = Arc::new(AtomicBool::new(false));
    let lit = Arc::clone(&fuse);
    let policy = move |context: PolicyContext| -> Box<dyn EvictionPolicy> {
        Box::new(Fused { policy: Policy::Fifo.build(&context), fuse: Arc::clone(&lit) })
    };
    let cache = builder().custom_policy(policy).build().unwrap();
    read_through(&cache, 0..1_000);
    let advice = cache.advice().unwrap();
    assert!(advice.curve().all(|row| row.policy == "custom") && advice.other_policies().count() > 0);

    // The events of this write are followed while the advice is made. Its own policy has given the
    // entry its place before.
    cache.insert("key", "value").unwrap();
    cache.insert("another key", "value").unwrap();
    cache.maintain();
    fuse.store(true, Ordering::Relaxed);
    while fuse.load(Ordering::Relaxed) {
        let _ = catch_unwind(AssertUnwindSafe(|| read_through(&cache, 2_000..2_100)));
    }
    let _ = catch_unwind(AssertUnwindSafe(|| cache.advice()));
    read_through(&cache, 3_000..3_100);
    assert!(cache.contains_key(3_050_u32.to_le_bytes()));
    cache.validate();
}
