//! The users in a cache of bytecache: everything of this service that concerns it.

use std::time::Duration;

use axum::BoxError;
use bytecache::typed::Postcard;
use bytecache::{Cache, PrometheusCollector, Typed};
use prometheus_client::registry::Registry;

use crate::database::{Database, User};
use crate::service::UserCache;

pub struct Users(Typed<i64, User, Postcard>);

impl Users {
    /// Creates a cache that takes `max_bytes`, all included, and adds its metrics to `registry`.
    pub fn new(max_bytes: usize, database: Database, registry: &mut Registry) -> Result<Self, BoxError> {
        let cache = Cache::new(max_bytes)?;
        let collector = PrometheusCollector::new();
        collector.add("service", &cache);
        registry.register_collector(Box::new(collector));

        let users = cache
            .namespace("users")
            .version(1) // Another layout of `User` gets another version.
            .typed(Postcard)
            .ttl(Duration::from_secs(600))
            .negative_ttl(Duration::from_secs(30)) // An absent user is remembered for half a minute.
            .spawner(|load| drop(tokio::spawn(load))) // A load goes on if its callers give up.
            .build_async(move |id| {
                let database = database.clone();
                async move { database.user(id).await }
            })?;
        Ok(Self(users))
    }
}

impl UserCache for Users {
    async fn get(&self, id: i64) -> Result<Option<User>, BoxError> {
        Ok(self.0.get(&id).await?)
    }

    async fn remove(&self, id: i64) {
        self.0.remove(&id);
    }

    fn clear(&self) {
        self.0.invalidate_all();
    }
}
