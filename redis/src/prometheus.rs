//! [`TierCollector`]: the counters of second tiers for a registry of `prometheus-client`.

use core::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::space::Space;
use crate::stats::TierStats;
use crate::tiered::Tiered;

/// A collector of `prometheus-client` that reads the counters of [`Tiered`] namespaces on each
/// scrape.
///
/// The names of the metrics begin with `bytecache_redis_`. The label `namespace` is the name of the
/// namespace. `bytecache_redis_tracked` is 1 while invalidations of the namespace arrive.
/// The collector of `bytecache` has the metrics of the local tier. A clone is a handle of the same
/// collector. A collector does not keep its namespaces alive.
///
/// ```no_run
/// # fn example(users: bytecache_redis::Tiered) {
/// use bytecache_redis::TierCollector;
/// use prometheus_client::registry::Registry;
///
/// let collector = TierCollector::default();
/// collector.add(&users);
/// let mut registry = Registry::default();
/// registry.register_collector(Box::new(collector));
/// # }
/// ```
#[derive(Clone, Default)]
pub struct TierCollector {
    spaces: Arc<Mutex<Vec<Weak<Space>>>>,
}

impl TierCollector {
    /// Adds a namespace.
    pub fn add(&self, tiered: &Tiered) {
        let mut spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner);
        let space = Arc::downgrade(&tiered.source.space);
        spaces.retain(|other| other.strong_count() > 0 && !other.ptr_eq(&space));
        spaces.push(space);
    }
}

impl Collector for TierCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let spaces = self.spaces.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let spaces: Vec<_> = spaces.iter().filter_map(Weak::upgrade).collect();
        if spaces.is_empty() {
            return Ok(());
        }
        let all: Vec<_> = spaces.iter().map(|space| space.counters.read().counters()).collect();
        for (index, (name, _)) in TierStats::default().counters().into_iter().enumerate() {
            let name = format!("bytecache_redis_{name}");
            let mut family = encoder.encode_descriptor(&name, &name.replace('_', " "), None, MetricType::Counter)?;
            for (space, counters) in spaces.iter().zip(&all) {
                let labels = [("namespace", space.name.as_str())];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, f64>(&counters[index].1, None)?;
            }
        }
        let help = "1 while invalidations arrive";
        let mut family = encoder.encode_descriptor("bytecache_redis_tracked", help, None, MetricType::Gauge)?;
        for space in &spaces {
            let is_tracked = space.trust.is_tracked() && space.trust.may_read();
            family.encode_family(&[("namespace", space.name.as_str())])?.encode_gauge(&i64::from(is_tracked))?;
        }
        Ok(())
    }
}

impl fmt::Debug for TierCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TierCollector").finish_non_exhaustive()
    }
}
