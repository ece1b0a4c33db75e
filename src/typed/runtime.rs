//! The options of a [`TypedBuilder`] that set where loads run and how long calls wait.

use core::future::Future;
use core::pin::Pin;
use core::time::Duration;

use super::TypedBuilder;
use crate::loader::LoaderBuilder;

/// # Where loads run
///
/// Each of these is like the method of [`LoaderBuilder`](crate::LoaderBuilder) with the same name.
impl<C> TypedBuilder<C> {
    /// Sets the spawner that runs loads as tasks of their own. A load goes on if its callers give
    /// up. See [`LoaderBuilder::spawner`](crate::LoaderBuilder::spawner).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bytecache::Cache;
    /// use bytecache::typed::Utf8;
    /// use std::io::Error;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names = cache
    ///     .namespace("names")
    ///     .typed(Utf8)
    ///     .spawner(|load| drop(tokio::spawn(load)))
    ///     .build_async(|_: u64| async {
    ///         tokio::task::yield_now().await;
    ///         Ok::<_, Error>(Some("Ada".to_string()))
    ///     })?;
    /// // The caller goes away before the load has ended.
    /// tokio::select! {
    ///     biased;
    ///     _ = names.get(&1) => unreachable!("the load takes longer"),
    ///     () = async {} => {}
    /// }
    /// while !names.contains_key(&1) {
    ///     tokio::task::yield_now().await;
    /// }
    /// assert_eq!(names.stats().loads, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawner(self, spawner: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static) -> Self {
        self.loads(|loads| loads.spawner(spawner))
    }

    /// Sets the executor that runs refreshes and batches for threads. With a
    /// [`load_timeout`](Self::load_timeout), it runs all loads. See
    /// [`LoaderBuilder::executor`](crate::LoaderBuilder::executor).
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, LoadError};
    /// use std::io::Error;
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let (sender, jobs) = mpsc::channel();
    /// let names = cache
    ///     .namespace("names")
    ///     .typed(Utf8)
    ///     .executor(move |job| drop(sender.send(job)))
    ///     .load_timeout(Duration::from_millis(10))
    ///     .build_loader(|_: u64| Ok::<_, Error>(Some("Ada".to_string())))?;
    /// assert!(matches!(names.get(&1), Err(LoadError::TimedOut)));
    /// jobs.try_iter().for_each(|job| job()); // The load goes on, and is stored.
    /// assert_eq!(names.get(&1)?.as_deref(), Some("Ada"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn executor(self, executor: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static) -> Self {
        self.loads(|loads| loads.executor(executor))
    }

    /// Sets how long a call may take for a load. After that time, it returns
    /// [`LoadError::TimedOut`](crate::LoadError::TimedOut). See
    /// [`LoaderBuilder::load_timeout`](crate::LoaderBuilder::load_timeout).
    ///
    /// A loader for tasks needs a [`sleep`](Self::sleep), and one for threads an
    /// [`executor`](Self::executor).
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{BuildError, Cache};
    /// use std::io::Error;
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let builder = cache.namespace("names").typed(Utf8).load_timeout(Duration::from_secs(1));
    /// let error = builder.build_loader(|_: u64| Ok::<_, Error>(None::<String>)).unwrap_err();
    /// assert_eq!(error, BuildError::NoExecutor);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load_timeout(self, timeout: Duration) -> Self {
        self.loads(move |loads| loads.load_timeout(timeout))
    }

    /// Sets how long a call waits for a load that runs elsewhere. After that time, it returns
    /// [`LoadError::TimedOut`](crate::LoadError::TimedOut), and the load goes on. See
    /// [`LoaderBuilder::wait_limit`](crate::LoaderBuilder::wait_limit).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, LoadError};
    /// use std::io::Error;
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names = cache
    ///     .namespace("names")
    ///     .typed(Utf8)
    ///     .spawner(|load| drop(tokio::spawn(load)))
    ///     .wait_limit(Duration::from_millis(10))
    ///     .sleep(tokio::time::sleep)
    ///     .build_async(|_: u64| std::future::pending::<Result<Option<String>, Error>>())?;
    /// assert!(matches!(names.get(&1).await, Err(LoadError::TimedOut)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_limit(self, limit: Duration) -> Self {
        self.loads(move |loads| loads.wait_limit(limit))
    }

    /// Leaves keys out of the spans of the feature `tracing`. See
    /// [`LoaderBuilder::hide_keys`](crate::LoaderBuilder::hide_keys).
    ///
    /// ```
    /// use bytecache::Cache;
    /// use bytecache::typed::Utf8;
    /// use std::io::Error;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let builder = cache.namespace("sessions").typed(Utf8).hide_keys();
    /// let sessions = builder.build_loader(|_token: String| Ok::<_, Error>(Some("Ada".to_string())))?;
    /// assert_eq!(sessions.get("a secret token")?.as_deref(), Some("Ada"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hide_keys(self) -> Self {
        self.loads(LoaderBuilder::hide_keys)
    }

    /// Sets the timer that wakes tasks at the end of the [`wait_limit`](Self::wait_limit) or the
    /// [`load_timeout`](Self::load_timeout), such as `tokio::time::sleep`. See
    /// [`LoaderBuilder::sleep`](crate::LoaderBuilder::sleep).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, LoadError};
    /// use std::io::Error;
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names = cache
    ///     .namespace("names")
    ///     .typed(Utf8)
    ///     .load_timeout(Duration::from_millis(10))
    ///     .sleep(tokio::time::sleep)
    ///     .build_async(|_: u64| std::future::pending::<Result<Option<String>, Error>>())?;
    /// assert!(matches!(names.get(&1).await, Err(LoadError::TimedOut)));
    /// # Ok(())
    /// # }
    /// ```
    pub fn sleep<S, T>(self, sleep: S) -> Self
    where
        S: Fn(Duration) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        self.loads(|loads| loads.sleep(sleep))
    }
}
