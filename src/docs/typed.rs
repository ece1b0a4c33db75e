//! Typed values and namespaces: several kinds of values in one cache.
//!
//! Most services cache several kinds of values: users, pages, rates. Each kind is a
//! [`Namespace`](crate::Namespace) of one [`Cache`](crate::Cache), so that all kinds share one
//! limit on memory. A [`Typed`](crate::Typed) is a namespace whose keys and values have types.
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
//! // Messages from other instances name the keys that have changed there.
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
//! | [`RawBytes`](crate::typed::RawBytes) | | `Vec<u8>`, `Box<[u8]>` | is in place |
//! | [`Utf8`](crate::typed::Utf8) | | `String`, `Box<str>` | is in place |
//! | [`Counter`](crate::typed::Counter) | | `i64` | decodes |
//!
//! Implement [`Codec`](crate::typed::Codec) for a format of your own: that takes two functions.
//! With a codec that reads in place, [`view`](crate::Typed::view) passes a reference to a closure,
//! and [`get`](crate::Typed::get) copies. All codecs validate bytes before they are read.
//!
//! * A read of a value that does **not decode** is a miss, not an error. The value is removed and
//!   counted in [`Stats::undecodable`](crate::Stats::undecodable). If there is a function that
//!   loads, it loads the value again.
//! * A write of a value that does **not encode** fails. It removes the older entry, and is counted
//!   in [`Stats::unencodable`](crate::Stats::unencodable).
//! * `Zerocopy` and `Rkyv` need a [`value_alignment`](crate::CacheBuilder::value_alignment) of the
//!   cache. If it is too small, building the namespace fails with
//!   [`BuildError::CodecAlignment`](crate::BuildError::CodecAlignment).
//!
//! Bytes do not tell their layout. The bytes of one type may decode to a wrong value of another. So
//! increase the [`version`](crate::NamespaceBuilder::version) with each change of the type.
//!
//! # Keys
//!
//! A [`Key`](crate::typed::Key) is a text, bytes, an integer, an array of bytes, a tuple of these,
//! or, with the feature `uuid`, a `Uuid`. Texts and bytes are stored as they are, and integers with
//! the highest byte first. A tuple has two to five parts. A part of variable length comes after its
//! length in two bytes, unless it is the last part. [`Typed::key_bytes`](crate::Typed::key_bytes)
//! returns the bytes of a key.
//!
//! For a struct around a key, write `bytecache::newtype_key!(UserId(u64));`
//! ([`newtype_key!`](crate::newtype_key)). For another type of your own, implement
//! [`Key`](crate::typed::Key) and [`OwnedKey`](crate::typed::OwnedKey): a function that writes the
//! key, and one that reads it.
//!
//! # Operations
//!
//! | to | call |
//! |---|---|
//! | read, and load what is missing | [`get`](crate::Typed::get), [`view`](crate::Typed::view), [`get_many`](crate::Typed::get_many) |
//! | look without loading | [`get_if_present`](crate::Typed::get_if_present), [`peek`](crate::Typed::peek), [`contains_key`](crate::Typed::contains_key), [`for_each`](crate::Typed::for_each) |
//! | write | [`insert`](crate::Typed::insert), [`insert_with_lifetime`](crate::Typed::insert_with_lifetime), [`remove`](crate::Typed::remove), [`invalidate_all`](crate::Typed::invalidate_all) |
//! | change atomically | [`update`](crate::Typed::update), [`replace_if`](crate::Typed::replace_if), [`increment`](crate::Typed::increment) with the codec `Counter` |
//!
//! [`Typed::namespace`](crate::Typed::namespace) has the other operations, which work on bytes.
//!
//! # Loads
//!
//! | function | built by |
//! |---|---|
//! | loads one key, in a task | [`build_async`](crate::typed::TypedBuilder::build_async) |
//! | loads the keys of several calls at once, in a task | [`build_batched_async`](crate::typed::TypedBuilder::build_batched_async) |
//! | loads one key, on a thread | [`build_loader`](crate::typed::TypedBuilder::build_loader) |
//! | loads the keys of several calls at once, on a thread | [`build_batched_loader`](crate::typed::TypedBuilder::build_batched_loader) |
//!
//! All rules of [loading](super::loading) hold: one load for each key at a time, and no result that
//! is older than an invalidation. With a [`spawner`](crate::typed::TypedBuilder::spawner), loads
//! outlive their callers. A [`load_timeout`](crate::typed::TypedBuilder::load_timeout) limits how
//! long callers wait. [`loads`](crate::typed::TypedBuilder::loads) sets the options of a
//! [`LoaderBuilder`](crate::LoaderBuilder) for which `TypedBuilder` has no method, such as
//! [`error_ttl`](crate::LoaderBuilder::error_ttl). `get_many` returns a result for each key.
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
//! | everything, or an unknown part | [`Cache::clear`](crate::Cache::clear) | a pass over the indexes |
//!
//! A message from elsewhere is an [`Invalidation`](crate::Invalidation), which
//! [`Cache::apply`](crate::Cache::apply) takes. After each of these calls, the results of loads in
//! progress and of leases that it concerns are not stored. An `Invalidation` and `invalidate_all`
//! concern all versions of a namespace, and `remove` concerns only the version of its handle. The
//! [limits](super::limitations) name the workarounds for an invalidation by a prefix or a tag.
//!
//! # What namespaces share
//!
//! Namespaces share the memory, the policy and the clock of their cache. `Cache::len`, `memory`,
//! `stats` and `clear` include their entries, and so do [snapshots](super::snapshots). `for_each`,
//! `retain` and the removal listener of the cache see plain entries only. If a kind of values needs
//! a share of memory for itself, make another cache for it.
//!
//! # Cost
//!
//! A hit finds the entry, validates or decodes the value in place, and counts the read. The table
//! has instructions (callgrind, keys of 8 bytes, values of 16 bytes):
//!
//! | read | instructions | beyond `Cache::view` and decoding |
//! |---|---:|---:|
//! | `Cache::view` of a plain key | 285 | |
//! | `Namespace::view` | 305 | 20 |
//! | `Typed::view` with `Zerocopy` | 313 | 25 |
//! | the same, loaded by threads | 313 | 25 |
//! | the same, loaded by tasks | 321 | 33 |
//! | `Typed::get` with `Postcard`, loaded by threads | 386 | 7 |
//! | the same, loaded by tasks | 393 | 14 |
//!
//! Most of the difference comes from the prefix, which is written before the key and hashed with
//! it.
