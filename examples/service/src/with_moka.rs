//! The users in a cache of moka, for the comparison of the load generator.
//!
//! One guarantee is missing: moka also stores the result of a load that began before the key was
//! invalidated. So an older user may stay in the cache for its whole lifetime.

use std::mem::size_of;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::BoxError;
use moka::Expiry;
use moka::future::Cache;

use crate::database::{Database, User};
use crate::service::UserCache;

type Found = Option<Arc<User>>;

pub struct MokaUsers {
    cache: Cache<i64, Found>,
    database: Database,
}

/// Ten minutes for users, and half a minute for the absence of one.
struct Lifetimes;

impl Expiry<i64, Found> for Lifetimes {
    fn expire_after_create(&self, _id: &i64, found: &Found, _now: Instant) -> Option<Duration> {
        Some(Duration::from_secs(if found.is_some() { 600 } else { 30 }))
    }
}

impl MokaUsers {
    /// Creates a cache of users that take `max_bytes` by themselves, without what moka adds.
    pub fn new(max_bytes: usize, database: Database) -> Self {
        let weigh = |_id: &i64, found: &Found| {
            let user = found.as_ref().map_or(0, |user| {
                size_of::<User>() + user.name.capacity() + user.email.capacity() + user.about.capacity()
            });
            u32::try_from(size_of::<(i64, Found)>() + user).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(max_bytes as u64).weigher(weigh).expire_after(Lifetimes).build();
        Self { cache, database }
    }
}

impl UserCache for MokaUsers {
    async fn get(&self, id: i64) -> Result<Option<User>, BoxError> {
        if let Some(found) = self.cache.get(&id).await {
            return Ok(found.map(Arc::unwrap_or_clone));
        }
        let (cache, database) = (self.cache.clone(), self.database.clone());
        // A task, which goes on if the caller gives up.
        let load = tokio::spawn(async move {
            let load = async { Ok(database.user(id).await?.map(Arc::new)) };
            cache.try_get_with(id, load).await.map_err(|error: Arc<BoxError>| error.to_string())
        });
        Ok(load.await??.map(Arc::unwrap_or_clone))
    }

    async fn remove(&self, id: i64) {
        self.cache.invalidate(&id).await;
    }

    fn clear(&self) {
        self.cache.invalidate_all();
    }
}
