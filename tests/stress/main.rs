//! Many threads on small caches. `BYTECACHE_STRESS=n` multiplies the work of some. Runs under
//! AddressSanitizer as well.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod deadlines;
mod loads;
mod readers;
mod seals;
#[path = "../support/mod.rs"]
mod support;
