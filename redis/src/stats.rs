//! [`TierStats`]: the counters of the second tier.

use core::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters of a [`Tiered`](crate::Tiered), from
        /// [`Tiered::stats`](crate::Tiered::stats).
        ///
        /// They count the work beyond the local tier.
        /// [`Namespace::stats`](bytecache::Namespace::stats) of
        /// [`Tiered::local`](crate::Tiered::local) has the counters of the local tier.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct TierStats {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl TierStats {
            /// Returns each counter with its name.
            ///
            /// ```
            /// use bytecache_redis::TierStats;
            ///
            /// let stats = TierStats::default();
            /// assert!(stats.counters().contains(&("redis_hits", 0)));
            /// ```
            #[must_use]
            pub fn counters(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)*]
            }
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> TierStats {
                TierStats { $($name: self.$name.0.load(Ordering::Relaxed),)* } // Counters.
            }
        }
    };
}

counters! {
    /// Reads that found a value in Redis.
    redis_hits,
    /// Reads that found no value in Redis, tombstones and "nothing" included.
    redis_misses,
    /// Reads that Redis did not answer, or for which there was no connection.
    redis_failures,
    /// Reads that were not sent, as the circuit breaker was open.
    breaker_refusals,
    /// Calls of the loader.
    loads,
    /// Calls of the loader that failed, or took longer than the load limit.
    load_failures,
    /// Values in their stale period that were returned, as the loader failed.
    stale_served,
    /// Loaded values that were stored in Redis.
    fills,
    /// Loaded values that were not stored in Redis, as the key had changed.
    fills_refused,
    /// Loaded values that could not be stored in Redis.
    fill_failures,
    /// Keys for which an invalidation arrived.
    invalidations,
    /// Invalidations of all entries: of the generation, or of everything in the server.
    invalidations_of_all,
    /// Resets of the local tier: one for each connection, and one if local entries became too old
    /// or a write was not answered.
    resets,
    /// Entries that `verify` compared.
    verified,
    /// Entries that `verify` found different from Redis, and removed.
    repaired,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed); // A counter.
    }
}
