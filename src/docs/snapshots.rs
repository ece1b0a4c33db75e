//! Snapshots: a cache that survives its process.
//!
//! [`Cache::save`](crate::Cache::save) writes the entries of a cache to a file, while the cache is
//! used. [`CacheBuilder::restore`](crate::CacheBuilder::restore) builds a cache that begins with
//! them. A service that is deployed ten times a day saves when it ends, and starts warm.
//!
//! [`save_to`](crate::Cache::save_to) and [`restore_from`](crate::CacheBuilder::restore_from) take
//! a writer and a reader in place of a path. [`SaveOptions`](crate::SaveOptions) reports the
//! progress of a save.
//!
//! ```no_run
//! use bytecache::{Cache, RestoredFrom};
//! use std::time::Duration;
//!
//! let max_age = Duration::from_secs(600);
//! let builder = Cache::builder().max_bytes(1 << 30).ttl(Duration::from_secs(3600));
//! let (cache, restored) = builder.restore("/var/cache/users.snapshot", max_age)?;
//! match restored.origin {
//!     RestoredFrom::Snapshot => println!("{} entries, {:?} old", restored.entries, restored.age),
//!     _ => println!("a cold start"),
//! }
//! // ... serves requests, and ends:
//! cache.save("/var/cache/users.snapshot")?;
//! # Ok::<(), bytecache::SnapshotError>(())
//! ```
//!
//! # For which data
//!
//! A snapshot is older than the store behind the cache. A value may change in the store between the
//! save and the restore. Then the cache has the former value until the entry expires or is written.
//! So decide for each cache:
//!
//! | data | snapshot |
//! |---|---|
//! | never changes under its key: hashes, versions in the key, rendered files | yes, with any age |
//! | may be older than the store by `max_age`: names, prices in a list, recommendations | yes, with that age |
//! | is invalidated by messages that can be read again from a position | yes: save the position, too |
//! | is invalidated by messages that are lost while nobody listens | only with an age that you accept |
//! | must never be older than the store: permissions, balances, tokens that are revoked | no |
//!
//! `max_age` has no default. It counts from the start of the save, by the wall clock. If the clock
//! has gone back since, the age counts as zero. If it has gone back by more than `max_age`, the
//! snapshot counts as too old.
//!
//! # Together with invalidation
//!
//! A source of invalidations tells the cache which keys have changed. There are two kinds:
//!
//! * **One that can go back** to a position, such as an offset in a log. Store the position that it
//!   had *before* the save beside the snapshot. Let it begin there after the restore, and apply all
//!   messages since before you serve requests.
//! * **One that cannot go back** does not know which messages it has missed. It may reset the cache
//!   when it connects. Then a snapshot is of no use, as the reset removes the restored entries,
//!   too. Otherwise connect before you restore, and apply the messages after the restore: the
//!   removal of a key that is not restored yet has no effect. Messages from before are lost, so
//!   choose an age that you accept.
//!
//! # Guarantees
//!
//! * **Last value or none.** An entry that is replaced or removed while `save` runs is left out
//!   when the snapshot is restored. The same holds for one whose deadline is changed, and for one
//!   that is evicted or expires. An entry that is added meanwhile may be left out. All others have
//!   their last value. Changes are recorded until all entries are written. The recording ends
//!   before the last write to the writer, and before the file gets its name. A change that comes
//!   later is newer than the snapshot. Entries that are left out because of changes are counted in
//!   [`Restored::changed`](crate::Restored::changed). A changed key is recorded as a bit that other
//!   keys may share. So for eight changed keys, about one other key is left out, and up to five if
//!   entries take less than 128 bytes. If the cache is [cleared](crate::Cache::clear) meanwhile,
//!   nothing is restored.
//! * **Lifetimes go on.** Times to live and to idle, stale periods and refreshes are saved as the
//!   time that is left. The time between save and restore counts, by the wall clock, and so does
//!   the time that both of them take. Entries that have expired in it are left out. An entry may
//!   expire up to two [`TICK`](crate::TICK)s and the clock's
//!   [`max_lag`](crate::Clock::max_lag) earlier, and never later.
//! * **Negative entries** are restored as such.
//! * **Namespaces** are restored with their names, versions and entries, before anyone opens them.
//!   A namespace that is invalidated while `save` runs does not come back. If the next cache has
//!   room for fewer namespaces, the entries of those opened last are left out. Versions that the
//!   code does not open keep their place. A cache has [at most 255](super::limitations) places, so
//!   begin with an empty cache once they are used up.
//! * **The order of the policy** is restored: queues, counts, priorities, visits, and what the
//!   policy has measured of the traffic. Ghosts and the counts of keys that are not in the cache
//!   are restored if the number of shards and the hasher are the same. With another policy, entries
//!   are stored from those that the former one would evict first to those that it would evict last.
//!   Those of MRU are stored from the one that was used least recently to the last one.
//! * **Any cache.** Size, shards, policy, alignment and hasher may differ. Entries that do not fit
//!   are left out, beginning with those that the policy would evict first. They are counted in
//!   [`Restored::left_out`](crate::Restored::left_out). Without a hasher of your own, the next
//!   cache takes the seeds of the former one from the file.
//! * **A crash while saving leaves the former snapshot.** The file is written under a temporary
//!   name, synced, and renamed. A save of the same snapshot removes the temporary files of killed
//!   saves. So only one process at a time may save to a path.
//! * **Damage is limited.** All blocks have checksums. Blocks that are damaged, cut or
//!   missing are left out and counted. A damaged header is an error. A file that has lost its end,
//!   or a record of changes, is not [complete](crate::Restored::is_complete). Then values may be as
//!   old as the start of the save, from which `max_age` counts.
//!
//! A restored cache misses as often as one that was never stopped, within 0.3 points in 260 of 273
//! caches on recorded traces. Entries lie in other places of the ring, so the cache may hold a
//! little more or less. To make room for large entries, it may evict others that the policy had not
//! chosen. MRU loses up to 1.3 points. The other policies lose up to 0.5, and the default up to
//! 0.3. BENCHMARKS.md has a table.
//!
//! A thousand processes were killed at random moments of saving and restoring, by
//! `BYTECACHE_KILLS=1000 cargo test --test snapshots kills`. Each left a whole snapshot, without a
//! wrong value.
//!
//! A snapshot holds keys and values in plain form, and the seeds of the hasher, which go on from
//! file to file. On Unix only its owner can read it. Restore only files that you trust: checksums
//! find damage, and no forgery.
//!
//! A [removal listener](crate::CacheBuilder::on_removal) is notified of restored entries that
//! leave. The cause is `Evicted` if they do not fit, and `Removed` if they changed while the cache
//! was saved.
//!
//! # Cost
//!
//! Saving never blocks readers. It takes the locks of the shards for the order of a few entries at
//! a time, and copies the entries without them. Values of 32 KiB or more are held if they can
//! be, and not copied.
//! While a save runs, a hash is computed of the key of each entry that is replaced or leaves. The
//! record of these hashes takes one or two bytes for each entry, at most a 64th of `max_bytes`, and
//! is part of that limit.
//! A full cache evicts entries for it. Beside the cache, a save allocates about 1 MiB and a bit for
//! each place of the indexes. Restoring stores entries one after the other in one thread.
//! BENCHMARKS.md has figures.
//!
//! Indexes keep their size while a save runs. If one is full, each new entry evicts another. After
//! [`set_max_bytes`](crate::Cache::set_max_bytes) with a lower limit, the cache stays above it
//! until the save ends, by the record and by what its indexes are going to give back.
//!
//! # The format
//!
//! This is version 1 of the format. All numbers are little-endian. A *number* without a length has
//! seven bits in each byte, the lowest first. The highest bit of a byte says that another byte
//! follows. Checksums are xxh3 hashes with the nonce as seed: [`StableHash`](crate::StableHash).
//!
//! ```text
//!   header    0  magic: 89 42 43 53 0d 0a 1a 0a        40  max_bytes
//!             8  version, 4 bytes                      48  home buckets of all indexes
//!            12  shards, 4 bytes                       56  hash of an empty key
//!            16  nonce                                 64  seeds of the hasher, 4 x 8, or 0
//!            24  start, milliseconds since 1970        96  checksum of the bytes before
//!            32  entries at the start
//!
//!   block     0  mark: b1 6f 63 4b 0d 0a 00 fe         32  time, milliseconds since 1970
//!             8  kind, 4 bytes                         40  checksum of the payload
//!            12  entries, 4 bytes                      48  checksum of the bytes before
//!            16  number of blocks before it            56  payload
//!            24  length of the payload
//! ```
//!
//! | kind | payload |
//! |---|---|
//! | 1, policy | length and bytes of the policy's name; for each shard the home buckets of its index, its live target in 65,536ths, and length and bytes of the policy's state |
//! | 2, entries | the entries, one after the other |
//! | 3, changes | 1 if all keys have changed, else 0, in a byte; the number of words of the record; for each word that has changed since the block before, its distance from the former one in this block, and the word in 8 bytes |
//! | 4, namespaces | their number; for each one the length and bytes of its name, its version, and the number of its invalidations. Before the entries if there are namespaces, and at the end if they have changed |
//! | 5, end | the number of blocks of the kinds 3 and 4 before it. The last block |
//! | 6, history | the number of a shard, the number of a part, and a part of what its policy remembers of keys by their hashes |
//!
//! Blocks of other kinds are skipped. A key has changed if its bit is set. The number of the bit is
//! the high half of a product: the hash of the key, with the nonce as seed, times the number of
//! bits.
//!
//! An entry consists of these parts, in this order:
//!
//! | part | contents |
//! |---|---|
//! | flags | a byte: visits 1 and 2, standing 4, times 8 |
//! | lengths | the lengths of key and value |
//! | standing, if its flag is set | a byte for the class, then rank, uses and order |
//! | times, if their flag is set | see below |
//! | key, value | their bytes |
//!
//! Times begin with a byte of flags and the stale period in ticks. Each further part follows if its
//! flag is set:
//!
//! | flag | part |
//! |---|---|
//! | removal 1 | the milliseconds until the removal |
//! | idle 2 | the milliseconds until the idle removal, and the time to idle in ticks |
//! | refresh 4 | the ticks until the refresh, as a signed number of 4 bytes |
//! | failed 8, negative 16 | none: a load has failed, the entry is negative |
