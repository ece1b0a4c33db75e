//! Typed values and namespaces: several kinds of values in one cache.
//!
//! A service mostly caches several kinds of values: users, pages, rates. Each kind is a
//! [`Namespace`](crate::Namespace) of one [`Cache`](crate::Cache), so that they share one limit on
//! memory. A [`Typed`](crate::Typed) is a namespace whose keys and values have types.
//!
//! # A service
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::io;
//! use std::time::Duration;
//! use bytecache::typed::Utf8;
//! use bytecache::{Cache, Invalidation, Typed};
//!
//! /// A database with one user.
//! #[derive(Clone)]
//! struct Database;
//!
//! impl Database {
//!     async fn user(&self, id: u64) -> Result<Option<String>, io::Error> {
//!         Ok((id == 1).then(|| "Ada".to_string()))
//!     }
//! }
//!
//! /// The type names no function, so it fits into a struct.
//! struct Service {
//!     users: Typed<u64, String, Utf8>,
//! }
//!
//! let cache = Cache::new(64 << 20)?;
//! let database = Database;
//! let users = cache
//!     .namespace("users")
//!     .version(3) // Another layout of the values gets another version.
//!     .typed(Utf8)
//!     .ttl(Duration::from_secs(600))
//!     .negative_ttl(Duration::from_secs(30))
//!     .build_async(move |id| {
//!         let database = database.clone();
//!         async move { database.user(id).await }
//!     })?;
//! let service = Service { users };
//!
//! // Loaded once, and then read from the cache. `None` is remembered for half a minute.
//! assert_eq!(service.users.get(&1).await?.as_deref(), Some("Ada"));
//! assert_eq!(service.users.get(&2).await?, None);
//!
//! // After a change of the database: remove. A load that began before is not stored.
//! service.users.remove(&1);
//!
//! // What other instances have changed comes as messages of bytes.
//! cache.apply(Invalidation::KeyIn("users", &service.users.key_bytes(&1)));
//! cache.apply(Invalidation::Namespace("users"));
//!
//! let stats = service.users.stats();
//! assert_eq!((stats.loads, stats.loads_not_found), (2, 1));
//! # Ok(())
//! # }
//! ```
//!
//! # Codecs
//!
//! | codec | feature | values | a read |
//! |---|---|---|---|
//! | `Postcard` | `postcard` | types of serde | decodes |
//! | `Zerocopy` | `zerocopy` | types whose bytes are their value | is in place |
//! | `Rkyv` | `rkyv` | types of rkyv | is in place |
//! | [`RawBytes`](crate::typed::RawBytes), [`Utf8`](crate::typed::Utf8) | | bytes, texts | is in place |
//! | [`Counter`](crate::typed::Counter) | | `i64` | decodes |
//!
//! A [`Codec`](crate::typed::Codec) of your own takes two functions. With a codec that reads in
//! place, [`view`](crate::Typed::view) passes a reference to a closure, and
//! [`get`](crate::Typed::get) copies. All codecs validate bytes before they are read.
//!
//! * A value that does **not decode** is removed, counted in
//!   [`Stats::undecodable`](crate::Stats::undecodable), and a miss. It is never an error. If there
//!   is a function that loads, it loads the value again.
//! * A value that does **not encode** is a write that has failed. It removes the older entry, and
//!   is counted in [`Stats::unencodable`](crate::Stats::unencodable).
//! * Codecs that read in place need a
//!   [`value_alignment`](crate::CacheBuilder::value_alignment) of the cache. If it is too small,
//!   building the namespace is an error.
//!
//! Bytes say nothing of their layout. Old bytes may decode to a wrong value of a new type. So count
//! the [`version`](crate::NamespaceBuilder::version) up with each change of the type.
//!
//! # Keys
//!
//! A [`Key`](crate::typed::Key) is a text, bytes, an integer, an array of bytes, a tuple of these,
//! or, with the feature `uuid`, a `Uuid`. Texts and bytes are stored as they are, and integers with
//! the highest byte first. [`Typed::key_bytes`](crate::Typed::key_bytes) returns the bytes. A type
//! of your own takes two functions.
//!
//! # Loads
//!
//! | the function | built by |
//! |---|---|
//! | loads one key, in a task | [`build_async`](crate::typed::TypedBuilder::build_async) |
//! | loads the keys of several calls at once, in a task | [`build_batched_async`](crate::typed::TypedBuilder::build_batched_async) |
//! | loads one key, on a thread | [`build_loader`](crate::typed::TypedBuilder::build_loader) |
//!
//! All rules of [loading](super::loading) hold: one load for each key at a time, and no result that
//! is older than an invalidation. With a [`spawner`](crate::typed::TypedBuilder::spawner), loads
//! outlive their callers, and [`load_timeout`](crate::typed::TypedBuilder::load_timeout) limits how
//! long these wait. [`loads`](crate::typed::TypedBuilder::loads) sets the options of a
//! [`LoaderBuilder`](crate::LoaderBuilder) for which `TypedBuilder` has no method. `get_many` reads
//! many keys, with a result for each.
//!
//! The function may return any error that becomes a `Box<dyn Error + Send + Sync>`. Callers get a
//! [`LoadError`](crate::LoadError) of [`SharedError`](crate::typed::SharedError), whose source is
//! that error.
//!
//! # Invalidation
//!
//! | what has changed | call | cost |
//! |---|---|---|
//! | one value | [`remove`](crate::Typed::remove) | one lock |
//! | all values of a kind | [`invalidate_all`](crate::Typed::invalidate_all) | a few instructions |
//! | some values of a kind | [`Namespace::retain`](crate::Namespace::retain) | a pass over all entries of the cache |
//! | everything, or nobody knows | [`Cache::clear`](crate::Cache::clear) | a pass over the indexes |
//!
//! A message from elsewhere is an [`Invalidation`](crate::Invalidation), which
//! [`Cache::apply`](crate::Cache::apply) takes. All of them detach loads in progress and leases.
//! The [limits](super::limitations) say why there is no invalidation by a prefix or a tag.
//!
//! # What namespaces share
//!
//! Namespaces share the memory, the policy and the clock of their cache. `Cache::len`, `memory`,
//! `stats` and `clear` cover them. [Snapshots](super::snapshots) have them, too. `for_each`, `retain` and the removal listener of the cache see
//! plain entries only. A kind of values that needs a share of memory for itself is a cache of its
//! own.
//!
//! # Cost
//!
//! A hit finds the entry, validates or decodes the value in place, and counts. Instructions
//! (callgrind, keys of 8 bytes, values of 16 bytes):
//!
//! | read | instructions | beyond `Cache::view` and decoding |
//! |---|---:|---:|
//! | `Cache::view` of a plain key | 329 | |
//! | `Namespace::view` | 357 | 28 |
//! | `Typed::view` with `Zerocopy` | 366 | 37 |
//! | the same, loaded by tasks | 390 | 61 |
//! | `Typed::get` with `Postcard` | 440 | 54 |
//! | the same, loaded by tasks | 460 | 74 |
//!
//! Most of the difference is the prefix: it is written before the key, and hashed with it.
