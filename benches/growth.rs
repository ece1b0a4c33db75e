//! Inserts and reads while a cache fills and its index grows: `cargo bench --bench growth`.
//!
//! | row | meaning |
//! |---|---|
//! | plain | a loop that writes the same bytes in the same order to fresh memory, mapped in the same way |
//! | fill | a cache without a hint fills, one thread inserts |
//! | hint | the same, with `expected_entry_bytes` that is the true size |
//! | plain-read | reads of the written part by a second thread while `plain` runs |
//! | read | reads by a second thread while a cache without a hint fills |
//! | shrink | entries of 1,000 bytes fill the cache, then entries of 16 bytes |
//!
//! Columns are the time of an operation that one in 10,000 exceeds, one in 100,000, and the
//! slowest, in microseconds. Then the last two as multiples of those of the plain row; the most
//! entries that the cache lost meanwhile, in percent; the number of growths; and the number of
//! operations that were left out, because the system ran another thread meanwhile (on Linux; other
//! systems do not tell). Figures are medians of five runs, in turns. Last, pictures show the number
//! of entries over time.
//!
//! ```text
//! cargo bench --bench growth -- [--mib 256] [--rows plain,fill,...] [--runs 5] [--rest 0]
//! ```
//!
//! `--rest` waits for some seconds before each run. In a virtual machine whose host takes free
//! memory back, a page costs much more if it was free for some seconds. A short row would use the
//! pages of the row before it, and a long one would not. After a rest, no row does.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytecache::Cache;
use memmap2::{Advice, MmapMut};

/// The interval at which the number of entries is noted, in inserts.
const SAMPLE: u64 = 1000;
const VALUE: [u8; 16] = [7; 16];
/// Bytes of an entry: header, key and value.
const ENTRY_BYTES: usize = 40;
const ROWS: [&str; 6] = ["plain", "fill", "hint", "plain-read", "read", "shrink"];

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Times in nanoseconds, each known to one part in 64.
struct Times {
    counts: Vec<u64>,
    slowest: u64,
    interruptions: Interruptions,
    left_out: u64,
}

impl Times {
    const SHIFT: u32 = 6;
    /// Nanoseconds. An operation that takes longer may have been interrupted.
    const SUSPICIOUS: u64 = 20_000;
    /// Operations after which interruptions between them are noted.
    const NOTE_INTERVAL: u64 = 1 << 10;

    fn new() -> Self {
        let counts = vec![0; 64 << Self::SHIFT];
        Self { counts, slowest: 0, interruptions: Interruptions::default(), left_out: 0 }
    }

    /// Runs the operation with this number, and counts the time that it takes.
    #[inline]
    fn time<T>(&mut self, number: u64, operation: impl FnOnce() -> T) -> T {
        if number % Self::NOTE_INTERVAL == 0 {
            self.interruptions.are_new();
        }
        let start = Instant::now();
        let result = operation();
        let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if nanos > Self::SUSPICIOUS && self.interruptions.are_new() {
            self.left_out += 1;
            return result;
        }
        let shift = nanos.max(1).ilog2().saturating_sub(Self::SHIFT);
        #[allow(clippy::cast_possible_truncation, reason = "below 128")]
        let place = (nanos >> shift) as usize;
        self.counts[((shift as usize) << Self::SHIFT) + place] += 1;
        self.slowest = self.slowest.max(nanos);
        result
    }

    /// Returns the time that one in `share` operations exceeds, in microseconds.
    fn exceeded_by_one_in(&self, share: u64) -> f64 {
        let mut left = self.counts.iter().sum::<u64>() / share;
        for (place, &count) in self.counts.iter().enumerate().rev() {
            if count > left {
                let shift = (place >> Self::SHIFT).saturating_sub(1);
                return (((place - (shift << Self::SHIFT)) as u64) << shift) as f64 / 1000.0;
            }
            left -= count;
        }
        0.0
    }
}

/// The number of times that the system took the processor from this thread for another one.
#[derive(Default)]
struct Interruptions(u64);

impl Interruptions {
    /// Returns `true` if the thread was interrupted since the last call.
    #[cold]
    fn are_new(&mut self) -> bool {
        let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let count = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
        let count = count.and_then(|count| count.trim().parse().ok()).unwrap_or(0);
        count > std::mem::replace(&mut self.0, count)
    }
}

/// The times of operations, and the number of entries at intervals.
struct Run {
    times: Times,
    lens: Vec<usize>,
    growths: u64,
}

impl Run {
    fn new() -> Self {
        Self { times: Times::new(), lens: Vec::new(), growths: 0 }
    }

    /// Returns times and losses for the table: see the module.
    fn numbers(&self) -> [f64; 6] {
        let [rare, rarer] = [10_000, 100_000].map(|share| self.times.exceeded_by_one_in(share));
        let (slowest, left_out) = (self.times.slowest as f64 / 1000.0, self.times.left_out as f64);
        [rare, rarer, slowest, self.worst_fall(), self.growths as f64, left_out]
    }

    fn worst_fall(&self) -> f64 {
        let mut most = 1;
        let falls = self.lens.iter().map(|&len| {
            most = most.max(len);
            100.0 * (most - len) as f64 / most as f64
        });
        falls.fold(0.0, f64::max)
    }

    /// Prints the number of entries from left to right, as columns.
    fn print_picture(&self, name: &str) {
        const COLUMNS: usize = 72;
        const LINES: usize = 6;
        const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let most = self.lens.iter().copied().max().unwrap_or(0).max(1);
        let step = self.lens.len().div_ceil(COLUMNS).max(1);
        println!("\n{name}: up to {most} entries\n");
        for line in (0..LINES).rev() {
            let level = |len: usize| (len * LINES * 8 / most).saturating_sub(line * 8).min(8);
            let columns: String = self.lens.iter().step_by(step).map(|&len| LEVELS[level(len)]).collect();
            println!("    {}", columns.trim_end());
        }
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
        run.times.time(number, || cache.insert(key(number), value))?;
        if number % SAMPLE == 0 {
            run.lens.push(cache.len());
        }
    }
    run.growths = cache.stats().index_growths;
    Ok(())
}

fn fill(bytes: usize, hint: Option<usize>, count: u64) -> Outcome<Run> {
    let mut run = Run::new();
    insert(&cache(bytes, hint)?, 0, count, &VALUE, &mut run)?;
    Ok(run)
}

fn shrink(bytes: usize, count: u64) -> Outcome<Run> {
    let (cache, mut run) = (cache(bytes, None)?, Run::new());
    insert(&cache, 0, bytes as u64 / 500, &[7; 1000], &mut Run::new())?;
    insert(&cache, 1 << 40, count, &VALUE, &mut run)?;
    Ok(run)
}

/// Returns fresh memory like that of a cache: it is mapped, and asks for huge pages.
fn fresh(bytes: usize) -> Outcome<MmapMut> {
    let memory = MmapMut::map_anon(bytes)?;
    // A system without huge pages refuses the advice, from a cache as well.
    #[cfg(target_os = "linux")]
    let _ = memory.advise(Advice::HugePage);
    Ok(memory)
}

/// Writes an entry as a cache does: header, key and value.
fn write_plainly(place: &mut [u8], number: u64) {
    place[..8].copy_from_slice(&[7; 8]);
    place[8..24].copy_from_slice(&key(number));
    place[24..].copy_from_slice(&VALUE);
}

fn plain(bytes: usize) -> Outcome<Run> {
    let (mut memory, mut run) = (fresh(bytes)?, Run::new());
    for (number, place) in (0..).zip(memory.chunks_exact_mut(ENTRY_BYTES)) {
        run.times.time(number, || write_plainly(place, number));
    }
    black_box(&memory);
    Ok(run)
}

/// Runs `read` again and again with random numbers below `written`, until it is over.
fn read_until(is_over: &AtomicBool, written: &AtomicU64, mut read: impl FnMut(u64)) -> Run {
    let (mut run, mut state) = (Run::new(), 1_u64);
    for read_number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let number = (state >> 20) % (written.load(Ordering::Relaxed) + 1);
        run.times.time(read_number, || read(number));
    }
    run
}

fn plain_read(bytes: usize) -> Outcome<Run> {
    const WORDS: usize = ENTRY_BYTES / size_of::<u64>();
    let mut memory = fresh(bytes)?;
    // SAFETY: every bit pattern of eight bytes is a word, and only this view of the memory is used
    // while it lives.
    let (_, words, _) = unsafe { memory.align_to_mut::<AtomicU64>() };
    let words = &*words;
    let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            read_until(&is_over, &written, |number| {
                #[allow(clippy::cast_possible_truncation, reason = "below the number of entries")]
                let first = number as usize * WORDS;
                black_box(words[first..first + WORDS].iter().map(|word| word.load(Ordering::Relaxed)).max());
            })
        });
        for (number, entry) in (0..).zip(words.chunks_exact(WORDS)) {
            entry.iter().for_each(|word| word.store(number, Ordering::Relaxed));
            written.store(number, Ordering::Relaxed);
        }
        is_over.store(true, Ordering::Relaxed);
        Ok(reader.join().map_err(|_| "the reader panicked")?)
    })
}

fn read_beside(bytes: usize, count: u64) -> Outcome<Run> {
    let (cache, is_over, last) = (cache(bytes, None)?, AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            read_until(&is_over, &last, |number| {
                black_box(cache.view(key(number), |value| value.len()));
            })
        });
        let stored = (0..count).try_for_each(|number| {
            last.store(number, Ordering::Relaxed);
            cache.insert(key(number), VALUE)
        });
        is_over.store(true, Ordering::Relaxed);
        stored?;
        let mut run = reader.join().map_err(|_| "the reader panicked")?;
        run.growths = cache.stats().index_growths;
        Ok(run)
    })
}

/// The options of a run.
struct Options {
    mib: usize,
    rows: Vec<&'static str>,
    runs: usize,
    rest: Duration,
}

impl Options {
    fn of_arguments() -> Outcome<Self> {
        let mut options = Self { mib: 256, rows: ROWS.to_vec(), runs: 5, rest: Duration::ZERO };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{argument} needs a value"));
            match argument.as_str() {
                "--mib" => options.mib = value()?.parse()?,
                "--runs" => options.runs = value()?.parse::<usize>()?.max(1),
                "--rest" => options.rest = Duration::from_secs(value()?.parse()?),
                "--rows" => {
                    let row = |name: &str| ROWS.into_iter().find(|&row| row == name);
                    let rows = value()?;
                    let rows = rows.split(',').map(|name| row(name).ok_or_else(|| format!("no row is called {name}")));
                    options.rows = rows.collect::<Result<_, _>>()?;
                }
                "--test" => (options.mib, options.runs) = (4, 1),
                // Cargo adds `--bench`.
                _ => {}
            }
        }
        Ok(options)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Outcome<()> {
    let options = Options::of_arguments()?;
    let bytes = options.mib << 20;
    let count = (bytes / ENTRY_BYTES) as u64;
    let mut runs: Vec<Vec<Run>> = options.rows.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.runs {
        for (name, runs) in options.rows.iter().zip(&mut runs) {
            std::thread::sleep(options.rest);
            runs.push(match *name {
                "plain" => plain(bytes)?,
                "fill" => fill(bytes, None, count)?,
                "hint" => fill(bytes, Some(32), count)?,
                "plain-read" => plain_read(bytes)?,
                "read" => read_beside(bytes, count)?,
                _ => shrink(bytes, count)?,
            });
        }
    }
    println!("{} MiB, {count} inserts\n", options.mib);
    print!("| row | one in 10,000, us | one in 100,000, us | slowest, us ");
    println!("| one in 100,000, x plain | slowest, x plain | fall, % | growths | left out |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    let medians = |runs: &[Run]| -> [f64; 6] {
        core::array::from_fn(|column| median(runs.iter().map(|run| run.numbers()[column]).collect()))
    };
    for (name, row) in options.rows.iter().zip(&runs) {
        let [rare, rarer, slowest, fall, growths, left_out] = medians(row);
        let plain = if name.ends_with("read") { "plain-read" } else { "plain" };
        let plain = options.rows.iter().position(|row| *row == plain).map(|at| medians(&runs[at]));
        let times = |own: f64, of_plain: fn([f64; 6]) -> f64| match plain {
            Some(plain) => format!("{:.1}", own / of_plain(plain).max(0.001)),
            None => String::new(),
        };
        let (x, most) = (times(rarer, |plain| plain[1]), times(slowest, |plain| plain[2]));
        println!(
            "| {name} | {rare:.1} | {rarer:.1} | {slowest:.0} | {x} | {most} | {fall:.2} | {growths} | {left_out} |"
        );
    }
    for (name, row) in options.rows.iter().zip(&runs).filter(|(_, row)| !row[0].lens.is_empty()) {
        row[0].print_picture(name);
    }
    Ok(())
}
