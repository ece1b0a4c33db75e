//! A recorder of the facade `metrics`, and what it gets.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytecache::testing::begin_turns;
use bytecache::{Advisor, Cache, MetricsPublisher};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Label, Metadata, Recorder, SharedString, Unit,
    with_local_recorder,
};

use crate::{advised, read_last};

#[derive(Default)]
struct Records {
    descriptions: Mutex<HashMap<String, (Option<Unit>, String)>>,
    counters: Mutex<HashMap<Key, Arc<AtomicU64>>>,
    gauges: Mutex<HashMap<Key, Arc<AtomicU64>>>,
    histograms: Mutex<HashMap<Key, Arc<Times>>>,
}

#[derive(Default)]
struct Times(Mutex<Vec<f64>>);

impl HistogramFn for Times {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

impl Records {
    fn describe(&self, name: &KeyName, unit: Option<Unit>, text: &SharedString) {
        self.descriptions.lock().unwrap().insert(name.as_str().to_string(), (unit, text.to_string()));
    }

    fn counter(&self, name: &'static str) -> u64 {
        self.counters.lock().unwrap()[&key(name)].load(Ordering::Relaxed)
    }

    /// Returns a counter of a namespace.
    fn counter_in(&self, name: &'static str, namespace: &'static str) -> u64 {
        let labels = vec![Label::new("cache", "users"), Label::new("namespace", namespace)];
        self.counters.lock().unwrap()[&Key::from_parts(name, labels)].load(Ordering::Relaxed)
    }

    fn gauge(&self, name: &'static str) -> f64 {
        f64::from_bits(self.gauges.lock().unwrap()[&key(name)].load(Ordering::Relaxed))
    }

    fn times(&self) -> Vec<f64> {
        self.histograms.lock().unwrap()[&key("bytecache_load_duration_seconds")].0.lock().unwrap().clone()
    }
}

fn key(name: &'static str) -> Key {
    Key::from_parts(name, vec![Label::new("cache", "users")])
}

impl Recorder for Records {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }
    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }
    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, text: SharedString) {
        self.describe(&name, unit, &text);
    }
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Arc::clone(self.counters.lock().unwrap().entry(key.clone()).or_default()).into()
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Arc::clone(self.gauges.lock().unwrap().entry(key.clone()).or_default()).into()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Arc::clone(self.histograms.lock().unwrap().entry(key.clone()).or_default()).into()
    }
}

#[test]
fn each_call_sets_counters_and_records_the_loads_since_the_last_one() {
    let records = Records::default();
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap();
    cache.get_or_load("before", || Ok::<_, &str>("value")).unwrap();
    let publisher = MetricsPublisher::new("users", &cache);
    with_local_recorder(&records, || {
        cache.insert("key", "value").unwrap();
        assert!(cache.get("key").is_some());
        assert!(publisher.publish());
        assert_eq!((records.counter("bytecache_hits_total"), records.counter("bytecache_inserts_total")), (1, 2));
        assert_eq!(records.gauge("bytecache_entries"), 2.0);
        assert_eq!(records.gauge("bytecache_memory_max_bytes"), f64::from(1 << 20));
        assert_eq!(records.times(), [0.0; 0], "that load had ended before");

        assert!(cache.get("key").is_some());
        cache.get_or_load("loaded", || Ok::<_, &str>("value")).unwrap();
        assert!(publisher.publish() && publisher.publish());
        assert_eq!(records.counter("bytecache_hits_total"), cache.stats().hits);
        assert_eq!(records.counter("bytecache_loads_total"), 2);
        let times = records.times();
        assert!(times.len() == 1 && times[0] >= 1e-6, "{times:?}");
    });
    let descriptions = records.descriptions.lock().unwrap();
    assert_eq!(descriptions["bytecache_hits_total"].0, Some(Unit::Count));
    assert_eq!(descriptions["bytecache_inserted_bytes_total"].0, Some(Unit::Bytes));
    assert_eq!(descriptions["bytecache_load_duration_seconds"].0, Some(Unit::Seconds));
    let named = records.counters.lock().unwrap().len() + records.gauges.lock().unwrap().len() + 1;
    assert_eq!(descriptions.len(), named);
    drop(cache);
    assert!(!publisher.publish());
}

#[test]
fn a_namespace_has_its_name_as_a_label_and_its_versions_are_added_up() {
    let records = Records::default();
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap();
    let publisher = MetricsPublisher::new("users", &cache);
    with_local_recorder(&records, || {
        for version in 0..2 {
            let space = cache.namespace("space").version(version).build().unwrap();
            space.insert("key", "value").unwrap();
            assert!(space.get("key").is_some());
            space.get_or_load("loaded", || Ok::<_, &str>("value")).unwrap();
        }
        cache.insert("key", "value").unwrap();
        assert!(publisher.publish() && publisher.publish());
        assert_eq!(records.counter_in("bytecache_hits_total", "space"), 2);
        assert_eq!(records.counter_in("bytecache_inserts_total", "space"), 4);
        assert_eq!(records.counter("bytecache_inserts_total"), 5);
    });
    let histograms = records.histograms.lock().unwrap();
    let recorded: Vec<_> = histograms.values().map(|times| times.0.lock().unwrap().len()).collect();
    assert_eq!(recorded, [2, 2], "of the cache and of the namespace");
}

#[test]
fn an_advisor_has_metrics_and_its_ages_are_recorded_once() {
    let records = Records::default();
    let (cache, clock) = advised();
    let publisher = MetricsPublisher::new("users", &cache);
    with_local_recorder(&records, || {
        clock.advance(Duration::from_secs(100));
        read_last(&cache);
        assert!(publisher.publish() && publisher.publish());
    });
    let name = |key: &Key| key.name().to_string();
    let histograms = records.histograms.lock().unwrap();
    let recorded = |metric: &str| {
        let times = histograms.iter().find(|(key, _)| key.name() == metric).unwrap().1;
        times.0.lock().unwrap().clone()
    };
    // The upper bound of the class of 100 seconds.
    let idle = recorded("bytecache_idle_at_hit_seconds");
    assert!(idle.len() > 50 && idle.len() <= 2_000 && idle.iter().all(|&time| time == 131.072), "{idle:?}");
    assert_eq!(recorded("bytecache_age_at_eviction_seconds"), [0.0; 0]);
    let gauges = records.gauges.lock().unwrap();
    let rows = gauges.keys().filter(|key| key.name() == "bytecache_advised_hit_ratio").count();
    assert_eq!(rows, cache.advice().unwrap().rows.len());
    assert!(gauges.keys().flat_map(Key::labels).all(|label| !label.value().contains("secret")));
    let counters = records.counters.lock().unwrap();
    let descriptions = records.descriptions.lock().unwrap();
    let names: BTreeSet<String> = counters.keys().chain(gauges.keys()).chain(histograms.keys()).map(name).collect();
    assert!(names.contains("bytecache_advisor_followed_total"));
    assert_eq!(names, descriptions.keys().cloned().collect());
}

#[test]
fn a_gauge_of_a_hot_key_that_is_gone_is_no_number() {
    let records = Records::default();
    let builder = Cache::builder().max_bytes(8 << 20).shards(1).advisor(Advisor::new().share(1.0));
    let cache = builder.build().unwrap();
    let space = cache.namespace("space").build().unwrap();
    begin_turns(1);
    for _ in 0..100 {
        assert!(cache.get("key").is_none() && space.get("key").is_none() && space.get("other").is_none());
    }
    let publisher = MetricsPublisher::new("users", &cache);
    let reads = |rank: &'static str| {
        let labels = vec![Label::new("cache", "users"), Label::new("rank", rank)];
        let gauges = records.gauges.lock().unwrap();
        gauges
            .get(&Key::from_parts("bytecache_hot_key_reads", labels))
            .map(|gauge| f64::from_bits(gauge.load(Ordering::Relaxed)))
    };
    with_local_recorder(&records, || assert!(publisher.publish()));
    assert_eq!(["1", "2", "3", "4"].map(reads), [Some(100.0), Some(100.0), Some(100.0), None]);
    space.invalidate_all();
    with_local_recorder(&records, || assert!(publisher.publish()));
    assert_eq!(reads("1"), Some(100.0));
    assert!(["2", "3"].map(reads).iter().all(|reads| reads.is_some_and(f64::is_nan)));
    assert_eq!(reads("4"), None);
}
