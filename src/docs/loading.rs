//! Loading through the cache: the guarantees, their cost, and how it works.
//!
//! # Guarantees
//!
//! * **One load.** At any time at most one caller, a thread or a task, runs a loader for a key
//!   whose result may be stored. Callers that ask for the key meanwhile wait for it. A hit does not
//!   take part in this.
//! * **Never stale.** A result is not stored if, since its load began, its key was written or
//!   removed, or the cache was cleared. Then the result goes to the callers that already wait, and
//!   later callers load again. So *write to the store, then `remove` or `insert`*: no call that
//!   begins after that returns the older value.
//! * **No one is left waiting.** Whatever happens to a leader, its followers are notified at once:
//!
//! | the leader | its followers get | stored |
//! |---|---|---|
//! | returns a value | the value | the value |
//! | returns [`Loaded::Absent`](crate::Loaded::Absent) | [`LoadError::Absent`](crate::LoadError::Absent) | a negative entry, for the negative time to live |
//! | returns an error | [`LoadError::Failed`](crate::LoadError::Failed), the same error | nothing, or the failure for the [`error_ttl`](crate::LoaderBuilder::error_ttl) |
//! | panics; the panic goes on in the leader | [`LoadError::Panicked`](crate::LoadError::Panicked) | nothing |
//! | is a future that is dropped | nothing: the first follower loads, with its own loader | |
//! | takes longer than a follower's [`wait_limit`](crate::LoaderBuilder::wait_limit) | [`LoadError::TimedOut`](crate::LoadError::TimedOut), and the load goes on | |
//! | asks for its own key | [`LoadError::Reentrant`](crate::LoadError::Reentrant), itself | |
//!
//! * **Bounded memory.** Loads in progress, their keys, and waiting tasks count against
//!   `max_bytes`. They are [`Memory::flights`](crate::Memory::flights), at most an eighth of each
//!   shard. Nothing is left when they have ended. A load for which there is no memory is not
//!   shared, and its result is not stored.
//!
//! # Which writes invalidate a load
//!
//! * `insert` and the other inserts, also if they fail. An `insert_if_absent` that finds an entry
//!   does not.
//! * `replace`, also if there was nothing to replace: its caller has a newer value. It then removes
//!   a stale or negative entry of the key.
//! * `remove` and `take`, also of an absent key. `set_ttl` to zero, or if it fails. `clear`.
//! * `retain`, for all keys, as it cannot ask about values that are still being loaded. It also
//!   removes negative entries.
//!
//! Evictions and deadlines do not invalidate a load. An entry with a time to live of zero has
//! expired, but is kept for its stale period, and a load that fails may return it. `remove` the
//! entry if that must not happen.
//!
//! Two callers that write to the store and then `insert` at the same time may insert in another
//! order than they wrote. Where that can happen, `remove` instead, or have one writer for each key.
//!
//! # Errors of several types
//!
//! Two calls may load a key with different types of errors. A follower whose leader fails with
//! another type starts again, with its own loader.
//!
//! # Refreshing
//!
//! After [`refresh_after`](crate::LoaderBuilder::refresh_after) the first reader of an entry gets
//! the permit to refresh it. The permit moves the time of the entry's refresh, so other readers do
//! not even look at the lock.
//!
//! * The load registers when it begins: in place, on the executor, or when its future is first
//!   polled. If the entry has left or was replaced by then, it does not begin.
//! * If it fails or never begins, the entry is due again a second after the permit, or after the
//!   [`error_ttl`](crate::LoaderBuilder::error_ttl).
//! * A refresh in progress is not begun a second time, however long it takes.
//! * A refresh is a load like any other. It is not stored if the key was changed meanwhile, and
//!   callers that find the key absent follow it.
//!
//! The `error_ttl` uses the same stamp if there is a value: its lowest bit then records that a load
//! has failed. So entries of a loader have this stamp, four bytes, if the loader refreshes in any
//! way or has an `error_ttl`. Other entries have none, and their loads are not delayed.
//!
//! [`early_refresh`](crate::LoaderBuilder::early_refresh) draws a random number for each read, by
//! the formula of XFetch (Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede
//! Prevention", VLDB 2015). It takes the mean of the loader's last loads for the duration of a
//! load.
//!
//! # Deadlocks
//!
//! A loader may load other keys. Two loads that wait for each other's keys wait forever, like two
//! threads that lock two mutexes in different orders. A `wait_limit` ends that.
//!
//! Only a load of the very same key is detected, on the thread that runs the loader or in its task.
//! A load that the loader has another thread or task make is not. A loader may run other tasks on
//! its own thread, with an executor of its own. Their calls for its key are refused, although they
//! could wait.
//!
//! `get_or_load` blocks its thread: use `get_or_load_async` in a task. A thread that waits for a
//! task's load needs that task to be polled elsewhere. A task that holds a loading future, and does
//! not poll it while it awaits something else, delays all its followers.
//!
//! # Cost
//!
//! `cargo bench --bench loading`, 2 cores of an AMD EPYC (Zen 5), entries of 128 bytes, one thread,
//! medians of 21 rounds in turns. The hits are of 2,000 entries. The misses are of new keys, by a
//! loader that returns at once, and evict others:
//!
//! | | ns |
//! |---|---:|
//! | `get`, a hit | 37 |
//! | `get_or_load`, a hit | 38 |
//! | `Loader::get`, a hit on an entry with a time to live and a refresh | 70 |
//! | the same with early refreshes | 121 |
//! | `Loader::get` of a key with a negative entry | 54 |
//! | `insert` | 367 |
//! | `get_or_load`, a load | 945 |
//! | `get_or_load_many`, a load of 16 keys, for each key | 947 |
//! | `get_or_load_async`, a load | 960 |
//!
//! A load in progress takes about 330 bytes and its key, and a waiting task 48.
//! `tests/allocations.rs` compares that with the allocator. An entry takes four bytes more if its
//! loader refreshes in any way or has an `error_ttl`. A negative entry takes its key, header and
//! deadline.
//!
//! # How it works
//!
//! A key that is being loaded has a *flight*: a state under a small lock, with a condition variable
//! for threads and a list of wakers for tasks (`flight.rs`). A shard keeps its flights in a tree,
//! by key, under its own lock (`shard/load.rs`).
//!
//! An entry of that tree is the *lease*, as memcache's users call it (Nishtala et al., "Scaling
//! Memcache at Facebook", NSDI 2013). A write to a key removes its flight from the tree. A leader
//! stores its result if its flight is still there, under the same hold of the lock. So a load needs
//! no tokens, no tombstones for removed keys, and no order of its own between threads. A write pays
//! for one look at an empty tree.
//!
//! A caller that finds nothing looks once more under the lock before it leads. Otherwise a caller
//! that was preempted after its first look would load a value that another caller has just stored.
//!
//! The loader runs in the calling thread or task and never elsewhere. There is no executor, and the
//! loader of a task may borrow from it. So a leader that is dropped cannot be finished by another,
//! which starts its own load instead.
//!
//! A negative entry is an entry without a value, with a mark in its header. All reads except those
//! of loads treat it as a miss. Policies treat it like any other entry. The removal listener is not
//! notified of it.
