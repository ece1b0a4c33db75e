//! The task of a [`Remote`](crate::Remote): connects, tracks the namespaces, and sends pings, until
//! the connection is lost. Then it begins again.

use core::time::Duration;
use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Instant;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionAddr, PushInfo, PushKind, Value, cmd};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::chance;
use crate::cluster::Topology;
use crate::error::Error;
use crate::remote::Shared;
use crate::space::Space;
use crate::trace::event;
use crate::wire::{Node, Wire};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The number of pings in a row without an answer after which a connection of reads is given up.
/// They take 12 s by default. Long values may delay some, and the local tier is coherent meanwhile.
const MOST_UNANSWERED: u32 = 16;
/// The most nodes of a cluster that are remembered: those of earlier views, too.
const MOST_SEEDS: usize = 1_000;
/// The least time for a connection to be established, whatever the timeout of commands.
const LEAST_CONNECTING: Duration = Duration::from_secs(1);

/// Serves one session after the other. Never ends. The pauses between attempts, and between
/// sessions that end soon, grow. Each is followed by an attempt with the next seed.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    let mut seeds = vec![shared.client.clone()];
    // Attempts in a row that failed, and sessions that ended soon: each begins with another seed.
    let mut attempt = 0;
    loop {
        match Session::begin(&shared, &mut seeds, attempt).await {
            Ok(mut session) => {
                event("connected to Redis", "");
                let began = Instant::now();
                shared.open(session.wire.clone());
                session.serve(&shared).await;
                shared.close();
                event("lost the connection to Redis", "");
                if began.elapsed() > LONGEST_PAUSE.max(shared.options.max_staleness) {
                    (pause, attempt) = (FIRST_PAUSE, 0);
                } else {
                    attempt += 1;
                }
            }
            Err(error) => {
                let reason = error.reason();
                shared.count_failed_attempt(reason);
                event("an attempt to connect to Redis failed", reason);
                attempt += 1;
            }
        }
        sleep(pause + chance::below(pause / 2)).await;
        pause = LONGEST_PAUSE.min(pause * 2);
        // Reads do this themselves. Without reads, the memory of what is too old comes back so.
        shared.spaces().iter().for_each(|space| space.settle());
    }
}

/// Two connections for each node, and the namespaces whose invalidations arrive over them.
struct Session {
    wire: Wire,
    tracked: HashSet<String>,
}

impl Session {
    /// Connects, and tracks all namespaces. `seeds` are the nodes that tell of a cluster. Nodes
    /// that are known once stay seeds: one that is cut off from its cluster tells of itself only.
    async fn begin(shared: &Arc<Shared>, seeds: &mut Vec<Client>, attempt: usize) -> Result<Self, Error> {
        let lost = Arc::new(Notify::new());
        let (clients, topology) = match shared.options.is_cluster {
            true => {
                let (clients, topology) = discover(shared, seeds, attempt).await?;
                (clients, Some(topology))
            }
            false => (vec![shared.client.clone()], None),
        };
        let mut nodes = Vec::with_capacity(clients.len());
        for client in &clients {
            nodes.push(connect(shared, client, &lost).await?);
        }
        let is_cluster = topology.is_some();
        let mut session = Self { wire: Wire::new(nodes, topology, lost), tracked: HashSet::new() };
        session.wire.check_all().await?;
        session.track_all(shared).await?;
        if is_cluster {
            learn(seeds, clients);
        }
        Ok(session)
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
        let sent = Instant::now();
        // Redis refuses a prefix that it tracks already.
        if self.tracked.insert(space.name.clone()) {
            let mut tracking = Cmd::new();
            tracking.arg(&["CLIENT", "TRACKING", "ON", "BCAST", "NOLOOP", "PREFIX"]);
            tracking.arg(format!("{}:", space.name));
            for node in self.wire.nodes() {
                let _: Value = tracking.query_async(&mut node.tracked.clone()).await?;
            }
        } else {
            self.wire.fence_all().await?;
        }
        space.trust.attach(sent, || space.reset());
        Ok(())
    }

    /// Sends pings and tracks new namespaces, until the session is lost.
    async fn serve(&mut self, shared: &Shared) {
        let lost = Arc::clone(&self.wire.lost);
        tokio::select! {
            () = lost.notified() => {}
            () = reads_end(self.wire.clone(), shared.options.ping_interval()) => {}
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
            match timeout(options.ping_timeout(), self.wire.check_all()).await {
                Ok(Ok(())) => shared.spaces().iter().for_each(|space| _ = space.trust.extend(sent)),
                _ => return,
            }
        }
    }
}

/// Sends pings over the connections of reads, as a server may close one that is idle. Ends when one
/// of them is half-open.
async fn reads_end(wire: Wire, interval: Duration) {
    let mut all: JoinSet<()> = wire.nodes().iter().map(|node| end_of(node.reads.clone(), interval)).collect();
    let _ = all.join_next().await;
}

async fn end_of(mut reads: MultiplexedConnection, interval: Duration) {
    let mut unanswered = 0;
    while unanswered < MOST_UNANSWERED {
        sleep(interval).await;
        let answer = cmd("PING").query_async::<Value>(&mut reads).await.map_err(Error::from);
        unanswered = if answer.is_err_and(|error| error.is_outcome_unknown()) { unanswered + 1 } else { 0 };
    }
}

fn config(shared: &Shared) -> AsyncConnectionConfig {
    let command_timeout = shared.options.command_timeout;
    AsyncConnectionConfig::new()
        .set_response_timeout(Some(command_timeout))
        .set_connection_timeout(Some(command_timeout.max(LEAST_CONNECTING)))
}

/// Opens the two connections of a node.
async fn connect(shared: &Arc<Shared>, client: &Client, lost: &Arc<Notify>) -> Result<Node, Error> {
    let tracked = config(shared).set_push_sender(receiver(Arc::downgrade(shared), Arc::clone(lost)));
    let tracked = client.get_multiplexed_async_connection_with_config(&tracked).await?;
    let reads = config(shared).set_push_sender(receiver(Weak::new(), Arc::clone(lost)));
    let reads = client.get_multiplexed_async_connection_with_config(&reads).await?;
    Ok(Node { tracked, reads })
}

/// Puts the nodes of a cluster before the other seeds.
fn learn(seeds: &mut Vec<Client>, nodes: Vec<Client>) {
    let address = |client: &Client| client.get_connection_info().addr().to_string();
    seeds.retain(|seed| nodes.iter().all(|node| address(node) != address(seed)));
    seeds.splice(0..0, nodes);
    seeds.truncate(MOST_SEEDS);
}

/// Asks the first seed that answers for the primaries of its cluster. Each attempt begins with
/// another one.
async fn discover(shared: &Shared, seeds: &[Client], attempt: usize) -> Result<(Vec<Client>, Topology), Error> {
    for seed in seeds.iter().cycle().skip(attempt % seeds.len().max(1)).take(seeds.len()) {
        let Ok(mut connection) = seed.get_multiplexed_async_connection_with_config(&config(shared)).await else {
            continue;
        };
        let answer: Result<Value, _> = cmd("CLUSTER").arg("SLOTS").query_async(&mut connection).await;
        let Some(topology) = answer.ok().as_ref().and_then(Topology::parse) else { continue };
        let clients: Result<Vec<_>, _> =
            topology.nodes.iter().map(|(host, port)| client_of(seed, host.as_deref(), *port)).collect();
        return Ok((clients?, topology));
    }
    Err(Error::NotConnected)
}

/// Returns a client with the options of `seed`, and the address of another node.
fn client_of(seed: &Client, host: Option<&str>, port: u16) -> Result<Client, Error> {
    let info = seed.get_connection_info();
    let addr = match info.addr().clone() {
        ConnectionAddr::Tcp(own, _) => ConnectionAddr::Tcp(host.map_or(own, String::from), port),
        ConnectionAddr::TcpTls { host: own, insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: host.map_or(own, String::from), port, insecure, tls_params }
        }
        // A socket in the file system is of one server.
        _ => return Err(Error::NotConnected),
    };
    Ok(Client::open(info.clone().set_addr(addr))?)
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
    use super::*;
    use crate::format;

    #[test]
    fn nodes_of_earlier_views_stay_seeds() {
        let open = |port: u16| Client::open(format!("redis://127.0.0.1:{port}")).expect("the address is one");
        let ports = |seeds: &[Client]| -> Vec<String> {
            seeds.iter().map(|seed| seed.get_connection_info().addr().to_string()).collect()
        };
        let mut seeds = vec![open(1)];
        learn(&mut seeds, vec![open(2), open(1), open(3)]);
        learn(&mut seeds, vec![open(2)]);
        assert_eq!(ports(&seeds), ports(&[open(2), open(1), open(3)]));
    }

    #[test]
    fn prefix_covers_entries_and_generation() {
        let prefix = b"users:";
        assert!(format::entry_key("users", 3, b"key").starts_with(prefix));
        assert!(format::generation_key("users").as_bytes().starts_with(prefix));
    }
}
