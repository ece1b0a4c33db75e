//! The behaviour of one instance and of two, with a server that works.

use std::time::Duration;

use bytecache::Remaining;
use bytecache_redis::{Error, Tiered};

use crate::support::{Server, Store, client_program, connected, instance, patient, text, tracked, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_lie_in_redis_as_plain_bytes() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    let mut foreign = server.foreign();

    users.insert("1", "Ada").await.expect("it is stored");
    assert_eq!(foreign.get("users:0:1").as_deref(), Some("Ada"));
    let left: i64 = foreign.ask(&["PTTL", "users:0:1"]);
    assert!((200_000..=300_000).contains(&left), "{left}");

    users.invalidate_all().await.expect("it is incremented");
    assert_eq!(foreign.get("users:generation").as_deref(), Some("1"));
    assert_eq!(text(&users, "1").await, None);
    foreign.set("users:1:1", "Grace");
    until("the foreign value is read", || users.stats().invalidations > 0).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("Grace"));
}

/// Calls the command-line client that belongs to the server. Returns `None` where there is none.
fn by_command_line(server: &Server, arguments: &[&str]) -> Option<String> {
    let mut command = std::process::Command::new(client_program());
    command.args(["-p", &server.port.to_string(), "--raw"]).args(arguments);
    command.output().ok().map(|output| String::from_utf8_lossy(&output.stdout).trim_end().to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn command_line_client_reads_and_changes_values() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    users.insert("1", "Ada").await.expect("it is stored");
    let Some(value) = by_command_line(&server, &["GET", "users:0:1"]) else {
        eprintln!("no redis-cli or valkey-cli: left out");
        return;
    };
    assert_eq!(value, "Ada");
    by_command_line(&server, &["SET", "users:0:1", "Grace"]);
    until("the SET has arrived", || !users.local().contains_key("1")).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("Grace"));
    by_command_line(&server, &["INCR", "users:generation"]);
    until("the INCR has arrived", || users.stats().invalidations_of_all == 1).await;
    assert_eq!(text(&users, "1").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_key_is_loaded_at_most_once_an_instance_after_a_change() {
    let Some(server) = Server::start() else { return };
    let store = Store::default();
    store.set(1);
    let mut instances = vec![];
    for _ in 0..4 {
        let (cache, remote) = instance(server.port).await;
        instances.push(store.jittered(Tiered::builder(&cache, &remote, "users"), Duration::from_millis(200)).await);
    }
    store.set(2);
    instances[0].remove("hot").await.expect("it is removed");
    let mut readers = tokio::task::JoinSet::new();
    for users in instances.iter().cycle().take(80) {
        let users = users.clone();
        readers.spawn(async move { text(&users, "hot").await });
    }
    while let Some(value) = readers.join_next().await {
        assert_eq!(value.expect("it ends").as_deref(), Some("2"));
    }
    assert!((1..=4).contains(&store.loads()), "{}", store.loads());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn password_of_the_client_is_used() {
    let Some(server) = Server::start() else { return };
    server.foreign().ask::<String>(&["CONFIG", "SET", "requirepass", "secret"]);
    let client = redis::Client::open(format!("redis://:secret@127.0.0.1:{}", server.port));
    let (cache, remote) = connected(patient(client.expect("the address is one"))).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    users.insert("1", "Ada").await.expect("it is stored");
    assert_eq!(text(&users, "1").await.as_deref(), Some("Ada"));

    let without = crate::support::remote(server.port).connect().expect("the options are valid");
    until("the attempt fails", || without.stats().failed_attempts > 0).await;
    assert!(!format!("{remote:?} {users:?}").contains("secret"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_value_is_loaded_once_for_two_instances() {
    let Some(server) = Server::start() else { return };
    let store = Store::default();
    store.set(7);
    let mut instances = vec![];
    for _ in 0..2 {
        let (cache, remote) = instance(server.port).await;
        instances.push(store.tiered(Tiered::builder(&cache, &remote, "users")).await);
    }
    assert_eq!(text(&instances[0], "1").await.as_deref(), Some("7"));
    until("the fill of the other instance has arrived", || instances[1].stats().invalidations > 0).await;
    for users in instances.iter().chain(&instances) {
        assert_eq!(text(users, "1").await.as_deref(), Some("7"));
    }
    assert_eq!(store.loads(), 1);
    let (first, second) = (instances[0].stats(), instances[1].stats());
    assert_eq!((first.fills, first.redis_hits, first.redis_misses), (1, 0, 1));
    assert_eq!((second.fills, second.redis_hits, second.redis_misses), (0, 1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_insert_stays_in_the_local_tier() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    users.insert("1", "Ada").await.expect("it is stored");
    users.insert("1", "Grace").await.expect("it is stored");
    assert_eq!(text(&users, "1").await.as_deref(), Some("Grace"));
    assert_eq!(users.stats().redis_hits, 0);
    assert_eq!(users.local().stats().hits, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_of_any_client_reaches_every_instance() {
    let Some(server) = Server::start() else { return };
    let mut instances = vec![];
    for _ in 0..2 {
        let (cache, remote) = instance(server.port).await;
        instances.push(Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await);
    }
    let (first, second) = (&instances[0], &instances[1]);
    first.insert("1", "a").await.expect("it is stored");
    assert_eq!(text(second, "1").await.as_deref(), Some("a"));

    second.insert("1", "b").await.expect("it is stored");
    until("the insert has arrived", || !first.local().contains_key("1")).await;
    assert_eq!(text(first, "1").await.as_deref(), Some("b"));

    let mut foreign = server.foreign();
    foreign.set("users:0:1", "c");
    for users in &instances {
        until("the SET has arrived", || !users.local().contains_key("1")).await;
        assert_eq!(text(users, "1").await.as_deref(), Some("c"));
    }
    foreign.ask::<u64>(&["DEL", "users:0:1"]);
    for users in &instances {
        until("the DEL has arrived", || !users.local().contains_key("1")).await;
        assert_eq!(text(users, "1").await, None);
    }
    first.insert("1", "d").await.expect("it is stored");
    assert_eq!(text(second, "1").await.as_deref(), Some("d"));
    first.remove("1").await.expect("it is removed");
    until("the removal has arrived", || !second.local().contains_key("1")).await;
    assert_eq!(text(second, "1").await, None);

    first.insert("1", "e").await.expect("it is stored");
    assert_eq!(text(second, "1").await.as_deref(), Some("e"));
    let resets = second.stats().invalidations_of_all;
    first.invalidate_all().await.expect("it is incremented");
    until("the generation has arrived", || second.stats().invalidations_of_all > resets).await;
    assert_eq!(text(second, "1").await, None);

    first.insert("1", "f").await.expect("it is stored");
    assert_eq!(text(second, "1").await.as_deref(), Some("f"));
    foreign.ask::<String>(&["FLUSHALL"]);
    until("the flush has arrived", || second.stats().invalidations_of_all > resets + 1).await;
    assert_eq!(text(second, "1").await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_come_from_all_tiers() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let store = Store::default();
    store.set(1);
    let users = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    users.insert("local", "a").await.expect("it is stored");
    server.foreign().set("users:0:redis", "b");
    let found = users.get_many(&["local", "redis", "loaded", "loaded"]).await;
    let found: Vec<_> = found.into_iter().map(|value| value.expect("it is loaded").expect("it is there")).collect();
    assert!(found[0] == "a" && found[1] == "b" && found[2] == "1" && found[3] == "1");
    assert_eq!(store.loads(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_remembered_in_both_tiers() {
    let Some(server) = Server::start() else { return };
    let store = Store::default();
    let mut instances = vec![];
    for _ in 0..2 {
        let (cache, remote) = instance(server.port).await;
        let builder = Tiered::builder(&cache, &remote, "users").negative_ttl(Duration::from_secs(60));
        instances.push(store.tiered(builder).await);
    }
    for users in instances.iter().chain(&instances) {
        assert_eq!(text(users, "1").await, None);
    }
    assert_eq!(store.loads(), 1);
    let mut foreign = server.foreign();
    assert_eq!(foreign.get("users:0:1").as_deref(), Some("\0bytecache:nothing"));
    let read = instances[1].stats().redis_misses;
    assert_eq!(text(&instances[1], "1").await, None);
    assert_eq!(instances[1].stats().redis_misses, read);

    store.set(3);
    let before = instances[1].stats().invalidations;
    instances[0].remove("1").await.expect("it is removed");
    until("the removal has arrived", || instances[1].stats().invalidations > before).await;
    for users in &instances {
        assert_eq!(text(users, "1").await.as_deref(), Some("3"));
    }
    assert_eq!(store.loads(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reserved_values_are_refused() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let users = Tiered::builder(&cache, &remote, "users");
    let users = users.build(|_| async { Ok::<_, std::io::Error>(Some(b"\0bytecache:x".to_vec())) });
    let users = tracked(users.expect("the options are valid")).await;
    assert!(matches!(users.insert("1", b"\0bytecache:nothing").await, Err(Error::ReservedValue)));
    assert!(matches!(users.get("1").await, Err(Error::Load(_))));
    assert_eq!(server.foreign().get("users:0:1"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_lifetime_is_no_longer_than_the_one_in_redis() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let stale = Duration::from_secs(10);
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users").stale_for(stale)).await;
    server.foreign().ask::<String>(&["SET", "users:0:1", "Ada", "PX", "3000000"]);
    until("the SET has arrived", || users.stats().invalidations > 0).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("Ada"));
    let Some(Remaining::For(left)) = users.local().ttl("1") else { panic!("it has a deadline") };
    assert!(left > Duration::from_secs(2_900) && left <= Duration::from_secs(2_990), "{left:?}");

    server.foreign().set("users:0:2", "Grace");
    until("the SET has arrived", || users.stats().invalidations > 1).await;
    assert_eq!(text(&users, "2").await.as_deref(), Some("Grace"));
    let Some(Remaining::For(left)) = users.local().ttl("2") else { panic!("it has a deadline") };
    assert!(left <= Duration::from_secs(300), "{left:?}");

    users.insert_with_ttl("3", "Alan", Duration::from_secs(4_000)).await.expect("it is stored");
    let millis: i64 = server.foreign().ask(&["PTTL", "users:0:3"]);
    assert!((3_900_000..=4_010_000).contains(&millis), "{millis}");
    let Some(Remaining::For(left)) = users.local().ttl("3") else { panic!("it has a deadline") };
    assert!(left <= Duration::from_millis(u64::try_from(millis).unwrap_or(0)) - stale + Duration::from_millis(100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_finds_and_removes_what_differs() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    for key in 0..300 {
        users.insert(key.to_string(), "Ada").await.expect("it is stored");
    }
    let verified = users.verify(200).await.expect("Redis answers");
    assert_eq!((verified.compared, verified.repaired), (200, 0));

    users.local().insert("7", "Grace").expect("it is stored");
    users.local().insert("unknown", "Grace").expect("it is stored");
    let verified = users.verify(usize::MAX).await.expect("Redis answers");
    assert_eq!((verified.compared, verified.repaired), (301, 2));
    assert_eq!(text(&users, "7").await.as_deref(), Some("Ada"));
    assert_eq!((users.stats().verified, users.stats().repaired), (501, 2));
}
