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
//! It prints sentences like these, and a table. Here, 64 MiB under LRU saw 5 million reads of a
//! million keys (Zipf 0.9), with values of 300 bytes:
//!
//! ```text
//! lru hits 70.4 % of 5000000 reads (70.3 % ± 1.3 by 5537 sampled keys).
//! w-tinylfu would hit 73.8 % ± 1.7 instead.
//! 75 % less memory: -17.8 points.
//! 50 % less memory: -9.1 points.
//! 25 % less memory: -3.9 points.
//! 25 % more memory: +2.8 points.
//! 50 % more memory: +5.1 points.
//! 100 % more memory: +8.7 points.
//! 300 % more memory: +14.9 points.
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
//! # Hot keys
//!
//! [`Cache::hot_keys`](crate::Cache::hot_keys) returns the keys with the most reads in the recent
//! window, with an error for each. Reads are counted one in some number, whatever their key: one in
//! 32 by default, which follows from [`Advisor::share`](crate::Advisor::share). A sample of keys
//! would lack most hot keys. While the window has few reads, more of them are counted: the first
//! 13,312 all, and after 66,560 one in 10.
//!
//! The counters are those of Space-Saving (Metwally, Agrawal and El Abbadi, ICDT 2005), in sets of
//! 8. They take a sixteenth of the advisor's memory: about 1,300 counters of 2 MiB. Only one of
//! nine reads that count may give its key a counter. The others count if their keys have one. So a
//! key that is read often is counted as often as all these reads tell, and most others take no time
//! (sample and hold: Estan and Varghese, SIGCOMM 2002).
//!
//! The stated error has two parts: the count that a key has taken over from another one, and the
//! chance of the sample. To the chance belong the reads of a key before it had a counter, and those
//! that were not counted because another thread had the counters.
//!
//! The chance decides how many reads it takes to tell keys apart. A key with `n` reads, of which
//! one in `m` counted, is told within about `2 * sqrt(n * m)` reads. By default that is 11 % for a
//! key with 10,000 reads, and 3.6 % for one with 100,000. Two keys with as many reads can be told
//! apart if one has 16 % or 5 % more. So the ten hottest keys are told, and no others, once the
//! tenth has 3,300 reads, if the eleventh has a quarter fewer. Keys with about as many reads as the
//! tenth may take its place: look at the errors. A key that becomes hot late is not told before it
//! has about 670 reads, as the read that gives it a counter stands for 288. With a share of 1/4 or
//! more, all reads count, and only the counters limit what is told: a key is told if it has clearly
//! more than one read in 1,300.
//!
//! * The key is that of the caller. For a key of a namespace, its name is beside it.
//! * At most 64 bytes of a key are kept, the prefix of its namespace included.
//! * A thread notes up to 16 reads before it counts them. They do not count if it ends, or reads
//!   another cache with an advisor. Those that count stand for them.
//! * A counter keeps its key after the removal of the entry. Keys of an invalidated namespace are
//!   left out.
//!
//! A key with a large share of all reads may be too much for the store behind the cache when it
//! expires, or for the cores that share its cache line. There are two remedies:
//!
//! * [Early refresh](crate::LoaderBuilder::early_refresh): one caller loads the value again before
//!   its deadline, and all others go on with the present one. So a hot key seldom misses.
//! * A value that the caller holds: a [`Value`](crate::Value) can be kept and shared for as long as
//!   it may be stale. Reading it touches no line that other threads write to.
//!
//! # Ages
//!
//! [`Cache::ages`](crate::Cache::ages) says whether the cache turns over in seconds or in hours. It
//! has two histograms of sampled keys, in classes from 16 ms to 12 days:
//!
//! * the age of entries at their eviction. If hardly any entry is evicted before its time to live,
//!   the cache is larger than it needs to be;
//! * the time since the last use of an entry, at a hit. If even the longest times are far below the
//!   age at eviction, less memory may do: the curve of the advice says by how much.
//!
//! # Metrics
//!
//! The features `prometheus` and `metrics` export the advice by policy and size, the ten hottest
//! keys by their rank, both histograms of ages, and the numbers of events that were followed and
//! dropped. No key is a label: keys may be secret, and there are many.
//!
//! # A page
//!
//! `cargo run --release --example dashboard` serves a page that shows all of this, while generated
//! traffic runs. With `-- --trace FILE` it replays a recorded trace instead. The repository has a
//! picture of it, `docs/dashboard.png`.
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
//! | change of a deadline | the key ends at the other time |
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
//! a share of the memory that is not exactly theirs; and half a point for shards and rounding. A
//! byte hit ratio has a fourth one, that of the mean charge of hits, which one read in 288 tells.
//! Until 32 such reads have hit, it is unknown, and the error is large.
//!
//! With 4,000 sampled keys or more, hit ratios and byte hit ratios are within 1.5 points of a whole
//! simulation on average, and within 4 at worst. `tools/tests/advisor.rs` checks that on recorded
//! traces. The share of sampled keys is 1 in 384 by default, so a cache with 100,000 keys has about
//! 260: set a larger [share](crate::Advisor::share) for smaller caches.
//!
//! # Cost
//!
//! Memory is one percent of the cache, at least 2 MiB and at most an eighth: see
//! [`Advisor::max_bytes`](crate::Advisor::max_bytes). If the sampled keys need more, fewer are
//! sampled. If the policies keep too much memory even so, the advisor stops.
//!
//! Without an advisor, a read costs one comparison more. With one, it compares the hash with the
//! threshold, and counts itself in a word of its thread: five instructions. One read in 32 notes
//! its key, or more if the window has few reads. One in 288 counts the keys of nine such reads,
//! and takes a lock, which it only tries. These two take about 740 instructions for 288 reads. A
//! read of a sampled key takes one or two thousand. `cargo bench --bench advisor` prints the
//! averages. While the window has fewer than 212,992 reads, a read costs about 23 instructions.
//!
//! Events of sampled keys go through a queue of the shard. Writes to the shard empty the queue. So
//! do [`maintain`](crate::Cache::maintain), and a read that finds it full. No thread waits: if
//! another one is at work, an event is dropped and [counted](crate::Advice::dropped). So is an
//! event of a writer that finds the queue full. Evictions take half of the places at most.
//!
//! # Limits
//!
//! * A shadow with few entries is not exact. The stated error says so.
//! * An entry that is larger than half of a shadow is counted as the cache did.
//! * Entries of a restored snapshot are unknown to the shadows until their first hit or store.
//! * Entries of an invalidated [namespace](crate::Namespace) stay in the shadows until their
//!   policies evict them.
