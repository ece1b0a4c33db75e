//! The file of a snapshot: its name, its mode, and what is left of saves that failed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use bytecache::{Cache, RestoredFrom, SaveOptions, SnapshotError};

use super::DAY;

/// A folder of a test, which is removed at its end.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("bytecache-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_save_replaces_the_former_snapshot_and_leaves_no_other_file() {
    let folder = Folder::new("replaces");
    let path = folder.0.join("cache.snapshot");
    // Left by a process that was killed, and a file that is none of ours.
    fs::write(folder.0.join(".cache.snapshot.0123456789abcdef.saving"), "half").unwrap();
    fs::write(folder.0.join(".cache.snapshot.mine.saving"), "other").unwrap();
    let cache = Cache::new(1 << 20).unwrap();
    for value in ["first", "second"] {
        cache.insert("key", value).unwrap();
        cache.save(&path).unwrap();
        let (cache, _) = Cache::builder().max_bytes(1 << 20).restore(&path, DAY).unwrap();
        assert_eq!(cache.get("key").as_deref(), Some(value.as_bytes()));
    }
    assert_eq!(folder.names(), [".cache.snapshot.mine.saving", "cache.snapshot"]);
}

#[cfg(unix)]
#[test]
fn a_save_replaces_a_link_and_leaves_the_file_behind_it() {
    let folder = Folder::new("link");
    let (path, other) = (folder.0.join("cache.snapshot"), folder.0.join("other"));
    fs::write(&other, "precious").unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    Cache::new(1 << 20).unwrap().save(&path).unwrap();
    assert_eq!(fs::read(&other).unwrap(), b"precious");
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
}

#[test]
fn caches_that_are_saved_to_one_path_at_once_leave_a_whole_snapshot_of_one_of_them() {
    let folder = Folder::new("both");
    let path = folder.0.join("cache.snapshot");
    let caches = ["a", "b", "c"].map(|value| {
        let cache = Cache::new(1 << 20).unwrap();
        (0..500_u32).for_each(|key| cache.insert(key.to_le_bytes(), value).unwrap());
        cache
    });
    for _ in 0..20 {
        let saves = std::thread::scope(|scope| {
            let saves = caches.each_ref().map(|cache| scope.spawn(|| cache.save(&path)));
            saves.map(|save| save.join().unwrap())
        });
        // A save may remove the temporary file of another one, which fails then.
        assert!(saves.iter().flatten().all(|saved| saved.entries == 500));
        assert!(saves.into_iter().filter_map(Result::err).all(|error| matches!(error, SnapshotError::Io(_))));
        if !path.exists() {
            continue;
        }
        let (cache, report) = Cache::builder().max_bytes(1 << 20).restore(&path, DAY).unwrap();
        assert!(report.is_complete && report.entries == 500, "{report:?}");
        let first = cache.get(0_u32.to_le_bytes()).unwrap();
        assert!((1..500_u32).all(|key| cache.get(key.to_le_bytes()).as_deref() == Some(&first[..])));
    }
    caches[0].save(&path).unwrap();
    assert_eq!(folder.names(), ["cache.snapshot"]);
}

#[cfg(unix)]
#[test]
fn a_snapshot_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("mode");
    let path = folder.0.join("cache.snapshot");
    Cache::new(1 << 20).unwrap().save(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_missing_file_gives_an_empty_cache_and_a_bad_path_an_error() {
    let folder = Folder::new("missing");
    let builder = || Cache::builder().max_bytes(1 << 20);
    let (cache, report) = builder().restore(folder.0.join("none"), DAY).unwrap();
    assert!(cache.is_empty());
    assert_eq!((report.origin, report.age), (RestoredFrom::Missing, None));
    assert!(matches!(builder().restore(&folder.0, DAY), Err(SnapshotError::Io(_))));
    let cache = builder().build().unwrap();
    assert!(matches!(cache.save(folder.0.join("no/folder/file")), Err(SnapshotError::Io(_))));
    assert!(matches!(cache.save(folder.0.join("..")), Err(SnapshotError::Io(_))));
    assert_eq!(folder.names(), [""; 0]);
    // A folder in the place of the file: all is written, and cannot be renamed.
    fs::create_dir(folder.0.join("folder")).unwrap();
    assert!(matches!(cache.save(folder.0.join("folder")), Err(SnapshotError::Io(_))));
    assert_eq!(folder.names(), ["folder"], "no temporary file stays");
    cache.save(folder.0.join("file")).unwrap();
    // A save that ends with a panic leaves the file, and no temporary one.
    let before = fs::read(folder.0.join("file")).unwrap();
    cache.insert("key", "value").unwrap();
    let save = || cache.save_with(folder.0.join("file"), SaveOptions::new().progress(|_| panic!("in the progress")));
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(save)).is_err());
    assert_eq!(
        (folder.names(), fs::read(folder.0.join("file")).unwrap()),
        (vec!["file".into(), "folder".into()], before)
    );
    cache.save(folder.0.join("file")).unwrap();
}

#[test]
fn a_failed_build_is_reported_as_such() {
    let mut snapshot = Vec::new();
    Cache::new(1 << 20).unwrap().save_to(&mut snapshot).unwrap();
    let error = Cache::builder().max_bytes(100).restore_from(&snapshot[..], DAY).unwrap_err();
    assert!(matches!(error, SnapshotError::Build(_)));
    assert!(std::error::Error::source(&error).is_some());
}

#[test]
fn an_older_file_than_accepted_gives_an_empty_cache() {
    let cache = Cache::new(1 << 20).unwrap();
    cache.insert("key", "value").unwrap();
    let mut snapshot = Vec::new();
    cache.save_to(&mut snapshot).unwrap();
    let builder = || Cache::builder().max_bytes(1 << 20);
    // Any time at all passes until the clock shows another millisecond.
    crate::support::until(|| {
        let (cache, report) = builder().restore_from(&snapshot[..], Duration::ZERO).unwrap();
        assert_eq!(cache.is_empty(), report.origin == RestoredFrom::TooOld);
        report.origin == RestoredFrom::TooOld
    });
}
