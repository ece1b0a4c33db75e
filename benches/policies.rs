//! What an access costs each policy, in time and in memory: `cargo bench --bench policies`.
//!
//! | column | what |
//! |---|---|
//! | mixture | ns for a request, when a tenth of the keys fits and popularity is Zipf's; and how many miss |
//! | hit | ns to read an entry that is there, each as likely, after the mixture |
//! | miss | ns for a key that never came before, and for the eviction that makes room for it |
//! | bytes/id | what the policy has allocated after the mixture, for each id of the index |
//! | bytes/entry | the same for each entry of an index as full as it may be |
//!
//! Policies run alone, in a simulator: no bytes are stored and nothing is locked. The simulator
//! itself takes time, to find a key in a hash table and to keep its books. The row `(none)` shows
//! how much: its policy is a ring of ids that a hit does nothing to. That time is not subtracted
//! from the others', as waits for memory overlap.
//!
//! All policies run in turn, round after round, so that what else the machine does meets them
//! alike. Each number is the median of the rounds. What fills and warms the caches is not measured.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;
use std::time::Instant;

use bytecache::Policy;
use bytecache::policy::{
    EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Renumbering, Request, Residents, Simulator, Unit,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// The index of a cache is at most so full.
const MAX_LOAD: f64 = 0.85;
const ZIPF_EXPONENT: f64 = 0.9;
/// Keys of the mixture for each entry that fits.
const KEYS_PER_ENTRY: u64 = 10;
/// Requests for each entry before anything is measured: a clock's hand has gone round, ghosts are
/// all there.
const WARMING_PER_ENTRY: u64 = 5;
/// Keys from here on are not in the mixture.
const FIRST_UNKNOWN: u64 = 1 << 40;

/// How large the caches are, and how much is measured.
#[derive(Clone, Copy)]
struct Scale {
    entries: u64,
    rounds: usize,
    requests_per_round: usize,
}

/// In the second-level cache of most processors, with what the simulator keeps.
const NEAR: Scale = Scale { entries: 1 << 12, rounds: 21, requests_per_round: 1 << 17 };
/// Forty megabytes with what the simulator keeps: beyond the last-level cache of most.
const FAR: Scale = Scale { entries: 1 << 19, rounds: 21, requests_per_round: 1 << 17 };
/// To see that everything works.
const SMOKE: Scale = Scale { entries: 1 << 8, rounds: 1, requests_per_round: 1 << 10 };

/// Keys to ask for, shared by the policies that are asked for the same.
type Keys = Rc<[u64]>;

/// `count` keys of the mixture.
fn mixture(scale: Scale, seed: u64, count: u64) -> Keys {
    let popularity = Zipf::new((scale.entries * KEYS_PER_ENTRY) as f64, ZIPF_EXPONENT).expect("keys, and an exponent");
    let mut random = SmallRng::seed_from_u64(seed);
    #[allow(clippy::cast_possible_truncation, reason = "ranks are whole numbers up to the number of keys")]
    (0..count).map(|_| popularity.sample(&mut random) as u64).collect()
}

/// `count` keys among those that the simulator has after the mixture.
fn residents(simulator: &Simulator, scale: Scale, count: u64) -> Keys {
    let known = 1..=scale.entries * KEYS_PER_ENTRY;
    let residents: Vec<_> = known.filter(|&key| simulator.contains(key)).collect();
    let mut random = SmallRng::seed_from_u64(3);
    (0..count).map(|_| residents[random.random_range(0..residents.len())]).collect()
}

/// Asks for all the keys; how many were missed.
fn ask(simulator: &mut Simulator, keys: &[u64]) -> usize {
    keys.iter().filter(|&&hash| !simulator.request(Request { hash, charge: 1 })).count()
}

/// What came of one policy's rounds.
struct Outcome {
    median_ns: f64,
    missed: usize,
}

/// Asks every simulator for its own keys, a round at a time.
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

/// Next to nothing: the oldest leaves.
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
    fn renumber(&mut self, moved: &Renumbering) {
        self.ids.iter_mut().for_each(|id| *id = moved.get(*id).expect("a resident has a number"));
    }
    fn bytes(&self) -> usize {
        self.ids.capacity() * size_of::<EntryId>()
    }
}
