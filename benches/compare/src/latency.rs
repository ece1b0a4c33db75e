//! The times of single operations, including the slowest.
//!
//! The work is `aside`: reads, and an insert after each miss. Each operation is timed by itself,
//! which costs the 20 to 30 ns of the clock. All contenders live in this process. They are measured
//! in turn, slice by slice, as in a race, and the first round is dropped.
//!
//! Before every slice, a contender with lifetimes for single entries gets 100,000 entries that
//! expire during the slice. The other contenders do not, as the column `expiring` shows. For moka
//! it would take an object that it asks about every insert. A slice has at least two seconds,
//! because one of the contenders counts in seconds.

use crate::contenders;
use crate::output::{LATENCY, Output};
use crate::race::{Method, Racer, shuffled};
use crate::works::{Work, blank_value, key_of, stamp};
use hdrhistogram::Histogram;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Number of entries that expire in each slice. Their values are so small that they evict little
/// else.
const EXPIRING: u64 = 100_000;
const EXPIRING_VALUE_LEN: usize = 16;

/// Lifetime of these entries, and the least length of a slice, which leaves a second to detect
/// their end.
const LIFETIME: Duration = Duration::from_secs(1);
const LEAST_SLICE: Duration = Duration::from_secs(2);

/// Number of the first key of these entries.
const FIRST_EXPIRING: u64 = 1 << 50;

/// Number of operations between two reads of the stop flag.
const BLOCK: usize = 64;

/// Greatest time in ns that is distinguished from greater ones.
const MAX_NANOS: u64 = 10_000_000_000;

/// The times of one contender, in ns.
struct Times {
    gets: Histogram<u64>,
    inserts: Histogram<u64>,
    hits: u64,
}

impl Times {
    fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, MAX_NANOS, 3).expect("valid bounds");
        Self { gets: histogram(), inserts: histogram(), hits: 0 }
    }

    fn add(&mut self, other: &Self) {
        self.gets.add(&other.gets).expect("the same bounds");
        self.inserts.add(&other.inserts).expect("the same bounds");
        self.hits += other.hits;
    }
}

struct Runner {
    name: &'static str,
    racer: Box<dyn Racer>,
    expires: bool,
    next_expiring: u64,
}

/// Prints a table for as many threads as there are cores, and one for twice as many.
pub fn print_all(output: &Output, names: &[&'static str], method: &Method, scale: usize) {
    let work = Work::named("aside", scale).expect("a work");
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let taking_part = names.iter().filter(|name| contenders::takes_part(name, work.kind));
    let mut runners: Vec<Runner> = taking_part.map(|name| prepare(name, &work)).collect();
    let mut draws = 2;
    let mut random = SmallRng::seed_from_u64(0);
    for threads in [cores, 2 * cores] {
        let mut times: Vec<Times> = runners.iter().map(|_| Times::new()).collect();
        for round in 0..method.rounds {
            let samples: Vec<Arc<[u32]>> = (draws..draws + threads).map(|draw| work.samples(draw)).collect();
            draws += threads;
            for which in shuffled(runners.len(), &mut random) {
                let measured = slice(&work, &mut runners[which], &samples, method.slice.max(LEAST_SLICE));
                if round > 0 {
                    times[which].add(&measured);
                }
            }
        }
        print_table(output, &work, threads, &runners, &times);
    }
}

fn prepare(name: &'static str, work: &Work) -> Runner {
    let racer = contenders::build(name, work);
    let mut times = Times::new();
    for draw in 0..2 {
        run(&*racer, work, &work.samples(draw), &AtomicBool::new(true), &mut times);
    }
    racer.settle();
    let value = blank_value(EXPIRING_VALUE_LEN);
    let expires = racer.insert_expiring(&key_of(FIRST_EXPIRING), &value, LIFETIME);
    eprintln!("latency: {name} is ready");
    Runner { name, racer, expires, next_expiring: FIRST_EXPIRING + 1 }
}

/// Runs one contender for `length`, while some of its entries expire.
fn slice(work: &Work, runner: &mut Runner, samples: &[Arc<[u32]>], length: Duration) -> Times {
    if runner.expires {
        let value = blank_value(EXPIRING_VALUE_LEN);
        for _ in 0..EXPIRING {
            runner.racer.insert_expiring(&key_of(runner.next_expiring), &value, LIFETIME);
            runner.next_expiring += 1;
        }
    }
    let (ready, go, stop) = (AtomicUsize::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let racer = &*runner.racer;
    let all: Vec<Times> = thread::scope(|scope| {
        let work_on = |samples: &Arc<[u32]>| {
            let (samples, ready, go, stop) = (samples.clone(), &ready, &go, &stop);
            scope.spawn(move || {
                let mut times = Times::new();
                ready.fetch_add(1, Relaxed);
                while !go.load(Relaxed) {
                    spin_loop();
                }
                run(racer, work, &samples, stop, &mut times);
                times
            })
        };
        let workers: Vec<_> = samples.iter().map(work_on).collect();
        while ready.load(Relaxed) < samples.len() {
            thread::sleep(Duration::from_micros(50));
        }
        go.store(true, Relaxed);
        thread::sleep(length);
        stop.store(true, Relaxed);
        workers.into_iter().map(|worker| worker.join().expect("a worker panicked")).collect()
    });
    let mut sum = Times::new();
    all.iter().for_each(|times| sum.add(times));
    sum
}

/// Performs the requests again and again until `stop` is set. Performs them once if it is set from
/// the beginning.
fn run(racer: &dyn Racer, work: &Work, samples: &[u32], stop: &AtomicBool, times: &mut Times) {
    let once = stop.load(Relaxed);
    let mut out = Vec::with_capacity(work.value_len);
    let mut value = blank_value(work.value_len);
    loop {
        for block in samples.chunks(BLOCK) {
            if !once && stop.load(Relaxed) {
                return;
            }
            for &index in block {
                let key = key_of(u64::from(index));
                let begin = Instant::now();
                let is_hit = racer.get_into(black_box(&key), &mut out);
                record(&mut times.gets, begin);
                if is_hit {
                    times.hits += 1;
                    continue;
                }
                stamp(&mut value, u64::from(index));
                let begin = Instant::now();
                racer.insert(black_box(&key), &value);
                record(&mut times.inserts, begin);
            }
        }
        if once {
            return;
        }
    }
}

fn record(histogram: &mut Histogram<u64>, begin: Instant) {
    let nanos = u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
    histogram.saturating_record(nanos.max(1));
}

fn print_table(output: &Output, work: &Work, threads: usize, runners: &[Runner], all: &[Times]) {
    let mut text = format!("### latency, {threads} threads\n\n{}; times in us\n\n", work.describe());
    text += "| contender | expiring | get p50 | p99 | p99.9 | max | insert p50 | p99 | p99.9 | max | hit ratio |\n";
    text += "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    for (runner, times) in runners.iter().zip(all) {
        let expires = if runner.expires { "yes" } else { "no" };
        let hit_ratio = times.hits as f64 / times.gets.len().max(1) as f64;
        text += &format!("| {} | {expires} |", runner.name);
        for (operation, histogram) in [("get", &times.gets), ("insert", &times.inserts)] {
            let nanos = [0.5, 0.99, 0.999, 1.0].map(|share| histogram.value_at_quantile(share));
            let [p50, p99, p999, max] = nanos.map(|nanos| nanos as f64 / 1e3);
            text += &format!(" {p50:.2} | {p99:.2} | {p999:.2} | {max:.0} |");
            let mut row = vec![threads.to_string(), runner.name.into(), expires.into(), operation.into()];
            row.extend(nanos.map(|nanos| nanos.to_string()));
            row.push(format!("{hit_ratio:.6}"));
            output.row(&LATENCY, &row);
        }
        text += &format!(" {hit_ratio:.4} |\n");
    }
    output.print(&(text + "\n"));
}
