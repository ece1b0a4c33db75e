//! Another `max_bytes` at run time.
//!
//! The shards get their new shares one after the other. They reach lower ones by themselves, in
//! steps (`shard/shrinking.rs`). Shares of the memory that shards share (counters, the places of
//! namespaces) are those of the first limit.

use super::Cache;
use super::build::shard_budget;
use crate::error::ResizeError;
use crate::shard::Shard;

/// The limit that was set last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) max_bytes: usize,
    /// The number of the call that has set it.
    pub(super) turn: u64,
}

impl Cache {
    /// Sets the limit on everything that the cache allocates, in bytes.
    ///
    /// It is at most the [ceiling](crate::CacheBuilder::max_bytes_ceiling), which by default is the
    /// limit that the cache was built with. A higher limit counts at once: entries that come in may
    /// use the memory. If some shards have not yet reached a lower limit that was set before, the
    /// others get the rest of their share as these follow it, by later writes or by
    /// [`maintain`](Self::maintain).
    ///
    /// A lower limit is reached in steps. Each write evicts at most 32 entries for it in its shard,
    /// and gives memory back to the system. A call of [`maintain`](Self::maintain) does up to 32
    /// such steps in each shard. The policy chooses the entries, unless they are in the way of
    /// chunks that are given back. Until the cache is within the new limit, [`Memory::max`] is the
    /// bound of the moment: it falls from the former limit to the new one. Chunks that a
    /// [`Value`](crate::Value) holds are given back once the value is dropped. Indexes do not
    /// shrink while the cache is being [saved](Self::save), so the limit is reached after the save.
    ///
    /// The number of shards, the size of chunks and [`max_entry_bytes`](Self::max_entry_bytes) do
    /// not change. [`docs::sizing`](crate::docs::sizing) says what else follows from the first
    /// limit. Threads may call this at the same time: of two calls, the later counts.
    ///
    /// [`Memory::max`]: crate::Memory::max
    ///
    /// # Errors
    ///
    /// Nothing changes:
    ///
    /// * [`ResizeError::AboveCeiling`] if `bytes` is above the ceiling;
    /// * [`ResizeError::TooSmall`] if so few bytes leave no room for the largest entry beside the
    ///   namespaces: it names the smallest limit.
    ///
    /// # Cost
    ///
    /// Locks each shard twice, one after the other, for the work of a write.
    ///
    /// ```
    /// use bytecache::{Cache, ResizeError};
    ///
    /// let cache = Cache::builder().max_bytes(4 << 20).max_bytes_ceiling(16 << 20).build()?;
    /// cache.set_max_bytes(16 << 20)?;
    /// for key in 0..10_000_u32 {
    ///     cache.insert(key.to_le_bytes(), [0; 1_000])?;
    /// }
    /// assert!(cache.memory().allocated > 10_000_000);
    ///
    /// cache.set_max_bytes(2 << 20)?;
    /// while cache.maintain() {}
    /// assert_eq!(cache.memory().max, 2 << 20);
    /// assert!(cache.memory().allocated <= 2 << 20);
    ///
    /// let error = cache.set_max_bytes(17 << 20).unwrap_err();
    /// assert_eq!(error, ResizeError::AboveCeiling { max_bytes: 17 << 20, ceiling: 16 << 20 });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn set_max_bytes(&self, bytes: usize) -> Result<(), ResizeError> {
        let inner = &*self.inner;
        if bytes > inner.ceiling {
            return Err(ResizeError::AboveCeiling { max_bytes: bytes, ceiling: inner.ceiling });
        }
        // Namespaces keep their memory. The limit with which the cache was built is enough.
        let namespaces = inner.shards.iter().map(Shard::namespace_bytes).max().unwrap_or(0);
        let min_budget = inner.first_budget.min(inner.min_budget + namespaces);
        let budget = shard_budget(bytes, inner.overhead, self.shards());
        if budget < min_budget {
            let min_bytes = min_budget * self.shards() + inner.overhead;
            return Err(ResizeError::TooSmall { max_bytes: bytes, min_bytes });
        }
        let turn = {
            let mut limit = inner.limit.lock();
            *limit = Limit { max_bytes: bytes, turn: limit.turn + 1 };
            limit.turn
        };
        // All shards get it before any does a step, as user code may panic there.
        for shard in &inner.shards {
            shard.set_limit(turn, budget);
        }
        for shard in &inner.shards {
            shard.write(|writer| writer.follow_limit());
        }
        Ok(())
    }

    /// Gives shards the rest of their share of a higher limit, as far as the others have left it.
    pub(super) fn raise_limits(&self) {
        for shard in self.inner.shards.iter().filter(|shard| shard.is_short()) {
            shard.write(|writer| writer.follow_limit());
        }
    }
}
