//! Writes of a [`Tiered`]: each is a task that goes on if its caller gives up.
//!
//! A write that was sent must be followed to its end: only then is it known whether the local tier
//! may keep its value.

use core::future::Future;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use crate::error::Error;
use crate::format::{self, RESERVED};
use crate::load::{self, Source};
use crate::numbering;
use crate::tiered::Tiered;
use crate::wire::Wire;

/// # Writing
///
/// Write to the store first, then call one of these.
///
/// If a write fails, the local entry is removed all the same. Other instances may serve the older
/// value until its lifetime ends. [`Error::is_outcome_unknown`] tells if the write may yet take
/// effect. Repeat it until it succeeds.
impl Tiered {
    /// Stores `value` under `key` in both tiers, for the [`ttl`](crate::TieredBuilder::ttl).
    ///
    /// If two callers insert at the same time, Redis keeps the value of one, in the order in which
    /// the commands arrive. That may not be the order of their writes to the store. Use
    /// [`remove`](Self::remove) if that can happen.
    ///
    /// # Errors
    ///
    /// [`Error::ReservedValue`], or an error of the connection. A value that is too large for the
    /// local tier is stored in Redis only, and is no error.
    ///
    /// # Cost
    ///
    /// A round trip, and a task.
    ///
    /// ```no_run
    /// # async fn example(users: bytecache_redis::Tiered) -> Result<(), bytecache_redis::Error> {
    /// users.insert("1", "Ada").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn insert(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.insert_with_ttl(key, value, self.source.space.rules.ttl).await
    }

    /// Like [`insert`](Self::insert), with a time to live for this value.
    ///
    /// # Errors
    ///
    /// Those of [`insert`](Self::insert).
    ///
    /// ```no_run
    /// # async fn example(users: bytecache_redis::Tiered) -> Result<(), bytecache_redis::Error> {
    /// users.insert_with_ttl("1", "Ada", std::time::Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn insert_with_ttl(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> Result<(), Error> {
        let (key, value) = (Arc::from(key.as_ref()), value.as_ref().to_vec());
        if value.starts_with(RESERVED) {
            return Err(Error::ReservedValue);
        }
        self.spawn(|source| async move { source.insert(key, value, ttl).await }).await
    }

    /// Removes the value under `key` from both tiers, of all instances.
    ///
    /// It leaves a tombstone in Redis for the [`load_limit`](crate::TieredBuilder::load_limit) and
    /// the longest time of two commands. A load that began before the call, in any process, does
    /// not replace it. So the older value does not come back.
    ///
    /// # Errors
    ///
    /// An error of the connection.
    ///
    /// # Cost
    ///
    /// A round trip, and a task.
    ///
    /// ```no_run
    /// # async fn example(users: bytecache_redis::Tiered) -> Result<(), bytecache_redis::Error> {
    /// // ... writes to the database. Then:
    /// users.remove("1").await?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "invalidate")]
    pub async fn remove(&self, key: impl AsRef<[u8]>) -> Result<(), Error> {
        let key = Arc::from(key.as_ref());
        self.spawn(|source| async move { source.remove(key).await }).await
    }

    /// Removes all values of the namespace from both tiers, of all instances.
    ///
    /// It increments the generation of the namespace. The entries of the older generation stay in
    /// Redis until their lifetimes end, and are not read.
    ///
    /// # Errors
    ///
    /// An error of the connection, or [`Error::BadGeneration`] if another client has stored a value
    /// there that is not a number.
    ///
    /// # Cost
    ///
    /// A round trip, and a task, whatever the number of entries.
    ///
    /// ```no_run
    /// # async fn example(users: bytecache_redis::Tiered) -> Result<(), bytecache_redis::Error> {
    /// users.invalidate_all().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "clear")]
    pub async fn invalidate_all(&self) -> Result<(), Error> {
        self.spawn(|source| async move { source.invalidate_all().await }).await
    }

    /// Runs a write as a task.
    async fn spawn<F, T>(&self, write: F) -> Result<(), Error>
    where
        F: FnOnce(Arc<Source>) -> T,
        T: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let task = self.source.shared.handle.spawn(write(Arc::clone(&self.source)));
        task.await.unwrap_or(Err(Error::NoRuntime))
    }
}

impl Source {
    async fn insert(&self, key: Arc<[u8]>, value: Vec<u8>, ttl: Duration) -> Result<(), Error> {
        let space = &self.space;
        let write = space.writing.begin(Arc::clone(&key));
        space.running.overtake(&key);
        space.local.remove(&key);
        // The lease comes first: an invalidation that arrives after this ends it.
        let lease = space.local.lease(&key);
        let is_tracked = space.trust.is_tracked();
        let stale_for = space.rules.stale_for;
        let sent = Instant::now();
        let is_current = self.write(&key, &value, ttl.saturating_add(stale_for)).await?;
        let may_keep = is_tracked && is_current && write.is_alone();
        let lifetime = load::local_lifetime(ttl.saturating_sub(sent.elapsed()), stale_for);
        // Another write came between, or the value is too large: then Redis alone has the value.
        if !(may_keep && lease.store(&value, lifetime).unwrap_or(false)) {
            space.local.remove(&key);
        }
        Ok(())
    }

    async fn remove(&self, key: Arc<[u8]>) -> Result<(), Error> {
        let space = &self.space;
        let _write = space.writing.begin(Arc::clone(&key));
        space.local.remove(&key);
        let written = self.write(&key, &format::tombstone(), space.rules.tombstone_life).await;
        // Ends loads that have read the older value meanwhile.
        space.local.remove(&key);
        written.map(|_| ())
    }

    async fn invalidate_all(&self) -> Result<(), Error> {
        // Also without a connection.
        self.space.local.invalidate_all();
        numbering::advance(&self.shared, &self.shared.wire()?, &self.space, 1).await.map(|_| ())
    }

    /// Stores an entry in the current generation. Returns `true` if a change of the number cannot
    /// have been missed.
    async fn write(&self, key: &[u8], bytes: &[u8], life: Duration) -> Result<bool, Error> {
        let wire = self.shared.wire()?;
        let written = self.write_in_current(&wire, key, bytes, life).await;
        if let Err(error) = &written {
            self.shared.give_up(&wire, &self.space, error);
        }
        written
    }

    /// The number that is known may be an older one, whose invalidation is under way. So Redis is
    /// asked for it, too. A load that has seen an even later number has begun after this call, and
    /// so after the change of the store: it needs no tombstone.
    async fn write_in_current(&self, wire: &Wire, key: &[u8], bytes: &[u8], life: Duration) -> Result<bool, Error> {
        let (shared, space) = (&self.shared, &self.space);
        let known = space.generation.known();
        let store = async |number| wire.store(&space.entry_key(number, key), bytes, life).await;
        let early = async {
            match known {
                Some(known) => store(known).await,
                None => Ok(()),
            }
        };
        let (stored, asked) = tokio::join!(early, numbering::ask(shared, wire, space));
        stored?;
        let (number, is_current) = asked?;
        if known != Some(number) {
            store(number).await?;
        }
        Ok(is_current)
    }
}
