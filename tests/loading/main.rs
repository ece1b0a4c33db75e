//! Loads: who leads and who follows, what the rules of a loader say, and every combination.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod flights;
mod loader;
#[path = "../support/mod.rs"]
mod support;
mod table;
