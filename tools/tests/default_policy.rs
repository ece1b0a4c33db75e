//! Limits the misses of the default policy on the recorded traces: `cargo test --release -p
//! bytecache-tools --test default_policy`. The limits apply to means over all traces, so debug
//! builds skip the tests.

use std::collections::{BTreeMap, HashSet};

use bytecache::Policy;
use bytecache::policy::{Request, Unit, simulate};
use bytecache_tools::collection::Collection;
use bytecache_tools::ground_truth::{Cell, Ratios, compared_capacities};

const CELLS_IN_ENTRIES: usize = 50;
const COMPARED_CELLS: usize = 21;
const CELLS_IN_BYTES: usize = 12;

/// Greatest excess over the best of ten references, in points: on average where policies are
/// compared, on average in all cells, and in any cell.
const MAX_COMPARED_EXCESS: f64 = 0.1;
const MAX_EXCESS: f64 = 0.45;
const MAX_WORST_EXCESS: f64 = 3.2;
/// Greatest average percentage of missed requests, with capacities in bytes.
const MAX_MISSES_IN_BYTES: f64 = 57.6;
/// Greatest average excess of the bytes missed with `favor=bytes` over the better of two policies,
/// in points.
const MAX_BYTES_EXCESS: f64 = 1.0;

struct Truth {
    cells: Vec<Cell>,
    traces: BTreeMap<String, Vec<Request>>,
}

impl Truth {
    /// Returns the cells of a unit with their traces, or `None` if the test is skipped.
    fn read(unit: Unit) -> Option<Self> {
        let Some(recorded) = Collection::recorded().filter(|_| !cfg!(debug_assertions)) else {
            println!("skipped: needs a release build, and the traces that BYTECACHE_TRACES names");
            return None;
        };
        let mut cells = recorded.cells().expect("a readable groundtruth.csv");
        cells.retain(|cell| cell.unit == unit);
        let names: HashSet<_> = cells.iter().map(|cell| cell.trace.clone()).collect();
        let read = |name: String| {
            let requests = recorded.requests(&name).expect("a readable trace");
            (name, requests)
        };
        Some(Self { cells, traces: names.into_iter().map(read).collect() })
    }

    /// Returns the miss ratios of `policy` in a cell.
    fn simulate(&self, policy: Policy, cell: &Cell) -> Ratios {
        let requests = self.traces[&cell.trace].iter().copied();
        Ratios::of(simulate(&policy, cell.capacity, cell.unit, requests), cell.unit)
    }
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len() as f64
}

#[test]
fn the_default_is_hardly_behind_the_best_of_ten_references() {
    let Some(truth) = Truth::read(Unit::Entries) else { return };
    let (mut all, mut compared) = (Vec::new(), Vec::new());
    for cell in &truth.cells {
        let best = cell.best_of_ten().expect("a reference");
        let excess = (truth.simulate(Policy::default(), cell).misses - best) * 100.0;
        assert!(excess <= MAX_WORST_EXCESS, "{} {}: {excess}", cell.trace, cell.capacity);
        all.push(excess);
        let keys: HashSet<_> = truth.traces[&cell.trace].iter().map(|request| request.hash).collect();
        if compared_capacities(keys.len() as u64).contains(&cell.capacity) {
            compared.push(excess);
        }
    }
    assert_eq!((all.len(), compared.len()), (CELLS_IN_ENTRIES, COMPARED_CELLS));
    let worst = all.iter().copied().fold(f64::MIN, f64::max);
    println!("compared cells: {:.3}, all cells: {:.3}, worst: {worst:.2}", mean(&compared), mean(&all));
    assert!(mean(&compared) <= MAX_COMPARED_EXCESS, "{}", mean(&compared));
    assert!(mean(&all) <= MAX_EXCESS, "{}", mean(&all));
}

#[test]
fn the_default_misses_few_requests_with_capacities_in_bytes_and_few_bytes_where_these_are_favored() {
    let Some(truth) = Truth::read(Unit::Bytes) else { return };
    let favoring: Policy = "adaptive(favor=bytes)".parse().expect("a built-in policy");
    let (mut misses, mut excess) = (Vec::new(), Vec::new());
    for cell in &truth.cells {
        misses.push(truth.simulate(Policy::default(), cell).misses * 100.0);
        let bytes = |policy| truth.simulate(policy, cell).missed_bytes.expect("a capacity in bytes") * 100.0;
        excess.push(bytes(favoring) - bytes(Policy::S3Fifo).min(bytes(Policy::TinyLfu)));
    }
    assert_eq!(misses.len(), CELLS_IN_BYTES);
    println!("requests: {:.2}, bytes over the better of two: {:+.2}", mean(&misses), mean(&excess));
    assert!(mean(&misses) <= MAX_MISSES_IN_BYTES, "{}", mean(&misses));
    assert!(mean(&excess) <= MAX_BYTES_EXCESS, "{}", mean(&excess));
}
