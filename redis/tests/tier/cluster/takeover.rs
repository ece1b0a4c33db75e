//! Primaries of a cluster that end, or that are replaced: a replica takes over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytecache_redis::{Remote, Tiered};
use tokio::task::JoinSet;

use super::servers::{Cluster, id};
use super::{Instance, keys, set_all};
use crate::support::{LIMIT, Server, remote, text, until};

const MAX_STALENESS: Duration = Duration::from_secs(1);

async fn instance(cluster: &Cluster) -> Instance {
    Instance::start(remote(cluster.nodes[0].port).max_staleness(MAX_STALENESS)).await
}

fn is_connected_again(remote: &Remote) -> bool {
    remote.stats().connections > 1 && remote.is_connected()
}

/// Reads all keys until `is_over`. Returns the moment at which the last read began that found the
/// value 1.
async fn last_read_of_1(users: Tiered, keys: Vec<String>, is_over: Arc<AtomicBool>) -> Option<Instant> {
    let mut last = None;
    while !is_over.load(Ordering::SeqCst) {
        let began = Instant::now();
        for value in users.get_many(&keys).await {
            if value.expect("every read is served").as_deref() == Some(b"1") {
                last = Some(began);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_that_takes_over_is_found_and_no_older_value_outlives_the_bound() {
    let Some((mut cluster, replica)) = Cluster::start_with_replica().await else { return };
    let instances = [instance(&cluster).await, instance(&cluster).await];
    let keys = keys(30);
    for instance in &instances {
        instance.users.get_many(&keys).await;
    }
    let mut foreign = replica.foreign();
    let has_all = |size: u64| keys.len() as u64 > size && size > 0;
    until("the replica has the values of its primary", || {
        let of_primary: u64 = cluster.nodes[0].foreign().ask(&["DBSIZE"]);
        has_all(of_primary) && foreign.ask::<u64>(&["DBSIZE"]) == of_primary
    })
    .await;

    // Loads return 2 from now on: if an instance reads 1 after the takeover, it is from a tier.
    instances.iter().for_each(|instance| instance.store.set(2));
    let is_over = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for instance in &instances {
        readers.spawn(last_read_of_1(instance.users.clone(), keys.clone(), Arc::clone(&is_over)));
    }
    // The node whose address the client has: the instances know the others.
    drop(cluster.nodes.remove(0));
    until("the replica has taken over", || {
        foreign.ask::<String>(&["INFO", "replication"]).contains("role:master")
            && foreign.ask::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok")
    })
    .await;
    cluster.nodes.push(replica);
    cluster.wait().await;
    set_all(&cluster, &keys, "2");
    let changed = Instant::now();
    for Instance { remote, users, .. } in &instances {
        until("it is connected again", || is_connected_again(remote) && users.is_tracked()).await;
    }
    is_over.store(true, Ordering::SeqCst);
    while let Some(last) = readers.join_next().await {
        let last = last.expect("every read is served");
        assert!(last.is_none_or(|last| last <= changed + MAX_STALENESS), "{last:?}, {changed:?}");
    }

    are_coherent(&cluster, &instances, &keys).await;
}

/// Checks that instances keep values of all nodes, and get changes of them.
async fn are_coherent(cluster: &Cluster, instances: &[Instance], keys: &[String]) {
    let began = Instant::now();
    for instance in instances {
        while !instance.has_all(keys) {
            instance.users.get_many(keys).await;
            assert!(began.elapsed() < LIMIT, "values of all nodes are kept");
        }
    }
    instances.iter().for_each(|instance| instance.store.set(3));
    set_all(cluster, keys, "3");
    for instance in instances {
        until("the changes have arrived", || instance.has_none(keys)).await;
        for key in keys {
            assert_eq!(text(&instance.users, key).await.as_deref(), Some("3"));
        }
        let verified = instance.users.verify(usize::MAX).await.expect("all nodes answer");
        assert_eq!(verified.repaired, 0);
    }
}

/// Checks that an instance leaves the first primary without a read or a write, and gets changes
/// from the replica, which has taken over.
async fn follows(mut cluster: Cluster, replica: Server, instance: Instance) {
    let Instance { remote, users, .. } = &instance;
    until("it is connected to the new primary", || is_connected_again(remote) && users.is_tracked()).await;
    let _former = std::mem::replace(&mut cluster.nodes[0], replica);
    cluster.wait().await;
    are_coherent(&cluster, &[instance], &keys(30)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn primary_that_hands_over_to_its_replica_is_left() {
    let Some((cluster, replica)) = Cluster::start_with_replica().await else { return };
    let instance = instance(&cluster).await;
    replica.foreign().ask::<String>(&["CLUSTER", "FAILOVER"]);
    follows(cluster, replica, instance).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn primary_that_is_cut_off_and_replaced_is_left() {
    let Some((cluster, replica)) = Cluster::start_with_replica().await else { return };
    let instance = instance(&cluster).await;
    // It neither listens to the others nor tells of them, and refuses commands.
    let mut lone = cluster.nodes[0].foreign();
    for other in [&replica, &cluster.nodes[1], &cluster.nodes[2]] {
        lone.ask::<String>(&["CLUSTER", "FORGET", &id(&mut other.foreign())]);
    }
    replica.foreign().ask::<String>(&["CLUSTER", "FAILOVER", "TAKEOVER"]);
    follows(cluster, replica, instance).await;
}
