//! A cluster of three nodes: values of all nodes, nodes that fail, and keys that move.

pub(crate) mod servers;
mod takeover;

use bytecache_redis::{Error, Remote, RemoteBuilder, Tiered};

use crate::support::{Foreign, Server, Store, connected, remote, text, until};
use servers::{Cluster, id};

/// An instance of a cluster. Its store has version 1.
struct Instance {
    store: Store,
    remote: Remote,
    users: Tiered,
}

impl Instance {
    async fn of(cluster: &Cluster) -> Self {
        Self::start(remote(cluster.nodes[0].port)).await
    }

    async fn start(builder: RemoteBuilder) -> Self {
        let store = Store::default();
        store.set(1);
        let (cache, remote) = connected(builder.cluster()).await;
        let users = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
        Self { store, remote, users }
    }

    fn has_all(&self, keys: &[String]) -> bool {
        keys.iter().all(|key| self.users.local().contains_key(key))
    }

    fn has_none(&self, keys: &[String]) -> bool {
        keys.iter().all(|key| !self.users.local().contains_key(key))
    }
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|key| key.to_string()).collect()
}

/// Sets all keys, as a client that knows nothing of bytecache.
fn set_all(cluster: &Cluster, keys: &[String], value: &str) {
    keys.iter().for_each(|key| cluster.set(&format!("users:0:{key}"), value));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_all_nodes_are_coherent() {
    let Some(cluster) = Cluster::start().await else { return };
    let (first, second) = (Instance::of(&cluster).await, Instance::of(&cluster).await);
    let keys = keys(60);
    for instance in [&first, &second] {
        for value in instance.users.get_many(&keys).await {
            assert_eq!(value.expect("it is loaded").as_deref(), Some(&b"1"[..]));
        }
    }
    assert_eq!((first.store.loads(), second.store.loads()), (60, 0), "the second one finds the values in Redis");
    for node in &cluster.nodes {
        assert!(node.foreign().ask::<u64>(&["DBSIZE"]) > 0, "each node has some of the keys");
    }

    set_all(&cluster, &keys, "2");
    for instance in [&first, &second] {
        until("all changes have arrived", || instance.has_none(&keys)).await;
    }
    for key in &keys {
        assert_eq!(text(&first.users, key).await.as_deref(), Some("2"));
        first.users.insert(key, "3").await.expect("it is stored");
    }
    assert!(first.has_all(&keys), "an instance keeps what it inserts");
    until("all inserts have arrived", || second.has_none(&keys)).await;
    for key in &keys {
        assert_eq!(text(&second.users, key).await.as_deref(), Some("3"));
    }
    let verified = second.users.verify(usize::MAX).await.expect("all nodes answer");
    assert_eq!((verified.compared, verified.repaired), (60, 0));

    first.users.invalidate_all().await.expect("it is incremented");
    second.store.set(4);
    until("the generation has arrived", || second.users.stats().invalidations_of_all == 1).await;
    for value in second.users.get_many(&keys).await {
        assert_eq!(value.expect("it is loaded").as_deref(), Some(&b"4"[..]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loss_of_one_node_resets_the_local_tier() {
    let Some(mut cluster) = Cluster::start().await else { return };
    let Instance { store, remote, users } = Instance::of(&cluster).await;
    let keys = keys(30);
    users.get_many(&keys).await;
    // The node whose address the client has is as good as any other.
    cluster.nodes[0].kill();
    until("the loss is noticed", || !remote.is_connected()).await;
    store.set(2);
    cluster.nodes[0].restart();
    cluster.wait().await;
    until("it is connected again", || remote.is_connected() && users.is_tracked()).await;
    assert!(keys.iter().all(|key| !users.local().contains_key(key)));
    let values = users.get_many(&keys).await;
    let older = values.iter().filter(|value| value.as_ref().is_ok_and(|value| value.as_deref() == Some(b"1"))).count();
    assert!(older > 0, "the other nodes still have their values");
    assert!(older < keys.len(), "the node that was restarted is empty, so its keys were loaded");
}

/// A key, and its slot by `CLUSTER KEYSLOT`: it is that of the tag, and on the last node.
const TAGGED: (&str, &str) = ("{foo}", "12182");

/// An instance that knows the generation, which is on another node than the tagged key. The slot of
/// the key begins to move from the last node to the first one. Returns the instance, and a
/// connection to each node.
async fn instance_beside_a_move(cluster: &Cluster) -> (Instance, Vec<Foreign>) {
    let instance = Instance::of(cluster).await;
    assert_eq!(text(&instance.users, "known").await.as_deref(), Some("1"));
    let mut nodes: Vec<_> = cluster.nodes.iter().map(Server::foreign).collect();
    let [source, target] = [id(&mut nodes[2]), id(&mut nodes[0])];
    nodes[0].ask::<String>(&["CLUSTER", "SETSLOT", TAGGED.1, "IMPORTING", &source]);
    nodes[2].ask::<String>(&["CLUSTER", "SETSLOT", TAGGED.1, "MIGRATING", &target]);
    (instance, nodes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_that_has_moved_is_found_on_its_new_node() {
    let Some(cluster) = Cluster::start().await else { return };
    let (Instance { remote, users, .. }, mut nodes) = instance_beside_a_move(&cluster).await;
    let (key, slot) = TAGGED;
    let target = id(&mut nodes[0]);
    // The target first: it raises its epoch, so that no heartbeat takes the slot back.
    for node in [0, 2, 1] {
        nodes[node].ask::<String>(&["CLUSTER", "SETSLOT", slot, "NODE", &target]);
    }
    assert_eq!(text(&users, key).await.as_deref(), Some("1"));
    until("it knows the new node", || remote.stats().connections > 1 && users.is_tracked()).await;
    users.insert(key, "moved").await.expect("it is stored");
    assert_eq!(nodes[0].get("users:0:{foo}").as_deref(), Some("moved"));
    nodes[0].set("users:0:{foo}", "changed");
    until("the change has arrived", || !users.local().contains_key(key)).await;
    assert_eq!(text(&users, key).await.as_deref(), Some("changed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn key_that_is_being_moved_is_loaded_and_the_connection_stays() {
    let Some(cluster) = Cluster::start().await else { return };
    let (Instance { remote, users, .. }, mut nodes) = instance_beside_a_move(&cluster).await;
    let (key, slot) = TAGGED;
    assert_eq!(text(&users, key).await.as_deref(), Some("1"));
    let failed = users.insert(key, "new").await.expect_err("the slot is being moved");
    assert!(matches!(&failed, Error::Redis(error) if error.code() == Some("ASK")) && !failed.is_outcome_unknown());
    assert!(users.verify(10).await.is_ok() && remote.is_connected());
    assert_eq!(remote.stats().connections, 1);

    nodes[2].ask::<String>(&["CLUSTER", "SETSLOT", slot, "STABLE"]);
    users.insert(key, "new").await.expect("it is stored");
    assert_eq!(nodes[2].get("users:0:{foo}").as_deref(), Some("new"));
}
