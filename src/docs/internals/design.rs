//! The parts, how they work together, and the reasons for them.
//!
//! ```text
//!   key     hash -> shard, bucket, tag
//!                     |
//!   reader  bucket (one line) -> slot, fence -> entry in the ring -> compare keys -> value
//!                     ^                           ^
//!   writer  lock -> policy: victims         ring: moves, retired chunks -> slots -> values -> free
//! ```
//!
//! # Shards
//!
//! The top bits of the hash choose a shard: a ring, an index and a policy under one lock. Each
//! shard has an equal share of `max_bytes`. Shards share only the cache's handle, striped counters,
//! and the part of a higher limit that others have not left yet.
//!
//! A share is a single atomic number. Bytes are taken from it before memory is allocated, and given
//! back after memory is freed. So the sum never exceeds the limit, not even for a moment.
//!
//! # The index
//!
//! A bucket is a cache line with twelve lanes. It has tags of 8 bits, locations of 32 bits, 2-bit
//! visit counters, and a count of overflows. A location counts units of four bytes, so a shard can
//! have 16 GiB.
//!
//! In an index that is 85 % full, the limit, an entry costs 6.3 bytes. The hash is not kept: when
//! the table gets another size, keys are hashed again. A key's *home* bucket is where its search
//! begins. Home buckets are in the order of hashes for every size, since a multiplication scales
//! the hash to the number of buckets.
//!
//! A key has a second place, its *alternative*: one of eight buckets, 4 to 32 behind its home,
//! which the tag chooses. An entry goes home if at least two lanes are free there, and otherwise to
//! its alternative if that has more room (`index/places.rs`). If both are full, it is a *stray*: it
//! lies in the first later bucket with a free lane. The overflow count of a bucket is the number of
//! strays that went past it. A search stops where this count is 0.
//!
//! An entry stays where it is even if a lane of its home becomes free, because to move it back
//! would change its id. So without a choice, entries drift: where entries come and go, at a load of
//! 0.85, a third lie away from home, and most buckets count some entry that went past. A search for
//! an absent key then examines dozens of buckets. With two places, 64 % of the entries lie at home,
//! 30 % at their alternative, and 5 % are strays. A search for an absent key examines three or four
//! buckets. The distance matters: neighbours share much of their load, so alternatives 1 to 8
//! buckets away leave more strays, and twice as many buckets to examine. At a load of 0.9, 15 % are
//! strays, and a search for an absent key examines more than twenty buckets.
//!
//! An entry keeps its lane until it leaves or a sweep moves it. So the number of the lane is its
//! *id* for the policy. Updates and relocations store another location in the same lane. So a read
//! never misses a key that is present.
//!
//! An arena of less than 16 GiB does not need all bits of a location. The other bits hold more of
//! the hash. With the 8 bits of the tag alone, one search in eight for an absent key would
//! compare another entry's key. One in eleven took a fifth of an insert's time.
//!
//! Visits and the overflow count have bytes of their own, and do not share a word that would need
//! read-modify-write. So a visit is a plain store. A reader executes a single locked instruction,
//! the fence of its slot. On uniform reads of 4 million entries that was worth 9 %.
//!
//! ## Other sizes
//!
//! A shard has one table for life, with addresses for the largest size that its budget allows. Only
//! the part in use takes memory. A *sweep* gives the table another size in place, a few home
//! buckets with each write (`index/sweep.rs`). A second table would need the memory of both at
//! once, and a write that moves all entries would block the shard for as long.
//!
//! The size of a table is its number of home buckets. A large table has up to sixteen *spill*
//! buckets behind the last home. There, the search for a stray ends before it wraps around to the
//! first bucket. Alternatives beyond the last bucket are mirrored at the end. In tables of 100 to
//! 200 buckets, so 16 to 20 % of the entries of the last 32 homes are strays, and a search for an
//! absent key that begins there examines 12 to 15 buckets. To wrap around would spread that load.
//! But a policy prepares for one range of ids at a time, and renames outside of it are slow.
//!
//! Both sizes share the array because both keep the order of hashes. A table that grows is swept
//! from its last home to its first, as each home becomes the same bucket or a later one. A table
//! that shrinks is swept from the first home to the last. Single entries may move the other way,
//! between home and alternative. All entries of a home bucket move in one step. So a hash and the
//! position of the sweep tell in which of the two layouts an entry lies. Entries beyond the end of
//! a smaller table get their lanes before the others of their home. So there is a lane for each.
//!
//! A search begins with the position. If it finds nothing and the sweep has passed its hash
//! meanwhile, it is repeated: see [`ordering`](super::ordering).
//!
//! A change of the size has stages, each of them with a bounded part in a write
//! (`shard/resizing.rs`):
//!
//! 1. **Taking.** The shard's account takes the bytes of the larger index, of the wheel, and of
//!    what the policy will need. Nothing of them is touched before. If the account has too little,
//!    the ring gives chunks back. Each write cleans a part of one.
//! 2. **Bounding.** The policy learns how many ids and entries there will be.
//! 3. **Announcing and moving**, by turns. The policy learns the ids of a *stretch* of home
//!    buckets, which are about to change. A thirty-second of the homes is a stretch, because the
//!    memory for these ids has to be bounded. Then the sweep moves the entries of the stretch. Each
//!    one is renamed in the policy, and filed again in the wheel.
//! 4. **Clearing.** Behind the end of a table that has shrunk, only entries are left whose custom
//!    hasher changes its hashes. They are evicted, and the system takes the memory back.
//!
//! A growth begins while there is still room for a sixteenth of the entries, and ends before they
//! have come. The index shrinks if entries have become larger, once it is a quarter larger than a
//! full shard needs.
//!
//! Arrays of policies and of the wheel grow without a copy as well (`growable.rs`). They reserve
//! addresses for eight times their length. When these are used up, the system moves the pages. An
//! array that becomes shorter gives its memory back in steps of 512 KiB, and is counted until then.
//!
//! # The ring
//!
//! A shard's arena is divided into 200 to 400 chunks. There are fewer if chunks would be below 4
//! KiB, and more if they would be above 1 MiB. Entries are appended to an open chunk and never
//! change.
//!
//! An entry that leaves is marked dead. A chunk without live entries is *retired*. Once no reader's
//! slot names an entry in it, the ring ends its own pin on the chunk. [`Value`](crate::Value)s have
//! pins as well. The thread that brings the count to zero frees the chunk. So freeing a chunk needs
//! no handshake.
//!
//! When few chunks are free, the chunk with the fewest live bytes is *cleaned*, a little with each
//! write. In a ring of thousands of chunks, it is one of the emptiest among the next 512. That
//! costs 1 % more copies at most, and searches end soon. Free and absent chunks are found by a bit
//! for each.
//!
//! Fresh entries go to one open chunk, the first *stream*. Relocated entries go to a second stream,
//! and entries that are relocated again to a third. So a chunk holds entries of similar age, which
//! leave at similar times. On Zipf 0.9 traffic with S3-FIFO, the ring is 91 % live with
//! the third stream and 88 % without it. The amount of copying is the same.
//!
//! A governor sets the largest live share of the ring. It is at most 97.5 %, and falls to 79 % as
//! the bytes written for each byte stored, relocations included, approach 3.
//!
//! ## Runs
//!
//! An entry of a little more than half a chunk would leave its chunk half empty. An entry of a
//! little more than one chunk would leave two half empty. Such entries share *runs*: adjacent
//! chunks that are used as one larger chunk, of the length that wastes least (`ring/runs.rs`).
//! Entries of 1.01 chunks go to runs of nine, eight at a time. Larger entries, and those that fill
//! whole chunks well, have a run of their own and never have to move.
//!
//! Runs are shared only if entries above an eighth of a chunk make up three quarters of the stored
//! bytes. Otherwise small entries fill the gaps, and finding adjacent chunks would cost more.
//!
//! A run is not cleaned if most of its entries are dead and it has most of the dead bytes of the
//! shard. Its entries leave in the order in which they came, so it is about to be empty. Without
//! this rule, a cache that only gets inserts copied each entry once. With the rule, it copies none.
//!
//! | entry, in chunks | 0.26 | 0.34 | 0.51 | 0.76 | 1.01 | 1.26 | 2.01 | 3.01 | 4.01 | 5.01 |
//! |---|---|---|---|---|---|---|---|---|---|---|
//! | live of 1 MiB without runs, % | 74 | 65 | 49 | 72 | 48 | 60 | 63 | 71 | 75 | 78 |
//! | with runs | 89 | 88 | 87 | 90 | 82 | 90 | 83 | 83 | 77 | 80 |
//!
//! `three_quarters_of_a_full_shard_are_live_whatever_the_size_of_its_entries` prints such a table.
//! Two other designs were rejected. Entries could extend from one chunk into the next, but then the
//! pins of neighbours would keep a chunk from being freed. Smaller chunks would cost more in pins
//! and counts than they gain.
//!
//! ## Another limit
//!
//! [`set_max_bytes`](crate::Cache::set_max_bytes) sets a *target* for each shard's account. A
//! higher one is the *budget* at once, unless other shards still follow a lower one: then the rest
//! of it comes as these give memory back. After a lower one, the budget is lowered to what is
//! allocated after each step (`shard/shrinking.rs`). So [`Memory::max`](crate::Memory::max) only
//! falls. While the index is too large, a *reserve* stays above what is allocated: the policy's
//! memory for renames, and a few chunks. Without it, a shard that is cleared on its way to a lower
//! limit would have neither.
//!
//! * **Entries first, then the index, then chunks.** A step estimates what a full shard of the
//!   target holds, with the present index already smaller. Without that, the ring would pay for the
//!   index, and a fourth of the memory would keep a twentieth of the entries. Chunks that pay for
//!   the renames of the policy are kept until the index has shrunk.
//! * **No burst.** The capacity that the policy keeps to falls with the live bytes. If it fell to
//!   its new value at once, the next store would evict everything that is above.
//! * **Addresses up to the ceiling.** The arena, the index and the tables of chunks reserve
//!   addresses. Values and readers point to them, and none of them is copied. Locations have as
//!   many bits as the ceiling needs, so none has to be rewritten.
//! * **Tables in steps.** The tables of chunks take 80 bytes for each chunk. For chunks of 4 KiB
//!   and a ceiling of 64 times the limit, that is more than the limit. So a chunk gets its place
//!   when it is first needed (`ring/tables.rs`). To give places up, the chunks at the end are
//!   emptied. Other chunks are emptied where that costs least.
//! * **At most 64 times the first limit.** Some searches look through all chunks of a shard.
//!   Chunks do not become larger, so a shard that has grown has many.
//!
//! Two other designs were rejected. With chunks of another size, every location would change. With
//! more shards, keys would move between shards, and a key would have to be looked up in two.
//!
//! # Eviction
//!
//! The policy names victims until the live bytes and the new entry fit. It does not decide which
//! bytes move. It learns of a new entry before the entry is written, so it can refuse the entry.
//! Policies with counted visits read two bits beside the location. Ordered policies get touches
//! through a log. Readers write to it without a lock, and a writer drains it before any decision.
//!
//! Calls come in the order of the papers: room is made first, then the new entry gets its place.
//! The order matters. If CLOCK placed the new entry first, its hand could reach that entry and
//! evict it. So each file reads like its paper. Most policies agree with their references request
//! by request: [`policies`](super::super::policies) lists the differences.
//!
//! The new entry gets its place late, when the next access begins (`policy/arrival.rs`). By then
//! the memory that this touches has been prefetched, and the bucket of the next key is on its way.
//!
//! There are two kinds of ghosts. 2Q and ARC are defined by exact queues of ghosts, which cost 14
//! bytes a ghost. S3-FIFO and the default use sets of 16-bit fingerprints, which cost 2 bytes a
//! ghost. Their ghosts are forgotten a little earlier or later than in a queue.
//!
//! The queues of FIFO, CLOCK, S3-FIFO and the default are not linked lists. Their ids lie side by
//! side in blocks, so the next victims are known, and their buckets, headers and ghosts are
//! prefetched. A linked list costs a cache miss for each neighbour, and twice the memory. The price
//! of blocks is that a removed id leaves a hole until the queue reaches it.
//!
//! Every call tells a policy the charge that it may need, so those four policies keep no charges.
//! An id of the default costs its place in a queue, one bit for the queue, and its share of 1.75
//! ghosts for each entry. The place has four spare bits for the entry's level. Together that is 6.8
//! bytes. With charges, levels and two ghosts it was 10.7 bytes, and an eviction took two more
//! cache lines. The miss ratios on the traces in [`policies`](super::super::policies) are the same.
//!
//! An id is a lane, so it changes when its entry gets another lane. A policy then *renames* one
//! entry: it moves the values in its arrays, and corrects the neighbours in a list. A queue does
//! not know where an id lies. So a range of ids is announced first, and the queues are walked over,
//! a few places a call, to record the places of these ids. A record for every id would cost as much
//! as the queue. Translating old ids as they are met would need a table of all of them.
//!
//! Structures that find a key by its hash are resized in place. A high multiply keeps the order of
//! hashes. So a set of ghosts, a block of counters, or a segment of an index of ghosts moves to
//! its old place or a later one. One position tells which of them have moved. Exact ghosts lie
//! in blocks of a pool, as ids of queues do, so a ring becomes longer without a copy.
//!
//! A full index uses 85 % of its ids, and policies have room for no more. The index grows to the
//! size that a full shard will need, estimated from its entries so far. Usually the index of a full
//! shard then uses 83 to 85 % of its ids.
//!
//! # Bounded work
//!
//! The cache's own work for an operation is bounded by a constant and the bytes that the operation
//! stores. The search for a victim is amortised, as the policies' papers say. Work that grows with
//! the cache is divided:
//!
//! | work | with each write |
//! |---|---|
//! | the live target falls by a hundredth of the ring | 16 victims beyond those that make room for the entry |
//! | the search for the emptiest chunks | 512 chunks, in most shards all of them |
//! | cleaning | four times the stored bytes, and up to 32 times if no chunk is free |
//! | no chunk is worth cleaning | victims for up to eight times the stored bytes, before the free chunks are used up |
//! | the ring gives a chunk back to an index that grows | 6 KiB of cleaning, or 16 victims |
//! | the index gets another size | 36 entries and a home bucket, or 256 buckets and those up to the end of a page |
//! | arrays of a policy or of the timing wheel become shorter | 5 MiB of their memory are given back, mostly 2 MiB |
//! | expiry | 4 buckets; 1,024 after the clock has jumped by more than a year |
//! | absent chunks give back the memory that a huge page has taken for them | 64 MiB of addresses for each chunk that is opened |
//! | a queue closes its holes | 48 places |
//! | holes are recorded | a table for 16,384 ids may be copied |
//! | LFU halves its counts | 4 ranks |
//! | SLRU, 2Q and ARC follow a smaller capacity | 256 entries or ghosts |
//! | W-TinyLFU halves its sketch | 8 blocks |
//! | GDSF keeps its stamps from wrapping around | 1 id |
//!
//! [`clear`](crate::Cache::clear) takes the lock for 64 buckets at a time (`shard/clear.rs`), for
//! 4 MiB that it gives back, or for 64 MiB of absent chunks. It goes through the buckets by their
//! numbers, and not by hashes, so it works with any hasher. A sweep may move an entry to a bucket
//! that has been passed. That entry is removed at once, whether it was present at the beginning or
//! not.
//!
//! [`retain`](crate::Cache::retain) first detaches loads in progress. With each hold of a lock, it
//! examines the keys of 64 loads and of 64 leases.
//!
//! These costs are larger, and have other bounds:
//!
//! * If readers or values hold most chunks, a store that needs one cleans up to three whole chunks
//!   of at most 1 MiB, and evicts up to two more.
//! * If no chunk is left to write to, the search for the emptiest goes on until it has found one
//!   that is worth cleaning. It reads 16 bytes for each chunk. A shard has at most 25,600, or
//!   16,384 if its limit was never raised. A search for adjacent chunks also reads a cache line for
//!   each. Only a store of an entry that goes to a run needs it.
//! * On the way to a lower limit, a write may look through all chunks of a shard that had a higher
//!   one: for those that values hold, if many were held lately, and for the last chunk beyond the
//!   new size that is not held.
//! * The first entry with a deadline in a full shard makes room for the timing wheel: one byte for
//!   each entry that the index has room for.
//! * A policy gives all of its memory back at once if it is replaced in a shard that has lost all
//!   entries because the ring could not pay for renames.
//! * LFU with dynamic ageing may jump over many ranks at a hit. It walks over the ranks between,
//!   of which there are at most as many as entries. Otherwise a hit moves an entry by one rank.
//! * If a hasher changes the hash of a key, the store that empties the chunk of its entry searches
//!   the whole index for it. If it leads many keys to one home bucket, these move in one step of a
//!   growing index. The ring gives chunks back for the scratch memory of the step, 16 bytes for
//!   each entry.
//! * After a panic of user code under the lock, the shard is emptied at once.
//!
//! # Expiry
//!
//! A deadline is a word in the entry's header, which readers check. A timing wheel finds expired
//! entries. Its members are the buckets of the index, with twelve entries each, and not ids: see
//! [`expiry`](super::super::expiry).
//!
//! The words of a header that hold times are *stamps*. The ring keeps them, and takes them along
//! when it moves an entry, but does not interpret them. The index does not use them.
//!
//! # Loading
//!
//! A load in progress is a *flight* in its shard's tree. A result may be stored only while its
//! flight is in the tree. A write to the key removes the flight. Both happen under the shard's
//! lock. See [`loading`](super::super::loading).
//!
//! An earlier design kept the flights outside the shard's lock, and had to pass marks between the
//! two. A miss that is about to be loaded can afford the lock.
//!
//! # Namespaces
//!
//! A key of a namespace is stored with a prefix: a mark of two bytes, the slot of the namespace,
//! and its generation. A plain key is stored as it is. If it begins with the mark, it is stored
//! behind the mark and slot 0. So equal stored keys are equal keys of the same set. That holds for
//! any bytes, and needs no trust in hashes. The layout is in `src/namespace/mod.rs`.
//!
//! The cache converts keys at its surface. Everything below it treats stored keys as any bytes:
//! searches, policies, flights, leases. A plain read pays a comparison of two bytes. Instructions
//! (as for the table in *Writers and readers*, with a fixed hasher):
//!
//! | operation | without namespaces | plain key | key of a namespace |
//! |---|---:|---:|---:|
//! | `view`, a hit | 346 | 356 | 394 |
//! | `get`, a hit | 468 | 483 | 522 |
//! | an update | 1,310 | 1,359 | 1,490 |
//!
//! An invalidation counts the generation up. Keys get another prefix from then on, so entries of
//! earlier generations are never found again. The same holds for flights and leases: a caller that
//! comes later looks for another key. A load or a lease that began before checks under the lock of
//! its shard that its prefix is still the current one. A sweep in `maintain` removes what is left.
//! The registry tells it by the number of invalidations that there is something to do.
//!
//! These were considered and rejected:
//!
//! * A flag in the header of the entry. The small header has no bit left, and a larger one takes
//!   four more bytes for each entry of a namespace.
//! * Another hash for each namespace. The index compares keys, as different keys may have the same
//!   hash. So a plain key could find an entry of a namespace.
//! * A number for each invalidation in the entry, compared by reads. It takes space in each entry,
//!   and a load of the current number in each plain read.
//! * Invalidation by the prefix of a key, and by tags. A prefix of keys is a namespace, as a
//!   namespace costs a registered name and no pass over the entries. Prefixes that are not known
//!   beforehand need an index of keys in their order. It would cost each insert a search, and each
//!   entry about as much memory as the index has now. Tags need a list of entries for each tag,
//!   which each eviction would have to change under the lock of another shard. Both would be paid
//!   for by callers who do not use them. [`retain`](crate::Cache::retain) does both, in a pass over
//!   all entries. A tag that is known at the insert can also be part of the value, with a number
//!   that its reader compares.
//!
//! # Atomic changes
//!
//! The closure of [`update`](crate::Cache::update) runs without a lock, on a value that it holds.
//! Its result is stored under the lock, if the key still has that value. Values are compared by
//! their bytes, and not by location: relocations change the location of an entry, and the closure
//! has seen nothing but the bytes. An entry that left and came back with equal bytes is the same to
//! it. Mostly the location is the same as well, and no bytes are compared.
//!
//! The comparison fails only after the entry has changed. So of several threads that update an
//! entry, one succeeds in each round. A pin holds the value. It ends after the comparison, because
//! the space for the new value may have to come from the same chunk.
//!
//! # Listeners
//!
//! If there is a listener, entries that leave are copied under the lock. The listener is called
//! after the unlock. Pinning the entries in place would keep their chunks from being reused, and so
//! change which entries leave.
//!
//! A listener that inserts can make another entry leave, for which the listener is called again.
//! Nested calls could overflow the stack. So entries that leave while a listener runs join a queue
//! of the thread, over all caches, and the outermost operation reports them: `removal.rs`. That
//! operation reports a bounded number, since such a listener could go on forever.
//!
//! # The advisor
//!
//! An [`Advisor`](crate::Advisor) runs policies on a sample of the keys (`src/advisor/`). Reads and
//! writes push events of sampled keys to a queue of their shard. The queue is emptied without the
//! shard's lock, at the beginning of the next write or by a read that finds it full. A writer that
//! holds the lock and finds the queue full drops its event. So a policy that is simulated can
//! neither hold a shard up nor empty it by a panic.
//!
//! * A clear is one number for all shards. An event in the queue of each shard would not do. The
//!   engine would follow the first event, then stores of other shards, and then later events, which
//!   would undo these stores.
//! * The shadows expire entries by their deadlines. If each expired entry sent an event, the
//!   shadows would forget its charge, which they need for the next miss of the key.
//! * Policies may allocate more while they run. An engine leaves a sixteenth of its memory free,
//!   and measures after each pass over its keys. If it has too much, it samples fewer keys. If that
//!   does not help in three passes, the advisor stops.
//!
//! Hot keys need a sample of reads, as a sample of keys would lack most of them. A thread counts
//! its reads of caches with an advisor, in a local without a destructor, which is found without a
//! look-up (`advisor/turns.rs`). At the end of the count, a read has a turn. In a cache without an
//! advisor, one comparison leaves both samples out. The count is that of the thread, for all caches
//! with an advisor.
//!
//! A turn notes the hash of its key in its thread, and one in nine tries the lock of the counters
//! and counts all of them. It counts them where the thread has noted them, as a copy would take
//! longer than all else. So a turn takes a third of what it would take alone. Threads meet at the
//! counters once in 288 reads, even if all read one key. To compare each read with a table of hot
//! keys would count these exactly. But that takes three to five instructions of every read, and
//! eight to ten of a read of a hot key, which is more than the whole sample takes.
//!
//! # Iteration
//!
//! A walk through all entries goes through the home buckets in order. For each, it visits the chain
//! of buckets in which entries of this home may lie. Its position is a hash, since a table of any
//! size keeps the order of hashes. A bucket number would not do, because a sweep moves entries to
//! other buckets. Positions in the ring change with each relocation. The walk finds one entry at a
//! time, checks its deadline as a read does, and passes it to the closure.
//!
//! An entry that is present is always in a lane of its home's chain.
//! [`set_ttl`](crate::Cache::set_ttl) may have to write an entry again. If the policy evicts the
//! entry meanwhile, it is not written again, since a walk could miss it in another lane.
//!
//! # Snapshots
//!
//! A save walks the policies of all shards in step, and copies entries into blocks
//! (`shard/save.rs`). So a file has the order of the policy over the whole cache. A cache with
//! another number of shards or another policy stores the entries in that order.
//!
//! * **A lock is held for a few ids.** The policy names 16 entries for each hold, and they are
//!   copied without the lock, as readers read. The next hold is mostly that of another shard.
//!   While entries were copied under the lock, a thread that wrote to 8 shards had a seventh of its
//!   speed beside a save.
//! * **The entries that the policy has not shown need no lock.** Lanes are looked at as by a
//!   reader. A walk under the lock, through all homes of the index, sent writers to sleep.
//! * **A store of an absent key is not recorded.** Its entry is recorded once it is replaced or
//!   leaves. The word of a bit in the record is mostly in no cache of the core. So a shard
//!   prefetches it, and sets the bit a few changes later.
//! * **The cursor lies in the structures of the policies.** An id that leaves its list moves the
//!   cursor on. A bit for each lane says which ids were taken. Entries that moved
//!   meanwhile and were not shown follow in the order of their lanes.
//! * **Changes are bits of hashes**, and not keys: their memory is bounded, whatever is written.
//!   They are at the end of the file, as they are known only then.
//! * **Keys are saved as they are stored,** with the prefix of their namespace. The registry of
//!   namespaces comes before them, and opens each namespace in the slot that it had. So no key is
//!   rewritten, and hashes stay. A second registry at the end outdates what was invalidated
//!   meanwhile. The price is that a slot is taken for as long as the snapshots go on.
//! * **Entries that leave together lie together.** GDSF shows entries by priority. In the order of
//!   ids, the ring of the restored cache would mix entries that stay with those that leave. On one
//!   recorded trace, that costs 3.8 points of the hits.
//! * **The seeds of the hasher travel.** With other seeds, keys are in other shards. Shards that
//!   get more than they can hold lose entries, and ghosts mean nothing.
//! * **The size of the index and the live target travel**, too. A restored cache that holds one
//!   percent less misses up to a point more where sizes vary.
//!
//! # Writers and readers
//!
//! A writer never waits for a reader. A reader publishes the entry that it reads in a slot of its
//! thread, and a chunk that a slot names is not reused. So a reader that stops anywhere costs that
//! chunk, or run of chunks, and nothing else. If an insert lacks chunks, it empties others. It is
//! rejected only when no other chunk can be emptied.
//!
//! One scan of all slots serves all waiting chunks, and a write scans only when chunks run short.
//! The four slots of a thread for single reads fill a cache line. Those of
//! [`get_many`](crate::Cache::get_many) reach over the next three. The first of these also has the
//! word that says whether `get_many` has used them. So a scan loads two lines of each record, and
//! the other two only after their first use.
//!
//! With epochs instead of slots, a single closure that did not return made every cache of the
//! process reject its inserts. Inserts also failed if readers were preempted. Epochs protect only
//! the list of threads' records.
//!
//! A hit checks the lane twice. Its fence costs as much as that of an epoch pin.
//! Instructions with epochs and with slots (callgrind, 24-byte keys, 256-byte values, 8 MiB, 4
//! shards). The table compares the two designs, in code that has changed since. The counts that
//! `cargo bench --bench instructions` records in `benches/instructions.txt` include the loop around
//! the operation:
//!
//! | operation | epochs | slots |
//! |---|---:|---:|
//! | `get_into`, a hit | 358 | 364 |
//! | `view`, a hit | 313 | 320 |
//! | `get`, a hit | 439 | 452 |
//! | a miss | 216 | 215 |
//! | a key of `get_many` | 297 | 330 |
//! | an insert that evicts | 2,403 | 2,479 |
//! | an update | 1,213 | 1,269 |
//!
//! A thread registers a record under a lock at its first read. Reads that are nested deeper than a
//! record has slots register another one. Counted pins and copies would also work, but need more
//! code for a rare case.
//!
//! # Writes to lines that other threads use
//!
//! A cache line that one core writes and another uses moves between their caches each time. That
//! limits how many operations run side by side. Writes of each operation to shared words:
//!
//! | operation | writes | lines | which |
//! |---|---|---|---|
//! | hit by `view`, `get_into`, `get_many`; visits counted, and at their maximum | 0 | 0 | |
//! | the same below the maximum, so three times for an entry | 1 | 1 | its bucket |
//! | the same under an ordered policy | 2 | 2 | the count and a place of a stripe of the touch log, if the other thread has the same stripe of the four |
//! | a [`Value`](crate::Value), in addition | 2 | 1 | its chunk's pins: when it is made and when it is dropped (the first of a chunk marks it, too) |
//! | `contains_key`, and a miss | 0 | 0 | |
//! | a miss of one key in eight, under a policy that wants to know of misses (the default) | 2 | 2 | the count and a place of the shard's miss log; 0 once it is full |
//! | any counted read by a thread beyond the 63rd (fewer in caches below 1 MiB), in addition | 1 | 1 | the counters that such threads share |
//! | update | 3 | 2 | the lock (taken, released), the bucket; that twice as long as its visits are below their maximum |
//! | insert of a fresh key, removal | 4 | 2 | the lock, the bucket twice |
//! | update, when readers of an ordered policy have logged | + 2, and 1 for each touch | | the stripe's count, its places |
//! | update, as readers of another bucket see it | 0 | 0 | |
//!
//! Writers also write the state behind the lock. An eviction also writes to the victim's bucket,
//! and a relocation to that of the entry that moves. A slot lies in a line of its own thread.
//! `src/shared_lines.rs` checks these numbers exactly
//! (`hits_share_no_write_once_visits_are_at_their_top` and the tests after it). It also lists the
//! writes that it does not see.
//!
//! # Several writers
//!
//! Two threads that insert into one cache are hardly faster together than one alone. With a cache
//! for each they are twice as fast. An insert with an eviction touches about 24 cache lines that
//! other writers write. The new entry has 5 of them and the victim 2. Buckets have 4, ghosts 2,
//! queues 3, chunks 2, the shard's state 3 and the policy 3. Half of them were last written by the
//! other core. Prefetching them together does not make them free: each such line took a core 28 ns,
//! however many it had requested. So the number of lines matters, and the moment of the request.
//!
//! * **Few lines.** The words that each insert writes come first in `State`, `Ring`, `WriteCounts`,
//!   the default policy and its queues. They take three lines in the state and three in the policy,
//!   and a constant beside each asserts that. An earlier layout had seven lines more. A model of
//!   two unlimited processor caches replayed the accesses of 6,000 inserts, each on a random core.
//!   With the earlier layout, an insert read 17.5 lines from the other core and invalidated 11.7
//!   more there. With fewer lines it is 14.3 and 9.9.
//! * **Prefetching by the core that needs them.** An insert prefetches lines for the next insert:
//!   those of the next victim, and those of ghosts that are still to be recorded. They are in the
//!   wrong processor cache if the next insert runs on another core. So each insert prefetches them
//!   again once it has the lock, unless the last one was done by the same thread. The address of
//!   the ring's end is also kept beside the lock. Looking it up in the chunk took as long as
//!   fetching the line.
//!
//! Both together gained an eighth with two threads (factors of 1.06 and 1.07, medians of 150
//! interleaved slices), and 1 or 2 % with one. Without the second, a profile showed that an insert
//! into eight shards takes about 800 ns more with two threads than with one. The parts, in ns:
//!
//! * unlocking: 104, as a locked instruction waits for all earlier memory stores;
//! * locking: 57, and waiting for held locks: 190 (12 in 64 shards);
//! * lanes of victims: 80, and ghosts: 90, which the other core had prefetched;
//! * the end of the ring: 60.
//!
//! These were tried and rejected:
//!
//! * Eight shards for each core by default: 8 % more inserts with two threads. But values of 1,000
//!   B cost 1.06 times their bytes instead of 1.05, and those of 10,000 B 1.11 instead of 1.03.
//! * Prefetching to write: no effect.
//! * Spinning on a held lock for eight microseconds before yielding: no effect, not even on the
//!   slowest inserts beside expiry.
//! * Placing a new entry in its queue at the end of its own insert, while its lines are in the
//!   processor's caches: 7 % fewer inserts with one thread, 2 % more with two. At the beginning of
//!   the next insert, this work overlaps the wait for other lines.
//!
//! # Prefetching
//!
//! The cost of an operation is the number of lines that it waits for.
//!
//! * A read prefetches the alternative before it looks at home. Otherwise a third of the hits would
//!   wait for one line after the other. That gained 5 % with 4 million entries of 24 + 16 bytes.
//!   Home itself is not prefetched, as few instructions come before the first look at it.
//! * A write prefetches home and alternative before it takes the lock. Meanwhile the last entry
//!   gets its place in the policy.
//! * An eviction's lines are prefetched four victims ahead.
//! * All lines of an entry are prefetched once its tag has matched, since only the first line tells
//!   where the value begins.
//! * The lines of the next entry are prefetched after each append.
//! * Lock, state and policy are prefetched before the lock is taken. Just after that follow the end
//!   of the ring, the next victims, and the place of the last entry in the policy, if another
//!   thread wrote last (`shard/prefetch.rs`).
//!
//! `prefetch.rs` has one function with one `unsafe` instruction. The ring, the index and policies
//! use it.
//!
//! # What a hit costs
//!
//! In a large cache of small entries, two waits for memory take four fifths of a hit: first for the
//! bucket, and then for the entry. The floor in `benches/compare` has the same two waits, but fewer
//! instructions, and no fence between one read and the next. So its reads overlap more: hits have
//! 0.6 to 0.7 of its speed. They have 0.8 to 0.9 of it if most keys are in the processor's caches,
//! or if entries are longer than a line or two. [`get_many`](crate::Cache::get_many) lets sixteen
//! reads overlap. `valgrind --tool=callgrind --toggle-collect='*read_block*'` counts the
//! instructions of both in a race. `benches/instructions.txt` records those of hits under three
//! policies.
//!
//! * **Instructions.** The path of an entry without stamps is inlined into one function, and passes
//!   nothing through memory. Other cases are calls of functions. Results of such calls have types
//!   of their own (`OutOfLineLayout`). Otherwise the compiler would keep the results of the inlined
//!   path in memory, too, and a hit would take more instructions.
//! * **One candidate.** The first lane with the tag and the extra bits mostly has the entry. The
//!   inlined search looks at no other one. If the key differs, or if the lane has changed, a
//!   function searches again from the beginning (`shard/lookup.rs`). So the inlined code has no
//!   loop around the look at an entry, and keeps less in registers.
//! * **Marks of pinned chunks.** A quarter of the chunks may be marked. Where values are read from
//!   all chunks, nearly each `get` finds that limit reached. A recount each time would be slow. So
//!   a value takes over the mark that was set last, if no value holds that chunk any more
//!   (`ring/shared.rs`).
//! * **The fence.** Without it, which is unsound, the first race gained nothing beyond noise, and a
//!   race on popular keys 5 %. `membarrier` would move the cost to the writers, but is not worth a
//!   second protocol.
//! * **Pages.** Index tables from 2 MiB on lie in huge pages. With 4 million entries in eight
//!   shards, hits became about a tenth faster. That was measured with tables rounded up to whole
//!   huge pages. In the crate, the end of a table after the last whole huge page lies in small
//!   pages.
//!
//! # Reads that find deadlines
//!
//! A deadline costs far reads (one of a million entries in random order) more than near ones, in a
//! loop that does nothing else: 309 ns instead of 181. While the processor waits for the entry of
//! one read, it executes less of the next read. A read that moves an idle deadline writes to the
//! entry's header. The clock takes 5.7 ns, where `std::time::Instant` takes 23 ns.
