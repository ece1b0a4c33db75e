//! Limits of the cache, and workarounds.
//!
//! # Rejected inserts
//!
//! Entries lie in chunks of memory. An emptied chunk is reused once no reader and no
//! [`Value`](crate::Value) holds it. An insert does not wait for that. It empties other chunks and
//! evicts entries, as long as there is a chunk that nobody holds. If there is none, the insert
//! yields the processor up to sixteen times, and then returns
//! [`Error::Rejected`](crate::Error::Rejected). An insert within a read, in a closure, does not
//! yield.
//!
//! * A read holds the chunk of its entry while it copies or runs a closure. A large entry may lie
//!   in a *run*, several adjacent chunks, which is then held. [`view`](crate::Cache::view),
//!   [`retain`](crate::Cache::retain) and [`for_each`](crate::Cache::for_each) hold one chunk.
//!   [`get_many`](crate::Cache::get_many) holds those of up to 16 entries.
//! * A closure that runs for long costs the cache that chunk until it returns. So does a reader
//!   that the system has preempted. Other caches are not affected.
//! * Each value holds a chunk. Values hold chunks of at most a quarter of the shard's memory, and
//!   further values are copies. Space of removed entries in held chunks cannot be reused. Reads in
//!   progress hold chunks in addition to this quarter.
//! * So an entry that fits a chunk is rejected only if readers and values hold nearly all chunks of
//!   a shard. A large entry needs adjacent chunks: see the next section.
//! * An insert by a removal listener is rejected while too many entries [wait for their
//!   listeners](crate::CacheBuilder::on_removal).
//!
//! A write that fails for any reason removes the entry under its key, since that entry is older
//! than the new value. The result of a load of the key that is in progress is not stored. Reads
//! then miss the key and never return the older value.
//!
//! * If [`insert_if_absent`](crate::Cache::insert_if_absent) finds an entry, the entry stays, even
//!   if the value is too large.
//! * If [`replace_if`](crate::Cache::replace_if) finds another value than the expected one, the
//!   entry stays, even if the value is too large. An [`increment`](crate::Cache::increment) of what
//!   is no counter, or that overflows, changes nothing.
//! * A rejected [`set_ttl`](crate::Cache::set_ttl) removes the entry, which must not outlive the
//!   new deadline.
//! * The removal listener is notified of the entry once: as
//!   [`Replaced`](crate::RemovalCause::Replaced), or as [`Evicted`](crate::RemovalCause::Evicted)
//!   if the policy chose it while the write made room.
//!
//! # Snapshots
//!
//! * A [snapshot](super::snapshots) is older than the store behind the cache.
//! * While a cache is saved, about 1 MiB and a bit for each place of the indexes are allocated
//!   beyond `max_bytes`. Restoring allocates a window of 1 MiB or of the largest entry, up to 16
//!   MiB for what the policies have learned, and at most a 64th of `max_bytes` in addition.
//! * Entries that are replaced or leave while a save runs are left out. If most of them are, little
//!   is restored.
//! * The indexes of a cache keep their size while it is saved. If an index is full, each entry that
//!   is added evicts another. A limit that is lowered meanwhile is reached after the save.
//! * One save of a cache runs at a time, and only one process at a time may save to a path.
//!
//! # Sizes
//!
//! * A key has at most 65,535 bytes. Key and value together have at most
//!   [`max_entry_bytes`](crate::Cache::max_entry_bytes). By default that is 512 KiB, or an eighth
//!   of a cache below 4 MiB, on every machine. The [builder](crate::CacheBuilder::max_entry_bytes)
//!   sets another limit, up to an eighth of the cache. If you set only a number of shards, the
//!   default limit is at most an eighth of one shard.
//! * A shard has at most 16 GiB and 228 million entries. It is built with room for eight entries of
//!   the largest size. So large entries leave few shards, and writers wait for each other more
//!   often.
//! * At least 75 % of a full shard of 1 MiB or more are entries (header, key and value), while
//!   values hold nothing. Entries below 64 bytes have a lower share. So have entries below 250
//!   bytes with policies that keep much for each entry. The index alone takes 6.3 bytes for each
//!   entry. [`docs::sizing`](super::sizing) has the formula.
//! * Entries of a little more than 4 chunks waste most space, since each takes 5. A chunk is 1/400
//!   to 1/200 of the shard, and from 4 KiB to 1 MiB. A mixture of sizes wastes less.
//! * To make room for an entry larger than a chunk, the cache may evict entries that the policy had
//!   not chosen.
//! * Such an entry needs adjacent chunks that nobody holds. If held values leave no gap that is
//!   wide enough, it is [`Rejected`](crate::Error::Rejected), and nothing is evicted for it. For
//!   example, values in 40 chunks that are spread over the shard can cause the rejection of each
//!   entry of a ninth of the shard. Copy values that you keep for long.
//! * In caches below a megabyte, the chunks that are kept free are a noticeable part. In a cache
//!   of 64 KiB, 38 to 50 % of the memory never holds entries.
//!
//! # Another limit at run time
//!
//! * A [lower limit](crate::Cache::set_max_bytes) is reached by writes and calls of
//!   [`maintain`](crate::Cache::maintain). A shard that nobody writes to stays as it is.
//! * A chunk that a value or a reader holds is given back once it is let go. Until then the cache
//!   is above a lower limit, and [`Memory::max`](crate::Memory::max) says by how much.
//! * The number of shards, the size of chunks and the largest entry stay those of the first limit.
//! * Each shard keeps room for two of its largest entries, or for eight chunks if that is more. If
//!   the largest entry is an eighth of a shard, a quarter of the first limit is about the smallest.
//!   [`ResizeError::TooSmall`](crate::ResizeError::TooSmall) names the smallest limit.
//! * Index and policy take nothing of that room. So near the smallest limit, entries of a few bytes
//!   leave a part of the memory unused. With ARC and values of one byte, a cache of 8 MiB that
//!   shrinks to 2 MiB keeps 63 % of the live bytes that one built with 2 MiB has. With
//!   [`max_entry_bytes`](crate::CacheBuilder::max_entry_bytes) of 64 KiB, it keeps 90 %.
//! * While a shard shrinks to nearly the smallest limit, its ring has a few chunks less for a
//!   moment. Then an entry of nearly the largest size may be rejected.
//! * An index does not shrink while the cache is saved, and does not grow while its shard shrinks.
//!   Until it has shrunk, the shard keeps memory for that, and for eight chunks.
//! * If that memory is missing all the same, because loads or a timing wheel took it, all entries
//!   of the shard are evicted. Then the shard gets a new policy, without history.
//!
//! # Policies
//!
//! * The cache evicts entries that the policy did not choose in three cases. In the first case, a
//!   large entry needs adjacent chunks. In the second, values and readers hold so much space that
//!   an entry cannot be moved out of its chunk. In the third, a lower limit takes chunks away whose
//!   entries fit nowhere else. With small entries, one shard, nothing held and a limit that stays,
//!   the policy chooses every victim.
//! * Each shard has its own policy and its own share of the memory. The miss ratio is that of the
//!   policy for one shard, and slightly worse for many, since hashing divides keys unevenly.
//! * A policy may not learn of some reads. Policies that log hits lose some when several threads
//!   read at once. Policies that count hits may lose one when two threads read neighbouring entries
//!   at the same moment. With one thread neither happens.
//! * S3-FIFO and the default remember evicted keys as *ghosts*. When the index grows or shrinks,
//!   they forget some ghosts, and the others age faster for a while. 2Q and ARC keep all ghosts for
//!   which they have room.
//! * The default may evict an entry as soon as it is inserted. It does so if the entry is larger
//!   than the mean, and if all entries that could make room among the most recent ones were read.
//!   GDSF also evicts entries as they come in, by its definition. The insert returns `Ok`, since an
//!   entry may be evicted at any time. If the key comes back soon, the default keeps it.
//! * The default favours small entries. So it has more hits, and misses more bytes than S3-FIFO
//!   does.
//!
//! # Expiry
//!
//! * Writes to a shard and [`maintain`](crate::Cache::maintain) remove its expired entries. The
//!   cache has no thread for that. In a cache that is only read, call `maintain` from time to time.
//!   Until then expired entries are misses that still take space.
//! * The removal listener is notified of an expired entry when its space is taken back, not at its
//!   deadline.
//! * Each move ahead of the clock counts, even one that makes up for a move back. Entries that were
//!   inserted before both moves may expire early by as much.
//! * After the clock jumps ahead, writes remove the entries that have expired, a part with each
//!   write. Until all are removed, a time to live of more than half a year may be cut, to half a
//!   year at worst. After a jump of more than a year, it may be cut further. After a jump of two
//!   years, each entry with a deadline is a miss until then. After such jumps, a write of an entry
//!   with a deadline removes up to 12,288 expired entries.
//! * The first entry with a deadline in a full shard takes longer than others. It evicts entries
//!   for the timing wheel, which takes about one byte for each entry.
//! * Entries with a time to idle expire two years after the last write to their shard, even if they
//!   are read.
//! * A [refresh](crate::Lifetime::refresh_after) that has been due for more than 13 months is not
//!   due for the next 13 months.
//!
//! # Loading
//!
//! * A load may lack memory, because readers and values hold the space, or because other loads use
//!   an eighth of the shard. Then it is not shared, and its result is not stored
//!   ([`unshared_loads`](crate::Stats::unshared_loads)). The same holds for a key that is too large
//!   to be stored. A stale or negative entry of the key is removed, unless the load fails.
//! * The memory of a load stops counting a moment before it is freed.
//! * Two loads that wait for each other's keys wait forever, unless they have a
//!   [`wait_limit`](crate::LoaderBuilder::wait_limit): see [`loading`](super::loading).
//! * The futures of an [`AsyncLoader`](crate::AsyncLoader)'s loader have to be `Send`. The futures
//!   of [`get_or_load_async`](crate::Cache::get_or_load_async) need not be.
//! * A load of a spawner, an executor or a batch that hangs keeps its key, and its place among the
//!   batches in flight. A [`load_timeout`](crate::LoaderBuilder::load_timeout) ends the wait of its
//!   callers only.
//! * Errors, the state of futures, and the list of keys that wait for a batch are not part of the
//!   cache's memory.
//! * `len`, `inserts` and other counters include negative entries.
//!
//! # Namespaces
//!
//! * A cache has room for one namespace for each 8 KiB of `max_bytes`, and for at most 255. Each
//!   version of a name counts. A namespace is never closed, and a [snapshot](super::snapshots)
//!   restores all of them.
//! * A key of a namespace has at most 65,525 bytes. It takes 4 to 10 bytes of prefix, and counts 10
//!   towards [`max_entry_bytes`](crate::Cache::max_entry_bytes).
//! * A plain key that begins with the bytes `fd c1` takes three bytes more, and its reads are a
//!   little slower.
//! * Namespaces share the memory of their cache. One that fills the cache evicts entries of the
//!   others. For a set of entries that needs a share of its own, make another cache.
//! * Entries that were invalidated stay until they are evicted, or until
//!   [`maintain`](crate::Cache::maintain) has reached them. Until then they take space, and
//!   [`len`](crate::Cache::len) counts them.
//! * Iterations of a namespace walk through all entries of the cache.
//!
//! # Invalidation of many keys
//!
//! There is no invalidation by a prefix of keys or by a tag. Put keys that are invalidated together
//! into a [namespace](crate::Namespace): its invalidation takes a few instructions. For other sets,
//! [`retain`](crate::Cache::retain) passes over all entries: half a second for a million of them.
//! The [design](super::internals::design) says why.
//!
//! # Iteration
//!
//! [`for_each`](crate::Cache::for_each) and [`retain`](crate::Cache::retain) are weakly consistent.
//! They visit every entry that is present throughout. They may visit others. Each time an index
//! grows or shrinks meanwhile, they may visit the entries of one of its buckets twice. If a hasher
//! gives many keys the same hash, they may visit all of these twice.
//!
//! # Advice
//!
//! An [`Advisor`](crate::Advisor) is not exact where few keys are sampled: see [the limits of the
//! advisor](super::advisor#limits).
//!
//! # Fork
//!
//! After `fork` in a process with several threads, the child must not use a cache of its parent.
//! Only the thread that forked goes on in the child. A lock that another thread held stays locked.
//! An entry that another thread was reading stays held. A load that another thread ran never ends.
//! So an operation of the child may wait forever, and every write may be rejected. The system
//! copies pages that either process writes to, and these copies do not count against `max_bytes`.
//!
//! Build the cache after the fork, in each process that uses one. A child that only calls `exec` is
//! safe, like those of [`std::process::Command`].
//!
//! # Platforms
//!
//! The crate is tested on 64-bit Linux on x86-64. All measurements are from there. Parts of the
//! tests also run on 32-bit x86 Linux, in CI where its libraries are there.
//!
//! It is expected to work on other 64-bit systems of the standard library, such as Linux on
//! AArch64, macOS, Windows, FreeBSD and Android. The same holds for other 32-bit systems with
//! 64-bit atomics. None of these is tested. The differences are:
//!
//! * Huge pages are used on Linux only, and prefetching on x86-64 only.
//! * Memory is given back to the system only on Linux and Android, by `madvise(MADV_DONTNEED)`.
//!   This concerns chunks that give way to a larger index, an index or an array of a policy that
//!   shrinks, and all that [`clear`](crate::Cache::clear) empties. Elsewhere the index and the
//!   arrays keep their pages, which are not counted.
//! * On systems with pages above 4 KiB, each memory region may take up to a page more than is
//!   counted.
//! * On processors other than x86-64, chunks below 64 KiB are not given back one by one, since
//!   pages may be as large as 64 KiB.
//!
//! # Outside of `max_bytes`
//!
//! * Each thread that has read a cache has a record of 256 bytes, for all caches of the process. A
//!   record has slots for four reads that are nested in closures of each other. A read that is
//!   nested deeper adds a record. Up to 32 records of ended threads are kept for later threads, or
//!   half of all records if that is more.
//! * A reader may count a visit in a part of the index that has just been given back to the system.
//!   The system then maps a page again that is not counted. The index uses that page if it grows
//!   again.
//! * Some memory of policies is counted only when the next chunk is opened. Policies keep it for
//!   removed entries, for entries of 16 KiB and more, and for unusually many different counts of
//!   LFU.
//! * An array of a policy that has less than 256 KiB is copied when the index gets another size.
//!   Until the copy is made, the former array is not counted.
//! * If the system refuses to map memory, a shard allocates its whole memory at once, up to its
//!   ceiling.
//! * Copies of values belong to their callers. Entries that wait for a removal listener are copies,
//!   too. An insert of a large entry may evict entries of the same total size, and copies them.
//!   `clear` copies 256 KiB, or 500 entries, at a time.
//! * Entries that left through writes of a removal listener may wait beyond the operation. While
//!   256 KiB of them wait, or `max_entry_bytes` if that is more, inserts by listeners are
//!   [rejected](crate::CacheBuilder::on_removal). Removals by listeners are not limited. A listener
//!   that calls `clear` may have as much to report as the cache held.
//! * A policy's arrays come from the allocator. glibc's allocator may keep up to 32 MiB of them for
//!   later allocations, after a cache is dropped or its index has grown.
