//! [`Loader`] and [`AsyncLoader`]: handles of a function that loads, with the options of its loads.
//! Their methods are in `threads.rs` and `tasks.rs`.
//!
//! ```text
//!   look up --Fresh----> return
//!      |  \---Due------> ask for a permit --no--> return the current value
//!      |                      | yes
//!      |                      +--> lead a load: in place, or on the executor or spawner
//!      +------Nothing--> recent failure? --yes--> stale value or error
//!                             | no
//!                             +--> lead or follow a load --error--> stale value or error
//! ```
//!
//! One caller gets the permit to refresh an entry. The permit moves the time of the entry's
//! refresh, so other callers find the entry fresh (`shard/load.rs`).
//!
//! # Not here
//!
//! The options and their checks: `builder.rs`. Loads without a loader: `mod.rs`.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use super::LoadError;
use super::early::{LoadCost, chance};
use super::leader::Leader;
use super::options::LoadOptions;
use super::outcome::{Answer, Found};
use super::runtime::Runtime;
use crate::cache::{Cache, LookUp, Target};
use crate::expiry::Freshness;
use crate::ring::Value;
use crate::shard::{Negative, Notice, Reason, RefreshPermit, Waiter, Writer};

/// A loader for threads, from [`LoaderBuilder::build`](super::LoaderBuilder::build): a function
/// that loads missing keys, with options.
///
/// A clone is a handle of the same loader. A loader keeps its cache alive. To name its type in a
/// struct, box its function:
///
/// ```
/// use std::io;
/// use bytecache::{Cache, Loader};
///
/// type Load = Box<dyn Fn(&[u8]) -> Result<Vec<u8>, io::Error> + Send + Sync>;
///
/// struct Pages {
///     loader: Loader<Load>,
/// }
///
/// let load: Load = Box::new(|path| Ok([b"<h1>", path].concat()));
/// let pages = Pages { loader: Cache::new(1 << 20)?.loader().build(load)? };
/// assert_eq!(pages.loader.get("index")?, "<h1>index");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Loader<F> {
    pub(super) shared: Arc<Shared<F>>,
}

/// A loader for tasks on any runtime, from
/// [`LoaderBuilder::build_async`](super::LoaderBuilder::build_async): a function that loads missing
/// keys, with options.
///
/// A clone is a handle of the same loader. A loader keeps its cache alive. Its futures may be
/// dropped at any time, like those of [`Cache::get_or_load_async`]. To name its type in a struct,
/// [box](Self::boxed) its function.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io;
/// use bytecache::Cache;
///
/// let loader = Cache::new(1 << 20)?
///     .loader()
///     .build_async(|key| async move { Ok::<_, io::Error>(key.to_ascii_uppercase()) })?;
/// assert_eq!(loader.get_async("key").await?, "KEY");
/// # Ok(())
/// # }
/// ```
pub struct AsyncLoader<F> {
    pub(super) shared: Arc<Shared<F>>,
}

/// The parts of a loader that its clones share.
pub struct Shared<F> {
    /// The handle of the keys that are loaded, which may be those of a namespace.
    pub(super) cache: Cache,
    /// The handle of the plain keys.
    plain: Cache,
    pub(super) options: LoadOptions,
    pub(super) cost: LoadCost,
    pub(super) runtime: Runtime,
    pub(super) load: F,
}

/// The state of a key, for a loader.
pub(super) enum Cached {
    Fresh(Value),
    /// To be loaded again.
    Due(Value, Reason),
    Negative(Negative),
    Nothing,
}

impl<F> Shared<F> {
    pub(super) fn plain_cache(&self) -> &Cache {
        &self.plain
    }

    pub(super) fn new(cache: Cache, options: LoadOptions, runtime: Runtime, load: F) -> Self {
        Self { plain: cache.without_scope(), cache, options, cost: LoadCost::default(), runtime, load }
    }

    /// Looks a key up, and decides whether this read should refresh it.
    #[inline]
    pub(super) fn look_up(&self, target: &Target<'_>, key: &[u8]) -> Cached {
        match self.cache.look_up(target, key) {
            LookUp::Fresh(value) if self.is_early(target, key) => Cached::Due(value, Reason::Early),
            LookUp::Fresh(value) => Cached::Fresh(value),
            LookUp::RefreshDue(value) => Cached::Due(value, Reason::Due),
            LookUp::Negative(negative) => Cached::Negative(negative),
            LookUp::Nothing => Cached::Nothing,
        }
    }

    /// Returns `true` if an entry is refreshed by this read, by chance.
    #[inline]
    fn is_early(&self, target: &Target<'_>, key: &[u8]) -> bool {
        self.options.early_beta.is_some_and(|beta| {
            let status = target.shard.status(target.hash, key, self.options.retry());
            status.is_some_and(|status| !status.is_refresh_near && self.cost.is_early(beta, status.left, chance()))
        })
    }

    /// Returns the permit to load an entry again, or `None` if another caller has it, or if the
    /// entry has stopped being due.
    pub(super) fn permit(&self, target: &Target<'_>, key: &[u8], reason: Reason) -> Option<RefreshPermit> {
        let retry = self.options.retry();
        target.shard.write(|writer| writer.permit_refresh(target.hash, key, reason, retry))
    }

    /// Returns the leader of the load that a permit is for, or `None` if the entry was replaced or
    /// is being loaded.
    pub(super) fn board_refresh(&self, key: &[u8], permit: RefreshPermit, waiter: Waiter) -> Option<Leader> {
        let (leader, notice) = self.board_refresh_with_notice(key, permit, waiter);
        let mut leader = leader?;
        leader.run(|| drop(notice)); // The listener may ask for the key, as in `take_turn`.
        Some(leader)
    }

    /// Like [`board_refresh`](Self::board_refresh), but the listener is notified when the second
    /// result is dropped: within [`Leader::run`], if there is a leader.
    pub(super) fn board_refresh_with_notice(
        &self,
        key: &[u8],
        permit: RefreshPermit,
        waiter: Waiter,
    ) -> (Option<Leader>, Notice<'_>) {
        let target = self.cache.target(key);
        let board = |writer: &mut Writer<'_>| writer.board_refresh(target.hash, key, permit, waiter);
        let (ticket, notice) = target.shard.write_with_notice(board);
        (ticket.map(|ticket| Leader::new(&self.cache, &target, ticket)), notice)
    }

    /// Returns the answer for a key whose load has failed within the `error_ttl`, or `None` if the
    /// key has to be loaded.
    pub(super) fn recent_failure<E>(&self, target: &Target<'_>, key: &[u8]) -> Option<Answer<E>> {
        self.options.error_ttl()?;
        let status = target.shard.status(target.hash, key, Duration::ZERO)?;
        if status.freshness != Freshness::Stale || !status.has_failed {
            return None;
        }
        let value = if self.options.falls_back_to_stale { self.cache.look_up_stale(target, key) } else { None };
        Some(value.map(Found::stale).ok_or(LoadError::RecentFailure))
    }

    /// Returns the stale value of a key instead of the error of its load, if there is one and the
    /// options allow it.
    pub(super) fn or_stale<E>(&self, target: &Target<'_>, key: &[u8], answer: Answer<E>) -> Answer<E> {
        match answer {
            Err(LoadError::Failed(_) | LoadError::Panicked | LoadError::TimedOut)
                if self.options.falls_back_to_stale =>
            {
                self.cache.look_up_stale(target, key).map_or(answer, |value| Ok(Found::stale(value)))
            }
            answer => answer,
        }
    }
}

/// Returns the answer of a caller that has refreshed an entry with the value `current`.
pub(super) fn after_refresh<E>(current: Value, refreshed: Option<Answer<E>>) -> Answer<E> {
    match refreshed {
        Some(answer @ (Ok(_) | Err(LoadError::Absent))) => answer,
        Some(Err(_)) | None => Ok(Found::cached(current)),
    }
}

macro_rules! handles {
    ($($name:ident)*) => {$(
        impl<F> Clone for $name<F> {
            fn clone(&self) -> Self {
                Self { shared: Arc::clone(&self.shared) }
            }
        }

        impl<F> fmt::Debug for $name<F> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Shared { cache, options, .. } = &*self.shared;
                f.debug_struct(stringify!($name))
                    .field("cache", cache)
                    .field("options", options)
                    .finish_non_exhaustive()
            }
        }
    )*};
}

handles! { Loader AsyncLoader }
