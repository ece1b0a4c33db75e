//! The fewest misses of any policy: Belady's MIN in entries, a bound in bytes.
//!
//! ```text
//!   requests    a    b    c    a    b    a
//!   intervals   a |--------------|---------|
//!                    b |--------------|
//! ```
//!
//! * MIN evicts the entry whose next look-up is farthest away (Belady 1966; Mattson 1970 proves it
//!   optimal). It is exact if all entries have the same charge and every miss is stored.
//! * With different charges, the optimum is NP-hard. The bound is PFOO-L (Berger, Beckmann and
//!   Harchol-Balter 2018). An interval leads from a request to the next look-up of its key. It
//!   costs its length times the charge. The cheapest intervals are hits, as long as they cost no
//!   more than the capacity times the length of the trace. So the cache may be fuller at one time
//!   if it is emptier at another. The interval that reaches the limit counts as a whole.
//!
//! A store or a removal ends the entry before it. The interval from that entry to a later look-up
//! is left out.
//!
//! # Cost
//!
//! MIN: a step in a tree of at most `capacity` numbers, for each request and capacity. The bound:
//! two sorts, and then a pass for each capacity.

use std::collections::{BTreeSet, HashMap};

use bytecache::policy::{Simulation, Unit};

use super::workload::Workload;
use crate::trace::{Operation, Request};

/// The position of a look-up that never comes.
const NEVER: usize = usize::MAX;

/// The optimum of one workload, or its bound.
#[derive(Debug)]
pub(crate) enum Optimum<'a> {
    /// MIN.
    Exact(Lookahead<'a>),
    /// PFOO-L.
    Bound(Bound),
}

impl<'a> Optimum<'a> {
    /// Prepares the data that all capacities need.
    pub(crate) fn new(workload: &Workload<'a>) -> Self {
        match workload.unit() {
            Unit::Entries => Self::Exact(Lookahead::new(workload.requests())),
            Unit::Bytes => Self::Bound(Bound::new(workload)),
        }
    }

    /// Returns the fewest misses, and the fewest missed bytes, of caches of this capacity. MIN does
    /// not count bytes.
    pub(crate) fn at(&self, capacity: u64) -> Simulation {
        match self {
            Self::Exact(lookahead) => lookahead.simulate(capacity),
            Self::Bound(bound) => bound.at(capacity),
        }
    }
}

/// Requests, and the next look-up of the key of each.
#[derive(Debug)]
pub(crate) struct Lookahead<'a> {
    requests: &'a [Request],
    /// For each request, the position of the next look-up that finds its entry, or `NEVER`.
    next_use: Vec<usize>,
}

impl<'a> Lookahead<'a> {
    fn new(requests: &'a [Request]) -> Self {
        let mut next_use = vec![NEVER; requests.len()];
        let mut coming = HashMap::new();
        for (position, request) in requests.iter().enumerate().rev() {
            next_use[position] = match request.operation {
                Operation::Fetch => coming.insert(request.key, position),
                Operation::Store | Operation::Delete => coming.remove(&request.key),
            }
            .filter(|_| request.operation != Operation::Delete)
            .unwrap_or(NEVER);
        }
        Self { requests, next_use }
    }

    /// Runs MIN. An entry is identified by the position of its next use, which is unique. An entry
    /// without a next use is evicted before all others. So it is not kept, but its request may need
    /// room.
    fn simulate(&self, capacity: u64) -> Simulation {
        let mut total = Simulation::default();
        let mut uses = BTreeSet::new();
        for (position, request) in self.requests.iter().enumerate() {
            if request.operation == Operation::Delete {
                continue;
            }
            let is_hit = uses.remove(&position);
            if request.operation == Operation::Fetch {
                total.requests += 1;
                total.misses += u64::from(!is_hit);
            }
            if !is_hit && uses.len() as u64 == capacity {
                uses.pop_last();
            }
            if self.next_use[position] != NEVER {
                uses.insert(self.next_use[position]);
            }
        }
        total
    }
}

/// The bound, for all capacities.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Intervals in ascending order of their cost for each hit.
    by_request: Vec<Interval>,
    /// Intervals in ascending order of their cost for each byte that hits.
    by_byte: Vec<Interval>,
    steps: usize,
    requests: u64,
    bytes: u64,
}

/// An interval from a request to the look-up that finds its entry.
#[derive(Clone, Copy, Debug)]
struct Interval {
    /// The cost: the charge times the number of steps between the two.
    taken: u64,
    charge: u32,
    /// The bytes of the look-up.
    bytes: u32,
}

impl Bound {
    fn new(workload: &Workload<'_>) -> Self {
        let requests = workload.requests();
        let fetches = || requests.iter().filter(|request| request.operation == Operation::Fetch);
        let mut by_request = intervals(workload);
        let mut by_byte = by_request.clone();
        by_request.sort_unstable_by_key(|interval| interval.taken);
        // An interval without bytes is last, because its cost for each byte is infinite.
        let per_byte = |interval: &Interval| interval.taken as f64 / f64::from(interval.bytes);
        by_byte.sort_unstable_by(|one, other| per_byte(one).total_cmp(&per_byte(other)));
        Self {
            by_request,
            by_byte,
            steps: requests.len(),
            requests: fetches().count() as u64,
            bytes: fetches().map(|request| u64::from(request.size_bytes)).sum(),
        }
    }

    fn at(&self, capacity: u64) -> Simulation {
        let hit_bytes: u64 = self.hits(&self.by_byte, capacity).map(|interval| u64::from(interval.bytes)).sum();
        let mut simulation = Simulation::default();
        simulation.requests = self.requests;
        simulation.misses = self.requests - self.hits(&self.by_request, capacity).count() as u64;
        simulation.bytes = self.bytes;
        simulation.missed_bytes = self.bytes - hit_bytes;
        simulation
    }

    /// Returns the first intervals that fit, and the one that reaches the limit.
    fn hits<'i>(&self, intervals: &'i [Interval], capacity: u64) -> impl Iterator<Item = &'i Interval> + use<'i> {
        let limit = u128::from(capacity) * self.steps as u128;
        let mut taken = 0;
        intervals.iter().filter(move |interval| u64::from(interval.charge) <= capacity).take_while(move |interval| {
            let is_begun = taken < limit;
            taken += u128::from(interval.taken);
            is_begun
        })
    }
}

/// Returns all intervals. An entry keeps the charge with which it was stored, and the policy
/// decides which request stores it. So an interval has the smallest charge of its key so far.
fn intervals(workload: &Workload<'_>) -> Vec<Interval> {
    let Lookahead { requests, next_use } = Lookahead::new(workload.requests());
    let mut smallest = HashMap::new();
    let mut intervals = Vec::new();
    for (position, request) in requests.iter().enumerate() {
        if request.operation == Operation::Delete {
            continue;
        }
        let charge = smallest.entry(request.key).or_insert(u32::MAX);
        *charge = workload.charge(request).min(*charge);
        if next_use[position] != NEVER {
            intervals.push(Interval {
                taken: u64::from(*charge) * (next_use[position] - position) as u64,
                charge: *charge,
                bytes: requests[next_use[position]].size_bytes,
            });
        }
    }
    intervals
}

#[cfg(test)]
mod tests {
    use bytecache::Policy;
    use bytecache::policy::simulate;

    use super::*;
    use crate::mixture::generate;
    use crate::simulate::workload::of_policy;
    use crate::trace::{Trace, TraceBuilder};

    const FETCH: Operation = Operation::Fetch;

    fn trace(requests: impl IntoIterator<Item = (u64, u32, Operation)>) -> Trace {
        let mut builder = TraceBuilder::default();
        for (key, size_bytes, operation) in requests {
            builder.push_number(key, size_bytes, operation);
        }
        builder.finish()
    }

    fn at(trace: &Trace, unit: Unit, capacity: u64) -> Simulation {
        Optimum::new(&Workload::new(trace, Some(unit))).at(capacity)
    }

    fn misses(keys: &[u64], capacity: u64) -> u64 {
        at(&trace(keys.iter().map(|key| (*key, 1, FETCH))), Unit::Entries, capacity).misses
    }

    /// Returns the fewest misses over all choices of victims, by trying each.
    fn fewest_misses(keys: &[u64], capacity: usize, resident: &[u64]) -> u64 {
        let Some((key, rest)) = keys.split_first() else { return 0 };
        if resident.contains(key) {
            return fewest_misses(rest, capacity, resident);
        }
        if resident.len() < capacity {
            return 1 + fewest_misses(rest, capacity, &[resident, &[*key]].concat());
        }
        let without = |victim: usize| {
            let mut left = resident.to_vec();
            left[victim] = *key;
            fewest_misses(rest, capacity, &left)
        };
        1 + (0..resident.len()).map(without).min().expect("it is full")
    }

    #[test]
    fn the_sequence_of_the_textbooks_faults_nine_times_with_three_frames() {
        let keys = [7, 0, 1, 2, 0, 3, 0, 4, 2, 3, 0, 3, 2, 1, 2, 0, 1, 7, 0, 1];
        assert_eq!(misses(&keys, 3), 9);
        assert_eq!((misses(&keys, 1), misses(&keys, 6), misses(&keys, 100)), (20, 6, 6));
    }

    #[test]
    fn a_loop_that_is_one_too_long_misses_once_in_so_many_requests_as_fit() {
        // 0 1 2 miss; 3 evicts 2; 0 1 hit; 2 evicts 1; 3 0 hit; 1 evicts 0; 2 3 hit; 0 evicts 3; 1
        // 2 hit.
        let keys: Vec<_> = (0..15).map(|step| step % 4).collect();
        assert_eq!(misses(&keys, 3), 3 + 4);
    }

    #[test]
    fn min_equals_the_best_of_all_choices() {
        for seed in 0..60_u64 {
            let mut state = seed;
            let keys: Vec<_> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % 5
            })
            .take(14)
            .collect();
            for capacity in 1..=4 {
                assert_eq!(misses(&keys, capacity as u64), fewest_misses(&keys, capacity, &[]), "{keys:?}, {capacity}");
            }
        }
    }

    #[test]
    fn no_policy_is_better_than_min_or_the_bound() {
        let trace = generate(20_000, 5);
        for (unit, capacities) in [(Unit::Entries, [20, 200, 1_000]), (Unit::Bytes, [5_000, 50_000, 300_000])] {
            for capacity in capacities {
                let least = at(&trace, unit, capacity);
                for policy in Policy::ALL {
                    let real = simulate(policy, capacity, unit, trace.requests().iter().map(of_policy));
                    assert_eq!((least.requests, least.misses < real.misses), (real.requests, true), "{policy}");
                    assert!(least.missed_bytes < real.missed_bytes, "{policy}");
                }
            }
        }
    }

    #[test]
    fn the_bound_is_not_above_min_where_all_entries_take_the_same() {
        let requests: Vec<_> = generate(20_000, 5).requests().iter().map(|request| (request.key, 1, FETCH)).collect();
        let trace = trace(requests);
        for capacity in [20, 200, 1_000, 4_000] {
            let (exact, bound) = (at(&trace, Unit::Entries, capacity), at(&trace, Unit::Bytes, capacity));
            assert!(bound.misses <= exact.misses, "{capacity}");
            assert!(bound.misses * 100 > exact.misses * 80, "{capacity}: the bound is far below MIN");
        }
    }

    #[test]
    fn the_bound_takes_the_cheapest_intervals() {
        // The intervals of a cost 10 x 2 and 10 x 3, and that of b costs 4 x 2. The limit is 6 x
        // capacity.
        let trace =
            trace([(1, 10, FETCH), (2, 4, FETCH), (1, 10, FETCH), (2, 4, FETCH), (3, 1, FETCH), (1, 10, FETCH)]);
        let misses = |capacity| at(&trace, Unit::Bytes, capacity).misses;
        assert_eq!(misses(4), 5, "b fits, a never does");
        assert_eq!(misses(10), 3, "the intervals cost 58 of 60");
        let missed_bytes = |capacity| at(&trace, Unit::Bytes, capacity).missed_bytes;
        assert_eq!((missed_bytes(4), missed_bytes(10)), (35, 15));
    }

    #[test]
    fn the_bound_at_the_working_set_is_the_cold_misses() {
        let trace = generate(20_000, 5);
        let workload = Workload::new(&trace, Some(Unit::Bytes));
        let least = Optimum::new(&workload).at(workload.working_set());
        assert_eq!(least.misses, trace.unique_keys());
        assert_eq!(least.missed_bytes, workload.working_set());
    }

    #[test]
    fn stores_and_removals_end_an_interval_and_are_no_look_ups() {
        let (store, delete) = (Operation::Store, Operation::Delete);
        let requests =
            [(1, FETCH), (1, delete), (1, FETCH), (1, store), (1, FETCH), (2, store), (2, FETCH), (1, FETCH)];
        let trace = trace(requests.map(|(key, operation)| (key, 1, operation)));
        // The second look-up follows a removal. With room for one entry, the last look-up misses,
        // because 2 has evicted 1.
        let simulated = |capacity| at(&trace, Unit::Entries, capacity);
        assert_eq!((simulated(1).requests, simulated(1).misses, simulated(2).misses), (5, 3, 2));
        assert_eq!(at(&trace, Unit::Bytes, 2).misses, 2);
    }
}
