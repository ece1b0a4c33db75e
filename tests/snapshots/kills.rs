//! Processes that are killed at any moment of saving and restoring leave a whole snapshot.
//!
//! The test runs itself as a child that saves and restores for ever. It kills the child, and checks
//! what is there. `BYTECACHE_KILLS` sets how often: 20 times by default.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, CacheBuilder, Policy, RestoredFrom};

use super::DAY;
use super::files::Folder;
use crate::support::{random, until};

/// Tells the test that it is the child, and where the snapshot is.
const CHILD: &str = "BYTECACHE_SNAPSHOT_OF_CHILD";
const KEYS: u64 = 20_000;

fn builder() -> CacheBuilder {
    Cache::builder().max_bytes(4 << 20).shards(2).policy(Policy::Adaptive)
}

/// Returns a value from which the key and the generation can be told.
fn value_of(key: u64, generation: u64) -> Vec<u8> {
    let times = [1, 2, 3, 5, 9][usize::try_from(key % 5).unwrap()];
    [key.to_le_bytes(), generation.to_le_bytes()].concat().repeat(times)
}

/// Restores the snapshot and checks every value. Returns the greatest generation.
fn check(path: &Path) -> (Cache, u64) {
    let (cache, restored) = builder().restore(path, DAY).unwrap();
    assert_eq!(restored.damaged_blocks, 0, "{restored:?}");
    assert!(restored.is_complete || restored.origin == RestoredFrom::Missing);
    let mut newest = 0;
    cache.for_each(|key, value| {
        let key = u64::from_le_bytes(key.try_into().unwrap());
        let generation = u64::from_le_bytes(value[8..16].try_into().unwrap());
        assert_eq!(value, value_of(key, generation));
        newest = newest.max(generation);
    });
    cache.validate();
    (cache, newest)
}

/// Restores, changes and saves for ever.
fn save_for_ever(path: &Path) {
    loop {
        let (cache, newest) = check(path);
        for key in 0..KEYS {
            cache.insert(key.to_le_bytes(), value_of(key, newest + 1)).unwrap();
        }
        cache.save(path).unwrap();
    }
}

/// The child of the next test. It does nothing unless that test runs it.
#[test]
fn child_that_saves_for_ever() {
    if let Some(path) = std::env::var_os(CHILD) {
        save_for_ever(Path::new(&path));
    }
}

fn spawn(path: &Path) -> Child {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", "kills::child_that_saves_for_ever", "--nocapture"]).env(CHILD, path);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_killed_process_leaves_a_whole_snapshot() {
    let folder = Folder::new("kills");
    let path = folder.0.join("cache.snapshot");
    let kills = std::env::var("BYTECACHE_KILLS").map_or(20, |kills| kills.parse().unwrap());
    let (mut state, mut newest) = (7, 0);
    for kill in 0..kills {
        let mut child = spawn(&path);
        // After the first snapshot is there, at a moment that is left to chance. No result depends
        // on the time.
        until(|| path.exists());
        std::thread::park_timeout(Duration::from_micros(random(&mut state) as u64 % 150_000));
        assert!(child.try_wait().unwrap().is_none(), "the child has found a fault");
        child.kill().unwrap();
        child.wait().unwrap();
        let (_, found) = check(&path);
        assert!(found >= newest.max(1), "kill {kill} went back from {newest} to {found}");
        newest = found;
    }
    // What the killed saves have left is removed by the next one.
    check(&path).0.save(&path).unwrap();
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
}
