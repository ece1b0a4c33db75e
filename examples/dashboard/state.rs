//! The state of a cache as JSON, for the page.

use std::fmt::Write;
use std::time::Duration;

use bytecache::{Advice, AdvisedRow, Cache, HotKey};

/// The keys in the table of the page.
const HOT_KEYS: usize = 10;

/// The reads of the cache up to some time.
#[derive(Clone, Copy)]
pub(crate) struct Point {
    pub(crate) seconds: f64,
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

/// Returns all that the page shows, as JSON in one line.
pub(crate) fn state(cache: &Cache, history: &[Point]) -> String {
    let stats = cache.stats();
    let since: Vec<_> = history.windows(2).filter_map(|pair| Some((pair[1].seconds, ratio_between(pair)?))).collect();
    let reads_per_second = match history {
        [.., before, last] => {
            (last.hits + last.misses - before.hits - before.misses) as f64 / (last.seconds - before.seconds).max(1e-3)
        }
        _ => 0.0,
    };
    let ages = cache.ages();
    format!(
        r#"{{"hit_ratio":{},"reads_per_second":{reads_per_second:.0},"entries":{},"evictions":{},"seconds":{:.1},"#,
        since.last().map_or(0.0, |&(_, ratio)| ratio),
        cache.len(),
        stats.evictions,
        history.last().map_or(0.0, |point| point.seconds),
    ) + &format!(
        r#""history":{},"advice":{},"memory":{},"hot":{},"ages":{{"evicted":{},"idle":{}}},"#,
        list(since.iter().map(|(seconds, ratio)| format!("[{seconds:.2},{ratio:.4}]"))),
        cache.advice().map_or("null".to_string(), |advice| curve(&advice)),
        memory(cache),
        list(cache.hot_keys(HOT_KEYS).iter().map(hot_key)),
        classes(ages.at_eviction.histogram()),
        classes(ages.idle_at_hit.histogram()),
    ) + &format!(
        r#""loads":{{"loads":{},"failures":{},"followers":{},"times":{}}}}}"#,
        stats.loads,
        stats.load_failures,
        stats.followers,
        classes(stats.load_times.histogram()),
    )
}

/// Returns the hit ratio of the reads between two points, or `None` if there was none.
fn ratio_between(points: &[Point]) -> Option<f64> {
    let (hits, misses) = (points[1].hits - points[0].hits, points[1].misses - points[0].misses);
    (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64)
}

fn curve(advice: &Advice) -> String {
    let row = |row: &AdvisedRow| {
        let (miss, error) = (1.0 - row.hit_ratio, row.hit_ratio_error);
        format!(r#"{{"policy":{},"size":{},"miss":{miss:.4},"error":{error:.4}}}"#, text(&row.policy), row.size_percent)
    };
    let sentence = match (advice.better_policy(), advice.flattens_at()) {
        _ if advice.rows.iter().all(|row| row.hit_ratio_error >= 1.0) => "Too few sampled keys for advice.".to_string(),
        (Some(row), _) => format!("{} would hit {:.1} %.", row.policy, row.hit_ratio * 100.0),
        (None, Some(row)) => format!("More memory than {} % hardly helps.", row.size_percent),
        (None, None) => "More memory may help.".to_string(),
    };
    format!(
        r#"{{"curve":{},"best":{},"sentence":{}}}"#,
        list(advice.curve().map(row)),
        advice.better_policy().map_or("null".to_string(), row),
        text(&sentence),
    )
}

fn memory(cache: &Cache) -> String {
    let memory = cache.memory();
    let known = memory.live + memory.dead + memory.index + memory.policy + memory.overhead;
    let parts = [
        ("entries", memory.live),
        ("entries that have left", memory.dead),
        ("index", memory.index),
        ("policy", memory.policy),
        ("advisor and fixed part", memory.overhead),
        ("free", memory.max.saturating_sub(known)),
    ];
    list(parts.iter().map(|(name, bytes)| format!(r#"{{"name":{},"bytes":{bytes}}}"#, text(name))))
}

fn hot_key(hot: &HotKey) -> String {
    format!(
        r#"{{"key":{},"namespace":{},"reads":{:.1},"error":{:.1},"share":{:.6}}}"#,
        text(&String::from_utf8_lossy(&hot.key)),
        hot.namespace.as_deref().map_or("null".to_string(), text),
        hot.reads,
        hot.reads_error,
        hot.share,
    )
}

/// Returns the classes of a histogram. The last one has no bound.
fn classes(classes: impl Iterator<Item = (Duration, u64)>) -> String {
    list(classes.map(|(bound, count)| {
        let bound = if bound == Duration::MAX { "null".to_string() } else { bound.as_secs_f64().to_string() };
        format!(r#"{{"bound":{bound},"count":{count}}}"#)
    }))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

/// Returns a string of JSON that is also safe within a script of a page.
fn text(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            'a'..='z'
            | 'A'..='Z'
            | '0'..='9'
            | ' '
            | '/'
            | ':'
            | '-'
            | '_'
            | '.'
            | '?'
            | '='
            | '%'
            | ','
            | '('
            | ')' => {
                quoted.push(character);
            }
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(quoted, "\\u{unit:04x}");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}
