//! The end of entries: lifetimes, the stamps that record them, the time of a shard, and the timing
//! wheel.
//!
//! ```text
//!   Lifetime --Rules::schedule--> stamps in the entry's header   read by readers       rules.rs
//!   (insert)                  +-> a tick in the wheel            asked by each write   wheel.rs
//! ```
//!
//! Stamps record when an entry is removed: its *removal*. A removal is a tick. An entry has a
//! removal for its time to live (`Stamp::Removal`), one for its time to idle (`Stamp::Idle`), or
//! both. The earlier one counts. The *deadline* of an entry is its removal less its stale period.
//! Reads miss the entry from its deadline on.
//!
//! # Invariants
//!
//! 1. A shard's time has *reached* a tick once every entry with an earlier removal has been taken
//!    out.
//! 2. The removal of a resident is at most [`HORIZON`] ticks after the tick that the shard's time
//!    has reached, and not before it. So the low 32 bits of a removal identify it, whatever the
//!    distance between two readings of the clock.
//! 3. The words [`NEVER`], [`CLAIMED`], `ARRIVING` and `LEAVING` are not the low half of any tick
//!    that is stored.
//! 4. An idle stamp only moves to later ticks, with two exceptions. The holder of the shard's lock
//!    may set it to `NEVER`. It may set it to `CLAIMED` once the tick of the stamp has passed.
//!
//! # Synchronization
//!
//! A reader loads the tick that the time has reached (Acquire) before it looks for an entry. A
//! writer stores that tick (Release) after it has taken entries out. So a reader that sees a later
//! tick does not find the entries that were taken out before it. Invariant 2 holds for every entry
//! that the reader finds. See `docs/internals/ordering.rs`.
//!
//! # Not here
//!
//! Bytes, buckets and locks: `shard/expire.rs` connects this folder with the others.

mod left;
mod lifetime;
mod rules;
mod time;
mod wheel;

pub(crate) use left::{HasExpired, TimesLeft};
pub use lifetime::{Lifetime, Remaining};
pub(crate) use rules::{Freshness, PERSISTENT, Rules, Schedule};
pub(crate) use time::{Now, ShardTime};
pub(crate) use wheel::Wheel;

/// The farthest that a removal may be ahead, in ticks: two years and two weeks.
///
/// The rest of 32 bits is 50 days. A reader that is preempted for longer, between two instructions,
/// could take a fresh entry for an expired one.
pub(crate) const HORIZON: u32 = u32::MAX - (1 << 28);

/// The longest time to idle, stale period and time to refresh, in ticks: half a year.
///
/// So an idle deadline with its stale period is within the horizon. That holds even if the shard's
/// time has only reached a tick that is a year behind.
const PERIOD_MAX: u32 = HORIZON / 4;

/// The value of a stamp for an event that never comes.
const NEVER: u32 = u32::MAX;

/// The value of an idle stamp for an entry that has expired and is being taken out.
pub(crate) const CLAIMED: u32 = u32::MAX - 1;
