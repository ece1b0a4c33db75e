//! The parts, how they meet, and why they are as they are.
//!
//! ```text
//!            hash -> shard, bucket, tag
//!                      |
//!   reader  index bucket (one line) -> slot, fence -> entry in the ring -> key compared -> closure, copy or Value
//!                      ^                           ^
//!   writer  lock -> policy: who leaves        ring: what moves, retired chunks -> slots -> values -> free
//! ```
//!
//! # Shards
//!
//! The top bits of the hash choose a shard: a ring, an index, a policy under one lock, with an equal share of
//! `max_bytes`. Nothing is shared between shards but the handle and striped counters. A share is a single
//! atomic number: memory is taken from it before it is allocated, and given back after it was freed, so the
//! sum never exceeds the limit, not even for a moment.
//!
//! # The index
//!
//! Twelve lanes in a cache line: tags of 8 bits, locations of 32 bits (in units of four bytes, so a shard can
//! have 16 GiB), 2-bit visit counters, and a count of the entries that found the bucket full and went on to
//! the next. At its limit of 85 % an entry costs 6.3 bytes. The hash is not kept: when the table grows, keys
//! are hashed again, and home buckets keep their order since they come from a high multiply.
//!
//! An entry keeps its lane until it leaves or the table grows. So the lane's number is its *id*, by which the
//! policy knows it. Updates and relocations store another location in the same lane: a key that is present is
//! never missing for an instant.
//!
//! An arena of less than 16 GiB does not need all bits of a location: the others hold more of the hash. With
//! eight bits of tag alone, every eleventh search for a key that is not there looked at another entry, which
//! was a fifth of an insert's time.
//!
//! The visits and the overflow count are bytes of their own rather than one word that is changed by
//! read-modify-write: a visit is then a plain store, and a reader executes no locked instruction but the one
//! in its slot's fence. On uniform reads of 4 million entries that was worth 9 %.
//!
//! # The ring
//!
//! A shard's arena is divided into 200 to 400 chunks (fewer or more where they would be below 4 KiB or above
//! 1 MiB). Entries are appended to an open chunk and never change.
//! Leaving, an entry is marked dead. A chunk without live entries is *retired*: when no reader's slot names an entry in it, the
//! ring's own pin on it ends; [`Value`](crate::Value)s have
//! pins as well, and whoever brings the count to zero frees the chunk. There is no handshake and no second
//! look-up.
//!
//! When few chunks are free, the one with the fewest live bytes is *cleaned*, a little with each store: its
//! live entries are copied to a chunk of survivors. Entries that are relocated again go to a third stream. So
//! chunks hold entries of similar age, which die at similar times. On Zipf 0.9 traffic with S3-FIFO the third
//! stream let the ring be 91 % live instead of 88 % for the same amount of copying.
//!
//! A chunk would be half empty with entries of a little more than half a chunk, and two of them with an entry of a little
//! more than one. So such entries share *runs*: adjacent chunks that are used as one larger chunk, as long as wastes least
//! (`ring/runs.rs`). Entries of 1.01 chunks go to runs of nine, eight at a time. Larger ones, and those that fill whole
//! chunks well, have a run for themselves and never have to move. Only where three quarters of what is stored is larger
//! than an eighth of a chunk are runs shared: beside many small entries, those fill what the others leave, and to find
//! adjacent chunks would cost more. A run most of whose entries are dead, and that has most of what is dead in the shard,
//! is left alone: its entries die in the order in which they came, and it will be empty in a moment. Without that, a
//! cache that is only filled copied each entry once; with it, none.
//!
//! | entry, in chunks | 0.26 | 0.34 | 0.51 | 0.76 | 1.01 | 1.26 | 2.01 | 3.01 | 4.01 | 5.01 |
//! |---|---|---|---|---|---|---|---|---|---|---|
//! | live of 1 MiB without runs, % | 74 | 65 | 49 | 72 | 48 | 60 | 63 | 71 | 75 | 78 |
//! | with runs | 89 | 88 | 87 | 90 | 82 | 90 | 83 | 83 | 77 | 80 |
//!
//! (`three_quarters_of_a_full_shard_are_live_whatever_the_size_of_its_entries` prints such a table.) Other ways were to let
//! entries reach from one chunk into the next, where a chunk can be freed only when its neighbours' pins allow it; and
//! smaller chunks, whose pins and counts would cost more than they gain.
//!
//! How full the ring may be is governed: up to 97.5 %, down to 79 % as the amount of copying for each byte
//! stored nears 3.
//!
//! # Eviction
//!
//! The policy names victims until the live bytes and the new entry fit; which bytes move is none of its
//! business. It is told of a new entry before that is written, so it may refuse it. Policies with counted
//! visits read two bits beside the location. Ordered ones get touches through a log that readers write
//! without a lock and that is drained before any decision.
//!
//! Most algorithms are defined the other way round: room is made first, then the newcomer takes its place. It matters: a
//! clock whose hand comes round to an entry that has no place yet would evict it. One adaptor (`policy/algorithm.rs`) turns
//! one order into the other for all built-in policies, so that each file reads as its paper does, and each is equal to
//! its reference to the request (see [`policies`](super::policies)).
//!
//! Ghosts come in two kinds. 2Q and ARC are defined by exact queues of them, which cost 14 bytes a ghost. S3-FIFO and the
//! default do with sets of 16-bit fingerprints, 2 bytes a ghost, whose lifetimes vary a little.
//!
//! The queues of FIFO, CLOCK, S3-FIFO and the default are not linked lists: ids lie side by side in blocks, so what will be evicted next is
//! known, and its bucket, header and ghosts are fetched ahead. A queue of links costs a cache miss for each
//! neighbour and twice the memory. The price is that removed ids stay behind as holes until the queue comes
//! past them.
//!
//! A policy is told of an entry's charge whenever it may need it, so those four keep none: an id of the default costs its place in a
//! queue (which has four bits left over for the entry's level), one bit for the queue, and its share of 1.75 ghosts for each entry.
//! That is 6.8 bytes, where charges, levels and two ghosts made it 10.7, and cost two lines an eviction more; on the traces in
//! [`policies`](super::policies) it misses as much. An index that is full uses 85 % of its ids, and policies have room for so
//! many and no more. The index grows to the size that a full shard will need, reckoned from what its entries were like so
//! far: mostly it is 83 to 85 % full then.
//!
//! # Expiry
//!
//! A deadline is a word in the entry's header, which readers check. The space of what has died is found by a timing wheel
//! over the buckets of the index, twelve entries a member, rather than over ids: see [`expiry`](super::expiry).
//!
//! The words of a header that have to do with time are *stamps*. The ring keeps them, and takes them along when it moves an
//! entry, without knowing what they mean; the index does not know of them at all.
//!
//! # Loading
//!
//! A load under way is a *flight* in its shard's tree of them. To be there is the right to be stored: writes to its key
//! take it out, under the lock that the result would be stored under. See [`loading`](super::loading).
//!
//! The picture that this crate was begun with had the table of flights outside the shard's lock, with marks that were to be
//! handed over between the two. Under the lock there is nothing to hand over; a miss that is about to be loaded can afford it.
//!
//! # Listeners
//!
//! Entries that leave are copied under the lock if there is a listener, which is told after the unlock. Pinning them in place
//! instead would have kept their chunks from being used again, and so changed who leaves.
//!
//! A listener that inserts what was evicted makes another entry leave, whose listener does so in turn. Within the calls that would
//! take a frame of the stack for each. So what leaves while a listener runs joins a queue of the thread, over all caches, and the
//! operation on the outside tells of it: `removal.rs`. The queue has an end for each operation, since such a listener has none.
//!
//! # Iteration
//!
//! A walk through all entries goes by *home* buckets: for each, the chain of buckets in which its entries may lie. Its place is a
//! hash, which every table keeps the order of. A bucket number would mean another place after the index has grown: entries that
//! were displaced in one table lie at home in the next, in front of it. And places in the ring change whenever it is cleaned.
//! One entry at a time is found, judged as a read does, and shown.
//!
//! An entry keeps its lane as long as it is there. When [`set_ttl`](crate::Cache::set_ttl) stores one anew and the policy chooses it
//! meanwhile, it is gone for good: to be there again in another lane would hide it from a walk.
//!
//! # Writers and readers
//!
//! A writer never waits for a reader. A reader names the entry that it reads in a slot of its thread, and a chunk that a slot
//! names is not reused: so a reader that stops anywhere costs that chunk, or run of chunks, and nothing else. Where such chunks
//! are missing the store empties others. It refuses only when nothing is left that could be emptied.
//!
//! One look at all slots serves all chunks that wait, and a store takes it only when chunks run short. The slots of a thread
//! for single reads share a cache line; those of [`get_many`](crate::Cache::get_many) are two lines, which nobody looks at
//! before their first use.
//!
//! Chunks went through epochs before: a single closure that did not return made every cache of the process refuse its inserts,
//! and a store gave up where readers were preempted, as emptying more chunks would have lost entries for nothing. Epochs are
//! left for the list of threads' records alone. A hit takes 4 % more instructions than with them, as it looks at the table and
//! the lane twice; the fence is the one that the pin had.
//!
//! Reads that are nested deeper than a thread has slots register for another record, with a lock. Counted pins and copies would
//! do as well; they cost more code, and nobody nests so deep.
//!
//! # Writes to lines that other threads use
//!
//! A cache line that one core writes and another one uses has to travel each time; that is what would keep operations from
//! running side by side. Per operation, on words that are shared:
//!
//! | operation | writes | lines | which |
//! |---|---|---|---|
//! | hit by `view`, `get_into`, `get_many`; visits counted, and at their top | 0 | 0 | |
//! | the same below the top, so three times for an entry | 1 | 1 | its bucket |
//! | the same under an ordered policy | 2 | 2 | the count and a place of a stripe of the touch log, if the other thread has the same stripe of the four |
//! | a [`Value`](crate::Value), in addition | 2 | 1 | its chunk's pins: when it is made and when it is dropped (the first of a chunk marks it, too) |
//! | `contains_key`, and a miss | 0 | 0 | |
//! | any counted read by a thread beyond the 63rd (fewer in caches below 1 MiB), in addition | 1 | 1 | the counters that such threads share |
//! | update | 3 | 2 | the lock (taken, let go), the bucket; that twice as long as its visits are below their top |
//! | insert of a fresh key, removal | 4 | 2 | the lock, the bucket twice |
//! | update, when readers of an ordered policy have logged | + 2, and 1 for each touch | | the stripe's count, its places |
//! | update, as readers of another bucket see it | 0 | 0 | |
//!
//! For writers, what lies behind the lock comes on top; an eviction writes to the victim's bucket as well, a relocation to that
//! of the entry which moves. A slot lies in a line of its thread's own. `src/shared_lines.rs` holds these numbers, to the write
//! (`hits_share_no_write_once_visits_are_at_their_top` and the tests after it), and says what it does not see.
//!
//! # Several writers
//!
//! Two threads that insert into one cache are hardly faster together than one alone; with a cache for each of them they are twice as
//! fast. What an insert with an eviction touches and other writers write is about 24 cache lines: five of the new entry and two of
//! the victim, four of buckets, two of ghosts, three of queues, two of chunks, three each of the shard's state and of the policy.
//! Half of them were last written by the other core. Fetching them all at once does not make that free: a core got one
//! such line in 28 ns, however many it had asked for. So what counts is how many there are, and when they are asked for.
//!
//! * **Few lines**: what each store writes to comes first in `State`, `Ring`, `WriteCounts`, the default policy and its queues, and
//!   takes three lines in the state, three in the policy; a constant beside each holds it there. It was seven lines more. In a model
//!   of two caches without limits, fed with the accesses of 6,000 inserts that fell to either core by chance, an insert had 17.5
//!   lines from the other core and took 11.7 more away from it; now 14.3 and 9.9.
//! * **Asked for by who needs them**: what one store asks for on behalf of the next (the victim after this one, the sets of ghosts
//!   that are put off) is in the wrong cache if that is on another core. So each store asks for it again as soon as it has
//!   the lock. The end of the ring lies beside the lock, not only with its chunk: to know where it is took as long as to get it.
//!
//! Both together were worth an eighth with two threads (medians of 150 slices in turn: 1.06 and 1.07), 1 or 2 % with one. By the
//! profile, an insert into eight shards took about 800 ns more with two threads than with one before the second of these, of
//! which 104 for unlocking, as a locked instruction waits for all stores before it; 57 for locking; 190 for locks that were held (12 in
//! 64 shards); 80 for the lanes of victims and 90 for ghosts, which the other core had asked for; 60 for the end of the ring.
//!
//! Tried and left: eight shards for each core by default (8 % more inserts with two threads, but values of 1,000 B cost 1.06 times
//! their bytes instead of 1.05, and those of 10,000 B 1.11 instead of 1.03); prefetching to write (nothing); looking at a lock that
//! is held for eight microseconds before the thread lets others run (nothing, nor for the slowest inserts beside expiry); giving a
//! newcomer its place at the end of its own store, where its lines are at hand, and not at the beginning of the next, where
//! other lines are on their way (7 % fewer inserts with one thread, 2 % more with two).
//!
//! # Prefetching
//!
//! What an operation costs is the lines that it waits for. The bucket is asked for before the slot is taken
//! (reads) or the lock (writes, with the next one, where the search for a new key often goes on; the policy does meanwhile
//! what it has put off); what an eviction will look at, four victims ahead; all of an entry's lines once its tag has
//! matched, as where its value begins is in the first of them; the lines that the next entry will be written to, after each
//! append. Lock, state and policy are asked for before the lock is taken; just after that the end of the ring, the next victims, and
//! what the policy has put off (`shard/ahead.rs`).
//! `prefetch.rs` has one function with one `unsafe` instruction, which both the ring and the index, and
//! policies, use.
//!
//! # What a hit costs
//!
//! On small entries in a large cache four fifths of a hit are two waits for memory, one after the other: for the bucket and
//! for the entry. The floor in `benches/compare` has the same two, but no fence between one read and the next, and 236
//! instructions where a hit takes 364 (counted by `valgrind --tool=callgrind --toggle-collect='*read_block*'` in its races), so its
//! reads overlap further: a hit has 0.6 to 0.7 of its speed there, 0.8 to 0.9 where most keys are in the processor's caches or
//! entries are longer than a line or two. [`get_many`](crate::Cache::get_many) lets sixteen overlap.
//!
//! * **Instructions**: everything for an entry without stamps is inlined into one function, and nothing goes through memory on its
//!   way; the rest is called. What such calls return has types of its own (`LayoutParts`, `Judged`), or the inlined path's results
//!   would be kept in memory for their sake. That took 524 instructions to 364.
//! * **The fence**: taken out, which is unsound, the first race gained nothing that could be told from noise, and one on popular
//!   keys 5 %. Fences that only the other side pays (`membarrier`) are not worth a second protocol for that.
//! * **Pages**: index tables from 2 MiB on lie in huge pages. On 4 million entries in eight shards that was worth about a tenth,
//!   with the tables rounded up to whole huge pages; as it is, what is left after the last whole one lies in small pages.
//!
//! # Where what is
//!
//! | floor | files |
//! |---|---|
//! | 6 | `lib.rs` |
//! | 5 | `builder.rs`, `loader/`: threads, tasks, rules, many keys; `docs/`; `loom/` and `shared_lines.rs`, which are tests |
//! | 4 | `cache/`: routing to shards; operations on all entries, on lifetimes, and what loads ask |
//! | 3 | `shard/`: `lookup.rs` and `read.rs` without the lock; `write.rs`, `space.rs`, `expire.rs`, `load.rs` and `grow.rs` with it; `idle.rs` and `walk.rs` with and without |
//! | 2 | `ring/`, `index/`, `policy/`, `expiry/`, `flight.rs`: five rooms that do not know each other |
//! | 1 | `units.rs`, `error.rs`, `hash.rs`, `clock.rs`, `stats.rs`, `reclaim/`, `region.rs`, `removal.rs`, `prefetch.rs`, `sync.rs` |
//!
//! A file imports only from floors below its own (`tests/layering.rs` holds that; the one exception is
//! `Cache::builder`). `unsafe` is in `ring/`, `index/`, `reclaim/`, `shard/lookup.rs`, `region.rs` and `prefetch.rs`.
