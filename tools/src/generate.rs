//! The command `generate`: writes the generated mixture to a file, for programs that cannot
//! generate it themselves.

use std::error::Error;
use std::ffi::OsString;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use lexopt::Arg::{Long, Short, Value};
use lexopt::ValueExt;

use crate::command_line::{Asked, Command};
use crate::mixture;
use crate::trace::Trace;
use crate::trace::binary::write_trc;
use crate::values::count_up_to;

const USAGE: &str = "\
Writes a generated mixture of requests to a file.

Usage: bytecache-tools generate [OPTIONS] FILE

FILE ends in .trc (records of 16 bytes: u64 key, u32 size, u32 time to live,
which is 0; little-endian) or in .trc.zst (compressed). The same options give
the same file on every machine.

Options:
      --requests COUNT   length of the mixture (default: 2000000)
      --seed NUMBER      seed of the mixture (default: 1)
  -h, --help             prints this
";

/// The command `generate`.
pub(crate) const COMMAND: Command<Options> =
    Command { name: "generate", usage: || USAGE.to_owned(), parse, work: write_mixture };

/// The mixture to write, and the file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    path: PathBuf,
    is_compressed: bool,
    requests: usize,
    seed: u64,
}

/// Parses the arguments after the command.
///
/// # Errors
///
/// Returns an error for an unknown option, or for a value that its option does not accept. A file
/// name that is missing or has another ending is also an error.
fn parse(arguments: Vec<OsString>) -> Result<Asked<Options>, lexopt::Error> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let (mut path, mut requests, mut seed) = (None, 2_000_000, 1);
    while let Some(argument) = parser.next()? {
        match argument {
            Short('h') | Long("help") => return Ok(Asked::Help),
            Long("requests") => requests = parser.value()?.parse_with(|text| count_up_to(1 << 32, text))?,
            Long("seed") => seed = parser.value()?.parse()?,
            Value(file) if path.is_none() => path = Some(PathBuf::from(file)),
            other => return Err(other.unexpected()),
        }
    }
    let path = path.ok_or("a FILE is missing")?;
    let is_compressed = is_compressed(&path)
        .ok_or_else(|| format!("{}: the name ends neither in .trc nor in .trc.zst", path.display()))?;
    Ok(Asked::Run(Options { path, is_compressed, requests, seed }))
}

/// Returns `true` if a file of this name is compressed, `false` if it is not, or `None` if the name
/// has another ending.
fn is_compressed(path: &Path) -> Option<bool> {
    let name = path.file_name()?.to_str()?;
    if name.ends_with(".trc") { Some(false) } else { name.ends_with(".trc.zst").then_some(true) }
}

fn write_mixture(options: &Options) -> Result<(), Box<dyn Error>> {
    let trace = mixture::generate(options.requests, options.seed);
    write(options, &trace).map_err(|error| format!("{}: {error}", options.path.display()).into())
}

fn write(options: &Options, trace: &Trace) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(&options.path)?);
    if options.is_compressed {
        let mut compressed = zstd::Encoder::new(&mut file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
        write_trc(&mut compressed, trace)?;
        compressed.finish()?;
        std::io::Write::flush(&mut file)
    } else {
        write_trc(&mut file, trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Result<Options, String> {
        parse(arguments.iter().map(OsString::from).collect()).map_err(|error| error.to_string())?.options()
    }

    #[test]
    fn the_name_of_the_file_decides_whether_it_is_compressed() {
        let defaults = Options { path: "a.trc".into(), is_compressed: false, requests: 2_000_000, seed: 1 };
        assert_eq!(options(&["a.trc"]), Ok(defaults));
        let compressed = Options { path: "b/a.trc.zst".into(), is_compressed: true, requests: 5, seed: 7 };
        assert_eq!(options(&["--requests", "5", "b/a.trc.zst", "--seed=7"]), Ok(compressed));
    }

    #[test]
    fn bad_arguments_are_errors_that_name_them() {
        for (arguments, named) in [
            (&[][..], "FILE"),
            (&["a.csv"], "a.csv"),
            (&["a.zst"], "a.zst"),
            (&["a.trc", "b.trc"], "b.trc"),
            (&["a.trc", "--requests=0"], "0"),
            (&["a.trc", "--seed=x"], "x"),
            (&["--nonsense"], "--nonsense"),
        ] {
            let error = options(arguments).expect_err(named);
            assert!(error.contains(named), "{arguments:?}: {error}");
        }
    }
}
