//! [`Wire`]: the connections of a session, and the commands that go over them. There are two for
//! each node: one server, or each primary of a cluster.
//!
//! | connection | carries |
//! |---|---|
//! | tracked | invalidations, writes, pings, fences |
//! | reads | `GET` and `PTTL`, whose answers may be long |
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
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, cmd, pipe};
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
        let mut reads = self.node(key.as_bytes())?.reads.clone();
        let number: Option<Vec<u8>> = self.ask(get.arg(key).query_async(&mut reads)).await?;
        match number {
            None => Ok(0),
            Some(digits) => {
                core::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Error::BadGeneration)
            }
        }
    }

    /// Waits until all invalidations were applied of changes that a former answer of a key's node
    /// may have shown.
    pub(crate) async fn fence(&self, key: &[u8]) -> Result<(), Error> {
        self.node(key)?.fence().await
    }

    /// Like [`fence`](Self::fence), for all nodes at the same time.
    pub(crate) async fn fence_all(&self) -> Result<(), Error> {
        if let [node] = &*self.nodes {
            return node.fence().await;
        }
        let mut fences = JoinSet::new();
        for node in self.nodes() {
            let node = node.clone();
            fences.spawn(async move { node.fence().await });
        }
        while let Some(fence) = fences.join_next().await {
            fence.unwrap_or(Err(Error::NoRuntime))?;
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

    /// Ends the session.
    pub(crate) fn lose(&self) {
        self.lost.notify_one();
    }

    /// Waits for the answer of a read. Ends the session if the key has moved to another node.
    async fn ask<T>(&self, read: impl Future<Output = Result<T, RedisError>>) -> Result<T, Error> {
        let result = traced("GET", read).await;
        if result.as_ref().is_err_and(has_moved) {
            self.lose();
        }
        Ok(result?)
    }

    /// Sends a write. Ends the session if the outcome is unknown, if the server is a replica, or if
    /// the key has moved to another node.
    async fn write<T: FromRedisValue>(&self, name: &'static str, key: &[u8], command: &mut Cmd) -> Result<T, Error> {
        let mut tracked = self.node(key)?.tracked.clone();
        let result: Result<T, RedisError> = traced(name, command.query_async(&mut tracked)).await;
        if let Err(error) = &result {
            let is_replica = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
            if is_replica
                || has_moved(error)
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
    /// Waits until all invalidations of changes that a former answer may have shown were applied.
    async fn fence(&self) -> Result<(), Error> {
        let ping = cmd("PING");
        Ok(traced("PING", ping.query_async(&mut self.tracked.clone())).await?)
    }
}

fn has_moved(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::Moved)
}

/// Returns a lifetime in milliseconds. Redis refuses zero.
fn millis(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}
