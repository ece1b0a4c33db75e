//! Loads: leaders and followers, the rules of a loader, and every combination of outcomes.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod errors;
mod flights;
mod leases;
mod loader;
#[path = "../support/mod.rs"]
mod support;
mod table;
