//! The layers on top of a tier: typed values, spans, and metrics.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytecache::typed::{Counter, Utf8};
use bytecache_redis::{Error, Tiered, TypedTiered};
use tokio::sync::Semaphore;

use crate::support::{ClosedPort, LIMIT, Server, instance, tracked, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_values_go_through_both_tiers() {
    let Some(server) = Server::start() else { return };
    let load = |id: u64| async move { Ok::<_, std::io::Error>((id == 1).then(|| "Ada".to_string())) };
    let mut instances = vec![];
    for _ in 0..2 {
        let (cache, remote) = instance(server.port).await;
        let names: TypedTiered<u64, String, Utf8> =
            Tiered::builder(&cache, &remote, "names").build_typed(Utf8, load).expect("the options are valid");
        tracked(names.tiered().clone()).await;
        instances.push(names);
    }
    let (first, second) = (&instances[0], &instances[1]);
    assert_eq!(first.get(&1).await.expect("it is loaded").as_deref(), Some("Ada"));
    assert_eq!(second.get(&2).await.expect("it is loaded"), None);
    first.insert(&2, &"Grace".to_string()).await.expect("it is stored");
    let many = second.get_many(&[1, 2, 3]).await;
    let many: Vec<_> = many.into_iter().map(|name| name.expect("it is loaded")).collect();
    assert_eq!(many, [Some("Ada".to_string()), Some("Grace".to_string()), None]);
    first.remove(&2).await.expect("it is removed");
    until("the removal has arrived", || !second.tiered().local().contains_key(2_u64.to_be_bytes())).await;
    assert_eq!(second.get(&2).await.expect("it is loaded"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typed_values_are_loaded_in_batches() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let load = |ids: Vec<u64>| async move {
        match &ids[..] {
            [9] => Ok(vec![]),
            _ => Ok::<_, std::io::Error>(ids.iter().map(|&id| (id != 2).then(|| format!("name {id}"))).collect()),
        }
    };
    let names: TypedTiered<u64, String, Utf8> =
        Tiered::builder(&cache, &remote, "names").build_typed_batched(Utf8, 10, load).expect("the options are valid");
    let mut bytes: Vec<_> = (1..=3_u64).map(|id| id.to_be_bytes().to_vec()).collect();
    bytes.insert(1, b"no number".to_vec());
    let many = names.tiered().get_many(&bytes).await;
    let many: Vec<_> = many.into_iter().map(|name| name.expect("it is loaded")).collect();
    assert_eq!(
        many.iter().map(Option::as_deref).collect::<Vec<_>>(),
        [Some(&b"name 1"[..]), None, None, Some(b"name 3")]
    );
    assert_eq!(names.get(&3).await.expect("it is loaded").as_deref(), Some("name 3"));
    assert!(matches!(names.get(&9).await, Err(Error::Load(_))));
}

/// One thread runs all tasks: so a load that was counted has added its key to the queue.
#[tokio::test]
async fn missing_keys_are_loaded_in_batches() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let gate = Arc::new(Semaphore::new(0));
    let batches = Arc::new(Mutex::new(Vec::new()));
    let (waiting, loaded) = (Arc::clone(&gate), Arc::clone(&batches));
    let load = move |keys: Vec<Arc<[u8]>>| {
        let (gate, batches) = (Arc::clone(&waiting), Arc::clone(&loaded));
        async move {
            batches.lock().expect("no test panics with it").push(keys.len());
            gate.acquire().await.map_err(std::io::Error::other)?.forget();
            Ok::<_, std::io::Error>(keys.iter().map(|key| Some(key.to_vec())).collect())
        }
    };
    let builder = Tiered::builder(&cache, &remote, "users").load_limit(2 * LIMIT);
    let users = tracked(builder.build_batched(30, load).expect("the options are valid")).await;
    server.foreign().set("users:0:in redis", "in redis");
    until("the SET has arrived", || users.stats().invalidations > 0).await;

    let keys: Vec<_> = (0..100).map(|key| key.to_string()).chain(["in redis".to_string()]).collect();
    let (reader, asked) = (users.clone(), keys.clone());
    let reading = tokio::spawn(async move { reader.get_many(&asked).await });
    until("all keys wait for their batches", || users.stats().loads == 100).await;
    gate.add_permits(100);
    for (key, value) in keys.iter().zip(reading.await.expect("it ends")) {
        assert_eq!(value.expect("it is loaded").expect("it is there"), **key);
    }
    let batches = batches.lock().expect("no test panics with it");
    assert_eq!(batches.iter().sum::<usize>(), 100);
    assert!(batches.len() <= 6 && batches.iter().all(|&keys| keys <= 30), "{batches:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failure_of_a_batch_is_the_error_of_its_keys_and_frees_its_place() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let builder = Tiered::builder(&cache, &remote, "users").load_limit(Duration::from_millis(50));
    let load = |keys: Vec<Arc<[u8]>>| async move {
        match &*keys[0] {
            b"fails" => Err(std::io::Error::other("the store is down")),
            b"hangs" => std::future::pending().await,
            b"panics" => panic!("a loader that panics"),
            b"too few" => Ok(vec![]),
            _ => Ok(vec![Some(b"value".to_vec()); keys.len()]),
        }
    };
    let users = tracked(builder.build_batched(1, load).expect("the options are valid")).await;
    for key in ["fails", "hangs", "panics", "too few", "fails", "hangs", "panics", "too few"] {
        assert!(matches!(users.get(key).await, Err(Error::Load(_))), "{key}");
    }
    // On a slow machine, this load may take longer than the limit, too.
    let began = Instant::now();
    while !users.get("works").await.is_ok_and(|value| value.is_some()) {
        assert!(began.elapsed() < LIMIT, "the places of the batches are free again");
    }
}

#[test]
fn calls_after_the_runtime_has_shut_down_are_errors() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it can be built");
    let first = runtime();
    let users = first.block_on(async {
        let closed = ClosedPort::make();
        let remote = crate::support::remote(closed.port).connect().expect("the options are valid");
        let cache = bytecache::Cache::new(1 << 20).expect("the options are valid");
        let load = |keys: Vec<Arc<[u8]>>| async move { Ok::<_, std::io::Error>(vec![None; keys.len()]) };
        Tiered::builder(&cache, &remote, "users").build_batched(1, load).expect("the options are valid")
    });
    drop(first);
    runtime().block_on(async {
        assert!(matches!(users.insert("1", "Ada").await, Err(Error::NoRuntime)));
        assert!(matches!(users.get("1").await, Err(Error::Load(_))));
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_of_a_foreign_client_that_are_no_value_are_an_error() {
    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let load = |_: String| async { Ok::<_, std::io::Error>(Some(7)) };
    let counts: TypedTiered<String, i64, Counter> =
        Tiered::builder(&cache, &remote, "counts").build_typed(Counter, load).expect("the options are valid");
    tracked(counts.tiered().clone()).await;
    assert_eq!(counts.get("1").await.expect("it is loaded"), Some(7));
    server.foreign().set("counts:0:1", "seven");
    until("the SET has arrived", || counts.tiered().stats().invalidations > 0).await;
    assert!(matches!(counts.get("1").await, Err(Error::Undecodable)));
}

#[cfg(feature = "prometheus")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_tells_the_counters_and_the_state() {
    use bytecache_redis::TierCollector;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    let Some(server) = Server::start() else { return };
    let (cache, remote) = instance(server.port).await;
    let users = crate::support::Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    let collector = TierCollector::default();
    collector.add(&users);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    assert_eq!(crate::support::text(&users, "1").await, None);
    let scrape = || {
        let mut text = String::new();
        encode(&mut text, &registry).map(|()| text).expect("it is encoded")
    };
    let text = scrape();
    assert!(text.contains("bytecache_redis_loads_total{namespace=\"users\"} 1\n"), "{text}");
    assert!(text.contains("bytecache_redis_tracked{namespace=\"users\"} 1\n"), "{text}");
    drop(users);
    until("nothing is left of the namespace", || !scrape().contains("users")).await;
}

/// Counts the spans of commands, and looks for keys and values in them.
#[cfg(feature = "tracing")]
mod spans {
    use tracing::span::{Attributes, Id, Record};
    use tracing::subscriber::{Interest, set_default};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl Subscriber for Lines {
        fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
            Interest::sometimes()
        }

        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            metadata.target().starts_with("bytecache")
        }

        fn new_span(&self, attributes: &Attributes<'_>) -> Id {
            let name = attributes.metadata().name();
            self.0.lock().expect("no test panics with it").push(format!("{name} {:?}", attributes.values()));
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn event(&self, event: &Event<'_>) {
            self.0.lock().expect("no test panics with it").push(format!("{event:?}"));
        }

        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[tokio::test]
    async fn commands_and_loads_have_spans_without_keys_and_values() {
        let Some(server) = Server::start() else { return };
        let lines = Lines::default();
        // With one subscriber alone, a span that a thread of another test reaches first would be
        // turned off for all threads.
        let _second = tracing::Dispatch::new(Lines::default());
        let _guard = set_default(lines.clone());
        let (cache, remote) = instance(server.port).await;
        let users = crate::support::Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
        users.insert_with_ttl("a-key", "a-value", Duration::from_secs(9)).await.expect("it is stored");
        assert!(users.get("a-key").await.expect("it is there").is_some());
        assert!(users.get("b-key").await.expect("it is loaded").is_none());
        let lines = lines.0.lock().expect("no test panics with it").join("\n");
        for word in ["SET", "GET", "connected", "load"] {
            assert!(lines.contains(word), "{lines}");
        }
        assert!(!lines.contains("-key") && !lines.contains("-value"), "{lines}");
    }
}
