//! Loading through the cache: what is promised, what it costs, and how it works.
//!
//! # What is promised
//!
//! * **One load.** At any time one caller at most runs a loader for a key whose result may be stored, be it a thread or a task.
//!   Who asks for the key meanwhile waits for it. A hit does not know of any of this.
//! * **Never stale.** A load's result is stored only if, since it began, nobody stored a value under its key or removed what
//!   was there, and the cache was not cleared. Else it goes to those who asked before, and those who come after load anew. So:
//!   *write to the store, then `remove` or `insert`*, and no call that begins after that returns what was there before.
//! * **No one is left waiting.** Whatever becomes of a leader, its followers learn of it at once:
//!
//! | the leader | who follows gets | stored |
//! |---|---|---|
//! | returns a value | the value | the value |
//! | returns [`Loaded::Absent`](crate::Loaded::Absent) | [`LoadError::Absent`](crate::LoadError::Absent) | that there is nothing, for the negative time to live |
//! | returns an error | [`LoadError::Failed`](crate::LoadError::Failed), the same error | nothing; or the failure, for the [`error_ttl`](crate::LoaderBuilder::error_ttl) |
//! | panics; the panic goes on there | [`LoadError::Panicked`](crate::LoadError::Panicked) | nothing |
//! | is a future that is dropped | nothing: the first of them loads, by its own loader | |
//! | takes longer than a follower's [`wait_limit`](crate::LoaderBuilder::wait_limit) | [`LoadError::TimedOut`](crate::LoadError::TimedOut), and the load goes on | |
//! | asks for its own key | [`LoadError::Reentrant`](crate::LoadError::Reentrant), itself | |
//!
//! * **No memory on the side.** Loads under way, their keys, and tasks that wait come out of `max_bytes`; they are
//!   [`Memory::flights`](crate::Memory::flights), an eighth of each shard at most. When they have ended nothing is left. A load for
//!   which there is no memory is not shared, and its result not stored.
//!
//! # What counts as a change
//!
//! * `insert` and its kin, also if they fail; but not an `insert_if_absent` that finds an entry;
//! * `replace`, also if there was nothing to replace, as its caller has a newer value: then it takes out what was kept beyond its
//!   deadline, and that there was nothing;
//! * `remove` and `take`, also of what is not there; `set_ttl` to zero, or if it fails; `clear`;
//! * `retain`, for all keys, as it cannot ask about what is not there yet. It also forgets which keys have nothing.
//!
//! Evictions and deadlines are no changes. An entry that was stored with a time to live of zero, or set to that, has expired, and
//! is kept for its stale period: a load that fails may answer with it. `remove` it if that must not be.
//!
//! Two callers that write to the store and then `insert`, at the same time, may insert in another order than they wrote. Where
//! that can happen, `remove` instead, or have one writer for each key.
//!
//! # Errors of several types
//!
//! Two calls may load a key with different errors. Who follows a load that failed with an error of another type than its own
//! starts again, with its own loader.
//!
//! # Refreshing
//!
//! Past [`refresh_after`](crate::LoaderBuilder::refresh_after) the first reader of an entry claims its refresh, by putting the
//! entry's own mark off: so others do not even look at the lock. The load boards when it begins, in place, on the executor or
//! when its future is first polled; if the entry is gone or another by then, it does not begin. If it fails or never begins, the
//! entry is due again a second after it was claimed, or after the [`error_ttl`](crate::LoaderBuilder::error_ttl). One that is
//! under way is not begun a second time, however long it takes. A refresh is a load as any other: it is not stored if the key
//! was changed meanwhile, and callers that find the key gone follow it.
//!
//! The `error_ttl` is kept by the same mark, if there is a value, whose lowest bit then says that a load has failed; so a loader's entries have one, four bytes, if the loader
//! refreshes in any way or has an `error_ttl`. Entries that were not stored by such a loader have none, and their loads are not
//! put off.
//!
//! [`early_refresh`](crate::LoaderBuilder::early_refresh) draws for each read, by the formula of XFetch (Vattani, Chierichetti,
//! Lowenstein, "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015), with the mean of the loader's last loads for
//! the time that one takes.
//!
//! # Deadlocks
//!
//! A loader may load other keys. Two loads that wait for each other's keys do so for ever, as two threads do that lock two
//! mutexes in different orders; a `wait_limit` ends that. Only a load of the very key is found, on the thread that runs the
//! loader or in the task; not one that the loader has another thread or task make and waits for. And a loader that runs other
//! tasks on its own thread, by an executor of its own, has their calls for its key refused, though they could wait.
//!
//! `get_or_load` blocks its thread: in a task, use `get_or_load_async`. A thread that waits for a task's load needs the task to
//! be polled elsewhere. A task that holds a future that loads, and does not poll it while it awaits something else, holds up
//! all who follow.
//!
//! # What it costs
//!
//! `cargo bench --bench loading`, 2 cores of an AMD EPYC (Zen 5), entries of 128 bytes, one thread, medians of 21 rounds in turns,
//! in ns. The hits are of 2,000 entries; the misses are of new keys, by a loader that returns at once, and evict others:
//!
//! | | ns |
//! |---|---:|
//! | `get`, a hit | 37 |
//! | `get_or_load`, a hit | 38 |
//! | `Loader::get`, a hit on an entry with a time to live and a refresh | 70 |
//! | the same with early refreshes | 121 |
//! | `Loader::get` of a key of which it is remembered that there is nothing | 54 |
//! | `insert` | 367 |
//! | `get_or_load`, a load | 945 |
//! | `get_or_load_many`, a load of 16 keys, for each key | 947 |
//! | `get_or_load_async`, a load | 960 |
//!
//! A load under way takes some 330 bytes and its key, a task that waits 48, which `tests/allocations.rs` holds to what the
//! allocator says. An entry takes four bytes more if its loader refreshes in any way, or has an `error_ttl`; one that says that
//! there is nothing takes its key, header and deadline.
//!
//! # How it works
//!
//! A key that is loaded has a *flight*: a state under a small lock, with a condition variable for threads and a list of wakers
//! for tasks (`flight.rs`). A shard keeps its flights in a tree, by key, under its own lock (`shard/load.rs`). To be in that
//! tree is the *lease*, as memcache's users call it (Nishtala et al., "Scaling Memcache at Facebook", NSDI 2013): a write to a
//! key takes its flight out; who comes back from a load stores its result if its flight is still there, under the same hold of
//! the lock. So it needs no tokens, no tombstones for what was removed, and no order of its own between threads: a write pays one
//! look at an empty tree.
//!
//! Who finds nothing looks once more, under the lock, before it leads. Without that, a caller that was put aside after its
//! look-up would load what another has just stored.
//!
//! The loader runs in the caller, thread or task, and never elsewhere: there is no executor, and a task's loader may borrow
//! from it. That is why a leader that is dropped cannot be finished by another, which starts its own instead.
//!
//! That a key has *nothing* is an entry without a value, with a mark in its header that all reads but those of loads take for
//! a miss. Policies treat it as they do others; the removal listener does not hear of it.
