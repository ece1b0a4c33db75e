//! The advisor: which policy and which size, answered on live traffic.
//!
//! [`simulate`](crate::policy::simulate) compares policies and sizes on recorded requests. The
//! [`Advisor`](crate::Advisor) does so inside of a running cache, on a sample of its keys:
//!
//! ```
//! use bytecache::{Advisor, Cache};
//!
//! let cache = Cache::builder().max_bytes(256 << 20).advisor(Advisor::new()).build()?;
//! // ... the service runs ...
//! if let Some(advice) = cache.advice() {
//!     println!("{advice:#}");
//! }
//! # Ok::<(), bytecache::BuildError>(())
//! ```
//!
//! It prints sentences like these, whose figures are made up, and a table:
//!
//! ```text
//! lru hits 66.5 % of 1245184 reads (66.4 % ± 1.9 by 6702 sampled keys).
//! adaptive would hit 68.9 % ± 1.9 instead.
//! 75 % less memory: -11.2 points.
//! 50 % less memory: -6.0 points.
//! 25 % less memory: -2.7 points.
//! 25 % more memory: +1.6 points.
//! 50 % more memory: +2.7 points.
//! 100 % more memory: +4.8 points.
//! 300 % more memory: +8.9 points.
//! More memory may help, up to the largest size that was simulated.
//! ```
//!
//! # How to read it
//!
//! * Compare rows with [`Advice::present`](crate::Advice::present), and not with the ratio of the
//!   cache itself: all rows have the same sample, so their common errors cancel.
//! * [`better_policy`](crate::Advice::better_policy) names a policy only if it is better by more
//!   than the larger of both errors.
//! * [`flattens_at`](crate::Advice::flattens_at) is the size beyond which memory hardly helps.
//! * With fewer than 64 sampled keys, or 1,000 reads of them, there is no advice: errors are 1, and
//!   both methods return `None`.
//! * The advice is about the reads of the last hours: traffic counts half after the
//!   [half-life](crate::Advisor::half_life). After a start, it includes the misses of the empty
//!   cache.
//!
//! # How it works
//!
//! A key is sampled if its hash is below a threshold (SHARDS: Waldspurger et al., FAST 2015). For
//! each row of the advice there is a *shadow*: a policy object that follows the operations on
//! sampled keys. It has the sampled share of the size of its row, and stores no bytes. Misses are
//! counted in each shadow, and set right by what is known of the whole cache: the number of its
//! reads, and of its misses.
//!
//! | operation | the shadows |
//! |---|---|
//! | read that hits | count a hit or a miss. One that misses stores the entry, as its cache would have been told to |
//! | read that misses | count a hit or a miss, and wait for the store |
//! | store after a miss | one that does not have the key stores it |
//! | other store | all store it |
//! | removal, write that failed | all forget the key |
//! | deadline | the key misses from its deadline on, and if it was idle for too long |
//!
//! The charges of misses count when the entry is stored. A miss of an unknown key after which
//! nothing is stored counts no bytes, as for a key that does not exist in the store behind the
//! cache.
//!
//! # Errors
//!
//! Each ratio has an error that it stays within in about 19 of 20 cases. It has three parts: the
//! differences between groups of sampled keys; the steepness of the curve, as the sampled keys fill
//! a share of the memory that is not exactly theirs; and half a point for shards and rounding.
//!
//! With 4,000 sampled keys or more, hit ratios are within 1.5 points of a whole simulation on
//! average, and within 4 at worst. `tools/tests/advisor.rs` checks that on recorded traces. The
//! share of sampled keys is 1 in 128 by default, so a cache with 100,000 keys has about 800: set a
//! larger [share](crate::Advisor::share) for smaller caches.
//!
//! # Cost
//!
//! Memory is one percent of the cache, at least 2 MiB and at most an eighth: see
//! [`Advisor::max_bytes`](crate::Advisor::max_bytes). If the sampled keys need more, fewer are
//! sampled. If the policies keep too much memory even so, the advisor stops.
//!
//! A read of a key that is not sampled costs one comparison. Events of sampled keys go through a
//! queue of the shard. The writes to the shard take them out, [`maintain`](crate::Cache::maintain),
//! and a read that finds the queue full. No thread waits: if another one is at work, an event is
//! dropped and [counted](crate::Advice::dropped). So is one of a writer that finds the queue full.
//!
//! # Limits
//!
//! * A shadow with few entries is not exact. The stated error says so.
//! * An entry that is larger than half of a shadow is counted as the cache did.
//! * Changes of a deadline by [`set_ttl`](crate::Cache::set_ttl) and
//!   [`persist`](crate::Cache::persist) are not followed until the next store of the key.
//! * Entries of a restored snapshot are unknown to the shadows until their first hit or store.
//! * Entries of an invalidated [namespace](crate::Namespace) stay in the shadows until their
//!   policies evict them.
