//! Namespaces: keys that do not meet, invalidations, versions, limits, and a model.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod invalidation;
mod keys;
mod loads;
mod model;
mod registry;
mod seen;
