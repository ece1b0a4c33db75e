//! Loads that cannot fail: `get_or_insert_with` and its form for tasks.
//!
//! They share loads with all others. An earlier load may have found nothing or failed, so that
//! there is neither a value nor a load to share. Then they call their function, and store its value
//! under a [lease](crate::Lease): a write that comes meanwhile wins.

use core::convert::Infallible;
use core::future::Future;

use super::LoadError;
use crate::cache::{Cache, Lease};
use crate::expiry::Lifetime;
use crate::ring::Value;

impl Cache {
    /// Returns the value under `key`. If there is none, calls `load`, and stores and returns its
    /// value.
    ///
    /// Like [`get_or_load`](Self::get_or_load), for a `load` that cannot fail: callers that ask for
    /// the key meanwhile wait for it and get its value. This calls `load` even if a negative entry
    /// says that an earlier load found nothing or failed.
    ///
    /// A `load` that asks for its own key gets the value of the inner call, which is not stored.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// assert_eq!(cache.get_or_insert_with("answer", || "42"), "42");
    /// assert_eq!(cache.get_or_insert_with("answer", || -> &str { unreachable!() }), "42");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// A value that cannot be stored is returned, and counted in the [statistics](Self::stats).
    ///
    /// # Panics
    ///
    /// If `load` panics, the panic continues in the call that runs it. Calls that wait for it then
    /// call their own.
    ///
    /// # Cost
    ///
    /// Like [`get_or_load`](Self::get_or_load).
    pub fn get_or_insert_with<V: AsRef<[u8]>>(&self, key: impl AsRef<[u8]>, load: impl FnOnce() -> V) -> Value {
        let key = key.as_ref();
        let mut load = Some(load);
        let mut call = || match load.take() {
            Some(load) => load(),
            None => unreachable!("a load that was called has returned a value"),
        };
        match self.get_or_load(key, || Ok::<_, Infallible>(call())) {
            Ok(value) => value,
            Err(error) => {
                let lease = self.lease_after(key, &error);
                self.store_under(lease, call())
            }
        }
    }

    /// Like [`get_or_insert_with`](Self::get_or_insert_with), but for tasks, on any runtime.
    ///
    /// The future may be dropped at any time, like that of
    /// [`get_or_load_async`](Self::get_or_load_async).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// assert_eq!(cache.get_or_insert_with_async("answer", async || "42").await, "42");
    /// assert_eq!(cache.get("answer").as_deref(), Some(&b"42"[..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Like [`get_or_insert_with`](Self::get_or_insert_with).
    ///
    /// # Cost
    ///
    /// Like [`get_or_load_async`](Self::get_or_load_async).
    pub async fn get_or_insert_with_async<V, F>(&self, key: impl AsRef<[u8]>, load: impl FnOnce() -> F) -> Value
    where
        V: AsRef<[u8]>,
        F: Future<Output = V>,
    {
        let key = key.as_ref();
        let mut load = Some(load);
        let mut call = || match load.take() {
            Some(load) => load(),
            None => unreachable!("a load that was called has returned a value"),
        };
        let loading = || {
            let loading = call();
            async { Ok::<_, Infallible>(loading.await) }
        };
        match self.get_or_load_async(key, loading).await {
            Ok(value) => value,
            Err(error) => {
                let lease = self.lease_after(key, &error);
                let value = call().await;
                self.store_under(lease, value)
            }
        }
    }

    /// Returns a lease for a value that a call loads by itself, or `None` if its value is not to be
    /// stored: another call of the same load has yet to return.
    fn lease_after(&self, key: &[u8], error: &LoadError<Infallible>) -> Option<Lease> {
        (!matches!(error, LoadError::Reentrant)).then(|| self.lease(key))
    }

    fn store_under(&self, lease: Option<Lease>, value: impl AsRef<[u8]>) -> Value {
        let bytes = value.as_ref();
        if let Some(lease) = lease {
            // A value that cannot be stored is counted, and returned like any other.
            let _ = lease.store(bytes, Lifetime::new());
        }
        self.stored_or_copied(None, bytes)
    }
}
