//! The options of the command `hit-ratio`.

use std::ffi::OsString;
use std::path::PathBuf;

use bytecache::Policy;
use lexopt::Arg::{Long, Short};
use lexopt::ValueExt;

use super::references;
use crate::command_line::Asked;
use crate::values;

const USAGE: &str = "\
Simulates policies and compares what they miss with groundtruth.csv.

Usage: bytecache-tools hit-ratio [OPTIONS]

The environment variable BYTECACHE_TRACES names the folder of traces, NAME.trc.zst,
and of groundtruth.csv. Without it a generated trace is used.

Options:
      --trace NAME,...   traces (default: all; repeatable)
      --policy NAME,...  policies, also with parameters: \"lru,clock(chances=3)\"
                         (default: all, and those parameters that a reference
                         has; repeatable)
      --csv FILE         writes the ratios to FILE, as groundtruth.csv has them
  -h, --help             prints this
";

/// The traces and the policies to compare.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// Names of traces. All traces are compared if it is empty.
    pub(crate) traces: Vec<String>,
    /// Policies in the order of the tables.
    pub(crate) policies: Vec<Policy>,
    pub(crate) csv: Option<PathBuf>,
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
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Asked::Help),
            Long("trace") => options.traces.extend(parser.value()?.string()?.split(',').map(str::to_owned)),
            Long("policy") => options.policies.extend(parser.value()?.parse_with(values::policies)?),
            Long("csv") => options.csv = Some(parser.value()?.into()),
            other => return Err(other.unexpected()),
        }
    }
    if options.policies.is_empty() {
        options.policies = references::policies();
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
    fn nothing_means_every_policy_and_its_references_parameters() {
        let options = options(&[]).expect("defaults");
        assert_eq!(options.policies, references::policies());
        assert!(Policy::ALL.iter().all(|policy| options.policies.contains(policy)));
        assert!(options.traces.is_empty() && options.csv.is_none());
    }

    #[test]
    fn lists_repeat_and_bad_values_are_named() {
        let lists = options(&["--trace=a,b", "--trace", "c", "--policy", "lru,clock(chances=3)"]).expect("lists");
        assert_eq!(lists.traces, ["a", "b", "c"]);
        assert_eq!(lists.policies.iter().map(ToString::to_string).collect::<Vec<_>>(), ["lru", "clock(chances=3)"]);
        for arguments in [&["--policy=mru-ish"][..], &["mru-ish"], &["--mru-ish"]] {
            assert!(options(arguments).expect_err("a bad value").contains("mru-ish"), "{arguments:?}");
        }
    }
}
