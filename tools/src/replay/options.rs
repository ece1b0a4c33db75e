//! The options of the command `replay`.

use std::ffi::OsString;
use std::path::PathBuf;

use bytecache::Policy;
use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;

use crate::command_line::{Asked, MAX_THREADS};
use crate::trace::format::Format;
use crate::values::{self, count_up_to};

const USAGE: &str = "\
Replays request traces through a cache and prints a table for each.

Usage: bytecache-tools replay [OPTIONS] [TRACE]...

A TRACE is named by its format, and may be compressed (.zst):
  .trc                   records of 16 bytes: u64 key, u32 size, u32 time to live
  .csv                   lines key,size[,ttl], or the seven columns of Twitter's clusters
  .oracleGeneral, .bin   libCacheSim's records of 24 bytes
Without a TRACE a generated mixture is replayed.

Options:
      --format FORMAT    what the traces are, whatever their names:
                         trc, csv, twitter or oracleGeneral
      --max-bytes BYTES  memory of the cache, e.g. 500K, 64M or 2G
                         (default: a tenth of the bytes of all distinct keys
                         and their values, at most 1G, at least 64K a shard)
      --policy NAME,...  policies to compare (default: all; repeatable)
      --shards COUNT     shards of the cache, a power of two (default: 1)
      --threads COUNT    threads that share the requests (default: 1)
      --requests COUNT   length of the generated mixture (default: 2000000)
      --seed NUMBER      seed of the mixture and of the cache's hash (default: 1)
      --csv FILE         writes the rows to FILE as well
  -h, --help             prints this
";

/// The traces to replay, and the settings of the replay.
#[derive(Debug)]
pub(crate) struct Options {
    /// Files to replay. The generated mixture is replayed if it is empty.
    pub(crate) traces: Vec<PathBuf>,
    /// The format of all traces, or `None` if their names tell it.
    pub(crate) format: Option<Format>,
    /// Memory of the cache in bytes, or `None` for the default.
    pub(crate) max_bytes: Option<usize>,
    /// Policies, in the order of the table.
    pub(crate) policies: Vec<Policy>,
    /// Shards of the cache.
    pub(crate) shards: usize,
    /// Threads that share the requests.
    pub(crate) threads: usize,
    /// Length of the generated mixture.
    pub(crate) requests: usize,
    /// Seed of the mixture and of the hash.
    pub(crate) seed: u64,
    /// File to which the rows are written as CSV.
    pub(crate) csv: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            traces: Vec::new(),
            format: None,
            max_bytes: None,
            policies: Vec::new(),
            shards: 1,
            threads: 1,
            requests: 2_000_000,
            seed: 1,
            csv: None,
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
            Long("max-bytes") => options.max_bytes = Some(parser.value()?.parse_with(values::bytes)?),
            Long("policy") => options.policies.extend(parser.value()?.parse_with(values::policies)?),
            Long("shards") => options.shards = parser.value()?.parse_with(|text| count_up_to(usize::MAX, text))?,
            Long("threads") => options.threads = parser.value()?.parse_with(|text| count_up_to(MAX_THREADS, text))?,
            Long("requests") => requests = Some(parser.value()?.parse_with(|text| count_up_to(1 << 32, text))?),
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("csv") => options.csv = Some(parser.value()?.into()),
            Value(trace) => options.traces.push(trace.into()),
            other => return Err(other.unexpected()),
        }
    }
    if requests.is_some() && !options.traces.is_empty() {
        return Err("--requests is for the generated mixture: a trace is replayed whole".into());
    }
    options.requests = requests.unwrap_or(options.requests);
    if options.policies.is_empty() {
        options.policies.extend(Policy::ALL);
    }
    Ok(Asked::Run(options))
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
        assert!(options.traces.is_empty());
        assert_eq!((options.shards, options.threads, options.requests), (1, 1, 2_000_000));
    }

    #[test]
    fn policies_repeat_and_are_separated_by_commas() {
        let options = options(&["--policy", "s3-fifo,lru", "a.trc", "--policy=lru"]).expect("three policies");
        assert_eq!(options.policies, [Policy::S3Fifo, Policy::Lru, Policy::Lru]);
        assert_eq!(options.traces, [PathBuf::from("a.trc")]);
    }

    #[test]
    fn bad_values_are_errors_that_name_them() {
        for (option, value) in [
            ("--policy", "mru-ish"),
            ("--threads", "0"),
            ("--threads", "1000000"),
            ("--shards", "-1"),
            ("--max-bytes", "lots"),
            ("--format", "pcap"),
            ("--seed", "x"),
            ("--requests", "0"),
        ] {
            let error = options(&[option, value]).expect_err("a bad value");
            assert!(error.contains(value), "{option}: {error}");
        }
        assert!(options(&["--nonsense"]).is_err());
        assert!(options(&["--csv"]).is_err());
    }

    #[test]
    fn a_count_of_requests_needs_the_mixture() {
        assert_eq!(options(&["--requests", "5"]).expect("the mixture").requests, 5);
        assert!(options(&["--requests", "5", "a.trc"]).expect_err("a trace").contains("--requests"));
    }
}
