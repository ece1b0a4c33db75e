//! The measurement of contenders against each other.
//!
//! All contenders of a race live in this process, filled. They are measured in turn, slice by
//! slice, once with each number of threads. The order differs in each round. Noise that lasts
//! longer than a round affects all contenders. So ratios are taken within a round, and their median
//! is reported. The first round is dropped.
//!
//! Within a round, all contenders get the same requests, which are new in every round. A slice
//! begins after its threads have worked for a while, so that the processor's caches hold the
//! contender's data. After a slice, the race waits until no thread works in the background.
//!
//! A slice is one call through [`Racer`], so no operation inside it is dispatched dynamically.

use crate::contenders::{self, Contender};
use crate::idle;
use crate::resident;
use crate::works::{BATCH, KEY_LEN, Kind, Work, blank_value, key_of, stamp};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use std::array;
use std::hint::{black_box, spin_loop};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Number of operations between two reads of the stop flag.
const BLOCK: usize = 64;

/// Number of inserts after which a contender that is being filled does its deferred work. The
/// shortest queue of a contender holds twice as many, and drops an entry that finds it full.
const INSERTS_UNTIL_SETTLED: u64 = 1 << 16;

/// Time for which the threads of a slice work before it begins.
const LEAD_IN: Duration = Duration::from_millis(50);

/// Number of whole arrays of requests before the work `aside` is measured.
const WARM_UP_SEATS: usize = 2;

/// Number of keys that are read to check that a contender returns their values.
const VERIFIED_KEYS: usize = 20_000;

/// The length of a slice, the number of rounds, and the numbers of threads.
#[derive(Clone)]
pub struct Method {
    pub slice: Duration,
    pub rounds: usize,
    pub threads: Vec<usize>,
}

/// A contender of one race.
struct Runner {
    name: &'static str,
    racer: Box<dyn Racer>,
    seats: Vec<Seat>,
    resident_bytes: usize,
}

/// The state of one thread that works on one contender. It is kept from slice to slice.
pub struct Seat {
    samples: Arc<[u32]>,
    cursor: usize,
    first_new_key: u64,
    next_new_key: u64,
    since_update: u32,
    out: Vec<u8>,
    value: Vec<u8>,
}

impl Seat {
    fn new(work: &Work, samples: Arc<[u32]>, number: usize) -> Self {
        let first_new_key = (number as u64 + 1) << 40;
        Self {
            samples,
            cursor: 0,
            first_new_key,
            next_new_key: first_new_key,
            since_update: 0,
            out: Vec::with_capacity(work.value_len),
            value: blank_value(work.value_len),
        }
    }

    /// Starts with requests that no contender has seen. Repeated requests would be a loop, which
    /// some policies learn.
    fn begin(&mut self, samples: &Arc<[u32]>) {
        self.samples = samples.clone();
        self.cursor = 0;
    }

    /// Returns the next block of requests. Starts over at the end.
    #[inline(always)]
    fn next_block(&mut self) -> [u32; BLOCK] {
        let at = self.cursor;
        self.cursor = (at + BLOCK) % self.samples.len();
        self.samples[at..at + BLOCK].try_into().expect("samples are whole blocks")
    }
}

/// The counts of one thread in one slice.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    ops: u64,
    reads: u64,
    hits: u64,
    inserts: u64,
    refused: u64,
    seconds: f64,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.ops += other.ops;
        self.reads += other.reads;
        self.hits += other.hits;
        self.inserts += other.inserts;
        self.refused += other.refused;
    }
}

/// A contender with one dynamic call for each slice.
pub trait Racer: Send + Sync {
    /// Performs blocks of `kind` until `stop` returns `true`.
    fn run(&self, kind: Kind, seat: &mut Seat, stop: &dyn Fn() -> bool) -> Tally;
    fn insert(&self, key: &[u8], value: &[u8]) -> bool;
    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool;
    fn contains(&self, key: &[u8]) -> bool;
    fn insert_expiring(&self, key: &[u8], value: &[u8], ttl: Duration) -> bool;
    fn clear(&self) -> bool;
    fn settle(&self);
}

/// A contender with the works compiled for it.
pub struct Seated<C>(pub C);

impl<C: Contender> Racer for Seated<C> {
    fn run(&self, kind: Kind, seat: &mut Seat, stop: &dyn Fn() -> bool) -> Tally {
        let block = match kind {
            Kind::Read => read_block::<C>,
            Kind::ReadMany => read_many_block::<C>,
            Kind::Load => load_block::<C>,
            Kind::Mixed => mixed_block::<C, 10>,
            Kind::Half => mixed_block::<C, 2>,
            Kind::Update => mixed_block::<C, 1>,
            Kind::Aside => aside_block::<C>,
            Kind::Insert => insert_block::<C>,
        };
        let mut tally = Tally::default();
        let begin = Instant::now();
        while !stop() {
            block(&self.0, seat, &mut tally);
            tally.ops += BLOCK as u64;
        }
        tally.seconds = begin.elapsed().as_secs_f64();
        tally
    }

    fn insert(&self, key: &[u8], value: &[u8]) -> bool {
        self.0.insert(key, value)
    }

    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        self.0.get_into(key, out)
    }

    fn contains(&self, key: &[u8]) -> bool {
        self.0.contains(key)
    }

    fn insert_expiring(&self, key: &[u8], value: &[u8], ttl: Duration) -> bool {
        self.0.insert_expiring(key, value, ttl)
    }

    fn clear(&self) -> bool {
        self.0.clear()
    }

    fn settle(&self) {
        self.0.settle();
    }
}

/// Returns a key whose length the compiler cannot know, as in a program that accepts keys of any
/// length.
#[inline(always)]
fn opaque(key: &[u8; KEY_LEN]) -> &[u8] {
    black_box(key.as_slice())
}

#[inline(never)]
fn read_block<C: Contender>(cache: &C, seat: &mut Seat, tally: &mut Tally) {
    for index in seat.next_block() {
        let key = key_of(u64::from(index));
        tally.hits += u64::from(cache.get_into(opaque(&key), &mut seat.out));
        black_box(&seat.out);
    }
    tally.reads += BLOCK as u64;
}

#[inline(never)]
fn read_many_block<C: Contender>(cache: &C, seat: &mut Seat, tally: &mut Tally) {
    for batch in seat.next_block().as_chunks::<BATCH>().0 {
        let keys = batch.map(|index| key_of(u64::from(index)));
        let keys: [&[u8]; BATCH] = array::from_fn(|nth| opaque(&keys[nth]));
        tally.hits += cache.get_many_into(&keys, &mut seat.out);
    }
    tally.reads += BLOCK as u64;
}

#[inline(never)]
fn load_block<C: Contender>(cache: &C, seat: &mut Seat, tally: &mut Tally) {
    for index in seat.next_block() {
        let key = key_of(u64::from(index));
        tally.hits += u64::from(cache.load_into(opaque(&key), &mut seat.out));
        black_box(&seat.out);
    }
    tally.reads += BLOCK as u64;
}

/// Performs a block in which every `UPDATE_EVERY`-th operation is an update, and all others are
/// reads.
#[inline(never)]
fn mixed_block<C: Contender, const UPDATE_EVERY: u32>(cache: &C, seat: &mut Seat, tally: &mut Tally) {
    for index in seat.next_block() {
        let key = key_of(u64::from(index));
        seat.since_update += 1;
        if seat.since_update >= UPDATE_EVERY {
            seat.since_update = 0;
            stamp(&mut seat.value, u64::from(index));
            tally.refused += u64::from(!cache.insert(opaque(&key), &seat.value));
            tally.inserts += 1;
        } else {
            tally.hits += u64::from(cache.get_into(opaque(&key), &mut seat.out));
            tally.reads += 1;
            black_box(&seat.out);
        }
    }
}

#[inline(never)]
fn aside_block<C: Contender>(cache: &C, seat: &mut Seat, tally: &mut Tally) {
    for index in seat.next_block() {
        let key = key_of(u64::from(index));
        let key = opaque(&key);
        if cache.get_into(key, &mut seat.out) {
            tally.hits += 1;
            black_box(&seat.out);
        } else {
            stamp(&mut seat.value, u64::from(index));
            tally.refused += u64::from(!cache.insert(key, &seat.value));
            tally.inserts += 1;
        }
    }
    tally.reads += BLOCK as u64;
}

#[inline(never)]
fn insert_block<C: Contender>(cache: &C, seat: &mut Seat, tally: &mut Tally) {
    for _ in 0..BLOCK {
        let key = key_of(seat.next_new_key);
        stamp(&mut seat.value, seat.next_new_key);
        tally.refused += u64::from(!cache.insert(opaque(&key), &seat.value));
        seat.next_new_key += 1;
    }
    tally.inserts += BLOCK as u64;
}

/// The measurements of one contender over the rounds of a race.
pub struct Score {
    pub name: &'static str,
    /// Operations per second, in each round that counts.
    pub speeds: Vec<f64>,
    /// The hit ratio, or `None` if nothing is read.
    pub hit_ratio: Option<f64>,
    /// The share of inserts that the contender refused.
    pub refused_ratio: f64,
    pub resident_bytes: usize,
}

impl Score {
    fn new(runner: &Runner, speeds: Vec<f64>, total: Tally) -> Self {
        Self {
            name: runner.name,
            speeds,
            hit_ratio: (total.reads > 0).then(|| total.hits as f64 / total.reads as f64),
            refused_ratio: total.refused as f64 / total.inserts.max(1) as f64,
            resident_bytes: runner.resident_bytes,
        }
    }
}

/// The results of all contenders with one number of threads, in the same order.
struct Heat {
    threads: usize,
    speeds: Vec<Vec<f64>>,
    totals: Vec<Tally>,
}

/// Fills the contenders, and races them at `work`. Returns all scores for each number of threads.
pub fn race(work: &Work, names: &[&'static str], method: &Method) -> Vec<(usize, Vec<Score>)> {
    let most_threads = method.threads.iter().copied().max().unwrap_or(1);
    let mut draws = 0;
    let mut next_samples = |seats| -> Vec<Arc<[u32]>> {
        draws += seats;
        (draws - seats..draws).map(|draw| work.samples(draw)).collect()
    };
    let first_samples = next_samples(most_threads.max(WARM_UP_SEATS));
    let taking_part = names.iter().filter(|name| contenders::takes_part(name, work.kind));
    let mut runners: Vec<Runner> = taking_part.map(|name| prepare(name, work, &first_samples)).collect();

    let count = runners.len();
    let heat = |&threads| Heat { threads, speeds: vec![Vec::new(); count], totals: vec![Tally::default(); count] };
    let mut heats: Vec<Heat> = method.threads.iter().map(heat).collect();
    let mut random = SmallRng::seed_from_u64(0);
    for round in 0..method.rounds {
        for heat in &mut heats {
            let samples = next_samples(heat.threads);
            for runner in &mut runners {
                runner.seats.iter_mut().zip(&samples).for_each(|(seat, samples)| seat.begin(samples));
            }
            for which in shuffled(count, &mut random) {
                let (speed, tally) = slice(work, &mut runners[which], heat.threads, method.slice);
                idle::wait();
                if round > 0 {
                    heat.speeds[which].push(speed);
                    heat.totals[which].add(tally);
                }
            }
        }
    }
    for runner in &runners {
        verify(runner.name, &*runner.racer, work, &runner.seats[0]);
    }
    let scored = |heat: Heat| {
        let measured = heat.speeds.into_iter().zip(heat.totals);
        let scores = runners.iter().zip(measured).map(|(runner, (speeds, total))| Score::new(runner, speeds, total));
        (heat.threads, scores.collect())
    };
    heats.into_iter().map(scored).collect()
}

/// Returns the numbers below `count` in a random order.
pub fn shuffled(count: usize, random: &mut SmallRng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(random);
    order
}

/// Builds a contender, brings it into the state in which it is measured, and measures its memory.
fn prepare(name: &'static str, work: &Work, samples: &[Arc<[u32]>]) -> Runner {
    let begin = Instant::now();
    let before = resident::bytes();
    let racer = contenders::build(name, work);
    let mut seats: Vec<Seat> =
        samples.iter().enumerate().map(|(n, samples)| Seat::new(work, samples.clone(), n)).collect();
    match work.kind {
        Kind::Aside => {
            for seat in &mut seats[..WARM_UP_SEATS] {
                run_blocks(&*racer, work.kind, seat, seat.samples.len() / BLOCK);
            }
        }
        // Twice what fits, so that the space of the first entries has been used again.
        Kind::Insert => run_blocks(&*racer, work.kind, &mut seats[0], 2 * work.keys / BLOCK),
        // As many updates as keys, so that a log has wrapped around.
        Kind::Half | Kind::Update => {
            fill(&*racer, work);
            run_blocks(&*racer, Kind::Update, &mut seats[0], work.keys / BLOCK);
        }
        Kind::Read | Kind::ReadMany | Kind::Load | Kind::Mixed => fill(&*racer, work),
    }
    racer.settle();
    let resident_bytes = resident::bytes().saturating_sub(before);
    verify(name, &*racer, work, &seats[0]);
    eprintln!("{}: {name} is ready after {:.1} s", work.name, begin.elapsed().as_secs_f64());
    Runner { name, racer, seats, resident_bytes }
}

/// Inserts every key of `work`. The contender does its deferred work meanwhile, so that no entry is
/// lost.
pub fn fill(racer: &dyn Racer, work: &Work) {
    let mut value = blank_value(work.value_len);
    for index in 0..work.keys as u64 {
        stamp(&mut value, index);
        racer.insert(&key_of(index), &value);
        if index % INSERTS_UNTIL_SETTLED == INSERTS_UNTIL_SETTLED - 1 {
            racer.settle();
        }
    }
}

fn run_blocks(racer: &dyn Racer, kind: Kind, seat: &mut Seat, blocks: usize) {
    let left = std::cell::Cell::new(blocks);
    racer.run(kind, seat, &|| {
        let stop = left.get() == 0;
        left.set(left.get().saturating_sub(1));
        stop
    });
}

/// Checks that hits return the value of their key, and that there are hits. The write floor cannot
/// be read.
///
/// # Panics
///
/// Panics if a contender returns another value, or has no hits.
fn verify(name: &str, racer: &dyn Racer, work: &Work, seat: &Seat) {
    if work.kind == Kind::Insert && contenders::is_floor(name) {
        return;
    }
    let mut expected = blank_value(work.value_len);
    let mut out = Vec::new();
    // Some contenders keep the first of many keys that are never read, others the last.
    let keys = if work.kind == Kind::Insert { seat.first_new_key..seat.next_new_key } else { 0..work.keys as u64 };
    let step = ((keys.end - keys.start) as usize).div_ceil(VERIFIED_KEYS);
    let mut hits = 0;
    for index in keys.step_by(step) {
        if racer.get_into(&key_of(index), &mut out) {
            stamp(&mut expected, index);
            assert!(out == expected, "{name} returned a wrong value for key {index}");
            hits += 1;
        }
    }
    assert!(hits > 0, "{name} has lost everything");
}

/// Runs one contender for `length` on `threads` threads. Returns operations per second, and the
/// sums of all counts.
fn slice(work: &Work, runner: &mut Runner, threads: usize, length: Duration) -> (f64, Tally) {
    let ready = AtomicUsize::new(0);
    let go = AtomicBool::new(false);
    let (is_warm, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let racer = &*runner.racer;
    let tallies: Vec<Tally> = thread::scope(|scope| {
        let work_on = |seat| {
            let (ready, go, is_warm, stop) = (&ready, &go, &is_warm, &stop);
            scope.spawn(move || {
                ready.fetch_add(1, Relaxed);
                while !go.load(Relaxed) {
                    spin_loop();
                }
                let seat: &mut Seat = seat;
                racer.run(work.kind, seat, &|| is_warm.load(Relaxed));
                racer.run(work.kind, seat, &|| stop.load(Relaxed))
            })
        };
        let workers: Vec<_> = runner.seats[..threads].iter_mut().map(work_on).collect();
        while ready.load(Relaxed) < threads {
            thread::sleep(Duration::from_micros(50));
        }
        go.store(true, Relaxed);
        thread::sleep(LEAD_IN);
        is_warm.store(true, Relaxed);
        thread::sleep(length);
        stop.store(true, Relaxed);
        workers.into_iter().map(|worker| worker.join().expect("a worker panicked")).collect()
    });
    let mut total = Tally::default();
    let mut speed = 0.0;
    for tally in tallies {
        speed += tally.ops as f64 / tally.seconds;
        total.add(tally);
    }
    (speed, total)
}
