//! [`MetricsPublisher`]: the statistics of a cache through the facade `metrics`.

use core::fmt;
use core::time::Duration;
use std::collections::HashMap;

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::{
    ADVISOR_COUNTERS, AGES, Advised, CACHE, CACHE_COUNTERS, COUNTERS, GAUGES, HOT_KEY_GAUGES, LOAD_TIMES, Labels,
    Metric, NAMESPACE, ROW_GAUGES, Snapshot, Times,
};
use crate::cache::{Cache, WeakCache};
use crate::stats::Stats;
use crate::sync::Mutex;

/// A publisher of the statistics of a cache, through the facade `metrics`.
///
/// The recorder is that of the program, so install it first. Each metric has the label `cache` with
/// the name of the cache. The names begin with `bytecache_`, and have the units bytes and seconds.
///
/// Counters are set to their absolute values. The facade has no absolute histogram: the times of
/// loads since the last call are recorded, each as the upper bound of its class.
///
/// A cache with an [advisor](crate::CacheBuilder::advisor) has the metrics of its advice, of the
/// ten hottest keys by their rank, and of ages. No key is part of a metric.
///
/// A [namespace](crate::Namespace) has the second label `namespace`, its name: for the counters
/// that [`Namespace::stats`](crate::Namespace::stats) has, and for the times of its loads. All
/// versions of a name are added up. A metric without that label counts the whole cache, namespaces
/// included.
///
/// A gauge of a rank or of an advised row that has no value any more is set to NaN.
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
/// about fifty metrics up in the recorder, and about thirty more for each namespace. A cache with
/// an advisor is asked for its advice, its hot keys and its ages, too: about ninety more metrics.
pub struct MetricsPublisher {
    name: String,
    cache: WeakCache,
    published: Mutex<Published>,
}

/// The name of a histogram, and the name of the namespace if it is one of a namespace.
type HistogramId = (&'static str, Option<String>);

/// The state of the last call.
struct Published {
    times: HashMap<HistogramId, Times>,
    /// The labels of rows and of hot keys that were set.
    rows: Vec<Labels>,
    hot_keys: Vec<Labels>,
    are_described: bool,
}

impl Published {
    fn new(snapshot: &Snapshot, are_described: bool) -> Self {
        let advised = snapshot.advised.as_ref();
        let rows = advised.iter().flat_map(|advised| advised.rows()).map(|(labels, _)| labels).collect();
        let hot_keys = advised.iter().flat_map(|advised| advised.hot_keys()).map(|(labels, _)| labels).collect();
        Self { times: histograms(snapshot).into_iter().collect(), rows, hot_keys, are_described }
    }
}

/// Returns all histograms of a cache.
fn histograms(snapshot: &Snapshot) -> Vec<(HistogramId, Times)> {
    let of_cache = ((LOAD_TIMES.name, None), (LOAD_TIMES.read)(&snapshot.stats));
    let of_namespace =
        |(name, stats): &(String, Stats)| ((LOAD_TIMES.name, Some(name.clone())), (LOAD_TIMES.read)(stats));
    let ages = |advised| AGES.iter().map(move |metric| ((metric.name, None), (metric.read)(advised)));
    let namespaces = snapshot.namespaces.iter().map(of_namespace);
    core::iter::once(of_cache).chain(namespaces).chain(snapshot.advised.iter().flat_map(ages)).collect()
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
            describe(snapshot.advised.is_some());
        }
        for metric in CACHE_COUNTERS {
            counter!(metric.name, CACHE => self.name.clone()).absolute((metric.read)(&snapshot));
        }
        for metric in GAUGES {
            gauge!(metric.name, CACHE => self.name.clone()).set((metric.read)(&snapshot));
        }
        self.publish_counters(Labels::new(), &snapshot.stats);
        for (name, stats) in &snapshot.namespaces {
            self.publish_counters(vec![(NAMESPACE, name.clone())], stats);
        }
        if let Some(advised) = &snapshot.advised {
            let has_row = |own: &Labels| advised.rows().any(|(labels, _)| labels == *own);
            self.end_gauges(ROW_GAUGES, before.rows.iter().filter(|&own| !has_row(own)));
            let has_key = |own: &Labels| advised.hot_keys().any(|(labels, _)| labels == *own);
            self.end_gauges(HOT_KEY_GAUGES, before.hot_keys.iter().filter(|&own| !has_key(own)));
            self.publish_advised(advised);
        }
        for (id, times) in histograms(&snapshot) {
            self.record(&id, &times, before.times.get(&id));
        }
        true
    }

    /// Returns the label of the cache and those of a sample.
    fn labels(&self, own: Labels) -> Vec<Label> {
        let own = own.into_iter().map(|(label, value)| Label::new(label, value));
        core::iter::once(Label::new(CACHE, self.name.clone())).chain(own).collect()
    }

    /// Sets the counters of the cache, or of a namespace.
    fn publish_counters(&self, own: Labels, stats: &Stats) {
        let labels = self.labels(own);
        for metric in COUNTERS {
            counter!(metric.name, labels.clone()).absolute((metric.read)(stats));
        }
    }

    /// Sets gauges to NaN, as the facade cannot remove them.
    fn end_gauges<'a, From>(&self, metrics: &[Metric<f64, From>], ended: impl Iterator<Item = &'a Labels>) {
        for own in ended {
            let labels = self.labels(own.clone());
            metrics.iter().for_each(|metric| gauge!(metric.name, labels.clone()).set(f64::NAN));
        }
    }

    fn publish_advised(&self, advised: &Advised) {
        for metric in ADVISOR_COUNTERS {
            counter!(metric.name, self.labels(Labels::new())).absolute((metric.read)(advised));
        }
        for (own, row) in advised.rows() {
            let labels = self.labels(own);
            ROW_GAUGES.iter().for_each(|metric| gauge!(metric.name, labels.clone()).set((metric.read)(row)));
        }
        for (own, key) in advised.hot_keys() {
            let labels = self.labels(own);
            HOT_KEY_GAUGES.iter().for_each(|metric| gauge!(metric.name, labels.clone()).set((metric.read)(key)));
        }
    }

    /// Records the times that have come since the last call.
    fn record(&self, (name, namespace): &HistogramId, now: &Times, before: Option<&Times>) {
        let own = namespace.iter().map(|namespace| (NAMESPACE, namespace.clone())).collect();
        let recorder = histogram!(*name, self.labels(own));
        let mut longest = Duration::ZERO;
        for (class, &(bound, count)) in now.classes.iter().enumerate() {
            // The last class has no bound: its times are at least as long as the bound before it.
            longest = if bound == Duration::MAX { longest } else { bound };
            let before = before.and_then(|before| before.classes.get(class)).map_or(0, |&(_, before)| before);
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

/// Describes the metrics to the recorder.
fn describe(has_advisor: bool) {
    fn unit<V, From>(metric: &Metric<V, From>) -> Unit {
        if metric.is_in_bytes() { Unit::Bytes } else { Unit::Count }
    }
    fn counters<From>(metrics: &[Metric<u64, From>]) {
        metrics.iter().for_each(|metric| describe_counter!(metric.name, unit(metric), metric.help));
    }
    fn gauges<From>(metrics: &[Metric<f64, From>]) {
        metrics.iter().for_each(|metric| describe_gauge!(metric.name, unit(metric), metric.help));
    }
    counters(COUNTERS);
    counters(CACHE_COUNTERS);
    gauges(GAUGES);
    describe_histogram!(LOAD_TIMES.name, Unit::Seconds, LOAD_TIMES.help);
    if has_advisor {
        counters(ADVISOR_COUNTERS);
        gauges(ROW_GAUGES);
        gauges(HOT_KEY_GAUGES);
        AGES.iter().for_each(|metric| describe_histogram!(metric.name, Unit::Seconds, metric.help));
    }
}
