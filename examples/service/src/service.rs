//! The operations of the service: reads through a cache, and writes that invalidate.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::BoxError;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::database::{Database, User};
use crate::listener::Event;

/// A cache of users that reads through to the database.
pub trait UserCache: Send + Sync + 'static {
    /// Returns the user, from the cache or from the database. Remembers that there is none.
    fn get(&self, id: i64) -> impl Future<Output = Result<Option<User>, BoxError>> + Send;

    /// Forgets the user, or that there is none.
    fn remove(&self, id: i64) -> impl Future<Output = ()> + Send;

    /// Forgets all users.
    fn clear(&self);
}

/// The operations on users.
pub struct Service<C> {
    database: Database,
    users: C,
    /// `true` while every change is heard of, so that the cache can be trusted.
    is_listening: AtomicBool,
    listening: Gauge,
}

impl<C: UserCache> Service<C> {
    pub fn new(database: Database, users: C, registry: &mut Registry) -> Self {
        let listening = Gauge::default();
        registry.register("service_listening", "1 while changes of other instances are heard of", listening.clone());
        Self { database, users, is_listening: AtomicBool::new(false), listening }
    }

    /// Returns the user, or `None` if there is none.
    pub async fn get(&self, id: i64) -> Result<Option<User>, BoxError> {
        // Acquire: pairs with the store in `hear`. A read that sees it finds a cleared cache.
        if !self.is_listening.load(Ordering::Acquire) {
            return self.database.user(id).await;
        }
        self.users.get(id).await
    }

    /// Stores the user.
    pub async fn put(&self, id: i64, user: &User) -> Result<(), BoxError> {
        let result = self.database.put(id, user).await;
        self.users.remove(id).await; // After an error, too: the row may have been written.
        result
    }

    /// Deletes the user. Returns `true` if there was one.
    pub async fn delete(&self, id: i64) -> Result<bool, BoxError> {
        let result = self.database.delete(id).await;
        self.users.remove(id).await;
        result
    }

    /// Applies a report of the listener.
    pub async fn hear(&self, event: Event) {
        match event {
            Event::Changed(id) => self.users.remove(id).await,
            Event::AllChanged => self.users.clear(),
            Event::Lost => {
                // Relaxed: reads that see it use nothing that was written before.
                self.is_listening.store(false, Ordering::Relaxed);
                self.users.clear();
            }
            Event::Listening => {
                // Drops the entries of reads that began before the loss and ended after it.
                self.users.clear();
                self.is_listening.store(true, Ordering::Release);
            }
        }
        self.listening.set(self.is_listening.load(Ordering::Relaxed).into());
    }
}
