//! Namespaces come back with their entries: by name, version and generation.

use bytecache::testing::Inspect;
use bytecache::{Cache, SaveOptions};

use super::{restored, saved};

/// The first bytes of stored keys of namespaces.
const MARK: [u8; 2] = [0xfd, 0xc1];

#[test]
fn entries_come_back_in_the_namespace_and_version_that_they_were_in() {
    let cache = Cache::new(1 << 20).unwrap();
    let spaces = [("users", 1), ("users", 2), ("pages", 0)];
    for (name, version) in spaces {
        let space = cache.namespace(name).version(version).build().unwrap();
        space.insert("1", "outdated").unwrap();
        space.insert("2", "outdated").unwrap();
        space.invalidate_all();
        space.insert("1", format!("{name} {version}")).unwrap();
    }
    // The keys of the versions of "users" were outdated twice.
    cache.namespace("users").version(1).build().unwrap().insert("1", "users 1").unwrap();
    cache.insert("1", "plain").unwrap();
    cache.insert([&MARK[..], &[1, 0, 0], b"1"].concat(), "looks like a key of a namespace").unwrap();

    let (next, report) = restored(Cache::builder().max_bytes(2 << 20), &saved(&cache));
    assert_eq!((report.entries, report.left_out, report.changed), (5, 0, 0));
    assert!(report.is_complete && report.damaged_blocks == 0);
    next.validate();
    // In another order, and one name more.
    for (name, version) in [("other", 0), spaces[2], spaces[1], spaces[0]] {
        let space = next.namespace(name).version(version).build().unwrap();
        let expected = if name == "other" { None } else { Some(format!("{name} {version}").into_bytes()) };
        assert_eq!(space.get("1").map(|value| value.to_vec()), expected, "{name} {version}");
        assert!(space.get("2").is_none(), "an outdated entry has come back");
        let mut keys = Vec::new();
        space.for_each(|key, _| keys.push(key.to_vec()));
        assert_eq!(keys, Vec::from_iter(expected.map(|_| b"1".to_vec())));
    }
    assert_eq!(next.get("1").unwrap(), "plain");
    assert!(next.contains_key([&MARK[..], &[1, 0, 0], b"1"].concat()));

    next.namespace("users").version(2).build().unwrap().invalidate_all();
    let (last, report) = restored(Cache::builder().max_bytes(1 << 20), &saved(&next));
    assert_eq!(report.entries, 3);
    assert!(last.namespace("users").version(1).build().unwrap().get("1").is_none());
    assert!(last.namespace("pages").build().unwrap().contains_key("1"));
}

#[test]
fn a_namespace_that_is_invalidated_during_a_save_does_not_come_back() {
    let cache = Cache::new(8 << 20).unwrap();
    let [users, pages] = ["users", "pages"].map(|name| cache.namespace(name).build().unwrap());
    for key in 0..2_000_u32 {
        users.insert(key.to_le_bytes(), [1; 500]).unwrap();
        pages.insert(key.to_le_bytes(), [2; 500]).unwrap();
    }
    let (mut snapshot, mut calls) = (Vec::new(), 0);
    let meddle = |_| {
        calls += 1;
        if calls == 2 {
            users.invalidate_all();
            users.insert("after", "the invalidation").unwrap();
            cache.namespace("late").build().unwrap().insert("1", "late").unwrap();
        }
    };
    cache.save_to_with(&mut snapshot, SaveOptions::new().progress(meddle)).unwrap();
    assert!(calls > 2, "the invalidation came at the end");

    let (next, report) = restored(Cache::builder().max_bytes(8 << 20), &snapshot);
    assert!(report.is_complete && report.changed > 0);
    let [users, pages] = ["users", "pages"].map(|name| next.namespace(name).build().unwrap());
    users.for_each(|key, _| assert_eq!(key, b"after", "an entry from before the invalidation has come back"));
    assert!((0..2_000_u32).all(|key| users.get(key.to_le_bytes()).is_none()));
    let kept = (0..2_000_u32).filter(|key| pages.contains_key(key.to_le_bytes())).count();
    assert!(kept > 1_900, "{kept} of 2,000 entries of the other namespace");
    assert_eq!(next.len() as u64, report.entries);
    next.validate();
}

#[test]
fn entries_that_are_newer_than_the_registry_before_them_are_counted_and_left_out() {
    let cache = Cache::new(8 << 20).unwrap();
    let users = cache.namespace("users").build().unwrap();
    (0..2_000_u32).for_each(|key| users.insert(key.to_le_bytes(), [1; 500]).unwrap());
    let (mut snapshot, mut calls) = (Vec::new(), 0);
    let meddle = |_| {
        calls += 1;
        if calls == 1 {
            users.invalidate_all();
            (0..300_u32).for_each(|key| users.insert(key.to_le_bytes(), [2; 3_000]).unwrap());
        }
    };
    cache.save_to_with(&mut snapshot, SaveOptions::new().progress(meddle)).unwrap();
    let (next, report) = restored(Cache::builder().max_bytes(8 << 20), &snapshot);
    // They lie in several blocks.
    assert!(report.is_complete && report.changed > 300 && calls > 3, "{report:?}, {calls} calls");
    assert_eq!((report.entries, report.left_out, report.expired), (0, 0, 0));
    next.validate();
}

#[test]
fn entries_of_namespaces_that_have_no_room_are_left_out() {
    let cache = Cache::new(1 << 20).unwrap();
    for version in 0..10 {
        cache.namespace("users").version(version).build().unwrap().insert("1", [1; 10]).unwrap();
    }
    let (next, report) = restored(Cache::builder().max_bytes(64 << 10), &saved(&cache));
    assert_eq!((report.entries, report.left_out), (8, 2));
    assert_eq!(next.namespaces().len(), 8);
    next.validate();
}

#[test]
fn a_snapshot_whose_last_record_of_namespaces_is_damaged_is_not_complete() {
    let cache = Cache::new(4 << 20).unwrap();
    let users = cache.namespace("users").build().unwrap();
    (0..1_000_u32).for_each(|key| users.insert(key.to_le_bytes(), [1; 500]).unwrap());
    let mut snapshot = Vec::new();
    cache.save_to_with(&mut snapshot, SaveOptions::new().progress(|_| users.invalidate_all())).unwrap();
    let name = snapshot.windows(5).rposition(|bytes| bytes == b"users").unwrap();
    snapshot[name] ^= 1;
    let (_, report) = restored(Cache::builder().max_bytes(4 << 20), &snapshot);
    assert!(!report.is_complete && report.damaged_blocks > 0);
}
