//! Servers that stop, restart or are out of memory, and connections that break.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytecache::Cache;
use bytecache_redis::{Error, Remote, SetupError, Tiered};

use crate::proxy::{Proxy, READS};
use crate::support::{
    ClosedPort, LIMIT, Server, Store, connected, instance, remote, text, until, until_kept, until_read,
};

const MAX_STALENESS: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_go_on_without_a_server() {
    let closed = ClosedPort::make();
    let remote = remote(closed.port).connect().expect("the options are valid");
    let cache = Cache::new(1 << 20).expect("the options are valid");
    let store = Store::default();
    store.set(5);
    let users = store.untracked(Tiered::builder(&cache, &remote, "users"));
    assert_eq!(text(&users, "1").await.as_deref(), Some("5"));
    assert_eq!(text(&users, "1").await.as_deref(), Some("5"));
    assert_eq!(store.loads(), 1);
    assert!(matches!(users.invalidate_all().await, Err(Error::NotConnected)));
    assert!(!users.local().contains_key("1"));
    assert!(matches!(users.insert("1", "x").await, Err(Error::NotConnected)));
    assert!(matches!(users.remove("1").await, Err(Error::NotConnected)));
    assert_eq!(text(&users, "1").await.as_deref(), Some("5"));
    assert_eq!(store.loads(), 2);
    until("attempts to connect have failed", || remote.stats().failed_attempts > 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn value_that_was_loaded_without_a_server_leaves() {
    let closed = ClosedPort::make();
    let remote = remote(closed.port).max_staleness(MAX_STALENESS).connect().expect("the options are valid");
    let cache = Cache::new(1 << 20).expect("the options are valid");
    let store = Store::default();
    store.set(5);
    let users = store.untracked(Tiered::builder(&cache, &remote, "users"));
    assert_eq!(text(&users, "1").await.as_deref(), Some("5"));
    store.set(6);
    until_read(&users, "1", "6").await;
}

/// Reads until the value is that of the store, and returns whether older ones ended in time.
async fn reads_newer_in_time(users: &Tiered, changed: Instant) -> bool {
    let mut is_in_time = true;
    loop {
        let began = Instant::now();
        if text(users, "1").await.as_deref() == Some("new") {
            return is_in_time;
        }
        is_in_time &= began.duration_since(changed) <= MAX_STALENESS;
        assert!(changed.elapsed() < LIMIT, "the newer value is read");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Cuts an instance off in one way, changes a value, and checks that it is served for no longer
/// than `MAX_STALENESS`.
async fn staleness_is_bounded(cut: impl Fn(&Proxy)) {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.port).await;
    server.foreign().set("users:0:1", "old");
    let builder = remote(proxy.port).max_staleness(MAX_STALENESS).command_timeout(Duration::from_millis(500));
    let (cache, remote) = connected(builder).await;
    let builder = Tiered::builder(&cache, &remote, "users").reload_jitter(Duration::ZERO);
    let is_new = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load = {
        let is_new = std::sync::Arc::clone(&is_new);
        move |_| {
            let value = if is_new.load(Ordering::SeqCst) { "new" } else { "old" };
            async move { Ok::<_, std::io::Error>(Some(value.as_bytes().to_vec())) }
        }
    };
    let users = crate::support::tracked(builder.build(load).expect("the options are valid")).await;
    until_kept(&users, "1", "old").await;

    cut(&proxy);
    is_new.store(true, Ordering::SeqCst);
    server.foreign().set("users:0:1", "new");
    assert!(reads_newer_in_time(&users, Instant::now()).await);

    proxy.silence(false);
    proxy.set_down(false);
    proxy.delay(Duration::ZERO);
    until("it is tracked again", || users.is_tracked()).await;
    until_kept(&users, "1", "new").await;
    server.foreign().set("users:0:1", "newer");
    until("invalidations arrive again", || !users.local().contains_key("1")).await;
    until_read(&users, "1", "newer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staleness_is_bounded_when_connections_are_cut() {
    staleness_is_bounded(|proxy| {
        proxy.set_down(true);
        proxy.cut();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staleness_is_bounded_when_nothing_is_passed_on() {
    staleness_is_bounded(|proxy| proxy.silence(true)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staleness_is_bounded_when_replies_end() {
    staleness_is_bounded(Proxy::half_cut).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staleness_is_bounded_when_replies_are_delayed() {
    staleness_is_bounded(|proxy| proxy.delay(Duration::from_secs(2))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_that_comes_back_in_time_resets_the_local_tier_all_the_same() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.port).await;
    let (cache, remote) = instance(proxy.port).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    users.insert("1", "old").await.expect("it is stored");
    proxy.set_down(true);
    proxy.cut();
    until("the loss is noticed", || !remote.is_connected()).await;
    // Local entries are served meanwhile: max_staleness is long here.
    assert_eq!(text(&users, "1").await.as_deref(), Some("old"));
    server.foreign().set("users:0:1", "new");
    proxy.set_down(false);
    assert!(remote.wait_until_connected(LIMIT).await);
    assert_eq!(text(&users, "1").await.as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_server_is_found_again() {
    let Some(mut server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let store = Store::default();
    store.set(1);
    let users = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("1"));
    let before = remote.stats().connections;
    server.restart();
    let is_connected = || remote.stats().connections > before && remote.is_connected() && users.is_tracked();
    until("it is connected again", is_connected).await;
    store.set(2);
    users.remove("1").await.expect("it is removed");
    assert_eq!(text(&users, "1").await.as_deref(), Some("2"));
    assert_eq!(server.foreign().get("users:0:1").as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_without_an_answer_ends_the_connection() {
    let Some(server) = Server::start() else { return };
    // Pings are too rare to notice that the server has stopped.
    let builder = remote(server.port).max_staleness(Duration::from_secs(3_600)).command_timeout(Duration::from_secs(2));
    let (cache, remote) = connected(builder).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    // Learns the generation, so that the next insert is one command.
    users.insert("1", "old").await.expect("it is stored");
    server.signal("STOP");
    let failed = users.insert("1", "new").await.expect_err("the server has stopped");
    assert!(matches!(failed, Error::TimedOut) && failed.is_outcome_unknown());
    until("the loss is noticed", || !remote.is_connected()).await;
    server.signal("CONT");
    assert!(remote.wait_until_connected(LIMIT).await);
    let mut foreign = server.foreign();
    until("the insert takes effect", || foreign.get("users:0:1").as_deref() == Some("new")).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("new"));
}

/// An instance whose reads are not answered. Its breaker opens after two of them.
async fn unanswered(server: &Server, pause: Duration) -> (Proxy, Remote, Tiered) {
    let proxy = Proxy::to(server.port).await;
    let builder = remote(proxy.port).command_timeout(Duration::from_millis(500)).breaker(2, pause);
    let (cache, remote) = connected(builder).await;
    let store = Store::default();
    store.set(1);
    let users = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    proxy.hold(READS);
    (proxy, remote, users)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breaker_refuses_reads_of_a_slow_server() {
    let Some(server) = Server::start() else { return };
    let began = Instant::now();
    loop {
        let (_proxy, remote, users) = unanswered(&server, Duration::from_secs(3_600)).await;
        for key in ["1", "2", "3"] {
            assert_eq!(text(&users, key).await.as_deref(), Some("1"));
        }
        let (stats, tier) = (remote.stats(), users.stats());
        // If an answer was late before, the reads go over another connection than the held one.
        if stats.is_connected && (stats.connections, stats.failed_attempts) == (1, 0) {
            assert!(stats.is_breaker_open);
            assert_eq!((tier.redis_failures, tier.breaker_refusals), (2, 1));
            return;
        }
        assert!(began.elapsed() < LIMIT, "the first connection stays");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breaker_probes_the_server_after_a_pause() {
    let Some(server) = Server::start() else { return };
    let began = Instant::now();
    loop {
        let (proxy, remote, users) = unanswered(&server, Duration::from_millis(10)).await;
        for key in ["1", "2"] {
            assert_eq!(text(&users, key).await.as_deref(), Some("1"));
        }
        // If an answer was late before, the reads go over another connection than the held one.
        if remote.stats().is_breaker_open {
            proxy.release(READS);
            for key in 0.. {
                assert_eq!(text(&users, &format!("key {key}")).await.as_deref(), Some("1"));
                if users.stats().fills > 0 {
                    return;
                }
                assert!(began.elapsed() < 2 * LIMIT, "Redis is read and filled again");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert!(began.elapsed() < LIMIT, "the breaker opens");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_go_on_when_the_server_is_out_of_memory() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let store = Store::default();
    store.set(1);
    let users = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    let mut foreign = server.foreign();
    foreign.set("users:0:1", "kept");
    foreign.ask::<String>(&["CONFIG", "SET", "maxmemory", "1"]);
    assert_eq!(text(&users, "1").await.as_deref(), Some("kept"));
    assert_eq!(text(&users, "2").await.as_deref(), Some("1"));
    assert_eq!(text(&users, "2").await.as_deref(), Some("1"));
    assert_eq!((users.stats().fill_failures, store.loads()), (1, 1));
    let failed = users.insert("1", "new").await.expect_err("there is no memory");
    assert!(matches!(&failed, Error::Redis(error) if error.code() == Some("OOM")) && !failed.is_outcome_unknown());
    assert!(remote.is_connected());

    foreign.ask::<String>(&["CONFIG", "SET", "maxmemory", "0"]);
    users.insert("1", "new").await.expect("it is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replica_is_not_used() {
    let (Some(primary), Some(server)) = (Server::start(), Server::start()) else { return };
    let (cache, remote) = instance(server.port).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    let mut foreign = server.foreign();
    foreign.ask::<String>(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()]);
    let failed = users.insert("1", "new").await.expect_err("it is a replica");
    assert!(matches!(failed, Error::Redis(_) | Error::NotConnected), "{failed:?}");
    until("it connects no longer", || !remote.is_connected() && remote.stats().failed_attempts > 1).await;
    foreign.ask::<String>(&["REPLICAOF", "NO", "ONE"]);
    assert!(remote.wait_until_connected(LIMIT).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generation_that_is_no_number_is_an_error_of_writes() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let store = Store::default();
    store.set(4);
    let users = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    server.foreign().set("users:generation", "many");
    until("the SET has arrived", || users.stats().invalidations_of_all == 1).await;
    assert!(matches!(users.insert("1", "Ada").await, Err(Error::BadGeneration)));
    assert!(matches!(users.remove("1").await, Err(Error::BadGeneration)));
    assert!(matches!(users.invalidate_all().await, Err(Error::BadGeneration)));
    assert_eq!(text(&users, "1").await.as_deref(), Some("4"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn generation_that_is_lost_brings_no_entries_back() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    users.insert("1", "old").await.expect("it is stored");
    for _ in 0..3 {
        users.invalidate_all().await.expect("it is incremented");
    }
    let mut foreign = server.foreign();
    foreign.ask::<u64>(&["DEL", "users:generation"]);
    until("the DEL has arrived", || users.stats().invalidations_of_all == 1).await;
    assert_eq!(text(&users, "1").await, None);
    assert_eq!(foreign.get("users:generation").as_deref(), Some("4"));
    assert_eq!(foreign.get("users:0:1").as_deref(), Some("old"));

    foreign.set("users:generation", "-1");
    until("the SET has arrived", || users.stats().invalidations_of_all == 2).await;
    users.invalidate_all().await.expect("it is incremented");
    assert_eq!(text(&users, "1").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_that_takes_too_long_has_failed() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let builder = Tiered::builder(&cache, &remote, "users").load_limit(Duration::from_millis(20));
    let users = builder.build(|_| std::future::pending::<Result<Option<Vec<u8>>, std::io::Error>>());
    let users = users.expect("the options are valid");
    assert!(matches!(users.get("1").await, Err(Error::Load(_))));
    assert_eq!(users.stats().load_failures, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn value_in_its_stale_period_is_returned_if_its_load_fails() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let is_working = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let works = std::sync::Arc::clone(&is_working);
    let builder = Tiered::builder(&cache, &remote, "users").stale_for(Duration::from_secs(60));
    let users = builder.build(move |_| {
        let works = works.load(Ordering::SeqCst);
        async move {
            match works {
                true => Ok(Some(b"new".to_vec())),
                false => Err(std::io::Error::other("the store is down")),
            }
        }
    });
    let users = crate::support::tracked(users.expect("the options are valid")).await;
    let mut foreign = server.foreign();
    foreign.ask::<String>(&["SET", "users:0:1", "old", "PX", "50000"]);
    until("the SET has arrived", || users.stats().invalidations == 1).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("old"));
    assert_eq!(users.stats().stale_served, 1);
    is_working.store(true, Ordering::SeqCst);
    assert_eq!(text(&users, "1").await.as_deref(), Some("new"));
    assert_eq!(foreign.get("users:0:1").as_deref(), Some("new"));
    assert_eq!(users.stats().fills, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_that_make_no_sense_are_refused() {
    let closed = ClosedPort::make();
    let remote = remote(closed.port).connect().expect("the options are valid");
    let cache = Cache::new(1 << 20).expect("the options are valid");
    let build = |name: &str| Tiered::builder(&cache, &remote, name).build_without_loader();
    assert!(matches!(build(""), Err(SetupError::Name)));
    assert!(matches!(build("a:b"), Err(SetupError::Name)));
    let users = build("users").expect("the name is free");
    assert!(matches!(build("users"), Err(SetupError::NameInUse)));
    drop(users);
    // The task of the connection may hold it for a moment yet.
    until("the name is free again", || build("users").is_ok()).await;
    let zero = Tiered::builder(&cache, &remote, "pages").ttl(Duration::ZERO).build_without_loader();
    assert!(matches!(zero, Err(SetupError::ZeroTtl)));
    let short = crate::support::remote(closed.port).max_staleness(Duration::from_millis(199)).connect();
    assert!(matches!(short, Err(SetupError::MaxStaleness)));
}
