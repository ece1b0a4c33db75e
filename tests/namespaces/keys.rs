//! Keys of namespaces and plain keys never meet.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex};

use bytecache::{Cache, Error, Loaded, Namespace, StableHash};

/// The start of the stored keys of namespaces.
const MARK: [u8; 2] = [0xfd, 0xc1];

fn open(cache: &Cache, name: &str) -> Namespace {
    cache.namespace(name).build().unwrap()
}

/// Returns plain keys that look like stored keys: of namespaces, and of escaped keys.
fn hostile_keys() -> Vec<Vec<u8>> {
    let starts =
        [&MARK[..1], &MARK, &[0xfd, 0xc1, 0], &[0xfd, 0xc1, 1, 0], &[0xfd, 0xc1, 1, 4], &[0xfd, 0xc1, 1, 3, 0]];
    let ends = [&b""[..], b"key", &MARK, &[0; 70]];
    starts.iter().flat_map(|start| ends.iter().map(|end| [*start, *end].concat())).collect()
}

#[test]
fn plain_keys_that_look_like_stored_keys_meet_no_namespace() {
    let cache = Cache::builder().max_bytes(1 << 20).hasher(StableHash::with_seed(1)).build().unwrap();
    let spaces = [open(&cache, "a"), open(&cache, "b")];
    let keys = hostile_keys();
    for (number, key) in keys.iter().enumerate() {
        cache.insert(key, format!("plain {number}")).unwrap();
        for space in &spaces {
            space.insert(key, format!("{} {number}", space.name())).unwrap();
        }
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(cache.get(key).unwrap(), *format!("plain {number}"));
        assert_eq!(cache.view(key, <[u8]>::to_vec).unwrap(), format!("plain {number}").as_bytes());
        for space in &spaces {
            assert_eq!(space.get(key).unwrap(), *format!("{} {number}", space.name()));
        }
    }
    let mut seen = HashSet::new();
    cache.for_each(|key, value| assert!(value.starts_with(b"plain") && seen.insert(key.to_vec())));
    assert_eq!(seen, keys.iter().cloned().collect());
    spaces[0].invalidate_all();
    assert!(keys.iter().all(|key| cache.remove(key) && spaces[1].remove(key) && !spaces[0].remove(key)));
}

#[test]
fn every_operation_reaches_the_entry_of_its_own_set() {
    let cache = Cache::new(1 << 20).unwrap();
    let space = open(&cache, "space");
    let key = [&MARK[..], b"\x01\x00key"].concat();
    cache.insert(&key, "plain").unwrap();
    assert!(!space.replace(&key, "value").unwrap() && space.insert_if_absent(&key, "1").unwrap());
    assert_eq!(space.swap(&key, "2").unwrap().unwrap(), "1");
    assert!(space.replace_if(&key, "2", "3").unwrap() && !space.remove_if(&key, |value| value == b"plain"));
    assert!(space.update(&key, |value| bytecache::Update::Store([value.unwrap(), b"4"].concat())).unwrap());
    assert_eq!(space.take(&key).unwrap(), "34");
    assert_eq!(cache.peek(&key).unwrap(), "plain");
    assert!(cache.contains_key(&key) && !space.contains_key(&key));
    let mut many = vec![];
    cache.get_many(&[&key], |_, value| many.push(value.map(<[u8]>::to_vec)));
    space.get_many(&[&key], |_, value| many.push(value.map(<[u8]>::to_vec)));
    assert_eq!(many, [Some(b"plain".to_vec()), None]);
    assert_eq!(cache.len(), 1);
}

#[test]
fn loaders_get_the_keys_of_their_callers() {
    let cache = Cache::new(1 << 20).unwrap();
    let space = open(&cache, "space");
    let asked = Arc::new(Mutex::new(vec![]));
    let log = Arc::clone(&asked);
    let load = move |key: &[u8]| {
        log.lock().unwrap().push(key.to_vec());
        Ok::<_, io::Error>(Loaded::Value(key.to_vec()))
    };
    let (plain, own) = (cache.loader().build(load.clone()).unwrap(), space.loader().build(load).unwrap());
    let marked = [&MARK[..], b"\x01\x00key"].concat();
    for key in [&b"key"[..], &marked, &[7; 100]] {
        for loader in [&plain, &own, &plain, &own] {
            assert_eq!(loader.get(key).unwrap(), *key);
        }
        assert_eq!(*core::mem::take(&mut *asked.lock().unwrap()), [key, key], "once for each set");
    }
    assert_eq!((cache.stats().loads, space.stats().loads), (6, 3));
}

#[test]
fn a_key_counts_ten_bytes_of_prefix_and_an_escaped_one_none() {
    let cache = Cache::builder().max_bytes(1 << 20).max_entry_bytes(100_000).build().unwrap();
    let space = open(&cache, "space");
    let plain = |len: usize| [&MARK[..], &vec![0; len - 2]].concat();
    cache.insert(plain(65_535), "value").unwrap();
    assert!(cache.contains_key(plain(65_535)));
    assert_eq!(cache.insert(plain(65_536), ""), Err(Error::KeyTooLong { bytes: 65_536, max: 65_535 }));
    cache.insert(plain(50_000), vec![0; 50_000]).unwrap();
    assert!(cache.insert(plain(50_000), vec![0; 50_001]).is_err());

    space.insert(vec![0; 65_525], "value").unwrap();
    assert!(space.contains_key(vec![0; 65_525]));
    assert_eq!(space.insert(vec![0; 65_526], ""), Err(Error::KeyTooLong { bytes: 65_536, max: 65_535 }));
    space.insert("key", vec![0; 100_000 - 13]).unwrap();
    assert_eq!(space.insert("key", vec![0; 100_000 - 12]), Err(Error::TooLarge { bytes: 100_001, max: 100_000 }));
    assert!(!space.contains_key("key"), "a write that failed removes what is older");
    assert_eq!((space.stats().rejected_key_too_long, space.stats().rejected_too_large), (1, 1));
}
