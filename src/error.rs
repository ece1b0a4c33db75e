//! What can go wrong, in one type.
//!
//! Every fallible operation returns [`Error`]; its [`kind`](Error::kind) carries the data that a caller can act upon.
//! A write that fails removes the entry under its key, as that is older than what the write was to store. Only an
//! `insert_if_absent` leaves an entry that reads find.

use core::fmt;
use core::time::Duration;

/// Why an operation of the cache or its builder failed.
///
/// ```
/// use bytecache::{Cache, ErrorKind};
///
/// let error = Cache::new(1_000).unwrap_err();
/// match error.kind() {
///     ErrorKind::TooSmall { min_bytes, .. } => assert!(*min_bytes <= 64 * 1024),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
}

/// The reason inside an [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The key is longer than keys may be, so nothing can be stored under it.
    KeyTooLong {
        /// Length of the key, in bytes.
        bytes: usize,
        /// The longest key, in bytes.
        max: usize,
    },
    /// Key and value together are larger than an entry of this cache may be. What was under the key is removed, as it is
    /// older; an entry that an `insert_if_absent` finds stays.
    TooLarge {
        /// Key and value, in bytes.
        bytes: usize,
        /// The largest sum, in bytes: [`Cache::max_entry_bytes`](crate::Cache::max_entry_bytes).
        max: usize,
    },
    /// No space could be had without waiting: held [`Value`](crate::Value)s or a reader that does not come to an end
    /// keep it. What was under the key is removed, as it is older.
    Rejected,
    /// `max_bytes` is below what a cache of that many shards needs.
    TooSmall {
        /// What was asked for.
        max_bytes: usize,
        /// The smallest size that works with this number of shards.
        min_bytes: usize,
    },
    /// `max_bytes` is above what the most shards can hold.
    TooManyBytes {
        /// What was asked for.
        max_bytes: usize,
        /// The largest size that works.
        largest: usize,
    },
    /// The largest entry is of no bytes, or above an eighth of the cache (of a shard, where 16 GiB are not enough for all).
    MaxEntryBytes {
        /// What was asked for.
        max_entry_bytes: usize,
        /// The largest that works with this `max_bytes`.
        largest: usize,
    },
    /// The number of shards is not a power of two, or is too small for `max_bytes` (a shard holds at most 16 GiB), or too large:
    /// above 4096, or such that a shard could not hold eight entries of `max_entry_bytes`.
    Shards {
        /// What was asked for.
        shards: usize,
        /// The smallest number for this `max_bytes`.
        min: usize,
        /// The largest number for this `max_bytes` and `max_entry_bytes`.
        max: usize,
    },
    /// The alignment of values is none of 1, 8 and 16.
    Alignment {
        /// What was asked for.
        alignment: usize,
    },
    /// The builder was given no `max_bytes`.
    NoMaxBytes,
    /// The builder was given a time to live or to idle of zero, with which no entry would ever be found.
    ZeroLifetime,
    /// The jitter of times to live is not a number from 0 to 1.
    Jitter {
        /// What was asked for, as it prints.
        fraction: String,
    },
    /// The beta of early refreshes is not a finite number above zero.
    EarlyRefresh {
        /// What was asked for, as it prints.
        beta: String,
    },
    /// A loader's refresh would not come before its values expire.
    LateRefresh {
        /// The age from which on values were to be loaded anew.
        refresh_after: Duration,
        /// Their time to live.
        ttl: Duration,
    },
    /// A loader for tasks has a limit on waiting and was given no way to sleep.
    NoSleep,
    /// No built-in policy has this name.
    UnknownPolicy {
        /// The name that was not found.
        name: String,
    },
    /// A policy has no parameter of this name.
    UnknownParameter {
        /// The policy's name.
        policy: &'static str,
        /// The name that was not found.
        parameter: String,
        /// The names of the parameters that the policy has.
        known: Vec<&'static str>,
    },
    /// A parameter of a policy can not have this value.
    PolicyParameter {
        /// The policy's name.
        policy: &'static str,
        /// The parameter's name.
        parameter: &'static str,
        /// What was asked for, as it was written.
        value: String,
        /// The values that the parameter can have, in words: "a number from 0 to 100".
        range: String,
    },
    /// The system refused the address space or memory that the cache needs at its start.
    OutOfMemory {
        /// Bytes that were asked for.
        bytes: usize,
    },
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Self {
        Self { kind }
    }

    /// The reason, with its data.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Self {
        Self::new(kind)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::KeyTooLong { bytes, max } => {
                write!(f, "a key of {bytes} bytes is longer than {max} bytes")
            }
            ErrorKind::TooLarge { bytes, max } => {
                write!(f, "key and value of {bytes} bytes are larger than the {max} bytes that an entry may have")
            }
            ErrorKind::Rejected => f.write_str("readers or values hold the space that the entry needs"),
            ErrorKind::TooSmall { max_bytes, min_bytes } => {
                write!(
                    f,
                    "max_bytes of {max_bytes} is below {min_bytes} bytes, the smallest for its policy and number of shards"
                )
            }
            ErrorKind::TooManyBytes { max_bytes, largest } => {
                write!(f, "max_bytes of {max_bytes} is above {largest}, the largest of any cache")
            }
            ErrorKind::MaxEntryBytes { max_entry_bytes, largest } => {
                write!(f, "max_entry_bytes of {max_entry_bytes}: with this max_bytes it must be from 1 to {largest}")
            }
            ErrorKind::Shards { shards, min, max } if min == max => {
                write!(f, "{shards} shards: with this max_bytes and max_entry_bytes the number must be {min}")
            }
            ErrorKind::Shards { shards, min, max } => {
                write!(f, "{shards} shards: with this max_bytes and max_entry_bytes the number must be ")?;
                write!(f, "a power of two from {min} to {max}")
            }
            ErrorKind::Alignment { alignment } => {
                write!(f, "a value alignment of {alignment} is none of 1, 8 and 16")
            }
            ErrorKind::NoMaxBytes => f.write_str("max_bytes was not set"),
            ErrorKind::ZeroLifetime => f.write_str("with a time to live or to idle of zero no entry would be found"),
            ErrorKind::Jitter { fraction } => write!(f, "a jitter of {fraction} is not a number from 0 to 1"),
            ErrorKind::EarlyRefresh { beta } => write!(f, "a beta of {beta} is not a finite number above zero"),
            ErrorKind::LateRefresh { refresh_after, ttl } => {
                write!(f, "a refresh after {refresh_after:?} does not come before the end of a time to live of {ttl:?}")
            }
            ErrorKind::NoSleep => f.write_str("tasks need a `sleep` to keep a limit on waiting"),
            ErrorKind::UnknownPolicy { name } => {
                write!(f, "no eviction policy has the name {name:?}")
            }
            ErrorKind::UnknownParameter { policy, parameter, known } if known.is_empty() => {
                write!(f, "the policy {policy} has no parameters, and so none called {parameter:?}")
            }
            ErrorKind::UnknownParameter { policy, parameter, known } => {
                write!(f, "the policy {policy} has no parameter {parameter:?}; it has {}", known.join(" and "))
            }
            ErrorKind::PolicyParameter { policy, parameter, value, range } => {
                write!(f, "the parameter {parameter} of the policy {policy} takes {range}, not {value:?}")
            }
            ErrorKind::OutOfMemory { bytes } => {
                write!(f, "the system refused {bytes} bytes")
            }
        }
    }
}

impl core::error::Error for Error {}
