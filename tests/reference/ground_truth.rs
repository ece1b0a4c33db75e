//! `groundtruth.csv`: the miss ratios that published implementations have on the traces.
//!
//! ```text
//!   trace,policy,unit,capacity,requests,miss_ratio,byte_miss_ratio
//!   lirs_multi3,fifo,entries,75,30241,0.94993552,
//! ```
//!
//! Every request is a look-up and, on a miss, an insert; all misses count. Rows whose policy is named plainly are
//! libCacheSim's, those with `caffeine:` are of Caffeine's simulator. Byte miss ratios stand with capacities in bytes
//! only.

use std::collections::BTreeMap;
use std::error::Error;
use std::ops::RangeInclusive;
use std::path::Path;

use bytecache::policy::{Simulation, Unit};

/// A trace with a capacity, which any policy can be given.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) trace: String,
    pub(crate) unit: Unit,
    pub(crate) capacity: u64,
    /// How many the trace has.
    pub(crate) requests: u64,
    /// By the name of the policy in the file.
    pub(crate) references: BTreeMap<String, Ratios>,
}

/// What was missed of what was asked for, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratios {
    pub(crate) misses: f64,
    /// Of the bytes, where capacities are in bytes.
    pub(crate) missed_bytes: Option<f64>,
}

impl Ratios {
    /// Those of a run with a capacity of such a unit.
    pub(crate) fn of(simulation: Simulation, unit: Unit) -> Self {
        let missed_bytes = (unit == Unit::Bytes).then(|| simulation.byte_miss_ratio());
        Self { misses: simulation.miss_ratio(), missed_bytes }
    }
}

/// Every ratio that is written as `ratio` in the file, which has eight digits: enough to tell numbers of misses apart
/// among fifty million requests.
pub(crate) fn written_as(ratio: f64) -> RangeInclusive<f64> {
    // Half a digit, and a little more as neither number is exact in binary.
    const HALF_A_DIGIT: f64 = 0.5001e-8;
    ratio - HALF_A_DIGIT..=ratio + HALF_A_DIGIT
}

/// All cells of the file, in its order.
///
/// # Errors
///
/// A file that is not there, or not as described.
pub(crate) fn read(folder: &Path) -> Result<Vec<Cell>, Box<dyn Error>> {
    let path = folder.join("groundtruth.csv");
    let mut reader = csv::Reader::from_path(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut cells: Vec<Cell> = Vec::new();
    for (line, record) in (2..).zip(reader.records()) {
        let located = |error: Box<dyn Error>| format!("{}: line {line}: {error}", path.display());
        let (of, policy, ratios) = parse(&record?).map_err(located)?;
        let is_same = |cell: &&mut Cell| (&cell.trace, cell.unit, cell.capacity) == (&of.trace, of.unit, of.capacity);
        let cell = match cells.iter_mut().find(is_same) {
            Some(cell) => cell,
            None => {
                cells.push(of);
                cells.last_mut().expect("just pushed")
            }
        };
        if cell.references.insert(policy, ratios).is_some() {
            return Err(located("a second row of this policy".into()).into());
        }
    }
    Ok(cells)
}

/// A row: its cell, without references, its policy and that policy's ratios.
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
