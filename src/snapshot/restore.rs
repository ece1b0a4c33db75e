//! Restoring: [`CacheBuilder::restore`] and [`CacheBuilder::restore_from`].
//!
//! Blocks are read one after the other, and their entries are stored in the order of the file. The
//! policy of the restored cache gives them their places, and evicts those that do not fit. The keys
//! that changed while the snapshot was saved come last in the file, and are removed then.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use super::changed::ChangedKeys;
use super::error::SnapshotError;
use super::format::{
    BLOCK_BYTES, BlockHeader, Header, HeaderError, MAX_OTHER_BYTES, MAX_POLICY_BYTES, Reader, VERSION, kind,
};
use super::source::Source;
use super::{namespaces, wall_clock_millis};
use crate::builder::{CacheBuilder, FormerCache};
use crate::cache::{Cache, MAX_SHARDS};
use crate::hash::{HashSeeds, StableHash};
use crate::namespace::KeyState;
use crate::shard::RestoredEntry;

/// The longest payload of a block of entries, not counting its last entry.
const MAX_BLOCK_BYTES: usize = 4 * BLOCK_BYTES;

/// Entries whose buckets are prefetched before they are stored.
const BATCH: usize = 16;

/// The origin of the entries of a restored cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoredFrom {
    /// The snapshot.
    #[default]
    Snapshot,
    /// None: there is no file, so the cache is empty.
    Missing,
    /// None: the snapshot is older than the caller accepts, or its time lies ahead by more than
    /// that. So the cache is empty.
    TooOld,
}

/// The result of restoring a cache.
///
/// ```
/// use bytecache::{Cache, RestoredFrom};
/// use std::time::Duration;
///
/// let builder = Cache::builder().max_bytes(1 << 20);
/// let (cache, restored) = builder.restore("no/such.snapshot", Duration::from_secs(600))?;
/// assert!(cache.is_empty());
/// assert_eq!((restored.origin, restored.entries), (RestoredFrom::Missing, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// The origin of the entries. The cache is empty unless that is the snapshot.
    pub origin: RestoredFrom,
    /// The number of entries in the cache.
    pub entries: u64,
    /// The bytes that these entries take in the rings of the cache.
    pub bytes: u64,
    /// The number of entries that have expired since they were saved.
    pub expired: u64,
    /// The number of entries that were left out because they may have changed while the snapshot
    /// was saved. An entry is left out if its key was changed, if it shares a bit of the record
    /// with a changed key, or if its namespace was invalidated.
    pub changed: u64,
    /// The number of entries that were left out because they do not fit. They are too large for
    /// this cache, the policy preferred others, or there is no room for their namespace. Entries of
    /// damaged blocks are not counted.
    pub left_out: u64,
    /// The number of places of the file where blocks are damaged or missing.
    pub damaged_blocks: u64,
    /// `true` if the file has its end, and all records of changes that the end counts. Otherwise
    /// some keys that were changed during the save may be unknown. Their values may be as old as
    /// the start of the save.
    pub is_complete: bool,
    /// The time since the save began, unless the file is missing. Zero if the wall clock has gone
    /// back since.
    pub age: Option<Duration>,
}

/// # Snapshots
impl CacheBuilder {
    /// Builds the cache, and restores the entries that [`Cache::save`] wrote to the file `path`.
    ///
    /// A snapshot is older than the store behind the cache: `max_age` is the greatest age that you
    /// accept, counted from the start of the save by the wall clock. If the file is older, or there
    /// is none, the cache is empty and [`Restored::origin`] says so. Read
    /// [`docs::snapshots`](crate::docs::snapshots) on choosing an age.
    ///
    /// The cache may have another size, number of shards, policy or hasher than the one that was
    /// saved. Entries that do not fit are left out, beginning with those that the policy would
    /// evict first. Entries keep the lifetimes that they have left, and entries that have expired
    /// are left out. If the wall clock has gone back, no time counts as passed. Damaged blocks are
    /// left out and counted.
    ///
    /// # Errors
    ///
    /// * [`SnapshotError::NotASnapshot`] if the file is empty or is something else;
    /// * [`SnapshotError::UnknownVersion`] if its format is later than this version of the crate;
    /// * [`SnapshotError::DamagedHeader`] if its header is damaged or cut;
    /// * [`SnapshotError::Io`] if the file cannot be opened, or its header cannot be read;
    /// * [`SnapshotError::Build`] if [`build`](Self::build) returns an error.
    ///
    /// # Cost
    ///
    /// Beside the cache, a restore allocates a window of 1 MiB, or of the largest entry if that is
    /// larger. It allocates at most a 64th of `max_bytes` for changed keys.
    ///
    /// ```
    /// use bytecache::{Cache, RestoredFrom};
    /// use std::time::Duration;
    ///
    /// # let name = format!("bytecache-restore-{}", std::process::id());
    /// # let folder = std::env::temp_dir().join(name);
    /// # std::fs::create_dir_all(&folder)?;
    /// # let path = folder.join("users.snapshot");
    /// let open = || Cache::builder().max_bytes(1 << 20).restore(&path, Duration::from_secs(600));
    ///
    /// let (cache, restored) = open()?;
    /// assert_eq!(restored.origin, RestoredFrom::Missing);
    /// cache.insert("user:1", "Ada")?;
    /// cache.save(&path)?;
    ///
    /// let (cache, restored) = open()?;
    /// assert_eq!((restored.origin, restored.entries), (RestoredFrom::Snapshot, 1));
    /// assert!(cache.contains_key("user:1"));
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restore(self, path: impl AsRef<Path>, max_age: Duration) -> Result<(Cache, Restored), SnapshotError> {
        match File::open(path) {
            Ok(file) => self.restore_from(file, max_age),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let restored = Restored { origin: RestoredFrom::Missing, ..Restored::default() };
                Ok((self.build()?, restored))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Builds the cache, and restores the entries that [`Cache::save_to`] wrote, like
    /// [`restore`](Self::restore).
    ///
    /// `reader` need not be buffered. If it fails after the header, the rest of the file counts as
    /// damaged.
    ///
    /// # Errors
    ///
    /// Those of [`restore`](Self::restore), but for the opening of a file.
    ///
    /// ```
    /// use bytecache::{Cache, SnapshotError};
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("user:1", "Ada")?;
    /// let mut snapshot = Vec::new();
    /// cache.save_to(&mut snapshot)?;
    ///
    /// // A larger cache with another policy.
    /// let builder = Cache::builder().max_bytes(4 << 20).policy("lru".parse()?);
    /// let (cache, _) = builder.clone().restore_from(&snapshot[..], Duration::from_secs(600))?;
    /// assert_eq!(cache.get("user:1").as_deref(), Some(&b"Ada"[..]));
    ///
    /// let error = builder.restore_from(&snapshot[..20], Duration::from_secs(600)).unwrap_err();
    /// assert!(matches!(error, SnapshotError::DamagedHeader));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn restore_from(self, reader: impl Read, max_age: Duration) -> Result<(Cache, Restored), SnapshotError> {
        // In this order, so that a thread that is preempted in between makes lifetimes shorter.
        let began = Instant::now();
        restore_at(self, reader, max_age, began, wall_clock_millis())
    }
}

/// Restores a cache as if the wall clock had shown `now_millis` at `began`.
fn restore_at(
    builder: CacheBuilder,
    reader: impl Read,
    max_age: Duration,
    began: Instant,
    now_millis: u64,
) -> Result<(Cache, Restored), SnapshotError> {
    let mut source = Source::new(reader);
    let header = read_header(&mut source)?;
    let seeds = (header.seeds != [0; 4]).then_some(HashSeeds(header.seeds));
    let index_sizes = peek_index_sizes(&mut source, &header).unwrap_or_default();
    let former = FormerCache { max_bytes: header.max_bytes, buckets: header.buckets, index_sizes, seeds };
    let cache = builder.resume(former).build()?;
    let age = Duration::from_millis(now_millis.saturating_sub(header.start_millis));
    // A snapshot from the future has an age that is not known. The clock may have gone back by a
    // little, or may have been wrong by years when the snapshot was saved.
    let ahead = Duration::from_millis(header.start_millis.saturating_sub(now_millis));
    if age > max_age || ahead > max_age {
        return Ok((cache, Restored { origin: RestoredFrom::TooOld, age: Some(age), ..Restored::default() }));
    }
    let restored = Restored { age: Some(age), ..Restored::default() };
    let changed = ChangedKeys::new(header.nonce, cache.max_bytes());
    let mut restore = Restore {
        cache: &cache,
        source,
        header,
        now_millis,
        began,
        knows_standings: false,
        live_targets: Vec::new(),
        changed,
        records: 0,
        last_record: None,
        stored: 0,
        restored,
    };
    restore.read_blocks();
    let restored = restore.finish();
    Ok((cache, restored))
}

fn read_header(source: &mut Source<impl Read>) -> Result<Header, SnapshotError> {
    let bytes = source.fill(Header::BYTES)?;
    let header = Header::from_bytes(bytes).map_err(|error| match error {
        HeaderError::Foreign => SnapshotError::NotASnapshot,
        HeaderError::UnknownVersion(version) => SnapshotError::UnknownVersion { version, latest: VERSION },
        HeaderError::Damaged => SnapshotError::DamagedHeader,
    })?;
    source.pass(Header::BYTES);
    Ok(header)
}

/// Returns the size of the index of each shard, if the first block has them. Passes nothing.
fn peek_index_sizes(source: &mut Source<impl Read>, header: &Header) -> Option<Vec<u64>> {
    let block = BlockHeader::from_bytes(source.fill(BlockHeader::BYTES).ok()?, header.nonce)?;
    if block.kind != kind::POLICY || block.length > MAX_POLICY_BYTES {
        return None;
    }
    let end = BlockHeader::BYTES + usize::try_from(block.length).ok()?;
    let payload = source.fill(end).ok()?.get(BlockHeader::BYTES..end)?;
    if StableHash::with_seed(header.nonce).hash_bytes(payload) != block.payload_sum {
        return None;
    }
    let (_, shards) = read_experiences(payload, header.shards)?;
    Some(shards.iter().map(|shard| shard.index_size).collect())
}

/// The experience of a shard with its traffic, as it was saved.
struct SavedExperience<'a> {
    index_size: u64,
    live_target: u32,
    /// The state of its policy.
    policy: &'a [u8],
}

/// Returns the name of the policy and the experience of each shard from a payload, or `None` if it
/// is damaged.
fn read_experiences(payload: &[u8], shards: u32) -> Option<(&[u8], Vec<SavedExperience<'_>>)> {
    let mut reader = Reader(payload);
    let name = reader.counted()?;
    if shards as usize > MAX_SHARDS {
        return None;
    }
    let mut experiences = Vec::new();
    for _ in 0..shards {
        let index_size = reader.number()?;
        let live_target = u32::try_from(reader.number()?).ok()?;
        experiences.push(SavedExperience { index_size, live_target, policy: reader.counted()? });
    }
    Some((name, experiences))
}

/// A restore in progress.
struct Restore<'a, R> {
    cache: &'a Cache,
    source: Source<R>,
    header: Header,
    /// The time of the wall clock when the restore began.
    now_millis: u64,
    began: Instant,
    /// The policy knows the meaning of the standings in the file.
    knows_standings: bool,
    /// The live target of each shard that is known.
    live_targets: Vec<u32>,
    changed: ChangedKeys,
    /// The number of records that were read: of changes, and of namespaces.
    records: u64,
    /// The number of the block with the last one.
    last_record: Option<u64>,
    stored: u64,
    restored: Restored,
}

impl<R: Read> Restore<'_, R> {
    fn read_blocks(&mut self) {
        while let Some(header) = self.source.next_block(self.header.nonce) {
            // Nothing comes behind the end of a whole file.
            self.restored.is_complete = false;
            match header.kind {
                kind::ENTRIES => self.read_entries(&header),
                kind::POLICY => self.read_checked(&header, Self::read_policy),
                kind::HISTORY => self.read_checked(&header, Self::read_history),
                kind::NAMESPACES => self.read_checked(&header, |restore, payload| {
                    restore.count_record(&header);
                    namespaces::restore(restore.cache, payload)
                }),
                kind::CHANGES => self.read_checked(&header, |restore, payload| {
                    restore.count_record(&header);
                    restore.changed.read(payload)
                }),
                kind::END => self.read_checked(&header, |restore, payload| {
                    restore.restored.is_complete = Reader(payload).number()? == restore.records;
                    Some(())
                }),
                _ => self.skip(header.length),
            }
        }
        if !self.restored.is_complete {
            self.source.note_damage();
        }
    }

    /// Counts a record, unless it is a copy of one that was read.
    fn count_record(&mut self, header: &BlockHeader) {
        if self.last_record.is_none_or(|last| last < header.number) {
            self.last_record = Some(header.number);
            self.records += 1;
        }
    }

    fn skip(&mut self, length: u64) {
        if !self.source.skip(length) {
            self.source.note_damage();
        }
    }

    /// Reads a block that has no entries. `read` returns `None` if the payload is not as it should
    /// be.
    fn read_checked(&mut self, header: &BlockHeader, read: impl FnOnce(&mut Self, &[u8]) -> Option<()>) {
        let most = if header.kind == kind::POLICY { MAX_POLICY_BYTES } else { MAX_OTHER_BYTES };
        if header.length > most {
            self.source.note_damage();
            return;
        }
        let Some(payload) = self.payload(header).map(<[u8]>::to_vec) else { return };
        self.source.pass(payload.len());
        if read(self, &payload).is_none() {
            self.source.note_damage();
        }
    }

    /// Returns the payload of a block, if it is as it was written. Otherwise counts the damage.
    fn payload(&mut self, header: &BlockHeader) -> Option<&[u8]> {
        let length = usize::try_from(header.length).ok()?;
        let is_whole = self.source.fill(length).is_ok_and(|bytes| {
            let payload = bytes.get(..length);
            payload.is_some_and(|payload| {
                StableHash::with_seed(self.header.nonce).hash_bytes(payload) == header.payload_sum
            })
        });
        if !is_whole {
            self.source.note_damage();
            return None;
        }
        self.source.fill(length).ok()?.get(..length)
    }

    /// Restores what the shards knew of their traffic, if the policy is the same.
    fn read_policy(&mut self, payload: &[u8]) -> Option<()> {
        let (name, experiences) = read_experiences(payload, self.header.shards)?;
        self.knows_standings = !name.is_empty() && name == self.cache.shard(0).snapshot_name().as_bytes();
        if !self.knows_standings {
            return Some(());
        }
        // A damaged file may hold such a block twice. The later one counts.
        self.live_targets.clear();
        for number in 0..self.cache.shards() {
            let experience = experiences.get(number * experiences.len() / self.cache.shards())?;
            // The target first: the policy's state depends on its capacity.
            self.cache.shard(number).restore_live_target(experience.live_target);
            self.cache.shard(number).restore_policy(experience.policy);
            self.live_targets.push(experience.live_target);
        }
        Some(())
    }

    /// Restores a part of what a policy remembers of keys, if their hashes and shards are the same.
    fn read_history(&mut self, payload: &[u8]) -> Option<()> {
        let mut reader = Reader(payload);
        let shard = usize::try_from(reader.number()?).ok()?;
        let part = usize::try_from(reader.number()?).ok()?;
        let has_same_shards = self.header.shards as usize == self.cache.shards();
        if self.knows_standings && has_same_shards && self.header.probe == self.cache.hash_probe() {
            let shard = Some(shard).filter(|&shard| shard < self.cache.shards())?;
            self.cache.shard(shard).restore_history(part, reader.0);
        }
        Some(())
    }

    fn read_entries(&mut self, header: &BlockHeader) {
        let limit = MAX_BLOCK_BYTES.saturating_add(self.cache.max_entry_bytes());
        if usize::try_from(header.length).map_or(true, |length| length > limit) {
            self.restored.left_out += u64::from(header.count);
            self.skip(header.length);
            return;
        }
        // Rounded up, so that no entry lives longer by being restored.
        let begin = Duration::from_millis(self.now_millis.saturating_add(1));
        let (began, saved) = (self.began, Duration::from_millis(header.time_millis));
        let passed = || begin.saturating_add(began.elapsed()).saturating_sub(saved);
        let mut counts = Counts::default();
        let (cache, knows_standings) = (self.cache, self.knows_standings);
        let Some(payload) = self.payload(header) else { return };
        let (mut reader, length) = (Reader(payload), payload.len());
        let mut batch = Vec::with_capacity(BATCH);
        let (mut left, mut is_whole) = (header.count, true);
        while left > 0 && is_whole {
            // Their memory accesses overlap.
            while batch.len() < BATCH && left > 0 && is_whole {
                match reader.entry() {
                    Some(entry) => {
                        let target = cache.target(entry.key);
                        target.shard.prefetch_to_write(target.hash);
                        batch.push((target, entry));
                        left -= 1;
                    }
                    None => is_whole = false,
                }
            }
            for (target, entry) in batch.drain(..) {
                let fits = cache.is_storable(entry.key) && entry.bytes() <= cache.max_entry_bytes();
                match cache.key_state(entry.key) {
                    KeyState::Outdated => counts.outdated += 1,
                    KeyState::Current if fits => counts
                        .add(target.shard.write(|writer| writer.restore(target.hash, &entry, passed, knows_standings))),
                    KeyState::Current | KeyState::Unknown => counts.add(RestoredEntry::NoSpace),
                }
            }
        }
        is_whole &= reader.0.is_empty();
        self.source.pass(length);
        self.stored += counts.stored;
        self.restored.expired += counts.expired;
        self.restored.left_out += counts.without_space;
        self.restored.changed += counts.outdated;
        if !is_whole {
            self.source.note_damage();
        }
    }

    /// Removes the keys that have changed, and counts the entries that stay.
    fn finish(mut self) -> Restored {
        for (number, &live_target) in self.live_targets.iter().enumerate() {
            self.cache.shard(number).restore_live_target(live_target);
        }
        let before = self.cache.len() as u64;
        self.restored.left_out += self.stored.saturating_sub(before);
        let is_outdated = |key: &[u8]| self.cache.key_state(key) == KeyState::Outdated;
        if !self.changed.are_none() || !self.cache.namespaces().is_empty() {
            self.cache.remove_keys(|key| self.changed.have(key) || is_outdated(key));
        }
        self.restored.entries = self.cache.len() as u64;
        self.restored.changed += before - self.restored.entries.min(before);
        self.restored.bytes = self.cache.memory().live as u64;
        self.restored.damaged_blocks = self.source.damaged;
        self.restored
    }
}

/// The numbers of entries of a block that were stored or left out.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    stored: u64,
    expired: u64,
    without_space: u64,
    /// Of an earlier or later generation of their namespace, or their key was restored from an
    /// earlier place of the file.
    outdated: u64,
}

impl Counts {
    fn add(&mut self, restored: RestoredEntry) {
        match restored {
            RestoredEntry::Stored => self.stored += 1,
            RestoredEntry::Expired => self.expired += 1,
            RestoredEntry::NoSpace => self.without_space += 1,
            // Its key was removed and stored again.
            RestoredEntry::Present => self.outdated += 1,
        }
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests;
