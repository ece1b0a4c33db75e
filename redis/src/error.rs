//! Errors: [`Error`] of an operation, and [`SetupError`] of a builder.

use core::fmt;

use bytecache::typed::EncodeError;
use bytecache::{BuildError, LoadError};
use redis::{ErrorKind, RedisError, ServerErrorKind};

/// The error of a loader, in a box.
pub type BoxError = Box<dyn core::error::Error + Send + Sync>;

/// The reason why an operation on both tiers failed.
///
/// Messages contain no keys and no values. An error reply of the server is passed on as it is.
///
/// ```
/// use bytecache_redis::Error;
///
/// assert_eq!(Error::NotConnected.to_string(), "there is no connection to Redis");
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no connection to Redis. No command was sent.
    NotConnected,
    /// Redis did not answer within the [`command_timeout`](crate::RemoteBuilder::command_timeout).
    /// The command may still take effect later.
    TimedOut,
    /// Redis returned an error, or the connection ended. After the end of a connection the command
    /// may still take effect.
    Redis(RedisError),
    /// The value begins with the bytes `\0bytecache:`, which mark entries without a value.
    ReservedValue,
    /// The key `namespace:generation` does not hold a number.
    BadGeneration,
    /// The loader failed, panicked, or took longer than the
    /// [`load_limit`](crate::TieredBuilder::load_limit).
    Load(LoadError<BoxError>),
    /// The codec did not encode the value.
    Unencodable(EncodeError),
    /// The bytes are not those of a value of the codec: another client has stored them.
    Undecodable,
    /// The runtime of the [`Remote`](crate::Remote) has shut down.
    NoRuntime,
}

impl Error {
    /// Returns `true` if the command may have taken effect, or may do so later.
    ///
    /// Repeat the write, or [`remove`](crate::Tiered::remove) the key, until one of them succeeds.
    ///
    /// ```
    /// use bytecache_redis::Error;
    ///
    /// assert!(Error::TimedOut.is_outcome_unknown());
    /// assert!(!Error::NotConnected.is_outcome_unknown());
    /// ```
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::TimedOut | Self::NoRuntime => true,
            Self::Redis(error) => error.is_unrecoverable_error() || error.is_io_error(),
            _ => false,
        }
    }
}

impl Error {
    /// Returns the reason why an attempt to connect failed. It names no addresses.
    pub(crate) fn reason(&self) -> &'static str {
        let Self::Redis(error) = self else {
            return match self {
                Self::TimedOut => "no answer in time",
                _ => "no node answers that is a primary and serves commands",
            };
        };
        match error.kind() {
            ErrorKind::AuthenticationFailed => "the user or the password is wrong",
            _ if matches!(error.code(), Some("WRONGPASS" | "NOAUTH")) => "the user or the password is wrong",
            ErrorKind::Server(ServerErrorKind::NoPerm) => "the user may not do this",
            ErrorKind::Server(ServerErrorKind::BusyLoading) => "the server is loading its data",
            ErrorKind::RESP3NotSupported => "the server does not know RESP3",
            ErrorKind::Io => "no connection",
            _ => "another error",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "there is no connection to Redis",
            Self::TimedOut => "Redis did not answer within the command timeout",
            Self::Redis(_) => "a command to Redis failed",
            Self::ReservedValue => "the value begins with the reserved bytes \"\\0bytecache:\"",
            Self::BadGeneration => "the generation of the namespace in Redis is not a number",
            Self::Load(_) => "the value could not be loaded",
            Self::Unencodable(_) => "the value could not be encoded",
            Self::Undecodable => "the bytes are not those of a value",
            Self::NoRuntime => "the tokio runtime has shut down",
        })
    }
}

impl core::error::Error for Error {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Redis(error) => Some(error),
            Self::Load(error) => Some(error),
            Self::Unencodable(error) => Some(error),
            _ => None,
        }
    }
}

impl From<RedisError> for Error {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() { Self::TimedOut } else { Self::Redis(error) }
    }
}

/// The reason why a builder refused its options.
///
/// ```
/// use bytecache_redis::{Remote, SetupError};
///
/// let client = redis::Client::open("redis://127.0.0.1")?;
/// assert!(matches!(Remote::builder(client).connect(), Err(SetupError::NoRuntime)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SetupError {
    /// The call was not made within a tokio runtime.
    NoRuntime,
    /// The [`max_staleness`](crate::RemoteBuilder::max_staleness) is below 200 ms or above an hour.
    MaxStaleness,
    /// The [`command_timeout`](crate::RemoteBuilder::command_timeout) is zero.
    ZeroTimeout,
    /// A time to live is zero.
    ZeroTtl,
    /// The name of the namespace is empty, or contains a colon.
    Name,
    /// The [`Remote`](crate::Remote) serves another [`Tiered`](crate::Tiered) of this name.
    NameInUse,
    /// The client's options are not accepted.
    Client(RedisError),
    /// The namespace of the cache, or its loader, could not be built.
    Cache(BuildError),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRuntime => "a connection to Redis needs a tokio runtime",
            Self::MaxStaleness => "max_staleness must be from 200 ms to one hour",
            Self::ZeroTimeout => "the command timeout must not be zero",
            Self::ZeroTtl => "a time to live must not be zero",
            Self::Name => "the name of a namespace must not be empty, and must not contain a colon",
            Self::NameInUse => "the connection already serves a namespace of this name",
            Self::Client(_) => "the options of the Redis client are not accepted",
            Self::Cache(_) => "the namespace of the cache could not be built",
        })
    }
}

impl core::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Client(error) => Some(error),
            Self::Cache(error) => Some(error),
            _ => None,
        }
    }
}
