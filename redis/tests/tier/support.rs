//! Servers, a proxy, and instances for the tests.

use std::hash::{BuildHasher, RandomState};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytecache::Cache;
use bytecache_redis::{Remote, RemoteBuilder, Tiered, TieredBuilder};
use redis::FromRedisValue;
use tokio::net::TcpSocket;

/// The longest time for which a test waits for a condition.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A server on a free port of the loopback interface, with a folder of its own. It is killed when
/// it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
    options: Vec<String>,
    folder: Folder,
}

/// A folder for files of a test. It is removed when it is dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn make() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let folder = std::env::temp_dir().join(format!("bytecache-redis-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the folder can be made");
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns the program of the server: that of `BYTECACHE_REDIS_SERVER`, or else Redis or Valkey
/// where they are installed.
fn program() -> Option<String> {
    let named = std::env::var("BYTECACHE_REDIS_SERVER").ok();
    let programs = match named {
        Some(program) => vec![program],
        None => vec!["redis-server".to_string(), "valkey-server".to_string()],
    };
    let is_there = |program: &String| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let found = programs.into_iter().find(is_there);
    assert!(
        found.is_some() || std::env::var_os("BYTECACHE_REDIS_REQUIRED").is_none(),
        "there is no server, and the tests must not be left out"
    );
    found
}

/// Returns the program of the client that belongs to the server: `redis-cli` or `valkey-cli`.
pub(crate) fn client_program() -> String {
    let server = program().unwrap_or_default();
    server.strip_suffix("-server").map_or_else(|| "redis-cli".to_string(), |name| format!("{name}-cli"))
}

pub(crate) fn client_is_there() -> bool {
    Command::new(client_program()).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

impl Server {
    /// Starts a server. Returns `None` where there is no program for it.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(|_| vec![])
    }

    /// Like [`start`](Self::start), with options for a port.
    pub(crate) fn start_with(options: impl Fn(u16) -> Vec<String>) -> Option<Self> {
        let Some(program) = program() else {
            eprintln!("no redis-server or valkey-server: left out");
            return None;
        };
        let folder = Folder::make();
        // Another process may take the port in between: then the server ends at once.
        for _ in 0..10 {
            let port = free_port();
            let options = options(port);
            if let Some(child) = launch(&program, port, &options, &folder) {
                return Some(Self { child, port, options, folder });
            }
        }
        panic!("no server starts");
    }

    /// Kills the server at once, and starts an empty one on its port, with the same options.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let program = program().expect("it was started before");
        // A replica keeps what it got from its primary.
        let _ = std::fs::remove_file(self.folder.0.join("dump.rdb"));
        let child = retried(|| launch(&program, self.port, &self.options, &self.folder));
        self.child = child;
    }

    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal: `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal was sent");
    }

    pub(crate) fn url(&self) -> String {
        url(self.port)
    }

    /// Returns the value of an option of the server.
    pub(crate) fn option(&self, name: &str) -> String {
        let [_, value] = self.foreign().ask::<[String; 2]>(&["CONFIG", "GET", name]);
        value
    }

    /// Returns a connection of a client that knows nothing of bytecache.
    pub(crate) fn foreign(&self) -> Foreign {
        Foreign::connect(&self.url())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}")
}

/// Returns a port that was free a moment ago. It lies below the ports that systems give to outgoing
/// connections: one of those could take the port of a server that is down.
pub(crate) fn free_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 10_000..32_768;
    let draw = || {
        let number = RandomState::new().hash_one(0) % u64::from(PORTS.end - PORTS.start);
        PORTS.start + u16::try_from(number).expect("it is below the number of ports")
    };
    retried(|| Some(draw()).filter(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
}

/// A port that refuses connections, and that no server can take.
pub(crate) struct ClosedPort {
    pub(crate) port: u16,
    _socket: TcpSocket,
}

impl ClosedPort {
    pub(crate) fn make() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket can be made");
        // Bound, but not listening.
        socket.bind(([127, 0, 0, 1], 0).into()).expect("a port is free");
        Self { port: socket.local_addr().expect("it is bound").port(), _socket: socket }
    }
}

/// Starts a server, and waits until it answers. Returns `None` if it ends before.
fn launch(program: &str, port: u16, options: &[String], folder: &Folder) -> Option<Child> {
    let mut command = Command::new(program);
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
    command.args(["--daemonize", "no"]).args(options);
    command.current_dir(&folder.0).stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null());
    let mut child = command.spawn().ok()?;
    let began = Instant::now();
    loop {
        if child.try_wait().ok()?.is_some() {
            return None;
        }
        let info = TcpStream::connect(("127.0.0.1", port)).ok().and_then(|_| {
            let limit = Duration::from_secs(1);
            let mut connection = redis::Client::open(url(port)).ok()?.get_connection_with_timeout(limit).ok()?;
            connection.set_read_timeout(Some(limit)).ok()?;
            redis::cmd("INFO").arg("server").query::<String>(&mut connection).ok()
        });
        // The server of another test may have the port. Then this one is about to end.
        let process = format!("process_id:{}", child.id());
        if info.is_some_and(|info| info.lines().any(|line| line == process)) {
            return Some(child);
        }
        assert!(began.elapsed() < LIMIT, "the server answers");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn retried<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(result) = attempt() {
            return result;
        }
        assert!(began.elapsed() < LIMIT, "it succeeds in time");
    }
}

/// A client that knows nothing of bytecache.
pub(crate) struct Foreign(redis::Connection);

impl Foreign {
    /// Connects to a server, with the name of a user and a password if the address has them.
    pub(crate) fn connect(url: &str) -> Self {
        let client = redis::Client::open(url).expect("the address is one");
        Self(client.get_connection().expect("the server runs"))
    }

    pub(crate) fn ask<T: FromRedisValue>(&mut self, parts: &[&str]) -> T {
        let mut command = redis::Cmd::new();
        command.arg(parts);
        command.query(&mut self.0).expect("the server answers")
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.ask::<String>(&["SET", key, value]);
    }

    pub(crate) fn get(&mut self, key: &str) -> Option<String> {
        self.ask(&["GET", key])
    }
}

/// Waits until a condition holds.
pub(crate) async fn until(fact: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "in time: {fact}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Returns a builder whose times are too long for a slow machine to exceed. A test of a timeout, or
/// of `max_staleness`, sets a shorter one.
pub(crate) fn patient(client: redis::Client) -> RemoteBuilder {
    Remote::builder(client).command_timeout(LIMIT).max_staleness(Duration::from_secs(60))
}

/// Returns a [`patient`] builder for a port.
pub(crate) fn remote(port: u16) -> RemoteBuilder {
    patient(redis::Client::open(url(port)).expect("the address is one"))
}

/// An instance with a cache and connections of its own, connected to a port.
pub(crate) async fn instance(port: u16) -> (Cache, Remote) {
    connected(remote(port)).await
}

pub(crate) async fn connected(builder: RemoteBuilder) -> (Cache, Remote) {
    let remote = builder.connect().expect("the options are valid");
    assert!(remote.wait_until_connected(LIMIT).await, "it connects");
    (Cache::new(4 << 20).expect("the options are valid"), remote)
}

/// Waits until the invalidations of a namespace arrive.
pub(crate) async fn tracked(tiered: Tiered) -> Tiered {
    until("the namespace is tracked", || tiered.is_tracked()).await;
    tiered
}

/// A store of one version for all keys, which counts loads.
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) version: Arc<AtomicU64>,
    pub(crate) loads: Arc<AtomicU64>,
}

impl Store {
    pub(crate) fn set(&self, version: u64) {
        self.version.store(version, Ordering::SeqCst);
    }

    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    /// Builds a namespace that loads from this store, and waits until it is tracked.
    pub(crate) async fn tiered(&self, builder: TieredBuilder) -> Tiered {
        tracked(self.untracked(builder)).await
    }

    /// Like [`tiered`](Self::tiered), with a jitter of reloads.
    pub(crate) async fn jittered(&self, builder: TieredBuilder, jitter: Duration) -> Tiered {
        tracked(self.build(builder.reload_jitter(jitter))).await
    }

    pub(crate) fn untracked(&self, builder: TieredBuilder) -> Tiered {
        self.build(builder.reload_jitter(Duration::ZERO))
    }

    fn build(&self, builder: TieredBuilder) -> Tiered {
        let store = self.clone();
        let load = move |_| {
            let store = store.clone();
            async move {
                store.loads.fetch_add(1, Ordering::SeqCst);
                let version = store.version.load(Ordering::SeqCst);
                Ok::<_, std::io::Error>((version > 0).then(|| version.to_string().into_bytes()))
            }
        };
        builder.build(load).expect("the options are valid")
    }
}

/// Returns a value as text.
pub(crate) async fn text(tiered: &Tiered, key: &str) -> Option<String> {
    let value = tiered.get(key).await.expect("it is loaded");
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

/// Reads a key until its value is `expected`. Until then, a read that did not return in time may
/// have been answered by the loader.
pub(crate) async fn until_read(tiered: &Tiered, key: &str, expected: &str) {
    let began = Instant::now();
    while text(tiered, key).await.as_deref() != Some(expected) {
        assert!(began.elapsed() < LIMIT, "in time: {expected} is read");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Reads a key until the local tier keeps its value.
pub(crate) async fn until_kept(tiered: &Tiered, key: &str, expected: &str) {
    let began = Instant::now();
    while !tiered.local().contains_key(key) {
        assert_eq!(text(tiered, key).await.as_deref(), Some(expected));
        assert!(began.elapsed() < LIMIT, "in time: {expected} is kept");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
