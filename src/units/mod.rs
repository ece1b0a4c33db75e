//! The numbers that cross module borders, each in a type of its own.
//!
//! A location and an entry id are both `u32`. Mixing them up would read the bytes of another entry,
//! so the types keep them apart. The types convert between forms of a number, keep sets of stamps,
//! and compare and add ticks that wrap around.
//!
//! # Not here
//!
//! The meaning of the numbers: `expiry/` for stamps and ticks, `ring/` and `index/` for locations
//! and ids.

mod entry_id;
mod location;
mod stamps;
mod tick;

pub use entry_id::EntryId;
pub(crate) use entry_id::{ID_BITS, LANES, MAX_IDS, MAX_LOAD_PERCENT, MAX_VISITS, VISIT_BITS, max_entries};
pub(crate) use location::{LOCATION_UNIT, Location, MAX_ARENA_BYTES};
pub(crate) use stamps::{ARRIVING, LEAVING, Stamp, StampSet, Stamps};
pub(crate) use tick::{Tick, is_later};

/// Converts a number that fits 32 bits, such as an id, a chunk or a charge.
#[inline]
pub(crate) fn to_u32(number: usize) -> u32 {
    debug_assert!(u32::try_from(number).is_ok());
    #[allow(clippy::cast_possible_truncation, reason = "the caller's duty")]
    {
        number as u32
    }
}
