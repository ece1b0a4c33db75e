//! The results in numbers: aligned tables for people, rows of CSV for programs.

use std::io::{self, Write};

use bytecache::policy::{Simulation, Unit};

use super::results::{Results, Row, amount};
use crate::amounts::grouped;
use crate::ground_truth::COLUMNS;

/// A measure of a run that a table shows.
#[derive(Clone, Copy)]
struct Measure {
    title: &'static str,
    missed: fn(&Simulation) -> u64,
    ratio: fn(&Simulation) -> f64,
}

const MISSES: Measure = Measure { title: "miss ratio", missed: |run| run.misses, ratio: Simulation::miss_ratio };

const MISSED_BYTES: Measure =
    Measure { title: "byte miss ratio", missed: |run| run.missed_bytes, ratio: Simulation::byte_miss_ratio };

/// Prints the trace, and a table for each measure of the unit.
///
/// # Errors
///
/// Returns an error if the output fails.
pub(crate) fn print(out: &mut impl Write, results: &Results) -> io::Result<()> {
    let unit = results.unit;
    let kind = if unit == Unit::Entries { " keys" } else { " distinct" };
    writeln!(
        out,
        "{}: {} requests, {}{kind}; misses in %, * is the best",
        results.trace,
        grouped(results.requests),
        amount(results.working_set, unit),
    )?;
    let measures: &[Measure] = if unit == Unit::Entries { &[MISSES] } else { &[MISSES, MISSED_BYTES] };
    for measure in measures {
        writeln!(out)?;
        print_table(out, results, *measure)?;
    }
    Ok(())
}

fn print_table(out: &mut impl Write, results: &Results, measure: Measure) -> io::Result<()> {
    let amounts = results.capacities.iter().map(|capacity| amount(*capacity, results.unit));
    let shares = results.capacities.iter().map(|capacity| share(*capacity, results.working_set));
    let names = results.rows.iter().map(|row| row.rule.to_string());
    let mut lines = vec![[String::new()].into_iter().chain(shares).collect::<Vec<_>>()];
    lines.push([measure.title.to_owned()].into_iter().chain(amounts).collect());
    for (name, row) in names.zip(&results.rows) {
        lines.push([name].into_iter().chain(cells(results, row, measure)).collect());
    }
    let widths: Vec<_> = (0..=results.capacities.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    for line in lines {
        write!(out, "{:1$}", line[0], widths[0])?;
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            write!(out, "  {cell:>width$}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Returns a row's ratios. The lowest ratio that a policy has in a column is marked.
fn cells(results: &Results, row: &Row, measure: Measure) -> Vec<String> {
    let policies = || results.rows.iter().filter(|row| row.rule.is_policy());
    let cell = |(column, run): (usize, &Simulation)| {
        let best = policies().map(|row| (measure.missed)(&row.runs[column])).min();
        let is_best = row.rule.is_policy() && Some((measure.missed)(run)) == best;
        format!("{:.2}{}", (measure.ratio)(run) * 100.0, if is_best { '*' } else { ' ' })
    };
    row.runs.iter().enumerate().map(cell).collect()
}

/// Returns a capacity in percent of the working set, with a few digits.
fn share(capacity: u64, working_set: u64) -> String {
    let percent = capacity as f64 * 100.0 / working_set.max(1) as f64;
    let digits = match percent {
        10.0.. => 0,
        1.0.. => 1,
        _ => 2,
    };
    let text = format!("{percent:.digits$}");
    let short = if digits == 0 { &text } else { text.trim_end_matches('0').trim_end_matches('.') };
    format!("{short} %")
}

/// Writes the titles of the columns as CSV.
///
/// # Errors
///
/// Returns an error if the output fails.
pub(crate) fn write_csv_head(out: &mut csv::Writer<impl Write>) -> csv::Result<()> {
    out.write_record(COLUMNS)?;
    Ok(out.flush()?)
}

/// Writes a row of CSV for each run. With capacities in entries, the byte miss ratio is empty.
///
/// # Errors
///
/// Returns an error if the output fails.
pub(crate) fn write_csv_rows(out: &mut csv::Writer<impl Write>, results: &Results) -> csv::Result<()> {
    let is_entries = results.unit == Unit::Entries;
    for row in &results.rows {
        for (capacity, run) in results.capacities.iter().zip(&row.runs) {
            out.write_record([
                results.trace.clone(),
                row.rule.to_string(),
                if is_entries { "entries" } else { "bytes" }.to_owned(),
                capacity.to_string(),
                run.requests.to_string(),
                format!("{:.8}", run.miss_ratio()),
                if is_entries { String::new() } else { format!("{:.8}", run.byte_miss_ratio()) },
            ])?;
        }
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use bytecache::Policy;

    use super::*;
    use crate::simulate::results::tests::results;

    fn printed(results: &Results) -> Vec<String> {
        let mut out = Vec::new();
        print(&mut out, results).expect("into memory");
        String::from_utf8(out).expect("text").lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_best_policy_of_each_column_is_marked() {
        let results = results(&[Policy::Lru, Policy::Arc], &[10, 1_000], &[&[90, 30], &[85, 30], &[70, 30]]);
        let expected = [
            "some.trc: 100 requests, 1,000 keys; misses in %, * is the best",
            "",
            "               1 %   100 %",
            "miss ratio      10   1,000",
            "lru         90.00   30.00*",
            "arc         85.00*  30.00*",
            "optimum     70.00   30.00 ",
        ];
        assert_eq!(printed(&results), expected);
    }

    #[test]
    fn bytes_have_a_second_table() {
        let mut results = results(&[Policy::Lru], &[10], &[&[90], &[70]]);
        results.unit = Unit::Bytes;
        let lines = printed(&results);
        assert!(lines[0].contains("1.0 kB distinct"), "{lines:?}");
        let ratios: Vec<_> = lines.iter().filter(|line| line.starts_with("lru")).collect();
        assert!(ratios[0].ends_with("90.00*") && ratios[1].ends_with("45.00*"), "{lines:?}");
    }

    #[test]
    fn shares_have_few_digits() {
        let shares = [1, 15, 149, 1_000, 2_500, 10_000, 25_000].map(|capacity| share(capacity, 10_000));
        assert_eq!(shares, ["0.01 %", "0.15 %", "1.5 %", "10 %", "25 %", "100 %", "250 %"]);
        assert_eq!(share(10, 0), "1000 %");
    }

    #[test]
    fn csv_has_the_columns_of_the_reference() {
        let results = results(&[Policy::Lru], &[10, 1_000], &[&[90, 30], &[70, 25]]);
        let mut out = csv::Writer::from_writer(Vec::new());
        write_csv_head(&mut out).expect("into memory");
        write_csv_rows(&mut out, &results).expect("into memory");
        let text = String::from_utf8(out.into_inner().expect("flushed")).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "trace,policy,unit,capacity,requests,miss_ratio,byte_miss_ratio");
        assert_eq!(lines[2], "some.trc,lru,entries,1000,100,0.30000000,");
        assert_eq!(lines[3], "some.trc,optimum,entries,10,100,0.70000000,");
        assert_eq!(lines.len(), 5);
    }
}
