//! The task of a [`Remote`](crate::Remote): connects, tracks the namespaces, and sends pings, until
//! the connection is lost. Then it begins again.

use core::time::Duration;
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Instant;

use redis::{AsyncConnectionConfig, Cmd, PushInfo, PushKind, Value, cmd};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::chance;
use crate::error::Error;
use crate::remote::Shared;
use crate::space::Space;
use crate::trace::event;
use crate::wire::Wire;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The least time for a connection to be established, whatever the timeout of commands.
const LEAST_CONNECTING: Duration = Duration::from_secs(1);

/// Serves one session after the other. Never ends.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match Session::begin(&shared).await {
            Ok(mut session) => {
                event("connected to Redis");
                pause = FIRST_PAUSE;
                shared.open(session.wire.clone());
                session.serve(&shared).await;
                shared.close();
                event("lost the connection to Redis");
            }
            Err(_) => {
                shared.count_failed_attempt();
                event("an attempt to connect to Redis failed");
            }
        }
        sleep(pause + chance::below(pause / 2)).await;
        pause = LONGEST_PAUSE.min(pause * 2);
        // Reads do this themselves. Without reads, the memory of what is too old comes back so.
        shared.spaces().iter().for_each(|space| space.settle());
    }
}

/// Two connections, and the namespaces whose invalidations arrive over them.
struct Session {
    wire: Wire,
    tracked: HashSet<String>,
}

impl Session {
    /// Connects, and tracks all namespaces.
    async fn begin(shared: &Arc<Shared>) -> Result<Self, Error> {
        let lost = Arc::new(Notify::new());
        let options = shared.options;
        let config = || {
            AsyncConnectionConfig::new()
                .set_response_timeout(Some(options.command_timeout))
                .set_connection_timeout(Some(options.command_timeout.max(LEAST_CONNECTING)))
        };
        let client = &shared.client;
        let tracked = config().set_push_sender(receiver(Arc::downgrade(shared), Arc::clone(&lost)));
        let tracked = client.get_multiplexed_async_connection_with_config(&tracked).await?;
        let reads = config().set_push_sender(receiver(Weak::new(), Arc::clone(&lost)));
        let reads = client.get_multiplexed_async_connection_with_config(&reads).await?;
        let mut session = Self { wire: Wire { tracked, reads, lost }, tracked: HashSet::new() };
        session.check_role().await?;
        session.track_all(shared).await?;
        Ok(session)
    }

    /// Refuses a replica: it may lag behind, and takes no writes. A server that does not tell is
    /// accepted.
    async fn check_role(&self) -> Result<(), Error> {
        let role: Result<Vec<Value>, _> = cmd("ROLE").query_async(&mut self.wire.tracked.clone()).await;
        match role {
            Err(error) if error.is_io_error() => Err(error.into()),
            Ok(role) if matches!(role.first(), Some(Value::BulkString(role)) if role != b"master") => {
                Err(Error::NotConnected)
            }
            _ => Ok(()),
        }
    }

    /// Tracks the namespaces that are not yet tracked, and those that were detached.
    async fn track_all(&mut self, shared: &Shared) -> Result<(), Error> {
        for space in shared.spaces() {
            if !(self.tracked.contains(&space.name) && space.trust.is_tracked()) {
                self.track(&space).await?;
            }
        }
        Ok(())
    }

    async fn track(&mut self, space: &Space) -> Result<(), Error> {
        let mut tracking = Cmd::new();
        // Redis refuses a prefix that it tracks already.
        if self.tracked.insert(space.name.clone()) {
            tracking.arg(&["CLIENT", "TRACKING", "ON", "BCAST", "NOLOOP", "PREFIX"]);
            tracking.arg(format!("{}:", space.name));
        } else {
            tracking.arg("PING");
        }
        let sent = Instant::now();
        let _: Value = tracking.query_async(&mut self.wire.tracked.clone()).await?;
        space.trust.attach(sent, || space.reset());
        Ok(())
    }

    /// Sends pings and tracks new namespaces, until the session is lost.
    async fn serve(&mut self, shared: &Shared) {
        let lost = Arc::clone(&self.wire.lost);
        tokio::select! {
            () = lost.notified() => {}
            () = self.ping_and_track(shared) => {}
        }
    }

    /// Ends when a ping is not answered in time, or when a namespace cannot be tracked.
    async fn ping_and_track(&mut self, shared: &Shared) {
        let options = shared.options;
        loop {
            tokio::select! {
                () = sleep(options.ping_interval()) => {}
                () = shared.registered.notified() => {}
            }
            if self.track_all(shared).await.is_err() {
                return;
            }
            let sent = Instant::now();
            match timeout(options.ping_timeout(), self.wire.fence()).await {
                Ok(Ok(())) => shared.spaces().iter().for_each(|space| _ = space.trust.extend(sent)),
                _ => return,
            }
            self.keep_reads_alive(shared);
        }
    }

    /// Sends a ping over the connection of reads, as a server may close one that is idle. Its end
    /// is noticed by the receiver.
    fn keep_reads_alive(&self, shared: &Shared) {
        let mut reads = self.wire.reads.clone();
        shared.handle.spawn(async move {
            let _: Result<Value, _> = cmd("PING").query_async(&mut reads).await;
        });
    }
}

/// Returns the function that gets the messages of a connection.
fn receiver(
    shared: Weak<Shared>,
    lost: Arc<Notify>,
) -> impl Fn(PushInfo) -> Result<(), redis::aio::SendError> + Send + Sync + 'static {
    move |message| {
        if message.kind == PushKind::Disconnection {
            lost.notify_one();
        } else if let Some(shared) = shared.upgrade() {
            shared.apply(&message);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::format;

    #[test]
    fn prefix_covers_entries_and_generation() {
        let prefix = b"users:";
        assert!(format::entry_key("users", 3, b"key").starts_with(prefix));
        assert!(format::generation_key("users").as_bytes().starts_with(prefix));
    }
}
