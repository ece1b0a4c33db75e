use crate::policy::{Policy, Request, Simulator, Unit, simulate};

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
