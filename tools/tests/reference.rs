//! Compares the policies with published implementations of them, in the cells of `groundtruth.csv`.
//!
//! The tests run on the generated trace, for which libCacheSim is the only reference. If
//! `BYTECACHE_TRACES` names a folder of recorded traces, they run on these, too. README.md says
//! where they come from. A debug build compares the short traces, which takes seconds. `cargo test
//! --release -p bytecache-tools --test reference` compares all.
//!
//! | policy | must agree with its references |
//! |---|---|
//! | FIFO, LRU, MRU, CLOCK, SIEVE, LFU without ageing | in every request, in entries and in bytes |
//! | 2Q, ARC, SLRU | in every request, in entries |
//! | GDSF | in every request, in entries and in bytes |
//! | S3-FIFO | within half a point of the range of three implementations, in entries |
//! | W-TinyLFU | at most one point more misses, in entries: its sketch depends on the hash |
//!
//! Some cells are not compared. With capacities in bytes, libCacheSim refuses entries that are
//! larger than a share, and its ARC moves its target by single bytes. The command `hit-ratio` shows
//! these differences.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use bytecache::Policy;
use bytecache::policy::{Request, Unit, simulate};
use bytecache_tools::collection::Collection;
use bytecache_tools::ground_truth::{Cell, Ratios, written_as};

/// Number of requests above which debug builds leave out a trace.
const MAX_SHORT_REQUESTS: u64 = 120_000;
/// Capacity in entries from which on the rounding of shares matters little.
const MIN_UNROUNDED: u64 = 100;
const POINT: f64 = 0.01;

/// The cells that this build compares, and their traces.
struct Truth {
    cells: Vec<Cell>,
    traces: BTreeMap<String, Vec<Request>>,
}

impl Truth {
    fn read(collection: &Collection) -> Self {
        let mut cells = collection.cells().expect("a readable groundtruth.csv");
        cells.retain(|cell| !cfg!(debug_assertions) || cell.requests <= MAX_SHORT_REQUESTS);
        let mut traces = BTreeMap::new();
        for cell in &cells {
            let read = || collection.requests(&cell.trace).expect("a readable trace");
            let requests = traces.entry(cell.trace.clone()).or_insert_with(read);
            assert_eq!(requests.len() as u64, cell.requests, "{}: another trace than the references had", cell.trace);
        }
        Self { cells, traces }
    }
}

/// A demand on a policy's ratio in a cell.
struct Demand {
    /// The reference that makes the demand.
    reference: &'static str,
    measure: Measure,
    range: RangeInclusive<f64>,
}

#[derive(Clone, Copy, Debug)]
enum Measure {
    Misses,
    MissedBytes,
}

/// Numbers of demands on the recorded traces: on the short ones, and on all.
#[derive(Clone, Copy, Debug)]
struct Expected {
    short: usize,
    all: usize,
}

/// Simulates `policy` in each cell of the unit that has demands on it. Checks that all demands are
/// met, and that there are as many as expected.
fn compare(policy: &str, unit: Unit, expected: Expected, demands: impl Fn(&Cell) -> Vec<Demand>) {
    static GENERATED: OnceLock<Truth> = OnceLock::new();
    static RECORDED: OnceLock<Truth> = OnceLock::new();
    let generated = GENERATED.get_or_init(|| Truth::read(&Collection::Generated));
    let met = hold(policy, unit, generated, &demands);
    println!("{policy}, {unit:?}: {met} ratios as demanded on the generated trace");
    let Some(recorded) = Collection::recorded() else {
        println!("skipped: {policy}: BYTECACHE_TRACES names no folder of traces");
        return;
    };
    let met = hold(policy, unit, RECORDED.get_or_init(|| Truth::read(&recorded)), &demands);
    assert_eq!(met, if cfg!(debug_assertions) { expected.short } else { expected.all });
    println!("{policy}, {unit:?}: {met} ratios as demanded");
}

/// Simulates `policy` in each cell of the unit that has demands on it, and returns the number of
/// demands met.
///
/// # Panics
///
/// Panics if a demand is not met.
fn hold(policy: &str, unit: Unit, truth: &Truth, demands: &impl Fn(&Cell) -> Vec<Demand>) -> usize {
    let policy: Policy = policy.parse().expect("a built-in policy");
    let (mut met, mut unmet) = (0, Vec::new());
    for cell in truth.cells.iter().filter(|cell| cell.unit == unit) {
        let demands = demands(cell);
        if demands.is_empty() {
            continue;
        }
        let requests = truth.traces[&cell.trace].iter().copied();
        let ours = Ratios::of(simulate(&policy, cell.capacity, unit, requests), unit);
        for Demand { reference, measure, range } in demands {
            let ratio = match measure {
                Measure::Misses => ours.misses,
                Measure::MissedBytes => ours.missed_bytes.expect("a capacity in bytes"),
            };
            if range.contains(&ratio) {
                met += 1;
            } else {
                let Cell { trace, capacity, .. } = cell;
                unmet.push(format!(
                    "{trace} {capacity} {unit:?}: {measure:?} {ratio:.8}, {reference} wants {range:.8?}"
                ));
            }
        }
    }
    assert!(unmet.is_empty(), "{policy} differs:\n{}", unmet.join("\n"));
    met
}

/// Demands the same misses, and missed bytes, as each of the references.
fn equal(references: &[&'static str]) -> impl Fn(&Cell) -> Vec<Demand> {
    move |cell| {
        let mut demands = Vec::new();
        for &reference in references {
            let Some(ratios) = cell.references.get(reference) else { continue };
            demands.push(Demand { reference, measure: Measure::Misses, range: written_as(ratios.misses) });
            let bytes = ratios.missed_bytes.map(written_as);
            demands.extend(bytes.map(|range| Demand { reference, measure: Measure::MissedBytes, range }));
        }
        demands
    }
}

#[test]
fn fifo_misses_what_its_references_miss() {
    let references = equal(&["fifo", "caffeine:fifo"]);
    compare("fifo", Unit::Entries, Expected { short: 41, all: 92 }, &references);
    compare("fifo", Unit::Bytes, Expected { short: 32, all: 48 }, references);
}

#[test]
fn lru_misses_what_its_references_miss() {
    let references = equal(&["lru", "caffeine:lru"]);
    compare("lru", Unit::Entries, Expected { short: 41, all: 92 }, &references);
    compare("lru", Unit::Bytes, Expected { short: 32, all: 48 }, references);
}

#[test]
fn mru_misses_what_its_reference_misses() {
    let references = equal(&["caffeine:mru"]);
    compare("mru", Unit::Entries, Expected { short: 18, all: 45 }, &references);
    compare("mru", Unit::Bytes, Expected { short: 16, all: 24 }, references);
}

#[test]
fn clock_misses_what_its_reference_misses() {
    // Caffeine's CLOCK examines another entry first after each round.
    let references = equal(&["clock"]);
    compare("clock", Unit::Entries, Expected { short: 23, all: 47 }, &references);
    compare("clock", Unit::Bytes, Expected { short: 16, all: 24 }, references);
}

#[test]
fn sieve_misses_what_its_references_miss() {
    let references = equal(&["sieve", "caffeine:sieve"]);
    compare("sieve", Unit::Entries, Expected { short: 41, all: 92 }, &references);
    compare("sieve", Unit::Bytes, Expected { short: 16, all: 24 }, references);
}

#[test]
fn lfu_without_ageing_misses_what_its_references_miss() {
    let references = equal(&["lfu", "caffeine:lfu"]);
    compare("lfu(ageing=none)", Unit::Entries, Expected { short: 41, all: 92 }, &references);
    compare("lfu(ageing=none)", Unit::Bytes, Expected { short: 16, all: 24 }, references);
}

#[test]
fn two_queues_miss_what_their_references_miss() {
    compare("2q", Unit::Entries, Expected { short: 41, all: 92 }, equal(&["2q", "caffeine:2q"]));
}

#[test]
fn arc_misses_what_its_reference_misses() {
    // Caffeine rounds the ratios by which its target moves.
    compare("arc", Unit::Entries, Expected { short: 23, all: 47 }, equal(&["arc"]));
}

#[test]
fn slru_misses_what_its_reference_misses() {
    // libCacheSim puts new entries into the protected segment while it is filling.
    compare("slru", Unit::Entries, Expected { short: 18, all: 45 }, equal(&["caffeine:slru_20_80"]));
}

#[test]
fn s3_fifo_is_within_the_range_of_its_references() {
    compare("s3-fifo", Unit::Entries, Expected { short: 14, all: 41 }, |cell| {
        let misses = |name: &str| cell.references.get(name).map(|ratios| ratios.misses);
        let as_the_paper = [misses("s3fifo_v0"), misses("caffeine:s3fifo")];
        // libCacheSim's later version keeps entries in the small queue longer, and by itself it is
        // no range.
        if cell.capacity < MIN_UNROUNDED || as_the_paper == [None, None] {
            return Vec::new();
        }
        let all = || as_the_paper.into_iter().chain([misses("s3fifo")]).flatten();
        let range = all().fold(1.0, f64::min) - POINT / 2.0..=all().fold(0.0, f64::max) + POINT / 2.0;
        vec![Demand { reference: "one of three", measure: Measure::Misses, range }]
    });
}

#[test]
fn gdsf_misses_what_its_reference_misses() {
    let references = equal(&["gdsf"]);
    compare("gdsf", Unit::Entries, Expected { short: 12, all: 28 }, &references);
    compare("gdsf", Unit::Bytes, Expected { short: 16, all: 24 }, references);
}

/// Demands at most one point more misses than a reference.
fn hardly_more(reference: &'static str) -> impl Fn(&Cell) -> Vec<Demand> {
    move |cell| {
        let misses = cell.references.get(reference).map(|ratios| ratios.misses);
        let range = misses.filter(|_| cell.capacity >= MIN_UNROUNDED).map(|misses| 0.0..=misses + POINT);
        range.map(|range| Demand { reference, measure: Measure::Misses, range }).into_iter().collect()
    }
}

#[test]
fn w_tinylfu_misses_hardly_more_than_its_reference() {
    compare("w-tinylfu", Unit::Entries, Expected { short: 14, all: 41 }, hardly_more("caffeine:wtinylfu_climb"));
}

#[test]
fn w_tinylfu_with_a_fixed_window_misses_hardly_more_than_its_reference() {
    let reference = hardly_more("caffeine:wtinylfu_w1");
    compare("w-tinylfu(adaptive=false)", Unit::Entries, Expected { short: 14, all: 41 }, reference);
}
