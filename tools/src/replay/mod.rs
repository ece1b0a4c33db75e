//! The command `replay`: replays traces through a cache, as cache-aside, and prints a table for
//! each.
//!
//! ```sh
//! bytecache-tools replay trace.trc.zst more.csv
//! bytecache-tools replay --policy lru,s3-fifo --max-bytes 64M cluster52.csv
//! bytecache-tools replay --requests 5000000 --seed 7     # a generated mixture
//! bytecache-tools replay --format twitter cluster52.0.zst
//! bytecache-tools replay --help
//! ```
//!
//! | column | meaning |
//! |---|---|
//! | requests | look-ups, inserts and removals of the trace |
//! | miss ratio | misses / look-ups, beginning with an empty cache |
//! | byte miss ratio | the same by bytes of values |
//! | requests/s | of all threads together; hits are copied out, misses are inserted |
//! | entries | number of entries at the end |
//! | write amp. | bytes written to the cache / bytes inserted |
//! | resident/payload | growth of the resident set / bytes of keys and values at the end |
//!
//! The growth of the resident set begins before the cache is built. The column is `-` if the system
//! does not report it.
//!
//! A value that is larger than the cache accepts is a miss each time. Each hit is checked to be its
//! key's value, and a wrong one ends the replay. Runs with one thread are reproducible. A trace
//! that cannot be read ends the program with exit code 1 and an error that names the file and the
//! place.
//!
//! The resident memory of a thread and of the allocator's last pages, some tens of KiB, is counted
//! with the cache. So the last column means little for caches below 1 MiB.

mod options;
mod resident;
mod run;
mod table;

use std::error::Error;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::command_line::Command;
use crate::trace::Trace;
use crate::{mixture, progress};
use options::Options;
use run::Settings;

/// The command `replay`.
pub(crate) const COMMAND: Command<Options> =
    Command { name: "replay", usage: options::usage, parse: options::parse, work: replay_all };

/// Least default memory of a cache, in bytes for each shard.
const MIN_SHARD_BYTES: usize = 64 << 10;

/// Greatest default memory of a cache in bytes, whatever sizes a trace claims.
const MAX_DEFAULT_BYTES: usize = 1 << 30;

fn replay_all(options: &Options) -> Result<(), Box<dyn Error>> {
    resident::keep_one_heap();
    let mut rows = options.csv.as_deref().map(create_csv).transpose()?;
    if options.traces.is_empty() {
        let trace = mixture::generate(options.requests, options.seed);
        replay_trace("generated mixture", &trace, options, rows.as_mut())?;
    }
    for path in &options.traces {
        let (name, trace) = progress::read(path, options.format)?;
        replay_trace(&name, &trace, options, rows.as_mut())?;
    }
    Ok(())
}

fn replay_trace(
    name: &str,
    trace: &Trace,
    options: &Options,
    mut rows: Option<&mut csv::Writer<File>>,
) -> Result<(), Box<dyn Error>> {
    let settings = Settings {
        max_bytes: options.max_bytes.unwrap_or_else(|| default_max_bytes(trace, options.shards)),
        shards: options.shards,
        threads: options.threads,
        seed: options.seed,
    };
    let mut out = io::stdout().lock();
    let name_width = table::name_width(&options.policies);
    table::print_head(&mut out, name, trace, settings, name_width)?;
    for &policy in &options.policies {
        let bar = progress::of_requests(trace.requests().len() as u64, format!("{name} {policy}"));
        let replayed = run::replay(trace, policy, settings, &bar);
        bar.finish_and_clear();
        let outcome = replayed.map_err(|error| format!("{name}: {policy}: {error}"))?;
        table::print_row(&mut out, &outcome, name_width)?;
        if let Some(rows) = rows.as_mut() {
            table::write_csv_row(rows, name, settings, &outcome)?;
        }
    }
    writeln!(out)?;
    Ok(())
}

fn create_csv(path: &Path) -> Result<csv::Writer<File>, Box<dyn Error>> {
    let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut rows = csv::Writer::from_writer(file);
    table::write_csv_head(&mut rows)?;
    Ok(rows)
}

/// Returns a tenth of the bytes of the trace's keys and values, within limits.
fn default_max_bytes(trace: &Trace, shards: usize) -> usize {
    let tenth = usize::try_from(trace.unique_bytes() / 10).unwrap_or(usize::MAX);
    tenth.min(MAX_DEFAULT_BYTES).max(shards.saturating_mul(MIN_SHARD_BYTES))
}
