//! When entries die: lifetimes, the stamps that record them, a shard's time, and the wheel that gives space back.
//!
//! ```text
//!   Lifetime --Rules::schedule--> stamps in the entry's header        read by whoever finds the entry    rules.rs
//!   (insert)                  +-> a tick in the wheel             asked by the next writer           wheel.rs
//! ```
//!
//! An entry's header holds the moment of its *removal* (`Stamp::Removal`), or the one at which it will have been idle
//! for too long (`Stamp::Idle`), or both: the earlier one counts. Its *deadline*, from which on reads miss it, is that
//! moment less the stale period.
//!
//! # Invariants
//!
//! 1. A shard's time has *reached* a tick when every entry whose removal lies before it has been taken out.
//! 2. No resident's removal lies more than [`HORIZON`] ticks beyond what the shard's time has reached, nor before that.
//!    So 32 bits of a tick are enough to know it, however far apart the clock's readings are.
//! 3. The words [`NEVER`], [`CLAIMED`], `ARRIVING` and `LEAVING` are not the low half of any tick that is stored.
//! 4. An idle stamp only moves ahead, but that the holder of the shard's lock may make it `NEVER`, or, once its tick has
//!    passed, `CLAIMED`.
//!
//! # Synchronization
//!
//! A reader loads what the time has reached (Acquire) before it looks for an entry; a writer stores it (Release) after
//! it has taken entries out. So a reader that sees a later time does not find what was taken out before, and invariant 2
//! holds for all that it finds. See `docs/internals/ordering.rs`.
//!
//! # Not here
//!
//! Bytes, buckets and locks: `shard/expire.rs` joins this room with the others.

mod lifetime;
mod rules;
mod time;
mod wheel;

pub use lifetime::{Lifetime, Remaining};
pub(crate) use rules::{Freshness, PERSISTENT, Rules, Schedule};
pub(crate) use time::{Now, ShardTime};
pub(crate) use wheel::Wheel;

/// The farthest that a removal may lie ahead, in ticks: two years and two weeks. The rest of 32 bits, 50 days, is how long
/// a reader may be put aside between two instructions before it takes a fresh entry for an expired one.
pub(crate) const HORIZON: u32 = u32::MAX - (1 << 28);

/// The longest time to idle, stale period and time to refresh, in ticks: half a year. So an idle deadline with its stale
/// period is within the horizon although what the time has reached lies a year behind.
const PERIOD_MAX: u32 = HORIZON / 4;

/// In a stamp: at no time.
const NEVER: u32 = u32::MAX;

/// In an idle stamp: the entry has expired, and is being taken out.
pub(crate) const CLAIMED: u32 = u32::MAX - 1;
