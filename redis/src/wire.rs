//! [`Wire`]: the connections of a session, and the commands that go over them. There are two for
//! each node: one server, or each primary of a cluster.
//!
//! | connection | carries |
//! |---|---|
//! | tracked | invalidations, writes, numbers of generations, pings, fences |
//! | reads | `GET` and `PTTL` of entries, whose answers may be long |
//!
//! Writes go over the tracked connection, with `NOLOOP`: so Redis sends an instance the changes of
//! all others, and not its own.
//!
//! # Fences
//!
//! Redis sends the invalidations of a change at the end of the cycle in which it executes the
//! change. A read that shows the change may be answered before. A *fence* is a ping over the
//! tracked connection that is sent after the answer of a read. Its own answer comes after all
//! invalidations of changes that the read can have shown. In a cluster it covers the changes of the
//! node that was read.
//!
//! # Checks
//!
//! A primary that has been replaced still answers pings, but changes go to another node. So the
//! regular pings of a session are questions for the role of each node, and for the state of the
//! cluster as the node sees it.
//!
//! # Writes without an answer
//!
//! A write whose answer does not come may take effect later. Redis would not send its invalidation
//! to the connection that wrote it. So the session ends, and the next one is another client for
//! Redis.

use core::future::Future;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, Value, cmd, pipe};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::cluster::Topology;
use crate::error::Error;
use crate::format::Stored;
use crate::trace::traced;

/// Replaces an entry by another one if it still is the one that was seen: it has the same bytes,
/// and no more time left than then.
const REPLACE: &str = "\
local left = redis.call('PTTL', KEYS[1]) \
if left >= 0 and left <= tonumber(ARGV[2]) and redis.call('GET', KEYS[1]) == ARGV[1] then \
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4]) return 1 end return 0";

/// An entry that was read, and the time left to it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) stored: Stored,
    /// `None` if the entry does not expire.
    pub(crate) left: Option<Duration>,
    /// The moment before the command was sent.
    pub(crate) asked: Instant,
}

/// The two connections of a node.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) tracked: MultiplexedConnection,
    pub(crate) reads: MultiplexedConnection,
}

/// The connections of a session. A clone is a handle of the same ones.
#[derive(Clone)]
pub(crate) struct Wire {
    /// At least one.
    nodes: Arc<[Node]>,
    /// `None` if there is one server.
    topology: Option<Arc<Topology>>,
    /// Notified when the session has to end.
    pub(crate) lost: Arc<Notify>,
}

impl Wire {
    pub(crate) fn new(nodes: Vec<Node>, topology: Option<Topology>, lost: Arc<Notify>) -> Self {
        Self { nodes: nodes.into(), topology: topology.map(Arc::new), lost }
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Returns the index of the node that has a key.
    fn place(&self, key: &[u8]) -> Result<usize, Error> {
        match &self.topology {
            None => Ok(0),
            Some(topology) => topology.node(key).ok_or(Error::NotConnected),
        }
    }

    fn node(&self, key: &[u8]) -> Result<&Node, Error> {
        self.nodes.get(self.place(key)?).ok_or(Error::NotConnected)
    }

    /// Reads an entry.
    pub(crate) async fn read(&self, key: &[u8]) -> Result<Option<Entry>, Error> {
        let asked = Instant::now();
        let mut both = pipe();
        // The time left comes second: an entry that expires between the two has none left.
        both.cmd("GET").arg(key).cmd("PTTL").arg(key);
        let (bytes, millis): (Option<Vec<u8>>, i64) =
            self.ask(both.query_async(&mut self.node(key)?.reads.clone())).await?;
        let left = match millis {
            -1 => None,
            millis => Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0))),
        };
        Ok(bytes.map(|bytes| Entry { stored: bytes.into(), left, asked }))
    }

    /// Reads many entries, without the times left to them: by one pipeline for each node.
    pub(crate) async fn read_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let places = keys.iter().map(|key| self.place(key)).collect::<Result<Vec<_>, _>>()?;
        let mut values = vec![None; keys.len()];
        for (number, node) in self.nodes.iter().enumerate() {
            let own: Vec<_> = (0..keys.len()).filter(|&index| places[index] == number).collect();
            if own.is_empty() {
                continue;
            }
            let mut all = pipe();
            for &index in &own {
                all.cmd("GET").arg(&keys[index]);
            }
            let read: Vec<Option<Vec<u8>>> = self.ask(all.query_async(&mut node.reads.clone())).await?;
            for (index, value) in own.into_iter().zip(read) {
                values[index] = value;
            }
        }
        Ok(values)
    }

    /// Reads the number of a generation. An absent one is 0.
    pub(crate) async fn generation(&self, key: &str) -> Result<i64, Error> {
        let mut get = cmd("GET");
        let mut tracked = self.node(key.as_bytes())?.tracked.clone();
        let number: Option<Vec<u8>> = self.ask(get.arg(key).query_async(&mut tracked)).await?;
        match number {
            None => Ok(0),
            Some(digits) => {
                core::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Error::BadGeneration)
            }
        }
    }

    /// Waits until this instance has applied the invalidation of every change that an earlier
    /// answer of a key's node can have shown.
    pub(crate) async fn fence(&self, key: &[u8]) -> Result<(), Error> {
        self.node(key)?.fence().await
    }

    /// Like [`fence`](Self::fence), for all nodes at the same time.
    pub(crate) async fn fence_all(&self) -> Result<(), Error> {
        self.ask_all(|node| async move { node.fence().await }).await
    }

    /// Like [`fence_all`](Self::fence_all). Fails if a node is no primary, or refuses commands.
    pub(crate) async fn check_all(&self) -> Result<(), Error> {
        let is_cluster = self.topology.is_some();
        self.ask_all(|node| async move { node.check(is_cluster).await }).await
    }

    /// Asks all nodes at the same time.
    async fn ask_all<T>(&self, ask: impl Fn(Node) -> T) -> Result<(), Error>
    where
        T: Future<Output = Result<(), Error>> + Send + 'static,
    {
        if let [node] = &*self.nodes {
            return ask(node.clone()).await;
        }
        let mut answers: JoinSet<_> = self.nodes.iter().cloned().map(ask).collect();
        while let Some(answer) = answers.join_next().await {
            answer.unwrap_or(Err(Error::NoRuntime))?;
        }
        Ok(())
    }

    /// Stores an entry, whatever was there.
    pub(crate) async fn store(&self, key: &[u8], bytes: &[u8], life: Duration) -> Result<(), Error> {
        self.write("SET", key, cmd("SET").arg(key).arg(bytes).arg("PX").arg(millis(life))).await
    }

    /// Stores an entry if there is none. Returns `true` if it was stored.
    pub(crate) async fn fill(&self, key: &[u8], bytes: &[u8], life: Duration) -> Result<bool, Error> {
        let stored: Option<String> =
            self.write("SET", key, cmd("SET").arg(key).arg(bytes).arg("NX").arg("PX").arg(millis(life))).await?;
        Ok(stored.is_some())
    }

    /// Replaces the entry that was seen, if it still is there. Returns `true` if it was replaced.
    pub(crate) async fn replace(
        &self,
        key: &[u8],
        (seen, left): (&[u8], Duration),
        bytes: &[u8],
        life: Duration,
    ) -> Result<bool, Error> {
        let left = millis(left);
        let mut replace = cmd("EVAL");
        replace.arg(REPLACE).arg(1).arg(key).arg(seen).arg(left).arg(bytes).arg(millis(life));
        self.write("EVAL", key, &mut replace).await
    }

    /// Adds to the number of a generation, and returns the sum.
    pub(crate) async fn advance_generation(&self, key: &str, by: i64) -> Result<i64, Error> {
        let advanced = self.write("INCRBY", key.as_bytes(), cmd("INCRBY").arg(key).arg(by)).await;
        advanced.map_err(|error| match error {
            Error::Redis(error) if error.kind() == ErrorKind::Server(ServerErrorKind::ResponseError) => {
                Error::BadGeneration
            }
            error => error,
        })
    }

    /// Returns `true` if these are the connections of the same session.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.nodes, &other.nodes)
    }

    /// Ends the session.
    pub(crate) fn lose(&self) {
        self.lost.notify_one();
    }

    /// Waits for the answer of a read. Ends the session if the node no longer serves the key.
    async fn ask<T>(&self, read: impl Future<Output = Result<T, RedisError>>) -> Result<T, Error> {
        let result = traced("GET", read).await;
        if result.as_ref().is_err_and(does_not_serve) {
            self.lose();
        }
        Ok(result?)
    }

    /// Sends a write. Ends the session if the outcome is unknown, if the server is a replica, or if
    /// it no longer serves the key.
    async fn write<T: FromRedisValue>(&self, name: &'static str, key: &[u8], command: &mut Cmd) -> Result<T, Error> {
        let mut tracked = self.node(key)?.tracked.clone();
        let result: Result<T, RedisError> = traced(name, command.query_async(&mut tracked)).await;
        if let Err(error) = &result {
            let is_replica = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
            if is_replica
                || does_not_serve(error)
                || error.is_timeout()
                || error.is_io_error()
                || error.is_unrecoverable_error()
            {
                self.lose();
            }
        }
        Ok(result?)
    }
}

impl Node {
    /// Waits until this instance has applied the invalidation of every change that an earlier
    /// answer of this node can have shown.
    async fn fence(&self) -> Result<(), Error> {
        let ping = cmd("PING");
        Ok(traced("PING", ping.query_async(&mut self.tracked.clone())).await?)
    }

    /// Like [`fence`](Self::fence). Fails if the node is a replica, which may lag behind and takes
    /// no writes, or if it refuses commands, as one does that is cut off from its cluster. A server
    /// that does not tell is accepted.
    async fn check(&self, is_cluster: bool) -> Result<(), Error> {
        let role_of = cmd("ROLE");
        let state = async {
            match is_cluster {
                true => self.told::<String>("CLUSTER", cmd("CLUSTER").arg("INFO")).await,
                false => Ok(None),
            }
        };
        // Both are sent at once.
        let (role, state) = tokio::join!(self.told::<Vec<Value>>("ROLE", &role_of), state);
        let is_replica =
            role?.is_some_and(|role| matches!(role.first(), Some(Value::BulkString(role)) if role != b"master"));
        let refuses = state?.is_some_and(|state| !state.contains("cluster_state:ok"));
        if is_replica || refuses { Err(Error::NotConnected) } else { Ok(()) }
    }

    /// Asks a question over the tracked connection. Returns `None` if the server answers with an
    /// error.
    async fn told<T: FromRedisValue>(&self, name: &'static str, question: &Cmd) -> Result<Option<T>, Error> {
        match traced(name, question.query_async(&mut self.tracked.clone())).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => match Error::from(error) {
                error if error.is_outcome_unknown() => Err(error),
                _ => Ok(None),
            },
        }
    }
}

/// Returns `true` if the key has moved to another node, or if the node sees no working cluster.
fn does_not_serve(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::ClusterDown))
}

/// Returns a lifetime in milliseconds. Redis refuses zero.
fn millis(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}
