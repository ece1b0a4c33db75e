//! The cache as its callers see it: types, configuration, the ends of every range, listeners,
//! iteration, and random operations.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod changes;
mod configuration;
mod edges;
mod failed_writes;
mod iteration;
mod listeners;
mod model;
mod removal;
#[path = "../support/mod.rs"]
mod support;
mod traits;
