//! Loaders of a namespace: all ways to load get its keys without a prefix, and store under them.

use std::io;
use std::sync::{Arc, Mutex};

use bytecache::{Batch, Cache, LoadError, Loaded, Namespace, Origin, Present, WarmOptions};

/// Returns a cache, a namespace of it, and plain keys that must not be seen.
fn spaces() -> (Cache, Namespace) {
    let cache = Cache::new(1 << 20).unwrap();
    let users = cache.namespace("users").build().unwrap();
    for key in ["1", "2", "3"] {
        cache.insert(key, "plain").unwrap();
    }
    (cache, users)
}

fn load(key: &[u8]) -> Result<Loaded<Vec<u8>>, io::Error> {
    match key {
        b"0" => Ok(Loaded::Absent),
        b"down" => Err(io::Error::other("down")),
        key => Ok(Loaded::Value([b"user ", key].concat())),
    }
}

#[test]
fn threads_load_many_keys_and_look_without_loading() {
    let (cache, users) = spaces();
    let loader = users.loader().build(load).unwrap();
    assert!(matches!(loader.get_if_present("1"), Present::Nothing));
    let found = loader.get_many(&["1", "0", "down", "1"]);
    assert!(found[0].as_ref().is_ok_and(|value| *value == "user 1"));
    assert!(matches!(found[1], Err(LoadError::Absent)) && matches!(found[2], Err(LoadError::Failed(_))));
    assert!(found[3].as_ref().is_ok_and(|value| *value == "user 1"));
    assert!(matches!(loader.get_if_present("1"), Present::Value(value) if value == "user 1"));
    assert_eq!(loader.get_with_origin("1").unwrap().1, Origin::Cached);
    assert_eq!(users.stats().loads, 3);

    users.invalidate_all();
    assert!(matches!(loader.get_if_present("1"), Present::Nothing));
    assert_eq!(loader.get_with_origin("1").unwrap().1, Origin::Loaded);
    assert_eq!(cache.get("1").unwrap(), "plain");
    assert_eq!(cache.stats().loads, users.stats().loads);
}

#[test]
fn a_namespace_is_warmed_through_its_loader() {
    let (cache, users) = spaces();
    let loader = users.loader().build(load).unwrap();
    let warmed = loader.warm(["0", "1", "2", "down"], WarmOptions::new(2));
    assert_eq!((warmed.loaded, warmed.absent, warmed.failed), (2, 1, 1));
    assert!(users.contains_key("1") && users.contains_key("2") && !users.contains_key("3"));
    assert_eq!(cache.get("2").unwrap(), "plain");
}

#[tokio::test]
async fn spawned_loads_and_batches_get_keys_without_a_prefix() {
    let (cache, users) = spaces();
    let builder = users.loader().spawner(|task| drop(tokio::spawn(task)));
    let each = builder.clone().build_async(async move |key: Arc<[u8]>| load(&key)).unwrap();
    assert_eq!(each.get_async("1").await.unwrap(), "user 1");
    assert!(each.get_many_async(&["0", "1"]).await[0].is_err());

    let seen = Arc::new(Mutex::new(Vec::new()));
    let batches = Arc::clone(&seen);
    let load = move |keys: Vec<Arc<[u8]>>| {
        batches.lock().unwrap().push(keys.iter().map(|key| key.to_vec()).collect::<Vec<_>>());
        async move { Ok::<_, io::Error>(keys.iter().map(|key| Some([b"batch ", &**key].concat())).collect()) }
    };
    let batched = builder.build_batched_async(Batch::up_to(8), load).unwrap();
    let (two, three) = tokio::join!(batched.get_async("2"), batched.get_async("3"));
    assert!(two.unwrap() == "batch 2" && three.unwrap() == "batch 3");
    assert_eq!(*seen.lock().unwrap(), [[b"2".to_vec(), b"3".to_vec()]]);
    assert!(users.contains_key("2"));
    assert_eq!(cache.get("3").unwrap(), "plain");
}
