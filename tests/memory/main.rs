//! Memory: the limit, entries of every size, and the size that a number of entries needs.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod bounded;
mod growth;
mod limit;
mod resizing;
mod resizing_edges;
mod sizes;
mod sizing;
#[path = "../support/mod.rs"]
mod support;
