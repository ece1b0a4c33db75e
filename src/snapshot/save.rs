//! Saving: [`Cache::save`] and [`Cache::save_to`].
//!
//! All shards are walked in step. In each round every shard shows an equal part of its entries. So
//! the order of the file is that of the policy for the whole cache: entries that would be evicted
//! first come first. A cache with other shards is restored by storing the entries in this order.

use core::fmt;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::changed::ChangesWriter;
use super::error::SnapshotError;
use super::file::TemporaryFile;
use super::format::{BLOCK_BYTES, BlockHeader, Header, encode_entry, kind, put_number};
use super::reserve::Reserve;
use super::{namespaces, wall_clock_millis};
use crate::cache::Cache;
use crate::hash::{HashSeeds, StableHash};
use crate::ring::Value;
use crate::shard::{Changes, SaveSink, SaveWalk, SavedEntry};
use crate::units::to_u32;

/// The parts of each shard that are shown one after the other.
const ROUNDS: usize = 256;
/// The most times that changes are looked for at the end. Writers may go on for ever.
const LAST_LOOKS: usize = 8;
/// The most parts of what a policy remembers that are saved for each shard, and the longest one.
const MAX_PARTS: usize = 1 << 20;
const MAX_PART_BYTES: usize = 16 << 10;
/// The longest state of a policy that is saved for each shard.
const MAX_STATE_BYTES: usize = 1024;

/// The result of saving a cache.
///
/// ```
/// use bytecache::Cache;
///
/// let cache = Cache::new(1 << 20)?;
/// cache.insert("user:1", "Ada")?;
/// let mut snapshot = Vec::new();
/// let saved = cache.save_to(&mut snapshot)?;
/// assert_eq!((saved.entries, saved.bytes), (1, snapshot.len() as u64));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Saved {
    /// The number of entries that were written. It includes entries that were changed meanwhile,
    /// which are left out when the snapshot is restored.
    pub entries: u64,
    /// The length of the snapshot, in bytes.
    pub bytes: u64,
    /// The time from the start of the save to its end.
    pub elapsed: Duration,
}

/// The progress of a save, for [`SaveOptions::progress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SaveProgress {
    /// The number of entries that were written.
    pub entries: u64,
    /// The number of entries that the cache had when the save began.
    pub total_entries: u64,
    /// The number of bytes that were written.
    pub bytes: u64,
}

/// The options of a save.
///
/// ```
/// use bytecache::{Cache, SaveOptions};
///
/// let cache = Cache::new(1 << 20)?;
/// for key in 0..1000_u32 {
///     cache.insert(key.to_le_bytes(), [0; 100])?;
/// }
/// let mut last = None;
/// let options = SaveOptions::new().progress(|progress| last = Some(progress));
/// let saved = cache.save_to_with(&mut Vec::new(), options)?;
/// assert_eq!(saved.entries, 1000);
/// assert!(last.is_some_and(|last| last.entries == 1000 && last.total_entries == 1000));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
#[must_use = "options do nothing until a cache is saved with them"]
pub struct SaveOptions<'a> {
    progress: Option<Box<dyn FnMut(SaveProgress) + 'a>>,
}

impl<'a> SaveOptions<'a> {
    /// Creates the default options.
    ///
    /// ```
    /// use bytecache::{Cache, SaveOptions};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let saved = cache.save_to_with(&mut Vec::new(), SaveOptions::new())?;
    /// assert_eq!(saved.entries, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a function that is called after each block, about every 256 KiB. No lock is held
    /// meanwhile.
    ///
    /// ```
    /// use bytecache::{Cache, SaveOptions};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("key", "value")?;
    /// let mut calls = 0;
    /// cache.save_to_with(&mut Vec::new(), SaveOptions::new().progress(|_| calls += 1))?;
    /// assert_eq!(calls, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn progress(mut self, progress: impl FnMut(SaveProgress) + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }
}

impl fmt::Debug for SaveOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SaveOptions").field("has_progress", &self.progress.is_some()).finish()
    }
}

/// # Snapshots
impl Cache {
    /// Saves the entries of the cache to the file `path`, for
    /// [`CacheBuilder::restore`](crate::CacheBuilder::restore).
    ///
    /// Reads and writes go on meanwhile. An entry that is replaced or leaves while the cache is
    /// saved is left out when the snapshot is restored. For eight such entries, about one other is
    /// left out, and up to five if entries take less than 128 bytes.
    ///
    /// The file is written under a temporary name in the same folder, synced, and renamed. So a
    /// crash leaves the former snapshot or this one. On Unix only its owner can read it.
    ///
    /// Read [`docs::snapshots`](crate::docs::snapshots) before you restore values from a snapshot:
    /// they are older than the store behind the cache.
    ///
    /// # Errors
    ///
    /// * [`SnapshotError::Io`] if the file cannot be written: the former snapshot stays. Only if
    ///   the system fails to sync the folder at the end, this one may be in its place;
    /// * [`SnapshotError::InProgress`] if another thread is saving this cache.
    ///
    /// # Cost
    ///
    /// Each lock is held for the order of a few entries at a time. Entries are copied without it.
    /// Keys of entries that are replaced or leave meanwhile are recorded by their hashes. The
    /// record has one or two bytes for each entry of the cache. It is at most a 64th of
    /// `max_bytes`, and part of it. A full cache evicts entries for it. Beside the cache, a save
    /// allocates a bit for each place of the indexes and about 1 MiB. It also copies a large value
    /// that cannot be held.
    ///
    /// ```
    /// use bytecache::Cache;
    /// use std::time::Duration;
    ///
    /// # let folder = std::env::temp_dir().join(format!("bytecache-save-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let path = folder.join("users.snapshot");
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("user:1", "Ada")?;
    /// let saved = cache.save(&path)?;
    /// assert_eq!(saved.entries, 1);
    ///
    /// // In the next process.
    /// let builder = Cache::builder().max_bytes(1 << 20);
    /// let (cache, restored) = builder.restore(&path, Duration::from_secs(600))?;
    /// assert_eq!(restored.entries, 1);
    /// assert_eq!(cache.get("user:1").as_deref(), Some(&b"Ada"[..]));
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<Saved, SnapshotError> {
        self.save_with(path, SaveOptions::new())
    }

    /// Saves the entries of the cache to a file like [`save`](Self::save), with options.
    ///
    /// # Errors
    ///
    /// Those of [`save`](Self::save).
    ///
    /// ```
    /// use bytecache::{Cache, SaveOptions};
    ///
    /// # let folder = std::env::temp_dir().join(format!("bytecache-with-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let path = folder.join("users.snapshot");
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("user:1", "Ada")?;
    /// let options = SaveOptions::new().progress(|progress| println!("{progress:?}"));
    /// assert_eq!(cache.save_with(&path, options)?.entries, 1);
    /// # std::fs::remove_dir_all(folder)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save_with(&self, path: impl AsRef<Path>, options: SaveOptions<'_>) -> Result<Saved, SnapshotError> {
        let nonce = random();
        let mut save = Save::begin(self, nonce, options)?;
        // Others may see the name, and are not to know the nonce.
        let mut file = TemporaryFile::create(path.as_ref(), random())?;
        // The disk is synced before changes are looked for, as that takes long.
        let saved = save.write(&mut file, |file| file.sync())?;
        file.finish()?;
        Ok(saved)
    }

    /// Writes a snapshot of the cache to `writer`, for
    /// [`CacheBuilder::restore_from`](crate::CacheBuilder::restore_from).
    ///
    /// The snapshot is that of [`save`](Self::save). The writer gets blocks of about 256 KiB, and
    /// need not be buffered. It is flushed at the end.
    ///
    /// # Errors
    ///
    /// * [`SnapshotError::Io`] if the writer fails: it has no complete snapshot then;
    /// * [`SnapshotError::InProgress`] if another thread is saving this cache.
    ///
    /// ```
    /// use bytecache::Cache;
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("user:1", "Ada")?;
    /// let mut snapshot = Vec::new();
    /// cache.save_to(&mut snapshot)?;
    ///
    /// let builder = Cache::builder().max_bytes(1 << 20);
    /// let (cache, _) = builder.restore_from(&snapshot[..], Duration::from_secs(600))?;
    /// assert!(cache.contains_key("user:1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save_to(&self, writer: impl Write) -> Result<Saved, SnapshotError> {
        self.save_to_with(writer, SaveOptions::new())
    }

    /// Writes a snapshot of the cache like [`save_to`](Self::save_to), with options.
    ///
    /// # Errors
    ///
    /// Those of [`save_to`](Self::save_to).
    ///
    /// ```
    /// use bytecache::{Cache, SaveOptions};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let options = SaveOptions::new().progress(|progress| println!("{progress:?}"));
    /// assert_eq!(cache.save_to_with(&mut Vec::new(), options)?.entries, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save_to_with(&self, mut writer: impl Write, options: SaveOptions<'_>) -> Result<Saved, SnapshotError> {
        let saved = Save::begin(self, random(), options)?.write(&mut writer, |_| Ok(()))?;
        writer.flush()?;
        Ok(saved)
    }
}

/// Returns a number that nobody can guess.
fn random() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

/// A save in progress. Changes are recorded until it is dropped.
struct Save<'a> {
    cache: &'a Cache,
    options: SaveOptions<'a>,
    header: Header,
    began: Instant,
    changes: Arc<Changes>,
    /// The memory of `changes`. It is given back after they were freed, so it comes after them.
    _reserve: Reserve<'a>,
    walks: Vec<SaveWalk>,
    /// The payload of the block with the states of the policies.
    policy: Vec<u8>,
    /// The registry of namespaces, as it was written last.
    namespaces: Vec<u8>,
    /// The number of blocks that were written.
    blocks: u64,
    /// The number of records among them: of changes, and of namespaces.
    records: u64,
    saved: Saved,
}

impl Drop for Save<'_> {
    fn drop(&mut self) {
        // A policy may have panicked after its shard had begun.
        for number in 0..self.cache.shards() {
            self.cache.shard(number).end_save(&self.changes);
        }
    }
}

impl<'a> Save<'a> {
    fn begin(cache: &'a Cache, nonce: u64, options: SaveOptions<'a>) -> Result<Self, SnapshotError> {
        let entries = cache.len();
        // In this order, so that a thread that is preempted in between makes lifetimes shorter.
        let start_millis = wall_clock_millis();
        let began = Instant::now();
        let header = Header {
            nonce,
            start_millis,
            entries: entries as u64,
            shards: to_u32(cache.shards()),
            max_bytes: cache.max_bytes() as u64,
            buckets: 0,
            probe: cache.hash_probe(),
            seeds: cache.hash_seeds().map_or([0; 4], |HashSeeds(seeds)| seeds),
        };
        // The memory for a record is only taken where it may be needed, as entries leave for it.
        if cache.shard(0).is_being_saved() {
            return Err(SnapshotError::InProgress);
        }
        let (reserve, words) = Reserve::for_record(cache, entries);
        let mut save = Self {
            cache,
            options,
            header,
            began,
            changes: Arc::new(Changes::new(words, nonce)),
            _reserve: reserve,
            walks: Vec::with_capacity(cache.shards()),
            policy: Vec::new(),
            namespaces: Vec::new(),
            blocks: 0,
            records: 0,
            saved: Saved::default(),
        };
        let name = cache.shard(0).snapshot_name();
        put_number(&mut save.policy, name.len() as u64);
        save.policy.extend_from_slice(name.as_bytes());
        for number in 0..cache.shards() {
            let begun = cache.shard(number).begin_save(&save.changes);
            let (walk, mut experience) = begun.ok_or(SnapshotError::InProgress)?;
            save.walks.push(walk);
            save.header.buckets += experience.index_size as u64;
            experience.policy.truncate(MAX_STATE_BYTES);
            put_number(&mut save.policy, experience.index_size as u64);
            put_number(&mut save.policy, experience.live_target.into());
            put_number(&mut save.policy, experience.policy.len() as u64);
            save.policy.extend_from_slice(&experience.policy);
        }
        Ok(save)
    }

    /// Writes the snapshot. `sync` is called before changes are looked for.
    fn write<W: Write>(
        &mut self,
        writer: &mut W,
        mut sync: impl FnMut(&W) -> io::Result<()>,
    ) -> Result<Saved, SnapshotError> {
        writer.write_all(&self.header.to_bytes())?;
        self.saved.bytes += Header::BYTES as u64;
        let policy = core::mem::take(&mut self.policy);
        self.write_block(writer, kind::POLICY, 0, self.time_millis(), &policy, &[])?;
        self.write_namespaces(writer)?;
        self.write_history(writer)?;
        self.write_entries(writer)?;
        writer.flush()?;
        sync(writer)?;
        self.write_changes_and_end(writer)?;
        self.saved.elapsed = self.began.elapsed();
        Ok(self.saved.clone())
    }

    /// Writes the registry of namespaces if it has changed since it was written. Returns `true` if
    /// so.
    fn write_namespaces<W: Write>(&mut self, writer: &mut W) -> io::Result<bool> {
        let payload = namespaces::encode(self.cache);
        let has_changed = payload != self.namespaces;
        if has_changed {
            self.write_block(writer, kind::NAMESPACES, 0, self.time_millis(), &payload, &[])?;
            self.records += 1;
            self.namespaces = payload;
        }
        Ok(has_changed)
    }

    /// Writes what the policies remember of keys by their hashes.
    fn write_history<W: Write>(&mut self, writer: &mut W) -> io::Result<()> {
        // Parts are short, and are written many at a time.
        let (mut payload, mut blocks) = (Vec::new(), Vec::new());
        for number in 0..self.walks.len() {
            for part in 0..MAX_PARTS {
                payload.clear();
                put_number(&mut payload, number as u64);
                put_number(&mut payload, part as u64);
                let numbers = payload.len();
                if !self.cache.shard(number).save_history(part, &mut payload) {
                    break;
                }
                if payload.len() - numbers > MAX_PART_BYTES {
                    continue; // A reader would take a longer block for a damaged one.
                }
                self.write_block(&mut blocks, kind::HISTORY, 0, self.time_millis(), &payload, &[])?;
                if blocks.len() >= BLOCK_BYTES {
                    writer.write_all(&blocks)?;
                    blocks.clear();
                }
            }
        }
        writer.write_all(&blocks)
    }

    fn write_entries<W: Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let mut block = Block::new(self.moment());
        for round in 1..=ROUNDS {
            let until = if round < ROUNDS { Some(round) } else { None };
            let mut goes_on = true;
            // A shard's lock is taken once before that of the next one, so that writers get it.
            while goes_on {
                goes_on = false;
                for number in 0..self.walks.len() {
                    if self.walks[number].is_behind(until, ROUNDS) {
                        goes_on = true;
                        self.cache.shard(number).save_some(&mut self.walks[number], &mut block);
                    }
                    if block.is_full() {
                        self.write_and_clear(writer, &mut block)?;
                    }
                }
            }
        }
        self.write_and_clear(writer, &mut block)
    }

    /// Writes a block of entries, unless it is empty.
    fn write_and_clear<W: Write>(&mut self, writer: &mut W, block: &mut Block) -> io::Result<()> {
        if block.count > 0 {
            self.write_block(writer, kind::ENTRIES, block.count, block.begin.millis, &block.payload, &[])?;
            self.saved.entries += u64::from(block.count);
        }
        let large = block.large.take();
        if let Some((first, value)) = &large {
            self.write_block(writer, kind::ENTRIES, 1, block.begin.millis, first, value)?;
            self.saved.entries += 1;
        }
        if block.count > 0 || large.is_some() {
            let (entries, bytes) = (self.saved.entries, self.saved.bytes);
            let progress = SaveProgress { entries, total_entries: self.header.entries, bytes };
            if let Some(call) = &mut self.options.progress {
                call(progress);
            }
        }
        block.payload.clear();
        block.count = 0;
        block.begin = self.moment();
        Ok(())
    }

    /// Writes records of changes until no change has come since the last one, and then the end. So
    /// a file that is cut anywhere has no end.
    fn write_changes_and_end<W: Write>(&mut self, writer: &mut W) -> io::Result<()> {
        let mut changes_writer = ChangesWriter::default();
        let changes = Arc::clone(&self.changes);
        for _ in 0..LAST_LOOKS {
            for number in 0..self.walks.len() {
                self.cache.shard(number).settle_changes();
            }
            // Mostly in one piece, so that as little as possible can come between.
            let mut last_blocks = Vec::new();
            let mut has_changes = changes_writer.write(&changes, |payload| {
                if last_blocks.len() >= BLOCK_BYTES {
                    writer.write_all(&last_blocks)?;
                    last_blocks.clear();
                }
                self.records += 1;
                self.write_block(&mut last_blocks, kind::CHANGES, 0, self.time_millis(), payload, &[])
            })?;
            has_changes |= self.write_namespaces(&mut last_blocks)?;
            if !has_changes {
                break;
            }
            writer.write_all(&last_blocks)?;
        }
        let (mut records, mut end) = (Vec::new(), Vec::new());
        put_number(&mut records, self.records);
        self.write_block(&mut end, kind::END, 0, self.time_millis(), &records, &[])?;
        writer.write_all(&end)
    }

    /// Writes a block whose payload has two parts.
    fn write_block<W: Write>(
        &mut self,
        writer: &mut W,
        kind: u32,
        count: u32,
        time_millis: u64,
        first: &[u8],
        second: &[u8],
    ) -> io::Result<()> {
        let hasher = StableHash::with_seed(self.header.nonce);
        let payload_sum = if second.is_empty() {
            hasher.hash_bytes(first)
        } else {
            let mut state = hasher.build_hasher();
            state.write(first);
            state.write(second);
            state.finish()
        };
        let length = first.len() as u64 + second.len() as u64;
        let header = BlockHeader { kind, count, number: self.blocks, length, time_millis, payload_sum };
        self.blocks += 1;
        writer.write_all(&header.to_bytes(self.header.nonce))?;
        writer.write_all(first)?;
        writer.write_all(second)?;
        self.saved.bytes += BlockHeader::BYTES as u64 + length;
        Ok(())
    }

    /// Returns the time. A wall clock that is set meanwhile makes no difference.
    fn time_millis(&self) -> u64 {
        self.moment().millis
    }

    /// Returns the begin of the millisecond of this moment.
    fn moment(&self) -> Moment {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let millis = self.header.start_millis.saturating_add(elapsed);
        Moment { millis, instant: self.began + Duration::from_millis(elapsed) }
    }
}

/// A moment in whole milliseconds since 1970.
#[derive(Clone, Copy)]
struct Moment {
    millis: u64,
    instant: Instant,
}

/// A block of entries that is being filled.
struct Block {
    payload: Vec<u8>,
    count: u32,
    /// The moment from which the times left of its entries count.
    begin: Moment,
    /// An entry with a large value, which gets a block of its own: a cache that cannot hold it
    /// leaves that block out. Its encoding without the value, and the value.
    large: Option<(Vec<u8>, Value)>,
}

impl Block {
    fn new(begin: Moment) -> Self {
        Self { payload: Vec::with_capacity(BLOCK_BYTES + BLOCK_BYTES / 2), count: 0, begin, large: None }
    }
}

impl SaveSink for Block {
    fn since(&self) -> Duration {
        self.begin.instant.elapsed()
    }

    fn take(&mut self, entry: &SavedEntry<'_>, held: Option<Value>) {
        if let Some(value) = held {
            let mut first = Vec::new();
            encode_entry(entry, &mut first);
            self.large = Some((first, value));
            return;
        }
        encode_entry(entry, &mut self.payload);
        self.payload.extend_from_slice(entry.value);
        self.count += 1;
    }

    fn is_full(&self) -> bool {
        self.payload.len() >= BLOCK_BYTES || self.large.is_some()
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests;
