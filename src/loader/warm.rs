//! Loading many keys before traffic is let in: [`Loader::warm`].
//!
//! Threads take keys from one iterator, a batch at a time, and load what is missing. It is for
//! services without a snapshot.

use core::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::outcome::LoadError;
use super::{Load, Loader};
use crate::ring::Value;

/// Keys that a thread takes from the iterator at a time.
const BATCH: usize = 64;

/// The options of [`Loader::warm`].
///
/// ```
/// use bytecache::WarmOptions;
///
/// let options = WarmOptions::new(4).progress(|warmed| println!("{warmed:?}"));
/// # drop(options);
/// ```
#[must_use = "options do nothing until a loader warms its cache with them"]
pub struct WarmOptions<'a> {
    concurrency: usize,
    progress: Option<Box<dyn Fn(Warmed) + Sync + 'a>>,
}

impl<'a> WarmOptions<'a> {
    /// Creates options with a limit on the loads that run at the same time. A limit of 0 counts as
    /// 1.
    ///
    /// ```
    /// use bytecache::{Cache, WarmOptions};
    /// use std::io;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let loader = cache.loader().build(|_| Ok::<_, io::Error>("value"))?;
    /// assert_eq!(loader.warm(["a", "b"], WarmOptions::new(1)).loaded, 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(concurrency: usize) -> Self {
        Self { concurrency: NonZeroUsize::new(concurrency).map_or(1, NonZeroUsize::get), progress: None }
    }

    /// Sets a function that is called with the counts so far, after every 64 keys of a thread.
    ///
    /// ```
    /// use bytecache::{Cache, WarmOptions};
    /// use std::io;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let loader = cache.loader().build(|_| Ok::<_, io::Error>("value"))?;
    /// let options = WarmOptions::new(2).progress(|warmed| println!("{} loaded", warmed.loaded));
    /// loader.warm((0..1000_u32).map(u32::to_le_bytes), options);
    /// assert_eq!(cache.len(), 1000);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn progress(mut self, progress: impl Fn(Warmed) + Sync + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }
}

impl core::fmt::Debug for WarmOptions<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("WarmOptions")
            .field("concurrency", &self.concurrency)
            .field("has_progress", &self.progress.is_some())
            .finish()
    }
}

/// The results for the keys of [`Loader::warm`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warmed {
    /// Keys that were present, or that are loaded by now.
    pub loaded: u64,
    /// Keys under which the loader has found nothing.
    pub absent: u64,
    /// Keys whose load has failed.
    pub failed: u64,
}

impl Warmed {
    /// Counts the result for a key.
    fn count<E>(&mut self, result: &Result<Value, LoadError<E>>) {
        *match result {
            Ok(_) => &mut self.loaded,
            Err(LoadError::Absent) => &mut self.absent,
            Err(_) => &mut self.failed,
        } += 1;
    }

    fn add(&mut self, other: Self) {
        self.loaded += other.loaded;
        self.absent += other.absent;
        self.failed += other.failed;
    }
}

impl<F> Loader<F> {
    /// Loads `keys` that are missing, in several threads, and returns when all are done.
    ///
    /// Call it before traffic is let in, with the keys that are asked for most: those of
    /// yesterday's log, or of another instance. The keys are taken from the iterator as they are
    /// needed, 64 at a time. Keys whose load fails are counted and left out. With more keys than
    /// the cache holds, the policy decides which stay, so put the keys that matter most last.
    ///
    /// # Panics
    ///
    /// If the loader's function or the iterator panics, the panic continues in this call after the
    /// other threads have ended.
    ///
    /// # Cost
    ///
    /// Starts as many threads as the options permit loads.
    ///
    /// ```
    /// use bytecache::{Cache, Loaded, WarmOptions};
    /// use std::io;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let users = cache.loader().build(|id| match id {
    ///     b"0" => Ok(Loaded::Absent),
    ///     b"1" | b"2" => Ok(Loaded::from(Some("a user"))),
    ///     _ => Err(io::Error::other("no such shard of the database")),
    /// })?;
    /// let warmed = users.warm(["0", "1", "2", "3"], WarmOptions::new(2));
    /// assert_eq!((warmed.loaded, warmed.absent, warmed.failed), (2, 1, 1));
    /// assert!(cache.contains_key("1") && cache.contains_key("2"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn warm<I, E, Kind>(&self, keys: I, options: WarmOptions<'_>) -> Warmed
    where
        I: IntoIterator,
        I::IntoIter: Send,
        I::Item: AsRef<[u8]> + Send,
        F: Load<E, Kind>,
        E: Send + Sync + 'static,
    {
        let WarmOptions { concurrency, progress } = options;
        let keys = Mutex::new(keys.into_iter().fuse());
        let total = Mutex::new(Warmed::default());
        let work = || {
            loop {
                let mut taken = keys.lock().unwrap_or_else(PoisonError::into_inner);
                let batch: Vec<_> = taken.by_ref().take(BATCH).collect();
                drop(taken);
                if batch.is_empty() {
                    return;
                }
                let mut warmed = Warmed::default();
                match self.shared.load.max_batch() {
                    None => batch.iter().for_each(|key| warmed.count(&self.get(key))),
                    Some(_) => self.get_many(&batch).iter().for_each(|result| warmed.count(result)),
                }
                let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
                total.add(warmed);
                let so_far = *total;
                drop(total);
                if let Some(progress) = &progress {
                    progress(so_far);
                }
            }
        };
        thread::scope(|scope| (0..concurrency).for_each(|_| _ = scope.spawn(work)));
        total.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}
