//! The costs of an access for each policy, in time and in memory: `cargo bench --bench policies`.
//!
//! | column | meaning |
//! |---|---|
//! | mixture | ns for a request to Zipf keys of which a tenth fits, and the percentage of misses |
//! | hit | ns to read a present entry after the mixture, all of them equally likely |
//! | miss | ns for a new key, and for the eviction that makes room for it |
//! | bytes/id | bytes of the policy after the mixture, for each id of the index |
//! | bytes/entry | the same, for each entry of an index as full as it may be |
//!
//! Policies run alone, in a simulator: no bytes are stored, and nothing is locked. The simulator
//! itself takes time, to find a key in a hash table and to count. The row `(none)` shows this time.
//! Its policy is a ring of ids, to which a hit does nothing. The time is not subtracted from that
//! of the others, because waits for memory overlap.
//!
//! All policies run in turn, round after round, so that other load on the machine affects them
//! alike. Each number is the median of the rounds. Filling and warming the caches is not measured.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use bytecache::Policy;
use bytecache::policy::{
    EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Request, Residents, Simulator, Unit,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// Greatest share of an index that is used.
const MAX_LOAD: f64 = 0.85;
const ZIPF_EXPONENT: f64 = 0.9;
/// Number of keys in the mixture for each entry that fits.
const KEYS_PER_ENTRY: u64 = 10;
/// Number of requests for each entry before the measurement. After them, a clock's hand has gone
/// round, and all ghosts are present.
const WARMING_PER_ENTRY: u64 = 5;
/// First of the keys that are not in the mixture.
const FIRST_UNKNOWN: u64 = 1 << 40;

/// The size of the caches, and the amount of work to measure.
#[derive(Clone, Copy)]
struct Scale {
    entries: u64,
    rounds: usize,
    requests_per_round: usize,
}

/// A size that fits into the second-level cache of most processors, with the simulator's data.
const NEAR: Scale = Scale { entries: 1 << 12, rounds: 21, requests_per_round: 1 << 17 };
/// A size of forty megabytes with the simulator's data: more than most last-level caches.
const FAR: Scale = Scale { entries: 1 << 19, rounds: 21, requests_per_round: 1 << 17 };
/// A size that only shows that everything works.
const SMOKE: Scale = Scale { entries: 1 << 8, rounds: 1, requests_per_round: 1 << 10 };

/// Keys to request, shared by the policies that get the same keys.
type Keys = Rc<[u64]>;

/// Returns `count` keys of the mixture.
fn mixture(scale: Scale, seed: u64, count: u64) -> Keys {
    let popularity = Zipf::new((scale.entries * KEYS_PER_ENTRY) as f64, ZIPF_EXPONENT).expect("keys, and an exponent");
    let mut random = SmallRng::seed_from_u64(seed);
    #[allow(clippy::cast_possible_truncation, reason = "ranks are whole numbers up to the number of keys")]
    (0..count).map(|_| popularity.sample(&mut random) as u64).collect()
}

/// Returns `count` keys among those that the simulator holds after the mixture.
fn residents(simulator: &Simulator, scale: Scale, count: u64) -> Keys {
    let known = 1..=scale.entries * KEYS_PER_ENTRY;
    let residents: Vec<_> = known.filter(|&key| simulator.contains(key)).collect();
    let mut random = SmallRng::seed_from_u64(3);
    (0..count).map(|_| residents[random.random_range(0..residents.len())]).collect()
}

/// Requests all keys, and returns the number of misses.
fn ask(simulator: &mut Simulator, keys: &[u64]) -> usize {
    keys.iter().filter(|&&hash| !simulator.request(Request { hash, charge: 1 })).count()
}

/// The results of one policy's rounds.
struct Outcome {
    median_ns: f64,
    missed: usize,
}

/// Requests the keys of every simulator, round by round.
fn measure(simulators: &mut [Simulator], keys: &[Keys], scale: Scale) -> Vec<Outcome> {
    let mut ns = vec![Vec::new(); simulators.len()];
    let mut missed = vec![0; simulators.len()];
    for round in 0..scale.rounds {
        let asked = round * scale.requests_per_round..(round + 1) * scale.requests_per_round;
        for (index, simulator) in simulators.iter_mut().enumerate() {
            let keys = &keys[index][asked.clone()];
            let start = Instant::now();
            missed[index] += ask(simulator, keys);
            ns[index].push(start.elapsed().as_secs_f64() * 1e9 / keys.len() as f64);
        }
    }
    let median = |mut ns: Vec<f64>| {
        ns.sort_by(f64::total_cmp);
        ns[ns.len() / 2]
    };
    ns.into_iter().zip(missed).map(|(ns, missed)| Outcome { median_ns: median(ns), missed }).collect()
}

fn print(scale: Scale) {
    let count = (scale.rounds * scale.requests_per_round) as u64;
    let none = Simulator::custom(|context| Box::new(Ring::new(&context)), scale.entries, Unit::Entries);
    let policies = Policy::ALL.iter().map(|policy| Simulator::new(policy, scale.entries, Unit::Entries));
    let mut simulators: Vec<_> = [none].into_iter().chain(policies).collect();
    let warm = |simulators: &mut [Simulator], keys: Keys| {
        for simulator in simulators {
            ask(simulator, &keys);
        }
    };

    let warming = scale.entries * WARMING_PER_ENTRY;
    warm(&mut simulators, mixture(scale, 1, warming));
    let keys = vec![mixture(scale, 2, count); simulators.len()];
    let mixtures = measure(&mut simulators, &keys, scale);
    let bytes: Vec<_> = simulators.iter().map(Simulator::policy_bytes).collect();

    let keys: Vec<_> = simulators.iter().map(|simulator| residents(simulator, scale, count)).collect();
    let hits = measure(&mut simulators, &keys, scale);
    assert!(hits.iter().all(|hits| hits.missed == 0));

    let unknown = |keys: Range<u64>| keys.map(|key| FIRST_UNKNOWN + key).collect();
    warm(&mut simulators, unknown(0..warming));
    let keys = vec![unknown(warming..warming + count); simulators.len()];
    let misses = measure(&mut simulators, &keys, scale);
    assert!(misses.iter().all(|misses| misses.missed as u64 == count));

    println!("## {} entries\n", scale.entries);
    println!("| policy     | mixture | missed |    hit |   miss | bytes/id | bytes/entry |");
    println!("|------------|--------:|-------:|-------:|-------:|---------:|------------:|");
    let names = ["(none)"].into_iter().chain(Policy::ALL.iter().map(|policy| policy.name()));
    for (index, name) in names.enumerate() {
        let (bytes, ids) = bytes[index];
        let bytes_per_id = bytes as f64 / ids as f64;
        println!(
            "| {name:10} | {:7.1} | {:4.1} % | {:6.1} | {:6.1} | {bytes_per_id:8.1} | {:11.1} |",
            mixtures[index].median_ns,
            100.0 * mixtures[index].missed as f64 / count as f64,
            hits[index].median_ns,
            misses[index].median_ns,
            bytes_per_id / MAX_LOAD,
        );
    }
    println!();
}

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        print(SMOKE);
    } else {
        print(NEAR);
        print(FAR);
    }
}

/// A policy that does next to nothing: it evicts the oldest entry.
struct Ring {
    ids: VecDeque<EntryId>,
}

impl Ring {
    fn new(context: &PolicyContext) -> Self {
        Self { ids: VecDeque::with_capacity(context.ids()) }
    }
}

impl EvictionPolicy for Ring {
    fn recency(&self) -> Recency {
        Recency::Ordered
    }
    fn insert(&mut self, newcomer: &Newcomer) {
        self.ids.push_back(newcomer.id);
    }
    fn remove(&mut self, id: EntryId, _charge: u32) {
        self.ids.retain(|&resident| resident != id);
    }
    fn evict(&mut self, _newcomer: Option<&Newcomer>, _residents: &mut Residents<'_>) -> Option<EntryId> {
        self.ids.pop_front()
    }
    fn resize(&mut self, ids: usize, _max_entries: usize) -> bool {
        self.ids.reserve_exact(ids.saturating_sub(self.ids.len()));
        true
    }
    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.ids.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
    }
    fn bytes(&self) -> usize {
        self.ids.capacity() * size_of::<EntryId>()
    }
}
