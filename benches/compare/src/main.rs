//! Races bytecache against its peers, and against a floor without locks or a policy.
//!
//! ```text
//! cargo run --release -- [--race hot,uniform,...] [--threads 1,2] [--contenders bytecache,...]
//!                        [--slice-ms 300] [--rounds 10] [--scale F] [--full]
//! ```
//!
//! `--race` takes the names of the works (`works.rs`), `latency` and `memory`; `--scale 4` divides the number
//! of keys by four; `--full` runs every race. The tables go to stdout as Markdown, progress to stderr.
//! Every race runs in a process of its own, so that none inherits another's heap.

mod contenders;
mod floor;
mod latency;
mod memory;
mod race;
mod report;
mod resident;
mod works;

use lexopt::{Arg, Parser, ValueExt};
use race::Method;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;
use works::Work;

/// The races that run when none is asked for.
const DEFAULT_RACES: [&str; 4] = ["hot", "uniform", "aside", "insert"];

/// What is measured beside the works.
const OTHERS: [&str; 2] = ["latency", "memory"];

const USAGE: &str = "usage: bytecache-compare [--race NAMES] [--threads COUNTS] [--contenders NAMES]
                         [--slice-ms N] [--rounds N] [--scale N] [--full]
lists are separated by commas";

struct Options {
    races: Vec<String>,
    contenders: Vec<&'static str>,
    method: Method,
    scale: usize,
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
    match parse(Parser::from_args(args)) {
        Ok(Some(options)) => run(&options),
        Ok(None) => {
            println!("{USAGE}");
            println!("races: {} {}", Work::NAMES.join(" "), OTHERS.join(" "));
            println!("contenders: {}", contenders::NAMES.join(" "));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

/// The options, or `None` if help is asked for.
fn parse(mut parser: Parser) -> Result<Option<Options>, lexopt::Error> {
    let mut races: Vec<String> = DEFAULT_RACES.map(String::from).to_vec();
    let mut contenders = contenders::DEFAULT_NAMES.to_vec();
    let mut scale = 1;
    let mut slice_ms = 300;
    let mut method = Method { slice: Duration::ZERO, rounds: 10, threads: vec![1, 2] };
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Long("race") => {
                races = list(&mut parser)?;
                if let Some(name) = races.iter().find(|name| !is_race(name)) {
                    return Err(format!("no race is called {name}").into());
                }
            }
            Arg::Long("contenders") => {
                contenders = list(&mut parser)?.iter().map(|name| known(name)).collect::<Result<_, _>>()?;
            }
            Arg::Long("threads") => {
                let counts = list(&mut parser)?;
                method.threads = counts.iter().map(|count| positive(count)).collect::<Result<_, _>>()?;
            }
            Arg::Long("slice-ms") => slice_ms = parser.value()?.parse()?,
            Arg::Long("rounds") => method.rounds = parser.value()?.parse::<usize>()?.max(2),
            Arg::Long("scale") => scale = parser.value()?.parse::<usize>()?.max(1),
            Arg::Long("full") => {
                races = Work::NAMES.map(String::from).to_vec();
                races.extend(OTHERS.map(String::from));
            }
            Arg::Long("help") | Arg::Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    method.slice = Duration::from_millis(slice_ms);
    Ok(Some(Options { races, contenders, method, scale }))
}

fn list(parser: &mut Parser) -> Result<Vec<String>, lexopt::Error> {
    Ok(parser.value()?.string()?.split(',').map(String::from).collect())
}

fn is_race(name: &str) -> bool {
    OTHERS.contains(&name) || Work::NAMES.contains(&name)
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

/// This program, as it was started: Linux finds it even after a build has replaced the file.
fn own_program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() {
        return running;
    }
    std::env::current_exe().expect("the path of this program")
}

/// Runs the one race that is asked for, or each of several in a process of its own.
fn run(options: &Options) -> ExitCode {
    if let [race] = &options.races[..] {
        run_one(race, options);
        return ExitCode::SUCCESS;
    }
    for race in &options.races {
        if !run_elsewhere(race, options) {
            eprintln!("the race {race} failed");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run_one(race: &str, options: &Options) {
    match Work::named(race, options.scale) {
        Some(work) => race::race(&work, &options.contenders, &options.method, |threads, scores| {
            report::print_race(&work, threads, scores);
        }),
        None if race == "latency" => latency::print_all(&options.contenders, &options.method, options.scale),
        None => memory::print_all(&options.contenders, options.scale),
    }
}

fn run_elsewhere(race: &str, options: &Options) -> bool {
    let threads: Vec<String> = options.method.threads.iter().map(usize::to_string).collect();
    let status = Command::new(own_program())
        .args(["--race", race])
        .args(["--contenders", &options.contenders.join(",")])
        .args(["--threads", &threads.join(",")])
        .args(["--slice-ms", &options.method.slice.as_millis().to_string()])
        .args(["--rounds", &options.method.rounds.to_string()])
        .args(["--scale", &options.scale.to_string()])
        .status();
    status.is_ok_and(|status| status.success())
}
