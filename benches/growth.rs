//! Inserts while a cache fills and its index grows: `cargo bench --bench growth`.
//!
//! | row | meaning |
//! |---|---|
//! | plain | a loop that writes the same bytes in the same order to fresh memory |
//! | fill | a cache without a hint fills, one thread inserts |
//! | hint | the same, with `expected_entry_bytes` that is the true size |
//! | read | reads by a second thread while a cache without a hint fills |
//! | shrink | entries of 1,000 bytes fill the cache, then entries of 16 bytes |
//!
//! Columns are the time of an operation that one in 10,000 exceeds, one in 100,000, and the
//! slowest, in microseconds; the most entries that the cache lost meanwhile, in percent; and the
//! number of growths. Figures are medians of five runs, in turns. Last, a line shows the number of
//! entries over time for each.
//!
//! `BYTECACHE_BENCH_BYTES` sets the size in MiB: 256 by default.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytecache::Cache;

const RUNS: usize = 5;
const SAMPLE: u64 = 1000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// The times of operations in nanoseconds, and the number of entries at intervals.
#[derive(Default)]
struct Run {
    nanos: Vec<u32>,
    lens: Vec<usize>,
    growths: u64,
}

impl Run {
    fn time<T>(&mut self, operation: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = operation();
        self.nanos.push(u32::try_from(start.elapsed().as_nanos()).unwrap_or(u32::MAX));
        result
    }

    /// Returns the time that one in `share` operations exceeds, in microseconds.
    fn exceeded_by_one_in(&self, share: usize) -> f64 {
        let mut nanos = self.nanos.clone();
        let rank = nanos.len() - 1 - nanos.len() / share;
        f64::from(*nanos.select_nth_unstable(rank).1) / 1000.0
    }

    fn worst_fall(&self) -> f64 {
        let mut most = 1;
        let falls = self.lens.iter().map(|&len| {
            most = most.max(len);
            100.0 * (most - len.min(most)) as f64 / most as f64
        });
        falls.fold(0.0, f64::max)
    }

    fn picture(&self) -> String {
        const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let most = self.lens.iter().copied().max().unwrap_or(1).max(1);
        let step = self.lens.len().div_ceil(64).max(1);
        self.lens.iter().step_by(step).map(|len| LEVELS[len * 8 / most]).collect()
    }
}

fn key(number: u64) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key
}

fn cache(bytes: usize, hint: Option<usize>) -> Outcome<Cache> {
    let builder = Cache::builder().max_bytes(bytes);
    Ok(if let Some(hint) = hint { builder.expected_entry_bytes(hint) } else { builder }.build()?)
}

/// Inserts `count` new keys from `first` on.
fn insert(cache: &Cache, first: u64, count: u64, value: &[u8], run: &mut Run) -> Outcome<()> {
    for number in first..first + count {
        run.time(|| cache.insert(key(number), value))?;
        if number % SAMPLE == 0 {
            run.lens.push(cache.len());
        }
    }
    run.growths = cache.stats().index_growths;
    Ok(())
}

fn plain(bytes: usize, count: u64) -> Run {
    let mut run = Run::default();
    let mut memory: Vec<u8> = Vec::with_capacity(bytes);
    for number in 0..count {
        // Header, key and value of an entry.
        run.time(|| {
            if memory.len() + 40 > bytes {
                memory.clear();
            }
            memory.extend_from_slice(&[7; 8]);
            memory.extend_from_slice(&key(number));
            memory.extend_from_slice(&[7; 16]);
        });
    }
    black_box(&memory);
    run
}

fn read_beside(bytes: usize, count: u64) -> Outcome<Run> {
    let (cache, is_over, last) = (cache(bytes, None)?, AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut run, mut state) = (Run::default(), 1_u64);
            while !is_over.load(Ordering::Relaxed) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let number = (state >> 20) % (last.load(Ordering::Relaxed) + 1);
                run.time(|| black_box(cache.view(key(number), |value| value.len())));
            }
            run
        });
        for number in 0..count {
            cache.insert(key(number), [7; 16])?;
            last.store(number, Ordering::Relaxed);
        }
        is_over.store(true, Ordering::Relaxed);
        let mut run = reader.join().map_err(|_| "the reader panicked")?;
        run.growths = cache.stats().index_growths;
        Ok(run)
    })
}

fn main() -> Outcome<()> {
    let is_test = std::env::args().any(|argument| argument == "--test");
    let mib: usize =
        if is_test { 4 } else { std::env::var("BYTECACHE_BENCH_BYTES").map_or(Ok(256), |mib| mib.parse())? };
    let bytes = mib << 20;
    let count = bytes as u64 / 40;
    let names = ["plain", "fill", "hint", "read", "shrink"];
    let mut rows: [Vec<Run>; 5] = Default::default();
    for _ in 0..RUNS {
        rows[0].push(plain(bytes, count));
        for (row, hint) in [(1, None), (2, Some(32))] {
            let mut run = Run::default();
            insert(&cache(bytes, hint)?, 0, count, &[7; 16], &mut run)?;
            rows[row].push(run);
        }
        rows[3].push(read_beside(bytes, count)?);
        let (shrinking, mut run) = (cache(bytes, None)?, Run::default());
        insert(&shrinking, 0, bytes as u64 / 500, &[7; 1000], &mut Run::default())?;
        insert(&shrinking, 1 << 40, count, &[7; 16], &mut run)?;
        rows[4].push(run);
    }
    println!("{mib} MiB, {count} operations\n");
    println!("| row | one in 10,000, us | one in 100,000, us | slowest, us | fall, % | growths |");
    println!("|---|---:|---:|---:|---:|---:|");
    for (name, runs) in names.iter().zip(&rows) {
        let median = |of: &dyn Fn(&Run) -> f64| {
            let mut values: Vec<_> = runs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[RUNS / 2]
        };
        let [rare, rarer, slowest] =
            [10_000, 100_000, usize::MAX].map(|share| median(&|run| run.exceeded_by_one_in(share)));
        let (fall, growths) = (median(&Run::worst_fall), median(&|run| run.growths as f64));
        println!("| {name} | {rare:.1} | {rarer:.1} | {slowest:.0} | {fall:.2} | {growths} |");
    }
    println!();
    for (name, runs) in names.iter().zip(&rows).filter(|(_, runs)| !runs[0].lens.is_empty()) {
        println!("{name:>7} {}", runs[0].picture());
    }
    Ok(())
}
