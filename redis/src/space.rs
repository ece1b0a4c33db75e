//! [`Space`]: what an instance keeps for a namespace beside its local entries.

use core::time::Duration;
use std::time::Instant;

use bytecache::Namespace;

use crate::chance;
use crate::format::{self, Changed};
use crate::generation::Generation;
use crate::recent::Recent;
use crate::running::Running;
use crate::stats::Counters;
use crate::trust::Trust;
use crate::writing::Writing;

/// The lifetimes and limits of a namespace.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) ttl: Duration,
    pub(crate) stale_for: Duration,
    /// Zero if it is not recorded that the loader found nothing.
    pub(crate) negative_ttl: Duration,
    pub(crate) load_limit: Duration,
    pub(crate) reload_jitter: Duration,
    pub(crate) max_staleness: Duration,
    /// The time for which a tombstone keeps older values out.
    pub(crate) tombstone_life: Duration,
}

#[derive(Debug)]
pub(crate) struct Space {
    pub(crate) name: String,
    pub(crate) generation_key: String,
    pub(crate) local: Namespace,
    pub(crate) rules: Rules,
    pub(crate) trust: Trust,
    pub(crate) generation: Generation,
    pub(crate) writing: Writing,
    pub(crate) running: Running,
    pub(crate) recent: Recent,
    pub(crate) counters: Counters,
}

impl Space {
    pub(crate) fn new(local: Namespace, rules: Rules) -> Self {
        let name = local.name().to_string();
        Self {
            generation_key: format::generation_key(&name),
            name,
            local,
            trust: Trust::new(rules.max_staleness),
            rules,
            generation: Generation::default(),
            writing: Writing::default(),
            running: Running::default(),
            recent: Recent::default(),
            counters: Counters::default(),
        }
    }

    /// Returns the key in Redis of an entry.
    pub(crate) fn entry_key(&self, generation: i64, key: &[u8]) -> Vec<u8> {
        format::entry_key(&self.name, generation, key)
    }

    /// Applies an invalidation.
    pub(crate) fn apply(&self, changed: &Changed<'_>) {
        match *changed {
            Changed::Generation(_) => self.apply_to_all(),
            Changed::Entry { generation, key, .. } => {
                // Entries of other generations are not in the local tier. They may expire at any
                // time, and must not remove current ones.
                let is_current = self.generation.known().is_none_or(|known| known == generation);
                if is_current && self.local.remove(key) {
                    self.recent.mark(key);
                }
                self.counters.invalidations.count();
            }
        }
    }

    /// Applies an invalidation of all entries.
    pub(crate) fn apply_to_all(&self) {
        self.recent.mark_all(Instant::now());
        self.forget_all();
        self.counters.invalidations_of_all.count();
    }

    /// Forgets everything, as invalidations may have been lost.
    pub(crate) fn reset(&self) {
        self.counters.resets.count();
        self.forget_all();
    }

    /// Makes sure that local entries may be read: resets them if they may be too old.
    pub(crate) fn settle(&self) {
        if !self.trust.may_read() {
            self.trust.settle(|| self.reset());
        }
    }

    /// Resets the local tier. A fence or a write was not answered, so local entries may be older
    /// than what Redis holds, and no invalidation will tell. Returns `false` if the namespace was
    /// detached before.
    pub(crate) fn detach(&self) -> bool {
        self.trust.detach(|| self.reset())
    }

    /// Returns the time for which a read waits before it loads a key that has just changed.
    pub(crate) fn draw_jitter(&self) -> Duration {
        chance::below(self.rules.reload_jitter)
    }

    /// Forgets the generation first: see the invariants of [`Generation`].
    fn forget_all(&self) {
        self.generation.forget();
        self.local.invalidate_all();
    }
}

#[cfg(test)]
mod tests {
    use bytecache::Cache;

    use super::*;

    /// A write of this instance may be told the next generation before the invalidation of the
    /// present one.
    #[test]
    fn change_is_applied_although_a_later_generation_was_told() {
        let cache = Cache::new(1 << 20).expect("it is built");
        let second = Duration::from_secs(1);
        let rules = Rules {
            ttl: second,
            stale_for: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            load_limit: second,
            reload_jitter: Duration::ZERO,
            max_staleness: second,
            tombstone_life: second,
        };
        let space = Space::new(cache.namespace("users").build().expect("it is built"), rules);
        space.generation.learn(space.generation.ask(), 5);
        space.local.insert("1", "old").expect("it is stored");
        space.generation.learn(space.generation.ask(), 6);
        space.apply(&Changed::Entry { name: "users", generation: 5, key: b"1" });
        assert!(!space.local.contains_key("1"));
    }
}
