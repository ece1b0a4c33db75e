//! The advisor: instructions that it adds to a read, and how exact it is.
//!
//! ```sh
//! cargo bench --bench advisor
//! ```
//!
//! The first table has the instructions of a read without and with an advisor, the work on sampled
//! keys included: of the first reads of a cache, and of later ones. The bench runs itself under
//! `valgrind --tool=callgrind` once for each cell. The others are about generated requests: each
//! advised hit ratio is compared with that of [`simulate`] over all requests, and each hot key with
//! its count. `tools/tests/advisor.rs` and `tools/tests/hot_keys.rs` do so for recorded traces.

use std::collections::HashMap;
use std::hint::black_box;
use std::process::Command;

use bytecache::policy::{Request, Unit, simulate};
use bytecache::{Advisor, Cache, Policy, StableHash};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::Zipf;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Reads that are counted in a cell: enough that sampled keys are as frequent as anywhere.
const COUNTED: usize = 200_000;
/// Reads before these. While there are few, more of them count towards the hot keys.
const FIRST: [usize; 2] = [0, 600_000];
const MAX_BYTES: usize = 16 << 20;
const VALUE_BYTES: usize = 256;
const REQUESTS: usize = 1_000_000;
const TOLD: usize = 10;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, read, first, advisor] = &arguments[..]
        && flag == "--cell"
    {
        return run_cell(read, first.parse()?, advisor == "on");
    }
    if arguments.iter().any(|argument| argument == "--test") {
        return run_cell("hit", 0, true);
    }
    print_instructions()?;
    let requests: Vec<u64> = requests(REQUESTS)?;
    for share in [1.0 / 384.0, 1.0 / 16.0] {
        print_accuracy(&requests, share)?;
    }
    Ok(())
}

fn requests(count: usize) -> Outcome<Vec<u64>> {
    let mut random = SmallRng::seed_from_u64(1);
    let zipf = Zipf::new(500_000.0, 0.9)?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is a small whole number")]
    Ok((0..count).map(|_| random.sample(zipf) as u64).collect())
}

fn print_instructions() -> Outcome<()> {
    println!("| read | reads before | without | with an advisor | more |\n|---|---:|---:|---:|---:|");
    for (read, first) in ["hit", "miss"].into_iter().flat_map(|read| FIRST.map(|first| (read, first))) {
        let (Some(off), Some(on)) = (count_cell(read, first, "off")?, count_cell(read, first, "on")?) else {
            println!("no valgrind: left out");
            return Ok(());
        };
        println!("| {read} | {first} | {off:.1} | {on:.1} | {:.1} |", on - off);
    }
    Ok(())
}

/// Runs a cell under callgrind. Returns the instructions of one read, or `None` without valgrind.
fn count_cell(read: &str, first: usize, advisor: &str) -> Outcome<Option<f64>> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=advisor::count_instructions_here")
        .arg(std::env::current_exe()?)
        .args(["--cell", read, &first.to_string(), advisor])
        .output();
    let Ok(output) = output else { return Ok(None) };
    let report = String::from_utf8_lossy(&output.stderr).into_owned();
    let collected = report.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim());
    match collected.and_then(|count| count.parse::<f64>().ok()) {
        Some(count) if output.status.success() => Ok(Some(count / COUNTED as f64)),
        _ => Err(format!("valgrind counted nothing for {read}, {first}, {advisor}:\n{report}").into()),
    }
}

fn builder(share: Option<f64>) -> Outcome<Cache> {
    let builder = Cache::builder().max_bytes(MAX_BYTES).shards(4).hasher(StableHash::with_seed(1));
    Ok(match share {
        Some(share) => builder.advisor(Advisor::new().share(share)).build()?,
        None => builder.build()?,
    })
}

fn run_cell(read: &str, first: usize, has_advisor: bool) -> Outcome<()> {
    let cache = builder(has_advisor.then_some(1.0 / 384.0))?;
    let first_key = if read == "hit" { 0 } else { 1 << 40 };
    let keys: Vec<[u8; 8]> = (0..30_000_u64).map(|key| key.to_le_bytes()).collect();
    for key in &keys {
        cache.insert(key, [7; VALUE_BYTES])?;
    }
    let reads = requests(first + COUNTED)?;
    let reads: Vec<[u8; 8]> = reads.iter().map(|key| (first_key + key % 30_000).to_le_bytes()).collect();
    reads[..first].iter().for_each(|key| _ = cache.view(key, |_| ()));
    let found = count_instructions_here(&cache, &reads[first..]);
    let expected = if read == "hit" { COUNTED } else { 0 };
    if found == expected { Ok(()) } else { Err(format!("{found} hits instead of {expected}").into()) }
}

/// Returns the number of hits. callgrind knows the function by its name.
#[inline(never)]
fn count_instructions_here(cache: &Cache, keys: &[[u8; 8]]) -> usize {
    keys.iter().filter(|key| cache.view(black_box(key), |value| value[0]).is_some()).count()
}

fn print_accuracy(requests: &[u64], share: f64) -> Outcome<()> {
    let cache = builder(Some(share))?;
    let mut counts = HashMap::new();
    for key in requests {
        *counts.entry(*key).or_insert(0.0) += 1.0;
        if cache.view(key.to_le_bytes(), |_| ()).is_none() {
            cache.insert(key.to_le_bytes(), [7; VALUE_BYTES])?;
        }
    }
    let advice = cache.advice().ok_or("there were reads")?;
    let charge = u32::try_from(cache.memory().live / cache.len().max(1))?;
    let charged = || requests.iter().map(|&hash| Request { hash, charge });
    println!("\n| 1/{:.0} of all keys | size | advised | stated error | simulated |", 1.0 / share);
    println!("|---|---:|---:|---:|---:|");
    for row in &advice.rows {
        let policy: Policy = row.policy.parse()?;
        let simulated = 1.0 - simulate(&policy, row.capacity, Unit::Bytes, charged()).miss_ratio();
        let [advised, error, simulated] = [row.hit_ratio, row.hit_ratio_error, simulated].map(|ratio| ratio * 100.0);
        println!("| {} | {} % | {advised:.1} % | ± {error:.1} | {simulated:.1} % |", row.policy, row.size_percent);
    }
    println!("\n| hot key | reads | estimate | stated error |\n|---|---:|---:|---:|");
    for hot in cache.hot_keys(TOLD) {
        let key = u64::from_le_bytes(hot.key[..].try_into()?);
        println!("| {key} | {} | {:.0} | ± {:.0} |", counts[&key], hot.reads, hot.reads_error);
    }
    Ok(())
}
