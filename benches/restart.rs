//! Saving and restoring: `cargo bench --bench restart`.
//!
//! | column | meaning |
//! |---|---|
//! | save, GB/s | bytes of a snapshot in memory for each second of `save_to` |
//! | restore, GB/s | bytes of the file for each second of `restore` |
//! | restored, million/s | entries restored in a second of it |
//! | file, s | seconds to save to a file in the folder for temporary files, with the syncs |
//! | from file, s | seconds to restore from that file, which is in the page cache |
//!
//! Then the speed of reads and of writes of one thread while another thread saves all the time. It
//! is the ratio to the speed while that thread only computes. Both are measured in turns, and every
//! second pair begins with the save. The table has the median of the pairs and the smallest one.
//! The longest wait is that of a single operation beside a save, in a slice of time of its own.
//!
//! `BYTECACHE_BENCH_BYTES` sets the sizes, in MB and with commas: `100` by default, and
//! `100,1000,4000` for the table in BENCHMARKS.md. Figures are the best of three runs, as other
//! processes only make a run slower.

use std::hint::black_box;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytecache::{Cache, CacheBuilder, Policy};

const DAY: Duration = Duration::from_secs(24 * 3600);
const RUNS: usize = 3;
/// A slice of the traffic beside a save.
const SLICE: Duration = Duration::from_millis(250);
/// Pairs of slices, with a save and without. An odd number, so that there is a median.
const PAIRS: usize = 15;
/// Operations between two looks at the clock, which takes as long as a part of a read.
const BATCH: usize = 64;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Counts bytes and drops them.
struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += black_box(bytes).len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn key(number: usize) -> [u8; 16] {
    let mut key = [b'k'; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key
}

fn builder(bytes: usize, policy: Policy) -> CacheBuilder {
    Cache::builder().max_bytes(bytes + bytes / 2).policy(policy)
}

/// Builds a cache of entries with values of `value_bytes` that take `bytes` together.
fn filled(bytes: usize, value_bytes: usize, policy: Policy) -> Outcome<Cache> {
    let builder = builder(bytes, policy).expected_entry_bytes(value_bytes + 16);
    let cache = builder.build()?;
    let value = vec![0x5a; value_bytes];
    for number in 0..bytes / (value_bytes + 16) {
        cache.insert(key(number), &value)?;
    }
    Ok(cache)
}

/// Runs `run` some times. Returns the shortest time in seconds.
fn best(mut run: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn row(megabytes: usize, value_bytes: usize, policy: Policy) -> Outcome<()> {
    let bytes = megabytes * 1_000_000;
    let cache = filled(bytes, value_bytes, policy)?;
    let mut length = 0;
    let save = best(|| {
        let mut count = Count(0);
        cache.save_to(&mut count)?;
        length = count.0;
        Ok(())
    })?;
    let path = std::env::temp_dir().join(format!("bytecache-bench-{}.snapshot", std::process::id()));
    let to_file = best(|| Ok(cache.save(&path).map(|_| ())?))?;
    let entries = cache.len();
    drop(cache);
    let mut restored = 0;
    let from_file = best(|| {
        let (cache, report) = builder(bytes, policy).restore(&path, DAY)?;
        restored = report.entries;
        drop(cache);
        Ok(())
    })?;
    std::fs::remove_file(&path)?;
    assert_eq!(restored, entries as u64, "all entries fit");
    println!(
        "| {policy} | {megabytes} | {value_bytes} | {:.2} | {:.2} | {:.2} | {to_file:.2} | {from_file:.2} |",
        length as f64 / save / 1e9,
        length as f64 / from_file / 1e9,
        entries as f64 / from_file / 1e6,
    );
    Ok(())
}

/// Returns the operations in a second of a slice of time.
fn speed(length: Duration, operation: &mut impl FnMut()) -> f64 {
    let (start, mut count) = (Instant::now(), 0);
    loop {
        (0..BATCH).for_each(|_| operation());
        count += BATCH;
        let elapsed = start.elapsed();
        if elapsed >= length {
            return count as f64 / elapsed.as_secs_f64();
        }
    }
}

/// Returns the longest operation in a slice of time.
fn longest_wait(length: Duration, operation: &mut impl FnMut()) -> Duration {
    let (start, mut longest) = (Instant::now(), Duration::ZERO);
    let mut last = start;
    while last - start < length {
        operation();
        let now = Instant::now();
        longest = longest.max(now - last);
        last = now;
    }
    longest
}

/// Measures operations of this thread with and without a save in another one.
fn beside(name: &str, cache: &Cache, (pairs, length): (usize, Duration), mut operation: impl FnMut()) {
    let [is_over, is_to_save, is_saving] = [(); 3].map(|()| AtomicBool::new(false));
    let mut ratios = Vec::new();
    // A slice begins when the other thread does what it is to do.
    let set = |to_save| {
        is_to_save.store(to_save, Ordering::Relaxed);
        while is_saving.load(Ordering::Relaxed) != to_save {
            std::thread::yield_now();
        }
    };
    let longest = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let to_save = is_to_save.load(Ordering::Relaxed);
                is_saving.store(to_save, Ordering::Relaxed);
                match to_save {
                    true => drop(cache.save_to(Count(0))),
                    // It uses its core, as a save does.
                    false => _ = black_box((0..1_000_u64).fold(0, |sum, number| black_box(sum ^ number))),
                }
            }
        });
        for pair in 0..pairs {
            let mut measured = [0.0; 2];
            for turn in 0..2 {
                let with_save = (pair + turn) % 2;
                set(with_save == 1);
                measured[with_save] = speed(length, &mut operation);
            }
            ratios.push(measured[1] / measured[0]);
        }
        set(true);
        let longest = longest_wait(length, &mut operation);
        is_over.store(true, Ordering::Relaxed);
        longest
    });
    ratios.sort_unstable_by(f64::total_cmp);
    let (median, least) = (ratios[pairs / 2], ratios[0]);
    println!("| {name} | {median:.3} | {least:.3} | {:.2} ms |", longest.as_secs_f64() * 1e3);
}

fn main() -> Outcome<()> {
    let is_test = !std::env::args().any(|argument| argument == "--bench");
    let sizes = std::env::var("BYTECACHE_BENCH_BYTES").unwrap_or_else(|_| "100".to_owned());
    let sizes: Vec<usize> =
        if is_test { vec![1] } else { sizes.split(',').map(str::parse).collect::<Result<_, _>>()? };
    println!(
        "| policy | MB | value, bytes | save, GB/s | restore, GB/s | restored, million/s | file, s | from file, s |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for &megabytes in &sizes {
        for value_bytes in [1000, 16] {
            for policy in [Policy::Adaptive, Policy::Lru] {
                row(megabytes, value_bytes, policy)?;
            }
        }
    }
    let turns = if is_test { (1, Duration::from_millis(1)) } else { (PAIRS, SLICE) };
    let cache = filled(sizes[0] * 1_000_000, 200, Policy::Adaptive)?;
    let entries = cache.len();
    let (mut next, mut inserted) = (0_usize, entries);
    let mut place = || {
        next = next.wrapping_add(0x9e37_79b9);
        key(next % entries)
    };
    println!("\n| beside a save | speed | least | longest wait |\n|---|---:|---:|---:|");
    beside("reads", &cache, turns, || _ = black_box(cache.view(place(), <[u8]>::len)));
    beside("updates", &cache, turns, || _ = black_box(cache.insert(place(), [1; 200])));
    beside("inserts", &cache, turns, || {
        inserted += 1;
        _ = black_box(cache.insert(key(inserted), [1; 200]));
    });
    Ok(())
}
