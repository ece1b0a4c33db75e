//! Programs for the choice of a cache: which policy, and how much memory, suits a stream of
//! requests?
//!
//! | command | question that it answers |
//! |---|---|
//! | `replay` | How does a real [`bytecache`] do on this trace: misses, speed, memory? |
//! | `simulate` | What does each policy miss at each capacity? |
//! | `hit-ratio` | How do the policies compare with published implementations? |
//! | `generate` | Which trace can I try these on? |
//!
//! README.md shows how each is called. The library contains the parts that the program and the
//! tests share:
//!
//! ```text
//!   lib            run: one command of the command line
//!   replay  simulate  hit_ratio  generate            one folder or file for each command
//!   command_line  values  amounts  progress          input and output of the commands
//!   collection  ground_truth                         traces with reference miss ratios
//!   trace  mixture                                   requests in memory, in files, and generated
//! ```

mod amounts;
pub mod collection;
mod command_line;
mod generate;
pub mod ground_truth;
mod hit_ratio;
mod mixture;
mod progress;
mod replay;
mod simulate;
mod trace;
mod values;

pub use command_line::run;
