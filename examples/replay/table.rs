//! The results: an aligned table for people, rows of CSV for programs.

use std::io::{self, Write};

use super::run::{Outcome, Settings};
use super::trace::Trace;

const COLUMNS: [(&str, usize); 8] = [
    ("policy", 10),
    ("requests", 12),
    ("miss ratio", 11),
    ("byte miss ratio", 16),
    ("requests/s", 13),
    ("entries", 12),
    ("write amp.", 11),
    ("resident/payload", 17),
];

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

/// Prints what is replayed, and the names of the columns.
///
/// # Errors
///
/// Those of the output.
pub(crate) fn print_head(out: &mut impl Write, name: &str, trace: &Trace, settings: Settings) -> io::Result<()> {
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
    print_cells(out, &COLUMNS.map(|(title, _)| title.to_owned()))
}

/// Prints one policy's row.
///
/// # Errors
///
/// Those of the output.
pub(crate) fn print_row(out: &mut impl Write, outcome: &Outcome) -> io::Result<()> {
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
    print_cells(out, &cells)?;
    if tally.refused > 0 {
        writeln!(
            out,
            "{:10} refused {} inserts: too large for the cache, or no space free",
            "",
            grouped(tally.refused)
        )?;
    }
    Ok(())
}

/// Writes the names of the columns of CSV.
///
/// # Errors
///
/// Those of the output.
pub(crate) fn write_csv_head(out: &mut csv::Writer<impl Write>) -> csv::Result<()> {
    out.write_record(CSV_COLUMNS)?;
    Ok(out.flush()?)
}

/// Writes one policy's row of CSV; what could not be measured is empty.
///
/// # Errors
///
/// Those of the output.
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

fn print_cells(out: &mut impl Write, cells: &[String; COLUMNS.len()]) -> io::Result<()> {
    write!(out, "{:1$}", cells[0], COLUMNS[0].1)?;
    for (cell, (_, width)) in cells.iter().zip(COLUMNS).skip(1) {
        write!(out, "{cell:>width$}")?;
    }
    writeln!(out)
}

fn requests_per_second(outcome: &Outcome) -> u64 {
    let nanoseconds = outcome.elapsed.as_nanos().max(1);
    u64::try_from(u128::from(outcome.tally.requests) * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX)
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(count: u64) -> String {
    match count {
        0..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.2} GB", count as f64 / 1e9),
    }
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use bytecache::Policy;
    use indicatif::ProgressBar;

    use super::*;
    use crate::generate::generate;
    use crate::run::replay;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let texts = [0, 999, 1_000, 12_345, 1_234_567].map(grouped);
        assert_eq!(texts, ["0", "999", "1,000", "12,345", "1,234,567"]);
    }

    #[test]
    fn bytes_are_shown_in_decimal_units() {
        assert_eq!([65_536, 3_300_000, 2_000_000_000].map(bytes), ["65.5 kB", "3.3 MB", "2.00 GB"]);
    }

    #[test]
    fn rows_are_as_wide_as_the_head_in_both_forms() {
        let trace = generate(1_000, 1);
        let settings = Settings { max_bytes: 4 << 20, shards: 1, threads: 1, seed: 1 };
        let outcome = replay(&trace, Policy::ALL[0], settings, &ProgressBar::hidden()).expect("a replay");

        let mut table = Vec::new();
        print_head(&mut table, "mixture", &trace, settings).expect("into memory");
        print_row(&mut table, &outcome).expect("into memory");
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
