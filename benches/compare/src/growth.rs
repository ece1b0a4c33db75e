//! The times of single inserts while a cache fills that was told nothing of its entries.
//!
//! Each contender has a process of its own for each run, so that it fills fresh memory. The row
//! `plain` is a loop that writes the same bytes in the same order to memory that was never touched.
//! Every insert is timed by itself, which costs the 20 to 30 ns of the clock. Five runs take turns,
//! and the table has medians.

use crate::contenders;
use crate::numbers_of_cell;
use crate::output::{GROWTH, Output};
use crate::works::{KEY_LEN, Kind, Skew, Work, blank_value, key_of, stamp};
use hdrhistogram::Histogram;
use std::hint::black_box;
use std::time::Instant;

/// The limit of the contenders in bytes.
const LIMIT_BYTES: usize = 256 << 20;
const VALUE_LEN: usize = 16;
const RUNS: usize = 5;

/// The contenders, of which those run that were asked for.
const NAMES: [&str; 4] = ["bytecache", "quick_cache", "moka", "foyer"];
const PLAIN: &str = "plain";

/// The hidden argument with which this program measures one run and exits.
pub const CELL_ARG: &str = "growth-cell";

/// Greatest time in ns that is distinguished from greater ones.
const MAX_NANOS: u64 = 100_000_000_000;

/// Times in ns: what one in 10,000 inserts exceeds, one in 100,000, and the slowest.
type Cell = [u64; 3];

/// Prints a table.
pub fn print_all(output: &Output, names: &[&'static str], scale: usize) {
    let limit = LIMIT_BYTES / scale;
    let raced = NAMES.into_iter().filter(|name| names.contains(name));
    let rows: Vec<&str> = std::iter::once(PLAIN).chain(raced).collect();
    let mut cells: Vec<Vec<Cell>> = vec![Vec::new(); rows.len()];
    for _ in 0..RUNS {
        for (name, cells) in rows.iter().zip(&mut cells) {
            cells.extend(numbers_of_cell(&[CELL_ARG, name, &limit.to_string()]));
        }
    }
    let mut text = format!("### growth\n\n{} MiB fill with entries of {KEY_LEN} + {VALUE_LEN} B\n\n", limit >> 20);
    text += "| | one in 10,000, us | one in 100,000, us | slowest, us |\n|---|---:|---:|---:|\n";
    for (name, cells) in rows.iter().zip(&cells) {
        if cells.len() < RUNS {
            text += &format!("| {name} | failed | - | - |\n");
            continue;
        }
        let [rare, rarer, slowest] = [0, 1, 2].map(|column| median(cells, column));
        let micros = |nanos: u64| nanos as f64 / 1e3;
        text += &format!("| {name} | {:.1} | {:.1} | {:.0} |\n", micros(rare), micros(rarer), micros(slowest));
        output.row(
            &GROWTH,
            &[name.to_string(), limit.to_string(), rare.to_string(), rarer.to_string(), slowest.to_string()],
        );
    }
    output.print(&(text + "\n"));
}

fn median(cells: &[Cell], column: usize) -> u64 {
    let mut values: Vec<u64> = cells.iter().map(|cell| cell[column]).collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Measures one run, and prints the numbers of a [`Cell`].
pub fn run_cell(name: &str, limit: usize) {
    // As many entries as their bytes alone would fill, so every contender fills up.
    let inserts = (limit / (KEY_LEN + VALUE_LEN)) as u64;
    let mut value = blank_value(VALUE_LEN);
    let mut times = Histogram::<u64>::new_with_bounds(1, MAX_NANOS, 3).expect("valid bounds");
    let mut time_all = |insert: &mut dyn FnMut(&[u8], &[u8])| {
        for index in 0..inserts {
            let key = key_of(index);
            stamp(&mut value, index);
            let begin = Instant::now();
            insert(&key, &value);
            let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(MAX_NANOS);
            times.saturating_record(nanos);
        }
    };
    if name == PLAIN {
        let mut memory: Vec<u8> = Vec::with_capacity(limit);
        time_all(&mut |key, value| {
            memory.extend_from_slice(key);
            memory.extend_from_slice(value);
        });
        black_box(&memory);
    } else {
        let mut work = Work::bounded("growth", Kind::Insert, Skew::Uniform, 0, VALUE_LEN, limit);
        work.expected_entries = 0;
        let racer = contenders::build(name, &work);
        time_all(&mut |key, value| {
            racer.insert(key, value);
        });
    }
    println!("{} {} {}", times.value_at_quantile(0.9999), times.value_at_quantile(0.99999), times.max());
}
