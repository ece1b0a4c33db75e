//! The parts that policies are made of: queues, lists and a heap of ids, memories of evicted keys,
//! and counts.
//!
//! | structure | holds | bytes for each id | a change costs |
//! |---|---|---|---|
//! | [`OneList`], [`Lists`], [`List`] | ids in any order, removable from the middle | 8, 10 with charges | O(1) |
//! | [`Queues`] | ids in the order in which they came | 3.6 for each entry | O(1) amortised |
//! | [`Heap`] | ids by priority | 20 | O(log n) |
//! | [`IdSet`] | a set of ids | 1/8 | O(1) |
//! | [`IdWords`] | a word for each id | 4 | O(1) |
//! | [`Charges`] | the charge and the queue of each id | 2 | O(1) |
//! | [`GhostQueues`] | evicted keys in exact queues, with their charges | 14.4 for each ghost | O(1) amortised |
//! | [`GhostSets`] | evicted keys, about in their order | 2 for each ghost | O(1), one cache line |
//! | [`Sketch`] | about how often a key was seen lately | half a byte for each counter | O(1) |
//!
//! Each is resized without a copy of all of it, and those that hold ids follow a
//! [`rename`](crate::policy::EvictionPolicy::rename). [`Queues`] look for the ids first. What is
//! found by a hash is moved in steps, in the order of the hashes (`hash_order.rs`).
//!
//! Up to four queues, lists or ghost queues share the memory of one structure. A [`QueueId`] names
//! them.

mod charges;
mod free_blocks;
mod ghost_index;
mod ghost_pool;
mod ghost_queues;
mod ghost_sets;
mod hash_order;
mod heap;
mod id_set;
mod id_words;
mod lists;
mod parts;
mod queue_id;
mod queues;
mod sketch;

pub(crate) use charges::Charges;
pub(crate) use ghost_queues::GhostQueues;
pub(crate) use ghost_sets::GhostSets;
pub(crate) use heap::Heap;
pub(crate) use id_set::IdSet;
pub(crate) use id_words::IdWords;
pub(crate) use lists::{Links, List, Lists, OneList};
pub(crate) use queue_id::QueueId;
pub(crate) use queues::{Queued, Queues};
pub(crate) use sketch::Sketch;

/// Entries or ghosts that a call moves or forgets at most because the capacity has become smaller.
/// The limit that they exceed follows the capacity in as many calls as it takes.
pub(crate) const SURPLUS_AT_ONCE: usize = 256;
