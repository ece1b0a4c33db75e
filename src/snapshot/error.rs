//! [`SnapshotError`]: the reason why a cache was not saved or not restored.

use core::fmt;
use std::io;

use crate::error::BuildError;

/// The reason why a cache was not saved, or not restored from a snapshot.
///
/// A save that fails leaves the former snapshot as it is. A file that is missing, too old, or
/// damaged after its header is no error: see [`Restored`](crate::Restored).
///
/// ```
/// use bytecache::{Cache, SnapshotError};
/// use std::time::Duration;
///
/// let hour = Duration::from_secs(3600);
/// let foreign = &b"This is no snapshot, but a text that somebody has put in its place."[..];
/// let error = Cache::builder().max_bytes(1 << 20).restore_from(foreign, hour).unwrap_err();
/// assert!(matches!(error, SnapshotError::NotASnapshot));
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum SnapshotError {
    /// Writing failed, or the file could not be opened or read.
    ///
    /// Returned by every operation on snapshots.
    Io(io::Error),
    /// The file is empty or is no snapshot.
    ///
    /// Returned by [`restore`](crate::CacheBuilder::restore) and
    /// [`restore_from`](crate::CacheBuilder::restore_from).
    NotASnapshot,
    /// The snapshot has a format that this version of the crate does not know.
    ///
    /// Returned by `restore` and `restore_from`.
    UnknownVersion {
        /// The version of the format in the file.
        version: u32,
        /// The latest version that can be read.
        latest: u32,
    },
    /// The header of the file is damaged or cut, so nothing in the file can be trusted.
    ///
    /// Returned by `restore` and `restore_from`.
    DamagedHeader,
    /// The cache could not be built.
    ///
    /// Returned by `restore` and `restore_from`.
    Build(BuildError),
    /// Another thread is saving the cache.
    ///
    /// Returned by [`save`](crate::Cache::save) and [`save_to`](crate::Cache::save_to). That save
    /// goes on.
    InProgress,
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => f.write_str("a snapshot could not be written or read"),
            Self::NotASnapshot => f.write_str("the file is no snapshot of a cache"),
            Self::UnknownVersion { version, latest } => {
                write!(f, "the snapshot has version {version} of the format, but the latest known one is {latest}")
            }
            Self::DamagedHeader => f.write_str("the header of the snapshot is damaged"),
            Self::Build(_) => f.write_str("the cache for the snapshot could not be built"),
            Self::InProgress => f.write_str("the cache is being saved by another thread"),
        }
    }
}

impl core::error::Error for SnapshotError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Build(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<BuildError> for SnapshotError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}
