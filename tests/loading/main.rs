//! Loads: leaders and followers, the rules of a loader, and every combination of outcomes.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod batches;
mod calls;
mod errors;
mod flights;
mod leases;
mod loader;
mod spawned;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod thread_batches;
