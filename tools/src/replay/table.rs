//! The results: an aligned table for people, rows of CSV for programs.

use std::io::{self, Write};

use bytecache::Policy;

use super::run::{Outcome, Settings};
use crate::amounts::{bytes, grouped};
use crate::trace::Trace;

/// Titles and widths. The first column is as wide as the names of the policies.
const COLUMNS: [(&str, usize); 8] = [
    ("policy", 0),
    ("requests", 12),
    ("miss ratio", 11),
    ("byte miss ratio", 16),
    ("requests/s", 13),
    ("entries", 12),
    ("write amp.", 11),
    ("resident/payload", 17),
];

const MIN_NAME_WIDTH: usize = 10;

const CSV_COLUMNS: [&str; 12] = [
    "trace",
    "max_bytes",
    "shards",
    "threads",
    "policy",
    "requests",
    "miss_ratio",
    "byte_miss_ratio",
    "requests_per_second",
    "entries",
    "write_amplification",
    "resident_per_payload",
];

/// Returns the width of the first column for these policies.
pub(crate) fn name_width(policies: &[Policy]) -> usize {
    policies.iter().map(|policy| policy.to_string().len()).max().unwrap_or(0).max(MIN_NAME_WIDTH)
}

/// Prints the trace, the settings, and the titles of the columns.
///
/// # Errors
///
/// Returns an error if the output fails.
pub(crate) fn print_head(
    out: &mut impl Write,
    name: &str,
    trace: &Trace,
    settings: Settings,
    name_width: usize,
) -> io::Result<()> {
    writeln!(
        out,
        "{name}: {} requests, {} keys, {} distinct; cache of {}, {}, {}",
        grouped(trace.requests().len() as u64),
        grouped(trace.unique_keys()),
        bytes(trace.unique_bytes()),
        bytes(settings.max_bytes as u64),
        counted(settings.shards, "shard"),
        counted(settings.threads, "thread"),
    )?;
    print_cells(out, &COLUMNS.map(|(title, _)| title.to_owned()), name_width)
}

/// Prints the row of one policy.
///
/// # Errors
///
/// Returns an error if the output fails.
pub(crate) fn print_row(out: &mut impl Write, outcome: &Outcome, name_width: usize) -> io::Result<()> {
    let tally = &outcome.tally;
    let cells = [
        outcome.policy.to_string(),
        grouped(tally.requests),
        format!("{:.4}", tally.miss_ratio()),
        format!("{:.4}", tally.byte_miss_ratio()),
        grouped(requests_per_second(outcome)),
        grouped(outcome.entries as u64),
        format!("{:.2}", outcome.write_amplification),
        outcome.resident_per_payload.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}")),
    ];
    print_cells(out, &cells, name_width)?;
    if tally.refused > 0 {
        writeln!(
            out,
            "{:name_width$} refused {} inserts: too large for the cache, or no space free",
            "",
            grouped(tally.refused)
        )?;
    }
    Ok(())
}

/// Writes the titles of the columns as CSV.
///
/// # Errors
///
/// Returns an error if the output fails.
pub(crate) fn write_csv_head(out: &mut csv::Writer<impl Write>) -> csv::Result<()> {
    out.write_record(CSV_COLUMNS)?;
    Ok(out.flush()?)
}

/// Writes the row of one policy as CSV. A field that was not measured is empty.
///
/// # Errors
///
/// Returns an error if the output fails.
pub(crate) fn write_csv_row(
    out: &mut csv::Writer<impl Write>,
    name: &str,
    settings: Settings,
    outcome: &Outcome,
) -> csv::Result<()> {
    out.write_record([
        name.to_owned(),
        settings.max_bytes.to_string(),
        settings.shards.to_string(),
        settings.threads.to_string(),
        outcome.policy.to_string(),
        outcome.tally.requests.to_string(),
        format!("{:.6}", outcome.tally.miss_ratio()),
        format!("{:.6}", outcome.tally.byte_miss_ratio()),
        requests_per_second(outcome).to_string(),
        outcome.entries.to_string(),
        format!("{:.4}", outcome.write_amplification),
        outcome.resident_per_payload.map_or_else(String::new, |ratio| format!("{ratio:.4}")),
    ])?;
    Ok(out.flush()?)
}

fn print_cells(out: &mut impl Write, cells: &[String; COLUMNS.len()], name_width: usize) -> io::Result<()> {
    write!(out, "{:name_width$}", cells[0])?;
    for (cell, (_, width)) in cells.iter().zip(COLUMNS).skip(1) {
        write!(out, "{cell:>width$}")?;
    }
    writeln!(out)
}

fn requests_per_second(outcome: &Outcome) -> u64 {
    let nanoseconds = outcome.elapsed.as_nanos().max(1);
    u64::try_from(u128::from(outcome.tally.requests) * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX)
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use bytecache::policy::S3FifoConfig;
    use indicatif::ProgressBar;

    use super::*;
    use crate::mixture::generate;
    use crate::replay::run::replay;

    #[test]
    fn rows_are_as_wide_as_the_head_in_both_forms() {
        let trace = generate(1_000, 1);
        let settings = Settings { max_bytes: 4 << 20, shards: 1, threads: 1, seed: 1 };
        let policy = S3FifoConfig::new().small_percent(20).expect("a share").into();
        let outcome = replay(&trace, policy, settings, &ProgressBar::hidden()).expect("a replay");
        let name_width = name_width(&[policy, Policy::Lru]);
        assert!(name_width > super::name_width(&[Policy::Lru]));

        let mut table = Vec::new();
        print_head(&mut table, "mixture", &trace, settings, name_width).expect("into memory");
        print_row(&mut table, &outcome, name_width).expect("into memory");
        let table = String::from_utf8(table).expect("text");
        let widths: Vec<_> = table.lines().skip(1).map(str::len).collect();
        assert_eq!(widths[0], widths[1], "{table}");

        let mut rows = csv::Writer::from_writer(Vec::new());
        write_csv_head(&mut rows).expect("into memory");
        write_csv_row(&mut rows, "mix,ture", settings, &outcome).expect("into memory");
        let rows = rows.into_inner().expect("flushed");
        let mut reader = csv::Reader::from_reader(&rows[..]);
        let row = reader.records().next().expect("a row").expect("as many fields as the head");
        assert_eq!((&row[0], &row[5]), ("mix,ture", "1000"));
    }
}
