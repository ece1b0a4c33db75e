//! Loading through the cache: guarantees, cost and mechanism.
//!
//! The *store* is the database or service that a loader reads. The caller that runs a load, or the
//! task of a spawner that does so, is its *leader*. Callers that wait for it are its *followers*.
//!
//! # Which call to take
//!
//! | to load | for threads | for tasks |
//! |---|---|---|
//! | with a closure of the call | [`get_or_load`](crate::Cache::get_or_load) | [`get_or_load_async`](crate::Cache::get_or_load_async) |
//! | with a closure that cannot fail | [`get_or_insert_with`](crate::Cache::get_or_insert_with) | [`get_or_insert_with_async`](crate::Cache::get_or_insert_with_async) |
//! | many keys by one call of a closure | [`get_or_load_many`](crate::Cache::get_or_load_many) | [`get_or_load_many_async`](crate::Cache::get_or_load_many_async) |
//! | with a function and rules that are set once | [`Loader::get`](crate::Loader::get) | [`AsyncLoader::get_async`](crate::AsyncLoader::get_async) |
//! | many keys, with a result for each | [`Loader::get_many`](crate::Loader::get_many) | [`AsyncLoader::get_many_async`](crate::AsyncLoader::get_many_async) |
//! | the keys of several calls at once | [`build_batched`](crate::LoaderBuilder::build_batched) | [`build_batched_async`](crate::LoaderBuilder::build_batched_async) |
//! | one key, and learn where its value came from | [`get_with_origin`](crate::Loader::get_with_origin) | [`get_with_origin_async`](crate::AsyncLoader::get_with_origin_async) |
//! | one key, and use its older value before a refresh | | [`get_then_refresh`](crate::AsyncLoader::get_then_refresh) |
//! | many keys with a limit on concurrency, before traffic is let in | [`Loader::warm`](crate::Loader::warm) | [`AsyncLoader::warm_async`](crate::AsyncLoader::warm_async) |
//! | nothing: read what is present | [`Loader::get_if_present`](crate::Loader::get_if_present) | [`AsyncLoader::get_if_present`](crate::AsyncLoader::get_if_present) |
//!
//! A service with tasks sets a spawner and limits:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use bytecache::Cache;
//! use std::io;
//! use std::time::Duration;
//!
//! let cache = Cache::new(1 << 20)?;
//! let pages = cache
//!     .loader()
//!     .ttl(Duration::from_secs(600))
//!     .spawner(|load| drop(tokio::spawn(load))) // A load goes on if its callers give up.
//!     .load_timeout(Duration::from_secs(1)) // No call waits for longer.
//!     .sleep(tokio::time::sleep)
//!     .build_async(|path| async move { Ok::<_, io::Error>([b"<h1>", &*path].concat()) })?;
//! assert_eq!(pages.get_async("index").await?, "<h1>index");
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! * **One load.** For each key, at most one caller at a time runs a loader whose result may be
//!   stored. The caller is a thread or a task. Other callers that ask for the key wait for it. A
//!   hit waits for nothing.
//! * **Never stale.** A result is not stored if its key was written or removed after its load
//!   began, or if the cache was cleared. Then the result goes to the callers that already wait, and
//!   later callers load again. So *write to the store, then `remove` or `insert`*: no call that
//!   begins after that returns the older value.
//! * **No one is left waiting.** When a leader ends in any way, its followers are notified at once:
//!
//! | the leader | its followers get | stored |
//! |---|---|---|
//! | returns a value | the value | the value |
//! | returns [`Loaded::Absent`](crate::Loaded::Absent) | [`LoadError::Absent`](crate::LoadError::Absent) | a negative entry, for the negative time to live |
//! | returns an error | [`LoadError::Failed`](crate::LoadError::Failed), the same error | nothing, or the failure for the [`error_ttl`](crate::LoaderBuilder::error_ttl) |
//! | panics; the panic goes on in the leader | [`LoadError::Panicked`](crate::LoadError::Panicked) | nothing |
//! | is a future that is dropped | no result: the first follower loads, with its own loader | nothing |
//! | is a task of the [`spawner`](crate::LoaderBuilder::spawner), and callers are dropped | the result of the load | as above |
//! | takes longer than a follower's [`wait_limit`](crate::LoaderBuilder::wait_limit) | [`LoadError::TimedOut`](crate::LoadError::TimedOut), and the load goes on | as above, later |
//! | runs in another thread or task, for longer than a [`load_timeout`](crate::LoaderBuilder::load_timeout) | the same | as above, later |
//! | runs in a task that called, for longer than its `load_timeout` | [`LoadError::TimedOut`](crate::LoadError::TimedOut), as the leader does | nothing, or the failure for the `error_ttl` |
//! | returns a value that is too large to be stored | the value, with [`Origin::TooLarge`](crate::Origin::TooLarge) | nothing; an older entry is removed |
//! | asks for its own key; that call returns [`LoadError::Reentrant`](crate::LoadError::Reentrant) | the result of the load | as above |
//!
//! * **Bounded memory.** Loads in progress, their keys, and waiting tasks count against
//!   `max_bytes`. They are [`Memory::flights`](crate::Memory::flights), at most an eighth of each
//!   shard. Nothing is left when they have ended. A load for which there is no memory is not
//!   shared, and its result is not stored.
//!
//! # Loads that outlive their callers
//!
//! Suppose that a load takes 100 ms, and that its callers give up after 50 ms. If the load runs in
//! a caller, it ends with that caller, and the next caller starts again. The key is never stored.
//!
//! With a [`spawner`](crate::LoaderBuilder::spawner), each load of the loader is a task of its own.
//! All callers only wait for it, up to their `wait_limit` or `load_timeout`, or until they are
//! dropped. The load goes on, its result is stored, and later callers find it. If the spawner drops
//! the task, because a runtime shuts down for example, the caller runs the load itself.
//!
//! A thread cannot be interrupted. With a [`load_timeout`](crate::LoaderBuilder::load_timeout), the
//! [`executor`](crate::LoaderBuilder::executor) runs the loads of a loader for threads. The caller
//! stops waiting in time, and the result of the load is stored.
//!
//! Neither limit ends a load that hangs in another thread or task. Calls for its key time out one
//! after the other, until the load ends or the key is written or removed. So let the loader's own
//! calls, such as a query, time out as well.
//!
//! # Batches
//!
//! A loader of [`build_batched`](crate::LoaderBuilder::build_batched) or
//! [`build_batched_async`](crate::LoaderBuilder::build_batched_async) gets the keys of several
//! calls at once. `Batch::up_to(256).in_flight(2)` makes queries of at most 256 keys, two at a
//! time:
//!
//! * A key that is asked for while fewer than two batches are in flight is loaded at once. It waits
//!   for no timer, only until the tasks that are ready have added their keys.
//! * Keys that are asked for while two are in flight gather in the next batch. So batches become
//!   larger under load, by themselves.
//! * Each key has a flight of its own. All rules hold for each key, and other callers that load a
//!   key of a batch follow it.
//! * If the loader fails, that is the error of all keys of the batch. If it returns a wrong number
//!   of values, all keys get [`LoadError::WrongCount`](crate::LoadError::WrongCount).
//! * With a spawner, a batch is a task, and goes on if its callers give up. Without one, the batch
//!   runs in the call whose key opened it. If that call is dropped, the other calls start again.
//! * For threads, a batch is a job of the executor. It blocks no thread of the executor while it
//!   waits for its turn: it gives that thread back, and gets another job. Without an executor, the
//!   batch runs in the call whose key opened it, and other callers wait for that call.
//!
//! # Leases
//!
//! A caller that reads values without a loader, such as a second tier of a cache, takes a
//! [`Lease`](crate::Lease) of the key first. Its [`store`](crate::Lease::store) stores the value
//! unless the key was written or removed meanwhile, by the rules of the next section. Other callers
//! do not wait for a lease. The crate `bytecache-redis` is such a second tier.
//!
//! # Which writes invalidate a load
//!
//! * `insert` and the other inserts, also if they fail. An `insert_if_absent` that finds an entry
//!   does not invalidate.
//! * `replace`, also if there was nothing to replace: its caller has a newer value. It then removes
//!   a stale or negative entry of the key.
//! * `swap` and `increment`, also if they fail for lack of space. An `increment` that returns
//!   `NotACounter` or `CounterOverflow` does not invalidate.
//! * `update`, unless its closure returns [`Keep`](crate::Update::Keep), and `replace_if`, if the
//!   value is the expected one.
//! * `remove` and `take`, also of an absent key; `clear`; and `set_ttl` to zero, or if it fails.
//! * `remove_if`, also if its condition does not hold, as it cannot ask about a value that is still
//!   being loaded.
//! * An [invalidation of the namespace](crate::Namespace::invalidate_all), and an
//!   [`apply`](crate::Cache::apply) that concerns the key.
//! * `retain`, for all keys of its set, as it cannot ask about values that are still being loaded.
//!   It also removes negative entries.
//!
//! Evictions and deadlines do not invalidate a load. An insert with a time to live of zero keeps
//! its value for the stale period. A load that fails may return that value. Use `remove` if that
//! must not happen.
//!
//! Two callers may write to the store and then `insert` at the same time. Their inserts may then
//! come in another order than their writes. If that can happen, use `remove` instead, or have one
//! writer for each key.
//!
//! # Errors
//!
//! A chain of errors goes on from a [`LoadError`](crate::LoadError) to the error of the loader:
//!
//! | error of the loader | source of the `LoadError` | message of the `LoadError` |
//! |---|---|---|
//! | a type that implements `Error`, such as `io::Error` | the error | "the loader failed" |
//! | `Box<dyn Error + Send + Sync>`, or an `Arc` of it | the error in the box | "the loader failed" |
//! | `anyhow::Error` | the error in it | "the loader failed" |
//! | `String`, `&str`, numbers, `()` | none | "the loader failed: " and the text |
//!
//! So a walk along [`Error::source`](std::error::Error::source), such as the `chain` of an
//! `anyhow::Error`, finds the loader's error by its type.
//! [`failure`](crate::LoadError::failure) returns it without a search.
//!
//! Two calls may load a key with different types of errors. If the leader fails with another type
//! than that of a follower, the follower loads with its own loader.
//!
//! # Refreshing
//!
//! After [`refresh_after`](crate::LoaderBuilder::refresh_after), the first reader of an entry gets
//! the permit to refresh it. The permit postpones the entry's next refresh, so other readers do not
//! try to take the lock.
//!
//! * The load begins in place, on the executor, or when its future is first polled. It does not
//!   begin if the entry has left or was replaced by then.
//! * If it fails or never begins, the entry is due again a second after the permit, or after the
//!   [`error_ttl`](crate::LoaderBuilder::error_ttl).
//! * A refresh in progress is not begun a second time, however long it takes.
//! * A refresh is a load like any other. It is not stored if the key was changed meanwhile, and
//!   callers that find the key absent follow it.
//!
//! If there is a value, the `error_ttl` uses the stamp of the refresh: its lowest bit records that
//! a load has failed. So entries have this stamp of four bytes if their loader refreshes in any way
//! or has an `error_ttl`. Other entries have no stamp, and their loads are not delayed.
//!
//! [`early_refresh`](crate::LoaderBuilder::early_refresh) draws a random number for each read, by
//! the formula of XFetch (Vattani, Chierichetti, Lowenstein, "Optimal Probabilistic Cache Stampede
//! Prevention", VLDB 2015). It takes the mean of the loader's last loads for the duration of a
//! load.
//!
//! # Deadlocks
//!
//! A loader may load other keys. Two loads that wait for each other's keys wait forever, like two
//! threads that lock two mutexes in different orders. A `wait_limit` ends the wait.
//!
//! A loader that asks for its own key gets [`LoadError::Reentrant`](crate::LoadError::Reentrant).
//! This is detected on the thread that runs the loader, or in its task. It is not detected if the
//! loader starts the call on another thread or task. A loader may run other tasks on its own
//! thread, with an executor of its own. Their calls for its key return `Reentrant`, although they
//! could wait.
//!
//! A loader of many keys must not wait for other keys of the same loader. These keys would wait in
//! the queue until the batch that asks for them has ended.
//!
//! `get_or_load` blocks its thread: use `get_or_load_async` in a task. A thread that waits for a
//! task's load blocks forever if only this thread polls that task. A task may hold a loading future
//! without polling it. That delays all followers of the load.
//!
//! # Cost
//!
//! `cargo bench --bench loading`, 2 cores of an AMD EPYC (Zen 5), entries of 128 bytes, one thread,
//! medians of 21 interleaved rounds. Hits read one of 2,000 entries. Misses load new keys, with a
//! loader that returns at once, and evict other entries:
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
//! A load in progress takes about 240 bytes in addition to its key. The first one of a shard takes
//! 320 more. A waiting task takes 48 bytes, which are reserved for four tasks at a time.
//! `tests/allocations.rs` compares these numbers with the allocator's. An entry takes four bytes
//! more if its loader refreshes in any way or has an `error_ttl`. A negative entry takes its key,
//! header and deadline.
//!
//! # How it works
//!
//! A key that is being loaded has a *flight* (`flight.rs`). It is a state under a lock of its own,
//! with a condition variable for threads and a list of wakers for tasks. A shard keeps its flights
//! in a tree, by key, under its own lock (`shard/load.rs`).
//!
//! A flight in that tree acts like a *lease* of memcache (Nishtala et al., "Scaling Memcache at
//! Facebook", NSDI 2013). A write to a key removes its flight from the tree. A leader takes the
//! lock, and stores its result if its flight is still in the tree. So a load needs no tokens, no
//! tombstones for removed keys, and no memory orders of its own. If nothing is being loaded, a
//! write only checks that the tree is empty.
//!
//! A caller that finds nothing searches again under the lock before it becomes the leader.
//! Otherwise, a caller that was preempted after its first search could load a value that another
//! caller has just stored.
//!
//! `get_or_load` and its variants run the loader in the calling thread or task. They have no
//! executor, so the loader may borrow from the caller. A load whose future is dropped cannot be
//! continued by a follower, which starts its own load instead.
//!
//! The leader of a load of a spawner or of a batch is another task than the caller. The caller is a
//! follower of its own flight. So it is notified of the end like any other follower, and the load
//! goes on without it.
//!
//! A batch is open until its opener takes the keys. One lock guards the open batches and the number
//! of those in flight (`loader/queue.rs`). An opener that may not run yet waits for a flight that
//! has no result. The end of a batch, or the drop of an opener, lets the next batch run.
//!
//! A negative entry is an entry without a value, with a mark in its header. All reads except those
//! of loads treat it as a miss. Policies treat it like any other entry. The removal listener is not
//! notified of it.
