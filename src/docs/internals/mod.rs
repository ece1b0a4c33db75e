//! The map of the source, and pages on design and memory orders.
//!
//! * [`design`]: the parts, how they work together, and the reasons for them;
//! * [`ordering`]: every pair of memory orders, and the model that checks it.
//!
//! # Map of the source
//!
//! A file imports only from floors below its own. `tests/layering.rs` checks that. The one
//! exception is `Cache::builder`, which returns the builder above it.
//!
//! | floor | files | contents |
//! |---|---|---|
//! | 8 | `lib.rs` | the public names |
//! | 7 | `typed/` | typed keys and values of a namespace |
//! | | `snapshot/` | saving a cache to a file, and restoring it |
//! | 6 | `builder.rs` | options of a cache, and the checks on them |
//! | | `loader/` | loads by threads and tasks, loaders with rules, loads of many keys |
//! | | `export/` | statistics for Prometheus and the facade `metrics` |
//! | | `docs/` | these pages |
//! | | `loom/`, `shared_lines.rs` | tests: schedules of threads, and writes to shared cache lines |
//! | | `testing.rs` | access to the state of a cache for integration tests |
//! | 5 | `cache/` | routing of each operation to its shard; division into shards; operations on all entries |
//! | 4 | `shard/` | one ring, index, policy and timing wheel behind one lock |
//! | 3 | `advisor/` | other policies and sizes, simulated on a sample of the keys |
//! | 2 | `ring/` | bytes of entries: chunks, headers, pins of values |
//! | | `index/` | from a hash to the location of an entry |
//! | | `policy/` | eviction policies and their simulator |
//! | | `expiry/` | lifetimes, stamps, the timing wheel |
//! | | `flight.rs` | one load in progress |
//! | 1 | `units/` | numbers that several modules use: locations, ids, stamps, ticks |
//! | | `reclaim/` | slots of readers, and the list of threads' records |
//! | | `region.rs` | memory from the system |
//! | | `removal.rs` | calls of the removal listeners |
//! | | `namespace/` | stored keys, and the namespaces of a cache |
//! | | `growable.rs` | arrays that become longer or shorter |
//! | | `error.rs`, `hash.rs`, `clock.rs`, `stats.rs`, `prefetch.rs`, `sync/` | errors, hashes, clocks, counters, prefetching, atomics and locks |
//!
//! The modules of floor 2 do not import each other.
//!
//! In `shard/`:
//!
//! | files | contents |
//! |---|---|
//! | `entries.rs`, `evictor.rs`, `cleaner.rs`, `deadlines.rs`, `flights.rs` | the parts of the locked state: index and ring; the policy; emptying of chunks; the timing wheel; loads |
//! | `writer.rs` and `write.rs`, `change.rs`, `remove.rs`, `lifetimes.rs`, `space.rs`, `runs.rs`, `expire.rs`, `load.rs`, `resizing.rs`, `shrinking.rs`, `sweep.rs` | operations under the lock, which use the parts |
//! | `lookup.rs`, `read.rs` | reads, without the lock |
//! | `save.rs`, `restore.rs` | showing entries for a snapshot, the record of changes; storing entries of a snapshot |
//! | `clear.rs` | clearing, a part with each hold of the lock |
//! | `lease.rs`, `leases.rs` | leases of keys, and their part of the locked state |
//! | `idle.rs`, `walk.rs` | idle deadlines and iteration; with and without the lock |
//! | `config.rs`, `estimate.rs` | sizes of a shard, and how many entries it will hold |
//! | `account.rs`, `governor.rs`, `large_share.rs` | the shard's part of `max_bytes`, its live target, its share of large entries |
//! | `touch.rs`, `misses.rs` | the touch log and the miss log |
//! | `sampling.rs` | what the advisor learns |
//! | `notice.rs`, `prefetch.rs` | notices of removals; prefetching for stores |
//!
//! In `policy/`:
//!
//! | files | contents |
//! |---|---|
//! | `mod.rs`, `residents.rs`, `id_array.rs`, `standing.rs` | the contract of a policy, and its arrays by id |
//! | `structures/` | what policies are made of: queues, lists, ghosts, a heap, a sketch |
//! | `algorithms/` | the built-in policies, and the table of all of them |
//! | `built_in.rs`, `parameter.rs` | policies by name, with their parameters |
//! | `arrival.rs`, `simulator.rs` | the order of calls around a new entry; the simulator |
//!
//! `unsafe` is denied at the root. It is allowed, each with its reason, in `ring/`, `index/`,
//! `reclaim/`, `shard/lookup.rs`, `shard/entries.rs`, `region.rs`, `growable.rs` and `prefetch.rs`,
//! and in the models of `loom/`. Six more files have one `unsafe impl` for an element of an array
//! whose zero bytes are a value: `expiry/wheel.rs`, `lfu.rs`, and `lists.rs`, `ghost_queues.rs`,
//! `ghost_sets.rs` and `sketch.rs` of `policy/structures/`.
//!
//! # The path of an operation
//!
//! * **A read** (`cache/read.rs`): hash the key, choose the shard, and search its index
//!   (`shard/lookup.rs`). Publish the entry in a slot (`reclaim/slots.rs`), and check the lane
//!   again. Compare the key, and read the bytes (`ring/arena.rs`).
//! * **An insert** (`shard/write.rs`): take the lock, tell the policy, evict until the entry fits
//!   (`shard/space.rs`), append it to a chunk (`ring/mod.rs`), and publish its location
//!   (`index/mod.rs`).
//! * **A load** (`loader/`): look for the key, become leader or follower (`shard/load.rs`), run the
//!   loader, and store its result if the flight is still in the shard's tree.

pub mod design;
pub mod ordering;
