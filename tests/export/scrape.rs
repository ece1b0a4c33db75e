//! A registry that is scraped over HTTP, and the text that comes back.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use bytecache::{Cache, PrometheusCollector};
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use crate::advised;

/// Serves the registry to one client.
fn serve(listener: &TcpListener, registry: &Registry) {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 2 {
        line.clear();
    }
    let mut body = String::new();
    text::encode(&mut body, registry).unwrap();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).unwrap();
}

/// Scrapes the registry over HTTP.
fn scrape(registry: &Registry) -> Scrape {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| serve(&listener, registry));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
        Scrape::parse(body)
    })
}

/// A text in the format OpenMetrics.
struct Scrape {
    /// By name: type, unit, help.
    families: HashMap<String, (String, Option<String>, String)>,
    /// By name and labels.
    samples: HashMap<(String, Vec<(String, String)>), f64>,
    /// Names and labels in their order.
    order: Vec<(String, Vec<(String, String)>)>,
}

impl Scrape {
    fn parse(text: &str) -> Self {
        let (mut families, mut samples, mut order) = (HashMap::new(), HashMap::new(), Vec::new());
        let (mut current, mut has_ended) = (String::new(), false);
        for line in text.lines() {
            assert!(!has_ended, "there is something behind the end");
            if line == "# EOF" {
                has_ended = true;
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                current = name.to_string();
                let former = families.insert(current.clone(), (String::new(), None, help.to_string()));
                assert!(former.is_none(), "{name} is described twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                families.get_mut(name).unwrap().0 = kind.to_string();
            } else if let Some(rest) = line.strip_prefix("# UNIT ") {
                let (name, unit) = rest.split_once(' ').unwrap();
                families.get_mut(name).unwrap().1 = Some(unit.to_string());
                assert!(name.ends_with(&format!("_{unit}")), "{name} does not end with its unit");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = name.strip_suffix('}').unwrap().split_once('{').unwrap();
                assert!(name.starts_with(&current), "{name} is not of the family {current}");
                let label = |label: &str| {
                    let (key, value) = label.split_once('=').unwrap();
                    (key.to_string(), value.strip_prefix('"').unwrap().strip_suffix('"').unwrap().to_string())
                };
                let key = (name.to_string(), labels.split(',').map(label).collect::<Vec<_>>());
                order.push(key.clone());
                assert!(samples.insert(key, value.parse().unwrap()).is_none(), "{line} comes twice");
            }
        }
        assert!(has_ended);
        Self { families, samples, order }
    }

    fn get(&self, name: &str, cache: &str) -> f64 {
        self.samples[&(name.to_string(), vec![("cache".to_string(), cache.to_string())])]
    }

    /// The buckets of a histogram, in their order.
    fn buckets(&self, name: &str, cache: &str) -> Vec<(f64, f64)> {
        let is_of = |labels: &[(String, String)]| labels.iter().any(|(key, value)| key == "cache" && value == cache);
        let keys = self.order.iter().filter(|(sample, labels)| *sample == format!("{name}_bucket") && is_of(labels));
        let bucket = |key: &(String, Vec<(String, String)>)| {
            let (_, bound) = key.1.iter().find(|(key, _)| key == "le").unwrap();
            (bound.parse().unwrap(), self.samples[key])
        };
        keys.map(bucket).collect()
    }
}

fn cache() -> Cache {
    Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap()
}

#[test]
fn a_scrape_over_http_has_the_statistics_of_each_cache() {
    let (users, pages) = (cache(), cache());
    let collector = PrometheusCollector::new();
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector.clone()));
    collector.add("users", &users);
    collector.add("pages", &pages);

    users.insert("1", "Ada").unwrap();
    assert!(users.get("1").is_some() && users.get("2").is_none() && users.get("3").is_none());
    users.get_or_load("4", || Ok::<_, &str>("Grace")).unwrap();
    assert!(users.get_or_load("5", || Err::<&str, _>("down")).is_err());

    let scrape = scrape(&registry);
    let stats = users.stats();
    assert_eq!(scrape.get("bytecache_hits_total", "users"), 1.0);
    assert_eq!(scrape.get("bytecache_misses_total", "users"), stats.misses as f64);
    assert_eq!(scrape.get("bytecache_inserts_total", "users"), 2.0);
    assert_eq!(scrape.get("bytecache_loads_total", "users"), 2.0);
    assert_eq!(scrape.get("bytecache_load_failures_total", "users"), 1.0);
    assert_eq!(scrape.get("bytecache_inserted_bytes_total", "users"), stats.inserted_bytes as f64);
    assert_eq!(scrape.get("bytecache_entries", "users"), 2.0);
    assert_eq!(scrape.get("bytecache_memory_max_bytes", "users"), f64::from(1 << 20));
    assert_eq!(scrape.get("bytecache_memory_live_bytes", "users"), users.memory().live as f64);
    assert_eq!(scrape.get("bytecache_hits_total", "pages"), 0.0);

    let types = |name: &str| {
        let (kind, unit, help) = &scrape.families[name];
        assert!(!help.is_empty());
        (kind.as_str(), unit.as_deref())
    };
    assert_eq!(types("bytecache_hits"), ("counter", None));
    assert_eq!(types("bytecache_inserted_bytes"), ("counter", Some("bytes")));
    assert_eq!(types("bytecache_memory_allocated_bytes"), ("gauge", Some("bytes")));
    assert_eq!(types("bytecache_load_duration_seconds"), ("histogram", Some("seconds")));
    // Every counter of `Stats` is there. `Debug` prints each field on a line that begins with its
    // name, and the parts of a field further in.
    let shown = format!("{stats:#?}");
    let lines = shown.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
    let fields: Vec<&str> = lines.map(|(field, _)| field).filter(|field| !field.starts_with(' ')).collect();
    assert!(fields.contains(&"hits") && fields.contains(&"load_times"), "{fields:?}");
    let names: HashSet<&str> = scrape.families.keys().map(String::as_str).collect();
    for field in fields {
        let name = match field {
            "load_times" => "bytecache_load_duration_seconds".to_string(),
            "live_target" => "bytecache_live_target_ratio".to_string(),
            field => format!("bytecache_{field}"),
        };
        assert!(names.contains(name.as_str()), "{name} is missing");
    }
}

#[test]
fn the_times_of_loads_are_a_histogram() {
    let cache = cache();
    let collector = PrometheusCollector::new();
    collector.add("users", &cache);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    for key in 0..10_u32 {
        cache.get_or_load(key.to_le_bytes(), || Ok::<_, &str>("value")).unwrap();
    }
    let scrape = scrape(&registry);
    let name = "bytecache_load_duration_seconds";
    let buckets = scrape.buckets(name, "users");
    assert!(buckets.is_sorted_by(|before, after| before.0 < after.0 && before.1 <= after.1), "{buckets:?}");
    assert_eq!(buckets[0].0, 1e-6);
    assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, 10.0));
    assert_eq!(scrape.get(&format!("{name}_count"), "users"), 10.0);
    let total = cache.stats().load_times.total().as_secs_f64();
    assert_eq!(scrape.get(&format!("{name}_sum"), "users"), total);
    let below: f64 = buckets.iter().filter(|(bound, _)| *bound >= total).map(|(_, count)| *count).fold(10.0, f64::min);
    assert_eq!(below, 10.0, "no load took longer than all of them");
}

#[test]
fn a_cache_that_is_gone_is_not_shown_and_a_name_is_that_of_the_last_cache() {
    let (first, second) = (cache(), cache());
    let collector = PrometheusCollector::new();
    let mut registry = Registry::with_prefix("service");
    registry.register_collector(Box::new(collector.clone()));
    assert!(scrape(&registry).samples.is_empty());
    collector.add("users", &first);
    collector.add("users", &second);
    second.insert("key", "value").unwrap();
    assert_eq!(scrape(&registry).get("service_bytecache_inserts_total", "users"), 1.0);
    drop(second);
    assert!(scrape(&registry).samples.is_empty());
}

#[test]
fn a_namespace_has_its_name_as_a_label_and_its_versions_are_added_up() {
    let cache = cache();
    let collector = PrometheusCollector::new();
    collector.add("users", &cache);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector));
    for version in 0..2 {
        let space = cache.namespace("space").version(version).build().unwrap();
        space.insert("key", "value").unwrap();
        assert!(space.get("key").is_some());
        space.get_or_load("loaded", || Ok::<_, &str>("value")).unwrap();
    }
    cache.insert("key", "value").unwrap();
    let scrape = scrape(&registry);
    let labels = [("cache", "users"), ("namespace", "space")].map(|(key, value)| (key.to_string(), value.to_string()));
    let of_space = |name: &str| scrape.samples[&(name.to_string(), labels.to_vec())];
    assert_eq!((of_space("bytecache_hits_total"), of_space("bytecache_inserts_total")), (2.0, 4.0));
    assert_eq!(of_space("bytecache_load_duration_seconds_count"), 2.0);
    assert_eq!(scrape.get("bytecache_inserts_total", "users"), 5.0);
    assert_eq!(scrape.get("bytecache_load_duration_seconds_count", "users"), 2.0);
}

#[test]
fn an_advisor_has_metrics_whose_labels_are_no_keys() {
    let (cache, _) = advised();
    let collector = PrometheusCollector::new();
    collector.add("users", &cache);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(collector.clone()));
    let mut raw = String::new();
    text::encode(&mut raw, &registry).unwrap();
    assert!(!raw.contains("secret"), "{raw}");

    let scrape = scrape(&registry);
    let labelled = |name: &str, labels: &[(&str, &str)]| {
        let labels = [&[("cache", "users")], labels].concat();
        let labels = labels.iter().map(|(label, value)| (label.to_string(), value.to_string())).collect();
        scrape.samples[&(name.to_string(), labels)]
    };
    let advice = cache.advice().unwrap();
    for row in &advice.rows {
        let labels = [("policy", row.policy.as_str()), ("size_percent", &row.size_percent.to_string())];
        assert_eq!(labelled("bytecache_advised_hit_ratio", &labels), row.hit_ratio);
        assert_eq!(labelled("bytecache_advised_hit_ratio_error", &labels), row.hit_ratio_error);
        assert_eq!(labelled("bytecache_advised_byte_hit_ratio", &labels), row.byte_hit_ratio);
    }
    let hottest = &cache.hot_keys(1)[0];
    assert_eq!(labelled("bytecache_hot_key_reads", &[("rank", "1")]), hottest.reads);
    assert!((0.2..0.3).contains(&labelled("bytecache_hot_key_share_ratio", &[("rank", "1")])));
    let ages = cache.ages();
    for (name, times) in [("age_at_eviction", ages.at_eviction), ("idle_at_hit", ages.idle_at_hit)] {
        let name = format!("bytecache_{name}_seconds");
        assert!(times.count() > 50, "{times:?}");
        let buckets = scrape.buckets(&name, "users");
        assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, times.count() as f64));
        assert_eq!(scrape.get(&format!("{name}_sum"), "users"), times.total().as_secs_f64());
    }
    assert!(scrape.get("bytecache_idle_at_hit_seconds_sum", "users") > 9.0);
    let dropped = scrape.get("bytecache_advisor_dropped_total", "users");
    assert!(scrape.get("bytecache_advisor_followed_total", "users") + dropped >= advice.sampled_reads);
    assert!(
        scrape.get("bytecache_advisor_counted_reads_total", "users")
            <= (cache.stats().hits + cache.stats().misses) as f64
    );
    assert_eq!(scrape.get("bytecache_advisor_uncounted_reads_total", "users"), 0.0);
    // A cache without an advisor has none of these.
    let other = Cache::new(1 << 20).unwrap();
    collector.add("users", &other);
    raw.clear();
    text::encode(&mut raw, &registry).unwrap();
    assert!(raw.contains("bytecache_hits_total") && !raw.contains("advise") && !raw.contains("hot_key"), "{raw}");
}
