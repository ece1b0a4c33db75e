//! The switch between the real primitives, loom's, and those that unit tests observe.
//!
//! Words that threads share go through these names. So the models in `loom/` run the code that
//! ships, and `shared_lines.rs` counts its writes. There are four exceptions:
//!
//! * an entry's first word and its stamps, which lie in raw memory (`ring/arena.rs`). Models
//!   replace them by loom's atomics (`ring/shadow.rs`);
//! * `State` (`reclaim/slots.rs`), which only the owner of its record accesses;
//! * the time of a `ManualClock` (`clock.rs`), which no model uses;
//! * words inside dependencies and inside `Arc`.
//!
//! | build | atomics | locks |
//! |---|---|---|
//! | any but these two | the standard library's | `parking_lot`'s |
//! | unit tests | the same, with a witness that takes no space | the same, noting each locking |
//! | `bytecache_loom` | loom's, with a witness that makes them take turns | loom's |

#[cfg(bytecache_loom)]
mod modelled;
#[cfg(not(bytecache_loom))]
mod real;
#[cfg(all(test, not(bytecache_loom)))]
pub(crate) mod recording;
#[cfg(any(test, bytecache_loom))]
mod witnessed;

#[cfg(bytecache_loom)]
pub(crate) use modelled::*;
#[cfg(not(bytecache_loom))]
pub(crate) use real::*;
