//! The hits of each contender on real traces, if all contenders occupy the same memory.
//!
//! The folder that `BYTECACHE_TRACES` names has traces in the format of the library's tests
//! (`NAME.trc.zst`). Every request is a read, and an insert after a miss. Values have 256 bytes.
//!
//! The target for the resident memory is a fifth of all keys and values of the trace. The limit of
//! each contender is varied until its process has this size, to a few percent. The bound is
//! Belady's optimum for as many bytes of keys and values. It is a cache without overhead that knows
//! the future.

use crate::contenders;
use crate::output::{HIT_RATIOS, Output};
use crate::own_program;
use crate::resident;
use crate::works::{KEY_LEN, Kind, Skew, Work, blank_value, key_of, stamp};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const VALUE_LEN: usize = 256;

/// All keys and values divided by those that should be resident.
const RESIDENT_PART: usize = 5;

/// Least number of keys of a trace. With fewer keys, the size of a process is mostly accidental.
const LEAST_KEYS: usize = 100_000;

/// Relative distance from the target that ends the search for a limit, and the greatest number of
/// limits that are tried.
const TOLERANCE: f64 = 0.03;
const TRIALS: usize = 6;

/// Bytes of a record: key, size, time to live.
const RECORD_BYTES: usize = 16;

/// The hidden argument with which this program replays one trace through one contender and exits.
pub const CELL_ARG: &str = "hit-ratio-cell";

/// The results of one process.
struct Cell {
    resident_bytes: usize,
    hits: usize,
}

/// Prints a table for each trace.
pub fn print_all(output: &Output, names: &[&'static str]) {
    let Some(folder) = std::env::var_os("BYTECACHE_TRACES") else {
        output.print("### hit ratio\n\nBYTECACHE_TRACES names no folder with traces: left out.\n\n");
        return;
    };
    for path in traces(Path::new(&folder)) {
        match read(&path) {
            Ok(trace) if key_count(&trace) < LEAST_KEYS => {}
            Ok(trace) => print_trace(output, names, &path, &trace),
            Err(error) => eprintln!("{}: {error}", path.display()),
        }
    }
}

fn print_trace(output: &Output, names: &[&'static str], path: &Path, trace: &[u32]) {
    let keys = key_count(trace);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("trace").trim_end_matches(".trc.zst");
    let target = keys * (KEY_LEN + VALUE_LEN) / RESIDENT_PART;
    let bound = belady_hits(trace, target / (KEY_LEN + VALUE_LEN)) as f64 / trace.len() as f64;
    let mut text = format!("### hit ratio, {name}\n\n{} requests, {keys} keys of 24 B, ", trace.len());
    text += &format!("values of {VALUE_LEN} B, {:.1} MiB resident\n\n", target as f64 / (1 << 20) as f64);
    text += "| contender | limit MiB | resident MiB | hit ratio |\n|---|---:|---:|---:|\n";
    for contender in contenders::compact(names) {
        let Some((limit, cell)) = fit(contender, path, target) else {
            text += &format!("| {contender} | - | does not fit | - |\n");
            continue;
        };
        let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
        let ratio = cell.hits as f64 / trace.len() as f64;
        text += &format!("| {contender} | {:.1} | {:.1} | {ratio:.4} |\n", mib(limit), mib(cell.resident_bytes));
        let numbers = [target, limit, cell.resident_bytes].map(|number| number.to_string());
        let [target, limit, resident] = numbers;
        output.row(&HIT_RATIOS, &[name.into(), contender.to_string(), target, limit, resident, format!("{ratio:.6}")]);
    }
    text += &format!("| optimum without overhead | | {:.1} | {bound:.4} |\n\n", target as f64 / (1 << 20) as f64);
    output.print(&text);
}

/// Returns the limit with which a contender has the target size, and its results. Returns `None` if
/// its process fails, or if no limit comes near the target.
fn fit(name: &str, path: &Path, target: usize) -> Option<(usize, Cell)> {
    let mut limit = target;
    let mut best: Option<(usize, Cell)> = None;
    let distance = |cell: &Cell| (cell.resident_bytes as f64 / target as f64 - 1.0).abs();
    for _ in 0..TRIALS {
        let cell = replay_elsewhere(name, path, limit)?;
        let ratio = target as f64 / cell.resident_bytes.max(1) as f64;
        let tried = limit;
        limit = (limit as f64 * ratio.clamp(0.3, 3.0)) as usize;
        if best.as_ref().is_none_or(|(_, best)| distance(&cell) < distance(best)) {
            best = Some((tried, cell));
        }
        if best.as_ref().is_some_and(|(_, best)| distance(best) < TOLERANCE) {
            break;
        }
    }
    best.filter(|(_, cell)| distance(cell) < 2.0 * TOLERANCE)
}

fn replay_elsewhere(name: &str, path: &Path, limit: usize) -> Option<Cell> {
    let output = Command::new(own_program())
        .args([CELL_ARG, name, &limit.to_string()])
        .arg(path)
        .stderr(Stdio::inherit())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let numbers: Vec<usize> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    let [resident_bytes, hits] = numbers[..] else { return None };
    Some(Cell { resident_bytes, hits })
}

/// Replays a trace through one contender and prints the two numbers of a [`Cell`].
pub fn run_cell(name: &str, limit: usize, path: &Path) -> io::Result<()> {
    let trace = read(path)?;
    let keys = key_count(&trace);
    let work = Work::bounded("hit-ratio", Kind::Aside, Skew::Uniform, keys, VALUE_LEN, limit);
    let (mut value, mut out, mut hits) = (blank_value(VALUE_LEN), Vec::new(), 0);
    let before = resident::bytes();
    let racer = contenders::build(name, &work);
    for &index in &trace {
        let key = key_of(u64::from(index));
        if racer.get_into(&key, &mut out) {
            hits += 1;
        } else {
            stamp(&mut value, u64::from(index));
            racer.insert(&key, &value);
        }
    }
    racer.settle();
    println!("{} {hits}", resident::bytes().saturating_sub(before));
    Ok(())
}

fn traces(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut traces: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with(".trc.zst")).collect();
    traces.sort();
    traces
}

/// Returns the keys of a trace.
fn read(path: &Path) -> io::Result<Vec<u32>> {
    let mut bytes = Vec::new();
    zstd::Decoder::new(File::open(path)?)?.read_to_end(&mut bytes)?;
    let (records, rest) = bytes.as_chunks::<RECORD_BYTES>();
    if !rest.is_empty() {
        return Err(io::Error::other("it ends within a record"));
    }
    let key = |record: &[u8; RECORD_BYTES]| {
        let key = u64::from_le_bytes(record[..8].try_into().expect("eight bytes"));
        u32::try_from(key).map_err(|_| io::Error::other("its keys are not numbered"))
    };
    records.iter().map(key).collect()
}

/// Returns the number of keys, which are numbered from 0.
fn key_count(trace: &[u32]) -> usize {
    trace.iter().max().map_or(0, |&last| last as usize + 1)
}

/// Returns the hits of the policy that evicts the key whose next request is farthest away, with
/// room for `room` entries.
fn belady_hits(trace: &[u32], room: usize) -> usize {
    let keys = key_count(trace);
    let mut next_of_key = vec![usize::MAX; keys];
    let mut next = vec![usize::MAX; trace.len()];
    for (at, &key) in trace.iter().enumerate().rev() {
        next[at] = next_of_key[key as usize];
        next_of_key[key as usize] = at;
    }
    // Residents by the time of their next request, which is never in the past.
    let mut residents: BTreeSet<(usize, u32)> = BTreeSet::new();
    let mut hits = 0;
    for (at, &key) in trace.iter().enumerate() {
        hits += usize::from(residents.remove(&(at, key)));
        residents.insert((next[at], key));
        if residents.len() > room {
            residents.pop_last();
        }
    }
    hits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_optimum_keeps_what_comes_back_first() {
        // With room for two, it refuses or evicts at 2 the key that comes back last.
        assert_eq!(belady_hits(&[0, 1, 2, 0, 1, 2], 2), 2);
        assert_eq!(belady_hits(&[0, 1, 2, 0, 1, 2], 3), 3);
        assert_eq!(belady_hits(&[0, 0, 0], 1), 2);
        assert_eq!(belady_hits(&[0, 1, 0, 1], 0), 0);
    }
}
