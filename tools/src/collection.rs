//! Collections of traces, with the miss ratios of published implementations on them.
//!
//! ```text
//!   DIR/NAME.trc.zst       zstd of: | key u64 | size u32 | time to live u32 | ...   little-endian
//!   DIR/groundtruth.csv    see `ground_truth`
//! ```
//!
//! One collection is part of this package: a generated trace, with `references/groundtruth.csv`.
//! Recorded traces are in the folder that the environment variable `BYTECACHE_TRACES` names.
//! README.md says where they come from.

use std::error::Error;
use std::fs::File;
use std::path::PathBuf;

use bytecache::policy::Request;
use indicatif::ProgressBar;

use crate::ground_truth::{self, Cell};
use crate::mixture;
use crate::trace::format::{Format, load};

/// Name of the generated trace in `references/groundtruth.csv`.
const GENERATED: &str = "mixture";
/// Number of requests in the generated trace. `bytecache-tools generate` has another default.
const GENERATED_REQUESTS: usize = 100_000;
const GENERATED_SEED: u64 = 1;

/// A set of traces with reference miss ratios.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Collection {
    /// The generated trace of this package.
    Generated,
    /// The recorded traces in a folder.
    Recorded(PathBuf),
}

impl Collection {
    /// Returns the recorded traces, or `None` if `BYTECACHE_TRACES` names no folder.
    #[must_use]
    pub fn recorded() -> Option<Self> {
        std::env::var_os("BYTECACHE_TRACES").map(|folder| Self::Recorded(folder.into()))
    }

    /// Returns all cells of `groundtruth.csv`, in the order of the file.
    ///
    /// # Errors
    ///
    /// Returns an error if the file cannot be read, or if a line of it is malformed.
    pub fn cells(&self) -> Result<Vec<Cell>, Box<dyn Error>> {
        match self {
            Self::Generated => ground_truth::read(&include_bytes!("../references/groundtruth.csv")[..]),
            Self::Recorded(folder) => {
                let path = folder.join("groundtruth.csv");
                let named = |error: Box<dyn Error>| format!("{}: {error}", path.display());
                let file = File::open(&path).map_err(|error| named(error.into()))?;
                Ok(ground_truth::read(file).map_err(named)?)
            }
        }
    }

    /// Returns the requests of a trace.
    ///
    /// # Errors
    ///
    /// Returns an error if the collection has no trace of this name, or if its file cannot be read.
    pub fn requests(&self, name: &str) -> Result<Vec<Request>, Box<dyn Error>> {
        let trace = match self {
            Self::Generated if name == GENERATED => mixture::generate(GENERATED_REQUESTS, GENERATED_SEED),
            Self::Generated => return Err(format!("`{name}` is not the generated trace, `{GENERATED}`").into()),
            Self::Recorded(folder) => {
                load(&folder.join(format!("{name}.trc.zst")), Some(Format::Trc), &ProgressBar::hidden())?
            }
        };
        let request = |request: &crate::trace::Request| Request { hash: request.key, charge: request.size_bytes };
        Ok(trace.requests().iter().map(request).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generated_trace_is_the_one_that_the_references_had() {
        let collection = Collection::Generated;
        let cells = collection.cells().expect("a file of this package");
        assert_eq!(cells.len(), 6);
        for cell in cells {
            assert_eq!((cell.trace.as_str(), cell.requests), (GENERATED, GENERATED_REQUESTS as u64));
            for policy in ["fifo", "lru", "lfu", "clock", "sieve", "2q", "arc", "gdsf"] {
                assert!(cell.references.contains_key(policy), "{policy}");
            }
        }
        let requests = collection.requests(GENERATED).expect("the generated trace");
        let checksum = requests
            .iter()
            .fold(0, |sum, request| crate::trace::mix(sum ^ request.hash ^ (u64::from(request.charge) << 32)));
        assert_eq!(checksum, 857_532_834_895_290_215);
    }

    #[test]
    fn what_is_not_there_is_named() {
        assert!(Collection::Generated.requests("lirs").expect_err("one trace").to_string().contains("`lirs`"));
        let missing = Collection::Recorded("/nonexistent".into());
        let error = missing.cells().expect_err("no such folder").to_string();
        assert!(error.starts_with("/nonexistent/groundtruth.csv: "), "{error}");
        let error = missing.requests("a").expect_err("no such folder").to_string();
        assert!(error.starts_with("/nonexistent/a.trc.zst: "), "{error}");
    }
}
