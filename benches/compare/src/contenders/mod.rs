//! The caches that race, each behind [`Contender`], and their names.
//!
//! Every contender stores a copy of key and value. It returns a value by copying it into a reused
//! `Vec`, with the cheapest read of its API. If a contender's default hasher is SipHash or XXH64
//! and can be replaced, it gets aHash. So no contender loses a race because of its hash function.

mod bytecache;
mod foyer;
mod loading;
mod moka;
mod quick_cache;
mod segcache;
mod sharded_lru;
mod stretto;
mod tinyufo;

use crate::floor::{Pages, ReadFloor, WriteFloor};
use crate::race::{Racer, Seated};
use crate::works::{Kind, Work};
use ::bytecache::Policy;
use std::hint::black_box;
use std::time::Duration;

/// A cache of bytes, with the operations of the works.
pub trait Contender: Send + Sync + 'static {
    /// Replaces the contents of `out` by the value under `key`. Returns `false` if there is none.
    fn get_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool;

    /// Stores `value` under `key`. Returns `false` if the cache refused.
    fn insert(&self, key: &[u8], value: &[u8]) -> bool;

    /// Returns `true` if `key` is present, by a call that changes no contents.
    fn contains(&self, key: &[u8]) -> bool;

    /// Reads every key like [`get_into`](Self::get_into). Returns the number of hits.
    #[inline(always)]
    fn get_many_into(&self, keys: &[&[u8]], out: &mut Vec<u8>) -> u64 {
        let mut hits = 0;
        for key in keys {
            hits += u64::from(self.get_into(key, out));
            black_box(&out);
        }
        hits
    }

    /// Like [`get_into`](Self::get_into), but by the call that would load the value. Returns
    /// `false` if the value was absent. Called only for contenders that [take part](takes_part).
    fn load_into(&self, key: &[u8], out: &mut Vec<u8>) -> bool {
        unreachable!("it has no such call: {key:?}, {out:?}")
    }

    /// Stores an entry that expires after `ttl`. Returns `false` if the contender has no lifetimes
    /// for single entries.
    fn insert_expiring(&self, _key: &[u8], _value: &[u8], _ttl: Duration) -> bool {
        false
    }

    /// Removes all entries. Returns `false` if the contender has no such call.
    fn clear(&self) -> bool {
        false
    }

    /// Does the deferred work of the cache.
    fn settle(&self) {}
}

/// All names that `--contenders` accepts, in the order of the tables.
pub const NAMES: [&str; 15] = [
    "bytecache",
    "bytecache-16",
    "bytecache-s3-fifo",
    "bytecache-lru",
    "quick_cache",
    "moka",
    "foyer",
    "tinyufo",
    "tinyufo-compact",
    "segcache",
    "segcache-s3fifo",
    "stretto",
    "lru",
    "floor",
    "floor-4k",
];

/// The names that race by default.
pub const DEFAULT_NAMES: [&str; 9] =
    ["bytecache", "quick_cache", "moka", "foyer", "tinyufo", "segcache", "stretto", "lru", "floor"];

/// Returns `true` if `name` takes part in works of this kind. The floor has only reads and inserts,
/// and not every contender can load.
pub fn takes_part(name: &str, kind: Kind) -> bool {
    match kind {
        Kind::Load => ["bytecache", "quick_cache", "moka"].iter().any(|loads| name.starts_with(loads)),
        Kind::Read | Kind::ReadMany => true,
        Kind::Mixed | Kind::Half | Kind::Update => !is_floor(name),
        Kind::Aside => evicts(name),
        Kind::Insert => evicts(name) || is_floor(name),
    }
}

/// Returns `true` if `name` keeps within its limit as fast as entries come in. The floor has no
/// limit, and stretto falls behind ([why](stretto)).
pub fn evicts(name: &str) -> bool {
    !is_floor(name) && name != "stretto"
}

/// Returns the names that evict, each in the form that takes the least memory.
pub fn compact(names: &[&'static str]) -> impl Iterator<Item = &'static str> {
    names.iter().filter(|name| evicts(name)).map(|&name| if name == "tinyufo" { "tinyufo-compact" } else { name })
}

/// Returns `true` if `name` is a floor rather than a cache.
pub fn is_floor(name: &str) -> bool {
    name.starts_with("floor")
}

/// Builds the contender called `name` for `work`. It is empty unless it is a read floor.
///
/// # Panics
///
/// Panics if `name` is not one of [`NAMES`].
pub fn build(name: &str, work: &Work) -> Box<dyn Racer> {
    match name {
        "quick_cache" if work.kind == Kind::Load => Box::new(Seated(loading::QuickCache::for_work(work))),
        "moka" if work.kind == Kind::Load => Box::new(Seated(loading::Moka::for_work(work))),
        "bytecache" => Box::new(Seated(bytecache::Bytecache::for_work(work, Policy::default()))),
        "bytecache-16" => Box::new(Seated(bytecache::Bytecache::with_shards(work, 16))),
        "bytecache-s3-fifo" => Box::new(Seated(bytecache::Bytecache::for_work(work, Policy::S3Fifo))),
        "bytecache-lru" => Box::new(Seated(bytecache::Bytecache::for_work(work, Policy::Lru))),
        "quick_cache" => Box::new(Seated(quick_cache::QuickCache::for_work(work))),
        "moka" => Box::new(Seated(moka::Moka::for_work(work))),
        "foyer" => Box::new(Seated(foyer::Foyer::for_work(work))),
        "tinyufo" => Box::new(Seated(tinyufo::TinyUfo::for_work(work))),
        "tinyufo-compact" => Box::new(Seated(tinyufo::TinyUfo::compact(work))),
        "segcache" => Box::new(Seated(segcache::Segcache::merging(work))),
        "segcache-s3fifo" => Box::new(Seated(segcache::Segcache::s3_fifo(work))),
        "stretto" => Box::new(Seated(stretto::Stretto::for_work(work))),
        "lru" => Box::new(Seated(sharded_lru::ShardedLru::for_work(work))),
        "floor" => floor(work, Pages::Huge),
        "floor-4k" => floor(work, Pages::Small),
        _ => panic!("no contender is called {name}"),
    }
}

fn floor(work: &Work, pages: Pages) -> Box<dyn Racer> {
    if work.kind == Kind::Insert {
        Box::new(Seated(WriteFloor::for_work(work, pages)))
    } else {
        Box::new(Seated(ReadFloor::filled(work, pages)))
    }
}

/// Returns the number of shards for caches that leave it to the user: four per core, rounded up to
/// a power of two.
pub fn shard_count() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (4 * cores).next_power_of_two()
}

/// Replaces the contents of `out` by `value`.
#[inline(always)]
pub fn copy_into(value: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::race::fill;
    use crate::works::{Skew, key_of};

    #[test]
    fn defaults_are_among_the_names() {
        assert!(DEFAULT_NAMES.iter().all(|name| NAMES.contains(name)));
    }

    #[test]
    fn stretto_takes_part_where_everything_fits() {
        assert!([Kind::Read, Kind::Half, Kind::Update].into_iter().all(|kind| takes_part("stretto", kind)));
        assert!(![Kind::Load, Kind::Aside, Kind::Insert].into_iter().any(|kind| takes_part("stretto", kind)));
    }

    #[test]
    fn stretto_keeps_every_entry_though_more_come_than_its_queue_holds() {
        let work = Work::fitting("test", Kind::Read, Skew::Uniform, 150_000, 8, 1);
        let racer = build("stretto", &work);
        fill(&*racer, &work);
        racer.settle();
        assert!((0..work.keys as u64).all(|index| racer.contains(&key_of(index))));
    }
}
