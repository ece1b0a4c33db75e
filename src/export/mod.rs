//! The statistics of caches for systems that watch services: the features `prometheus` and
//! `metrics`.
//!
//! ```text
//!   Stats, Memory, len --read--> Snapshot --COUNTERS, GAUGES--> prometheus.rs   on each scrape
//!                                                               facade.rs       on each `publish`
//! ```
//!
//! Each metric is a line of a table here: its name, its text, and how it is read. Names follow the
//! conventions of Prometheus: a prefix, base units, and `_total` for counters. Ratios that can be
//! computed from counters, such as that of hits, are left to queries.
//!
//! Each metric has the label `cache`. So a dashboard can add caches up. Counters that namespaces
//! keep have samples with the label `namespace` as well, one for each name. They are parts of the
//! sample without that label, which counts the whole cache.
//!
//! A cache with an advisor has more metrics. Its rows have the labels `policy` and `size_percent`,
//! and its hot keys the label `rank`. No key is a label: keys may be secret, and there are many.

#[cfg(feature = "metrics")]
mod facade;
#[cfg(feature = "prometheus")]
mod prometheus;

#[cfg(feature = "metrics")]
pub use facade::MetricsPublisher;
#[cfg(feature = "prometheus")]
pub use prometheus::PrometheusCollector;

use core::time::Duration;

use crate::advisor::{AdvisedRow, AdvisorCounts, AgeHistogram, Ages, HotKey};
use crate::cache::Cache;
use crate::stats::{Memory, Stats};

/// The label of each metric: the name of the cache.
const CACHE: &str = "cache";

/// The second label of metrics of a namespace: its name.
const NAMESPACE: &str = "namespace";

/// The labels of advised rows, and that of hot keys: 1 is the most read.
const POLICY: &str = "policy";
const SIZE: &str = "size_percent";
const RANK: &str = "rank";
/// The hot keys that have metrics.
const HOT_KEYS: usize = 10;

/// The numbers of a cache, read one after the other.
struct Snapshot {
    stats: Stats,
    memory: Memory,
    entries: usize,
    /// The names of namespaces, and their counters.
    namespaces: Vec<(String, Stats)>,
    /// `None` without an advisor.
    advised: Option<Advised>,
}

/// The numbers of an advisor.
struct Advised {
    counts: AdvisorCounts,
    ages: Ages,
    rows: Vec<AdvisedRow>,
    hot_keys: Vec<HotKey>,
}

impl Advised {
    fn of(cache: &Cache) -> Option<Self> {
        let rows = cache.advice().map_or_else(Vec::new, |advice| advice.rows);
        let (counts, ages) = (cache.advisor_counts()?, cache.ages());
        Some(Self { counts, ages, rows, hot_keys: cache.hot_keys(HOT_KEYS) })
    }

    /// Returns the advised rows with their labels.
    fn rows(&self) -> impl Iterator<Item = (Labels, &AdvisedRow)> {
        self.rows.iter().map(|row| (vec![(POLICY, row.policy.clone()), (SIZE, row.size_percent.to_string())], row))
    }

    /// Returns the hot keys with their labels.
    fn hot_keys(&self) -> impl Iterator<Item = (Labels, &HotKey)> {
        (1..).zip(&self.hot_keys).map(|(rank, key): (usize, _)| (vec![(RANK, rank.to_string())], key))
    }
}

/// Labels of a sample beside the name of the cache.
type Labels = Vec<(&'static str, String)>;

/// The times of a histogram: upper bounds with the number of times below each, and their sum. The
/// last bound is [`Duration::MAX`].
struct Times {
    classes: Vec<(Duration, u64)>,
    total: Duration,
}

impl Times {
    fn of_ages(ages: &AgeHistogram) -> Self {
        Self { classes: ages.histogram().collect(), total: ages.total() }
    }
}

impl Snapshot {
    fn of(cache: &Cache) -> Self {
        let (stats, memory, entries) = (cache.stats(), cache.memory(), cache.len());
        Self { stats, memory, entries, namespaces: cache.stats_by_name(), advised: Advised::of(cache) }
    }
}

/// A metric: its name with unit and suffix, its description, and its value. It is read from a
/// snapshot of a cache, or from the statistics of a cache or a namespace.
struct Metric<V, From = Snapshot> {
    name: &'static str,
    help: &'static str,
    read: fn(&From) -> V,
}

impl<V, From> Metric<V, From> {
    fn is_in_bytes(&self) -> bool {
        self.name.trim_end_matches("_total").ends_with("_bytes")
    }
}

/// A histogram of the times of loads. The upper bound of a class is not part of it.
const LOAD_TIMES: Metric<Times, Stats> = Metric {
    name: "bytecache_load_duration_seconds",
    help: "The times that loads took",
    read: |stats| Times { classes: stats.load_times.histogram().collect(), total: stats.load_times.total() },
};

/// Defines a table of metrics.
macro_rules! metrics {
    ($($table:ident: $value:ty, $from:ty { $($name:literal $help:literal $read:expr;)* })*) => {$(
        const $table: &[Metric<$value, $from>] = &[$(Metric { name: $name, help: $help, read: $read },)*];
    )*};
}

metrics! {
    COUNTERS: u64, Stats {
        "bytecache_hits_total" "Reads that found their key" |of| of.hits;
        "bytecache_misses_total" "Reads that did not find their key" |of| of.misses;
        "bytecache_stale_hits_total" "Reads of an entry past its deadline" |of| of.stale_hits;
        "bytecache_negative_hits_total"
            "Hits that were answered by an earlier load, which had found no value or failed"
            |of| of.negative_hits;
        "bytecache_inserts_total" "Entries stored under a key that had no entry" |of| of.inserts;
        "bytecache_updates_total" "Entries stored in place of another one" |of| of.updates;
        "bytecache_removals_total" "Entries that a caller removed" |of| of.removals;
        "bytecache_evictions_total" "Entries that were evicted" |of| of.evictions;
        "bytecache_expirations_total" "Entries that were removed after their deadline" |of| of.expirations;
        "bytecache_loads_total" "Loads that ended" |of| of.loads;
        "bytecache_load_failures_total" "Loads that returned an error or panicked" |of| of.load_failures;
        "bytecache_loads_not_found_total" "Loads that found no value" |of| of.loads_not_found;
        "bytecache_load_cancellations_total" "Loads that were given up" |of| of.load_cancellations;
        "bytecache_discarded_loads_total"
            "Loads whose result was not stored because the key had changed meanwhile"
            |of| of.discarded_loads;
        "bytecache_refreshes_total" "Loads of keys that had an entry" |of| of.refreshes;
        "bytecache_followers_total" "Calls that got the result of another call's load" |of| of.followers;
        "bytecache_load_timeouts_total"
            "Calls that waited too long for the load of another call"
            |of| of.load_timeouts;
        "bytecache_unshared_loads_total" "Loads that were not shared for lack of memory" |of| of.unshared_loads;
        "bytecache_rejected_key_too_long_total"
            "Values that were not stored because their key is too long"
            |of| of.rejected_key_too_long;
        "bytecache_rejected_too_large_total"
            "Values that were not stored because they are too large"
            |of| of.rejected_too_large;
        "bytecache_rejected_no_space_total"
            "Values that were not stored because readers and values held the space"
            |of| of.rejected_no_space;
        "bytecache_dropped_touches_total"
            "Reads that the eviction policy did not learn of"
            |of| of.dropped_touches;
        "bytecache_copied_values_total"
            "Values that were copies, because too many chunks were pinned"
            |of| of.copied_values;
        "bytecache_invalidations_total" "Invalidations of a version of a namespace" |of| of.invalidations;
        "bytecache_undecodable_total" "Values that did not decode, and were removed" |of| of.undecodable;
        "bytecache_unencodable_total" "Values that did not encode, and were not stored" |of| of.unencodable;
    }
    CACHE_COUNTERS: u64, Snapshot {
        "bytecache_listener_panics_total" "Calls of the removal listener that panicked" |of| of.stats.listener_panics;
        "bytecache_inserted_bytes_total" "Bytes of all stored entries" |of| of.stats.inserted_bytes;
        "bytecache_relocated_bytes_total" "Bytes of entries that were relocated" |of| of.stats.relocated_bytes;
        "bytecache_index_growths_total" "Replacements of an index by a larger one" |of| of.stats.index_growths;
        "bytecache_unknown_namespaces_total"
            "Invalidations of names that have no namespace"
            |of| of.stats.unknown_namespaces;
    }
    ADVISOR_COUNTERS: u64, Advised {
        "bytecache_advisor_followed_total"
            "Operations on sampled keys that the advisor followed"
            |of| of.counts.followed;
        "bytecache_advisor_dropped_total"
            "Operations on sampled keys of which the advisor did not learn"
            |of| of.counts.dropped;
        "bytecache_advisor_counted_reads_total"
            "Reads whose keys were counted, to find hot keys"
            |of| of.counts.counted_reads;
        "bytecache_advisor_uncounted_reads_total"
            "Reads whose keys were to be counted, and were not"
            |of| of.counts.dropped_turns;
    }
    AGES: Times, Advised {
        "bytecache_age_at_eviction_seconds"
            "The times from the store of entries of sampled keys to their eviction"
            |of| Times::of_ages(&of.ages.at_eviction);
        "bytecache_idle_at_hit_seconds"
            "The times from the last use of entries of sampled keys to a hit"
            |of| Times::of_ages(&of.ages.idle_at_hit);
    }
    ROW_GAUGES: f64, AdvisedRow {
        "bytecache_advised_hit_ratio" "The hit ratio of a policy at a size, by the advisor" |of| of.hit_ratio;
        "bytecache_advised_hit_ratio_error"
            "The most by which an advised hit ratio is probably wrong"
            |of| of.hit_ratio_error;
        "bytecache_advised_byte_hit_ratio"
            "The byte hit ratio of a policy at a size, by the advisor"
            |of| of.byte_hit_ratio;
    }
    HOT_KEY_GAUGES: f64, HotKey {
        "bytecache_hot_key_reads" "Reads of a hot key in the recent window" |of| of.reads;
        "bytecache_hot_key_reads_error"
            "The most by which the reads of a hot key are probably wrong"
            |of| of.reads_error;
        "bytecache_hot_key_share_ratio" "The share of a hot key in all recent reads" |of| of.share;
    }
    GAUGES: f64, Snapshot {
        "bytecache_entries" "Entries, including expired ones whose space was not taken back" |of| of.entries as f64;
        "bytecache_live_target_ratio"
            "The share of the rings that live entries may fill"
            |of| of.stats.live_target;
        "bytecache_memory_max_bytes" "The limit on all memory of the cache" |of| of.memory.max as f64;
        "bytecache_memory_allocated_bytes" "All memory of the cache" |of| of.memory.allocated as f64;
        "bytecache_memory_chunks_bytes" "Memory of entries, in any state" |of| of.memory.chunks as f64;
        "bytecache_memory_index_bytes" "Memory of the indexes" |of| of.memory.index as f64;
        "bytecache_memory_policy_bytes" "Memory of the eviction policies" |of| of.memory.policy as f64;
        "bytecache_memory_wheels_bytes" "Memory of the timing wheels" |of| of.memory.wheels as f64;
        "bytecache_memory_flights_bytes" "Memory of loads in progress, leases and namespaces" |of| of.memory.flights as f64;
        "bytecache_memory_overhead_bytes" "The fixed part of the memory" |of| of.memory.overhead as f64;
        "bytecache_memory_live_bytes" "Bytes of present entries" |of| of.memory.live as f64;
        "bytecache_memory_dead_bytes" "Bytes of entries that have left" |of| of.memory.dead as f64;
        "bytecache_memory_retired_bytes" "Bytes of chunks that readers may still see" |of| of.memory.retired as f64;
        "bytecache_memory_pinned_bytes" "Bytes of chunks that values pin" |of| of.memory.pinned as f64;
    }
}
