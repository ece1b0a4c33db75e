//! The words of this crate, one for each thing.
//!
//! Other words are used as in the standard library and in the papers on caches.
//!
//! # For users
//!
//! | word | meaning |
//! |---|---|
//! | entry | a key, its value and a header, contiguous in memory |
//! | shard | a part of the cache with its own memory and its own write lock |
//! | hit, miss | a read that finds its key, and one that does not |
//! | evict | to remove an entry because its space is needed; the policy chooses it |
//! | remove | to remove an entry because the caller asks for it |
//! | expire | to be removed because a deadline has passed |
//! | policy | the algorithm that decides which entry is evicted |
//! | admission | the decision of a policy to keep an entry that comes in, or to evict it at once |
//! | byte hit ratio | the share of requested bytes that were hits; the hit ratio counts requests |
//! | lifetime | the rules for the deadlines of one entry: time to live, time to idle, stale period, refresh |
//! | time to live (ttl) | the time from an insert to the deadline of the entry |
//! | time to idle | the time from the last read to the deadline of the entry |
//! | deadline | the moment from which reads miss the entry |
//! | tick | 16 ms, the unit of deadlines: [`TICK`](crate::TICK) |
//! | stale | past its deadline, and kept for its stale period |
//! | negative entry | an entry that records that the store has no value for its key, or that the last load failed |
//! | refresh | a load of a key whose entry is present and due to be loaded again |
//! | value | the bytes stored under a key; also a [`Value`](crate::Value), which is a handle of them |
//! | removal listener | the closure of the caller that is notified of each entry that leaves |
//! | steady state | a full cache in which each insert evicts about as much as it stores |
//! | write | an operation that stores, changes or removes an entry |
//! | store | the database or service that values are loaded from; as a verb: to put an entry into the cache |
//! | loader | the closure of the caller that fetches a missing value from the store |
//! | leader, follower | the caller or task that runs a load, and a caller that waits for it |
//! | batch | keys of several calls that a loader of many keys loads at once |
//! | lease | the permit to store a value that is read elsewhere, unless its key is written meanwhile |
//! | charge | bytes that an entry occupies in memory: header, key and value, rounded up |
//! | spawner, executor | the closures of the caller that run loads as tasks, and on other threads |
//! | invalidate | to remove or replace an entry, or to clear the cache, after the store has changed |
//! | cache-aside | a use of a cache: read; on a miss, fetch from the store and insert |
//! | namespace | a named set of keys within a cache, which do not meet other keys |
//! | version (of a namespace) | a number that separates layouts of values: a name and a version are one namespace |
//! | plain key | a key that is in no namespace |
//! | codec | the conversion of typed values to bytes and back |
//! | snapshot | a file with the entries of a cache, from which another process begins |
//! | bare policy | a policy that runs in the simulator, without a cache |
//! | miss ratio | the share of requests that were misses |
//!
//! # For readers of the source
//!
//! | word | meaning |
//! |---|---|
//! | ring | the memory of one shard's entries, divided into chunks |
//! | chunk | the unit in which ring space is opened, sealed, cleaned, retired and reused |
//! | budget (of a shard) | the bytes that it may allocate at the moment; its *account* counts them, and a lower limit is its *target* |
//! | run | adjacent chunks that are used as one, for large entries |
//! | arena | the address range of a ring |
//! | location | where an entry starts, in 4-byte units from the start of the arena |
//! | index | the hash table of a shard: from a key's hash to its location |
//! | bucket, lane | a cache line of the index, and one of its twelve places |
//! | home | the bucket in which the search for a key begins |
//! | alternative | the second place of a key: one of eight buckets behind its home |
//! | stray | an entry whose home and alternative were full: it lies in a later bucket |
//! | size (of an index) | the number of its home buckets; up to sixteen *spill* buckets follow them |
//! | sweep (of an index) | a change of its size in place, a few home buckets at a time |
//! | position (of a sweep) | the home bucket up to which entries have moved |
//! | layout | the places of entries among a number of home buckets; a sweep leads from one to the next |
//! | stretch | home buckets that are announced to the policy, and then swept, together |
//! | tag | 8 bits of the hash, stored in the bucket |
//! | id | an entry's lane in the index: its name for policies and the wheel |
//! | visit, touch | what a read leaves for the policy: a 2-bit counter, or an id in the touch log |
//! | shadow | a policy at some size that follows the operations on sampled keys, for the advisor |
//! | sampled | of a key: one of those that the advisor follows, chosen by their hash |
//! | turn | of a read: its key is counted, to find hot keys; one read in some number has one |
//! | batch | of turns: those of a thread that are counted together, by the last of them |
//! | ghost | the remembered fingerprint of an evicted entry |
//! | live, dead | of bytes in the ring: of a present entry, or of one that has left |
//! | relocate | to copy a live entry out of a chunk |
//! | clean | to empty a chunk by relocating its entries |
//! | retire | to give up a chunk in which nothing is live |
//! | reclaim | to get a retired chunk back once no reader can see it |
//! | hold | what keeps a chunk from being reused while a reader reads it |
//! | slot | a word of a thread in which a reader publishes a hold |
//! | pin | a [`Value`](crate::Value)'s count on its chunk; an epoch pin protects the list of threads' records |
//! | stamp | a word of an entry's header that holds a time |
//! | removal (of an entry with deadlines) | the end of its lifetime and its stale period, from which its space may be taken back |
//! | touch log, miss log | ids of read entries, and hashes of missed keys, that readers leave for the policy, without a lock |
//! | survivors | live entries that were relocated |
//! | timing wheel | the structure that finds entries whose deadline has passed |
//! | flight | one load in progress |
//! | seat | the place of a waiting task among the followers of a flight |
//! | permit | the right of one caller to refresh an entry |
//! | stripe | a part of some counters, or of a log, that one thread or few threads use |
//! | resident, newcomer | an entry that a policy has, and one that is about to get its place there |
//! | stored key | a key as the shards know it: a plain key, or a prefix and the key of a namespace |
//! | generation | the number of times that a namespace was invalidated, which is part of its prefix |
//! | outdated | of an earlier generation: an entry that no key leads to |
//! | sweep (of a shard) | a search for outdated entries, which removes them |
