//! Deadlines: at their borders, against a model, and how late they may be.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod deadlines;
mod lateness;
mod model;
#[path = "../support/mod.rs"]
mod support;
