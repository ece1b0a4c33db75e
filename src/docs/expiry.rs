//! Entries that die on time: what is promised, what it costs, and how it works.
//!
//! # What is promised
//!
//! With `d` the time that was asked for, a [`TICK`](crate::TICK) of 16 ms, and `lag` the most by which the clock may be behind
//! the true time (one tick for [`SystemClock`](crate::SystemClock), nothing for [`ManualClock`](crate::ManualClock)):
//!
//! | | not before | before |
//! |---|---|---|
//! | reads miss an entry with a time to live of `d` | `d` | `d` + 1 tick + 2 `lag` |
//! | reads miss an entry that was not read for its time to idle of `d` | `d` | `d` + 2 ticks + 2 `lag` |
//! | `get_or_stale` misses an entry with a time to live of `t` and a stale period of `d` | `t` + `d` | `t` + `d` + 2 ticks + 2 `lag` |
//! | an entry with a refresh after `d` is due for it | `d` | `d` + 3 ticks + 2 `lag` |
//! | the space of an expired entry is back | then | after the next write to its shard, 48 entries a write at most; or `maintain`, 3,072 entries of each shard at most |
//!
//! All by the true time, from a moment within the call that stored or read the entry. With the system's clock an entry is
//! never returned 48 ms after its time to live has passed; where the kernel moves its coarse clock every 4 ms, 36 ms. An
//! entry may always be *evicted* before its deadline. Of a time to live and a time to idle, what ends first counts.
//!
//! * A read never returns an entry that is past its deadline, whether its space was taken back or not. So it is with every
//!   operation: an expired entry is absent to `insert_if_absent` and `replace`, cannot be removed, and is not iterated over.
//!   `len` and `memory` count it until its space is back.
//! * The longest time to live is two years and two weeks, its stale period included; the longest time to idle, stale period
//!   and time to refresh half a year each. Longer ones are cut to that.
//! * A time to live of zero has ended already. What it is inserted over is gone, so a service that computes what is left of
//!   a lifetime need not look whether that is nothing. Unless a stale period keeps the value, no space is needed for that. For a
//!   cache's default, zero is an [error](crate::BuildError::ZeroLifetime).
//! * Four ticks in two years' worth of them cannot be recorded; a deadline that falls on one is four ticks later.
//! * With jitter, the time to live that counts is the one that was drawn.
//! * Entries that were stored without a lifetime never read the clock. Nor does a shard to which none was stored with one: it
//!   has no wheel either. Elsewhere a write asks for the time while a bucket is filed in the wheel.
//!
//! # Where the lateness comes from
//!
//! An entry is stored at the true time `s`, when the clock reads `c`, with `s - lag <= c <= s`. What is known is that `s` is at
//! most `c + lag`. So the deadline is the first tick that is not before `c + lag + d`:
//!
//! 1. It is not before `s + d`, so nothing expires early.
//! 2. It is after `c + lag + d` by less than a tick, and that after `s + d` by at most `lag`.
//! 3. Reads miss the entry once the clock reads the deadline. That is when it comes, or `lag` later.
//!
//! Together that is less than a tick and twice `lag`. The first `lag` is what the clock says of itself
//! ([`Clock::max_lag`](crate::Clock::max_lag)). The second is by how much it is behind when the entry is read.
//!
//! A time to idle, a stale period and a refresh are kept as a number of ticks, which is rounded up too: one tick more. A refresh
//! is on an even tick, as odd ones mark failures: another one. What a shard's time has reached adds nothing. It is never ahead
//! of the clock, unless that went back.
//!
//! # Stale entries
//!
//! An entry with a stale period is kept beyond its deadline for
//! [`get_or_stale`](crate::Cache::get_or_stale), which serves it with a mark. All other operations treat it as absent, but that `remove`, `take` and `replace` do take it out, an insert replaces it,
//! and `retain` asks about it. The period runs from the entry's deadline, which lies on a tick. That of a lifetime of zero is the
//! tick that has begun, so its period may end by as much as a tick earlier; any other deadline is rounded up.
//!
//! # The clock
//!
//! The default reads `CLOCK_MONOTONIC_COARSE` through the `coarsetime` crate: 5.7 ns, where `std::time::Instant` takes 23 ns.
//! It moves every 4 ms on common kernels; deadlines allow for 16. Time in which the machine is suspended does not count.
//!
//! | a clock that | does |
//! |---|---|
//! | stands still | stop deadlines |
//! | jumps ahead | end what it jumps over, whether a minute or a century. After more than a year, the next insert with a deadline takes out all of it, however much that is |
//! | goes back | stop the shard's time, where its last writer was, until the next write; from then on time goes on from there |
//!
//! # What it costs
//!
//! `cargo bench --bench expiry`, 2 cores of an AMD EPYC (Zen 5), entries of 128 bytes, one thread, medians of 7 rounds in turns.
//! *Near* reads one of 2,000 entries, *far* one of a million in random order; *insert* evicts another entry, but for
//! *dying*, where each takes out one that has expired:
//!
//! | entries have | near, ns | far, ns | insert, ns | bytes more |
//! |---|---:|---:|---:|---:|
//! | no deadline | 23.8 | 181 | 474 | |
//! | a time to live | 40.0 (x1.68) | 309 (x1.71) | 548 (x1.16) | 5.18 |
//! | a time to idle | 46.1 (x1.94) | 325 (x1.80) | 524 (x1.11) | 5.18 |
//! | both | 49.2 (x2.06) | 330 (x1.83) | 613 (x1.29) | 9.18 |
//! | a short time to live: *dying* | | | 1,143 (x2.41) | |
//!
//! A read pays 6 ns for the clock and 10 for the look at the stamps. Far reads pay more in a loop that does nothing else: the
//! processor gets less far into the next read while it waits for this one's entry. A read that puts an idle deadline off
//! (each far one here) changes a word of the entry's header. Inserts vary from run to run by as much as they differ.
//!
//! An entry takes four bytes for its deadline, and 1.2 for its share of the wheel (in an index as full as it may be; up to
//! twice that after it has grown).
//!
//! A million entries that expire together in one shard, while their space was taken back:
//!
//! | | calls | median, us | 99 %, us | longest, us |
//! |---|---:|---:|---:|---:|
//! | inserts, nothing is due | 1,000 | 0.3 | 0.6 | 0.8 |
//! | inserts until all are gone | 51,171 | 3.9 | 33 | 1,477 |
//! | `maintain`, nothing is due | 1,000 | 0.2 | 0.3 | 5.3 |
//! | `maintain` until all are gone | 788 | 237 | 1,719 | 2,517 |
//!
//! What the longest calls do beside their steps is to let a hash table of removed ids grow (`policy/queue.rs`), for the
//! policies that keep queues.
//!
//! # How it works
//!
//! The deadline is a word in the entry's header: 32 bits of a tick, of which a shard knows the other half. Readers look at
//! it once they have found their key. [`set_ttl`](crate::Cache::set_ttl) and [`persist`](crate::Cache::persist) change it in
//! place (an entry that was stored without one is stored anew), and so do reads that put off an idle deadline, once a tick
//! at most, without a lock.
//!
//! To find what has died without looking at everything, each shard has a hierarchical timing wheel of six levels of 64
//! slots (Varghese and Lauck, SOSP 1987), but not over entries. A doubly linked list over the lanes of the index takes 8
//! bytes for each, 9.4 for each entry of a full index, and every insert, removal and eviction has to unlink its neighbours.
//! Here the wheel is over the *buckets* of the index. A bucket is filed under the earliest removal among its twelve entries.
//! When that comes, the shard looks at the headers of all twelve, which are fetched together, takes out those that are due,
//! and files the bucket again. That takes 1 byte for each lane; removing, evicting and replacing an entry costs nothing, and
//! neither does putting a deadline off: the bucket is then merely looked at too early once. The price is up to twelve looks
//! for each entry that dies.
//!
//! Nothing is ever gone through in one go: a write pays for sixteen steps, a step being one move of a bucket from one level
//! to the next, or a quarter of a look at its entries. In the steady state an insert needs one look and up to five moves.
//!
//! What readers and writers may conclude from each other's stores is in [`ordering`](super::ordering).
