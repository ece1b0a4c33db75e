//! Lifetimes of entries: the guarantees, their cost, and how they work.
//!
//! # Guarantees
//!
//! `d` is the time that was asked for. A [`TICK`](crate::TICK) is 16 ms. `lag` is the most by which
//! the clock is behind the true time: one tick for [`SystemClock`](crate::SystemClock), nothing for
//! [`ManualClock`](crate::ManualClock).
//!
//! | event | not before | before |
//! |---|---|---|
//! | reads miss an entry with a time to live of `d` | `d` | `d` + 1 tick + 2 `lag` |
//! | reads miss an entry that was not read for its time to idle of `d` | `d` | `d` + 2 ticks + 2 `lag` |
//! | `get_or_stale` misses an entry with a time to live of `t` and a stale period of `d` | `t` + `d` | `t` + `d` + 2 ticks + 2 `lag` |
//! | an entry with a refresh after `d` is due for it | `d` | `d` + 3 ticks + 2 `lag` |
//! | the space of an expired entry is back | then | after the next write to its shard, at most 48 entries a write; or `maintain`, at most 3,072 entries of each shard |
//!
//! Times are true times, from a moment within the call that stored or read the entry. With the
//! system's clock, an entry is never returned 48 ms after its time to live has passed. On kernels
//! that move their coarse clock every 4 ms, it is 36 ms.
//!
//! * An entry may always be *evicted* before its deadline.
//! * If an entry has a time to live and a time to idle, the one that ends first counts.
//! * No operation uses an entry past its deadline, even if its space has not been taken back. The
//!   entry is absent to `insert_if_absent` and `replace`, cannot be removed, and is skipped by
//!   iteration. `len` and `memory` count it until its space is back.
//! * The longest time to live is two years and two weeks, including its stale period. The longest
//!   time to idle, stale period and time to refresh is half a year each. Longer ones are cut to
//!   that.
//! * A time to live of zero has ended already. An insert with it removes the older entry of the
//!   key. It needs no space unless a stale period keeps the value. So a service that computes the
//!   rest of a lifetime need not check for zero. As a cache's default, zero is an
//!   [error](crate::BuildError::ZeroLifetime).
//! * Four of the ticks in about two years cannot be recorded. A deadline that falls on one of them
//!   is up to four ticks later.
//! * With jitter, the time to live that counts is the one that was drawn.
//! * Inserts without a lifetime do not read the clock. A shard without lifetimes has no timing
//!   wheel. Other writes read the clock while a bucket is filed in the wheel.
//!
//! # Stale entries
//!
//! An entry with a stale period is kept beyond its deadline for
//! [`get_or_stale`](crate::Cache::get_or_stale), which marks it as stale. Most other operations
//! treat it as absent. These do not: `remove`, `take` and `replace` remove it, an insert replaces
//! it, and `retain` asks about it.
//!
//! The period starts at the entry's deadline, which is a tick. A deadline is rounded up, except
//! that of a lifetime of zero: it is the tick that has begun. So the stale period of such an entry
//! may end up to a tick early.
//!
//! # The clock
//!
//! The default clock reads `CLOCK_MONOTONIC_COARSE` through the `coarsetime` crate. It moves every
//! 4 ms on common kernels, and deadlines allow for 16 ms. Time in which the machine is suspended
//! does not count.
//!
//! | a clock that | has this effect |
//! |---|---|
//! | stands still | deadlines do not pass |
//! | jumps ahead | all deadlines in between pass. After a jump of more than a year, the next insert with a deadline removes all expired entries of its shard at once |
//! | goes back | the shard's time stands still until the next write, and continues from there |
//!
//! # Cost
//!
//! `cargo bench --bench expiry`, 2 cores of an AMD EPYC (Zen 5), entries of 128 bytes, one thread,
//! medians of 7 rounds in turns. *Near* reads one of 2,000 entries. *Far* reads one of a million in
//! random order. *Insert* evicts another entry, except for *dying*, where each insert removes an
//! expired one:
//!
//! | entries have | near, ns | far, ns | insert, ns | bytes more |
//! |---|---:|---:|---:|---:|
//! | no deadline | 23.8 | 181 | 474 | |
//! | a time to live | 40.0 (x1.68) | 309 (x1.71) | 548 (x1.16) | 5.18 |
//! | a time to idle | 46.1 (x1.94) | 325 (x1.80) | 524 (x1.11) | 5.18 |
//! | both | 49.2 (x2.06) | 330 (x1.83) | 613 (x1.29) | 9.18 |
//! | a short time to live: *dying* | | | 1,143 (x2.41) | |
//!
//! A read takes 6 ns to read the clock and 10 ns to check the stamps. Inserts vary from run to run
//! by as much as they differ here.
//!
//! An entry takes four bytes for each deadline, and a share of the wheel. The share is 1.2 bytes in
//! a full index, and up to twice that after the index has grown.
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
//! The longest calls also let a hash table of removed ids grow, in policies that keep queues.
//!
//! # How it works
//!
//! The deadline is a word in the entry's header: the low 32 bits of a tick. The shard knows the
//! other half. Readers check it once they have found their key.
//!
//! [`set_ttl`](crate::Cache::set_ttl) and [`persist`](crate::Cache::persist) change the word in
//! place. An entry that was stored without a deadline is stored again. A read moves an idle
//! deadline at most once a tick, without a lock.
//!
//! To find expired entries, each shard has a hierarchical timing wheel of six levels of 64 slots
//! (Varghese and Lauck, SOSP 1987). Its members are the *buckets* of the index, not the entries:
//!
//! * A bucket is filed under the earliest removal among its twelve entries. When that time comes,
//!   the shard checks all twelve headers, removes the entries that are due, and files the bucket
//!   again.
//! * This takes 1 byte for each lane. A doubly linked list over the entries would take 8 bytes for
//!   each lane, 9.4 for each entry of a full index. It would also write to two neighbours at every
//!   insert, removal and eviction.
//! * Removing, evicting and replacing an entry costs nothing. Neither does moving a deadline to a
//!   later time: the bucket is checked once too early.
//! * The price is up to twelve checks for each entry that expires.
//!
//! The work is bounded. A write does at most sixteen steps. A step moves a bucket from one level to
//! the next, or is a quarter of a check of a bucket. In the steady state an insert needs one check
//! and up to five moves.
//!
//! # Why an entry expires late and never early
//!
//! An entry is stored at the true time `s`, when the clock reads `c`, with `s - lag <= c <= s`. So
//! `s` is at most `c + lag`. The deadline is the first tick that is not before `c + lag + d`:
//!
//! 1. It is not before `s + d`, so nothing expires early.
//! 2. It is less than a tick after `c + lag + d`, which is at most `lag` after `s + d`.
//! 3. Reads miss the entry once the clock reads the deadline: at that moment, or up to `lag` later.
//!
//! The sum is less than a tick and twice `lag`. The first `lag` is the limit that the clock states
//! ([`Clock::max_lag`](crate::Clock::max_lag)). The second is how far it is behind when the entry
//! is read.
//!
//! A time to idle, a stale period and a refresh are kept as a number of ticks, which is rounded up:
//! one tick more. A refresh is on an even tick, since odd ones mark failures: another tick. The
//! time that a shard has reached adds nothing. It is never ahead of the clock, unless the clock
//! went back.
//!
//! The memory orders are in [`internals::ordering`](super::internals::ordering).
