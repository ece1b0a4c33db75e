//! Loading many keys before traffic is let in: [`Loader::warm`] and [`AsyncLoader::warm_async`].
//!
//! Threads, or parts of one task, take keys from one iterator, and load what is missing. It is for
//! services without a snapshot.

use core::iter::Fuse;
use core::mem;
use core::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::thread;

use super::join::join_all;
use super::outcome::LoadError;
use super::{AsyncLoad, AsyncLoader, Load, Loader};
use crate::ring::Value;

/// Keys after which progress is reported, and keys that are taken at a time for batches.
const BATCH: usize = 64;

/// The options of [`Loader::warm`] and [`AsyncLoader::warm_async`].
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
    progress: Option<Box<dyn Fn(Warmed) + Send + Sync + 'a>>,
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

    /// Sets a function that is called with the counts so far. It is called after every 64 keys of a
    /// thread, or of one of the loads that a task runs side by side.
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
    pub fn progress(mut self, progress: impl Fn(Warmed) + Send + Sync + 'a) -> Self {
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

/// The results for the keys of [`Loader::warm`] or [`AsyncLoader::warm_async`].
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

    /// Returns the number of keys.
    fn keys(&self) -> u64 {
        self.loaded + self.absent + self.failed
    }

    fn add(&mut self, other: Self) {
        self.loaded += other.loaded;
        self.absent += other.absent;
        self.failed += other.failed;
    }
}

/// Keys that are being loaded.
struct Warming<'a, I> {
    keys: Mutex<Fuse<I>>,
    total: Mutex<Warmed>,
    progress: Option<Box<dyn Fn(Warmed) + Send + Sync + 'a>>,
}

impl<'a, I: Iterator> Warming<'a, I> {
    fn new(keys: I, options: WarmOptions<'a>) -> Self {
        Self { keys: Mutex::new(keys.fuse()), total: Mutex::default(), progress: options.progress }
    }

    /// Takes the next key, or returns `None` if there is none.
    fn take(&self) -> Option<I::Item> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    /// Takes the next keys, or returns `None` if there are none.
    fn take_many(&self) -> Option<Vec<I::Item>> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let taken: Vec<_> = keys.by_ref().take(BATCH).collect();
        (!taken.is_empty()).then_some(taken)
    }

    /// Adds results, and reports the progress.
    fn add(&self, warmed: Warmed) {
        if warmed == Warmed::default() {
            return;
        }
        let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
        total.add(warmed);
        let so_far = *total;
        drop(total);
        if let Some(progress) = &self.progress {
            progress(so_far);
        }
    }

    fn total(self) -> Warmed {
        self.total.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Loader<F> {
    /// Loads `keys` that are missing, in several threads, and returns when all are done.
    ///
    /// Call it before traffic is let in, with the keys that are asked for most: those of
    /// yesterday's log, or of another instance. The keys are taken from the iterator as they are
    /// needed: one at a time, or 64 if the loader loads in batches. Keys whose load fails are
    /// counted and left out. With more keys than the cache holds, the policy decides which stay, so
    /// put the keys that matter most last.
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
        let concurrency = options.concurrency;
        let warming = Warming::new(keys.into_iter(), options);
        let work = || {
            let mut warmed = Warmed::default();
            if self.shared.load.max_batch().is_some() {
                while let Some(keys) = warming.take_many() {
                    self.get_many(&keys).iter().for_each(|result| warmed.count(result));
                    warming.add(mem::take(&mut warmed));
                }
            }
            while let Some(key) = warming.take() {
                warmed.count(&self.get(key));
                if warmed.keys() >= BATCH as u64 {
                    warming.add(mem::take(&mut warmed));
                }
            }
            warming.add(warmed);
        };
        thread::scope(|scope| (0..concurrency).for_each(|_| _ = scope.spawn(work)));
        warming.total()
    }
}

impl<F> AsyncLoader<F> {
    /// Loads `keys` that are missing, side by side in this task, and returns when all are done.
    ///
    /// Like [`Loader::warm`], but for tasks. The options limit the number of loads that run at the
    /// same time. With a [`spawner`](super::LoaderBuilder::spawner), these loads are tasks of their
    /// own. A loader of [`build_batched_async`](super::LoaderBuilder::build_batched_async) gets 64
    /// keys at a time for each load that the options permit, and its own limits hold for batches.
    ///
    /// The future may be dropped at any time, like that of [`get_async`](Self::get_async). Values
    /// that are loaded by then stay.
    ///
    /// # Cost
    ///
    /// Allocates a future for each load that the options permit.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bytecache::{Cache, Loaded, WarmOptions};
    /// use std::io;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let users = cache.loader().build_async(|id| async move {
    ///     match &*id {
    ///         b"0" => Ok(Loaded::Absent),
    ///         b"1" | b"2" => Ok(Loaded::from(Some("a user"))),
    ///         _ => Err(io::Error::other("no such shard of the database")),
    ///     }
    /// })?;
    /// let warmed = users.warm_async(["0", "1", "2", "3"], WarmOptions::new(2)).await;
    /// assert_eq!((warmed.loaded, warmed.absent, warmed.failed), (2, 1, 1));
    /// assert!(cache.contains_key("1") && cache.contains_key("2"));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn warm_async<I, E, Kind>(&self, keys: I, options: WarmOptions<'_>) -> Warmed
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
        F: AsyncLoad<E, Kind>,
        E: Send + Sync + 'static,
        Kind: 'static,
    {
        let concurrency = options.concurrency;
        let warming = Warming::new(keys.into_iter(), options);
        let work = |_| async {
            let mut warmed = Warmed::default();
            if F::IS_BATCHED {
                while let Some(keys) = warming.take_many() {
                    self.get_many_async(&keys).await.iter().for_each(|result| warmed.count(result));
                    warming.add(mem::take(&mut warmed));
                }
            }
            while let Some(key) = warming.take() {
                warmed.count(&self.get_async(key).await);
                if warmed.keys() >= BATCH as u64 {
                    warming.add(mem::take(&mut warmed));
                }
            }
            warming.add(warmed);
        };
        join_all((0..concurrency).map(work)).await;
        warming.total()
    }
}
