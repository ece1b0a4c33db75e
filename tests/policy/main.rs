//! Policies: compared with models, inside a cache, and when they misbehave.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod exact;
mod growth;
mod later_reads;
mod misbehaving;
mod models;
mod pure_writes;
mod suite;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/twin.rs"]
mod twin;
