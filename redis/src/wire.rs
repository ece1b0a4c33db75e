//! [`Wire`]: the two connections of a session, and the commands that go over them.
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
//! invalidations of changes that the read can have shown.
//!
//! # Writes without an answer
//!
//! A write whose answer does not come may take effect later. Redis would not send its invalidation
//! to the connection that wrote it. So the session ends, and the next one is another client for
//! Redis.

use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind, cmd, pipe};
use tokio::sync::Notify;

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

/// The connections of a session. A clone is a handle of the same ones.
#[derive(Clone)]
pub(crate) struct Wire {
    pub(crate) tracked: MultiplexedConnection,
    pub(crate) reads: MultiplexedConnection,
    /// Notified when the session has to end.
    pub(crate) lost: Arc<Notify>,
}

impl Wire {
    /// Reads an entry.
    pub(crate) async fn read(&self, key: &[u8]) -> Result<Option<Entry>, Error> {
        let asked = Instant::now();
        let mut both = pipe();
        // The time left comes second: an entry that expires between the two has none left.
        both.cmd("GET").arg(key).cmd("PTTL").arg(key);
        let (bytes, millis): (Option<Vec<u8>>, i64) = traced("GET", both.query_async(&mut self.reads.clone())).await?;
        let left = match millis {
            -1 => None,
            millis => Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0))),
        };
        Ok(bytes.map(|bytes| Entry { stored: bytes.into(), left, asked }))
    }

    /// Reads many entries, without the times left to them.
    pub(crate) async fn read_many(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, Error> {
        let mut all = pipe();
        for key in keys {
            all.cmd("GET").arg(key);
        }
        Ok(traced("GET", all.query_async(&mut self.reads.clone())).await?)
    }

    /// Reads the number of a generation. An absent one is 0.
    pub(crate) async fn generation(&self, key: &str) -> Result<i64, Error> {
        let mut get = cmd("GET");
        let mut reads = self.reads.clone();
        let number: Option<Vec<u8>> = traced("GET", get.arg(key).query_async(&mut reads)).await?;
        match number {
            None => Ok(0),
            Some(digits) => {
                core::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()).ok_or(Error::BadGeneration)
            }
        }
    }

    /// Waits until all invalidations of changes that a former answer may have shown were applied.
    pub(crate) async fn fence(&self) -> Result<(), Error> {
        let ping = cmd("PING");
        Ok(traced("PING", ping.query_async(&mut self.tracked.clone())).await?)
    }

    /// Stores an entry, whatever was there.
    pub(crate) async fn store(&self, key: &[u8], bytes: &[u8], life: Duration) -> Result<(), Error> {
        self.write("SET", cmd("SET").arg(key).arg(bytes).arg("PX").arg(millis(life))).await
    }

    /// Stores an entry if there is none. Returns `true` if it was stored.
    pub(crate) async fn fill(&self, key: &[u8], bytes: &[u8], life: Duration) -> Result<bool, Error> {
        let stored: Option<String> =
            self.write("SET", cmd("SET").arg(key).arg(bytes).arg("NX").arg("PX").arg(millis(life))).await?;
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
        self.write("EVAL", cmd("EVAL").arg(REPLACE).arg(1).arg(key).arg(seen).arg(left).arg(bytes).arg(millis(life)))
            .await
    }

    /// Adds to the number of a generation, and returns the sum.
    pub(crate) async fn advance_generation(&self, key: &str, by: i64) -> Result<i64, Error> {
        let advanced = self.write("INCRBY", cmd("INCRBY").arg(key).arg(by)).await;
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

    /// Sends a write. Ends the session if the outcome is unknown, or if the server is a replica.
    async fn write<T: FromRedisValue>(&self, name: &'static str, command: &mut Cmd) -> Result<T, Error> {
        let result: Result<T, RedisError> = traced(name, command.query_async(&mut self.tracked.clone())).await;
        if let Err(error) = &result {
            let is_replica = error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly);
            if is_replica || error.is_timeout() || error.is_io_error() || error.is_unrecoverable_error() {
                self.lose();
            }
        }
        Ok(result?)
    }
}

/// Returns a lifetime in milliseconds. Redis refuses zero.
fn millis(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2)
}
