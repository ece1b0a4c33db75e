//! [`Source`]: what the local tier loads from. That is Redis, and then the loader of the caller.
//!
//! A load runs in a flight of the local tier: once for each key in this process. An invalidation,
//! a write and a reset end the flight, so its result is not stored then.
//!
//! # Invariants
//!
//! 1. A result is stored for its whole lifetime only if Redis holds its key, invalidations of the
//!    namespace arrived when the load began, the generation is known, and no write of the key is in
//!    progress. Redis sends no invalidation of a key that it does not hold.
//! 2. A result that Redis does not hold is stored for `max_staleness` from the beginning of the
//!    load.
//! 3. A value from Redis is returned after a fence: see [`wire`](crate::wire).

use core::future::Future;
use core::pin::Pin;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use bytecache::{Lifetime, Loaded, TICK};
use tokio::runtime::Handle;
use tokio::time::{sleep, timeout};

use crate::error::{BoxError, Error};
use crate::format::{NOTHING, RESERVED, Stored};
use crate::numbering;
use crate::remote::Shared;
use crate::running::Run;
use crate::space::Space;
use crate::wire::{Entry, Wire};

/// The result of a caller's loader.
pub(crate) type Answer = Result<Option<Vec<u8>>, BoxError>;
pub(crate) type Load = Box<dyn Fn(Arc<[u8]>) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// The most by which the local tier serves an entry after its deadline, stale period included.
const LATENESS: Duration = TICK.saturating_mul(5);

/// Redis, and the loader of the caller if there is one.
pub(crate) struct Source {
    pub(crate) shared: Arc<Shared>,
    pub(crate) space: Arc<Space>,
    pub(crate) load: Option<Load>,
}

/// A load of one key in progress.
struct Loading<'a> {
    source: &'a Source,
    key: Arc<[u8]>,
    run: Run<'a>,
    /// Invalidations arrived when the load began.
    is_tracked: bool,
}

/// The state of a key in Redis, if that is no value to return.
enum Seen {
    /// No entry.
    Absent,
    /// An entry that may be replaced if it has not changed: a tombstone, or a value in its stale
    /// period, and the time left to it.
    Replaceable { bytes: Vec<u8>, is_stale_value: bool, left: Duration },
    /// No answer.
    Unknown,
}

/// The end of a fence.
enum Fence {
    /// All invalidations have arrived that belong before the value.
    Passed,
    /// They may not have arrived. The local tier was reset since the value was asked for.
    Reset,
    /// The local tier was detached before. It may have results of loads that are older.
    Failed,
}

/// The result of a load, to be stored in Redis.
struct Fill<'a> {
    bytes: &'a [u8],
    /// The time to live in Redis.
    life: Duration,
    loaded_at: Instant,
    /// The state of the key in Redis before the load.
    seen: &'a Seen,
}

/// The end of a fill.
enum Filled {
    Stored,
    /// The key has changed, or this load has been overtaken.
    Refused,
    /// The tombstone or stale value has stayed, as the result would not have lived as long. The
    /// time left to it when it was seen.
    Protected(Duration),
}

/// An answer of Redis, and all that is needed to store there.
struct Asked {
    wire: Wire,
    redis_key: Vec<u8>,
    /// The generation cannot have changed unnoticed.
    is_current: bool,
}

impl Source {
    /// Loads a key from Redis, or else by the loader.
    pub(crate) async fn load(self: Arc<Self>, key: Arc<[u8]>) -> Result<Loaded<Vec<u8>>, BoxError> {
        if Handle::try_current().is_err() {
            // The runtime has shut down, and the caller's own has no timers.
            return Err(Box::new(Error::NoRuntime));
        }
        let is_tracked = self.space.trust.is_tracked();
        let run = self.space.running.begin(Arc::clone(&key));
        Loading { source: &self, key, run, is_tracked }.run().await
    }
}

impl Loading<'_> {
    fn space(&self) -> &Arc<Space> {
        &self.source.space
    }

    async fn run(self) -> Result<Loaded<Vec<u8>>, BoxError> {
        let mut asked = self.ask().await.ok();
        let mut seen = match &asked {
            Some(asked) => match self.look(asked).await {
                Ok(loaded) => return Ok(loaded),
                Err(seen) => seen,
            },
            None => Seen::Unknown,
        };
        let Some(load) = &self.source.load else {
            return Ok(Loaded::AbsentFor(Duration::ZERO));
        };
        let jitter = self.space().draw_jitter();
        if self.has_just_changed(&seen) && !jitter.is_zero() {
            // Other instances are about to load it, too.
            sleep(jitter).await;
            if let Some(asked) = &asked {
                match self.look(asked).await {
                    Ok(loaded) => return Ok(loaded),
                    Err(changed) => seen = changed,
                }
            }
        }
        if matches!(seen, Seen::Unknown) {
            asked = None;
        }
        let loaded_at = Instant::now();
        match self.call(load, asked.as_ref()).await {
            Ok(value) => self.keep(value, loaded_at, asked, seen).await,
            Err(error) => match seen {
                Seen::Replaceable { bytes, is_stale_value: true, .. } => {
                    self.space().counters.stale_served.count();
                    Ok(unkept(bytes))
                }
                _ => Err(error),
            },
        }
    }

    /// Returns `true` if the key was removed, or if an invalidation has removed a local entry.
    fn has_just_changed(&self, seen: &Seen) -> bool {
        match seen {
            Seen::Absent => self.space().recent.take(&self.key, Instant::now()),
            Seen::Replaceable { is_stale_value, .. } => !is_stale_value,
            Seen::Unknown => false,
        }
    }

    /// Returns the connections and the key in Redis.
    async fn ask(&self) -> Result<Asked, Error> {
        let space = self.space();
        let wire = self.source.shared.wire().inspect_err(|_| space.counters.redis_failures.count())?;
        let (generation, is_current) = match space.generation.known() {
            Some(known) => (known, true),
            None => self.guarded(&wire, numbering::ask(&self.source.shared, &wire, space)).await?,
        };
        Ok(Asked { redis_key: space.entry_key(generation, &self.key), wire, is_current })
    }

    /// Sends a read over some connections, unless the circuit breaker is open.
    async fn guarded<T>(&self, wire: &Wire, read: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let counters = &self.space().counters;
        let Some(permit) = self.source.shared.breaker.begin(Instant::now()) else {
            counters.breaker_refusals.count();
            return Err(Error::TimedOut);
        };
        let result = read.await;
        if result.is_err() {
            counters.redis_failures.count();
        }
        match &result {
            // No node has the key: nothing was sent.
            Err(Error::NotConnected) => drop(permit),
            // Says nothing about the present connections.
            Err(error) if error.is_outcome_unknown() && !self.source.shared.is_last(wire) => drop(permit),
            Err(error) if error.is_outcome_unknown() => permit.fail(Instant::now()),
            // The server has answered, maybe with an error.
            _ => permit.succeed(),
        }
        result
    }

    /// Reads the key from Redis. Returns its value, or else what was seen instead.
    async fn look(&self, asked: &Asked) -> Result<Loaded<Vec<u8>>, Seen> {
        let counters = &self.space().counters;
        let Ok(entry) = self.guarded(&asked.wire, asked.wire.read(&asked.redis_key)).await else {
            return Err(Seen::Unknown);
        };
        match &entry {
            Some(Entry { stored: Stored::Value(_), .. }) => counters.redis_hits.count(),
            _ => counters.redis_misses.count(),
        }
        let Some(Entry { stored, left, asked: asked_at }) = entry else { return Err(Seen::Absent) };
        let stale_for = self.space().rules.stale_for;
        match (stored, left) {
            (Stored::Removed(bytes), left) => {
                Err(Seen::Replaceable { bytes, is_stale_value: false, left: left.unwrap_or(Duration::MAX) })
            }
            (Stored::Value(bytes), Some(left)) if left <= stale_for && self.source.load.is_some() => {
                Err(Seen::Replaceable { bytes, is_stale_value: true, left })
            }
            (stored, left) => {
                match self.fence(asked).await {
                    Fence::Passed => {}
                    Fence::Reset => {
                        return Ok(match stored {
                            Stored::Value(bytes) => unkept(bytes),
                            _ => Loaded::AbsentFor(Duration::ZERO),
                        });
                    }
                    Fence::Failed => return Err(Seen::Unknown),
                }
                let may_keep = self.may_keep(asked);
                let spent = asked_at.elapsed();
                Ok(match stored {
                    Stored::Value(bytes) => self.found(bytes, left, spent, may_keep),
                    _ => Loaded::AbsentFor(match left {
                        Some(left) if may_keep => left.saturating_sub(spent + LATENESS),
                        None if may_keep => self.space().rules.negative_ttl,
                        _ => Duration::ZERO,
                    }),
                })
            }
        }
    }

    /// Waits until all invalidations have arrived that belong before a value that was read. If they
    /// may not have arrived, resets the local tier, as other reads of this instance would yet find
    /// older entries.
    async fn fence(&self, asked: &Asked) -> Fence {
        let mut wire = asked.wire.clone();
        if wire.fence(&asked.redis_key).await.is_ok() {
            return Fence::Passed;
        }
        // Another session may have begun: its entries may be older than the value, too.
        if let Ok(current) = self.source.shared.wire()
            && !current.is(&wire)
        {
            wire = current;
            if wire.fence(&asked.redis_key).await.is_ok() {
                return Fence::Reset;
            }
        }
        let has_reset = self.space().detach();
        wire.lose();
        if has_reset { Fence::Reset } else { Fence::Failed }
    }

    /// Returns a value of Redis with the lifetime that is left to it.
    fn found(&self, bytes: Vec<u8>, left: Option<Duration>, spent: Duration, may_keep: bool) -> Loaded<Vec<u8>> {
        if !may_keep {
            return unkept(bytes);
        }
        let rules = &self.space().rules;
        match left {
            None => lasting(bytes, rules.ttl, rules.stale_for),
            Some(left) => {
                let left = left.saturating_sub(spent);
                lasting(bytes, left.saturating_sub(rules.stale_for), rules.stale_for.min(left))
            }
        }
    }

    /// Calls the loader. Invalidations that Redis has sent are applied meanwhile: the value may
    /// tell of changes that were made before.
    async fn call(&self, load: &Load, asked: Option<&Asked>) -> Answer {
        let space = self.space();
        space.counters.loads.count();
        let fence = async {
            if let Some(asked) = asked {
                self.fence(asked).await;
            }
        };
        let (began, limit) = (Instant::now(), space.rules.load_limit);
        let limited = async {
            match timeout(limit, load(Arc::clone(&self.key))).await {
                // A loader that blocks its thread ends late, and is not stopped.
                Ok(result) if began.elapsed() <= limit => result,
                _ => Err("the loader took longer than the load limit".into()),
            }
        };
        let result = tokio::join!(limited, fence).0.and_then(|value| match value {
            Some(value) if value.starts_with(RESERVED) => Err(Box::new(Error::ReservedValue).into()),
            value => Ok(value),
        });
        if result.is_err() {
            space.counters.load_failures.count();
        }
        result
    }

    /// Stores the result of the loader in Redis, and returns it with its local lifetime.
    async fn keep(
        &self,
        value: Option<Vec<u8>>,
        loaded_at: Instant,
        asked: Option<Asked>,
        seen: Seen,
    ) -> Result<Loaded<Vec<u8>>, BoxError> {
        let rules = &self.space().rules;
        let (ttl, life) = match &value {
            Some(_) => (rules.ttl, rules.ttl.saturating_add(rules.stale_for)),
            None => (rules.negative_ttl, rules.negative_ttl),
        };
        let sent = Instant::now();
        let filled = match &asked {
            Some(asked) if !life.is_zero() => {
                let bytes = value.as_deref().unwrap_or(NOTHING);
                self.fill(asked, Fill { bytes, life, loaded_at, seen: &seen }).await
            }
            _ => Err(Error::NotConnected),
        };
        let (ttl, stale_for) = match (filled, &asked) {
            (Ok(Filled::Stored), Some(asked)) if self.may_keep(asked) => {
                (ttl.saturating_sub(sent.elapsed()), rules.stale_for)
            }
            // Redis holds something under the key, so a change is told.
            (Ok(Filled::Protected(left)), Some(asked)) if self.may_keep(asked) => {
                let spent = loaded_at.elapsed().saturating_add(self.source.shared.options.command_timeout);
                let left = left.saturating_sub(spent);
                (ttl.saturating_sub(sent.elapsed()).min(left), Duration::ZERO)
            }
            (Ok(_), _) => (Duration::ZERO, Duration::ZERO),
            (Err(_), _) if self.space().writing.contains(&self.key) => (Duration::ZERO, Duration::ZERO),
            (Err(_), _) => (ttl.min(rules.max_staleness.saturating_sub(loaded_at.elapsed())), Duration::ZERO),
        };
        Ok(match value {
            Some(bytes) => lasting(bytes, ttl, stale_for),
            None => Loaded::AbsentFor(ttl.saturating_sub(LATENESS)),
        })
    }

    /// Stores a result in Redis, unless the entry has changed since it was seen.
    async fn fill(&self, asked: &Asked, fill: Fill<'_>) -> Result<Filled, Error> {
        let space = self.space();
        let filled = self.send_fill(asked, fill).await;
        match &filled {
            Ok(Filled::Stored) => space.counters.fills.count(),
            Ok(_) => space.counters.fills_refused.count(),
            Err(error) => {
                space.counters.fill_failures.count();
                self.source.shared.give_up(&asked.wire, space, error);
            }
        }
        if matches!(filled, Ok(Filled::Stored)) && !self.run.is_latest() {
            // The fill may have hidden a change from the load that came later.
            space.local.remove(&self.key);
        }
        filled
    }

    async fn send_fill(&self, asked: &Asked, fill: Fill<'_>) -> Result<Filled, Error> {
        let Fill { bytes, life, loaded_at, seen } = fill;
        // Tombstones of removals since the load began may expire before the command arrives.
        let latest = self.space().rules.tombstone_life.saturating_sub(self.source.shared.options.command_timeout);
        if !self.run.is_latest() || loaded_at.elapsed() > latest {
            return Ok(Filled::Refused);
        }
        let is_stored = match seen {
            // Loads that began before the removal may yet end. A stale value may have taken the
            // place of its tombstone.
            Seen::Replaceable { left, .. } if *left.min(&self.space().rules.tombstone_life) > life => {
                return Ok(Filled::Protected(*left));
            }
            Seen::Replaceable { bytes: old, left, .. } => {
                asked.wire.replace(&asked.redis_key, (old, *left), bytes, life).await?
            }
            _ => asked.wire.fill(&asked.redis_key, bytes, life).await?,
        };
        Ok(if is_stored { Filled::Stored } else { Filled::Refused })
    }

    /// Returns `true` if the local tier may keep what Redis holds.
    fn may_keep(&self, asked: &Asked) -> bool {
        self.is_tracked && asked.is_current && !self.space().writing.contains(&self.key)
    }
}

/// Returns a value that the local tier does not keep.
fn unkept(bytes: Vec<u8>) -> Loaded<Vec<u8>> {
    Loaded::ValueFor(bytes, Lifetime::new().ttl(Duration::ZERO).stale_for(Duration::ZERO))
}

/// Returns a value with a local lifetime. It ends early by the lateness of the local tier.
pub(crate) fn lasting(bytes: Vec<u8>, ttl: Duration, stale_for: Duration) -> Loaded<Vec<u8>> {
    Loaded::ValueFor(bytes, local_lifetime(ttl, stale_for))
}

/// Returns a local lifetime that is over when these durations are over.
pub(crate) fn local_lifetime(ttl: Duration, stale_for: Duration) -> Lifetime {
    let total = ttl.saturating_add(stale_for).saturating_sub(LATENESS);
    let ttl = ttl.saturating_sub(LATENESS);
    Lifetime::new().ttl(ttl).stale_for(stale_for.min(total - ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_lifetime_ends_before_the_one_in_redis() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let lifetime = |ttl, stale| Lifetime::new().ttl(ttl).stale_for(stale);
        assert_eq!(local_lifetime(minute, Duration::ZERO), lifetime(minute - LATENESS, Duration::ZERO));
        assert_eq!(local_lifetime(minute, second), lifetime(minute - LATENESS, second));
        assert_eq!(local_lifetime(LATENESS / 2, Duration::ZERO), lifetime(Duration::ZERO, Duration::ZERO));
        assert_eq!(local_lifetime(Duration::ZERO, second), lifetime(Duration::ZERO, second - LATENESS));
    }
}
