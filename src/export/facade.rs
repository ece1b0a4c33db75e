//! [`MetricsPublisher`]: the statistics of a cache through the facade `metrics`.

use core::fmt;
use core::time::Duration;
use std::collections::HashMap;

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::{CACHE, CACHE_COUNTERS, COUNTERS, GAUGES, LOAD_TIMES, Metric, NAMESPACE, Snapshot};
use crate::cache::{Cache, WeakCache};
use crate::stats::{LoadTimes, Stats};
use crate::sync::Mutex;

/// A publisher of the statistics of a cache, through the facade `metrics`.
///
/// The recorder is that of the program, so install it first. Each metric has the label `cache` with
/// the name of the cache. The names begin with `bytecache_`, and have the units bytes and seconds.
///
/// Counters are set to their absolute values. The facade has no absolute histogram: the times of
/// loads since the last call are recorded, each as the upper bound of its class.
///
/// A [namespace](crate::Namespace) has the second label `namespace`, its name: for the counters
/// that [`Namespace::stats`](crate::Namespace::stats) has, and for the times of its loads. All
/// versions of a name are added up. A metric without that label counts the whole cache, namespaces
/// included.
///
/// A publisher does not keep its cache alive.
///
/// ```no_run
/// use bytecache::{Cache, MetricsPublisher};
/// use std::thread;
/// use std::time::Duration;
///
/// let cache = Cache::new(1 << 20)?;
/// let publisher = MetricsPublisher::new("users", &cache);
/// thread::spawn(move || {
///     // Ends when the cache has been dropped.
///     while publisher.publish() {
///         thread::sleep(Duration::from_secs(5));
///     }
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// Each call of [`publish`](Self::publish) locks each shard three times for a short time. It looks
/// about fifty metrics up in the recorder, and about thirty more for each namespace.
pub struct MetricsPublisher {
    name: String,
    cache: WeakCache,
    published: Mutex<Published>,
}

/// The state of the last call.
struct Published {
    /// The times of loads: of the cache, and of each namespace by its name.
    times: LoadTimes,
    times_by_name: HashMap<String, LoadTimes>,
    are_described: bool,
}

impl Published {
    fn new(snapshot: &Snapshot, are_described: bool) -> Self {
        let by_name = snapshot.namespaces.iter().map(|(name, stats)| (name.clone(), (LOAD_TIMES.read)(stats)));
        Self { times: (LOAD_TIMES.read)(&snapshot.stats), times_by_name: by_name.collect(), are_described }
    }
}

impl MetricsPublisher {
    /// Creates a publisher of a cache, whose metrics get the label `cache` with this name.
    ///
    /// Times of loads that have ended before are not recorded.
    ///
    /// ```
    /// use bytecache::{Cache, MetricsPublisher};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let publisher = MetricsPublisher::new("users", &cache);
    /// assert!(publisher.publish());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(name: impl Into<String>, cache: &Cache) -> Self {
        let published = Published::new(&Snapshot::of(cache), false);
        Self { name: name.into(), cache: cache.downgrade(), published: Mutex::new(published) }
    }

    /// Sets all metrics of the cache. Returns `false` if the cache has been dropped.
    ///
    /// ```
    /// use bytecache::{Cache, MetricsPublisher};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let publisher = MetricsPublisher::new("users", &cache);
    /// assert!(publisher.publish());
    /// drop(cache);
    /// assert!(!publisher.publish());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn publish(&self) -> bool {
        let Some(cache) = self.cache.upgrade() else { return false };
        // The recorder is not called under the lock. Each load is in the snapshot of one call.
        let (snapshot, before) = {
            let mut published = self.published.lock();
            let snapshot = Snapshot::of(&cache);
            let now = Published::new(&snapshot, true);
            (snapshot, core::mem::replace(&mut *published, now))
        };
        if !before.are_described {
            describe();
        }
        for metric in CACHE_COUNTERS {
            counter!(metric.name, CACHE => self.name.clone()).absolute((metric.read)(&snapshot));
        }
        for metric in GAUGES {
            gauge!(metric.name, CACHE => self.name.clone()).set((metric.read)(&snapshot));
        }
        self.publish_stats(None, &snapshot.stats, before.times);
        for (name, stats) in &snapshot.namespaces {
            let before = before.times_by_name.get(name).copied().unwrap_or_default();
            self.publish_stats(Some(name), stats, before);
        }
        true
    }

    /// Sets the counters of the cache, or of a namespace, and records the loads since `before`.
    fn publish_stats(&self, namespace: Option<&str>, stats: &Stats, before: LoadTimes) {
        let namespace = namespace.map(|name| Label::new(NAMESPACE, name.to_string()));
        let labels: Vec<_> = [Label::new(CACHE, self.name.clone())].into_iter().chain(namespace).collect();
        for metric in COUNTERS {
            counter!(metric.name, labels.clone()).absolute((metric.read)(stats));
        }
        let recorder = histogram!(LOAD_TIMES.name, labels);
        let mut longest = Duration::ZERO;
        for ((bound, count), (_, before)) in (LOAD_TIMES.read)(stats).histogram().zip(before.histogram()) {
            // The last class has no bound: its loads took at least as long as the bound before it.
            longest = if bound == Duration::MAX { longest } else { bound };
            let count = usize::try_from(count.saturating_sub(before)).unwrap_or(usize::MAX);
            if count > 0 {
                recorder.record_many(longest.as_secs_f64(), count);
            }
        }
    }
}

impl fmt::Debug for MetricsPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsPublisher").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Describes all metrics to the recorder.
fn describe() {
    fn unit<V, From>(metric: &Metric<V, From>) -> Unit {
        if metric.is_in_bytes() { Unit::Bytes } else { Unit::Count }
    }
    for metric in COUNTERS {
        describe_counter!(metric.name, unit(metric), metric.help);
    }
    for metric in CACHE_COUNTERS {
        describe_counter!(metric.name, unit(metric), metric.help);
    }
    for metric in GAUGES {
        describe_gauge!(metric.name, unit(metric), metric.help);
    }
    describe_histogram!(LOAD_TIMES.name, Unit::Seconds, LOAD_TIMES.help);
}
