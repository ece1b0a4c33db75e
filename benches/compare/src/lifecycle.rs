//! The times to start, clear and drop a cache that is full of small entries.
//!
//! Each contender has a process of its own. *First read* is the time from before the cache is made
//! until its first entry has been read. Then the cache is filled, cleared, filled again and
//! dropped.

use crate::contenders;
use crate::numbers_of_cell;
use crate::output::{LIFECYCLE, Output};
use crate::race::fill;
use crate::works::{Kind, Skew, Work, blank_value, key_of};
use std::time::Instant;

const ENTRIES: usize = 10_000_000;
const VALUE_LEN: usize = 16;

/// Bytes for each entry beyond key and value, so that all entries fit.
const OVERHEAD_BYTES: usize = 64;

/// The hidden argument with which this program measures one contender and exits.
pub const CELL_ARG: &str = "lifecycle-cell";

/// Prints a table.
pub fn print_all(output: &Output, names: &[&'static str], scale: usize) {
    let entries = ENTRIES / scale;
    let mut text = format!("### lifecycle\n\n{entries} entries of 24 + {VALUE_LEN} B\n\n");
    text += "| contender | first read, us | clear, ms | drop, ms |\n|---|---:|---:|---:|\n";
    for name in names.iter().filter(|name| !contenders::is_floor(name)) {
        let Some([start, clear, drop]) = numbers_of_cell(&[CELL_ARG, name, &entries.to_string()]) else {
            text += &format!("| {name} | failed | - | - |\n");
            continue;
        };
        let millis = |nanos: u64| format!("{:.1}", nanos as f64 / 1e6);
        let cleared = if clear == 0 { String::from("-") } else { millis(clear) };
        text += &format!("| {name} | {:.0} | {cleared} | {} |\n", start as f64 / 1e3, millis(drop));
        let row = [name.to_string(), entries.to_string(), start.to_string(), clear.to_string(), drop.to_string()];
        output.row(&LIFECYCLE, &row);
    }
    output.print(&(text + "\n"));
}

/// Measures one contender. Prints the nanoseconds of the first read, of clear (0 if it has no such
/// call), and of the drop.
pub fn run_cell(name: &str, entries: usize) {
    let max_bytes = entries * (crate::works::KEY_LEN + VALUE_LEN + OVERHEAD_BYTES);
    let mut work = Work::bounded("lifecycle", Kind::Insert, Skew::Uniform, entries, VALUE_LEN, max_bytes);
    work.expected_entries = entries;
    let value = blank_value(VALUE_LEN);
    let mut out = Vec::new();
    let nanos = |begin: Instant| begin.elapsed().as_nanos();

    let begin = Instant::now();
    let racer = contenders::build(name, &work);
    racer.insert(&key_of(0), &value);
    let is_read = racer.get_into(&key_of(0), &mut out);
    let start = nanos(begin);
    assert!(is_read, "{name} does not have its first entry");

    fill(&*racer, &work);
    racer.settle();
    let begin = Instant::now();
    let clear = if racer.clear() { nanos(begin) } else { 0 };
    fill(&*racer, &work);
    racer.settle();
    let begin = Instant::now();
    drop(racer);
    println!("{start} {clear} {}", nanos(begin));
}
