//! The results, as Markdown for people and as CSV for programs.

use std::io::{self, Write};

use bytecache::Policy;
use bytecache::policy::Unit;

use super::Outcome;
use super::references::peers_of;
use crate::ground_truth::{COLUMNS, Cell, Ratios, written_as};

/// The ratio that a table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// Missed requests, with capacities in entries.
    Entries,
    /// Missed requests, with capacities in bytes.
    RequestsOfBytes,
    /// Missed bytes, with capacities in bytes.
    BytesOfBytes,
}

impl Measure {
    pub(crate) const ALL: [Self; 3] = [Self::Entries, Self::RequestsOfBytes, Self::BytesOfBytes];

    fn title(self) -> &'static str {
        match self {
            Self::Entries => "capacities in entries, requests missed",
            Self::RequestsOfBytes => "capacities in bytes, requests missed",
            Self::BytesOfBytes => "capacities in bytes, bytes missed",
        }
    }

    fn unit(self) -> Unit {
        match self {
            Self::Entries => Unit::Entries,
            Self::RequestsOfBytes | Self::BytesOfBytes => Unit::Bytes,
        }
    }

    fn of(self, ratios: Ratios) -> Option<f64> {
        match self {
            Self::Entries | Self::RequestsOfBytes => Some(ratios.misses),
            Self::BytesOfBytes => ratios.missed_bytes,
        }
    }

    /// Returns the name and the ratio of the policy's reference, or `None` if the cell has none.
    fn reference(self, policy: Policy, cell: &Cell) -> Option<(&'static str, f64)> {
        let row = |&name: &&'static str| Some((name, self.of(*cell.references.get(name)?)?));
        peers_of(policy, self.unit()).iter().find_map(row)
    }
}

/// Prints a row for each cell: the percentage that each policy misses, and that of its reference.
///
/// # Errors
///
/// Returns an error if the output fails.
pub(crate) fn print_ratios(
    out: &mut impl Write,
    measure: Measure,
    policies: &[Policy],
    outcomes: &[Outcome<'_>],
) -> io::Result<()> {
    let names = policies.iter().map(ToString::to_string);
    let head = ["trace".to_owned(), "capacity".to_owned()].into_iter().chain(names).collect();
    let mut rows = Vec::new();
    for Outcome { cell, ours } in outcomes.iter().filter(|outcome| outcome.cell.unit == measure.unit()) {
        let ratios = policies.iter().zip(ours).filter_map(|(&policy, &ours)| {
            let (ours, reference) = (measure.of(ours)?, measure.reference(policy, cell));
            Some(match reference {
                Some((_, reference)) if points(ours, reference) == 0.0 => format!("{:.2} =", ours * 100.0),
                Some((_, reference)) => format!("{:.2} ({:.2})", ours * 100.0, reference * 100.0),
                None => format!("{:.2}", ours * 100.0),
            })
        });
        rows.push([cell.trace.clone(), cell.capacity.to_string()].into_iter().chain(ratios).collect());
    }
    print_table(out, &format!("Percent missed, {} (of the reference; `=`: the same)", measure.title()), head, rows)
}

/// Prints a row for each policy that has a reference: the number of cells in which the two are
/// equal, and their differences.
///
/// # Errors
///
/// Returns an error if the output fails.
pub(crate) fn print_summary(
    out: &mut impl Write,
    measure: Measure,
    policies: &[Policy],
    outcomes: &[Outcome<'_>],
) -> io::Result<()> {
    let head = ["policy", "references", "cells", "equal", "mean", "lowest", "highest", "highest at"];
    let mut rows = Vec::new();
    for (index, &policy) in policies.iter().enumerate() {
        let mut names: Vec<&str> = Vec::new();
        let mut differences = Vec::new();
        for Outcome { cell, ours } in outcomes.iter().filter(|outcome| outcome.cell.unit == measure.unit()) {
            let Some((name, reference)) = measure.reference(policy, cell) else { continue };
            let Some(ours) = measure.of(ours[index]) else { continue };
            differences.push((points(ours, reference), *cell));
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if let Some(spread) = Spread::of(&differences) {
            let equal = differences.iter().filter(|(points, _)| *points == 0.0).count();
            let counts = [differences.len().to_string(), equal.to_string()];
            rows.push([policy.to_string(), names.join(", ")].into_iter().chain(counts).chain(spread.texts()).collect());
        }
    }
    let title = format!("Points missed more than the reference, {}", measure.title());
    print_table(out, &title, head.map(str::to_owned).to_vec(), rows)
}

/// Prints a row for each policy: its excess over the best of ten references.
///
/// # Errors
///
/// Returns an error if the output fails.
pub(crate) fn print_excess(out: &mut impl Write, policies: &[Policy], outcomes: &[&Outcome<'_>]) -> io::Result<()> {
    let head = ["policy", "cells", "mean", "lowest", "highest", "highest at"];
    let mut rows = Vec::new();
    for (index, policy) in policies.iter().enumerate() {
        let misses = outcomes.iter().map(|outcome| (outcome.ours[index].misses, outcome.cell));
        let excess = misses.filter_map(|(ours, cell)| Some((points(ours, cell.best_of_ten()?), cell)));
        let differences: Vec<_> = excess.collect();
        if let Some(spread) = Spread::of(&differences) {
            rows.push([policy.to_string(), differences.len().to_string()].into_iter().chain(spread.texts()).collect());
        }
    }
    let title = "Points missed more than the best of ten references, capacities of 1, 5 and 10 % of the keys";
    print_table(out, title, head.map(str::to_owned).to_vec(), rows)
}

/// Returns the excess over the reference in percentage points, or 0 if both miss the same number.
fn points(ours: f64, reference: f64) -> f64 {
    if written_as(reference).contains(&ours) { 0.0 } else { (ours - reference) * 100.0 }
}

/// A summary of differences in points.
struct Spread<'a> {
    mean: f64,
    lowest: f64,
    highest: f64,
    highest_at: &'a Cell,
}

impl<'a> Spread<'a> {
    /// Returns the summary, or `None` if there are no differences.
    fn of(points: &[(f64, &'a Cell)]) -> Option<Self> {
        let by_points = |a: &&(f64, _), b: &&(f64, _)| a.0.total_cmp(&b.0);
        let lowest = points.iter().min_by(by_points)?.0;
        let &(highest, highest_at) = points.iter().max_by(by_points)?;
        let mean = points.iter().map(|(points, _)| points).sum::<f64>() / points.len() as f64;
        Some(Self { mean, lowest, highest, highest_at })
    }

    fn texts(&self) -> [String; 4] {
        let [mean, lowest, highest] = [self.mean, self.lowest, self.highest].map(|points| format!("{points:+.3}"));
        [mean, lowest, highest, format!("{} {}", self.highest_at.trace, self.highest_at.capacity)]
    }
}

/// Prints a table with aligned columns. Prints nothing if it has no rows.
fn print_table(out: &mut impl Write, title: &str, head: Vec<String>, rows: Vec<Vec<String>>) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let width = |column: usize| rows.iter().chain([&head]).map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<_> = (0..head.len()).map(width).collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).map(|(text, &width)| format!(" {text:width$} |"));
        format!("|{}", cells.collect::<String>())
    };
    writeln!(out, "## {title}\n\n{}", line(&head))?;
    writeln!(out, "|{}", widths.iter().map(|&width| format!("{:-<1$}|", "", width + 2)).collect::<String>())?;
    for row in &rows {
        writeln!(out, "{}", line(row))?;
    }
    writeln!(out)
}

/// Writes the ratios of our policies, in the columns of `groundtruth.csv`.
///
/// # Errors
///
/// Returns an error if the output fails.
pub(crate) fn write_csv(
    out: &mut csv::Writer<impl Write>,
    policies: &[Policy],
    outcomes: &[Outcome<'_>],
) -> csv::Result<()> {
    out.write_record(COLUMNS)?;
    for Outcome { cell, ours } in outcomes {
        for (policy, ratios) in policies.iter().zip(ours) {
            let unit = match cell.unit {
                Unit::Entries => "entries",
                Unit::Bytes => "bytes",
            };
            out.write_record([
                cell.trace.clone(),
                policy.to_string(),
                unit.to_owned(),
                cell.capacity.to_string(),
                cell.requests.to_string(),
                format!("{:.8}", ratios.misses),
                ratios.missed_bytes.map_or_else(String::new, |ratio| format!("{ratio:.8}")),
            ])?;
        }
    }
    Ok(out.flush()?)
}
