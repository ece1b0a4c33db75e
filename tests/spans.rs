//! Spans around loads, and the warning about a value that is too large. A binary of its own: its
//! subscriber is that of the process.
#![cfg(feature = "tracing")]
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::Once;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytecache::{Cache, Lifetime, ManualClock};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

thread_local! {
    /// The events on this thread.
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// Notes what happens to spans, and events.
struct Log;

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

fn add(what: &str, fields: impl FnOnce(&mut Fields)) {
    let mut line = Fields(what.to_string());
    fields(&mut line);
    LINES.with_borrow_mut(|lines| lines.push(line.0));
}

/// Notes what happens from here on. Each test calls it before its first load: what is seen of a
/// load may otherwise depend on that of another thread.
fn begin() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Log).unwrap());
}

/// Returns what happened on this thread since the last call.
fn take() -> Vec<String> {
    LINES.take()
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "bytecache"
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        add(span.metadata().name(), |fields| span.record(fields));
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        add("record", |fields| values.record(fields));
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        add(&event.metadata().level().to_string(), |fields| event.record(fields));
    }
    fn enter(&self, _: &Id) {
        add("enter", |_| {});
    }
    fn exit(&self, _: &Id) {
        add("exit", |_| {});
    }
}

fn cache() -> Cache {
    Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap()
}

#[test]
fn a_load_runs_in_a_span_of_its_key() {
    begin();
    let cache = cache();
    let loaded = cache.get_or_load(b"user:\xff", || {
        add("loading", |_| {});
        Ok::<_, &str>("value")
    });
    assert!(loaded.is_ok());
    let span = r"load key=user:\xff refresh=false";
    assert_eq!(take(), [span, "enter", "loading", "exit", "record failed=false"]);
    // A hit is none.
    assert!(cache.get_or_load(b"user:\xff", || Err::<&str, _>("down")).is_ok());
    assert_eq!(take(), [""; 0]);
    assert!(cache.get_or_load([b'k'; 100], || Err::<&str, _>("down")).is_err());
    let span = format!("load key={}... refresh=false", "k".repeat(64));
    assert_eq!(take(), [&span, "enter", "exit", "record failed=true"]);
    let many = cache.get_or_load_many(&["a", "b"], |_| Ok::<_, &str>(vec![Some("1"), Some("2")]));
    assert!(many.is_ok());
    assert_eq!(take(), ["load_many keys=2", "enter", "exit", "record failed=false"]);
}

#[test]
fn a_task_enters_its_span_when_it_is_polled() {
    begin();
    let cache = cache();
    let mut polls = 0;
    let loading = poll_fn(|_| {
        polls += 1;
        if polls == 2 { Poll::Ready(Ok::<_, &str>("value")) } else { Poll::Pending }
    });
    let mut load = Box::pin(cache.get_or_load_async("key", || loading));
    let mut context = Context::from_waker(Waker::noop());
    assert!(load.as_mut().poll(&mut context).is_pending());
    // Once to call the loader, and once to poll its future.
    assert_eq!(take(), ["load key=key refresh=false", "enter", "exit", "enter", "exit"]);
    assert!(load.as_mut().poll(&mut context).is_ready());
    assert_eq!(take(), ["enter", "exit", "record failed=false"]);
}

#[test]
fn the_span_of_a_spawned_load_begins_in_its_caller() {
    begin();
    let cache = cache();
    let builder = cache.loader().spawner(|task| {
        add("spawning", |_| {});
        assert!(Box::pin(task).as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    });
    let loader = builder.build_async(|_| async { Ok::<_, &str>("value") }).unwrap();
    let mut call = Box::pin(loader.get_async("key"));
    assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    let span = "load key=key refresh=false";
    assert_eq!(take(), [span, "spawning", "enter", "exit", "enter", "exit", "record failed=false"]);
}

#[test]
fn a_refresh_says_so() {
    begin();
    let clock = ManualClock::new();
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).clock(clock.clone()).build().unwrap();
    let second = Duration::from_secs(1);
    cache.insert_with_lifetime("key", "old", Lifetime::new().refresh_after(second)).unwrap();
    let loader = cache.loader().refresh_after(second).build(|_| Ok::<_, &str>("new")).unwrap();
    clock.advance(2 * second);
    assert_eq!(loader.get("key").unwrap(), "new");
    assert_eq!(take(), ["load key=key refresh=true", "enter", "exit", "record failed=false"]);
}

#[test]
fn hidden_keys_are_not_shown() {
    begin();
    let cache = cache();
    let large = vec![0; cache.max_entry_bytes()];
    let loader = cache.loader().hide_keys().build(move |_| Ok::<_, &str>(large.clone())).unwrap();
    assert_eq!(loader.get("secret").unwrap().len(), cache.max_entry_bytes());
    let lines = take();
    assert_eq!(lines[0], "load refresh=false");
    assert!(lines.iter().any(|line| line.starts_with("WARN") && line.contains(" bytes=")), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("secret")), "{lines:?}");
}

#[test]
fn a_value_that_is_too_large_is_told_of_once() {
    begin();
    let cache = cache();
    for key in ["a", "a", "b"] {
        let large = vec![0; cache.max_entry_bytes()];
        assert!(cache.get_or_load(key, || Ok::<_, &str>(large)).is_ok());
    }
    let warnings: Vec<_> = take().into_iter().filter(|line| line.starts_with("WARN")).collect();
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    let numbers = format!("key=a bytes={} max_entry_bytes={}", cache.max_entry_bytes() + 1, cache.max_entry_bytes());
    assert!(warning.contains(&numbers) && warning.contains("too large to be stored"), "{warning}");
    assert_eq!(cache.stats().rejected_too_large, 3);
}
