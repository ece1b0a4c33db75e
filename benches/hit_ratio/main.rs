//! What the policies miss, beside what published implementations do: `cargo bench --bench hit_ratio`.
//!
//! ```sh
//! BYTECACHE_TRACES=DIR cargo bench --bench hit_ratio                            # every cell of DIR/groundtruth.csv
//! cargo bench --bench hit_ratio -- --trace lirs_multi3 --policy arc,"clock(chances=3)" --csv rows.csv
//! cargo bench --bench hit_ratio                                                 # without traces: a generated mixture
//! ```
//!
//! Prints Markdown: for capacities in entries and in bytes what each policy misses, with its reference beside it; how
//! often the two are equal and how far apart they are; and how far each policy is behind the best of ten references
//! at one, five and ten percent of a trace's keys. One cache of one shard, simulated: no bytes are stored, so that
//! the capacity is exactly the reference's. Nothing is timed.

#[path = "../../tests/reference/ground_truth.rs"]
mod ground_truth;
mod mixture;
mod options;
mod references;
mod tables;
#[path = "../../tests/reference/traces.rs"]
mod traces;

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytecache::Policy;
use bytecache::policy::{Request, Unit, simulate};
use ground_truth::{Cell, Ratios};
use options::{Command, Options};

/// Shares of the keys, in percent, at which policies are compared with the best reference.
const COMPARED_PERCENT: [u64; 3] = [1, 5, 10];
/// Requests of the generated mixture, and of one that only shows that the bench works.
const MIXTURE_REQUESTS: usize = 1_000_000;
const SMOKE_REQUESTS: usize = 20_000;

const HOW_TO_GET_TRACES: &str = "\
BYTECACHE_TRACES names no folder: this is a generated mixture, for which there are no references. README.md says where
traces and groundtruth.csv come from.
";

fn main() -> ExitCode {
    let result = match options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Help) => io::stdout().write_all(options::usage().as_bytes()).map_err(Box::from),
        Ok(Command::Compare(options)) => compare(&options),
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hit_ratio: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Requests to simulate, and with which capacities.
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

    /// Capacities of one, five and ten percent of the keys.
    fn compared_capacities(&self) -> [u64; 3] {
        COMPARED_PERCENT.map(|percent| (self.keys * percent + 50) / 100)
    }
}

impl Work {
    /// The cells of `groundtruth.csv`, of the traces that the options name.
    fn recorded(folder: &Path, options: &Options) -> Result<Self, Box<dyn Error>> {
        let mut cells = ground_truth::read(folder)?;
        for name in &options.traces {
            if !cells.iter().any(|cell| cell.trace == *name) {
                return Err(format!("groundtruth.csv has no trace `{name}`").into());
            }
        }
        cells.retain(|cell| options.traces.is_empty() || options.traces.contains(&cell.trace));
        if options.is_smoke {
            let fewest = cells.iter().map(|cell| cell.requests).min().unwrap_or(0);
            cells.retain(|cell| cell.requests == fewest);
        }
        cells.sort_by(|a, b| (&a.trace, a.capacity).cmp(&(&b.trace, b.capacity)));
        let mut traces = BTreeMap::new();
        for cell in &cells {
            if !traces.contains_key(&cell.trace) {
                traces.insert(cell.trace.clone(), Trace::new(traces::read(folder, &cell.trace)?));
            }
        }
        Ok(Self { traces, cells })
    }

    /// A mixture, with capacities of so many percent of its keys and of their bytes.
    fn generated(options: &Options) -> Self {
        let trace = Trace::new(mixture::generate(if options.is_smoke { SMOKE_REQUESTS } else { MIXTURE_REQUESTS }));
        let sizes: BTreeMap<_, _> = trace.requests.iter().map(|request| (request.hash, request.charge)).collect();
        let bytes: u64 = sizes.values().map(|&size| u64::from(size)).sum();
        let in_bytes = COMPARED_PERCENT.map(|percent| bytes * percent / 100);
        let cell = |unit, capacity| Cell {
            trace: "mixture".to_owned(),
            unit,
            capacity,
            requests: trace.requests.len() as u64,
            references: BTreeMap::new(),
        };
        let in_entries = trace.compared_capacities().map(|capacity| cell(Unit::Entries, capacity));
        let cells = in_entries.into_iter().chain(in_bytes.map(|capacity| cell(Unit::Bytes, capacity))).collect();
        Self { cells, traces: BTreeMap::from([("mixture".to_owned(), trace)]) }
    }

    /// What each policy misses in each cell.
    fn simulate(&self, policies: &[Policy]) -> Vec<Outcome<'_>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let ratios = Mutex::new(vec![vec![None; policies.len()]; self.cells.len()]);
        let next = AtomicUsize::new(0);
        let run_all = || {
            loop {
                // Relaxed: only the number counts, what was computed goes through the mutex.
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

    /// Whether the cell has a capacity of one, five or ten percent of its trace's keys.
    fn is_compared(&self, cell: &Cell) -> bool {
        cell.unit == Unit::Entries && self.traces[&cell.trace].compared_capacities().contains(&cell.capacity)
    }
}

/// A cell and what our policies miss there, in their order.
struct Outcome<'a> {
    cell: &'a Cell,
    ours: Vec<Ratios>,
}

fn compare(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut rows = options.csv.as_deref().map(csv::Writer::from_path).transpose()?;
    let work = match traces::folder() {
        Some(folder) => Work::recorded(&folder, options)?,
        None if !options.traces.is_empty() => return Err("--trace is for the traces of BYTECACHE_TRACES".into()),
        None => {
            println!("{HOW_TO_GET_TRACES}");
            Work::generated(options)
        }
    };
    let outcomes = work.simulate(&options.policies);
    let mut out = io::stdout().lock();
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
