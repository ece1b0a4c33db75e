//! [`Namespace`]: a set of keys of a cache that does not meet other keys.
//!
//! A namespace has a handle of the cache whose keys get its prefix: see [`namespace`]. So its
//! operations are those of the cache.
//!
//! | file | |
//! |---|---|
//! | `mod.rs` | opening a namespace, invalidating it, its statistics |
//! | `read.rs`, `write.rs`, `entries.rs` | its operations |
//! | `decode.rs` | its operations for typed values |
//!
//! [`namespace`]: crate::namespace

mod decode;
mod entries;
mod read;
mod write;

use core::fmt;
use std::sync::Arc;

pub(crate) use decode::{Decode, Decoded};

use super::Cache;
use crate::error::BuildError;
use crate::namespace::{NoScope, Scope};
use crate::removal::{Listener, RemovalCause};
use crate::shard::Notice;
use crate::stats::Stats;

/// The longest name of a namespace, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// A named set of entries within a [`Cache`]. [`Cache::namespace`] opens it.
///
/// Its keys never meet plain keys, nor keys of other namespaces. It shares the memory of the cache,
/// and its policy: the entries of all namespaces compete for the same space.
///
/// * [`invalidate_all`](Self::invalidate_all) removes all its entries at once.
/// * Its [version](NamespaceBuilder::version) separates layouts of values.
/// * It has its own [statistics](Self::stats) and its own
///   [removal listener](NamespaceBuilder::on_removal).
/// * Its iterations visit its own entries, and those of the cache visit plain entries.
///
/// A `Namespace` is a cheap handle, which keeps the cache alive. Clones are the same namespace. So
/// are all handles of the same name and version.
///
/// ```
/// use bytecache::Cache;
///
/// let cache = Cache::new(1 << 20)?;
/// let users = cache.namespace("users").build()?;
/// let pages = cache.namespace("pages").build()?;
/// users.insert("1", "Ada")?;
/// pages.insert("1", "<html>")?;
/// assert_eq!(users.get("1").as_deref(), Some(&b"Ada"[..]));
/// assert!(cache.get("1").is_none());
///
/// users.invalidate_all();
/// assert!(users.get("1").is_none() && pages.get("1").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Limits
///
/// Each key takes a prefix of 4 to 10 bytes, which grows with the number of invalidations: the
/// first 31 have the shortest. For the limits on [keys and entries](crate::docs::limitations) it
/// counts 10 bytes. So the longest key of a namespace has 65,525 bytes.
///
/// A namespace has no limit on its memory. For a set of entries that needs a share of its own, make
/// another cache.
#[derive(Clone)]
pub struct Namespace {
    /// A handle whose keys are those of the namespace.
    cache: Cache,
    scope: Arc<Scope>,
}

/// A builder of a [`Namespace`], from [`Cache::namespace`].
///
/// ```
/// use bytecache::Cache;
///
/// let cache = Cache::new(1 << 20)?;
/// let users = cache.namespace("users").version(3).build()?;
/// assert_eq!((users.name(), users.version()), ("users", 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct NamespaceBuilder {
    cache: Cache,
    name: String,
    version: u32,
    listener: Option<Listener>,
}

impl Cache {
    /// Returns a builder of the namespace with this name.
    ///
    /// A name and a version stand for one namespace, however often it is opened.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.namespace("users").build()?.insert("1", "Ada")?;
    /// assert!(cache.namespace("users").build()?.contains_key("1"));
    /// assert!(!cache.contains_key("1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn namespace(&self, name: impl Into<String>) -> NamespaceBuilder {
        NamespaceBuilder { cache: self.without_scope(), name: name.into(), version: 0, listener: None }
    }
}

impl Cache {
    /// Returns all namespaces that were opened or restored: one for each name and version, in the
    /// order in which they were opened first.
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// cache.namespace("users").version(2).build()?.insert("1", "Ada")?;
    /// cache.namespace("pages").build()?;
    /// let inserts: Vec<_> =
    ///     cache.namespaces().iter().map(|space| (space.name().to_string(), space.stats().inserts)).collect();
    /// assert_eq!(inserts, [("users".to_string(), 1), ("pages".to_string(), 0)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn namespaces(&self) -> Vec<Namespace> {
        let scopes = self.registry().scopes().map(Arc::clone);
        scopes.map(|scope| Namespace { cache: self.with_scope(Arc::clone(&scope)), scope }).collect()
    }

    /// Returns the names of all namespaces, each with the counters of all its versions.
    #[cfg(any(feature = "prometheus", feature = "metrics"))]
    pub(crate) fn stats_by_name(&self) -> Vec<(String, Stats)> {
        let mut names: Vec<(String, Stats)> = Vec::new();
        for scope in self.registry().scopes() {
            let index = names.iter().position(|(name, _)| name == scope.name()).unwrap_or_else(|| {
                names.push((scope.name().to_string(), Stats::default()));
                names.len() - 1
            });
            scope.add_to(&mut names[index].1);
        }
        names
    }
}

impl NamespaceBuilder {
    /// Sets the version of the layout of the values. The default is 0.
    ///
    /// Two versions of a name are two sets of entries. So code with another layout never reads
    /// bytes of this version. An [invalidation](Namespace::invalidate_all) concerns all versions of
    /// the name.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let before = cache.namespace("users").version(1).build()?;
    /// let after = cache.namespace("users").version(2).build()?;
    /// before.insert("1", "Ada")?;
    /// assert!(after.get("1").is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Sets the removal listener of the namespace. It replaces the listener that an earlier builder
    /// has set for the same name and version.
    ///
    /// It is notified like that of [`CacheBuilder::on_removal`](crate::CacheBuilder::on_removal),
    /// but only of entries of this namespace, with their keys without the prefix. The listener of
    /// the cache is notified of plain entries only.
    ///
    /// An invalidation itself does not notify it. It is notified with the cause
    /// [`Removed`](RemovalCause::Removed) when an invalidated entry leaves later.
    ///
    /// A listener that owns a `Cache` or a `Namespace` keeps the cache alive forever.
    ///
    /// ```
    /// use bytecache::{Cache, RemovalCause};
    /// use std::sync::{Arc, Mutex};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let seen = Arc::new(Mutex::new(vec![]));
    /// let log = Arc::clone(&seen);
    /// let users = cache
    ///     .namespace("users")
    ///     .on_removal(move |key, _value, cause| log.lock().unwrap().push((key.to_vec(), cause)))
    ///     .build()?;
    /// users.insert("1", "Ada")?;
    /// users.remove("1");
    /// cache.insert("1", "plain")?;
    /// cache.remove("1");
    /// assert_eq!(*seen.lock().unwrap(), [(b"1".to_vec(), RemovalCause::Removed)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_removal(mut self, listener: impl Fn(&[u8], &[u8], RemovalCause) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Returns the alignment of values in the cache, in bytes.
    pub(crate) fn value_alignment(&self) -> usize {
        self.cache.value_alignment()
    }

    /// Opens the namespace.
    ///
    /// # Errors
    ///
    /// * [`BuildError::NamespaceName`] if the name has more than 255 bytes;
    /// * [`BuildError::TooManyNamespaces`] if the cache has no room for another name or version. It
    ///   has room for one for each 8 KiB of `max_bytes`, and for at most 255. A namespace is never
    ///   closed;
    /// * [`BuildError::NamespaceMemory`] if values and readers hold the memory that it needs.
    ///
    /// # Cost
    ///
    /// A namespace takes about 600 bytes and its name. In caches above 4 MiB it takes up to 5 KiB,
    /// for counters that threads do not share. These bytes count against `max_bytes`, as part of
    /// [`Memory::flights`](crate::Memory::flights).
    ///
    /// ```
    /// use bytecache::{BuildError, Cache};
    ///
    /// let cache = Cache::new(64 << 10)?;
    /// let error = (0..).find_map(|version| cache.namespace("users").version(version).build().err());
    /// assert_eq!(error, Some(BuildError::TooManyNamespaces { max: 8 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn build(self) -> Result<Namespace, BuildError> {
        let Self { cache, name, version, listener } = self;
        if name.len() > MAX_NAME_BYTES {
            return Err(BuildError::NamespaceName { bytes: name.len(), max: MAX_NAME_BYTES });
        }
        // Entries that leave for it are notified once the registry is unlocked, as the listener may
        // open a namespace, too.
        let mut notice = Notice::default();
        let min_budget = cache.inner.min_budget;
        let take = |index: usize, bytes| {
            let shard = cache.shard(index % cache.shards());
            let (is_taken, removed) = shard.write_with_notice(|writer| writer.take_for_namespace(bytes, min_budget));
            notice = removed;
            is_taken
        };
        let opened = cache.registry().open(&name, version, take);
        drop(notice);
        let scope = opened.map_err(|reason| match reason {
            NoScope::Full { max } => BuildError::TooManyNamespaces { max },
            NoScope::NoMemory { bytes } => BuildError::NamespaceMemory { bytes },
        })?;
        if let Some(listener) = listener {
            cache.registry().set_listener(&scope, listener);
        }
        Ok(Namespace { cache: cache.with_scope(Arc::clone(&scope)), scope })
    }
}

impl Cache {
    /// Opens a namespace of a snapshot, and advances it to `generation` unless its own is later.
    /// Returns `false` if it was not opened after exactly `index` others.
    pub(crate) fn restore_namespace(&self, index: usize, name: &str, version: u32, generation: u64) -> bool {
        let Ok(space) = self.namespace(name).version(version).build() else { return false };
        let is_in_place = self.registry().scopes().nth(index).is_some_and(|scope| Arc::ptr_eq(scope, &space.scope));
        if is_in_place {
            self.registry().advance_to(index, generation);
        }
        is_in_place
    }
}

impl Namespace {
    /// Returns how often the namespace was invalidated.
    pub(crate) fn generation(&self) -> u64 {
        self.scope.prefix().generation()
    }

    /// Returns the handle of the cache whose keys are those of the namespace.
    pub(crate) fn handle(&self) -> &Cache {
        &self.cache
    }

    /// Returns the name.
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// assert_eq!(cache.namespace("users").build()?.name(), "users");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        self.scope.name()
    }

    /// Returns the [version](NamespaceBuilder::version).
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// assert_eq!(cache.namespace("users").version(7).build()?.version(), 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn version(&self) -> u32 {
        self.scope.version()
    }

    /// Returns the cache that the namespace is part of.
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.cache().insert("1", "plain")?;
    /// assert!(cache.contains_key("1") && !users.contains_key("1"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn cache(&self) -> Cache {
        self.cache.without_scope()
    }

    /// Removes all entries of the namespace, in all its versions. Reads that begin after this
    /// returns find none of them.
    ///
    /// The results of loads in progress, and those of [leases](crate::Lease), are not stored.
    ///
    /// # Cost
    ///
    /// A call takes a few instructions, whatever the number of entries. The entries take up space
    /// until the policy evicts them, or until [`Cache::maintain`] removes them. One call of
    /// `maintain` looks at about 4,000 places in each shard. [`Cache::len`] counts entries until
    /// they leave.
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// users.invalidate_all();
    /// assert!(users.get("1").is_none());
    /// assert_eq!(cache.len(), 1);
    /// cache.maintain();
    /// assert_eq!(cache.len(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "clear")]
    pub fn invalidate_all(&self) {
        self.cache.registry().invalidate(self.name());
    }

    /// Returns the counters of the namespace, in this version.
    ///
    /// They are part of those of [`Cache::stats`]. Counters that concern the memory of the cache
    /// are zero. An invalidated entry is counted when it leaves.
    ///
    /// ```
    /// let cache = bytecache::Cache::new(1 << 20)?;
    /// let users = cache.namespace("users").build()?;
    /// users.insert("1", "Ada")?;
    /// assert!(users.get("1").is_some() && users.get("2").is_none());
    /// assert!(cache.get("1").is_none());
    /// let (own, all) = (users.stats(), cache.stats());
    /// assert_eq!((own.inserts, own.hits, own.misses), (1, 1, 1));
    /// assert_eq!((all.inserts, all.hits, all.misses), (1, 1, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.scope.add_to(&mut stats);
        stats
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace")
            .field("name", &self.name())
            .field("version", &self.version())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for NamespaceBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespaceBuilder")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
