//! [`PrometheusCollector`]: the statistics of caches for a registry of `prometheus-client`.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{
    ADVISOR_COUNTERS, AGES, Advised, CACHE, CACHE_COUNTERS, COUNTERS, GAUGES, HOT_KEY_GAUGES, LOAD_TIMES, Labels,
    Metric, NAMESPACE, ROW_GAUGES, Snapshot, Times,
};
use crate::advisor::{AdvisedRow, HotKey};
use crate::cache::{Cache, WeakCache};
use crate::stats::Stats;
use crate::sync::Mutex;

/// A collector of `prometheus-client` that reads the statistics of caches on each scrape.
///
/// One collector serves all caches of a registry: each has a name, which becomes the label `cache`.
/// A clone is a handle of the same collector. A collector does not keep its caches alive.
///
/// The names of the metrics begin with `bytecache_`, and have the units bytes and seconds. The
/// times of loads are a histogram.
///
/// A [namespace](crate::Namespace) has the second label `namespace`, its name: for the counters
/// that [`Namespace::stats`](crate::Namespace::stats) has, and for the times of its loads. All
/// versions of a name are added up. A sample without that label counts the whole cache, namespaces
/// included. So a query that adds samples up selects `namespace=""`, or the others.
///
/// A cache with an [advisor](crate::CacheBuilder::advisor) has the metrics of its advice, of the
/// ten hottest keys by their rank, and of ages. No key is part of a metric.
///
/// ```
/// use bytecache::{Cache, PrometheusCollector};
/// use prometheus_client::encoding::text::encode;
/// use prometheus_client::registry::Registry;
///
/// let users = Cache::new(1 << 20)?;
/// let pages = Cache::new(1 << 20)?;
/// let collector = PrometheusCollector::new();
/// collector.add("users", &users);
/// collector.add("pages", &pages);
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(collector));
///
/// users.insert("1", "Ada")?;
/// assert!(users.get("1").is_some());
/// let mut text = String::new();
/// encode(&mut text, &registry)?;
/// assert!(text.contains("bytecache_hits_total{cache=\"users\"} 1\n"));
/// assert!(text.contains("bytecache_hits_total{cache=\"pages\"} 0\n"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// A scrape locks each shard of each cache three times for a short time, as [`Cache::stats`],
/// [`Cache::memory`] and [`Cache::len`] do. Between scrapes it costs nothing. A cache with an
/// advisor is asked for its advice, its hot keys and its ages, too.
#[derive(Clone)]
pub struct PrometheusCollector {
    caches: Arc<Mutex<Vec<(String, WeakCache)>>>,
}

impl PrometheusCollector {
    /// Creates a collector without caches.
    ///
    /// ```
    /// use bytecache::PrometheusCollector;
    /// use prometheus_client::registry::Registry;
    ///
    /// let collector = PrometheusCollector::new();
    /// let mut registry = Registry::with_prefix("service");
    /// // Caches that are added to `collector` later are part of the registry.
    /// registry.register_collector(Box::new(collector.clone()));
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self { caches: Arc::new(Mutex::new(Vec::new())) }
    }

    /// Adds a cache, whose metrics get the label `cache` with this name. It replaces an earlier
    /// cache of the same name.
    ///
    /// ```
    /// use bytecache::{Cache, PrometheusCollector};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let collector = PrometheusCollector::new();
    /// collector.add("users", &cache);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn add(&self, name: impl Into<String>, cache: &Cache) {
        let name = name.into();
        let mut caches = self.caches.lock();
        caches.retain(|(other, cache)| *other != name && cache.upgrade().is_some());
        caches.push((name, cache.downgrade()));
    }

    /// Returns the names and numbers of all caches that are alive.
    fn read(&self) -> Vec<(String, Snapshot)> {
        let alive = |(name, cache): &(String, WeakCache)| Some((name.clone(), cache.upgrade()?));
        let caches: Vec<_> = self.caches.lock().iter().filter_map(alive).collect();
        caches.into_iter().map(|(name, cache)| (name, Snapshot::of(&cache))).collect()
    }
}

/// A collector without caches.
impl Default for PrometheusCollector {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for PrometheusCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusCollector").finish_non_exhaustive()
    }
}

impl Collector for PrometheusCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let caches = self.read();
        let encoder = &mut encoder;
        let count = |mut encoder: MetricEncoder<'_>, count| encoder.encode_counter::<NoLabelSet, _, f64>(&count, None);
        for counter in COUNTERS {
            family(encoder, &caches, counter, MetricType::Counter, by_namespace, count)?;
        }
        for counter in CACHE_COUNTERS {
            family(encoder, &caches, counter, MetricType::Counter, whole, count)?;
        }
        let value = |mut encoder: MetricEncoder<'_>, value| encoder.encode_gauge(&value);
        for gauge in GAUGES {
            family(encoder, &caches, gauge, MetricType::Gauge, whole, value)?;
        }
        family(encoder, &caches, &LOAD_TIMES, MetricType::Histogram, by_namespace, encode_times)?;
        for counter in ADVISOR_COUNTERS {
            family(encoder, &caches, counter, MetricType::Counter, advised, count)?;
        }
        for gauge in ROW_GAUGES {
            family(encoder, &caches, gauge, MetricType::Gauge, rows, value)?;
        }
        for gauge in HOT_KEY_GAUGES {
            family(encoder, &caches, gauge, MetricType::Gauge, hot_keys, value)?;
        }
        for ages in AGES {
            family(encoder, &caches, ages, MetricType::Histogram, advised, encode_times)?;
        }
        Ok(())
    }
}

/// The samples of a metric: labels beside the name of the cache, and their source.
type Samples<'a, From> = Vec<(Labels, &'a From)>;

/// Returns the only sample of a metric that namespaces do not have.
fn whole(snapshot: &Snapshot) -> Samples<'_, Snapshot> {
    vec![(Labels::new(), snapshot)]
}

/// Returns the samples of a metric that namespaces have, beginning with that of the cache.
fn by_namespace(snapshot: &Snapshot) -> Samples<'_, Stats> {
    let namespaces = snapshot.namespaces.iter().map(|(name, stats)| (vec![(NAMESPACE, name.clone())], stats));
    core::iter::once((Labels::new(), &snapshot.stats)).chain(namespaces).collect()
}

/// Returns the only sample of a metric of the advisor, if there is one.
fn advised(snapshot: &Snapshot) -> Samples<'_, Advised> {
    snapshot.advised.iter().map(|advised| (Labels::new(), advised)).collect()
}

fn rows(snapshot: &Snapshot) -> Samples<'_, AdvisedRow> {
    snapshot.advised.iter().flat_map(Advised::rows).collect()
}

fn hot_keys(snapshot: &Snapshot) -> Samples<'_, HotKey> {
    snapshot.advised.iter().flat_map(Advised::hot_keys).collect()
}

/// Encodes a metric of all caches. `samples` returns those of a cache.
fn family<V, From>(
    encoder: &mut DescriptorEncoder<'_>,
    caches: &[(String, Snapshot)],
    metric: &Metric<V, From>,
    kind: MetricType,
    samples: fn(&Snapshot) -> Samples<'_, From>,
    encode: impl Fn(MetricEncoder<'_>, V) -> fmt::Result,
) -> fmt::Result {
    let caches: Vec<_> = caches.iter().map(|(cache, snapshot)| (cache, samples(snapshot))).collect();
    if caches.iter().all(|(_, samples)| samples.is_empty()) {
        return Ok(());
    }
    // The encoder adds the unit and `_total`.
    let name = metric.name.trim_end_matches("_total");
    let (name, unit) = match name {
        name if metric.is_in_bytes() => (name.trim_end_matches("_bytes"), Some(Unit::Bytes)),
        name if name.ends_with("_seconds") => (name.trim_end_matches("_seconds"), Some(Unit::Seconds)),
        name => (name, None),
    };
    let mut encoder = encoder.encode_descriptor(name, metric.help, unit.as_ref(), kind)?;
    for (cache, samples) in caches {
        for (labels, source) in samples {
            let own = labels.iter().map(|(label, value)| (*label, value.as_str()));
            let labels: Vec<_> = core::iter::once((CACHE, cache.as_str())).chain(own).collect();
            encode(encoder.encode_family(&labels.as_slice())?, (metric.read)(source))?;
        }
    }
    Ok(())
}

fn encode_times(mut encoder: MetricEncoder<'_>, times: Times) -> fmt::Result {
    let bucket = |&(bound, count): &(Duration, u64)| {
        // The last class has no bound.
        (if bound == Duration::MAX { f64::INFINITY } else { bound.as_secs_f64() }, count)
    };
    let buckets: Vec<_> = times.classes.iter().map(bucket).collect();
    let count = buckets.iter().map(|&(_, count)| count).sum();
    encoder.encode_histogram::<NoLabelSet>(times.total.as_secs_f64(), count, &buckets, None)
}
