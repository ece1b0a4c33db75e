//! The advisor: another policy and other sizes, simulated on the traffic of a running cache.
//!
//! ```text
//!   shard   hash below the threshold? --yes--> event        event.rs  queue.rs
//!                                               |
//!   Sampler                                     v            sampler.rs  window.rs
//!     Engine   Keys: one slot for each sampled key           engine.rs  keys.rs  awaited.rs
//!              Limit: on the memory of policies              limit.rs
//!              Shadows: a policy at some size, for each row  shadow.rs
//!              Tally: sums, in groups of keys                tally.rs
//!                                               |
//!   Advice <--------- estimate.rs --------------+            advice.rs
//! ```
//!
//! A sample of the keys behaves in a share of the memory as all keys do in the whole. That is
//! SHARDS (Waldspurger et al., Efficient MRC Construction with SHARDS, FAST 2015). For policies
//! that are no stacks, it is miniature simulation (Waldspurger et al., Cache Modeling and
//! Optimization using Miniature Simulations, ATC 2017).
//!
//! # Invariants
//!
//! 1. A read of a key that is not sampled costs one comparison.
//! 2. The memory of the advisor is within [`Advisor::bytes_in`], which is part of the cache's
//!    overhead.
//! 3. No thread waits for the advisor, except callers of [`Cache::advice`](crate::Cache::advice).

mod advice;
mod awaited;
mod config;
mod engine;
mod estimate;
mod event;
mod keys;
mod limit;
mod queue;
mod sampler;
mod shadow;
mod tally;
mod window;

pub use advice::{Advice, AdvisedRow};
pub use config::Advisor;
pub(crate) use config::PresentPolicy;
pub(crate) use event::{Ends, Event, EventKind};
pub(crate) use sampler::{Sampler, Sampling};
