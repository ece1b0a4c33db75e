//! How the cache works, and where it ends.
//!
//! * [`design`]: the parts, how they meet, and why they are as they are;
//! * [`expiry`]: when entries die, to the millisecond, and what that costs;
//! * [`loading`]: one load for each key, whose result is never stale, and what that costs;
//! * [`limitations`]: what it does not do, and what to do about it;
//! * [`ordering`]: what threads may conclude from each other's stores.
//! * [`policies`]: which eviction policy to choose, and how each compares with published references.

pub mod design;
pub mod expiry;
pub mod limitations;
pub mod loading;
pub mod ordering;
pub mod policies;
