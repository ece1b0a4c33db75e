//! The table of users in PostgreSQL.
//!
//! `tokio-postgres` instead of `sqlx`: its connections pass on notifications and tell when they are
//! lost, which is what [`listener`](crate::listener) needs.

use std::str::FromStr;
use std::time::Duration;

use axum::BoxError;
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio_postgres::{Config, NoTls};

/// Queries that may run at once.
const CONNECTIONS: usize = 16;

/// Limit on the wait for a connection of the pool, and on making one.
const CONNECTION_LIMIT: Duration = Duration::from_secs(5);

/// Limit on a statement, which the server enforces. Loads are tasks that no caller ends, so their
/// queries have to end by themselves.
const STATEMENT_LIMIT: Duration = Duration::from_secs(30);

/// A row of the table, without its id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub name: String,
    pub email: String,
    pub about: String,
}

/// A cheap handle of the pool of connections.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    /// Queries for a user.
    reads: Counter,
}

/// Parses the address of the database: `DATABASE_URL`, as a URL or as `host=... user=...`.
pub fn parse_address(address: &str) -> Result<Config, BoxError> {
    let mut config = Config::from_str(address)?;
    config.connect_timeout(CONNECTION_LIMIT).application_name("user-service");
    Ok(config)
}

impl Database {
    /// Creates a pool without connections. They are made when they are needed.
    pub fn new(config: &Config, registry: &mut Registry) -> Result<Self, BoxError> {
        let mut config = config.clone();
        config.options(format!("-c statement_timeout={}", STATEMENT_LIMIT.as_millis()));
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let pool = Pool::builder(Manager::from_config(config, NoTls, recycling))
            .max_size(CONNECTIONS)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECTION_LIMIT))
            .create_timeout(Some(CONNECTION_LIMIT))
            .build()?;
        let reads = Counter::default();
        registry.register("service_database_reads", "Queries for a user", reads.clone());
        Ok(Self { pool, reads })
    }

    /// Returns the user, or `None` if there is none.
    pub async fn user(&self, id: i64) -> Result<Option<User>, BoxError> {
        self.reads.inc();
        let client = self.pool.get().await?;
        let select = client.prepare_cached("SELECT name, email, about FROM users WHERE id = $1").await?;
        let Some(row) = client.query_opt(&select, &[&id]).await? else { return Ok(None) };
        Ok(Some(User { name: row.try_get(0)?, email: row.try_get(1)?, about: row.try_get(2)? }))
    }

    /// Stores the user, in place of one with the same id.
    pub async fn put(&self, id: i64, user: &User) -> Result<(), BoxError> {
        let client = self.pool.get().await?;
        let upsert = client
            .prepare_cached(
                "INSERT INTO users (id, name, email, about) VALUES ($1, $2, $3, $4) ON CONFLICT (id) DO UPDATE \
                 SET name = excluded.name, email = excluded.email, about = excluded.about",
            )
            .await?;
        client.execute(&upsert, &[&id, &user.name, &user.email, &user.about]).await?;
        Ok(())
    }

    /// Deletes the user. Returns `true` if there was one.
    pub async fn delete(&self, id: i64) -> Result<bool, BoxError> {
        let client = self.pool.get().await?;
        let delete = client.prepare_cached("DELETE FROM users WHERE id = $1").await?;
        Ok(client.execute(&delete, &[&id]).await? == 1)
    }
}
