//! The functions of the caller's runtime that a loader uses: where loads run, and how a task
//! sleeps.

use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::sync::Arc;

use super::LoaderBuilder;

/// A load for a thread to run.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs.
pub(super) type Executor = dyn Fn(Job) + Send + Sync;

/// A load that is a task of its own.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A future that ends when a task has waited long enough.
pub(super) type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Creates a [`Sleep`] of a length.
pub(super) type Sleeper = dyn Fn(Duration) -> Sleep + Send + Sync;

/// The functions that the caller has set. Without them, loads run in place, and tasks wait without
/// a limit.
#[derive(Clone, Default)]
pub(super) struct Runtime {
    pub(super) executor: Option<Arc<Executor>>,
    pub(super) spawner: Option<Arc<dyn Fn(Task) + Send + Sync>>,
    pub(super) sleeper: Option<Arc<Sleeper>>,
}

/// Options that concern the caller's runtime, and limits on time.
impl LoaderBuilder {
    /// Sets how long a call waits for a load that runs elsewhere. After that it returns
    /// [`LoadError::TimedOut`](super::LoadError::TimedOut), and the load goes on.
    ///
    /// Such a load runs in another caller, by the [`spawner`](Self::spawner), or on the
    /// [`executor`](Self::executor). To limit a call that loads by itself, set a
    /// [`load_timeout`](Self::load_timeout).
    ///
    /// A loader for tasks needs a timer for that: its [`sleep`](Self::sleep). By default, calls
    /// wait without a limit.
    ///
    /// ```
    /// use std::{io, thread};
    /// use std::time::Duration;
    /// use bytecache::{Cache, LoadError};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let builder = cache.loader().wait_limit(Duration::from_millis(10));
    /// let loader = builder.build(|_| Ok::<_, io::Error>("value"))?;
    /// let value = cache.get_or_load("key", || {
    ///     // Another thread asks for the key during this load, and waits for 10 ms.
    ///     let other = thread::scope(|scope| scope.spawn(|| loader.get("key")).join());
    ///     assert!(matches!(other, Ok(Err(LoadError::TimedOut))));
    ///     Ok::<_, io::Error>("value")
    /// });
    /// assert_eq!(value?, "value");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_limit(mut self, limit: Duration) -> Self {
        self.options.wait_limit = Some(limit);
        self
    }

    /// Sets how long a load may keep a call, also if the call runs the load. After that the call
    /// returns [`LoadError::TimedOut`](super::LoadError::TimedOut), or the stale value if there is
    /// one and [`stale_for`](Self::stale_for) is set.
    ///
    /// | the load runs | after the timeout |
    /// |---|---|
    /// | by the [`spawner`](Self::spawner) or on the [`executor`](Self::executor) | it goes on, and its result is stored; each call waits for the timeout at most |
    /// | in a task that called | its future is dropped; it has failed, and all calls that wait for it return `TimedOut` |
    ///
    /// A loader for tasks needs a timer for that: its [`sleep`](Self::sleep). In a loader for
    /// threads, this option lets the executor run all loads, as nothing can interrupt a thread.
    /// [`build`](Self::build) refuses it without an executor. If the executor drops the job of a
    /// load, the caller runs the load itself, without a limit.
    ///
    /// This does not end a load that hangs elsewhere. Such a load keeps its key, and its place
    /// among the batches in flight, so let the loader's own calls time out.
    ///
    /// By default, loads keep their calls without a limit.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use std::time::Duration;
    /// use bytecache::{BuildError, Cache, LoadError};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let builder = cache.loader().load_timeout(Duration::from_millis(10));
    /// let loader = builder.clone().sleep(tokio::time::sleep).build_async(|_| async {
    ///     std::future::pending::<()>().await; // The store does not answer.
    ///     Ok::<_, io::Error>("value")
    /// })?;
    /// assert!(matches!(loader.get_async("key").await, Err(LoadError::TimedOut)));
    ///
    /// let error = builder.build(|_| Ok::<_, io::Error>("value")).err();
    /// assert_eq!(error, Some(BuildError::NoExecutor));
    /// # Ok(())
    /// # }
    /// ```
    pub fn load_timeout(mut self, timeout: Duration) -> Self {
        self.options.load_timeout = Some(timeout);
        self
    }

    /// Sets the timer that wakes tasks at the end of the [`wait_limit`](Self::wait_limit) or the
    /// [`load_timeout`](Self::load_timeout), such as `tokio::time::sleep`.
    ///
    /// By default there is none, and [`build_async`](Self::build_async) refuses these limits.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use std::time::Duration;
    /// use bytecache::{Cache, LoadError};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let limit = Duration::from_millis(10);
    /// let builder = cache.loader().wait_limit(limit).sleep(tokio::time::sleep);
    /// let loader = builder.build_async(|_| async { Ok::<_, io::Error>("value") })?;
    /// let value = cache.get_or_load_async("key", async || {
    ///     // Another task asks for the key during this load, and waits for 10 ms.
    ///     let loader = loader.clone();
    ///     let other = tokio::spawn(async move { loader.get_async("key").await });
    ///     assert!(matches!(other.await, Ok(Err(LoadError::TimedOut))));
    ///     Ok::<_, io::Error>("value")
    /// });
    /// assert_eq!(value.await?, "value");
    /// # Ok(())
    /// # }
    /// ```
    pub fn sleep<S, T>(mut self, sleep: S) -> Self
    where
        S: Fn(Duration) -> T + Send + Sync + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        self.runtime.sleeper = Some(Arc::new(move |time| Box::pin(sleep(time)) as Sleep));
        self
    }

    /// Sets the executor that runs refreshes for threads, such as a thread pool. With a
    /// [`load_timeout`](Self::load_timeout), it runs all loads. It runs all
    /// [batches](Self::build_batched).
    ///
    /// The caller of a refresh gets the current value, and does not wait for the load. If the
    /// executor drops a job, the key is not refreshed this time. A batch takes a job when it is
    /// opened, and another one if it had to wait for its turn. By default, the thread that finds
    /// an entry due runs the load in place.
    ///
    /// ```
    /// use std::io;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use std::sync::mpsc;
    /// use std::time::Duration;
    /// use bytecache::{Cache, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let (sender, jobs) = mpsc::channel();
    /// let version = AtomicU64::new(0);
    /// let loader = cache
    ///     .loader()
    ///     .refresh_after(Duration::from_secs(50))
    ///     .executor(move |job| drop(sender.send(job)))
    ///     .build(move |_| {
    ///         Ok::<_, io::Error>(version.fetch_add(1, Ordering::Relaxed).to_string())
    ///     })?;
    /// assert_eq!(loader.get("version")?, "0");
    /// clock.advance(Duration::from_secs(51));
    /// assert_eq!(loader.get("version")?, "0");
    /// for job in jobs.try_iter() {
    ///     job();
    /// }
    /// assert_eq!(loader.get("version")?, "1");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn executor(mut self, executor: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static) -> Self {
        self.runtime.executor = Some(Arc::new(executor));
        self
    }

    /// Leaves keys out of the spans and the warning of the feature `tracing`. By default, they show
    /// at most 64 bytes of a key.
    ///
    /// ```
    /// use std::io;
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let sessions = cache.loader().hide_keys().build(|_token| Ok::<_, io::Error>("Ada"))?;
    /// assert_eq!(sessions.get("a secret token")?, "Ada");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hide_keys(mut self) -> Self {
        self.options.hides_keys = true;
        self
    }

    /// Sets the spawner that runs loads as tasks of their own, such as
    /// `|task| drop(tokio::spawn(task))`.
    ///
    /// Callers only wait for such a load. If they are dropped or time out, it goes on, and its
    /// result is stored. So a key whose loads take longer than its callers have time is loaded
    /// once. If the spawner drops the task of a load, its caller runs the load itself.
    ///
    /// The caller of a refresh gets the current value, and does not wait for the load. If the
    /// spawner drops the task of a refresh, the key is not refreshed this time.
    ///
    /// By default, loads run in the task that asks for the key.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let builder = cache.loader().spawner(|task| drop(tokio::spawn(task)));
    /// let loader = builder.build_async(|_| async {
    ///     tokio::task::yield_now().await;
    ///     Ok::<_, io::Error>("value")
    /// })?;
    /// // The caller goes away before the load has ended.
    /// tokio::select! {
    ///     biased;
    ///     _ = loader.get_async("key") => unreachable!("the load takes longer"),
    ///     () = async {} => {}
    /// }
    /// while !cache.contains_key("key") {
    ///     tokio::task::yield_now().await;
    /// }
    /// assert_eq!(cache.stats().loads, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A refresh:
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use std::sync::atomic::{AtomicU64, Ordering};
    /// use std::sync::{Arc, mpsc};
    /// use std::time::Duration;
    /// use bytecache::{Cache, ManualClock};
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let (sender, tasks) = mpsc::channel();
    /// let version = AtomicU64::new(0);
    /// let loader = cache
    ///     .loader()
    ///     .refresh_after(Duration::from_secs(50))
    ///     .spawner(move |task| drop(sender.send(tokio::spawn(task))))
    ///     .build_async(move |_| {
    ///         let version = version.fetch_add(1, Ordering::Relaxed);
    ///         async move { Ok::<_, io::Error>(version.to_string()) }
    ///     })?;
    /// assert_eq!(loader.get_async("version").await?, "0");
    /// clock.advance(Duration::from_secs(51));
    /// assert_eq!(loader.get_async("version").await?, "0");
    /// for task in tasks.try_iter() {
    ///     task.await?;
    /// }
    /// assert_eq!(loader.get_async("version").await?, "1");
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawner(
        mut self,
        spawner: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static,
    ) -> Self {
        self.runtime.spawner = Some(Arc::new(spawner));
        self
    }
}
