//! Races bytecache against its peers, and against a floor without a policy.
//!
//! ```text
//! cargo run --release -- [--race hot,uniform,...] [--threads 1,2] [--contenders bytecache,...]
//!                        [--slice-ms 300] [--rounds 10] [--scale F] [--small-pages] [--full]
//!                        [--out DIR]
//! ```
//!
//! `--race` accepts the names of the works (`works.rs`), `scaling`, `latency`, `memory`,
//! `hit-ratio`, `lifecycle` and `growth`. `--scale 4` divides the number of keys by four. `--full`
//! runs every race but `vast`, which has 80 million entries. Without `--race` and `--full`, three
//! races of four rounds run. `scaling` chooses its threads by the number of cores, whatever
//! `--threads` says. Its parts have names as well (`scaling-writes-zipf`).
//!
//! With `--small-pages`, no contender gets huge pages, also if it asks for them. The difference to
//! a run without it is the part of pages. This is only for Linux.
//!
//! The tables go to stdout as Markdown, and progress goes to stderr. `--out` also writes the tables
//! to files, with all numbers as CSV and pictures of the races (`output.rs`). Every race runs in a
//! process of its own, so that none inherits the heap of another.

mod contenders;
mod floor;
mod growth;
mod hit_ratio;
mod idle;
mod latency;
mod lifecycle;
mod memory;
mod output;
mod plot;
mod race;
mod report;
mod resident;
mod scaling;
mod works;

use lexopt::{Arg, Parser, ValueExt};
use output::Output;
use race::Method;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use works::Work;

/// The races that run by default.
const DEFAULT_RACES: [&str; 3] = ["hot", "aside", "insert"];

/// Number of rounds, in general and in [`DEFAULT_RACES`]. The latter take less than five minutes
/// together.
const ROUNDS: usize = 10;
const DEFAULT_RACES_ROUNDS: usize = 4;

/// The measurements besides the works.
const OTHERS: [&str; 6] = [scaling::NAME, "latency", "memory", "hit-ratio", "lifecycle", "growth"];

const USAGE: &str = "usage: bytecache-compare [--race NAMES] [--threads COUNTS] [--contenders NAMES]
                         [--slice-ms N] [--rounds N] [--scale N] [--small-pages] [--full] [--out DIR]
lists are separated by commas";

struct Options {
    races: Vec<String>,
    contenders: Vec<&'static str>,
    method: Method,
    scale: usize,
    output: Output,
    has_small_pages: bool,
    /// `true` in the process of a single race, for which the files already exist.
    is_part: bool,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [cell, name, value_len, limit] = &args[..]
        && cell == memory::CELL_ARG
        && let (Ok(value_len), Ok(limit)) = (value_len.parse(), limit.parse())
    {
        memory::run_cell(name, value_len, limit);
        return ExitCode::SUCCESS;
    }
    if let [cell, name, entries] = &args[..]
        && cell == lifecycle::CELL_ARG
        && let Ok(entries) = entries.parse()
    {
        lifecycle::run_cell(name, entries);
        return ExitCode::SUCCESS;
    }
    if let [cell, name, limit] = &args[..]
        && cell == growth::CELL_ARG
        && let Ok(limit) = limit.parse()
    {
        growth::run_cell(name, limit);
        return ExitCode::SUCCESS;
    }
    if let [cell, name, limit, trace] = &args[..]
        && cell == hit_ratio::CELL_ARG
        && let Ok(limit) = limit.parse()
    {
        return match hit_ratio::run_cell(name, limit, Path::new(trace)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{trace}: {error}");
                ExitCode::FAILURE
            }
        };
    }
    match parse(Parser::from_args(args)) {
        Ok(Some(options)) => run(&options),
        Ok(None) => {
            println!("{USAGE}");
            println!("races: {} {} {}", Work::NAMES.join(" "), Work::VAST, OTHERS.join(" "));
            println!("contenders: {}", contenders::NAMES.join(" "));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the options, or `None` if help is requested.
fn parse(mut parser: Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut races = None;
    let mut contenders = contenders::DEFAULT_NAMES.to_vec();
    let (mut scale, mut output, mut has_small_pages, mut is_part) = (1, Output::default(), false, false);
    let (mut slice_ms, mut rounds, mut threads) = (300, None, vec![1, 2]);
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("race") => {
                let names = list(&mut parser)?;
                if let Some(name) = names.iter().find(|name| !is_race(name)) {
                    return Err(format!("no race is called {name}").into());
                }
                races = Some(names);
            }
            Arg::Long("contenders") => {
                contenders = list(&mut parser)?.iter().map(|name| known(name)).collect::<Result<_, _>>()?;
            }
            Arg::Long("threads") => {
                let counts = list(&mut parser)?;
                threads = counts.iter().map(|count| positive(count)).collect::<Result<_, _>>()?;
            }
            Arg::Long("slice-ms") => slice_ms = parser.value()?.parse()?,
            Arg::Long("rounds") => rounds = Some(parser.value()?.parse::<usize>()?.max(2)),
            Arg::Long("scale") => scale = parser.value()?.parse::<usize>()?.max(1),
            Arg::Long("out") => output = Output::to(parser.value()?.into()),
            Arg::Long("small-pages") => has_small_pages = true,
            Arg::Long("part") => is_part = true,
            Arg::Long("full") => {
                races = Some(Work::NAMES.into_iter().chain(OTHERS).map(String::from).collect());
            }
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    let rounds = rounds.unwrap_or(if races.is_some() { ROUNDS } else { DEFAULT_RACES_ROUNDS });
    let method = Method { slice: Duration::from_millis(slice_ms), rounds, threads };
    let races = races.unwrap_or_else(|| DEFAULT_RACES.map(String::from).to_vec());
    let races = races.into_iter().flat_map(scaling::parts).collect();
    Ok(Some(Options { races, contenders, method, scale, output, has_small_pages, is_part }))
}

fn list(parser: &mut Parser) -> Result<Vec<String>, lexopt::Error> {
    Ok(parser.value()?.string()?.split(',').map(String::from).collect())
}

fn is_race(name: &str) -> bool {
    OTHERS.contains(&name) || Work::named(name, 1).is_some() || scaling::part(name, 1).is_some()
}

fn known(name: &str) -> Result<&'static str, lexopt::Error> {
    let mut names = contenders::NAMES.into_iter();
    names.find(|&known| known == name).ok_or_else(|| format!("no contender is called {name}").into())
}

fn positive(text: &str) -> Result<usize, lexopt::Error> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("not a number of threads: {text}").into()),
    }
}

/// Returns the path of this program as it was started. Linux finds it even after a build has
/// replaced the file.
fn own_program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        return running;
    }
    std::env::current_exe().expect("the path of this program")
}

/// Runs this program with the arguments of a cell. Returns the numbers that it prints, or `None` if
/// it fails.
fn numbers_of_cell<const N: usize>(arguments: &[&str]) -> Option<[u64; N]> {
    let output = Command::new(own_program()).args(arguments).stderr(Stdio::inherit()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let numbers: Vec<u64> = text.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    numbers.try_into().ok()
}

/// Withholds huge pages from this process and from those that it starts. Returns `false` if the
/// system cannot do that.
fn renounce_huge_pages() -> bool {
    #[cfg(target_os = "linux")]
    {
        let [yes, unused]: [libc::c_ulong; 2] = [1, 0];
        // SAFETY: this request takes numbers, and changes no memory.
        unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, yes, unused, unused, unused) == 0 }
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Runs the single race of this process, or each requested race in a process of its own.
fn run(options: &Options) -> ExitCode {
    if options.is_part {
        options.races.iter().for_each(|race| run_one(race, options));
        return ExitCode::SUCCESS;
    }
    if options.has_small_pages && !renounce_huge_pages() {
        eprintln!("this system cannot withhold huge pages");
        return ExitCode::FAILURE;
    }
    if let Err(error) = options.output.begin() {
        eprintln!("the folder for results cannot be written to: {error}");
        return ExitCode::FAILURE;
    }
    for race in &options.races {
        if !run_elsewhere(race, options) {
            eprintln!("the race {race} failed");
            return ExitCode::FAILURE;
        }
    }
    if let Err(error) = plot::draw_all(&options.output) {
        eprintln!("the pictures could not be drawn: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run_one(race: &str, options: &Options) {
    let Options { contenders, method, scale, output, .. } = options;
    if let Some(work) = scaling::part(race, *scale) {
        return scaling::print_part(output, &work, contenders, method);
    }
    match Work::named(race, *scale) {
        Some(work) => {
            for (threads, scores) in race::race(&work, contenders, method) {
                report::print_race(output, &work, threads, &scores);
            }
        }
        None if race == "latency" => latency::print_all(output, contenders, method, *scale),
        None if race == "hit-ratio" => hit_ratio::print_all(output, contenders),
        None if race == "growth" => growth::print_all(output, contenders, *scale),
        None if race == "lifecycle" => lifecycle::print_all(output, contenders, *scale),
        None => memory::print_all(output, contenders, *scale),
    }
}

fn run_elsewhere(race: &str, options: &Options) -> bool {
    let threads: Vec<String> = options.method.threads.iter().map(usize::to_string).collect();
    let folder = options.output.folder().map(|folder| [OsStr::new("--out"), folder.as_os_str()]);
    let status = Command::new(own_program())
        .args(["--part", "--race", race])
        .args(folder.into_iter().flatten())
        .args(["--contenders", &options.contenders.join(",")])
        .args(["--threads", &threads.join(",")])
        .args(["--slice-ms", &options.method.slice.as_millis().to_string()])
        .args(["--rounds", &options.method.rounds.to_string()])
        .args(["--scale", &options.scale.to_string()])
        .status();
    status.is_ok_and(|status| status.success())
}
