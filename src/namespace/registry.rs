//! [`Registry`]: the namespaces of a cache.
//!
//! # Synchronization
//!
//! Namespaces are opened under a lock, and never closed. Their number is stored with Release after
//! a place is filled. The counts of invalidations and of listeners are hints: Relaxed.
//!
//! The atomics are the standard library's, also in models: each write to a shard looks at some, and
//! models have no namespaces.

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use super::is_marked;
use super::prefix::{Origin, origin};
use super::scope::{Scope, WriteCount};
use crate::removal::Listener;
use crate::stats::LoadCounts;
use crate::sync::Mutex;

/// The most versions of namespaces that a cache has: a slot is a byte, and 0 is no slot.
const MAX_SCOPES: usize = 255;
/// The bytes of a cache for each version of a namespace that it may have.
const BYTES_FOR_EACH: usize = 8 << 10;
/// The part of the memory of a cache that stripes of counters of all namespaces may take.
const STRIPES_SHARE: usize = 64;
const MAX_STRIPES: usize = 64;
/// The bytes of a stripe of counters.
const STRIPE_BYTES: usize = 64;

/// The reason why a namespace was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoScope {
    /// All slots are taken.
    Full { max: usize },
    /// There is no memory for it.
    NoMemory { bytes: usize },
}

/// The meaning of a stored key from elsewhere for a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyState {
    /// A key leads to it.
    Current,
    /// It is of another generation of its namespace.
    Outdated,
    /// It is of no namespace, or is no stored key.
    Unknown,
}

/// All namespaces of a cache.
#[derive(Debug)]
pub(crate) struct Registry {
    /// The namespace of slot `n` is at `n - 1`.
    scopes: Box<[OnceLock<Arc<Scope>>]>,
    /// The number of scopes.
    len: AtomicUsize,
    /// Held while a scope is opened.
    opening: Mutex<()>,
    invalidations: AtomicU64,
    /// Listeners that were set, that of plain keys included.
    listeners: AtomicUsize,
    /// Invalidations of names that have no namespace.
    unknown: AtomicU64,
    /// The loads of plain keys.
    pub(crate) loads: LoadCounts,
    stripes: usize,
}

impl Registry {
    /// Creates the registry of a cache of `max_bytes`, and says if plain keys have a listener.
    pub(crate) fn new(max_bytes: usize, has_listener: bool) -> Self {
        let capacity = Self::capacity_for(max_bytes);
        Self {
            scopes: (0..capacity).map(|_| OnceLock::new()).collect(),
            len: AtomicUsize::new(0),
            opening: Mutex::new(()),
            invalidations: AtomicU64::new(0),
            listeners: AtomicUsize::new(has_listener.into()),
            unknown: AtomicU64::new(0),
            loads: LoadCounts::new(),
            stripes: (max_bytes / STRIPES_SHARE / capacity / STRIPE_BYTES).clamp(1, MAX_STRIPES),
        }
    }

    /// Returns the most versions of namespaces that a cache of `max_bytes` has.
    fn capacity_for(max_bytes: usize) -> usize {
        (max_bytes / BYTES_FOR_EACH).clamp(1, MAX_SCOPES)
    }

    /// Returns the bytes of a registry without namespaces.
    pub(crate) fn footprint(max_bytes: usize) -> usize {
        size_of::<Self>() + Self::capacity_for(max_bytes) * size_of::<OnceLock<Arc<Scope>>>()
    }

    /// Returns `true` if there is no namespace.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // Acquire: pairs with the Release of `open`.
        self.len.load(Ordering::Acquire) == 0
    }

    /// Returns all scopes.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = &Arc<Scope>> {
        self.scopes.iter().map_while(OnceLock::get)
    }

    /// Returns the scope of a version of a name, which is created if there is none. `take` gets
    /// the number of a new slot and the bytes for it, and returns `false` if there are none.
    pub(crate) fn open(
        &self,
        name: &str,
        version: u32,
        take: impl FnOnce(usize, usize) -> bool,
    ) -> Result<Arc<Scope>, NoScope> {
        let _opening = self.opening.lock();
        let present = self.scopes().find(|scope| scope.name() == name && scope.version() == version);
        if let Some(scope) = present {
            return Ok(Arc::clone(scope));
        }
        let index = self.scopes().count();
        let full = NoScope::Full { max: self.scopes.len() };
        let place = self.scopes.get(index).ok_or(full)?;
        let slot = u8::try_from(index + 1).map_err(|_| full)?;
        let bytes = Scope::footprint(name, self.stripes);
        if !take(index, bytes) {
            return Err(NoScope::NoMemory { bytes });
        }
        let scope = Arc::clone(place.get_or_init(|| Arc::new(Scope::new(slot, name, version, self.stripes))));
        self.len.store(index + 1, Ordering::Release); // Pairs with the Acquire of `is_empty`.
        Ok(scope)
    }

    /// Outdates all entries of all versions of a name. Returns `false`, and counts that, if there
    /// is no such namespace.
    pub(crate) fn invalidate(&self, name: &str) -> bool {
        let mut is_known = false;
        for (slot, scope) in (1..).zip(self.scopes()) {
            if scope.name() == name {
                scope.next_generation(slot);
                is_known = true;
            }
        }
        match is_known {
            true => _ = self.invalidations.fetch_add(1, Ordering::Relaxed), // A hint.
            false => self.count_unknown(),
        }
        is_known
    }

    /// Returns the scopes of a name.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &Arc<Scope>> {
        self.scopes().filter(move |scope| scope.name() == name)
    }

    /// Counts an invalidation of a name that has no namespace.
    pub(crate) fn count_unknown(&self) {
        self.unknown.fetch_add(1, Ordering::Relaxed); // A counter.
    }

    pub(crate) fn unknown(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed) // A counter.
    }

    /// Returns how often a namespace was invalidated. A change says that there are outdated
    /// entries.
    #[inline]
    pub(crate) fn invalidations(&self) -> u64 {
        self.invalidations.load(Ordering::Relaxed) // A hint.
    }

    /// Returns the scope that a stored key belongs to, or `None` for a plain key.
    #[inline]
    pub(crate) fn scope_of(&self, stored: &[u8]) -> Option<&Arc<Scope>> {
        if is_marked(stored) { self.scope_of_marked(stored) } else { None }
    }

    fn scope_of_marked(&self, stored: &[u8]) -> Option<&Arc<Scope>> {
        match origin(stored) {
            Origin::Plain(_) => None,
            Origin::Scoped { slot, .. } => self.scopes.get(usize::from(slot).wrapping_sub(1))?.get(),
        }
    }

    /// Returns `true` if a stored key is of an earlier generation of its namespace.
    #[inline]
    pub(crate) fn is_outdated(&self, stored: &[u8]) -> bool {
        is_marked(stored) && self.is_marked_outdated(stored)
    }

    fn is_marked_outdated(&self, stored: &[u8]) -> bool {
        match (origin(stored), self.scope_of(stored)) {
            (Origin::Scoped { prefix, .. }, Some(scope)) => scope.prefix() != prefix,
            _ => false,
        }
    }

    /// Returns the state of bytes that may be a stored key.
    pub(crate) fn state_of(&self, stored: &[u8]) -> KeyState {
        if !is_marked(stored) {
            return KeyState::Current;
        }
        let is_current = match origin(stored) {
            Origin::Plain(key) => (is_marked(key) && key.len() < stored.len()).then_some(true),
            Origin::Scoped { prefix, .. } => self.scope_of(stored).map(|scope| scope.prefix() == prefix),
        };
        match is_current {
            Some(true) => KeyState::Current,
            Some(false) => KeyState::Outdated,
            None => KeyState::Unknown,
        }
    }

    /// Lets the namespace at this place begin a generation, unless its own is later.
    pub(crate) fn advance_to(&self, index: usize, generation: u64) {
        if let (Some(scope), Ok(slot)) = (self.scopes().nth(index), u8::try_from(index + 1)) {
            scope.advance_to(slot, generation);
        }
    }

    /// Returns the counters of loads for a stored key.
    pub(crate) fn loads_of(&self, stored: &[u8]) -> &LoadCounts {
        self.scope_of(stored).map_or(&self.loads, |scope| &scope.loads)
    }

    /// Counts a write to a stored key, if it is one of a namespace.
    #[inline(always)]
    pub(crate) fn count(&self, stored: &[u8], count: WriteCount) {
        if let Some(scope) = self.scope_of(stored) {
            scope.count(count);
        }
    }

    /// Sets the listener of a scope.
    pub(crate) fn set_listener(&self, scope: &Scope, listener: Listener) {
        scope.set_listener(listener);
        self.listeners.fetch_add(1, Ordering::Relaxed); // See `has_listeners`.
    }

    /// Returns `true` if plain keys or a namespace have a listener.
    #[inline]
    pub(crate) fn has_listeners(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) > 0 // A hint: entries that leave meanwhile may be missed.
    }

    /// Returns `true` if the namespace of a stored key has a listener.
    pub(crate) fn is_listened_to(&self, stored: &[u8]) -> bool {
        self.scope_of(stored).is_some_and(|scope| scope.is_listened_to())
    }

    /// Returns the listener of the namespace of a stored key.
    pub(crate) fn listener_of(&self, stored: &[u8]) -> Option<Listener> {
        self.scope_of(stored)?.listener()
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::StoredKey;

    #[test]
    fn a_name_and_version_keep_their_slot_and_the_limit_holds() {
        let registry = Registry::new(2 * BYTES_FOR_EACH, false);
        let open = |name, version| registry.open(name, version, |_, _| true);
        let first = open("users", 1).unwrap();
        assert!(Arc::ptr_eq(&first, &open("users", 1).unwrap()));
        assert_eq!(
            registry.open("users", 2, |_, _| false).unwrap_err(),
            NoScope::NoMemory { bytes: Scope::footprint("users", registry.stripes) }
        );
        let second = open("users", 2).unwrap();
        assert_ne!(first.prefix(), second.prefix());
        assert_eq!(open("pages", 0).unwrap_err(), NoScope::Full { max: 2 });
    }

    #[test]
    fn an_invalidation_outdates_the_keys_of_all_versions_of_a_name() {
        let registry = Registry::new(1 << 20, false);
        let open = |name, version| registry.open(name, version, |_, _| true).unwrap();
        let scopes = [open("users", 1), open("users", 2), open("pages", 1)];
        let keys = scopes.each_ref().map(|scope| scope.stored_key(b"key"));
        assert!(keys.iter().all(|key| !registry.is_outdated(key)));
        assert!(registry.invalidate("users") && !registry.invalidate("other"));
        assert_eq!(keys.map(|key| registry.is_outdated(&key)), [true, true, false]);
        assert!(scopes.iter().all(|scope| !registry.is_outdated(&scope.stored_key(b"key"))));
        assert_eq!((registry.invalidations(), registry.unknown()), (1, 1));
        assert!(!registry.is_outdated(b"key"));
    }

    #[test]
    fn bytes_that_are_no_stored_key_are_unknown() {
        let registry = Registry::new(1 << 20, false);
        let scope = registry.open("users", 1, |_, _| true).unwrap();
        let first = scope.stored_key(b"key");
        let escaped = StoredKey::plain(&first);
        for key in [&b"key"[..], b"", &first, &escaped] {
            assert_eq!(registry.state_of(key), KeyState::Current, "{key:?}");
        }
        let cut: Vec<_> = (2..first.len() - 3).map(|length| &first[..length]).collect();
        let mut other_slot = first.to_vec();
        other_slot[2] = 2;
        for key in cut.into_iter().chain([&other_slot[..], &escaped[..3], &[&escaped[..3], b"key"].concat()]) {
            assert_eq!(registry.state_of(key), KeyState::Unknown, "{key:?}");
        }
        registry.advance_to(0, 1 << 50);
        registry.advance_to(0, 40);
        assert_eq!(registry.state_of(&first), KeyState::Outdated);
        assert_eq!(
            (scope.prefix().generation(), registry.state_of(&scope.stored_key(b""))),
            (1 << 50, KeyState::Current)
        );
    }
}
