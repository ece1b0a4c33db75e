//! Opening namespaces: the same name is the same namespace, limits, and memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{BuildError, Cache, WeakCache};

#[test]
fn the_same_name_and_version_is_the_same_namespace() {
    let cache = Cache::new(1 << 20).unwrap();
    let open = |version| cache.namespace("users").version(version).build().unwrap();
    let (first, again, other) = (open(1), open(1), open(2));
    first.insert("key", "value").unwrap();
    assert!(again.contains_key("key") && !other.contains_key("key"));
    again.invalidate_all();
    assert!(!first.contains_key("key"));
}

#[test]
fn a_name_beyond_the_limit_is_an_error_and_names_that_exist_open_still() {
    let cache = Cache::new(1 << 20).unwrap();
    let open = |number: usize| cache.namespace(format!("name {number}")).build();
    let spaces: Vec<_> = (0..128).map(|number| open(number).unwrap()).collect();
    assert_eq!(open(128).unwrap_err(), BuildError::TooManyNamespaces { max: 128 });
    for (number, space) in spaces.iter().enumerate() {
        space.insert("key", number.to_le_bytes()).unwrap();
    }
    for number in 0..128 {
        assert_eq!(open(number).unwrap().get("key").unwrap(), number.to_le_bytes());
    }
    cache.validate();
}

#[test]
fn a_name_has_at_most_255_bytes() {
    let cache = Cache::new(1 << 20).unwrap();
    assert!(cache.namespace("n".repeat(255)).build().is_ok());
    let error = cache.namespace("n".repeat(256)).build().unwrap_err();
    assert_eq!(error, BuildError::NamespaceName { bytes: 256, max: 255 });
    assert!(cache.namespace("").build().is_ok());
}

#[test]
fn namespaces_are_part_of_the_memory_and_the_limit_holds_when_all_are_open() {
    for max_bytes in [64 << 10, 1 << 20, 3 << 20] {
        let cache = Cache::builder().max_bytes(max_bytes).build().unwrap();
        for key in 0..20_000_u32 {
            cache.insert(key.to_le_bytes(), [0; 100]).unwrap();
        }
        let before = cache.memory();
        let mut opened = 0;
        let end = (0..).find_map(|version| {
            let error = cache.namespace("n".repeat(255)).version(version).build().err();
            opened += usize::from(error.is_none());
            error
        });
        assert_eq!(end, Some(BuildError::TooManyNamespaces { max: (max_bytes >> 13).min(255) }));
        let after = cache.memory();
        assert!(after.flights - before.flights > opened * 700, "{} for {opened}", after.flights);
        assert!(after.flights < max_bytes / 6, "{}", after.flights);
        assert!(after.allocated <= max_bytes);
        cache.validate();
    }
}

#[test]
fn all_versions_open_in_each_thread_at_once_are_opened_once() {
    let cache = Cache::new(1 << 20).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for version in 0..16 {
                    let space = cache.namespace("users").version(version).build().unwrap();
                    let _ = space.increment("opened", 1, bytecache::Lifetime::new()).unwrap();
                }
            });
        }
    });
    for version in 0..16 {
        let space = cache.namespace("users").version(version).build().unwrap();
        assert_eq!(space.increment("opened", 0, bytecache::Lifetime::new()).unwrap(), 8);
    }
}

#[test]
fn a_listener_of_what_leaves_for_a_namespace_may_open_another() {
    let (weak, opened) = (Arc::new(OnceLock::<WeakCache>::new()), Arc::new(AtomicUsize::new(0)));
    let (handle, count) = (Arc::clone(&weak), Arc::clone(&opened));
    let open_another = move |_: &[u8], _: &[u8], _| {
        if let Some(cache) = handle.get().and_then(WeakCache::upgrade) {
            let name = format!("listener {}", count.fetch_add(1, Ordering::Relaxed));
            let _ = cache.namespace(name).build();
        }
    };
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).on_removal(open_another).build().unwrap();
    for key in 0..20_000_u32 {
        cache.insert(key.to_le_bytes(), [0; 100]).unwrap();
    }
    weak.set(cache.downgrade()).unwrap();
    let (done, wait) = mpsc::channel();
    std::thread::spawn(move || {
        let count = (0..).take_while(|version| cache.namespace("own").version(*version).build().is_ok()).count();
        done.send(count).unwrap();
    });
    let own = wait.recv_timeout(Duration::from_secs(60)).expect("a thread waits for itself");
    assert!(opened.load(Ordering::Relaxed) > 0 && own > 0);
}
