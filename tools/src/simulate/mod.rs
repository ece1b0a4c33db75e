//! The command `simulate`: which policy, and how much memory, suits my traffic? Simulates policies
//! at many capacities, over request traces.
//!
//! ```sh
//! bytecache-tools simulate trace.trc.zst more.csv
//! bytecache-tools simulate --policy "lru,s3-fifo(small=20,visits=1)" trace.csv
//! bytecache-tools simulate --capacity 1%,5%,64M trace.csv
//! bytecache-tools simulate --unit entries --picture curves.svg --csv curves.csv trace.trc.zst
//! bytecache-tools simulate --requests 5000000 --seed 7     # a generated mixture
//! bytecache-tools simulate --help
//! ```
//!
//! Prints for each trace:
//!
//! * a table of miss ratios, policies by capacities, in which the best of each column is marked;
//! * with capacities in bytes, a table of byte miss ratios as well;
//! * the miss-ratio curves as a chart. Where a curve is flat, more memory gains little.
//!
//! | unit | charge of an entry | last row |
//! |---|---|---|
//! | entries | 1 | `optimum`: Belady's MIN, the fewest misses if every miss is stored |
//! | bytes | its size in the trace | `bound`: PFOO-L, which no policy beats |
//!
//! A cache that may refuse to store a miss can do as well as `optimum` with one entry more, and no
//! better. Perhaps no policy comes near `bound`. Sizes in traces are those of values. A cache also
//! stores keys and some bytes for each entry, which `replay` shows.
//!
//! Ratios count look-ups from an empty cache on, including cold misses. Stores and removals of a
//! trace are performed, but not counted. The results do not depend on the number of threads.

mod capacity;
mod chart;
mod grid;
mod lettering;
mod optimum;
mod options;
mod picture;
mod results;
mod table;
mod workload;

use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::command_line::Command;
use crate::trace::Trace;
use crate::{mixture, progress};
use options::Options;
use results::Results;
use workload::Workload;

/// The command `simulate`.
pub(crate) const COMMAND: Command<Options> =
    Command { name: "simulate", usage: options::usage, parse: options::parse, work: simulate_all };

fn simulate_all(options: &Options) -> Result<(), Box<dyn Error>> {
    // A file that cannot be written is reported before the work, not after it.
    let mut rows = options.csv.as_deref().map(create).transpose()?.map(csv::Writer::from_writer);
    options.picture.as_ref().map(|picture| create(picture.path())).transpose()?;
    if let Some(rows) = rows.as_mut() {
        table::write_csv_head(rows)?;
    }
    let mut all = Vec::new();
    let mut report = |results: Results| -> Result<(), Box<dyn Error>> {
        print(&results)?;
        if let Some(rows) = rows.as_mut() {
            table::write_csv_rows(rows, &results)?;
        }
        all.push(results);
        Ok(())
    };
    if options.traces.is_empty() {
        let trace = mixture::generate(options.requests, options.seed);
        report(simulate("generated mixture".to_owned(), &trace, options))?;
    }
    for path in &options.traces {
        let (name, trace) = progress::read(path, options.format)?;
        report(simulate(name, &trace, options))?;
    }
    match &options.picture {
        Some(picture) => picture::draw(picture, &all),
        None => Ok(()),
    }
}

fn simulate(name: String, trace: &Trace, options: &Options) -> Results {
    let workload = Workload::new(trace, options.unit);
    let capacities = capacity::resolve(&options.capacities, workload.working_set());
    let cells = (options.policies.len() + 1) * capacities.len();
    let bar = progress::of_requests((cells * workload.requests().len()) as u64, name.clone());
    let rows = grid::run(&workload, &options.policies, &capacities, options.threads, &bar);
    bar.finish_and_clear();
    Results {
        trace: name,
        requests: workload.requests().len() as u64,
        unit: workload.unit(),
        working_set: workload.working_set(),
        capacities,
        rows,
    }
}

fn print(results: &Results) -> io::Result<()> {
    let mut out = io::stdout().lock();
    table::print(&mut out, results)?;
    writeln!(out)?;
    for line in chart::lines(results) {
        writeln!(out, "{line}")?;
    }
    writeln!(out)
}

fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|error| format!("{}: {error}", path.display()))
}
