//! Entries in Redis: their lifetimes, and the loads that store them.

use std::time::{Duration, Instant};

use bytecache_redis::{Error, Tiered};

use crate::support::{Server, Store, instance, text, tracked, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_of_a_key_that_a_foreign_client_has_deleted_waits_at_random() {
    let Some(server) = Server::start() else { return };
    let store = Store::default();
    store.set(1);
    let (cache, remote) = instance(server.port).await;
    let builder = Tiered::builder(&cache, &remote, "users");
    let users = store.jittered(builder, Duration::from_secs(1_000_000)).await;
    assert_eq!(text(&users, "hot").await.as_deref(), Some("1"));
    let misses = users.stats().redis_misses;
    server.foreign().ask::<u64>(&["DEL", "users:0:hot"]);
    until("the change has arrived", || users.stats().invalidations > 0).await;
    let reader = users.clone();
    tokio::spawn(async move { text(&reader, "hot").await });
    until("it is in no tier", || users.stats().redis_misses > misses).await;
    // A round trip is more time than a load needs that does not wait.
    users.insert("other", "Ada").await.expect("it is stored");
    assert_eq!(store.loads(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_that_blocks_its_thread_beyond_the_limit_has_failed() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let limit = Duration::from_millis(10);
    let load = move |_| async move {
        let began = Instant::now();
        while began.elapsed() <= limit {
            std::hint::spin_loop();
        }
        Ok::<_, std::io::Error>(Some(b"late".to_vec()))
    };
    let users = Tiered::builder(&cache, &remote, "users").load_limit(limit).build(load);
    let users = tracked(users.expect("the options are valid")).await;
    assert!(matches!(users.get("1").await, Err(Error::Load(_))));
    assert_eq!(server.foreign().get("users:0:1"), None);
    assert_eq!(users.stats().load_failures, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_entry_in_redis_has_an_expiry() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let store = Store::default();
    let users = store.tiered(Tiered::builder(&cache, &remote, "users").negative_ttl(Duration::from_secs(60))).await;
    users.insert("inserted", "a").await.expect("it is stored");
    assert_eq!(text(&users, "nothing").await, None);
    users.remove("removed").await.expect("it is removed");
    users.remove("replaced").await.expect("it is removed");
    store.set(1);
    for key in ["filled", "replaced"] {
        assert_eq!(text(&users, key).await.as_deref(), Some("1"));
    }
    users.invalidate_all().await.expect("it is incremented");
    let mut foreign = server.foreign();
    let mut keys: Vec<String> = foreign.ask(&["KEYS", "users:*"]);
    keys.sort();
    let expected = ["0:filled", "0:inserted", "0:nothing", "0:removed", "0:replaced", "generation"];
    assert_eq!(keys, expected.map(|key| format!("users:{key}")));
    for key in &keys {
        assert_eq!(foreign.ask::<i64>(&["PTTL", key]) > 0, key != "users:generation", "{key}");
    }
}
