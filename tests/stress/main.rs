//! Many threads on small caches. The environment variable `BYTECACHE_STRESS=n` multiplies the work
//! of some tests. The tests also run under AddressSanitizer.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod deadlines;
mod loads;
mod readers;
mod resizing;
mod seals;
#[path = "../support/mod.rs"]
mod support;
