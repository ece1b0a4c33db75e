//! Connections that are half-open or that the server ends, and servers that change their role.

use std::time::{Duration, Instant};

use bytecache_redis::{Error, SetupError, Tiered};

use crate::proxy::{Proxy, READS};
use crate::support::{LIMIT, Server, Store, connected, instance, remote, text, until};

const MAX_STALENESS: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connection_of_reads_is_replaced() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.port).await;
    let builder = remote(proxy.port).max_staleness(MAX_STALENESS).command_timeout(Duration::from_millis(500));
    let (cache, remote) = connected(builder).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    server.foreign().set("users:0:1", "Ada");
    proxy.hold(READS);
    until("it is connected again", || remote.stats().connections > 1 && users.is_tracked()).await;
    let began = Instant::now();
    while text(&users, "1").await.as_deref() != Some("Ada") {
        assert!(began.elapsed() < LIMIT, "reads go on over the new connection");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_with_a_full_output_buffer_is_not_trusted() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    users.insert("1", "old").await.expect("it is stored");
    let mut foreign = server.foreign();
    foreign.ask::<String>(&["CONFIG", "SET", "client-output-buffer-limit", "normal 100kb 0 0"]);
    // The server does not send the invalidations of this command, and ends the connection.
    let long = format!("users:0:{}", "x".repeat(1 << 20));
    foreign.ask::<String>(&["MSET", &long, "", "users:0:1", "new"]);
    until("it is connected again", || remote.stats().connections > 1 && users.is_tracked()).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("new"));
    assert_eq!(users.stats().invalidations, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_that_becomes_a_replica_is_left_without_a_read_or_write() {
    let (Some(primary), Some(server)) = (Server::start(), Server::start()) else { return };
    let mut foreign = server.foreign();
    let (_, remote) = connected(remote(server.port).max_staleness(MAX_STALENESS)).await;
    foreign.ask::<String>(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    until("it connects no longer", || !remote.is_connected() && remote.stats().failed_attempts > 1).await;
    foreign.ask::<String>(&["REPLICAOF", "NO", "ONE"]);
    assert!(remote.wait_until_connected(LIMIT).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_without_an_answer_resets_the_local_tier_at_once() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.port).await;
    let builder = remote(proxy.port).max_staleness(Duration::from_secs(60)).command_timeout(Duration::from_millis(500));
    let (cache, remote) = connected(builder).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    for write in 0..3 {
        // The generation is known after this.
        users.insert("0", "Ada").await.expect("it is stored");
        users.local().insert("2", "Ada").expect("it is stored");
        proxy.set_down(true);
        proxy.hold_all(true);
        let failed = match write {
            0 => users.insert("1", "new").await,
            1 => users.remove("1").await,
            _ => users.invalidate_all().await,
        };
        assert!(matches!(failed, Err(Error::TimedOut)), "{failed:?}");
        assert!(!users.local().contains_key("2") && !users.is_tracked());
        proxy.hold_all(false);
        proxy.set_down(false);
        until("it is connected again", || users.is_tracked() && remote.is_connected()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_reply_to_a_read_is_an_answer() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let store = Store::default();
    store.set(1);
    let users = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    for number in 0..10 {
        let key = format!("hash {number}");
        server.foreign().ask::<u64>(&["HSET", &format!("users:0:{key}"), "a", "b"]);
        assert_eq!(text(&users, &key).await.as_deref(), Some("1"));
    }
    assert_eq!(users.stats().redis_failures, 10);
    assert!(!remote.stats().is_breaker_open);
}

#[tokio::test]
async fn timeout_of_zero_is_refused() {
    let refused = remote(1).command_timeout(Duration::ZERO).connect();
    assert!(matches!(refused, Err(SetupError::ZeroTimeout)));
}
