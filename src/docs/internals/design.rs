//! The parts, how they work together, and the reasons for them.
//!
//! ```text
//!   key     hash -> shard, bucket, tag
//!                     |
//!   reader  bucket (one line) -> slot, fence -> entry in the ring -> compare keys -> closure, copy, Value
//!                     ^                           ^
//!   writer  lock -> policy: victims         ring: moves, retired chunks -> slots -> values -> free
//! ```
//!
//! # Shards
//!
//! The top bits of the hash choose a shard: a ring, an index and a policy under one lock. Each
//! shard has an equal share of `max_bytes`. Shards have only the handle and striped counters in
//! common.
//!
//! A share is a single atomic number. Memory is taken from it before it is allocated, and given
//! back after it was freed. So the sum never exceeds the limit, not even for a moment.
//!
//! # The index
//!
//! A bucket is a cache line with twelve lanes. It has tags of 8 bits, locations of 32 bits, 2-bit
//! visit counters, and a count of overflows. A location counts units of four bytes, so a shard can
//! have 16 GiB. The overflow count is the number of entries that found the bucket full and went on
//! to the next.
//!
//! At its limit of 85 % an entry costs 6.3 bytes. The hash is not kept. When the table grows, keys
//! are hashed again. Home buckets keep their order, since they come from a high multiply.
//!
//! An entry keeps its lane until it leaves or the table grows. So the number of the lane is its
//! *id* for the policy. Updates and relocations store another location in the same lane: a key that
//! is present is not missed for an instant.
//!
//! An arena of less than 16 GiB does not need all bits of a location. The other bits hold more of
//! the hash. With the 8 bits of the tag alone, every eleventh search for an absent key looked at
//! another entry. That took a fifth of an insert's time.
//!
//! Visits and the overflow count are bytes of their own, not one word that is changed by
//! read-modify-write. So a visit is a plain store. A reader executes one locked instruction: the
//! fence of its slot. On uniform reads of 4 million entries that was worth 9 %.
//!
//! # The ring
//!
//! A shard's arena is divided into 200 to 400 chunks. There are fewer or more where chunks would be
//! below 4 KiB or above 1 MiB. Entries are appended to an open chunk and never change.
//!
//! An entry that leaves is marked dead. A chunk without live entries is *retired*. Once no reader's
//! slot names an entry in it, the ring ends its own pin on the chunk. [`Value`](crate::Value)s have
//! pins as well. The thread that brings the count to zero frees the chunk. There is no handshake
//! and no second look-up.
//!
//! When few chunks are free, the chunk with the fewest live bytes is *cleaned*, a little with each
//! store. Its live entries are copied to a chunk of survivors. Entries that are relocated again go
//! to a third stream. So a chunk holds entries of similar age, which leave at similar times. On
//! Zipf 0.9 traffic with S3-FIFO the third stream let the ring be 91 % live instead of 88 % for the
//! same amount of copying.
//!
//! The live share of the ring is governed. It rises up to 97.5 %, and falls down to 79 % as the
//! bytes copied for each byte stored approach 3.
//!
//! ## Runs
//!
//! An entry of a little more than half a chunk would leave its chunk half empty. An entry of a
//! little more than one chunk would leave two half empty. Such entries share *runs*: adjacent
//! chunks that are used as one larger chunk, of the length that wastes least (`ring/runs.rs`).
//! Entries of 1.01 chunks go to runs of nine, eight at a time. Larger entries, and those that fill
//! whole chunks well, have a run for themselves and never have to move.
//!
//! Runs are shared only where three quarters of the stored bytes are larger than an eighth of a
//! chunk. Beside many small entries, those fill the gaps, and finding adjacent chunks would cost
//! more.
//!
//! A run is left alone if most of its entries are dead and it has most of the dead bytes of the
//! shard. Its entries leave in the order in which they came, so it is about to be empty. Without
//! this rule, a cache that is only filled copied each entry once. With it, it copies none.
//!
//! | entry, in chunks | 0.26 | 0.34 | 0.51 | 0.76 | 1.01 | 1.26 | 2.01 | 3.01 | 4.01 | 5.01 |
//! |---|---|---|---|---|---|---|---|---|---|---|
//! | live of 1 MiB without runs, % | 74 | 65 | 49 | 72 | 48 | 60 | 63 | 71 | 75 | 78 |
//! | with runs | 89 | 88 | 87 | 90 | 82 | 90 | 83 | 83 | 77 | 80 |
//!
//! `three_quarters_of_a_full_shard_are_live_whatever_the_size_of_its_entries` prints such a table.
//! Two other designs were considered. Entries could reach from one chunk into the next, but a chunk
//! could then be freed only when its neighbours' pins allow it. Smaller chunks would cost more in
//! pins and counts than they gain.
//!
//! # Eviction
//!
//! The policy names victims until the live bytes and the new entry fit. It does not decide which
//! bytes move. It is told of a new entry before that is written, so it may refuse it. Policies with
//! counted visits read two bits beside the location. Ordered policies get touches through a log
//! that readers write without a lock, and that is drained before any decision.
//!
//! Most algorithms are defined in the other order: room is made first, then the new entry takes its
//! place. The difference matters. A clock whose hand reaches an entry that has no place yet would
//! evict it. One adaptor (`policy/algorithm.rs`) converts between the orders for all built-in
//! policies. So each file reads like its paper, and each policy agrees with its reference request
//! by request (see [`policies`](super::super::policies)).
//!
//! There are two kinds of ghosts. 2Q and ARC are defined by exact queues of ghosts, which cost 14
//! bytes a ghost. S3-FIFO and the default use sets of 16-bit fingerprints, 2 bytes a ghost, whose
//! lifetimes vary slightly.
//!
//! The queues of FIFO, CLOCK, S3-FIFO and the default are not linked lists. Their ids lie side by
//! side in blocks, so the next victims are known, and their buckets, headers and ghosts are
//! prefetched. A queue of links costs a cache miss for each neighbour, and twice the memory. In
//! return, removed ids stay in a queue as holes until it reaches them.
//!
//! A policy is told of an entry's charge whenever it may need it, so those four keep none. An id of
//! the default costs its place in a queue, one bit for the queue, and its share of 1.75 ghosts for
//! each entry. The place has four spare bits for the entry's level. Together that is 6.8 bytes.
//! With charges, levels and two ghosts it was 10.7 bytes, and an eviction took two more cache
//! lines. On the traces in [`policies`](super::super::policies) it misses as much.
//!
//! A full index uses 85 % of its ids, and policies have room for no more. The index grows to the
//! size that a full shard will need, estimated from its entries so far. Mostly it is 83 to 85 %
//! full then.
//!
//! # Expiry
//!
//! A deadline is a word in the entry's header, which readers check. A timing wheel finds the space
//! of expired entries. It is over the buckets of the index, twelve entries a member, rather than
//! over ids: see [`expiry`](super::super::expiry).
//!
//! The words of a header that hold times are *stamps*. The ring keeps them, and takes them along
//! when it moves an entry, but does not interpret them. The index does not use them.
//!
//! # Loading
//!
//! A load in progress is a *flight* in its shard's tree. A result may be stored only while its
//! flight is in the tree. Writes to its key remove it, under the lock under which the result would
//! be stored. See [`loading`](super::super::loading).
//!
//! The first design had the table of flights outside the shard's lock, and passed marks between the
//! two. Under the lock nothing has to be passed. A miss that is about to be loaded can afford the
//! lock.
//!
//! # Listeners
//!
//! If there is a listener, entries that leave are copied under the lock, and it is called after the
//! unlock. Pinning them in place would keep their chunks from being reused, and so change which
//! entries leave.
//!
//! A listener that inserts makes another entry leave, whose listener call does so in turn. Nested
//! calls would take a stack frame for each. So entries that leave while a listener runs join a
//! queue of the thread, over all caches, and the outermost operation reports them: `removal.rs`.
//! That operation reports a bounded number, since such a listener has no end.
//!
//! # Iteration
//!
//! A walk through all entries goes by *home* buckets: for each, the chain of buckets in which its
//! entries may lie. Its position is a hash, since every table keeps the order of hashes. A bucket
//! number would mean another position after the index has grown: entries that were displaced in one
//! table lie at home in the next, in front of it. Positions in the ring change whenever it is
//! cleaned. The walk finds one entry at a time, checks its deadline as a read does, and shows it.
//!
//! An entry keeps its lane as long as it is present. If [`set_ttl`](crate::Cache::set_ttl) stores
//! an entry again and the policy evicts it meanwhile, it is not stored. In another lane it would be
//! hidden from a walk.
//!
//! # Writers and readers
//!
//! A writer never waits for a reader. A reader publishes the entry that it reads in a slot of its
//! thread, and a chunk that a slot names is not reused. So a reader that stops anywhere costs that
//! chunk, or run of chunks, and nothing else. Where such chunks are missing, the store empties
//! others. It refuses only when nothing is left that could be emptied.
//!
//! One scan of all slots serves all waiting chunks, and a store makes it only when chunks run
//! short. The slots of a thread for single reads share a cache line. Those of
//! [`get_many`](crate::Cache::get_many) are two lines, which are not scanned before their first
//! use.
//!
//! With epochs instead of slots, a single closure that did not return made every cache of the
//! process reject its inserts. A store gave up where readers were preempted, as emptying more
//! chunks would have lost entries for nothing. Epochs protect the list of threads' records only.
//!
//! A hit checks the table and the lane twice. The fence is the one that an epoch pin has.
//! Instructions with epochs and with slots (callgrind, 24-byte keys, 256-byte values, 8 MiB, 4
//! shards):
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
//! Reads that are nested deeper than a thread has slots register another record, under a lock.
//! Counted pins and copies would also work, but take more code for a rare case.
//!
//! # Writes to lines that other threads use
//!
//! A cache line that one core writes and another one uses has to travel each time. That limits how
//! many operations run side by side. Writes of each operation to shared words:
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
//! For writers, the state behind the lock comes on top. An eviction also writes to the victim's
//! bucket, and a relocation to that of the entry that moves. A slot lies in a line of its own
//! thread. `src/shared_lines.rs` checks these numbers, to the write
//! (`hits_share_no_write_once_visits_are_at_their_top` and the tests after it). It also says which
//! writes it does not see.
//!
//! # Several writers
//!
//! Two threads that insert into one cache are hardly faster together than one alone. With a cache
//! for each they are twice as fast. An insert with an eviction touches about 24 cache lines that
//! other writers write. They belong to the new entry (5), the victim (2), buckets (4), ghosts (2),
//! queues (3), chunks (2), the shard's state (3) and the policy (3). Half of them were last written
//! by the other core. Prefetching them together does not make them free: a core got one such line
//! in 28 ns, however many it had asked for. So the number of lines counts, and the moment when they
//! are asked for.
//!
//! * **Few lines.** The words that each store writes come first in `State`, `Ring`, `WriteCounts`,
//!   the default policy and its queues. They take three lines in the state and three in the policy,
//!   and a constant beside each asserts that. It was seven lines more. A model of two caches
//!   without limits was fed with the accesses of 6,000 inserts, which fell to either core by
//!   chance. An insert got 17.5 lines from the other core and took 11.7 more away from it. With
//!   fewer lines it is 14.3 and 9.9.
//! * **Prefetched by the core that needs them.** A store prefetches lines for the next one: the
//!   next victim, the sets of ghosts that are deferred. They are in the wrong cache if the next
//!   store is on another core. So each store prefetches them again once it has the lock. The end of
//!   the ring lies beside the lock, not only with its chunk: finding its address took as long as
//!   fetching it.
//!
//! Both together were worth an eighth with two threads (medians of 150 slices in turn: 1.06 and
//! 1.07), and 1 or 2 % with one. By the profile, an insert into eight shards took about 800 ns more
//! with two threads than with one before the second of these. The parts, in ns:
//!
//! * unlocking: 104, as a locked instruction waits for all stores before it;
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
//! * Placing a new entry in its queue at the end of its own store, where its lines are at hand: 7 %
//!   fewer inserts with one thread, 2 % more with two. At the beginning of the next store, other
//!   lines are on their way.
//!
//! # Prefetching
//!
//! The cost of an operation is the number of lines that it waits for.
//!
//! * The bucket is prefetched before the slot is taken (reads) or before the lock (writes). Writes
//!   also prefetch the next bucket, where the search for a new key often goes on. The policy does
//!   its deferred work meanwhile.
//! * An eviction's lines are prefetched four victims ahead.
//! * All lines of an entry are prefetched once its tag has matched, as the first of them says where
//!   its value begins.
//! * The lines of the next entry are prefetched after each append.
//! * Lock, state and policy are prefetched before the lock is taken. Just after that follow the end
//!   of the ring, the next victims, and the deferred work of the policy (`shard/prefetch.rs`).
//!
//! `prefetch.rs` has one function with one `unsafe` instruction, which the ring, the index and
//! policies use.
//!
//! # What a hit costs
//!
//! On small entries in a large cache, four fifths of a hit are two waits for memory, one after the
//! other: for the bucket and for the entry. The floor in `benches/compare` has the same two waits,
//! but no fence between one read and the next. It takes 236 instructions, and a hit takes 364
//! (counted by `valgrind --tool=callgrind --toggle-collect='*read_block*'` in its races). So its
//! reads overlap more: a hit has 0.6 to 0.7 of its speed there. It has 0.8 to 0.9 where most keys
//! are in the processor's caches, or entries are longer than a line or two.
//! [`get_many`](crate::Cache::get_many) lets sixteen reads overlap.
//!
//! * **Instructions.** Everything for an entry without stamps is inlined into one function, and
//!   passes nothing through memory. The rest is called. Results of such calls have types of their
//!   own (`OutOfLineLayout`), or the results of the inlined path would be kept in memory for
//!   their sake. That took 524 instructions to 364.
//! * **The fence.** Without it, which is unsound, the first race gained nothing that could be told
//!   from noise, and one on popular keys 5 %. Fences that only the other side pays (`membarrier`)
//!   are not worth a second protocol for that.
//! * **Pages.** Index tables from 2 MiB on lie in huge pages. On 4 million entries in eight shards
//!   that was worth about a tenth, with the tables rounded up to whole huge pages. In the shipped
//!   form, the rest after the last whole one lies in small pages.
//!
//! # Reads that find deadlines
//!
//! Far reads (one of a million entries in random order) pay more for a deadline than near ones, in
//! a loop that does nothing else: 309 ns instead of 181. While the processor waits for this read's
//! entry, it gets less far into the next read. A read that moves an idle deadline writes to the
//! entry's header. The clock takes 5.7 ns, where `std::time::Instant` takes 23 ns.
