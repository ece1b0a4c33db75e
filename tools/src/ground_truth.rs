//! `groundtruth.csv`: the miss ratios of published implementations on the traces.
//!
//! ```text
//!   trace,policy,unit,capacity,requests,miss_ratio,byte_miss_ratio
//!   lirs_multi3,fifo,entries,75,30241,0.94993552,
//! ```
//!
//! Every request is a look-up and, on a miss, an insert. All misses count. Rows with a plain policy
//! name are from libCacheSim. Those with the prefix `caffeine:` are from Caffeine's simulator. Only
//! rows with capacities in bytes have a byte miss ratio.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::ops::RangeInclusive;

use bytecache::policy::{Simulation, Unit};

/// The columns of the file.
pub const COLUMNS: [&str; 7] = ["trace", "policy", "unit", "capacity", "requests", "miss_ratio", "byte_miss_ratio"];

/// A trace and a capacity, at which any policy can be run.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The name of the trace.
    pub trace: String,
    /// The unit of the capacity.
    pub unit: Unit,
    /// The number of entries or bytes that fit.
    pub capacity: u64,
    /// The number of requests in the trace.
    pub requests: u64,
    /// The miss ratios, by the policy's name in the file.
    pub references: BTreeMap<String, Ratios>,
}

impl Cell {
    /// Returns the lowest miss ratio of ten references, or `None` if the cell has none of them.
    #[must_use]
    pub fn best_of_ten(&self) -> Option<f64> {
        let row = |names: &[&str]| names.iter().find_map(|&name| self.references.get(name));
        TEN.iter().filter_map(|names| row(names)).map(|ratios| ratios.misses).min_by(f64::total_cmp)
    }
}

/// The references of [`Cell::best_of_ten`]. If a reference has two names, the first that the cell
/// has counts.
const TEN: [&[&str]; 10] = [
    &["lru"],
    &["lfu"],
    &["2q"],
    &["arc"],
    &["slru_20_80"],
    &["s3fifo"],
    &["sieve"],
    &["lirs"],
    &["mq", "caffeine:mq"],
    &["caffeine:wtinylfu_climb"],
];

/// Percentages of a trace's keys at which policies are compared with the best of ten references.
pub const COMPARED_PERCENT: [u64; 3] = [1, 5, 10];

/// Returns the capacities in entries that are [`COMPARED_PERCENT`] of `keys` keys.
#[must_use]
pub fn compared_capacities(keys: u64) -> [u64; 3] {
    COMPARED_PERCENT.map(|percent| (keys * percent + 50) / 100)
}

/// Miss ratios, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratios {
    /// Missed requests divided by requests.
    pub misses: f64,
    /// Missed bytes divided by requested bytes, or `None` if the capacity counts entries.
    pub missed_bytes: Option<f64>,
}

impl Ratios {
    /// Returns the ratios of a run whose capacity counts in `unit`.
    #[must_use]
    pub fn of(simulation: Simulation, unit: Unit) -> Self {
        let missed_bytes = (unit == Unit::Bytes).then(|| simulation.byte_miss_ratio());
        Self { misses: simulation.miss_ratio(), missed_bytes }
    }
}

/// Returns the range of the ratios that the file contains as `ratio`.
///
/// The file has eight digits. They tell numbers of misses apart among fifty million requests.
#[must_use]
pub fn written_as(ratio: f64) -> RangeInclusive<f64> {
    // Half a digit, and slightly more, because neither number is exact in binary.
    const HALF_A_DIGIT: f64 = 0.5001e-8;
    ratio - HALF_A_DIGIT..=ratio + HALF_A_DIGIT
}

/// Returns all cells of a file, in the order of the file.
///
/// # Errors
///
/// Returns an error that names the first line that is malformed, or that repeats a policy of a
/// cell.
pub fn read(file: impl Read) -> Result<Vec<Cell>, Box<dyn Error>> {
    let mut cells: Vec<Cell> = Vec::new();
    for (line, record) in (2..).zip(csv::Reader::from_reader(file).records()) {
        let located = |error: Box<dyn Error>| format!("line {line}: {error}");
        let (of, policy, ratios) = parse(&record?).map_err(located)?;
        let is_same = |cell: &Cell| (&cell.trace, cell.unit, cell.capacity) == (&of.trace, of.unit, of.capacity);
        let at = cells.iter().position(is_same).unwrap_or(cells.len());
        if at == cells.len() {
            cells.push(of);
        }
        if cells[at].references.insert(policy, ratios).is_some() {
            return Err(located("a second row of this policy".into()).into());
        }
    }
    Ok(cells)
}

/// Parses a row. Returns its cell without references, its policy, and that policy's ratios.
fn parse(record: &csv::StringRecord) -> Result<(Cell, String, Ratios), Box<dyn Error>> {
    let [trace, policy, unit, capacity, requests, misses, missed_bytes] = record.iter().collect::<Vec<_>>()[..] else {
        return Err("not seven columns".into());
    };
    let unit = match unit {
        "entries" => Unit::Entries,
        "bytes" => Unit::Bytes,
        other => return Err(format!("`{other}` is no unit").into()),
    };
    let missed_bytes = (!missed_bytes.is_empty()).then(|| missed_bytes.parse()).transpose()?;
    let ratios = Ratios { misses: misses.parse()?, missed_bytes };
    let cell = Cell {
        trace: trace.to_owned(),
        unit,
        capacity: capacity.parse()?,
        requests: requests.parse()?,
        references: BTreeMap::new(),
    };
    Ok((cell, policy.to_owned(), ratios))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_capacity_are_one_cell() {
        let text = "\
trace,policy,unit,capacity,requests,miss_ratio,byte_miss_ratio
a,lru,entries,7,100,0.50000000,
a,arc,entries,7,100,0.25000000,
a,lru,bytes,7,100,0.75000000,0.12500000
";
        let cells = read(text.as_bytes()).expect("three rows");
        assert_eq!(cells.len(), 2);
        assert_eq!((cells[0].unit, cells[0].capacity, cells[0].requests), (Unit::Entries, 7, 100));
        assert_eq!(cells[0].references["arc"], Ratios { misses: 0.25, missed_bytes: None });
        assert_eq!(cells[1].references["lru"], Ratios { misses: 0.75, missed_bytes: Some(0.125) });
    }

    #[test]
    fn a_row_that_is_not_as_described_is_named_by_its_line() {
        let error = |row: &str| read(format!("{}\n{row}\n", COLUMNS.join(",")).as_bytes()).expect_err(row).to_string();
        assert_eq!(error("a,lru,blocks,7,100,0.5,"), "line 2: `blocks` is no unit");
        assert!(error("a,lru,entries,x,100,0.5,").starts_with("line 2: "));
        assert_eq!(error("a,lru,entries,7,100,0.5,\na,lru,entries,7,100,0.5,"), "line 3: a second row of this policy");
    }

    #[test]
    fn a_ratio_is_written_as_itself_and_not_as_its_neighbour() {
        let third = 1.0 / 3.0;
        assert!(written_as(0.333_333_33).contains(&third));
        assert!(!written_as(0.333_333_34).contains(&third));
    }
}
