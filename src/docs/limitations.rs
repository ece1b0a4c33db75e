//! What the cache does not do, and what to do about it.
//!
//! # Rejected inserts
//!
//! Emptied memory is written again once no reader and no [`Value`](crate::Value) holds it. A store
//! does not wait for that. It empties other chunks and evicts entries, as long as there is a chunk
//! that nobody holds. If there is none, it yields the processor up to sixteen times, and then
//! returns [`Error::Rejected`](crate::Error::Rejected). A thread that is itself reading does not
//! yield.
//!
//! * A read holds the chunk of its entry while it copies or runs a closure. For a large entry that
//!   is a run of chunks. [`view`](crate::Cache::view), [`retain`](crate::Cache::retain) and
//!   [`for_each`](crate::Cache::for_each) hold one chunk. [`get_many`](crate::Cache::get_many)
//!   holds those of up to 16 entries.
//! * A closure that does not return costs the cache that chunk until it returns. So does a reader
//!   that the system has preempted. Other caches are not affected.
//! * Each value holds a chunk. Together they hold at most a quarter of a shard's chunks, and
//!   further values are copies. Dead bytes in held chunks cannot be used. Chunks of readers in
//!   progress come on top.
//! * So an insert of an entry that fits a chunk is rejected only where readers and values hold
//!   nearly all chunks of a shard. A large entry needs adjacent chunks: see the next section.
//! * A store by a removal listener is rejected while too many entries [wait for their
//!   listeners](crate::CacheBuilder::on_removal).
//!
//! A write that fails for any reason removes the entry under its key: that entry is older than the
//! value that was to be stored. A load of the key that is in progress is not stored. Reads then
//! miss the key and never return the older value.
//!
//! * If [`insert_if_absent`](crate::Cache::insert_if_absent) finds an entry, the entry stays, since
//!   nothing would have been stored.
//! * A [`set_ttl`](crate::Cache::set_ttl) that is rejected removes the entry, which must not
//!   outlive the new deadline.
//! * The removal listener is notified of the entry once: as
//!   [`Replaced`](crate::RemovalCause::Replaced), or as [`Evicted`](crate::RemovalCause::Evicted)
//!   if it was chosen while space was sought.
//!
//! # Sizes
//!
//! * A key has at most 65,535 bytes. Key and value together have at most
//!   [`max_entry_bytes`](crate::Cache::max_entry_bytes). That is 512 KiB, or an eighth of a cache
//!   below 4 MiB, on every machine. The [builder](crate::CacheBuilder::max_entry_bytes) sets
//!   another limit, up to an eighth of the cache. A number of shards lowers the limit to an eighth
//!   of one shard.
//! * A shard has at most 16 GiB and 228 million entries, and holds eight entries of the largest
//!   size. So large entries leave few shards, and writers wait for each other more often.
//! * At least 75 % of a full shard of 1 MiB or more are entries (header, key and value), while
//!   values hold nothing. Smaller entries have a lower share: below 64 bytes with any policy, and
//!   below 250 bytes with policies that keep much for each entry. The index alone takes 6.3 bytes
//!   of an entry. [`docs::sizing`](super::sizing) has the formula.
//! * Most space is lost to entries of a little more than 4 chunks, which take 5 each. A chunk is
//!   1/400 to 1/200 of the shard, and from 4 KiB to 1 MiB. Entries of different sizes lose less.
//! * To make room for an entry larger than a chunk, the cache may evict entries that the policy had
//!   not chosen.
//! * Such an entry needs adjacent chunks that nobody holds. If values are spread over the shard so
//!   that no gap is wide enough, it is [`Rejected`](crate::Error::Rejected), and nothing is evicted
//!   for it. 40 values in 40 chunks can reject all entries of a ninth of the shard. Copy values
//!   that are kept for long.
//! * In caches below a megabyte, the free chunks are a noticeable part: about a third of a cache of
//!   64 KiB is never live.
//!
//! # Policies
//!
//! * The policy's choice is overruled in two cases. One is a large entry that needs adjacent
//!   chunks. The other is an entry that the cleaner cannot move, because values or readers hold the
//!   space. With small entries, one shard and nothing held, the policy chooses every victim.
//! * Each shard has its own policy and its own share of the memory. The miss ratio is that of the
//!   policy for one shard, and slightly worse for many, since hashing divides keys unevenly.
//! * Readers that meet in a shard's touch log may drop touches of ordered policies. Counted
//!   policies may lose a visit when two threads visit neighbouring entries at the same moment. With
//!   one thread neither happens.
//! * When the index grows, S3-FIFO and the default forget some of their ghosts, and the others age
//!   faster. That happens while the cache fills, and rarely later.
//! * The default may evict a new entry at once. The entry is then larger than the mean, and
//!   everything that it would push out of the window was visited. GDSF also evicts new entries, by
//!   its definition. The insert returns `Ok`, since an entry may be evicted at any time. If the key
//!   comes back soon, the default keeps it.
//! * The default favours small entries. So it has more hits, and misses more bytes than S3-FIFO
//!   does.
//!
//! # Expiry
//!
//! * Expired entries are removed by writes to their shard and by
//!   [`maintain`](crate::Cache::maintain), as there is no thread that would do it. In a cache that
//!   is only read, call `maintain` from time to time. Until then expired entries are misses that
//!   still take space.
//! * The removal listener is notified of an expired entry when its space is taken back, not at its
//!   deadline.
//! * A clock that goes back and is put right again has moved ahead twice. Entries that were
//!   inserted before may expire early by as much.
//! * After a jump of the clock, the wheel of a shard lies behind until writes have caught up. Until
//!   then a time to live of more than half a year is cut, to half a year at worst.
//! * In a shard that is not written to, entries end two years after the last write, however often
//!   they are read.
//! * A [refresh](crate::Lifetime::refresh_after) that has been due for more than 13 months is not
//!   due for the next 13.
//!
//! # Loading
//!
//! * A load may lack memory, because readers or values hold the ring, or because other loads have
//!   an eighth of the shard. Then it is not shared, and its result not stored
//!   ([`unshared_loads`](crate::Stats::unshared_loads)). The same holds for a key that is too large
//!   to be stored. A stale or negative entry of the key is removed, unless the load fails.
//! * A load's bytes are given back to its shard's account a moment before they are freed.
//! * Two loads that wait for each other's keys wait forever, unless they have a
//!   [`wait_limit`](crate::LoaderBuilder::wait_limit): see [`loading`](super::loading).
//! * The futures of an [`AsyncLoader`](crate::AsyncLoader)'s loader have to be `Send`. Those of
//!   [`get_or_load_async`](crate::Cache::get_or_load_async) need not be.
//! * Errors are not part of the cache's memory. Neither is the state of futures.
//! * `len`, `inserts` and other counters include negative entries.
//!
//! # Iteration
//!
//! [`for_each`](crate::Cache::for_each) and [`retain`](crate::Cache::retain) are weakly consistent.
//! An entry that is present throughout is visited. Others may be. If an index grows meanwhile,
//! entries of one bucket may be visited twice. With a hasher that gives many keys the same hash, so
//! may entries of that hash.
//!
//! # Fork
//!
//! After `fork` in a process with several threads, the child must not use a cache of its parent.
//! Only the thread that forked goes on in the child. A lock that another thread held stays locked.
//! An entry that another thread was reading stays held, and its load never ends. So an operation of
//! the child may wait forever, or every write be rejected. Pages that either process writes to are
//! copied, beyond `max_bytes`.
//!
//! Build the cache after the fork, in each process that uses one. A child that calls `exec` soon is
//! safe, like those of [`std::process::Command`].
//!
//! # Platforms
//!
//! Tested: 64-bit Linux on x86-64. All measurements are from it.
//!
//! Expected to work: other 64-bit systems of the standard library, such as Linux on AArch64, macOS,
//! Windows, FreeBSD and Android; and 32-bit ones with 64-bit atomics. The library compiles for
//! 32-bit x86 Linux. Nothing of this is tested. The differences are:
//!
//! * Huge pages are used on Linux only, and prefetching on x86-64 only.
//! * Three kinds of memory are given back to the system only on Linux and Android, by
//!   `madvise(MADV_DONTNEED)`: memory that the index takes from the ring, replaced tables, and what
//!   [`clear`](crate::Cache::clear) empties. Elsewhere a replaced table stays, and counts, until
//!   the cache is dropped.
//! * Systems with pages above 4 KiB keep up to a page more for each region than is counted.
//! * On other processors than x86-64, chunks below 64 KiB are not given back one by one, since
//!   pages may be that large there.
//!
//! # Outside of `max_bytes`
//!
//! * Each thread that has read a cache has a record of 256 bytes, for all caches of the process. So
//!   has each read that is nested seven deep in closures of other reads. Up to 32 records of ended
//!   threads are kept for the next ones, or half of all records if that is more.
//! * A reader may mark a visit in a table at the moment when the table is replaced. That brings one
//!   of its pages back, which is not counted. It is freed with the cache.
//! * Some memory of policies is accounted for when the next chunk is opened, not at once. It is
//!   kept for removed entries, for entries of 16 KiB and more, and for steps of LFU beyond the
//!   usual number.
//! * Where the system refuses to map memory, arenas are allocated whole.
//! * Copies of values belong to their callers. So do copies of entries for a removal listener, from
//!   the moment they leave until it has been called. A store that makes room for a large entry may
//!   have as many bytes of others to report. `clear` reports 256 KiB, or 500 entries, at a time.
//! * Entries that left through writes of a removal listener may wait beyond the operation. Stores
//!   by listeners are [rejected](crate::CacheBuilder::on_removal) while entries of 256 KiB, or of
//!   the largest entry, wait. Entries that leave through a listener's removals come on top. A
//!   listener that calls `clear` may have as much to report as the cache held.
//! * A policy's arrays come from the allocator. glibc's allocator may keep up to 32 MiB of them for
//!   later allocations, after a cache is dropped or its index has grown.
