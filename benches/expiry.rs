//! The costs of deadlines, in time and in memory: `cargo bench --bench expiry`.
//!
//! | column | meaning |
//! |---|---|
//! | near | ns to read a present entry, of 2,000 |
//! | far | the same, of a million, in random order |
//! | insert | ns to insert a new key into a full cache, so that another entry is evicted |
//! | bytes | bytes of an entry beyond those of an entry without a deadline |
//!
//! A round of `far` reads no key twice and takes longer than a tick. So every read moves an idle
//! deadline. `bytes` includes the share of the wheel, in an index as full as it may be.
//!
//! | row | entries have |
//! |---|---|
//! | none | no deadline |
//! | ttl | a time to live of an hour |
//! | idle | a time to idle of an hour |
//! | both | both |
//! | dying | a time to live that ends before they would be evicted |
//!
//! In the row `dying`, every insert removes another entry, which has expired.
//!
//! After these come the clocks, and a million entries that expire at once: the times of calls while
//! nothing is due, and until all of their space is taken back.
//!
//! All rows run in turn, round after round, so that other load on the machine affects them alike.
//! Each number is the median of the rounds. The filling of the caches is not measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytecache::{Cache, CacheBuilder, Clock, ManualClock, SystemClock, TICK};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

const HOUR: Duration = Duration::from_secs(3600);
/// Value with which an entry has 132 bytes, with its key and header. So entries with and without a
/// deadline straddle cache lines alike.
const VALUE: [u8; 104] = [0x5a; 104];
const KEY_BYTES: usize = 24;
/// Number of inserts in each tick, in the row whose entries expire.
const INSERTS_PER_TICK: usize = 50;

type Key = [u8; KEY_BYTES];

/// The amount of work to measure.
struct Size {
    near: usize,
    far: usize,
    operations: usize,
    rounds: usize,
}

const FULL: Size = Size { near: 2_000, far: 1_000_000, operations: 500_000, rounds: 7 };
const QUICK: Size = Size { near: 200, far: 8_000, operations: 2_000, rounds: 1 };

fn key(number: usize) -> Key {
    let mut key = [b'k'; KEY_BYTES];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key
}

/// One row, with a cache for each column.
struct Row {
    name: &'static str,
    near: Cache,
    far: Cache,
    full: Cache,
    /// A clock that is advanced by hand, for the row whose entries expire.
    clock: Option<ManualClock>,
    next: usize,
    bytes: f64,
}

fn builder(entries: usize) -> CacheBuilder {
    // The index and the policy take about 24 bytes for each entry, the wheel and the deadlines up
    // to 12.
    let max_bytes = (entries * (KEY_BYTES + VALUE.len() + 40) * 5 / 4).max(1 << 20);
    Cache::builder().max_bytes(max_bytes).shards(1).expected_entry_bytes(KEY_BYTES + VALUE.len())
}

fn build(builder: CacheBuilder) -> Cache {
    builder.build().expect("a size that fits")
}

fn insert(cache: &Cache, number: usize) {
    cache.insert(key(number), VALUE).expect("no space is held");
}

/// Returns the bytes of an entry, with its share of the wheel in an index as full as it may be.
fn bytes_per_entry(cache: &Cache) -> f64 {
    let memory = cache.memory();
    let most = memory.index as f64 / 64.0 * 12.0 * 0.85;
    memory.live as f64 / cache.len() as f64 + memory.wheels as f64 / most
}

impl Row {
    fn new(name: &'static str, size: &Size, options: fn(CacheBuilder) -> CacheBuilder) -> Self {
        let filled = |entries: usize| {
            let cache = build(options(builder(entries)));
            (0..entries).for_each(|number| insert(&cache, number));
            assert_eq!(cache.len(), entries, "{name}: the cache is too small");
            cache
        };
        let far = filled(size.far);
        let bytes = bytes_per_entry(&far);
        let full = build(options(builder(size.far)));
        let next = 2 * size.far;
        (0..next).for_each(|number| insert(&full, number));
        assert!(full.stats().evictions > 0);
        Self { name, near: filled(size.near), far, full, clock: None, next, bytes }
    }

    /// Creates the row whose entries expire after four fifths as many inserts as entries fit.
    fn dying(size: &Size) -> Self {
        let clock = ManualClock::new();
        let ttl = TICK * u32::try_from(size.far * 4 / 5 / INSERTS_PER_TICK).expect("a number of ticks");
        let row = Self::new("dying", size, |builder| builder.ttl(HOUR));
        let full = build(builder(size.far).ttl(ttl).clock(clock.clone()));
        let mut row = Self { full, clock: Some(clock), next: 0, ..row };
        (0..2 * size.far).for_each(|_| row.insert_next());
        let stats = row.full.stats();
        assert!(stats.evictions == 0 && stats.expirations > 0, "{stats:?}");
        row
    }

    fn insert_next(&mut self) {
        if let Some(clock) = self.clock.as_ref().filter(|_| self.next % INSERTS_PER_TICK == 0) {
            clock.advance(TICK);
        }
        insert(&self.full, self.next);
        self.next += 1;
    }

    /// Returns the ns of an operation, for each column.
    fn measure(&mut self, near: &[Key], far: &[Key], operations: usize) -> [f64; 3] {
        let read = |cache: &Cache, keys: &[Key]| {
            let start = Instant::now();
            for key in keys.iter().cycle().take(operations) {
                let found = cache.view(key, |value| black_box(value[0]));
                assert!(found.is_some(), "a stored entry is missing");
            }
            nanos(start.elapsed(), operations)
        };
        let reads = [read(&self.near, near), read(&self.far, far)];
        let start = Instant::now();
        (0..operations).for_each(|_| self.insert_next());
        [reads[0], reads[1], nanos(start.elapsed(), operations)]
    }
}

fn nanos(elapsed: Duration, operations: usize) -> f64 {
    elapsed.as_nanos() as f64 / operations as f64
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn shuffled(len: usize) -> Vec<Key> {
    let mut keys: Vec<_> = (0..len).map(key).collect();
    keys.shuffle(&mut SmallRng::seed_from_u64(1));
    keys
}

fn operations(size: &Size) {
    let mut rows = [
        Row::new("none", size, |builder| builder),
        Row::new("ttl", size, |builder| builder.ttl(HOUR)),
        Row::new("idle", size, |builder| builder.time_to_idle(HOUR)),
        Row::new("both", size, |builder| builder.ttl(HOUR).time_to_idle(HOUR)),
        Row::dying(size),
    ];
    let (near, far) = (shuffled(size.near), shuffled(size.far));
    let mut rounds: Vec<Vec<[f64; 3]>> = vec![Vec::new(); rows.len()];
    for _ in 0..size.rounds {
        for (row, measured) in rows.iter_mut().zip(&mut rounds) {
            measured.push(row.measure(&near, &far, size.operations));
        }
    }
    println!("{:8} {:>16} {:>16} {:>16} {:>8}", "entries", "near, ns", "far, ns", "insert, ns", "bytes");
    let column = |row: usize, column: usize| median(rounds[row].iter().map(|measured| measured[column]).collect());
    for (number, row) in rows.iter().enumerate() {
        print!("{:8}", row.name);
        for at in 0..3 {
            let (this, none) = (column(number, at), column(0, at));
            print!(" {this:>9.1} x{:<5.2}", this / none);
        }
        println!(" {:>+8.2}", row.bytes - rows[0].bytes);
    }
}

fn clocks(size: &Size) {
    let reads = size.operations * 4;
    let time = |read: &dyn Fn()| {
        let start = Instant::now();
        (0..reads).for_each(|_| read());
        nanos(start.elapsed(), reads)
    };
    let coarse = || _ = black_box(SystemClock.now());
    let fine = || _ = black_box(Instant::now());
    let measured: Vec<_> = (0..size.rounds).map(|_| (time(&coarse), time(&fine))).collect();
    let (coarse, fine): (Vec<_>, Vec<_>) = measured.into_iter().unzip();
    println!("\nSystemClock {:.1} ns, std::time::Instant {:.1} ns", median(coarse), median(fine));
}

/// Measures calls on a cache of a million entries with one deadline: while nothing is due, and
/// until all of their space is taken back.
fn one_deadline(size: &Size) {
    let mut table = Vec::new();
    type Call = fn(&Cache, usize);
    let calls: [(&str, Call); 2] =
        [("insert", |cache, number| insert(cache, number)), ("maintain", |cache, _| _ = cache.maintain())];
    for (name, call) in calls {
        for expire in [false, true] {
            let clock = ManualClock::new();
            let cache = build(builder(size.far).clock(clock.clone()).ttl(HOUR));
            (0..size.far).for_each(|number| insert(&cache, number));
            if expire {
                clock.advance(2 * HOUR);
            }
            let mut lengths = Vec::new();
            while if expire { cache.stats().expirations < size.far as u64 } else { lengths.len() < 1_000 } {
                let start = Instant::now();
                call(&cache, size.far + lengths.len());
                lengths.push(start.elapsed().as_nanos() as f64 / 1e3);
            }
            lengths.sort_by(f64::total_cmp);
            let at = |percent: usize| lengths[(lengths.len() - 1) * percent / 100];
            let what = if expire { "until all are gone" } else { "nothing is due" };
            table.push(format!(
                "{name:9} {what:19} {:>8} {:>10.2} {:>10.2} {:>10.2}",
                lengths.len(),
                at(50),
                at(99),
                at(100)
            ));
        }
    }
    println!("\n{} entries of one deadline, one shard", size.far);
    println!("{:29} {:>8} {:>10} {:>10} {:>10}", "", "calls", "median, us", "99 %, us", "longest");
    table.iter().for_each(|line| println!("{line}"));
}

fn main() {
    let size = if std::env::args().any(|argument| argument == "--test") { QUICK } else { FULL };
    operations(&size);
    clocks(&size);
    one_deadline(&size);
}
