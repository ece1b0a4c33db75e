//! The memory that a limit of 256 MiB really takes.
//!
//! Each contender is filled in a process of its own, with four times its limit in new keys. Then
//! its resident memory is compared with the keys and values that are still present. These are
//! counted by a look-up of every key that was inserted.

use crate::contenders;
use crate::output::{MEMORY, Output};
use crate::own_program;
use crate::resident;
use crate::works::{Kind, Skew, Work, blank_value, key_of, stamp};
use std::process::{Command, Stdio};

/// The limit of the contenders in bytes.
const LIMIT_BYTES: usize = 256 << 20;

/// Inserted bytes divided by the limit.
const FILL_FACTOR: usize = 4;

/// Lengths of the values in bytes.
const VALUE_LENS: [usize; 4] = [16, 100, 1000, 10_000];

/// The hidden argument with which this program measures one contender and exits.
pub const CELL_ARG: &str = "memory-cell";

/// The results of one process.
struct Cell {
    resident_bytes: usize,
    kept: usize,
    refused: usize,
}

/// Prints a table for each length of values.
pub fn print_all(output: &Output, names: &[&'static str], scale: usize) {
    let limit = LIMIT_BYTES / scale;
    for value_len in VALUE_LENS {
        let mut text = format!("### memory, values of {value_len} B\n\n");
        text += &format!("Keys of 24 B, limit {} MiB, {FILL_FACTOR} times as much inserted\n\n", limit >> 20);
        text +=
            "| contender | resident MiB | of limit | entries kept | resident / payload |\n|---|---:|---:|---:|---:|\n";
        let work = cell_work(value_len, limit);
        for name in contenders::compact(names) {
            let Some(cell) = measure_elsewhere(name, value_len, limit) else {
                text += &format!("| {name} | failed | - | - | - |\n");
                continue;
            };
            let payload = cell.kept * work.payload_bytes();
            let of_payload = cell.resident_bytes as f64 / payload as f64;
            text += &format!("| {name} | {} |", cell.resident_bytes >> 20);
            text += &format!(" {:.2} | {} |", cell.resident_bytes as f64 / limit as f64, cell.kept);
            text += &format!(" {of_payload:.2} |\n");
            let numbers = [value_len, limit, cell.resident_bytes, cell.kept].map(|number| number.to_string());
            let [value_len, limit, resident, kept] = numbers;
            let row = [value_len.clone(), name.to_string(), limit, resident, kept, format!("{of_payload:.4}")];
            output.row(&MEMORY, &row);
            if cell.refused > 0 {
                eprintln!("memory, {value_len} B: {name} refused {} inserts", cell.refused);
            }
        }
        output.print(&(text + "\n"));
    }
}

fn cell_work(value_len: usize, limit: usize) -> Work {
    let keys = FILL_FACTOR * limit / (crate::works::KEY_LEN + value_len);
    Work::bounded("memory", Kind::Insert, Skew::Uniform, keys, value_len, limit)
}

fn measure_elsewhere(name: &str, value_len: usize, limit: usize) -> Option<Cell> {
    let output = Command::new(own_program())
        .args([CELL_ARG, name, &value_len.to_string(), &limit.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let numbers: Vec<usize> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [resident_bytes, kept, refused] = numbers[..] else { return None };
    Some(Cell { resident_bytes, kept, refused })
}

/// Measures one contender, and prints the three numbers of a [`Cell`].
pub fn run_cell(name: &str, value_len: usize, limit: usize) {
    let work = cell_work(value_len, limit);
    let mut value = blank_value(value_len);
    let before = resident::bytes();
    let racer = contenders::build(name, &work);
    let mut refused = 0;
    for index in 0..work.keys as u64 {
        stamp(&mut value, index);
        refused += usize::from(!racer.insert(&key_of(index), &value));
    }
    racer.settle();
    let resident_bytes = resident::bytes().saturating_sub(before);
    let kept = (0..work.keys as u64).filter(|&index| racer.contains(&key_of(index))).count();
    println!("{resident_bytes} {kept} {refused}");
}
