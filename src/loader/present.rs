//! [`Present`]: the state of a key in a loader's cache, without a load.

use super::handles::{AsyncLoader, Loader, Shared};
use crate::cache::LookUp;
use crate::ring::Value;
use crate::shard::Negative;

/// The state of a key, from [`Loader::get_if_present`] and [`AsyncLoader::get_if_present`], whose
/// values are [`Value`]s, and from [`Typed::get_if_present`](crate::Typed::get_if_present).
///
/// ```
/// use std::io;
/// use std::time::Duration;
/// use bytecache::{Cache, Loaded, Present};
///
/// let builder = Cache::new(1 << 20)?.loader().negative_ttl(Duration::from_secs(5));
/// let users = builder.build(|id| {
///     Ok::<_, io::Error>(Loaded::from((id == b"1").then_some("Ada")))
/// })?;
/// assert!(matches!(users.get_if_present("1"), Present::Nothing));
/// users.get("1")?;
/// assert!(matches!(users.get_if_present("1"), Present::Value(name) if name == "Ada"));
/// assert!(users.get("2").is_err_and(|error| error.is_absent()));
/// assert!(matches!(users.get_if_present("2"), Present::Absent));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Present<V = Value> {
    /// There is a value. It may be due for a refresh, but is not past its deadline.
    Value(V),
    /// A load has found nothing under the key, less than the
    /// [`negative_ttl`](crate::LoaderBuilder::negative_ttl) ago.
    Absent,
    /// There is neither. Also the state of a key whose last load has failed.
    Nothing,
}

impl<V> Present<V> {
    /// Returns the value, or `None` if there is none.
    ///
    /// ```
    /// use std::io;
    /// use bytecache::Cache;
    ///
    /// let loader = Cache::new(1 << 20)?.loader().build(|_| Ok::<_, io::Error>("value"))?;
    /// assert!(loader.get_if_present("key").value().is_none());
    /// loader.get("key")?;
    /// assert!(loader.get_if_present("key").value().is_some_and(|value| value == "value"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn value(self) -> Option<V> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Nothing => None,
        }
    }
}

impl<F> Shared<F> {
    /// Returns the state of a caller's key in the cache.
    fn present(&self, key: &[u8]) -> Present {
        self.cache.with_stored_key(key, |key| match self.cache.look_up(&self.cache.target(key), key) {
            LookUp::Fresh(value) | LookUp::RefreshDue(value) => Present::Value(value),
            LookUp::Negative(Negative::Absent) => Present::Absent,
            LookUp::Negative(Negative::Failed) | LookUp::Nothing => Present::Nothing,
        })
    }
}

impl<F> Loader<F> {
    /// Returns the state of `key` in the cache. Never loads or refreshes it, and waits for nothing.
    ///
    /// Counts one hit or one miss. A [negative entry](crate::docs::glossary) is a hit.
    ///
    /// ```
    /// use std::io;
    /// use bytecache::{Cache, Present};
    ///
    /// let loader = Cache::new(1 << 20)?.loader().build(|_| Ok::<_, io::Error>("value"))?;
    /// assert!(matches!(loader.get_if_present("key"), Present::Nothing));
    /// loader.get("key")?;
    /// assert!(matches!(loader.get_if_present("key"), Present::Value(value) if value == "value"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Cost
    ///
    /// Like [`Cache::get`](crate::Cache::get).
    #[must_use]
    pub fn get_if_present(&self, key: impl AsRef<[u8]>) -> Present {
        self.shared.present(key.as_ref())
    }
}

impl<F> AsyncLoader<F> {
    /// Returns the state of `key` in the cache. Never loads or refreshes it, and waits for nothing.
    ///
    /// Counts one hit or one miss. A [negative entry](crate::docs::glossary) is a hit.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use bytecache::{Cache, Present};
    ///
    /// let builder = Cache::new(1 << 20)?.loader();
    /// let loader = builder.build_async(|_| async { Ok::<_, io::Error>("value") })?;
    /// assert!(matches!(loader.get_if_present("key"), Present::Nothing));
    /// loader.get_async("key").await?;
    /// assert!(matches!(loader.get_if_present("key"), Present::Value(value) if value == "value"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cost
    ///
    /// Like [`Cache::get`](crate::Cache::get).
    #[must_use]
    pub fn get_if_present(&self, key: impl AsRef<[u8]>) -> Present {
        self.shared.present(key.as_ref())
    }
}
