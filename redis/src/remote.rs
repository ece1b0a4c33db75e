//! [`Remote`]: the connection of an instance to a Redis server, or to a cluster.

use core::fmt;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use redis::{Client, ProtocolVersion, PushInfo, PushKind, Value};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::breaker::Breaker;
use crate::error::{Error, SetupError};
use crate::format;
use crate::session;
use crate::space::Space;
use crate::wire::Wire;

const LEAST_STALENESS: Duration = Duration::from_millis(200);
const MOST_STALENESS: Duration = Duration::from_secs(3_600);
/// The longest time between two pings: servers may close connections that are idle for minutes.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// The connection of an instance to a Redis or Valkey server or cluster, for all its
/// [`Tiered`](crate::Tiered) namespaces. A clone is a handle of the same connection.
///
/// A task connects, and connects again when a connection is lost. So a `Remote` can be created
/// while the server is down. When the last handle is dropped, the task ends.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bytecache_redis::Remote;
/// use std::time::Duration;
///
/// let client = redis::Client::open("redis://127.0.0.1:6379")?;
/// let remote = Remote::builder(client).max_staleness(Duration::from_millis(500)).connect()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Remote {
    shared: Arc<Shared>,
    _task: Arc<Task>,
}

/// The counters and the state of a [`Remote`], from [`Remote::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteStats {
    /// The number of connections that were established. A first one counts as a later one does.
    pub connections: u64,
    /// The number of attempts to connect that failed.
    pub failed_attempts: u64,
    /// The reason why the last attempt failed, if one did since the last connection.
    pub failure: Option<&'static str>,
    /// There is a connection.
    pub is_connected: bool,
    /// The circuit breaker refuses reads.
    pub is_breaker_open: bool,
}

/// The task of a `Remote`, which ends with its last handle.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A builder of a [`Remote`], from [`Remote::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `connect`"]
pub struct RemoteBuilder {
    client: Client,
    options: Options,
    max_failures: u32,
    breaker_pause: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) max_staleness: Duration,
    pub(crate) command_timeout: Duration,
    pub(crate) is_cluster: bool,
}

impl Options {
    /// Returns the time between two pings.
    pub(crate) fn ping_interval(&self) -> Duration {
        LONGEST_INTERVAL.min(self.max_staleness / 4)
    }

    /// Returns the time after which a ping without an answer ends the session. With the interval
    /// it is below `max_staleness`.
    pub(crate) fn ping_timeout(&self) -> Duration {
        LONGEST_INTERVAL.min(self.max_staleness / 2)
    }
}

impl RemoteBuilder {
    /// Sets for how long local entries are served while invalidations do not arrive. The default
    /// is 1 s, the least is 200 ms.
    ///
    /// The time counts from the last moment at which the connection is known to have worked. After
    /// it, the local tier is reset. A lost connection is found by pings: one for each quarter of
    /// this time, with a timeout of half of it, and of 30 s at most. Each also has the
    /// [`command_timeout`](Self::command_timeout).
    ///
    /// ```
    /// # let client = redis::Client::open("redis://127.0.0.1:6379")?;
    /// let builder = bytecache_redis::Remote::builder(client).max_staleness(std::time::Duration::from_millis(500));
    /// # drop(builder);
    /// # Ok::<(), redis::RedisError>(())
    /// ```
    pub fn max_staleness(mut self, max: Duration) -> Self {
        self.options.max_staleness = max;
        self
    }

    /// Sets the time after which a command without an answer has failed. The default is 500 ms.
    ///
    /// A write that fails so ends the connection, since it may take effect later. The local tier is
    /// then reset.
    ///
    /// ```
    /// # let client = redis::Client::open("redis://127.0.0.1:6379")?;
    /// let builder = bytecache_redis::Remote::builder(client).command_timeout(std::time::Duration::from_millis(200));
    /// # drop(builder);
    /// # Ok::<(), redis::RedisError>(())
    /// ```
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.options.command_timeout = timeout;
        self
    }

    /// Sets the circuit breaker of reads: after `max_failures` in a row it refuses reads for
    /// `pause`, and up to a quarter more at random. Then one read probes the server. The defaults
    /// are 5 and 1 s.
    ///
    /// While it is open, missing keys are loaded without asking Redis, and are not stored there.
    /// Writes are always sent.
    ///
    /// ```
    /// # let client = redis::Client::open("redis://127.0.0.1:6379")?;
    /// let builder = bytecache_redis::Remote::builder(client).breaker(10, std::time::Duration::from_secs(2));
    /// # drop(builder);
    /// # Ok::<(), redis::RedisError>(())
    /// ```
    pub fn breaker(mut self, max_failures: u32, pause: Duration) -> Self {
        self.max_failures = max_failures.max(1);
        self.breaker_pause = pause;
        self
    }

    /// Treats the client's server as a node of a Redis Cluster, which tells of the others. The
    /// default is one server.
    ///
    /// The instance has two connections to each primary. If one of them is lost, or a key has moved
    /// to another node, it connects to all again, and resets its local tiers. While a primary
    /// cannot be reached, there is no connection for any key.
    ///
    /// ```
    /// # let client = redis::Client::open("redis://127.0.0.1:7000")?;
    /// let builder = bytecache_redis::Remote::builder(client).cluster();
    /// # drop(builder);
    /// # Ok::<(), redis::RedisError>(())
    /// ```
    pub fn cluster(mut self) -> Self {
        self.options.is_cluster = true;
        self
    }

    /// Starts the task that connects, and returns at once.
    ///
    /// The protocol is set to RESP3, whatever the client says. All other options of the client, as
    /// for TLS and authentication, are used as they are.
    ///
    /// # Errors
    ///
    /// [`SetupError::NoRuntime`] outside a tokio runtime. [`SetupError::MaxStaleness`],
    /// [`SetupError::ZeroTimeout`] and [`SetupError::Client`] for options that are not accepted.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let client = redis::Client::open("redis://127.0.0.1:1")?;
    /// let remote = bytecache_redis::Remote::builder(client).connect()?;
    /// assert!(!remote.is_connected());
    /// # Ok(())
    /// # }
    /// ```
    pub fn connect(self) -> Result<Remote, SetupError> {
        let handle = Handle::try_current().map_err(|_| SetupError::NoRuntime)?;
        if !(LEAST_STALENESS..=MOST_STALENESS).contains(&self.options.max_staleness) {
            return Err(SetupError::MaxStaleness);
        }
        if self.options.command_timeout.is_zero() {
            return Err(SetupError::ZeroTimeout);
        }
        let info = self.client.get_connection_info().clone();
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let client = Client::open(info.set_redis_settings(settings)).map_err(SetupError::Client)?;
        let shared = Arc::new(Shared {
            client,
            options: self.options,
            handle: handle.clone(),
            wire: RwLock::new(None),
            spaces: Mutex::default(),
            registered: Notify::new(),
            is_connected: watch::Sender::new(false),
            breaker: Breaker::new(self.max_failures, self.breaker_pause),
            sessions: AtomicU64::new(0),
            failed_attempts: AtomicU64::new(0),
            failure: Mutex::default(),
        });
        let task = handle.spawn(session::run(Arc::clone(&shared)));
        Ok(Remote { shared, _task: Arc::new(Task(task)) })
    }
}

impl Remote {
    /// Returns a builder of a connection by the options of `client`.
    ///
    /// ```
    /// let client = redis::Client::open("redis://127.0.0.1:6379")?;
    /// let builder = bytecache_redis::Remote::builder(client);
    /// # drop(builder);
    /// # Ok::<(), redis::RedisError>(())
    /// ```
    pub fn builder(client: Client) -> RemoteBuilder {
        let options = Options {
            max_staleness: Duration::from_secs(1),
            command_timeout: Duration::from_millis(500),
            is_cluster: false,
        };
        RemoteBuilder { client, options, max_failures: 5, breaker_pause: Duration::from_secs(1) }
    }

    /// Returns `true` if there is a connection over which invalidations arrive.
    ///
    /// ```no_run
    /// # fn example(remote: bytecache_redis::Remote) {
    /// let is_healthy = remote.is_connected();
    /// # }
    /// ```
    #[must_use]
    pub fn is_connected(&self) -> bool {
        *self.shared.is_connected.borrow()
    }

    /// Waits until there is a connection, up to `limit`. Returns `true` if there is one.
    ///
    /// A service that waits for it before it lets traffic in does not load what Redis has.
    ///
    /// ```no_run
    /// # async fn example(remote: bytecache_redis::Remote) {
    /// if !remote.wait_until_connected(std::time::Duration::from_secs(5)).await {
    ///     eprintln!("Redis is not reached: starting with the local tier alone");
    /// }
    /// # }
    /// ```
    pub async fn wait_until_connected(&self, limit: Duration) -> bool {
        let mut connected = self.shared.is_connected.subscribe();
        let waiting = connected.wait_for(|&is_connected| is_connected);
        matches!(tokio::time::timeout(limit, waiting).await, Ok(Ok(_)))
    }

    /// Returns the counters and the state of the connection.
    ///
    /// ```no_run
    /// # fn example(remote: bytecache_redis::Remote) {
    /// let stats = remote.stats();
    /// println!("connected {} times, failed {} times", stats.connections, stats.failed_attempts);
    /// # }
    /// ```
    #[must_use]
    pub fn stats(&self) -> RemoteStats {
        let shared = &self.shared;
        RemoteStats {
            // Counters.
            connections: shared.sessions.load(Ordering::Relaxed),
            failed_attempts: shared.failed_attempts.load(Ordering::Relaxed),
            failure: *shared.failure.lock().unwrap_or_else(PoisonError::into_inner),
            is_connected: self.is_connected(),
            is_breaker_open: shared.breaker.is_open(),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("is_connected", &self.is_connected()).finish_non_exhaustive()
    }
}

impl fmt::Debug for RemoteBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The client has a password.
        f.debug_struct("RemoteBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The part of a [`Remote`] that its task, its connections and its namespaces share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) options: Options,
    pub(crate) handle: Handle,
    wire: RwLock<Option<Wire>>,
    spaces: Mutex<HashMap<String, Weak<Space>>>,
    /// Notified when a namespace was registered.
    pub(crate) registered: Notify,
    is_connected: watch::Sender<bool>,
    pub(crate) breaker: Breaker,
    sessions: AtomicU64,
    failed_attempts: AtomicU64,
    failure: Mutex<Option<&'static str>>,
}

impl Shared {
    /// Returns the connections of the current session.
    pub(crate) fn wire(&self) -> Result<Wire, Error> {
        self.wire.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::NotConnected)
    }

    /// Begins to use the connections of a session.
    pub(crate) fn open(&self, wire: Wire) {
        self.breaker.close();
        *self.wire.write().unwrap_or_else(PoisonError::into_inner) = Some(wire);
        self.sessions.fetch_add(1, Ordering::Relaxed); // A counter.
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.is_connected.send_replace(true);
    }

    /// Gives the connections of a session up.
    pub(crate) fn close(&self) {
        self.is_connected.send_replace(false);
        *self.wire.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Resets the local tier after a write that may take effect later: Redis will not tell this
    /// instance. It comes before the write counts as ended. Another session is told of the write.
    pub(crate) fn give_up(&self, wire: &Wire, space: &Space, error: &Error) {
        if error.is_outcome_unknown() && self.is_last(wire) {
            space.detach();
        }
    }

    /// Returns `true` if no later session has begun than that of these connections.
    pub(crate) fn is_last(&self, wire: &Wire) -> bool {
        self.wire().map_or(true, |current| current.is(wire))
    }

    pub(crate) fn count_failed_attempt(&self, reason: &'static str) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        self.failed_attempts.fetch_add(1, Ordering::Relaxed); // A counter.
    }

    /// Adds a namespace. The session tracks it from now on.
    pub(crate) fn register(&self, space: &Arc<Space>) -> Result<(), SetupError> {
        let mut spaces = self.lock_spaces();
        if spaces.get(&space.name).is_some_and(|other| other.strong_count() > 0) {
            return Err(SetupError::NameInUse);
        }
        spaces.insert(space.name.clone(), Arc::downgrade(space));
        drop(spaces);
        self.registered.notify_one();
        Ok(())
    }

    /// Returns the namespaces that are in use.
    pub(crate) fn spaces(&self) -> Vec<Arc<Space>> {
        self.lock_spaces().values().filter_map(Weak::upgrade).collect()
    }

    /// Applies a message of the server. Runs in the task that reads the tracked connection, so it
    /// has been applied before the next answer of that connection is passed on.
    pub(crate) fn apply(&self, message: &PushInfo) {
        if message.kind != PushKind::Invalidate {
            return;
        }
        for subject in &message.data {
            match subject {
                Value::Array(keys) => keys.iter().for_each(|key| self.apply_key(key)),
                // The server was flushed.
                _ => self.spaces().iter().for_each(|space| space.apply_to_all()),
            }
        }
    }

    fn apply_key(&self, key: &Value) {
        let Value::BulkString(key) = key else { return };
        let Some(changed) = format::parse(key) else { return };
        let space = self.lock_spaces().get(changed.name()).and_then(Weak::upgrade);
        if let Some(space) = space {
            space.apply(&changed);
        }
    }

    fn lock_spaces(&self) -> MutexGuard<'_, HashMap<String, Weak<Space>>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
