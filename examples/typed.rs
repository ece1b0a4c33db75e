//! Typed values: a service with users and counters in one cache, and messages that invalidate.
//!
//! ```sh
//! cargo run --features postcard --example typed
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytecache::typed::{Counter, NoLoads, Postcard};
use bytecache::{Cache, Invalidation, Typed};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    emails: Vec<String>,
}

/// A database, with the number of its queries.
#[derive(Clone, Default)]
struct Database {
    users: Arc<Mutex<HashMap<u64, User>>>,
    queries: Arc<Mutex<usize>>,
}

impl Database {
    async fn user(&self, id: u64) -> Result<Option<User>, io::Error> {
        *self.queries.lock().map_err(|_| io::Error::other("poisoned"))? += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(self.users.lock().map_err(|_| io::Error::other("poisoned"))?.get(&id).cloned())
    }

    fn put(&self, id: u64, user: User) {
        if let Ok(mut users) = self.users.lock() {
            users.insert(id, user);
        }
    }
}

struct Service {
    database: Database,
    users: Typed<u64, User, Postcard>,
    visits: Typed<String, i64, Counter, NoLoads>,
}

impl Service {
    fn new(cache: &Cache, database: Database) -> Result<Self, Box<dyn Error>> {
        let queries = database.clone();
        let users = cache
            .namespace("users")
            .version(1) // Another layout of `User` gets another version.
            .typed(Postcard)
            .ttl(Duration::from_secs(600))
            .negative_ttl(Duration::from_secs(30))
            .build_async(move |id| {
                let database = queries.clone();
                async move { database.user(id).await }
            })?;
        let visits = cache.namespace("visits").typed(Counter).ttl(Duration::from_secs(86_400)).build()?;
        Ok(Self { database, users, visits })
    }

    /// Changes the database first, and then removes.
    fn put(&self, id: u64, user: User) {
        self.database.put(id, user);
        self.users.remove(&id);
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::new(16 << 20)?;
    let database = Database::default();
    let ada = User { name: "Ada".to_string(), emails: vec!["ada@example.org".to_string()] };
    database.put(1, ada.clone());
    let service = Arc::new(Service::new(&cache, database.clone())?);

    // A hundred requests, and one query.
    let requests: Vec<_> = (0..100)
        .map(|_| {
            let service = Arc::clone(&service);
            tokio::spawn(async move { service.users.get(&1).await })
        })
        .collect();
    for request in requests {
        assert_eq!(request.await??, Some(ada.clone()));
    }
    println!("100 requests, {} query", database.queries.lock().map_or(0, |queries| *queries));

    // The absence of a user is remembered, until the user is stored.
    assert_eq!(service.users.get(&2).await?, None);
    assert_eq!(service.users.get(&2).await?, None);
    let grace = User { name: "Grace".to_string(), emails: vec![] };
    service.put(2, grace.clone());
    assert_eq!(service.users.get(&2).await?, Some(grace));

    for page in ["index", "about", "index"] {
        service.visits.increment(page, 1)?;
    }
    println!("index was visited {} times", service.visits.get("index").unwrap_or_default());

    // Messages of other instances, as they come from a queue.
    let key = service.users.key_bytes(&1);
    for message in [Invalidation::KeyIn("users", &key), Invalidation::Namespace("users"), Invalidation::Reset] {
        service.users.get(&1).await?;
        cache.apply(message);
        assert!(!service.users.contains_key(&1));
    }
    for space in cache.namespaces() {
        let stats = space.stats();
        println!("{}: {} hits, {} misses, {} loads", space.name(), stats.hits, stats.misses, stats.loads);
    }
    Ok(())
}
