//! The metrics of a cache: a scrape by Prometheus, and the facade `metrics`.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[cfg(feature = "metrics")]
mod facade;
#[cfg(feature = "prometheus")]
mod scrape;
