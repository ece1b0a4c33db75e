//! The program `bytecache-tools`.

use std::process::ExitCode;

fn main() -> ExitCode {
    bytecache_tools::run(std::env::args_os().skip(1))
}
