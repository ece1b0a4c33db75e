//! The errors of the cache: [`Error`] of its operations, [`BuildError`] of its options,
//! [`ResizeError`] of another limit, and [`ParsePolicyError`] of a policy's name.
//!
//! An error has the number or the text that was refused, and the limits that hold. So a caller can
//! act upon it. The errors of loads are [`LoadError`](crate::LoadError)s.

use core::fmt;
use core::time::Duration;

/// The reason why a value was not stored.
///
/// Returned by the operations of a [`Cache`](crate::Cache) that store a value, and by
/// [`set_ttl`](crate::Cache::set_ttl).
///
/// # The entry under the key
///
/// A write that fails removes the entry under its key: that entry is older than the value that was
/// to be stored. Reads miss the key afterwards. The result of a load of the key that is in progress
/// is not stored.
///
/// An [`insert_if_absent`](crate::Cache::insert_if_absent) that fails leaves an entry that is
/// fresh. It removes only one that is kept beyond its deadline. A
/// [`replace_if`](crate::Cache::replace_if) that fails leaves an entry with another value than the
/// expected one. An [`increment`](crate::Cache::increment) that returns `NotACounter` or
/// `CounterOverflow` changes nothing.
///
/// ```
/// use bytecache::{Cache, Error};
///
/// let cache = Cache::builder().max_bytes(1 << 20).max_entry_bytes(1_000).build()?;
/// cache.insert("page", "<html>")?;
/// let error = cache.insert("page", [b'a'; 2_000]).unwrap_err();
/// assert_eq!(error, Error::TooLarge { bytes: 2_004, max: 1_000 });
/// assert!(cache.get("page").is_none(), "the older page is removed");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The key is longer than a key can be.
    ///
    /// Returned by every operation that stores a value. No entry can be under such a key, so the
    /// cache is unchanged.
    KeyTooLong {
        /// The length of the key, in bytes.
        bytes: usize,
        /// The length of the longest key, in bytes.
        max: usize,
    },
    /// Key and value together are larger than an entry of this cache can be.
    ///
    /// Returned by every operation that stores a value, even if its condition does not hold. The
    /// entry under the key is removed. `insert_if_absent` leaves one that is fresh, and
    /// `replace_if` one that has another value than the expected one.
    TooLarge {
        /// The size of key and value together, in bytes.
        bytes: usize,
        /// The largest size, in bytes: [`Cache::max_entry_bytes`](crate::Cache::max_entry_bytes).
        max: usize,
    },
    /// Readers and held [`Value`](crate::Value)s occupy the space that the entry needs.
    ///
    /// Returned by every operation that stores a value, and by `set_ttl` if the entry needs space
    /// for its first deadline. Also returned by a store within a
    /// [removal listener](crate::CacheBuilder::on_removal) while too many entries wait for their
    /// listeners. The entry under the key is removed. The same operation can succeed later.
    Rejected,
    /// The entry under the key is no counter, since its value does not have 8 bytes.
    ///
    /// Returned by [`increment`](crate::Cache::increment). The entry stays.
    NotACounter {
        /// The length of the value, in bytes.
        bytes: usize,
    },
    /// The codec of a typed namespace has failed to encode the value.
    ///
    /// Returned by the operations of a [`Typed`](crate::Typed) that store a value. The entry under
    /// the key is removed.
    Unencodable {
        /// The message of the codec.
        reason: String,
    },
    /// The sum does not fit into an [`i64`].
    ///
    /// Returned by [`increment`](crate::Cache::increment). The entry stays.
    CounterOverflow {
        /// The value of the counter.
        value: i64,
        /// The number that was to be added.
        by: i64,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyTooLong { bytes, max } => {
                write!(f, "the key has {bytes} bytes, but a key can have at most {max}")
            }
            Self::TooLarge { bytes, max } => {
                write!(
                    f,
                    "key and value have {bytes} bytes together, but an entry of this cache can have at most {max}"
                )
            }
            Self::Rejected => f.write_str("readers and held values occupy the space that the entry needs"),
            Self::NotACounter { bytes } => write!(f, "the value has {bytes} bytes, but a counter has 8"),
            Self::Unencodable { reason } => write!(f, "the codec failed to encode the value: {reason}"),
            Self::CounterOverflow { value, by } => {
                write!(f, "the counter is {value}, and adding {by} exceeds the range of 64 bits")
            }
        }
    }
}

impl core::error::Error for Error {}

/// The reason why a cache, a loader or the parameters of a policy were not built.
///
/// Nothing was built. The cache that a loader was meant for is unchanged.
///
/// ```
/// use bytecache::{BuildError, Cache};
///
/// match Cache::new(1_000).unwrap_err() {
///     BuildError::TooSmall { max_bytes: 1_000, min_bytes } => {
///         let cache = Cache::new(min_bytes)?;
///         assert_eq!(cache.max_bytes(), min_bytes);
///     }
///     other => panic!("{other}"),
/// }
/// let error = Cache::builder().max_bytes(1 << 20).ttl_jitter(1.5).build().unwrap_err();
/// assert_eq!(error.to_string(), "ttl_jitter is 1.5, but it must be a number from 0 to 1");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum BuildError {
    /// `max_bytes` is too small for the policy and the number of shards.
    ///
    /// Returned by [`Cache::new`](crate::Cache::new) and
    /// [`CacheBuilder::build`](crate::CacheBuilder::build).
    TooSmall {
        /// The `max_bytes` that was asked for.
        max_bytes: usize,
        /// The smallest `max_bytes` that works with the other options.
        min_bytes: usize,
    },
    /// `max_bytes` is larger than the largest number of shards can hold.
    ///
    /// Returned by `Cache::new` and `CacheBuilder::build`.
    TooManyBytes {
        /// The `max_bytes` that was asked for.
        max_bytes: usize,
        /// The largest `max_bytes` of any cache.
        largest: usize,
    },
    /// `max_bytes_ceiling` is below `max_bytes`, above 64 times `max_bytes`, or above the 16 GiB
    /// that each shard can address.
    ///
    /// Returned by `CacheBuilder::build`.
    Ceiling {
        /// The `max_bytes_ceiling` that was asked for.
        max_bytes_ceiling: usize,
        /// The smallest ceiling: `max_bytes`.
        smallest: usize,
        /// The largest ceiling that works with the other options.
        largest: usize,
    },
    /// `max_entry_bytes` is zero, or above an eighth of the cache. If the cache is larger than the
    /// 16 GiB of one shard, it is above an eighth of a shard.
    ///
    /// Returned by `CacheBuilder::build`.
    MaxEntryBytes {
        /// The `max_entry_bytes` that was asked for.
        max_entry_bytes: usize,
        /// The largest value that works with this `max_bytes`.
        largest: usize,
    },
    /// The number of shards is not a power of two, or is outside of the range that the sizes allow.
    ///
    /// A cache has at most 4,096 shards. Each holds at most 16 GiB and at least eight entries of
    /// `max_entry_bytes`. Returned by `CacheBuilder::build`.
    Shards {
        /// The number that was asked for.
        shards: usize,
        /// The smallest number for this `max_bytes`.
        min: usize,
        /// The largest number for this `max_bytes` and `max_entry_bytes`.
        max: usize,
    },
    /// The alignment of values is not 1, 8 or 16.
    ///
    /// Returned by `CacheBuilder::build`.
    Alignment {
        /// The alignment that was asked for, in bytes.
        alignment: usize,
    },
    /// `max_bytes` was not set.
    ///
    /// Returned by `CacheBuilder::build`.
    NoMaxBytes,
    /// The default time to live or time to idle is zero, so no entry would ever be found.
    ///
    /// Returned by `CacheBuilder::build`, and by the `build` methods of
    /// [`LoaderBuilder`](crate::LoaderBuilder) and of [`TypedBuilder`](crate::typed::TypedBuilder).
    ZeroLifetime,
    /// The jitter of times to live is not a number from 0 to 1.
    ///
    /// Returned by `CacheBuilder::build`.
    Jitter {
        /// The fraction that was asked for.
        fraction: f64,
    },
    /// The beta of early refreshes is not a finite number above 0.
    ///
    /// Returned by the `build` methods of `LoaderBuilder`.
    EarlyRefresh {
        /// The beta that was asked for.
        beta: f64,
    },
    /// The time to a refresh is not less than the time to live, so values would expire first.
    ///
    /// Returned by the `build` methods of `LoaderBuilder`.
    LateRefresh {
        /// The age from which on values are refreshed.
        refresh_after: Duration,
        /// Their time to live.
        ttl: Duration,
    },
    /// A loader for tasks has a limit on waiting or a load timeout, but no function to sleep.
    ///
    /// Returned by [`LoaderBuilder::build_async`](crate::LoaderBuilder::build_async) and
    /// `build_batched_async`.
    NoSleep,
    /// A loader for threads has a load timeout, but no executor that could run its loads.
    ///
    /// Returned by [`LoaderBuilder::build`](crate::LoaderBuilder::build).
    NoExecutor,
    /// A batch has room for no key, or no batch may be in flight.
    ///
    /// Returned by [`LoaderBuilder::build_batched`](crate::LoaderBuilder::build_batched) and
    /// [`LoaderBuilder::build_batched_async`](crate::LoaderBuilder::build_batched_async).
    EmptyBatch,
    /// A parameter of a policy does not take this value.
    ///
    /// Returned by the setters of the policies' configurations, such as
    /// [`S3FifoConfig::small_percent`](crate::policy::S3FifoConfig::small_percent).
    PolicyParameter {
        /// The name of the policy.
        policy: &'static str,
        /// The name of the parameter.
        parameter: &'static str,
        /// The value that was asked for.
        value: String,
        /// The values that the parameter takes, in words: "a number from 0 to 100".
        range: String,
    },
    /// The name of a namespace is too long.
    ///
    /// Returned by [`NamespaceBuilder::build`](crate::NamespaceBuilder::build).
    NamespaceName {
        /// The length of the name, in bytes.
        bytes: usize,
        /// The length of the longest name, in bytes.
        max: usize,
    },
    /// The cache has no room for another name of a namespace, or for another version of one.
    ///
    /// Returned by `NamespaceBuilder::build`.
    TooManyNamespaces {
        /// The most names and versions that a cache of this size has.
        max: usize,
    },
    /// There is no memory for the counters of a namespace, since values and readers hold it.
    ///
    /// Returned by `NamespaceBuilder::build`. The same call can succeed later.
    NamespaceMemory {
        /// The bytes that it needs.
        bytes: usize,
    },
    /// The codec of a typed namespace needs values at larger alignments than the cache has.
    ///
    /// Returned by the `build` methods of [`TypedBuilder`](crate::typed::TypedBuilder).
    CodecAlignment {
        /// The alignment that the codec needs, in bytes.
        needed: usize,
        /// The [alignment](crate::CacheBuilder::value_alignment) of the cache, in bytes.
        alignment: usize,
    },
    /// The system refused the address space or the memory that the cache needs at its start.
    ///
    /// Returned by `Cache::new` and `CacheBuilder::build`.
    OutOfMemory {
        /// The number of bytes that the cache asked for.
        bytes: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { max_bytes, min_bytes } => write!(
                f,
                "max_bytes is {max_bytes}, but it must be at least {min_bytes} for this policy and number of shards"
            ),
            Self::TooManyBytes { max_bytes, largest } => {
                write!(f, "max_bytes is {max_bytes}, but it must be at most {largest}")
            }
            Self::Ceiling { max_bytes_ceiling, smallest, largest } => {
                write!(f, "max_bytes_ceiling is {max_bytes_ceiling}, but it must be from {smallest} to {largest}")
            }
            Self::MaxEntryBytes { max_entry_bytes, largest } => {
                write!(f, "max_entry_bytes is {max_entry_bytes}, but it must be from 1 to {largest} for this max_bytes")
            }
            Self::Shards { shards, min, max } => {
                write!(f, "the number of shards is {shards}, but it must be ")?;
                match min == max {
                    true => write!(f, "{min}")?,
                    false => write!(f, "a power of two from {min} to {max}")?,
                }
                f.write_str(" for this max_bytes and max_entry_bytes")
            }
            Self::Alignment { alignment } => {
                write!(f, "value_alignment is {alignment}, but it must be 1, 8 or 16")
            }
            Self::NoMaxBytes => f.write_str("max_bytes is not set"),
            Self::ZeroLifetime => f.write_str("the time to live or to idle is 0, but it must be longer"),
            Self::Jitter { fraction } => {
                write!(f, "ttl_jitter is {fraction}, but it must be a number from 0 to 1")
            }
            Self::EarlyRefresh { beta } => {
                write!(f, "the beta of early_refresh is {beta}, but it must be a finite number above 0")
            }
            Self::LateRefresh { refresh_after, ttl } => {
                write!(f, "refresh_after is {refresh_after:?}, but it must be less than the time to live of {ttl:?}")
            }
            Self::NamespaceName { bytes, max } => {
                write!(f, "the name of the namespace has {bytes} bytes, but a name can have at most {max}")
            }
            Self::TooManyNamespaces { max } => {
                write!(f, "the cache has {max} namespaces, versions counted, and can have no more")
            }
            Self::NamespaceMemory { bytes } => {
                write!(f, "readers and held values occupy the {bytes} bytes that the namespace needs")
            }
            Self::CodecAlignment { needed, alignment } => {
                write!(f, "the codec needs values aligned to {needed} bytes, but value_alignment is {alignment}")
            }
            Self::NoSleep => f.write_str("wait_limit or load_timeout is set for a loader of tasks, but sleep is not"),
            Self::NoExecutor => f.write_str("load_timeout is set for a loader of threads, but executor is not"),
            Self::EmptyBatch => f.write_str("a batch needs room for a key, and one batch has to be in flight"),
            Self::PolicyParameter { policy, parameter, value, range } => {
                write_out_of_range(f, policy, parameter, value, range)
            }
            Self::OutOfMemory { bytes } => write!(f, "the system refused {bytes} bytes of memory"),
        }
    }
}

impl core::error::Error for BuildError {}

/// The reason why a cache did not get another limit. The limit stays as it was.
///
/// Returned by [`Cache::set_max_bytes`](crate::Cache::set_max_bytes).
///
/// ```
/// use bytecache::{Cache, ResizeError};
///
/// let cache = Cache::new(1 << 20)?;
/// let error = cache.set_max_bytes(2 << 20).unwrap_err();
/// assert_eq!(error, ResizeError::AboveCeiling { max_bytes: 2 << 20, ceiling: 1 << 20 });
/// assert_eq!(error.to_string(), "max_bytes is 2097152, but max_bytes_ceiling is 1048576");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResizeError {
    /// The limit leaves no room for the largest entries of each shard beside the namespaces.
    TooSmall {
        /// The limit that was asked for.
        max_bytes: usize,
        /// The smallest limit of this cache.
        min_bytes: usize,
    },
    /// The limit is above the ceiling that the builder has set.
    AboveCeiling {
        /// The limit that was asked for.
        max_bytes: usize,
        /// The largest limit of this cache.
        ceiling: usize,
    },
}

impl fmt::Display for ResizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { max_bytes, min_bytes } => {
                write!(f, "max_bytes is {max_bytes}, but it must be at least {min_bytes} for this cache")
            }
            Self::AboveCeiling { max_bytes, ceiling } => {
                write!(f, "max_bytes is {max_bytes}, but max_bytes_ceiling is {ceiling}")
            }
        }
    }
}

impl core::error::Error for ResizeError {}

/// The reason why a text cannot be parsed as a [`Policy`](crate::Policy).
///
/// Returned by `"...".parse::<Policy>()`.
///
/// ```
/// use bytecache::{ParsePolicyError, Policy};
///
/// let error = "s3-fifo(small=200)".parse::<Policy>().unwrap_err();
/// let expected = "small of s3-fifo is \"200\", but it must be a number from 0 to 100";
/// assert_eq!(error.to_string(), expected);
/// let error = "random".parse::<Policy>().unwrap_err();
/// assert_eq!(error, ParsePolicyError::UnknownPolicy { name: "random".to_owned() });
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParsePolicyError {
    /// No built-in policy has this name.
    ///
    /// Returned when the name is not that of a policy of [`Policy::ALL`](crate::Policy::ALL), or
    /// the text is not of the form `name(parameter=value,...)`.
    UnknownPolicy {
        /// The text.
        name: String,
    },
    /// The policy has no parameter of this name.
    UnknownParameter {
        /// The name of the policy.
        policy: &'static str,
        /// The unknown name.
        parameter: String,
        /// The names of the parameters that the policy has.
        known: Vec<&'static str>,
    },
    /// A parameter of the policy does not take this value.
    PolicyParameter {
        /// The name of the policy.
        policy: &'static str,
        /// The name of the parameter.
        parameter: &'static str,
        /// The value, as it was given.
        value: String,
        /// The values that the parameter takes, in words: "a number from 0 to 100".
        range: String,
    },
}

impl fmt::Display for ParsePolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPolicy { name } => write!(f, "there is no eviction policy {name:?}"),
            Self::UnknownParameter { policy, parameter, known } if known.is_empty() => {
                write!(f, "{policy} has no parameter {parameter:?}, nor any other")
            }
            Self::UnknownParameter { policy, parameter, known } => {
                write!(f, "{policy} has no parameter {parameter:?}, only {}", known.join(" and "))
            }
            Self::PolicyParameter { policy, parameter, value, range } => {
                write_out_of_range(f, policy, parameter, value, range)
            }
        }
    }
}

impl core::error::Error for ParsePolicyError {}

/// Writes that a parameter of a policy is out of its range.
fn write_out_of_range(
    f: &mut fmt::Formatter<'_>,
    policy: &str,
    parameter: &str,
    value: &str,
    range: &str,
) -> fmt::Result {
    write!(f, "{parameter} of {policy} is {value:?}, but it must be {range}")
}
