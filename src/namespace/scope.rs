//! [`Scope`]: one version of a namespace.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use super::prefix::{Prefix, StoredKey};
use crate::removal::Listener;
use crate::stats::{LoadCounts, ReadCounts, Stats};
use crate::sync::Mutex;

/// A counter of writes to a namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) enum WriteCount {
    Inserts,
    Updates,
    Removals,
    Evictions,
    Expirations,
    NoSpace,
    Invalidations,
    Undecodable,
    Unencodable,
}

const WRITE_COUNTS: usize = WriteCount::Unencodable as usize + 1;

/// One version of a namespace. All handles of it share this.
///
/// The fields that each read needs come first, those that only writes change last.
#[repr(C)]
pub(crate) struct Scope {
    prefix: AtomicU64,
    pub(crate) counts: ReadCounts,
    name: Box<str>,
    version: u32,
    /// There is a listener.
    is_listened_to: AtomicBool,
    listener: Mutex<Option<Listener>>,
    pub(crate) loads: LoadCounts,
    writes: [AtomicU64; WRITE_COUNTS],
}

impl Scope {
    pub(super) fn new(slot: u8, name: &str, version: u32, stripes: usize) -> Self {
        Self {
            prefix: AtomicU64::new(Prefix::new(slot, 0).bits()),
            counts: ReadCounts::new(stripes),
            name: name.into(),
            version,
            is_listened_to: AtomicBool::new(false),
            listener: Mutex::new(None),
            loads: LoadCounts::new(),
            writes: core::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Returns the bytes that a scope allocates, with its reference counts.
    pub(super) fn footprint(name: &str, stripes: usize) -> usize {
        size_of::<Self>() + 2 * size_of::<usize>() + ReadCounts::footprint(stripes) + name.len()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn version(&self) -> u32 {
        self.version
    }

    /// Returns the prefix of keys that are read or stored at this time.
    #[inline]
    pub(crate) fn prefix(&self) -> Prefix {
        // Acquire: pairs with the Release of `next_generation`.
        Prefix::from_bits(self.prefix.load(Ordering::Acquire))
    }

    /// Returns the stored key of a key that is read or stored at this time.
    #[inline]
    pub(crate) fn stored_key(&self, key: &[u8]) -> StoredKey<'static> {
        StoredKey::scoped(self.prefix(), key)
    }

    /// Begins the next generation: all entries of this one are outdated.
    pub(super) fn next_generation(&self, slot: u8) {
        let next = |bits| Some(Prefix::new(slot, Prefix::from_bits(bits).generation() + 1).bits());
        // Release: pairs with the Acquire of `prefix`. Ends: a failure means that another thread
        // has begun a generation. Always `Ok`, as `next` never returns `None`.
        let _ = self.prefix.fetch_update(Ordering::Release, Ordering::Relaxed, next);
        self.count(WriteCount::Invalidations);
    }

    /// Begins a generation, unless that of the scope is later.
    pub(super) fn advance_to(&self, slot: u8, generation: u64) {
        // Release: pairs with the Acquire of `prefix`. Of two prefixes of a slot, that of the later
        // generation is the larger word.
        self.prefix.fetch_max(Prefix::new(slot, generation).bits(), Ordering::Release);
    }

    #[inline]
    pub(super) fn is_listened_to(&self) -> bool {
        self.is_listened_to.load(Ordering::Relaxed) // The listener is behind its lock.
    }

    /// Returns the listener.
    pub(super) fn listener(&self) -> Option<Listener> {
        self.listener.lock().as_ref().map(Arc::clone)
    }

    /// Sets the listener, in place of an earlier one.
    pub(super) fn set_listener(&self, listener: Listener) {
        // The former one is dropped after the unlock, as it may own anything.
        let former = self.listener.lock().replace(listener);
        self.is_listened_to.store(true, Ordering::Relaxed); // See `is_listened_to`.
        drop(former);
    }

    /// Adds one to a counter.
    pub(crate) fn count(&self, count: WriteCount) {
        self.writes[count as usize].fetch_add(1, Ordering::Relaxed); // A counter.
    }

    /// Adds all counters to `stats`.
    pub(crate) fn add_to(&self, stats: &mut Stats) {
        let writes = |count: WriteCount| self.writes[count as usize].load(Ordering::Relaxed); // A counter.
        stats.inserts += writes(WriteCount::Inserts);
        stats.updates += writes(WriteCount::Updates);
        stats.removals += writes(WriteCount::Removals);
        stats.evictions += writes(WriteCount::Evictions);
        stats.expirations += writes(WriteCount::Expirations);
        stats.rejected_no_space += writes(WriteCount::NoSpace);
        self.add_beside_shards(stats);
    }

    /// Adds the counters that the shards do not have.
    pub(crate) fn add_beside_shards(&self, stats: &mut Stats) {
        let writes = |count: WriteCount| self.writes[count as usize].load(Ordering::Relaxed); // A counter.
        stats.invalidations += writes(WriteCount::Invalidations);
        stats.undecodable += writes(WriteCount::Undecodable);
        stats.unencodable += writes(WriteCount::Unencodable);
        self.counts.add_to(stats);
        self.loads.add_to(stats);
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}
