//! What the cache does not do, and what to do about it.
//!
//! # Inserts that are rejected
//!
//! Memory that has been emptied is written to again when no reader and no [`Value`](crate::Value) holds it. A store does not
//! wait for that: it empties other chunks and evicts entries, as long as there is a chunk that nobody holds. Only if there is
//! none it yields the processor up to sixteen times, and then returns [`Error::Rejected`](crate::Error::Rejected).
//!
//! * A read holds the chunk in which its entry lies, or the run of chunks of a large entry, while it copies or runs a closure:
//!   [`view`](crate::Cache::view), [`retain`](crate::Cache::retain) and [`for_each`](crate::Cache::for_each) one chunk,
//!   [`get_many`](crate::Cache::get_many) those of up to 16 entries. A closure that does not return, or a thread that the
//!   system has preempted, costs the cache that chunk until it goes on. Other caches notice nothing.
//! * Values hold one chunk each, at most a quarter of a shard's chunks together. What is dead in them cannot be used meanwhile.
//!   Chunks that readers in progress hold come on top.
//! * So inserts of entries that fit a chunk are rejected only where readers and values hold nearly all chunks of a shard. A large
//!   entry needs adjacent chunks: see the next section.
//! * A store by a removal listener is rejected while too much [waits to be told](crate::CacheBuilder::on_removal).
//!
//! A write that fails removes the entry under its key, for whatever reason it fails: that entry is older than what was to
//! be stored. A load of the key that is under way is not stored. Reads then miss the key; they never return the older value.
//!
//! * An entry that [`insert_if_absent`](crate::Cache::insert_if_absent) finds stays, as that store would not have been done.
//! * A [`set_ttl`](crate::Cache::set_ttl) that is rejected removes the entry, which must not outlive the deadline.
//! * The removal listener is told of the entry once: as [`Replaced`](crate::RemovalCause::Replaced), or as
//!   [`Evicted`](crate::RemovalCause::Evicted) if it was chosen while space was sought.
//!
//! # Sizes
//!
//! * Keys have at most 65,535 bytes; key and value together at most
//!   [`max_entry_bytes`](crate::Cache::max_entry_bytes). That is 512 KiB, or an eighth of a cache below 4 MiB, whatever the
//!   machine. The [builder](crate::CacheBuilder::max_entry_bytes) sets another limit, up to an eighth of the cache; a number of
//!   shards lowers it to an eighth of one.
//! * A shard has at most 16 GiB and 228 million entries, and holds eight entries of the largest size. So large entries leave few
//!   shards, and those that write wait for each other more often.
//! * In a shard of 1 MiB or more that is full, at least 75 % of the bytes are entries (header, key and value), whatever
//!   their size up to the limit, while values hold nothing. Below 250 bytes it is less for policies that keep much of each
//!   entry, and below 64 bytes for all of them: the index alone takes 6.3 bytes of an entry.
//! * Most room is lost to entries of a little more than 4 chunks (a chunk is 1/400 to 1/200 of the shard, 4 KiB to 1 MiB),
//!   which take 5 each. Entries of different sizes lose less.
//! * To make room for an entry larger than a chunk, some that the policy had not chosen may have to go.
//! * Such an entry needs adjacent chunks that nobody holds. Where values that are spread over the shard leave no gap that
//!   is wide enough, it is [`Rejected`](crate::Error::Rejected), and nothing is evicted for it: 40 values in 40 chunks can
//!   refuse all entries of a ninth of the shard. Copy what is kept for long.
//! * In caches below a megabyte, the chunks that are kept free are a noticeable part: at 64 KiB about a third
//!   is never live.
//!
//! # Policies
//!
//! * The policy's choice is overruled in two cases: where a large entry needs adjacent chunks, and where entries
//!   in the way of the cleaner have nowhere to go, because values or readers hold what would be free. With small
//!   entries, one shard and nothing held, every victim is the policy's.
//! * With several shards each has its own policy and its own share of the memory. The miss ratio is that of
//!   the policy for one shard, and a little worse for many, as hashing divides keys unevenly.
//! * Readers that meet in a shard's touch log may drop touches of ordered policies; counted policies may lose
//!   a visit when two threads visit neighbouring entries at the same moment. With one thread neither happens.
//! * When the index grows, S3-FIFO and the default forget some of their ghosts, and the others age faster. That
//!   happens while the cache fills, hardly ever later.
//! * The default may refuse an entry larger than the mean when everything that it would have to push out of
//!   the window was visited; GDSF refuses by its definition. The insert returns without an error then, as
//!   an entry may be evicted at any time. When its key comes back soon, the default takes it.
//! * The default favours small entries: it has more hits for it, and misses more bytes than S3-FIFO does.
//!
//! # Expiry
//!
//! * What has expired is taken out by writes to its shard and by [`maintain`](crate::Cache::maintain), as there is no thread
//!   that would do so. In a cache that is only read, call `maintain` now and then; until then
//!   expired entries are misses that still take up space.
//! * The removal listener hears of an expired entry when its space is taken back, not at its deadline.
//! * A clock that goes back and is put right again has moved ahead twice: entries inserted before may expire early by as much.
//! * A time to live of more than half a year is cut short, to half a year at worst, in a shard whose wheel lies behind: after a
//!   jump of the clock, until writes have caught up. In a shard that is not written to, entries end two
//!   years after the last write, however often they are read.
//! * A [refresh](crate::Lifetime::refresh_after) that has been due for more than 13 months is not due for the next 13.
//!
//! # Loading
//!
//! * A load for which there is no memory, because readers or values hold the ring or because loads under way have an eighth of
//!   the shard already, is not shared, and its result not stored ([`unshared_loads`](crate::Stats::unshared_loads)). Nor is
//!   one of a key that is too large to be stored. What was kept of the key beyond its deadline is removed, unless the load fails.
//! * A load's bytes are given back to its shard's account in the moment before they are freed.
//! * Two loads that wait for each other's keys do so for ever, unless they have a
//!   [`wait_limit`](crate::LoaderBuilder::wait_limit): see [`loading`](super::loading).
//! * The futures of an [`AsyncLoader`](crate::AsyncLoader)'s loader have to be `Send`; those of
//!   [`get_or_load_async`](crate::Cache::get_or_load_async) need not be.
//! * Errors are not part of the cache's memory, nor is what futures hold.
//! * Entries that say that there is nothing are counted by `len`, `inserts` and so on as others are.
//!
//! # Iteration
//!
//! [`for_each`](crate::Cache::for_each) and [`retain`](crate::Cache::retain) are weakly consistent. An entry that is there
//! throughout is seen; those that come and go are seen or not. When an index grows meanwhile, entries of one bucket may be seen
//! twice, and those of one hash with a hasher that gives many keys the same.
//!
//! # Fork
//!
//! After `fork` in a process with several threads, a child must not use a cache of its parent. Only the thread that forked
//! goes on in the child. A lock that another thread held stays locked, and what another one was reading or loading is never
//! let go. An operation of the child may then wait for ever, or every write be rejected. Besides, what either process writes
//! to from then on is copied, beyond `max_bytes`.
//!
//! Build the cache after the fork, in each process that uses one. A child that calls `exec` soon, as
//! [`std::process::Command`] has it do, needs nothing.
//!
//! # Platforms
//!
//! Developed and measured on x86-64 Linux. Elsewhere there are no huge pages and no prefetching. Memory that the index takes
//! from the ring, tables that were replaced, and what [`clear`](crate::Cache::clear) empties are given back to the system only
//! where `madvise(MADV_DONTNEED)` exists; elsewhere replaced tables stay, and count, until the cache is dropped. Systems with
//! pages above 4 KiB keep up to a page more for each region than is counted.
//!
//! # Outside of `max_bytes`
//!
//! * Each thread that has read a cache has a record of 256 bytes, for all caches of the process, and so has each read that is
//!   nested seven deep in closures of others. Up to 32 records of ended threads, or as many as half of all, are kept for the next
//!   ones.
//! * A reader that marks a visit in a table which was replaced in the same moment brings a page of it back, which counts no more.
//!   It goes with the cache.
//! * What policies keep of removed entries and of those of 16 KiB and more is accounted for when the next chunk is
//!   opened, not at once; so are the steps of LFU beyond the usual number.
//! * Where the system refuses to map memory, arenas are allocated whole. The same goes for chunks below 64 KiB
//!   on systems other than x86-64, whose pages may be that large: they are not given back one by one.
//! * Copies of values belong to those who asked for them. So do those of entries that a removal listener is told of, from the
//!   moment they leave until they are told: a store that makes room for a large entry may have as many bytes of others to
//!   tell of; `clear` tells of 256 KiB, or of 500 entries, at a time.
//! * Entries that left through writes of a removal listener may wait beyond the operation. Stores by listeners are
//!   [rejected](crate::CacheBuilder::on_removal) while entries of 256 KiB, or of the largest entry, wait. What its removals make
//!   leave comes on top: a listener that calls `clear` may have as much to be told of as the cache held.
//! * A policy's arrays come from the allocator. glibc's may keep up to 32 MiB of them for the next allocations when a
//!   cache is dropped or its index has grown.
