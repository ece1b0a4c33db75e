//! Coming from moka or quick_cache: their methods, their counterparts here, and the differences.
//!
//! The tables are for moka 0.12.16 and quick_cache 0.6.24. The methods of quick_cache 0.7.0 in
//! these tables are the same.
//!
//! # The main difference
//!
//! Those caches store objects: `Cache<K, V>` keeps your types and clones a value for each read.
//! bytecache stores bytes. Keys and values are anything that is `AsRef<[u8]>`, so you serialize on
//! insert and deserialize on read, or let a [`Typed`](crate::Typed) do it.
//!
//! In return, `max_bytes` is a hard limit on all memory of the cache. There is no weigher. Reads
//! take no lock, and an entry has no allocation of its own.
//!
//! Keep the other crate if values cannot be serialized cheaply, such as shared `Arc`s, connections,
//! and types with a destructor.
//!
//! # From moka
//!
//! | moka | bytecache |
//! |---|---|
//! | `Cache::new(max_capacity)` counts entries | [`Cache::new(max_bytes)`](crate::Cache::new) counts bytes; [`bytes_for`](crate::CacheBuilder::bytes_for) converts |
//! | `builder().max_capacity(n)`, `weigher` | [`max_bytes`](crate::CacheBuilder::max_bytes); every byte counts, also of keys and index |
//! | `initial_capacity` | [`expected_entry_bytes`](crate::CacheBuilder::expected_entry_bytes) |
//! | `eviction_policy(EvictionPolicy::lru())` | [`policy(Policy::Lru)`](crate::CacheBuilder::policy), and twelve others |
//! | `time_to_live`, `time_to_idle` | [`ttl`](crate::CacheBuilder::ttl), [`time_to_idle`](crate::CacheBuilder::time_to_idle) |
//! | `expire_after(Expiry)` | a [`Lifetime`](crate::Lifetime) at the insert, [`set_ttl`](crate::Cache::set_ttl) later |
//! | `invalidate_entries_if` for one kind of keys | [`Namespace::invalidate_all`](crate::Namespace::invalidate_all) |
//! | `eviction_listener` | [`on_removal`](crate::CacheBuilder::on_removal) |
//! | `build_with_hasher` | [`hasher`](crate::CacheBuilder::hasher) |
//! | `get` (a clone) | [`get`](crate::Cache::get) (a handle), [`get_into`](crate::Cache::get_into) (a copy), [`view`](crate::Cache::view) (a closure) |
//! | `contains_key` | [`contains_key`](crate::Cache::contains_key) |
//! | `insert` | [`insert`](crate::Cache::insert), which can fail |
//! | `Cache<K, V>` with types | [`Typed<K, V, Codec>`](crate::Typed), which encodes and decodes |
//! | `get_with` | [`get_or_insert_with`](crate::Cache::get_or_insert_with), [`get_or_insert_with_async`](crate::Cache::get_or_insert_with_async) |
//! | `try_get_with` | [`get_or_load`](crate::Cache::get_or_load), [`get_or_load_async`](crate::Cache::get_or_load_async) |
//! | `optionally_get_with` | `get_or_load` with [`Loaded::Absent`](crate::Loaded::Absent), which can also be remembered |
//! | `entry(k).or_insert` | [`insert_if_absent`](crate::Cache::insert_if_absent) |
//! | `entry(k).and_compute_with` | [`update`](crate::Cache::update), whose closure runs without a lock |
//! | `invalidate` | [`remove`](crate::Cache::remove) |
//! | `remove` (returns the value) | [`take`](crate::Cache::take) |
//! | `invalidate_all` | [`clear`](crate::Cache::clear) |
//! | `invalidate_entries_if` | [`retain`](crate::Cache::retain) |
//! | `iter` | [`for_each`](crate::Cache::for_each) |
//! | `entry_count`, `weighted_size` | [`len`](crate::Cache::len), [`memory`](crate::Cache::memory) |
//! | `run_pending_tasks` | [`maintain`](crate::Cache::maintain) |
//! | `future::Cache` | the same [`Cache`](crate::Cache); only loads have `async` forms |
//!
//! Differences in behaviour:
//!
//! * **Methods that load are named for it.** `try_get_with` of moka loads a missing value: that is
//!   `get_or_load` here. `view` calls a closure with the bytes of a present value, and never loads.
//! * **Effects are immediate.** moka records reads and writes in channels, and applies them in
//!   maintenance tasks. So its counts lag, and it may exceed its capacity for a while. Here each
//!   insert evicts before it returns, and each shard's part of `len` is exact at some moment of the
//!   call.
//! * **Inserts can fail.** An entry may be too large, or readers may hold the space that it needs.
//!   A failed insert removes the older entry of its key.
//! * **A handle holds memory.** A [`Value`](crate::Value) keeps the chunk of its entry. Drop it
//!   soon, or copy its bytes.
//! * **Loads are dropped after an invalidation.** A result whose key was written or removed during
//!   the load goes to its callers and is not stored.
//! * **`retain` acts at once** and takes time in proportion to the number of entries.
//!   `invalidate_entries_if` returns at once and removes entries later.
//! * **A listener that panics is called again.** moka stops calling it. The listener here gets
//!   borrowed bytes, before the operation returns. It is notified of expired entries when their
//!   space is taken back.
//! * **Deadlines are multiples of 16 ms,** and at most two years and two weeks away. moka allows
//!   1,000 years.
//!
//! # From quick_cache
//!
//! | quick_cache | bytecache |
//! |---|---|
//! | `Cache::new(items)` | [`Cache::new(max_bytes)`](crate::Cache::new); [`bytes_for`](crate::CacheBuilder::bytes_for) converts |
//! | `with_weighter`, `Weighter` | none: every byte counts |
//! | `OptionsBuilder::shards` | [`shards`](crate::CacheBuilder::shards) |
//! | `estimated_items_capacity` | [`expected_entry_bytes`](crate::CacheBuilder::expected_entry_bytes) |
//! | `hot_allocation`, `ghost_allocation` | parameters of a policy: [`S3FifoConfig`](crate::policy::S3FifoConfig) |
//! | `get`, `peek`, `contains_key` | [`get`](crate::Cache::get), [`peek`](crate::Cache::peek), [`contains_key`](crate::Cache::contains_key) |
//! | `insert` | [`insert`](crate::Cache::insert), which can fail |
//! | `replace` | [`replace`](crate::Cache::replace), which returns `Ok(false)` where there is no entry |
//! | `remove` (returns key and value) | [`take`](crate::Cache::take), or [`remove`](crate::Cache::remove) for a `bool` |
//! | `remove_if` | [`remove_if`](crate::Cache::remove_if), which returns a `bool` |
//! | `entry` | [`update`](crate::Cache::update) |
//! | `get_or_insert_with` | [`get_or_load`](crate::Cache::get_or_load), or [`get_or_insert_with`](crate::Cache::get_or_insert_with) if it cannot fail |
//! | `get_or_insert_async` | [`get_or_load_async`](crate::Cache::get_or_load_async) |
//! | `get_value_or_guard` | `get_or_load`; a [`wait_limit`](crate::LoaderBuilder::wait_limit) in place of the timeout |
//! | `retain`, `clear`, `iter` | [`retain`](crate::Cache::retain), [`clear`](crate::Cache::clear), [`for_each`](crate::Cache::for_each) |
//! | `set_capacity` | [`set_max_bytes`](crate::Cache::set_max_bytes), up to the [`max_bytes_ceiling`](crate::CacheBuilder::max_bytes_ceiling) |
//! | `drain`, `reserve` | none |
//! | `len`, `weight`, `capacity` | [`len`](crate::Cache::len), [`memory`](crate::Cache::memory), [`max_bytes`](crate::Cache::max_bytes) |
//! | `hits`, `misses` (feature `stats`) | [`stats`](crate::Cache::stats), always |
//! | `Lifecycle::on_evict` | [`on_removal`](crate::CacheBuilder::on_removal) |
//! | `Lifecycle::is_pinned` | none: no entry can be kept from eviction |
//! | `unsync::Cache` | none: use one shard |
//!
//! Differences in behaviour:
//!
//! * **Entries can expire.** quick_cache has no lifetimes.
//! * **No closure runs under a lock.** The closure of quick_cache's `entry` runs under the lock of
//!   its shard, and must not use the cache. Closures of `view`, `retain` and listeners may use the
//!   cache here.
//! * **Failed loads are shared.** A follower gets the error of the load that it waited for. In
//!   quick_cache the next waiting caller runs its own closure.
//! * **The policy can be chosen.** quick_cache has one, a variant of Clock-PRO that is close to
//!   S3-FIFO: [`Policy::S3Fifo`](crate::Policy::S3Fifo).
