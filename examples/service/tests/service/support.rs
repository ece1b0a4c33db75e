//! A database for each test, instances of the service on it, and conditions to wait for.

use std::future::Future;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use axum::BoxError;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, NoTls};
use user_service::database::{User, parse_address};
use user_service::driver::{Instance, Metrics};

/// Limit on a test, and on a condition.
const LIMIT: Duration = Duration::from_secs(60);

/// Rows of the table.
pub const ROWS: i64 = 100;

/// A database with the table of users.
pub struct Database {
    pub address: String,
}

impl Database {
    /// Creates the database. `name` is unique for each test.
    pub fn new(name: &str) -> Self {
        let server = std::env::var("DATABASE_URL").expect("run ./check, which starts a PostgreSQL");
        psql(&server, &["-c", &format!("CREATE DATABASE {name}")]);
        // The last value of a key counts.
        let address = format!("{server} dbname={name}");
        psql(&address, &["-v", &format!("rows={ROWS}"), "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/schema.sql")]);
        Self { address }
    }

    /// Executes a statement by `psql`, a program that knows nothing of the service.
    pub fn psql(&self, statement: &str) {
        psql(&self.address, &["-c", statement]);
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Client {
        let (client, connection) = parse_address(&self.address).unwrap().connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Starts an instance of the service, and waits until it trusts its cache.
    pub async fn instance(&self, options: &[&str]) -> Instance {
        let program = Path::new(env!("CARGO_BIN_EXE_user-service"));
        let instance = Instance::start(program, &self.address, options).await.unwrap();
        wait_for(&instance, "it listens", Metrics::is_listening).await;
        instance
    }
}

fn psql(address: &str, arguments: &[&str]) {
    let mut command = Command::new("psql");
    command.args(["--quiet", "--no-psqlrc", "-v", "ON_ERROR_STOP=1"]).args(arguments).arg(address);
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&stderr));
}

/// Runs a test within the limit.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(LIMIT, test).await.expect("the test takes too long") });
}

/// Waits until a condition on the metrics of an instance holds.
pub async fn wait_for(instance: &Instance, what: &str, condition: impl Fn(&Metrics) -> bool) {
    wait_until(what, async || condition(&instance.metrics().await.unwrap())).await;
}

/// Waits until a condition holds.
pub async fn wait_until(what: &str, condition: impl AsyncFn() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LIMIT, "it does not come true: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the answer for a user has this name, or is 404 for `None`.
pub async fn wait_for_name(instance: &Instance, id: i64, name: Option<&str>) {
    wait_until(&format!("user {id} is {name:?}"), async || name_of(instance, id).await.unwrap().as_deref() == name)
        .await;
}

/// Returns the name of a user, or `None` after 404.
pub async fn name_of(instance: &Instance, id: i64) -> Result<Option<String>, BoxError> {
    let (status, user) = instance.connect().await?.get(id).await?;
    match (status.as_u16(), user) {
        (200, Some(user)) => Ok(Some(user.name)),
        (404, None) => Ok(None),
        _ => Err(status.as_str().into()),
    }
}

/// Returns a user with this name.
pub fn named(name: &str) -> User {
    User { name: name.to_string(), email: "user@example.org".to_string(), about: String::new() }
}
