//! Races between reads, writes and invalidations, whose order a proxy decides.

use std::time::{Duration, Instant};

use bytecache_redis::{Error, Tiered};
use tokio::task::JoinHandle;

use crate::proxy::{Proxy, READS, TRACKED};
use crate::support::{Foreign, LIMIT, Server, Store, connected, instance, remote, text, until};

/// A server, and an instance behind a proxy. Its loader finds nothing.
struct Behind {
    _server: Server,
    proxy: Proxy,
    users: Tiered,
    foreign: Foreign,
}

impl Behind {
    async fn a_proxy() -> Option<Self> {
        let server = Server::start()?;
        let proxy = Proxy::to(server.port).await;
        let (cache, remote) = instance(proxy.port).await;
        let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
        let foreign = server.foreign();
        Some(Self { _server: server, proxy, users, foreign })
    }
}

/// Begins to insert a value under "1". Returns once the server has executed it. The answer is held.
async fn held_insert(
    proxy: &Proxy,
    users: &Tiered,
    foreign: &mut Foreign,
    value: &'static str,
) -> JoinHandle<Result<(), Error>> {
    proxy.hold(TRACKED);
    let writer = users.clone();
    let writing = tokio::spawn(async move { writer.insert("1", value).await });
    until("the insert was executed", || foreign.get("users:0:1").as_deref() == Some(value)).await;
    writing
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn value_that_was_read_before_an_invalidation_is_not_kept() {
    let Some(Behind { _server, proxy, users, mut foreign }) = Behind::a_proxy().await else { return };
    foreign.set("users:0:1", "old");
    until("the SET has arrived", || users.stats().invalidations == 1).await;
    // The generation is known, so that the next read is one command.
    assert_eq!(text(&users, "2").await, None);

    proxy.hold(READS);
    let reader = users.clone();
    let reading = tokio::spawn(async move { text(&reader, "1").await });
    // The reply is on its way when the server has executed the command.
    until("the read was executed", || foreign.ask::<String>(&["INFO", "stats"]).contains("keyspace_hits:2")).await;
    foreign.set("users:0:1", "new");
    until("the second SET has arrived", || users.stats().invalidations == 2).await;
    proxy.release(READS);
    assert_eq!(reading.await.expect("it ends").as_deref(), Some("old"));
    assert_eq!(text(&users, "1").await.as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_of_a_later_value_never_finds_an_earlier_one() {
    let Some(Behind { _server, proxy, users, mut foreign }) = Behind::a_proxy().await else { return };
    users.insert("1", "old").await.expect("it is stored");

    proxy.hold(TRACKED);
    foreign.set("users:0:1", "new");
    foreign.set("users:0:marker", "set");
    let sent = proxy.sent();
    let reader = users.clone();
    let reading = tokio::spawn(async move {
        assert_eq!(text(&reader, "marker").await.as_deref(), Some("set"));
        text(&reader, "1").await
    });
    until("the fence was sent", || proxy.sent() > sent || reading.is_finished()).await;
    proxy.release(TRACKED);
    assert_eq!(reading.await.expect("it ends").as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reader_of_a_later_value_finds_no_earlier_one_if_invalidations_do_not_arrive() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.port).await;
    let (cache, remote) = connected(remote(proxy.port).command_timeout(Duration::from_secs(2))).await;
    let store = Store::default();
    let users = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    let mut foreign = server.foreign();
    users.insert("1", "1").await.expect("it is stored");

    proxy.hold(TRACKED);
    proxy.set_down(true);
    store.set(2);
    foreign.set("users:0:1", "2");
    foreign.set("users:0:marker", "set");
    // The fence of this read is not answered.
    assert_eq!(text(&users, "marker").await.as_deref(), Some("set"));
    assert_eq!(text(&users, "1").await.as_deref(), Some("2"), "it is that of Redis, or of the store");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_that_another_instance_has_overtaken_is_not_kept() {
    let Some(Behind { _server, proxy, users, mut foreign }) = Behind::a_proxy().await else { return };
    users.insert("1", "first").await.expect("it is stored");

    let writing = held_insert(&proxy, &users, &mut foreign, "own").await;
    foreign.set("users:0:1", "other");
    proxy.release(TRACKED);
    writing.await.expect("it ends").expect("it is stored");
    until("the SET has arrived", || users.stats().invalidations == 1).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("other"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn value_that_was_read_before_an_own_write_is_not_kept() {
    let Some(Behind { _server, proxy, users, mut foreign }) = Behind::a_proxy().await else { return };
    users.insert("1", "old").await.expect("it is stored");

    proxy.hold(READS);
    let reader = users.clone();
    users.local().remove("1");
    let hits = |info: String| info.contains("keyspace_hits:2");
    let reading = tokio::spawn(async move { text(&reader, "1").await });
    until("the read was executed", || hits(foreign.ask(&["INFO", "stats"]))).await;
    let writing = held_insert(&proxy, &users, &mut foreign, "new").await;
    proxy.release(READS);
    until("the older value was read", || users.stats().redis_hits == 1).await;
    proxy.release(TRACKED);
    writing.await.expect("it ends").expect("it is stored");
    assert_eq!(reading.await.expect("it ends").as_deref(), Some("old"));
    assert_eq!(text(&users, "1").await.as_deref(), Some("new"));
}

/// A namespace whose loads wait until they are released.
async fn gated(server: &Server, version: &Store) -> (Tiered, std::sync::Arc<tokio::sync::Semaphore>) {
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let (cache, remote) = instance(server.port).await;
    let (store, waiting) = (version.clone(), std::sync::Arc::clone(&gate));
    let load = move |_| {
        let (store, gate) = (store.clone(), std::sync::Arc::clone(&waiting));
        async move {
            let loaded = store.version.load(std::sync::atomic::Ordering::SeqCst);
            store.loads.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            gate.acquire().await.map_err(std::io::Error::other)?.forget();
            Ok::<_, std::io::Error>(Some(loaded.to_string().into_bytes()))
        }
    };
    let builder = Tiered::builder(&cache, &remote, "users").load_limit(2 * LIMIT).reload_jitter(Duration::ZERO);
    (crate::support::tracked(builder.build(load).expect("the options are valid")).await, gate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_that_began_before_a_removal_does_not_bring_the_value_back() {
    let Some(server) = Server::start() else { return };
    let store = Store::default();
    store.set(1);
    let (slow, gate) = gated(&server, &store).await;
    let (cache, remote) = instance(server.port).await;
    let other = store.tiered(Tiered::builder(&cache, &remote, "users")).await;

    let reader = slow.clone();
    let reading = tokio::spawn(async move { text(&reader, "1").await });
    until("the load has begun", || store.loads() == 1).await;
    store.set(2);
    other.remove("1").await.expect("it is removed");
    gate.add_permits(1);
    assert_eq!(reading.await.expect("it ends").as_deref(), Some("1"));
    assert_eq!(slow.stats().fills_refused, 1);

    // A load that begins now replaces the tombstone that it has seen.
    assert_eq!(text(&other, "1").await.as_deref(), Some("2"));
    assert_eq!(server.foreign().get("users:0:1").as_deref(), Some("2"));
    assert_eq!(text(&slow, "1").await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_that_saw_an_earlier_tombstone_does_not_replace_a_later_one() {
    let Some(server) = Server::start() else { return };
    let store = Store::default();
    store.set(1);
    let (slow, gate) = gated(&server, &store).await;
    let (cache, remote) = instance(server.port).await;
    let other = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    other.remove("1").await.expect("it is removed");

    let reader = slow.clone();
    let reading = tokio::spawn(async move { text(&reader, "1").await });
    until("the load has begun", || store.loads() == 1).await;
    store.set(2);
    other.remove("1").await.expect("it is removed");
    gate.add_permits(1);
    reading.await.expect("it ends");
    assert_eq!(slow.stats().fills_refused, 1);
    assert_eq!(text(&other, "1").await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_that_began_before_an_invalidation_of_all_is_not_found_after_it() {
    let Some(server) = Server::start() else { return };
    let store = Store::default();
    store.set(1);
    let (slow, gate) = gated(&server, &store).await;
    let (cache, remote) = instance(server.port).await;
    let other = store.tiered(Tiered::builder(&cache, &remote, "users")).await;

    let reader = slow.clone();
    let reading = tokio::spawn(async move { text(&reader, "1").await });
    until("the load has begun", || store.loads() == 1).await;
    store.set(2);
    other.invalidate_all().await.expect("it is incremented");
    until("the generation has arrived", || slow.stats().invalidations_of_all == 1).await;
    gate.add_permits(2);
    assert_eq!(reading.await.expect("it ends").as_deref(), Some("1"));
    assert_eq!(text(&other, "1").await.as_deref(), Some("2"));
    assert_eq!(text(&slow, "1").await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tombstone_stays_if_what_replaces_it_would_not_live_as_long() {
    let Some(server) = Server::start() else { return };
    let store = Store::default();
    store.set(1);
    let (slow, gate) = gated(&server, &store).await;
    let (cache, remote) = instance(server.port).await;
    let builder = Tiered::builder(&cache, &remote, "users").load_limit(2 * LIMIT).ttl(Duration::from_secs(25));
    let other = store.tiered(builder.negative_ttl(Duration::from_millis(1))).await;
    let reader = slow.clone();
    let reading = tokio::spawn(async move { text(&reader, "1").await });
    until("the load has begun", || store.loads() == 1).await;

    let mut foreign = server.foreign();
    let mut is_protected = || foreign.get("users:0:1").is_some_and(|value| value.starts_with("\0bytecache:removed:"));
    store.set(0);
    other.remove("1").await.expect("it is removed");
    assert_eq!(text(&other, "1").await, None);
    assert!(is_protected());
    store.set(2);
    assert_eq!(text(&other, "1").await.as_deref(), Some("2"));
    assert!(is_protected() && other.local().contains_key("1"));
    gate.add_permits(1);
    assert_eq!(reading.await.expect("it ends").as_deref(), Some("1"));
    assert!(is_protected() && other.local().contains_key("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_value_in_place_of_a_tombstone_stays_if_what_replaces_it_would_not_live_as_long() {
    let Some(server) = Server::start() else { return };
    let store = Store::default();
    store.set(1);
    let (slow, gate) = gated(&server, &store).await;
    let (cache, remote) = instance(server.port).await;
    let short = Duration::from_millis(1);
    let builder = Tiered::builder(&cache, &remote, "users").load_limit(2 * LIMIT).ttl(short).negative_ttl(short);
    let other = store.tiered(builder.stale_for(Duration::from_secs(300))).await;
    let reader = slow.clone();
    let reading = tokio::spawn(async move { text(&reader, "1").await });
    until("the load has begun", || store.loads() == 1).await;

    let mut foreign = server.foreign();
    other.remove("1").await.expect("it is removed");
    store.set(2);
    assert_eq!(text(&other, "1").await.as_deref(), Some("2"));
    assert_eq!(foreign.get("users:0:1").as_deref(), Some("2"));
    // It is stale, and is loaded again.
    store.set(0);
    let began = Instant::now();
    while text(&other, "1").await.is_some() {
        assert!(began.elapsed() < LIMIT, "in time: the row is gone");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    gate.add_permits(1);
    assert_eq!(reading.await.expect("it ends").as_deref(), Some("1"));
    assert_eq!(foreign.get("users:0:1").as_deref(), Some("2"));
}

/// An instance that does not know of a new generation, and a second one that does. The second one
/// has a value of it from the store.
async fn behind_by_a_generation(store: &Store) -> Option<(Behind, Tiered)> {
    let behind = Behind::a_proxy().await?;
    let (cache, remote) = instance(behind._server.port).await;
    let other = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    // It learns the generation.
    assert_eq!(text(&behind.users, "known").await, None);
    behind.proxy.hold(TRACKED);
    behind._server.foreign().ask::<u64>(&["INCR", "users:generation"]);
    until("the generation has arrived", || other.stats().invalidations_of_all == 1).await;
    assert_eq!(text(&other, "1").await.as_deref(), Some("1"));
    assert!(other.local().contains_key("1"));
    Some((behind, other))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removal_reaches_a_generation_whose_invalidation_is_under_way() {
    let store = Store::default();
    store.set(1);
    let Some((Behind { _server, proxy, users, mut foreign }, other)) = behind_by_a_generation(&store).await else {
        return;
    };
    store.set(2);
    let removing = tokio::spawn(async move { users.remove("1").await });
    until("the older generation has a tombstone", || foreign.get("users:0:1").is_some()).await;
    proxy.release(TRACKED);
    removing.await.expect("it ends").expect("it is removed");
    until("the removal has arrived", || !other.local().contains_key("1")).await;
    assert_eq!(text(&other, "1").await.as_deref(), Some("2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn insert_reaches_a_generation_whose_invalidation_is_under_way() {
    let store = Store::default();
    store.set(1);
    let Some((Behind { _server, proxy, users, mut foreign }, other)) = behind_by_a_generation(&store).await else {
        return;
    };
    let writing = held_insert(&proxy, &users, &mut foreign, "2").await;
    proxy.release(TRACKED);
    writing.await.expect("it ends").expect("it is stored");
    until("the insert has arrived", || !other.local().contains_key("1")).await;
    for tiered in [&other, &users] {
        assert_eq!(text(tiered, "1").await.as_deref(), Some("2"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fill_that_hides_a_deletion_leaves_no_other_value_in_the_local_tier() {
    let Some(server) = Server::start() else { return };
    let store = Store::default();
    store.set(1);
    let (users, gate) = gated(&server, &store).await;
    let reader = users.clone();
    let reading = tokio::spawn(async move { text(&reader, "1").await });
    until("the load has begun", || store.loads() == 1).await;
    let mut foreign = server.foreign();
    foreign.set("users:0:1", "2");
    until("the SET has arrived", || users.stats().invalidations == 1).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("2"));
    assert!(users.local().contains_key("1"));

    // The deletion and the fill wait for each other, and are executed in one cycle.
    foreign.ask::<String>(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let mut second = server.foreign();
    let deleting = std::thread::spawn(move || second.ask::<u64>(&["DEL", "users:0:1"]));
    let waiting = |foreign: &mut Foreign| {
        let info: String = foreign.ask(&["INFO", "clients"]);
        info.split_once("blocked_clients:").and_then(|(_, rest)| rest.lines().next()?.parse::<u64>().ok())
    };
    until("the deletion waits", || waiting(&mut foreign) == Some(1)).await;
    gate.add_permits(1);
    until("the fill waits, or is not sent", || waiting(&mut foreign) == Some(2) || reading.is_finished()).await;
    foreign.ask::<String>(&["CLIENT", "UNPAUSE"]);
    assert_eq!(deleting.join().expect("it is deleted"), 1);
    assert_eq!(reading.await.expect("it ends").as_deref(), Some("1"));
    until("the local tier has no other value than Redis", || {
        users
            .local()
            .peek("1")
            .is_none_or(|value| foreign.get("users:0:1").is_some_and(|other| value == *other.as_bytes()))
    })
    .await;
}

/// Returns how often the server has executed a command.
fn calls(foreign: &mut Foreign, command: &str) -> usize {
    let all: String = foreign.ask(&["INFO", "commandstats"]);
    let calls = all.split_once(&format!("cmdstat_{command}:calls=")).map(|(_, rest)| rest);
    calls.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_keys_take_two_round_trips() {
    let Some(Behind { _server, proxy, users, mut foreign }) = Behind::a_proxy().await else { return };
    let keys: Vec<String> = (0..20).map(|key| key.to_string()).collect();
    keys.iter().for_each(|key| foreign.set(&format!("users:0:{key}"), "Ada"));
    // The generation is known after this.
    assert_eq!(text(&users, "0").await.as_deref(), Some("Ada"));
    until("all changes have arrived", || users.stats().invalidations == 20).await;

    let (gets, pings) = (calls(&mut foreign, "get"), calls(&mut foreign, "ping"));
    proxy.hold(READS);
    proxy.hold(TRACKED);
    let (reader, asked) = (users.clone(), keys[1..].to_vec());
    let reading = tokio::spawn(async move { reader.get_many(&asked).await });
    until("all reads were sent before the first answer", || calls(&mut foreign, "get") == gets + 19).await;
    proxy.release(READS);
    until("all fences were sent before the first answer", || calls(&mut foreign, "ping") >= pings + 19).await;
    assert!(!reading.is_finished());
    proxy.release(TRACKED);
    let values = reading.await.expect("it ends");
    assert!(values.iter().all(|value| value.as_ref().is_ok_and(|value| value.as_deref() == Some(b"Ada"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn write_goes_on_if_its_caller_gives_up() {
    let Some(Behind { _server, proxy, users, mut foreign }) = Behind::a_proxy().await else { return };
    // The generation is known, so that the insert is sent at once.
    assert_eq!(text(&users, "known").await, None);
    let writing = held_insert(&proxy, &users, &mut foreign, "Ada").await;
    writing.abort();
    assert!(writing.await.is_err());
    proxy.release(TRACKED);
    until("the local tier has the value", || users.local().contains_key("1")).await;
}
