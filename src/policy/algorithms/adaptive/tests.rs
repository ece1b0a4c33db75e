use crate::policy::{EntryId, Newcomer, Policy, PolicyContext, Request, Simulator, Unit, simulate};

fn request(simulator: &mut Simulator, hash: u64, charge: u32) -> bool {
    let is_hit = simulator.request(Request { hash, charge });
    simulator.validate();
    is_hit
}

fn misses(policy: Policy, capacity: u64, keys: impl Iterator<Item = u64>) -> f64 {
    let requests = keys.map(|hash| Request { hash, charge: 1 });
    simulate(&policy, capacity, Unit::Entries, requests).miss_ratio()
}

#[test]
fn a_key_that_came_back_outlives_a_scan() {
    let mut simulator = Simulator::new(&Policy::Adaptive, 100, Unit::Entries);
    (0..500).for_each(|key| assert!(!request(&mut simulator, key, 1)));
    let gone = simulator.evicted()[0];
    assert!(!request(&mut simulator, gone, 1));
    (1000..1500).for_each(|key| assert!(!request(&mut simulator, key, 1)));
    assert!(request(&mut simulator, gone, 1));
}

#[test]
fn a_loop_larger_than_the_cache_is_hit_in_part() {
    let keys = || (0..200_000).map(|step| step % 1200);
    assert!(misses(Policy::Lru, 1000, keys()) > 0.99);
    assert!(misses(Policy::Adaptive, 1000, keys()) < 0.5);
}

#[test]
fn what_was_just_used_is_hit_as_by_lru() {
    // Three keys in sixteen are new; the others are among the last 1,200 new ones, the newest
    // most often.
    let keys = || {
        let (mut random, mut newest) = (1_u64, 1_u64 << 32);
        (0..200_000).map(move |_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            newest += u64::from(random >> 60 < 3);
            newest - (random >> 20) % 1200 * ((random >> 40) % 1000) / 1000
        })
    };
    let [lru, ours] = [Policy::Lru, Policy::Adaptive].map(|policy| misses(policy, 1000, keys()));
    assert!(lru < 0.5 && ours < lru + 0.02, "{lru} and {ours}");
}

#[test]
fn a_large_entry_does_not_push_out_what_was_visited_unless_it_is_wanted_again() {
    let mut simulator = Simulator::new(&Policy::Adaptive, 1000, Unit::Bytes);
    (0..100).for_each(|key| assert!(!request(&mut simulator, key, 10)));
    (0..100).for_each(|key| assert!(request(&mut simulator, key, 10)));
    assert!(!request(&mut simulator, 1000, 600));
    assert!(!simulator.contains(1000) && simulator.len() >= 99);
    assert!(!request(&mut simulator, 1000, 600));
    assert!(simulator.contains(1000));
}

#[test]
fn one_entry_of_another_size_changes_nothing_for_those_of_one_size() {
    // The mean comes close to the size of the others, and never reaches it.
    let misses_after = |first: u32| {
        let keys = (0..200_000).map(|step| step % 1200);
        let requests = keys.map(|hash| Request { hash, charge: 100 });
        let first = Request { hash: u64::MAX, charge: first };
        simulate(&Policy::Adaptive, 100_000, Unit::Bytes, std::iter::once(first).chain(requests)).miss_ratio()
    };
    let among_equals = misses_after(100);
    for first in [50, 99, 101, 190] {
        let misses = misses_after(first);
        assert!((misses - among_equals).abs() < 0.01, "after {first}: {misses}, among equals: {among_equals}");
    }
}

#[test]
fn sizes_that_differ_little_make_no_difference() {
    // All lengths of a key in bits are equally likely. Every fifth request is of a scan.
    let random =
        |step: u64| (step + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(31).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let misses_with = |spread: u64| {
        let keys = (0..300_000_u64).map(|step| match (step % 5, random(step) >> 60) {
            (0, _) => 1 << 40 | step,
            (_, bits) => 1 << bits | (random(step) >> 20 & ((1 << bits) - 1)),
        });
        let charge = |key: u64| u32::try_from(1000 - spread + random(key) % (2 * spread + 1)).unwrap();
        let requests = keys.map(|key| Request { hash: random(key), charge: charge(key) });
        simulate(&Policy::Adaptive, 1_000_000, Unit::Bytes, requests).miss_ratio()
    };
    let equal = misses_with(0);
    for spread in [10, 50, 100, 250] {
        let misses = misses_with(spread);
        assert!((misses - equal).abs() < 0.02, "spread {spread}: {misses}, equal: {equal}");
    }
}

#[test]
fn all_that_was_measured_is_restored() {
    let mut before = Policy::Adaptive.build(&PolicyContext::new(1000, 1 << 20));
    for id in 0..500 {
        before.insert(&Newcomer { id: EntryId::new(id), hash: u64::from(id), charge: 100 + id % 7 * 300 });
    }
    let mut after = Policy::Adaptive.build(&PolicyContext::new(1000, 1 << 20));
    let [mut saved, mut again, mut fresh] = [Vec::new(), Vec::new(), Vec::new()];
    before.save_state(&mut saved);
    after.save_state(&mut fresh);
    after.restore_state(&saved);
    after.save_state(&mut again);
    assert!(saved == again && saved.chunks(8).last() != fresh.chunks(8).last());
}
