//! The advisor: another policy and other sizes, simulated on the traffic of a running cache.
//!
//! ```text
//!   shard   hash below the threshold? --yes--> event        event.rs  queue.rs
//!                                               |
//!   Sampler                                     v            sampler.rs  window.rs
//!     Engine   Keys: one slot for each sampled key           engine.rs  keys.rs  awaited.rs
//!              Threshold: of the hashes that are sampled     threshold.rs
//!              Limit: on the memory of policies              limit.rs
//!              Shadows: a policy at some size, for each row  shadow.rs
//!              Tally: sums, in groups of keys                tally.rs
//!              Ages: of entries at eviction, and at a hit    ages.rs
//!                                               |
//!   Advice <--------- estimate.rs --------------+            advice.rs
//!
//!   read with a turn? --yes--> Batch --> HotKeys --> HotKey  turns.rs  hot_keys.rs
//!                              last --> HitCharges --> Advice charges.rs
//! ```
//!
//! A sample of the keys behaves in a share of the memory as all keys do in the whole. That is
//! SHARDS (Waldspurger et al., Efficient MRC Construction with SHARDS, FAST 2015). For policies
//! that are no stacks, it is miniature simulation (Waldspurger et al., Cache Modeling and
//! Optimization using Miniature Simulations, ATC 2017).
//!
//! # Invariants
//!
//! 1. A read of a key that is not sampled costs two comparisons, and the count of the thread's
//!    reads.
//! 2. The memory of the advisor is within [`Advisor::bytes_in`], which is part of the cache's
//!    overhead.
//! 3. No thread waits for the advisor, except callers of [`Cache::advice`](crate::Cache::advice),
//!    of [`hot_keys`](crate::Cache::hot_keys) and of [`ages`](crate::Cache::ages).

mod advice;
mod ages;
mod awaited;
mod charges;
mod config;
mod engine;
mod estimate;
mod event;
mod hot_keys;
mod keys;
mod limit;
mod queue;
mod sampler;
mod shadow;
mod tally;
mod threshold;
mod turns;
mod window;

pub use advice::{Advice, AdvisedRow};
pub use ages::{AgeHistogram, Ages};
pub use config::Advisor;
pub(crate) use config::PresentPolicy;
pub(crate) use event::{Ends, Event, EventKind};
pub use hot_keys::HotKey;
#[cfg(any(feature = "metrics", feature = "prometheus"))]
pub(crate) use sampler::AdvisorCounts;
pub(crate) use sampler::{Sampler, Sampling};
pub(crate) use turns::{begin_turns, count_read, end_batch, note_turn};
