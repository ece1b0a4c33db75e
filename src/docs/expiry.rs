//! Lifetimes of entries: guarantees, cost and mechanism.
//!
//! # Guarantees
//!
//! `d` is the requested time. A [`TICK`](crate::TICK) is 16 ms. `lag` is the longest time by which
//! the clock is behind the true time. It is one tick for [`SystemClock`](crate::SystemClock), and
//! zero for [`ManualClock`](crate::ManualClock).
//!
//! | event | earliest | latest (exclusive) |
//! |---|---|---|
//! | reads miss an entry with a time to live of `d` | `d` | `d` + 1 tick + 2 `lag` |
//! | reads miss an entry that was not read for its time to idle of `d` | `d` | `d` + 2 ticks + 2 `lag` |
//! | `get_or_stale` misses an entry with a time to live of `t` and a stale period of `d` | `t` + `d` | `t` + `d` + 2 ticks + 2 `lag` |
//! | an entry with a refresh after `d` is due for it | `d` | `d` + 3 ticks + 2 `lag` |
//!
//! Times are true times, from a moment within the call that stored or read the entry. With the
//! system's clock, no entry is returned 48 ms or more after the end of its time to live. On kernels
//! that move their coarse clock every 4 ms, the limit is 36 ms.
//!
//! Expired entries keep their space until a write to their shard or `maintain` removes them. A
//! write removes at most 48 entries, or more after a [jump of the clock](#the-clock). `maintain`
//! removes at most 3,072 of each shard.
//!
//! * An entry may always be *evicted* before its deadline.
//! * If an entry has a time to live and a time to idle, it expires when the first of them ends.
//! * No operation uses an entry past its deadline, even if its space has not been taken back.
//!   `insert_if_absent` and `replace` treat it as absent. `remove` returns `false`, and iteration
//!   skips it. `len` and `memory` count it until its space is back.
//! * The longest time to live is two years and two weeks, including its stale period. The longest
//!   time to idle, stale period and time to refresh is half a year each. Longer ones are cut to
//!   these limits.
//! * An entry with a time to live of zero has expired at once. Its insert removes the older entry
//!   of the key. It needs no space unless a stale period keeps the value. So a service that
//!   computes remaining lifetimes need not check for zero. As a cache's default, zero is an
//!   [error](crate::BuildError::ZeroLifetime).
//! * Four ticks in each 2.2 years cannot be recorded. A deadline that falls on one of them is up to
//!   four ticks later.
//! * With [jitter](crate::CacheBuilder::ttl_jitter), `d` is the time to live that was drawn. Jitter
//!   applies to each time to live of an insert or a load, and not to `set_ttl`.
//! * A shard gets its timing wheel with its first entry that has a deadline. A write reads the
//!   clock if it sets a deadline, or if the wheel of its shard is not empty. In a cache without
//!   lifetimes and without an advisor, no operation reads it.
//!
//! # Stale entries
//!
//! An entry with a stale period is kept beyond its deadline for
//! [`get_or_stale`](crate::Cache::get_or_stale), which marks it as stale. Most other operations
//! treat it as absent. There are exceptions: `remove`, `take` and `replace` remove it, an insert
//! replaces it, and `retain` and `remove_if` pass it to their closures.
//!
//! The period starts at the entry's deadline, which is a tick. Deadlines are rounded up to a tick.
//! The deadline of a time to live of zero is rounded down instead. So the stale period of such an
//! entry may end up to a tick early.
//!
//! # The clock
//!
//! The default clock reads `CLOCK_MONOTONIC_COARSE` through the `coarsetime` crate. It moves every
//! 4 ms on common kernels, and deadlines allow for 16 ms. Time during which the machine is
//! suspended does not count.
//!
//! | the clock | effect |
//! |---|---|
//! | stands still | deadlines do not pass |
//! | jumps ahead | all deadlines in between pass. After a jump of more than a year, each insert with a deadline removes up to 12,288 expired entries of its shard, until none is left |
//! | goes back | the shard's time stands still until the next write, and continues from there |
//!
//! # Cost
//!
//! `cargo bench --bench expiry`, 2 cores of an AMD EPYC (Zen 5), entries of 128 bytes, one thread,
//! medians of 7 interleaved rounds. *Near* reads one of 2,000 entries. *Far* reads one of a million
//! in random order. *Insert* evicts another entry. In the row *dying*, each insert removes an
//! expired entry instead:
//!
//! | entries have | near, ns | far, ns | insert, ns | additional bytes |
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
//! Calls while the space of a million entries was taken back, which expired together in one shard:
//!
//! | | calls | median, us | 99 %, us | longest, us |
//! |---|---:|---:|---:|---:|
//! | inserts, nothing is due | 1,000 | 0.3 | 0.6 | 0.8 |
//! | inserts until all are gone | 51,171 | 3.9 | 33 | 1,477 |
//! | `maintain`, nothing is due | 1,000 | 0.2 | 0.3 | 5.3 |
//! | `maintain` until all are gone | 788 | 237 | 1,719 | 2,517 |
//!
//! In policies with queues, the longest calls also grow a hash table of removed ids.
//!
//! # How it works
//!
//! The deadline is a word in the entry's header: the low 32 bits of a tick. The shard's own time
//! supplies the high bits. A reader checks the deadline once it has found its key.
//!
//! [`set_ttl`](crate::Cache::set_ttl) and [`persist`](crate::Cache::persist) change the word in
//! place. An entry that was stored without a deadline is stored again. A read moves an idle
//! deadline at most once a tick, without a lock.
//!
//! To find expired entries, each shard has a hierarchical timing wheel of six levels of 64 slots
//! (Varghese and Lauck, SOSP 1987). Its members are the *buckets* of the index, not the entries:
//!
//! * An entry's *removal* is the end of its lifetime and its stale period. A bucket is filed under
//!   the earliest removal among its twelve entries. When that time comes, the shard checks all
//!   twelve headers, removes the entries that are due, and files the bucket again.
//! * The wheel takes 1 byte for each lane. A doubly linked list over the entries would take 8 bytes
//!   for each lane, which is 9.4 for each entry of a full index. It would also write to two
//!   neighbours at every insert, removal and eviction.
//! * The wheel does no work when an entry is removed, evicted or replaced, or when a deadline moves
//!   to a later time. Then the bucket is checked once too early.
//! * The price is up to twelve checks for each entry that expires.
//!
//! The work is bounded. A write does at most sixteen steps. Moving a bucket from one level to the
//! next is one step, and checking a bucket is four. In the steady state an insert needs one check
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
//! one tick more. A refresh is on an even tick, since odd ones mark failures: one more tick. The
//! time that a shard has reached adds nothing. It is never ahead of the clock, unless the clock
//! went back.
//!
//! The memory orders are in [`internals::ordering`](super::internals::ordering).
