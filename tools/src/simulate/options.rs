//! The options of the command `simulate`.

use std::ffi::OsString;
use std::num::NonZero;
use std::path::PathBuf;

use bytecache::Policy;
use bytecache::policy::Unit;
use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;

use super::capacity::{self, Capacity};
use super::picture::Picture;
use crate::command_line::{Asked, MAX_THREADS};
use crate::trace::format::Format;
use crate::values::{self, count_up_to};

const USAGE: &str = "\
Simulates policies at many capacities, and prints tables and curves of miss ratios.

Usage: bytecache-tools simulate [OPTIONS] [TRACE]...

A TRACE is named by its format, and may be compressed (.zst):
  .trc                   records of 16 bytes: u64 key, u32 size, u32 time to live
  .csv                   lines key,size[,ttl], or the seven columns of Twitter's clusters
  .oracleGeneral, .bin   libCacheSim's records of 24 bytes
Without a TRACE a generated mixture is simulated.

Options:
      --format FORMAT    what the traces are, whatever their names:
                         trc, csv, twitter or oracleGeneral
      --policy NAME,...  policies to compare, also with parameters, as in
                         \"lru,s3-fifo(small=20,visits=1)\" (default: all; repeatable)
      --capacity C,...   capacities: 1% of a trace's keys or bytes, 64M, 10000
                         (default: 0.1% to 100%; repeatable)
      --unit UNIT        what capacities count: entries or bytes
                         (default: bytes if the sizes in a trace vary)
      --picture FILE     draws the curves of all traces into FILE, .svg or .png
      --csv FILE         writes the miss ratios to FILE as well
      --threads COUNT    threads that share the work (default: one a processor)
      --requests COUNT   length of the generated mixture (default: 2000000)
      --seed NUMBER      seed of the mixture (default: 1)
  -h, --help             prints this
";

/// The traces, the policies and the capacities to simulate.
#[derive(Debug)]
pub(crate) struct Options {
    /// Files to simulate. The generated mixture is simulated if it is empty.
    pub(crate) traces: Vec<PathBuf>,
    /// The format of all traces, or `None` if their names tell it.
    pub(crate) format: Option<Format>,
    /// Policies in the order of the table, each once.
    pub(crate) policies: Vec<Policy>,
    pub(crate) capacities: Vec<Capacity>,
    /// The unit of the capacities, or `None` if each trace decides it.
    pub(crate) unit: Option<Unit>,
    pub(crate) picture: Option<Picture>,
    /// File to which the ratios are written as CSV.
    pub(crate) csv: Option<PathBuf>,
    pub(crate) threads: usize,
    /// Length of the generated mixture.
    pub(crate) requests: usize,
    /// Seed of the mixture.
    pub(crate) seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            traces: Vec::new(),
            format: None,
            policies: Vec::new(),
            capacities: Vec::new(),
            unit: None,
            picture: None,
            csv: None,
            threads: std::thread::available_parallelism().map_or(1, NonZero::get),
            requests: 2_000_000,
            seed: 1,
        }
    }
}

/// Returns the help text.
pub(crate) fn usage() -> String {
    let policies: Vec<_> = Policy::ALL.iter().map(ToString::to_string).collect();
    format!("{USAGE}\nPolicies: {}\n", policies.join(", "))
}

/// Parses the arguments after the command.
///
/// # Errors
///
/// Returns an error for an unknown option, or for a value that its option does not accept.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Asked<Options>, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = Options::default();
    let mut requests = None;
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Asked::Help),
            Long("format") => options.format = Some(parser.value()?.parse()?),
            Long("policy") => options.policies.extend(parser.value()?.parse_with(values::policies)?),
            Long("capacity") => options.capacities.extend(parser.value()?.parse_with(capacity::parse)?),
            Long("unit") => options.unit = Some(parser.value()?.parse_with(parse_unit)?),
            Long("picture") => options.picture = Some(Picture::of(parser.value()?.into())?),
            Long("csv") => options.csv = Some(parser.value()?.into()),
            Long("threads") => options.threads = parser.value()?.parse_with(|text| count_up_to(MAX_THREADS, text))?,
            Long("requests") => requests = Some(parser.value()?.parse_with(|text| count_up_to(1 << 32, text))?),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Value(trace) => options.traces.push(trace.into()),
            other => return Err(other.unexpected()),
        }
    }
    if requests.is_some() && !options.traces.is_empty() {
        return Err("--requests is for the generated mixture: a trace is simulated whole".into());
    }
    options.requests = requests.unwrap_or(options.requests);
    if options.policies.is_empty() {
        options.policies.extend(Policy::ALL);
    }
    if options.capacities.is_empty() {
        options.capacities.extend(capacity::DEFAULT);
    }
    options.policies = each_once(&options.policies);
    Ok(Asked::Run(options))
}

fn parse_unit(text: &str) -> Result<Unit, &'static str> {
    match text {
        "entries" => Ok(Unit::Entries),
        "bytes" => Ok(Unit::Bytes),
        _ => Err("neither entries nor bytes"),
    }
}

fn each_once(policies: &[Policy]) -> Vec<Policy> {
    let mut known = std::collections::HashSet::new();
    policies.iter().copied().filter(|policy| known.insert(*policy)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, String> {
        parse(arguments.iter().map(OsString::from).collect()).map_err(|error| error.to_string())?.options()
    }

    #[test]
    fn nothing_means_every_policy_on_the_mixture() {
        let options = options(&[]).expect("defaults");
        assert_eq!(options.policies, Policy::ALL);
        assert_eq!(options.capacities, capacity::DEFAULT);
        assert!(options.traces.is_empty() && options.unit.is_none() && options.picture.is_none());
        assert_eq!((options.requests, options.seed), (2_000_000, 1));
        assert!(options.threads >= 1);
    }

    #[test]
    fn lists_repeat_and_policies_come_once() {
        let arguments =
            ["--policy", "lru,s3-fifo(small=20,visits=1)", "--policy=arc,LRU", "--capacity", "1%", "--capacity=64M,9"];
        let options = options(&arguments).expect("lists");
        let names: Vec<_> = options.policies.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["lru", "s3-fifo(small=20,visits=1)", "arc"]);
        let expected = [Capacity::Percent(1.0), Capacity::Absolute(64 << 20), Capacity::Absolute(9)];
        assert_eq!(options.capacities, expected);
    }

    #[test]
    fn values_reach_their_options() {
        let arguments = ["a.trc", "--unit=entries", "--threads=3", "--seed=9", "--csv=b", "--picture=c.svg", "d.csv"];
        let options = options(&arguments).expect("values");
        assert_eq!(options.traces, [PathBuf::from("a.trc"), PathBuf::from("d.csv")]);
        assert_eq!((options.unit, options.threads, options.seed), (Some(Unit::Entries), 3, 9));
        assert_eq!(options.csv, Some(PathBuf::from("b")));
        assert_eq!(options.picture, Some(Picture::Svg("c.svg".into())));
    }

    #[test]
    fn bad_values_are_errors_that_name_them() {
        for (option, value) in [
            ("--policy", "mru-ish"),
            ("--policy", "s3-fifo(large=20)"),
            ("--policy", ""),
            ("--capacity", "lots"),
            ("--capacity", "0"),
            ("--capacity", "200%"),
            ("--unit", "blocks"),
            ("--picture", "curves.gif"),
            ("--threads", "0"),
            ("--threads", "1000000"),
            ("--format", "pcap"),
            ("--seed", "x"),
            ("--requests", "0"),
        ] {
            let error = options(&[option, value]).expect_err("a bad value");
            assert!(error.contains(value), "{option}: {error}");
        }
        for option in ["--nonsense", "--csv", "--picture", "--capacity"] {
            assert!(options(&[option]).expect_err("no value").contains(option));
        }
    }

    #[test]
    fn a_count_of_requests_needs_the_mixture() {
        assert_eq!(options(&["--requests", "5"]).expect("the mixture").requests, 5);
        assert!(options(&["--requests", "5", "a.trc"]).expect_err("a trace").contains("--requests"));
    }
}
