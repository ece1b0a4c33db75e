//! The test of a policy by a trace that was worked out by hand. `renames.rs` tests renames and
//! other bounds, which only a shard does to a policy.

mod renames;

use super::simulator::spread;
use super::*;
use crate::error::ParsePolicyError;

/// The outcome of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Hit,
    /// There was room.
    Miss,
    /// These left, in this order; the key itself was refused if it is the last.
    Evicts(&'static [u64]),
}

/// Has a policy follow a trace of keys whose entries are charged 1.
pub(super) fn follow(policy: impl Into<Policy>, capacity: u64, steps: &[(u64, Outcome)]) {
    let steps: Vec<_> = steps.iter().map(|(key, outcome)| (*key, 1, outcome.clone())).collect();
    follow_charged(policy, capacity, &steps);
}

/// Like [`follow`], but each step also has a charge.
pub(super) fn follow_charged(policy: impl Into<Policy>, capacity: u64, steps: &[(u64, u32, Outcome)]) {
    let mut simulator = Simulator::new(&policy.into(), capacity, Unit::Bytes);
    for (step, &(hash, charge, ref expected)) in steps.iter().enumerate() {
        let is_hit = simulator.request(Request { hash, charge });
        match expected {
            Outcome::Hit => assert!(is_hit, "step {step}, key {hash}"),
            Outcome::Miss => assert!(!is_hit && simulator.evicted().is_empty(), "step {step}, key {hash}"),
            Outcome::Evicts(victims) => assert_eq!(simulator.evicted(), *victims, "step {step}, key {hash}"),
        }
        simulator.validate();
    }
}

#[test]
fn every_name_parses_to_its_policy() {
    for &policy in Policy::ALL {
        assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
        assert_eq!(policy.name().to_uppercase().parse::<Policy>().unwrap(), policy);
    }
    assert!(
        matches!("mru?".parse::<Policy>().unwrap_err(), ParsePolicyError::UnknownPolicy { name } if name == "mru?")
    );
}

#[test]
#[cfg_attr(miri, ignore = "Miri maps no memory")]
fn a_policy_that_becomes_smaller_gives_a_bounded_part_of_its_memory_back_with_each_call() {
    // Two arrays of 512 KiB at most, and a list of blocks.
    const AT_ONCE: usize = 5 << 18;
    for &name in Policy::ALL {
        let mut policy = name.build(&PolicyContext::new(2_000_000, 1 << 30));
        let (first, mut before) = (policy.bytes(), policy.bytes());
        let mut is_done = false;
        while !is_done {
            is_done = policy.resize(10_000, 8_500);
            let after = policy.bytes();
            assert!(before.saturating_sub(after) <= AT_ONCE, "{name} gives {} bytes back at once", before - after);
            before = after;
        }
        assert!(first > 4 << 20 && before < first / 100, "{name} has {before} of {first} bytes left");
    }
}

/// A request for each step: some keys far more often than others, a loop, and sizes that vary.
fn request_at(step: u64) -> Request {
    let random = spread(step);
    let hash = if step % 5 == 0 { 100_000 + step / 5 % 700 } else { random % (1 << (3 + random.rotate_left(9) % 9)) };
    let charge = u32::try_from(spread(hash) % 50).expect("a small number") * 40 + 20;
    Request { hash, charge }
}

#[test]
fn a_restored_policy_goes_on_like_the_saved_one() {
    // After the first steps there is still room.
    for (unit, capacity, first) in [
        (Unit::Entries, 400, 20_000),
        (Unit::Bytes, 400_000, 20_000),
        (Unit::Entries, 400, 350),
        (Unit::Bytes, 400_000, 350),
    ] {
        for policy in Policy::ALL {
            let mut simulator = Simulator::new(policy, capacity, unit);
            (0..first).for_each(|step| _ = simulator.request(request_at(step)));
            let mut restarted = simulator.restarted(policy);
            restarted.validate();
            let (mut differing, mut lost) = (0, 0);
            for step in first..first + 20_000 {
                let [before, after] = [&mut simulator, &mut restarted].map(|one| one.request(request_at(step)));
                differing += i32::from(before != after);
                lost += i32::from(before) - i32::from(after);
            }
            restarted.validate();
            println!("{policy} {unit:?} from {first}: {differing} of 20,000 hits differ, {lost} are lost");
            let is_exact = matches!(
                policy,
                Policy::Lru
                    | Policy::Fifo
                    | Policy::Mru
                    | Policy::Clock
                    | Policy::Sieve
                    | Policy::Slru
                    | Policy::Lfu
                    | Policy::Gdsf
            );
            assert!(differing == 0 || !is_exact, "{policy} {unit:?}: {differing} of 20,000 hits differ");
            assert!(lost < 100, "{policy} {unit:?}: {lost} of 20,000 hits are lost");
        }
    }
}
