//! Instructions that an operation executes: `cargo bench --bench instructions`.
//!
//! | row | meaning |
//! |---|---|
//! | insert | a new key, in a full cache, so that an entry is evicted |
//! | update | a present key, with a value of the same size |
//! | get_into | a hit that copies the value into a buffer |
//! | view | a hit that reads the value in place |
//! | get | a hit that holds the value, and its drop |
//! | miss | a `get` of an absent key |
//!
//! One thread, keys of 24 bytes, values of 256 bytes, 8 MiB, 4 shards, hash seeds that are fixed.
//! The keys of hits and updates are the present ones, in a scattered order. The bench runs itself
//! under `valgrind --tool=callgrind` once for each cell, which counts nothing but the operations
//! and the loop around them. The same compiler, C library and valgrind repeat a count to within a
//! few instructions, whatever else the machine does.
//!
//! * `-- --record` writes the counts to `benches/instructions.txt`, with these versions.
//! * `-- --check` fails if a count is more than 3 % above the recorded one. Where the versions
//!   differ from the recorded ones or valgrind is absent, it checks nothing and says so.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use bytecache::{Cache, Policy};

const OPERATIONS: [&str; 6] = ["insert", "update", "get_into", "view", "get", "miss"];
const POLICIES: [&str; 3] = ["adaptive", "s3-fifo", "lru"];
/// Operations that are counted in a cell.
const COUNTED: u64 = 20_000;
/// Keys inserted first. About 27,000 entries fit.
const FILL: u64 = 60_000;
const MAX_BYTES: usize = 8 << 20;
/// The growth of a count that `--check` refuses, in percent.
const TOLERANCE: u64 = 3;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
type Key = [u8; 24];

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, operation, policy] = &arguments[..]
        && flag == "--cell"
    {
        return run_cell(operation, policy);
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let Some(versions) = versions() else {
        println!("no valgrind: left out");
        return Ok(());
    };
    if has("--test") {
        println!("{} instructions", count_cell("view", "lru")?);
        return Ok(());
    }
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.txt");
    if has("--check") && !std::fs::read_to_string(&recorded)?.starts_with(&versions) {
        println!("the recorded counts belong to other versions than {versions}: left out");
        return Ok(());
    }
    let table = Table::measure()?;
    println!("{versions}{}", table.text());
    if has("--record") {
        std::fs::write(&recorded, versions + &table.text())?;
    } else if has("--check") {
        table.check(&Table::parse(&std::fs::read_to_string(&recorded)?)?)?;
    }
    Ok(())
}

/// Returns the versions and the processor on which a count depends, one in a line, or `None`
/// without valgrind.
fn versions() -> Option<String> {
    let first_line = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().next().map(str::to_string)
    };
    let valgrind = first_line("valgrind", "--version")?;
    let compiler = first_line("rustc", "--version")?;
    let library = first_line("getconf", "GNU_LIBC_VERSION").unwrap_or_else(|| "an unknown C library".to_string());
    // The C library has a `memcpy` for each kind of processor.
    #[cfg(target_arch = "x86_64")]
    let processor = if std::is_x86_feature_detected!("avx2") { "x86-64 with AVX2" } else { "x86-64" };
    #[cfg(not(target_arch = "x86_64"))]
    let processor = std::env::consts::ARCH;
    Some(format!("{compiler}\n{library}\n{valgrind}\n{processor}\n"))
}

/// Instructions for each operation and policy, in the order of the constants.
struct Table(Vec<Vec<u64>>);

impl Table {
    fn measure() -> Outcome<Self> {
        let row = |operation: &&str| POLICIES.iter().map(|policy| count_cell(operation, policy)).collect();
        OPERATIONS.iter().map(row).collect::<Outcome<_>>().map(Self)
    }

    fn text(&self) -> String {
        let mut text = format!("{:<10}", "");
        let columns = POLICIES.map(|policy| format!("{policy:>10}")).concat();
        let _ = writeln!(text, "{columns}");
        for (operation, counts) in OPERATIONS.iter().zip(&self.0) {
            let cells: String = counts.iter().map(|count| format!("{count:>10}")).collect();
            let _ = writeln!(text, "{operation:<10}{cells}");
        }
        text
    }

    fn parse(text: &str) -> Outcome<Self> {
        let row = |operation: &&str| {
            let line = text.lines().find(|line| line.split_whitespace().next() == Some(operation));
            let cells = line.ok_or_else(|| format!("no recorded row {operation}"))?.split_whitespace().skip(1);
            Ok(cells.map(str::parse).collect::<Result<_, _>>()?)
        };
        OPERATIONS.iter().map(row).collect::<Outcome<_>>().map(Self)
    }

    /// Returns an error that lists the cells that have grown too much.
    fn check(&self, recorded: &Self) -> Outcome<()> {
        let mut grown = String::new();
        for (operation, (counts, former)) in OPERATIONS.iter().zip(self.0.iter().zip(&recorded.0)) {
            for (policy, (count, former)) in POLICIES.iter().zip(counts.iter().zip(former)) {
                if count * 100 > former * (100 + TOLERANCE) {
                    let _ = write!(grown, "\n{operation}, {policy}: {former} before, {count} instructions");
                }
            }
        }
        if grown.is_empty() { Ok(()) } else { Err(format!("more than {TOLERANCE} % above the record:{grown}").into()) }
    }
}

/// Runs a cell under callgrind. Returns the instructions of one operation.
fn count_cell(operation: &str, policy: &str) -> Outcome<u64> {
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=instructions::count_instructions_here",
        ])
        .arg(std::env::current_exe()?)
        .args(["--cell", operation, policy])
        .output()?;
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = report.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    match collected.and_then(|count| count.parse::<u64>().ok()) {
        Some(count) if output.status.success() && count > COUNTED => Ok(count / COUNTED),
        _ => Err(format!("valgrind counted nothing for {operation}, {policy}:\n{report}").into()),
    }
}

fn key(number: u64) -> Key {
    let mut key = [b'k'; 24];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key
}

/// Fills a cache, and does the operations of a cell.
fn run_cell(operation: &str, policy: &str) -> Outcome<()> {
    let hasher = ahash::RandomState::with_seeds(1, 2, 3, 4);
    let policy: Policy = policy.parse()?;
    let cache = Cache::builder().max_bytes(MAX_BYTES).shards(4).policy(policy).hasher(hasher).build()?;
    for number in 0..FILL {
        cache.insert(key(number), [7; 256])?;
    }
    let mut present = Vec::new();
    cache.for_each(|key, _| present.extend(Key::try_from(key)));
    // The order of the hashes would visit neighbours in the index one after another.
    present.sort_unstable_by_key(|key| {
        u64::from_le_bytes(*key.first_chunk().unwrap_or(&[0; 8])).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    let (first, keys) = match operation {
        "insert" => (FILL, Vec::new()),
        "miss" => (1 << 40, Vec::new()),
        _ => (0, present),
    };
    let keys: Vec<Key> = match keys.len() {
        0 => (first..first + COUNTED).map(key).collect(),
        _ => keys.into_iter().cycle().take(usize::try_from(COUNTED)?).collect(),
    };
    if operation == "update" {
        // Updates leave dead entries behind. Their share in each chunk settles within a few passes.
        for key in keys.iter().cycle().take(4 * keys.len()) {
            cache.insert(key, [8; 256])?;
        }
    }
    let mut buffer = Vec::with_capacity(256);
    let done = match operation {
        "insert" | "update" => count_instructions_here(&keys, |key| cache.insert(key, [8; 256]).is_ok()),
        "get_into" => count_instructions_here(&keys, |key| {
            buffer.clear();
            cache.get_into(key, &mut buffer)
        }),
        "view" => count_instructions_here(&keys, |key| cache.view(key, |value| value[0] == 7) == Some(true)),
        "get" => count_instructions_here(&keys, |key| cache.get(key).is_some()),
        "miss" => count_instructions_here(&keys, |key| cache.get(key).is_none()),
        _ => return Err(format!("unknown operation {operation}").into()),
    };
    if done == keys.len() { Ok(()) } else { Err(format!("{done} of {} operations did as planned", keys.len()).into()) }
}

/// Counts the keys for which `operation` returns `true`. callgrind knows the function by its name.
#[inline(never)]
fn count_instructions_here(keys: &[Key], mut operation: impl FnMut(&Key) -> bool) -> usize {
    keys.iter().filter(|key| operation(black_box(key))).count()
}
