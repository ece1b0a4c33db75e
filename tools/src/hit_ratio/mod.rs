//! The command `hit-ratio`: compares the misses of each policy with published implementations of
//! it.
//!
//! ```sh
//! # On the generated trace of this package:
//! bytecache-tools hit-ratio
//! # In every cell of DIR/groundtruth.csv:
//! BYTECACHE_TRACES=DIR bytecache-tools hit-ratio
//! # In some of them:
//! BYTECACHE_TRACES=DIR bytecache-tools hit-ratio \
//!     --trace lirs_multi3 --policy arc,"clock(chances=3)" --csv rows.csv
//! ```
//!
//! Prints Markdown, for capacities in entries and in bytes:
//!
//! * the miss ratio of each policy in each cell, with its reference beside it;
//! * the number of cells in which the two are equal, and the differences in the others;
//! * the excess of each policy over the best of ten references, at one, five and ten percent of a
//!   trace's keys.
//!
//! Policies are simulated and store no bytes, so the capacity is exactly the reference's. No times
//! are measured.

mod options;
mod references;
mod tables;

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::io::{self, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytecache::Policy;
use bytecache::policy::{Request, Unit, simulate};

use crate::collection::Collection;
use crate::command_line::Command;
use crate::ground_truth::{Cell, Ratios, compared_capacities};
use options::Options;

const HOW_TO_GET_TRACES: &str = "\
BYTECACHE_TRACES names no folder: this is the generated trace, for which libCacheSim alone is the reference. So two of
the ten references are missing. README.md says where recorded traces come from.
";

/// The command `hit-ratio`.
pub(crate) const COMMAND: Command<Options> =
    Command { name: "hit-ratio", usage: options::usage, parse: options::parse, work: compare };

/// The cells to simulate, and their traces.
struct Work {
    traces: BTreeMap<String, Trace>,
    cells: Vec<Cell>,
}

struct Trace {
    requests: Vec<Request>,
    keys: u64,
}

impl Trace {
    fn new(requests: Vec<Request>) -> Self {
        let keys = requests.iter().map(|request| request.hash).collect::<HashSet<_>>().len();
        Self { requests, keys: keys as u64 }
    }

    /// Returns the capacities of one, five and ten percent of the keys.
    fn compared_capacities(&self) -> [u64; 3] {
        compared_capacities(self.keys)
    }
}

impl Work {
    /// Reads the cells of a collection, of all traces or of those that the options name.
    fn of(collection: &Collection, options: &Options) -> Result<Self, Box<dyn Error>> {
        let mut cells = collection.cells()?;
        for name in &options.traces {
            if !cells.iter().any(|cell| cell.trace == *name) {
                return Err(format!("groundtruth.csv has no trace `{name}`").into());
            }
        }
        cells.retain(|cell| options.traces.is_empty() || options.traces.contains(&cell.trace));
        cells.sort_by(|a, b| (&a.trace, a.capacity).cmp(&(&b.trace, b.capacity)));
        let mut traces = BTreeMap::new();
        for cell in &cells {
            if !traces.contains_key(&cell.trace) {
                traces.insert(cell.trace.clone(), Trace::new(collection.requests(&cell.trace)?));
            }
        }
        Ok(Self { traces, cells })
    }

    /// Simulates each policy in each cell, on all processors.
    fn simulate(&self, policies: &[Policy]) -> Vec<Outcome<'_>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let ratios = Mutex::new(vec![vec![None; policies.len()]; self.cells.len()]);
        let next = AtomicUsize::new(0);
        let run_all = || {
            loop {
                // Relaxed: the counter only hands out numbers. Results go through the mutex.
                let run = next.fetch_add(1, Ordering::Relaxed);
                let (at, policy) = (run / policies.len(), run % policies.len());
                let Some(cell) = self.cells.get(at) else { break };
                let requests = self.traces[&cell.trace].requests.iter().copied();
                let simulation = simulate(&policies[policy], cell.capacity, cell.unit, requests);
                ratios.lock().expect("no thread panics")[at][policy] = Some(Ratios::of(simulation, cell.unit));
            }
        };
        std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(run_all))));
        let ratios = ratios.into_inner().expect("no thread panicked");
        let outcome = |(cell, ours): (_, Vec<_>)| Outcome { cell, ours: ours.into_iter().flatten().collect() };
        self.cells.iter().zip(ratios).map(outcome).collect()
    }

    /// Returns `true` if the capacity counts entries and is one, five or ten percent of the trace's
    /// keys.
    fn is_compared(&self, cell: &Cell) -> bool {
        cell.unit == Unit::Entries && self.traces[&cell.trace].compared_capacities().contains(&cell.capacity)
    }
}

/// A cell, and the ratios of our policies in it, in the order of the policies.
struct Outcome<'a> {
    cell: &'a Cell,
    ours: Vec<Ratios>,
}

fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut rows = options.csv.as_deref().map(csv::Writer::from_path).transpose()?;
    let collection = Collection::recorded().unwrap_or(Collection::Generated);
    let work = Work::of(&collection, options)?;
    let outcomes = work.simulate(&options.policies);
    let mut out = io::stdout().lock();
    if collection == Collection::Generated {
        writeln!(out, "{HOW_TO_GET_TRACES}")?;
    }
    for measure in tables::Measure::ALL {
        tables::print_ratios(&mut out, measure, &options.policies, &outcomes)?;
        tables::print_summary(&mut out, measure, &options.policies, &outcomes)?;
    }
    let compared: Vec<_> = outcomes.iter().filter(|outcome| work.is_compared(outcome.cell)).collect();
    tables::print_excess(&mut out, &options.policies, &compared)?;
    match &mut rows {
        Some(rows) => Ok(tables::write_csv(rows, &options.policies, &outcomes)?),
        None => Ok(()),
    }
}
