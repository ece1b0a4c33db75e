//! A cluster of three nodes: values of all nodes, nodes that fail, and keys that move.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytecache::Cache;
use bytecache_redis::{Error, Remote, Tiered};

use crate::support::{Foreign, LIMIT, Server, Store, client_is_there, client_program, connected, remote, text, until};

/// The servers of a cluster.
struct Cluster {
    nodes: Vec<Server>,
}

impl Cluster {
    /// Starts three nodes. Returns `None` where there are no programs for it.
    fn start() -> Option<Self> {
        if !client_is_there() {
            eprintln!("no redis-cli or valkey-cli: left out");
            return None;
        }
        // The port for the other nodes is that of the server and 10,000 by default: too high.
        let options = |_| {
            let bus = crate::support::free_port().to_string();
            ["--cluster-enabled", "yes", "--cluster-port", &bus].map(String::from).to_vec()
        };
        let mut nodes = vec![];
        for _ in 0..3 {
            nodes.push(Server::start_with(options)?);
        }
        let cluster = Self { nodes };
        let mut create = Command::new(client_program());
        let address = |node: &Server| {
            let bus: Vec<String> = node.foreign().ask(&["CONFIG", "GET", "cluster-port"]);
            format!("127.0.0.1:{}@{}", node.port, bus[1])
        };
        create.args(["--cluster", "create"]).args(cluster.nodes.iter().map(address));
        let created = create.arg("--cluster-yes").stdin(Stdio::null()).output().expect("the program starts");
        assert!(created.status.success(), "the cluster is created: {}", String::from_utf8_lossy(&created.stdout));
        cluster.wait();
        Some(cluster)
    }

    /// Waits until all nodes agree that the cluster works.
    fn wait(&self) {
        let began = Instant::now();
        let is_ok = |node: &Server| node.foreign().ask::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        while !self.nodes.iter().all(is_ok) {
            assert!(began.elapsed() < LIMIT, "the cluster works");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    async fn instance(&self) -> (Cache, Remote) {
        connected(remote(self.nodes[0].port).cluster().max_staleness(Duration::from_secs(60))).await
    }

    /// Asks the node that has a key, as a client that knows nothing of bytecache.
    fn ask(&self, key: &str, command: &[&str]) -> Option<String> {
        let slot: String = self.nodes[0].foreign().ask::<u16>(&["CLUSTER", "KEYSLOT", key]).to_string();
        let has_slot = |node: &&Server| {
            let mine = node.foreign().ask::<String>(&["CLUSTER", "NODES"]);
            let myself = mine.lines().find(|line| line.contains("myself")).expect("a node knows itself");
            let slot: u16 = slot.parse().expect("it is a number");
            myself.split(' ').skip(8).any(|range| {
                let (first, last) = range.split_once('-').unwrap_or((range, range));
                first.parse().is_ok_and(|first: u16| first <= slot) && last.parse().is_ok_and(|last: u16| slot <= last)
            })
        };
        self.nodes.iter().find(has_slot).expect("a node has the slot").foreign().ask(command)
    }
}

fn id(foreign: &mut Foreign) -> String {
    foreign.ask(&["CLUSTER", "MYID"])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_all_nodes_are_coherent() {
    let Some(cluster) = Cluster::start() else { return };
    let store = Store::default();
    store.set(1);
    let ((cache, remote), (other_cache, other_remote)) = (cluster.instance().await, cluster.instance().await);
    let first = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    let second = store.tiered(Tiered::builder(&other_cache, &other_remote, "users")).await;
    let keys: Vec<String> = (0..60).map(|key| key.to_string()).collect();
    for tiered in [&first, &second] {
        for value in tiered.get_many(&keys).await {
            assert_eq!(value.expect("it is loaded").as_deref(), Some(&b"1"[..]));
        }
    }
    assert_eq!(store.loads(), 60, "the second instance finds the values in Redis");
    for node in &cluster.nodes {
        assert!(node.foreign().ask::<u64>(&["DBSIZE"]) > 0, "each node has some of the keys");
    }

    for key in &keys {
        let name = format!("users:0:{key}");
        cluster.ask(&name, &["SET", &name, "2"]);
    }
    for tiered in [&first, &second] {
        until("all changes have arrived", || keys.iter().all(|key| !tiered.local().contains_key(key))).await;
    }
    for key in &keys {
        assert_eq!(text(&first, key).await.as_deref(), Some("2"));
        first.insert(key, "3").await.expect("it is stored");
    }
    assert!(keys.iter().all(|key| first.local().contains_key(key)), "an instance keeps what it inserts");
    until("all inserts have arrived", || keys.iter().all(|key| !second.local().contains_key(key))).await;
    for key in &keys {
        assert_eq!(text(&second, key).await.as_deref(), Some("3"));
    }
    let verified = second.verify(usize::MAX).await.expect("all nodes answer");
    assert_eq!((verified.compared, verified.repaired), (60, 0));

    first.invalidate_all().await.expect("it is incremented");
    store.set(4);
    until("the generation has arrived", || second.stats().invalidations_of_all == 1).await;
    for value in second.get_many(&keys).await {
        assert_eq!(value.expect("it is loaded").as_deref(), Some(&b"4"[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loss_of_one_node_resets_the_local_tier() {
    let Some(mut cluster) = Cluster::start() else { return };
    let store = Store::default();
    store.set(1);
    let (cache, remote) = cluster.instance().await;
    let users = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    let keys: Vec<String> = (0..30).map(|key| key.to_string()).collect();
    users.get_many(&keys).await;
    // The node whose address the client has is as good as any other.
    cluster.nodes[0].kill();
    until("the loss is noticed", || !remote.is_connected()).await;
    store.set(2);
    cluster.nodes[0].restart();
    cluster.wait();
    until("it is connected again", || remote.is_connected() && users.is_tracked()).await;
    assert!(keys.iter().all(|key| !users.local().contains_key(key)));
    let values = users.get_many(&keys).await;
    let older = values.iter().filter(|value| value.as_ref().is_ok_and(|value| value.as_deref() == Some(b"1"))).count();
    assert!(older > 0, "the other nodes still have their values");
    assert!(older < keys.len(), "the node that was restarted is empty, so its keys were loaded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_that_has_moved_is_found_on_its_new_node() {
    let Some(cluster) = Cluster::start() else { return };
    let store = Store::default();
    store.set(1);
    let (cache, remote) = cluster.instance().await;
    let users = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    // Learns the generation, which is on another node.
    assert_eq!(text(&users, "known").await.as_deref(), Some("1"));
    let mut nodes: Vec<Foreign> = cluster.nodes.iter().map(Server::foreign).collect();
    // By `CLUSTER KEYSLOT`: the slot is that of the tag, and on the last node.
    let key = "{foo}";
    let slot: u16 = nodes[0].ask(&["CLUSTER", "KEYSLOT", key]);
    assert_eq!(slot, 12_182);
    let target = id(&mut nodes[0]);
    for node in &mut nodes {
        node.ask::<String>(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &target]);
    }
    assert_eq!(text(&users, key).await.as_deref(), Some("1"));
    until("it knows the new node", || remote.stats().connections == 2 && users.is_tracked()).await;
    users.insert(key, "moved").await.expect("it is stored");
    assert_eq!(nodes[0].get("users:0:{foo}").as_deref(), Some("moved"));
    nodes[0].set("users:0:{foo}", "changed");
    until("the change has arrived", || !users.local().contains_key(key)).await;
    assert_eq!(text(&users, key).await.as_deref(), Some("changed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_that_is_being_moved_is_loaded_and_the_connection_stays() {
    let Some(cluster) = Cluster::start() else { return };
    let store = Store::default();
    store.set(1);
    let (cache, remote) = cluster.instance().await;
    let users = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    assert_eq!(text(&users, "known").await.as_deref(), Some("1"));
    // The slot of the tag is on the last node.
    let (key, slot) = ("{foo}", "12182");
    let (mut target, mut source) = (cluster.nodes[0].foreign(), cluster.nodes[2].foreign());
    target.ask::<String>(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &id(&mut source)]);
    source.ask::<String>(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &id(&mut target)]);
    assert_eq!(text(&users, key).await.as_deref(), Some("1"));
    let failed = users.insert(key, "new").await.expect_err("the slot is being moved");
    assert!(matches!(&failed, Error::Redis(error) if error.code() == Some("ASK")) && !failed.is_outcome_unknown());
    assert!(users.verify(10).await.is_ok() && remote.is_connected());
    assert_eq!(remote.stats().connections, 1);

    source.ask::<String>(&["CLUSTER", "SETSLOT", slot, "STABLE"]);
    users.insert(key, "new").await.expect("it is stored");
    assert_eq!(source.get("users:0:{foo}").as_deref(), Some("new"));
}
