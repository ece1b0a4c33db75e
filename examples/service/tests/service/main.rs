//! The service as processes, on a PostgreSQL: `./check` runs these tests.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod answers;
mod changes;
mod faults;
mod load;
mod support;
