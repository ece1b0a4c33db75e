//! The command line: runs a command, and reports its failure.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | the command did its work |
//! | 1 | it failed: a file cannot be read or written, or a cache cannot be built |
//! | 2 | the arguments are wrong |

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::{generate, hit_ratio, replay, simulate};

const PROGRAM: &str = env!("CARGO_PKG_NAME");

const USAGE: &str = "\
Tools for caches: which policy, and how much memory, suits a stream of requests?

Usage: bytecache-tools COMMAND [OPTIONS]

Commands:
  replay       replays traces through a real cache: misses, speed, memory
  simulate     simulates policies at many capacities: miss ratios, curves
  hit-ratio    compares the policies with published implementations
  generate     writes a generated trace to a file

Options:
  -V, --version    prints the version
  -h, --help       prints this, or after a COMMAND its options

Each command but generate works without a trace, on a generated mixture.
";

/// Greatest accepted number of threads. More are probably a typing mistake.
pub(crate) const MAX_THREADS: usize = 1024;

/// The meaning of a command's arguments.
#[derive(Debug)]
pub(crate) enum Asked<T> {
    /// Print the help text.
    Help,
    /// Run the command with these options.
    Run(T),
}

#[cfg(test)]
impl<T> Asked<T> {
    /// Returns the options, or the word "help" as an error.
    pub(crate) fn options(self) -> Result<T, String> {
        match self {
            Self::Run(options) => Ok(options),
            Self::Help => Err("help".to_owned()),
        }
    }
}

/// A command: its name, its help text, the parser of its arguments, and its work.
pub(crate) struct Command<T> {
    pub(crate) name: &'static str,
    pub(crate) usage: fn() -> String,
    pub(crate) parse: fn(Vec<OsString>) -> Result<Asked<T>, lexopt::Error>,
    pub(crate) work: fn(&T) -> Result<(), Box<dyn Error>>,
}

/// The reason why the program fails.
#[derive(Debug)]
enum Failure {
    /// Wrong arguments, and the name of the command that they belong to.
    Arguments(String, Option<&'static str>),
    /// An error during the work of a command.
    Work(Box<dyn Error>),
}

impl<T> Command<T> {
    fn run(&self, arguments: Vec<OsString>) -> Result<(), Failure> {
        match (self.parse)(arguments) {
            Ok(Asked::Help) => print(&(self.usage)()),
            Ok(Asked::Run(options)) => (self.work)(&options).map_err(Failure::Work),
            Err(error) => Err(Failure::Arguments(error.to_string(), Some(self.name))),
        }
    }
}

/// Runs the command that the arguments name. The program's name is not among them. Reports a
/// failure on standard error.
///
/// Returns the exit code of the process: 2 for wrong arguments, 1 for any other failure.
///
/// The command `replay` measures the memory of the process. So it has to run before a second thread
/// starts.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match dispatch(arguments.into_iter().collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Arguments(error, command)) => {
            let command = command.map_or(String::new(), |name| format!(" {name}"));
            eprintln!("{PROGRAM}{command}: {error}\nTry {PROGRAM}{command} --help.");
            ExitCode::from(2)
        }
        Err(Failure::Work(error)) => {
            eprintln!("{PROGRAM}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(mut arguments: Vec<OsString>) -> Result<(), Failure> {
    if arguments.is_empty() {
        return Err(Failure::Arguments("a command is missing".to_owned(), None));
    }
    let command = arguments.remove(0);
    match command.to_str() {
        Some("replay") => replay::COMMAND.run(arguments),
        Some("simulate") => simulate::COMMAND.run(arguments),
        Some("hit-ratio") => hit_ratio::COMMAND.run(arguments),
        Some("generate") => generate::COMMAND.run(arguments),
        Some("-h" | "--help") => print(USAGE),
        Some("-V" | "--version") => print(concat!("bytecache-tools ", env!("CARGO_PKG_VERSION"), "\n")),
        _ => Err(Failure::Arguments(format!("`{}` is no command", command.to_string_lossy()), None)),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Work(error.into()))
}
