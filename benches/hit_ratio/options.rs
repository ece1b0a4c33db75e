//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use bytecache::Policy;
use lexopt::Arg::{Long, Short};
use lexopt::ValueExt;

use crate::references;

const USAGE: &str = "\
Simulates policies and compares what they miss with groundtruth.csv.

Usage: cargo bench --bench hit_ratio -- [OPTIONS]

Options:
      --trace NAME,...   traces (default: all; repeatable)
      --policy NAME,...  policies, with parameters maybe: \"lru,clock(chances=3)\"
                         (default: all, and those parameters that a reference
                         has; repeatable)
      --csv FILE         writes the ratios to FILE, as groundtruth.csv has them
      --test             the shortest trace only
  -h, --help             prints this
";

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// To be told about the options.
    Help,
    /// A comparison.
    Compare(Options),
}

/// What to compare.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// None means all.
    pub(crate) traces: Vec<String>,
    /// In the order of the tables.
    pub(crate) policies: Vec<Policy>,
    pub(crate) csv: Option<PathBuf>,
    /// To see that everything works.
    pub(crate) is_smoke: bool,
}

/// What `--help` prints.
pub(crate) fn usage() -> String {
    let policies: Vec<_> = Policy::ALL.iter().map(ToString::to_string).collect();
    format!("{USAGE}\nPolicies: {}\n", policies.join(", "))
}

/// Reads the arguments after the program's name.
///
/// # Errors
///
/// An unknown option, or a value that its option does not take.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut options = Options::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Command::Help),
            // Cargo passes it to every bench.
            Long("bench") => {}
            Long("test") => options.is_smoke = true,
            Long("trace") => options.traces.extend(parser.value()?.string()?.split(',').map(str::to_owned)),
            Long("policy") => options.policies.extend(parser.value()?.parse_with(parse_policies)?),
            Long("csv") => options.csv = Some(parser.value()?.into()),
            other => return Err(other.unexpected()),
        }
    }
    if options.policies.is_empty() {
        options.policies = references::policies();
    }
    Ok(Command::Compare(options))
}

/// Names between commas; those inside brackets stand between parameters.
fn parse_policies(text: &str) -> Result<Vec<Policy>, bytecache::Error> {
    let mut is_inside = false;
    let names = text.split(|letter| {
        is_inside = (is_inside || letter == '(') && letter != ')';
        letter == ',' && !is_inside
    });
    names.map(Policy::from_str).collect()
}
