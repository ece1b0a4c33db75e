//! [`Cluster`]: servers that form a Redis Cluster.

use std::process::{Command, Stdio};

use crate::support::{Foreign, Server, client_is_there, client_program, free_port, until};

/// The primaries of a cluster. Each has a third of the slots.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    /// Starts three nodes. Returns `None` where there are no programs for it.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(Vec::new).await
    }

    /// Like [`start`](Self::start), with options for each node.
    pub(crate) async fn start_with(options: impl Fn() -> Vec<String>) -> Option<Self> {
        if !client_is_there() {
            eprintln!("no redis-cli or valkey-cli: left out");
            return None;
        }
        let mut nodes = vec![];
        for _ in 0..3 {
            nodes.push(start_node(&options)?);
        }
        let mut create = Command::new(client_program());
        create.args(["--cluster", "create"]);
        create.args(nodes.iter().map(|node| format!("127.0.0.1:{}@{}", node.port, bus(node))));
        let created = create.arg("--cluster-yes").stdin(Stdio::null()).output().expect("the program starts");
        assert!(created.status.success(), "the cluster is created: {}", String::from_utf8_lossy(&created.stdout));
        let cluster = Self { nodes };
        cluster.wait().await;
        Some(cluster)
    }

    /// Starts three nodes, and a replica of the first one. The replica takes over some seconds
    /// after the end of its primary.
    pub(crate) async fn start_with_replica() -> Option<(Self, Server)> {
        let options = || ["--cluster-node-timeout", "3000"].map(String::from).to_vec();
        let cluster = Self::start_with(options).await?;
        let replica = start_node(options)?;
        let (mut foreign, mut primary) = (replica.foreign(), cluster.nodes[0].foreign());
        let (port, bus) = (cluster.nodes[0].port.to_string(), bus(&cluster.nodes[0]));
        foreign.ask::<String>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        let primary = id(&mut primary);
        until("the replica knows its primary", || nodes_by(&mut foreign).contains(&primary)).await;
        foreign.ask::<String>(&["CLUSTER", "REPLICATE", &primary]);
        until("the replica follows", || {
            foreign.ask::<String>(&["INFO", "replication"]).contains("master_link_status:up")
        })
        .await;
        let mut others: Vec<_> = cluster.nodes.iter().map(Server::foreign).collect();
        until("all nodes know the replica", || others.iter_mut().all(|node| nodes_by(node).contains("slave"))).await;
        cluster.wait().await;
        Some((cluster, replica))
    }

    /// Waits until all nodes agree that the cluster works.
    pub(crate) async fn wait(&self) {
        let mut nodes: Vec<_> = self.nodes.iter().map(Server::foreign).collect();
        until("the cluster works", || {
            nodes.iter_mut().all(|node| node.ask::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
        })
        .await;
    }

    /// Sets a key, as a client that knows nothing of bytecache.
    pub(crate) fn set(&self, key: &str, value: &str) {
        let mut nodes: Vec<_> = self.nodes.iter().map(Server::foreign).collect();
        let slot: u16 = nodes[0].ask(&["CLUSTER", "KEYSLOT", key]);
        let node = nodes.iter_mut().find_map(|node| has_slot(node, slot).then_some(node));
        node.expect("a node has the slot").set(key, value);
    }
}

fn start_node(options: impl Fn() -> Vec<String>) -> Option<Server> {
    Server::start_with(|_| {
        // The port for the other nodes is that of the server and 10,000 by default: too high.
        let own = ["--cluster-enabled", "yes", "--cluster-port", &free_port().to_string()].map(String::from);
        own.into_iter().chain(options()).collect()
    })
}

/// Returns the port of a node for the other nodes.
fn bus(node: &Server) -> String {
    node.option("cluster-port")
}

pub(crate) fn id(node: &mut Foreign) -> String {
    node.ask(&["CLUSTER", "MYID"])
}

/// Returns what a node says of all nodes, one in a line.
fn nodes_by(node: &mut Foreign) -> String {
    node.ask(&["CLUSTER", "NODES"])
}

fn has_slot(node: &mut Foreign, slot: u16) -> bool {
    let all = nodes_by(node);
    let myself = all.lines().find(|line| line.contains("myself")).expect("a node knows itself");
    myself.split(' ').skip(8).any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().is_ok_and(|first: u16| first <= slot) && last.parse().is_ok_and(|last: u16| slot <= last)
    })
}
