//! What services see of a cache: a scrape by Prometheus, the facade `metrics`.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

#[cfg(feature = "metrics")]
mod facade;
#[cfg(feature = "prometheus")]
mod scrape;
