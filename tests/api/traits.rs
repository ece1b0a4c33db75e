//! The public types implement the traits that callers rely on: comparison, hashing, conversion,
//! printing, errors, and use by many threads.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::error::Error as StdError;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytecache::policy::{
    Ageing, ClockConfig, LfuConfig, PolicyContext, Request, S3FifoConfig, Simulation, Simulator, SlruConfig,
    TinyLfuConfig, TwoQueueConfig, Unit,
};
use bytecache::{
    AsyncLoader, Batch, Batched, BuildError, Cache, CacheBuilder, Error, Invalidation, Lifetime, LoadError, LoadTimes,
    Loaded, Loader, LoaderBuilder, ManualClock, MaybeStale, Memory, Namespace, NamespaceBuilder, Origin,
    ParsePolicyError, Policy, Present, Refresh, Remaining, RemovalCause, StableHash, Stats, SystemClock, Typed, Value,
};

use bytecache::typed::{NoLoads, Tasks, Threads, Utf8};

use crate::support::{Gate, Hand, alone};

// Threads.

const fn is_send<T: Send + 'static>() {}
const fn is_send_and_sync<T: Send + Sync + 'static>() {}

/// A type of function that a loader accepts.
type Load = fn(&[u8]) -> Result<Vec<u8>, Infallible>;

const _: () = {
    is_send_and_sync::<Cache>();
    is_send_and_sync::<CacheBuilder>();
    is_send_and_sync::<Value>();
    is_send_and_sync::<MaybeStale>();
    is_send_and_sync::<Loader<Load>>();
    is_send_and_sync::<AsyncLoader<Load>>();
    is_send_and_sync::<AsyncLoader<Batched<Load>>>();
    is_send_and_sync::<(Batch, Origin, Present)>();
    is_send_and_sync::<LoaderBuilder>();
    is_send::<Refresh>();
    is_send_and_sync::<(Namespace, NamespaceBuilder, Invalidation<'static>)>();
    is_send_and_sync::<Typed<String, String, Utf8, Tasks>>();
    is_send_and_sync::<Typed<String, String, Utf8, Threads>>();
    is_send_and_sync::<Typed<String, String, Utf8, NoLoads>>();
    is_send_and_sync::<(Lifetime, Remaining, Loaded<Vec<u8>>)>();
    is_send_and_sync::<(Stats, Memory, LoadTimes, RemovalCause)>();
    is_send_and_sync::<(ManualClock, SystemClock, StableHash)>();
    is_send_and_sync::<(Policy, Ageing, Unit, Request, Simulation, PolicyContext)>();
    is_send_and_sync::<(ClockConfig, LfuConfig, S3FifoConfig)>();
    is_send_and_sync::<(SlruConfig, TinyLfuConfig, TwoQueueConfig)>();
    is_send::<Simulator>();
};

/// Polls each kind of future that the API returns. [`Hand`] takes only futures that can be sent to
/// other threads.
#[test]
fn futures_can_be_sent_to_other_threads() {
    let _alone = alone();
    let cache = Cache::new(1 << 20).unwrap();
    let gate = Gate::new();
    let load = |gate: Gate| async move {
        gate.await;
        Ok::<_, Infallible>("value")
    };
    let loader = {
        let gate = gate.clone();
        cache.loader().build_async(move |_: Arc<[u8]>| load(gate.clone())).unwrap()
    };
    let mut single = Hand::new(cache.get_or_load_async("a", || load(gate.clone())));
    let keys = ["b", "c"];
    let load_many = |missing: Vec<&&str>| {
        let (gate, count) = (gate.clone(), missing.len());
        async move {
            gate.await;
            Ok::<_, Infallible>(vec![Some("value"); count])
        }
    };
    let mut many = Hand::new(cache.get_or_load_many_async(&keys, load_many));
    let mut with_rules = Hand::new(loader.get_async("d"));
    let mut then_refreshed = Hand::new(loader.get_then_refresh("e"));
    let mut many_with_rules = Hand::new(loader.get_many_async(&["f"]));
    let mut with_origin = Hand::new(loader.get_with_origin_async("g"));
    let infallible = || {
        let gate = gate.clone();
        async move {
            gate.await;
            "value"
        }
    };
    let mut infallible = Hand::new(cache.get_or_insert_with_async("h", infallible));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert!(single.poll().is_pending() && many.poll().is_pending());
            assert!(with_rules.poll().is_pending() && then_refreshed.poll().is_pending());
            assert!(many_with_rules.poll().is_pending() && with_origin.poll().is_pending());
            assert!(infallible.poll().is_pending());
        });
    });
    gate.open();
    assert!(single.poll().is_ready() && many.poll().is_ready());
    assert!(with_rules.poll().is_ready() && then_refreshed.poll().is_ready());
    assert!(many_with_rules.poll().is_ready() && with_origin.poll().is_ready());
    assert!(infallible.poll().is_ready());
    assert_eq!(cache.len(), 8);
}

// Values.

fn value_of(bytes: &[u8]) -> Value {
    let cache = Cache::new(1 << 20).unwrap();
    cache.insert("key", bytes).unwrap();
    cache.get("key").unwrap()
}

#[test]
fn a_value_is_equal_to_its_bytes_in_all_their_forms() {
    let _alone = alone();
    let value = value_of(b"Ada");
    assert_eq!(value, *"Ada");
    assert_eq!(value, "Ada");
    assert_eq!(value, b"Ada"[..]);
    assert_eq!(value, &b"Ada"[..]);
    assert_eq!(value, *b"Ada");
    assert_eq!(value, b"Ada");
    assert_eq!(value, b"Ada".to_vec());
    assert_eq!(value, value_of(b"Ada"));
    assert_eq!(value, value.clone());
    assert_eq!((value.as_ref(), value.as_slice(), value.len()), (&b"Ada"[..], &b"Ada"[..], 3));
    assert!(value != *"Bob" && value != "Ad" && value != "Adam" && value != b"Bob"[..] && value != b"Ad".to_vec());
    assert_eq!(value_of("ä".as_bytes()), "ä");
    assert_ne!(value_of(b"\xff"), "\u{ff}");
    assert_ne!(value, value_of(b"Bob"));
}

#[test]
fn values_are_keys_of_maps_that_are_searched_by_bytes() {
    let _alone = alone();
    let state = RandomState::new();
    for bytes in [&b""[..], b"a", b"a longer one that takes more than one round"] {
        let value = value_of(bytes);
        assert_eq!(state.hash_one(&value), state.hash_one(bytes));
        assert_eq!(Borrow::<[u8]>::borrow(&value), bytes);
    }
    let counts = HashMap::from([(value_of(b"a"), 1), (value_of(b"b"), 2)]);
    assert_eq!((counts.get(&b"a"[..]), counts.get(&b"b"[..]), counts.get(&b"c"[..])), (Some(&1), Some(&2), None));
}

#[test]
fn values_are_ordered_as_their_bytes() {
    let _alone = alone();
    let unordered = [&b"b"[..], b"", b"\xff", b"ab", b"a"];
    let ordered: BTreeSet<Value> = unordered.into_iter().map(value_of).collect();
    let ordered: Vec<&[u8]> = ordered.iter().map(Value::as_slice).collect();
    assert_eq!(ordered, [&b""[..], b"a", b"ab", b"b", b"\xff"]);
    assert!(value_of(b"a") < value_of(b"b") && value_of(b"b") > value_of(b"ab"));
}

#[test]
fn a_value_turns_into_a_vector_of_its_bytes() {
    let _alone = alone();
    for bytes in [&b""[..], b"Ada"] {
        assert_eq!(Vec::from(value_of(bytes)), bytes);
    }
}

#[test]
fn a_value_prints_as_a_byte_string() {
    let _alone = alone();
    assert_eq!(format!("{:?}", value_of(b"Ada")), "b\"Ada\"");
    assert_eq!(format!("{:?}", value_of(b"")), "b\"\"");
    assert_eq!(format!("{:?}", value_of(b"\"\\\n\0\xff")), r#"b"\"\\\n\x00\xff""#);
}

// The builder.

#[test]
fn a_default_builder_is_that_of_a_cache() {
    let _alone = alone();
    assert_eq!(format!("{:?}", CacheBuilder::default()), format!("{:?}", Cache::builder()));
    assert_eq!(CacheBuilder::default().build().unwrap_err(), BuildError::NoMaxBytes);
    let cache = CacheBuilder::default().max_bytes(1 << 20).build().unwrap();
    cache.insert("key", "value").unwrap();
    assert_eq!(cache.get("key").unwrap(), "value");
}

// Errors.

fn is_an_error_for_any_thread<E: StdError + Clone + Send + Sync + 'static>() {}

#[test]
fn errors_can_be_sent_shared_boxed_and_cloned() {
    is_an_error_for_any_thread::<Error>();
    is_an_error_for_any_thread::<BuildError>();
    is_an_error_for_any_thread::<ParsePolicyError>();
    is_an_error_for_any_thread::<LoadError<std::io::Error>>();
}

/// Fails in one of three ways, depending on the arguments. `?` converts all three errors to one
/// type.
fn fail(max_bytes: usize, key_len: usize, policy: &str) -> Result<(), Box<dyn StdError + Send + Sync>> {
    let cache = Cache::builder().max_bytes(max_bytes).policy(policy.parse()?).build()?;
    cache.insert(vec![0; key_len], "")?;
    Ok(())
}

#[test]
fn a_boxed_error_is_of_the_type_of_what_failed() {
    assert!(fail(1 << 20, 1, "lru").is_ok());
    assert!(fail(1 << 20, 1, "no-policy").unwrap_err().is::<ParsePolicyError>());
    assert!(fail(1_000, 1, "lru").unwrap_err().is::<BuildError>());
    assert!(fail(1 << 20, 70_000, "lru").unwrap_err().is::<Error>());
}

#[test]
fn each_message_of_an_error_names_the_value_and_its_range() {
    let (ttl, refresh_after) = (Duration::from_secs(2), Duration::from_secs(3));
    let range = || "a number from 1 to 3".to_owned();
    let shards = |min| BuildError::Shards { shards: 12, min, max: 16 };
    let messages = [
        (Error::KeyTooLong { bytes: 9, max: 8 }.to_string(), "the key has 9 bytes, but a key can have at most 8"),
        (
            Error::TooLarge { bytes: 9, max: 8 }.to_string(),
            "key and value have 9 bytes together, but an entry of this cache can have at most 8",
        ),
        (Error::Rejected.to_string(), "readers and held values occupy the space that the entry needs"),
        (Error::NotACounter { bytes: 3 }.to_string(), "the value has 3 bytes, but a counter has 8"),
        (
            Error::CounterOverflow { value: 7, by: i64::MAX }.to_string(),
            "the counter is 7, and adding 9223372036854775807 exceeds the range of 64 bits",
        ),
        (
            BuildError::TooSmall { max_bytes: 1, min_bytes: 2 }.to_string(),
            "max_bytes is 1, but it must be at least 2 for this policy and number of shards",
        ),
        (BuildError::TooManyBytes { max_bytes: 9, largest: 8 }.to_string(), "max_bytes is 9, but it must be at most 8"),
        (
            BuildError::MaxEntryBytes { max_entry_bytes: 9, largest: 8 }.to_string(),
            "max_entry_bytes is 9, but it must be from 1 to 8 for this max_bytes",
        ),
        (
            shards(1).to_string(),
            "the number of shards is 12, but it must be a power of two from 1 to 16 for this max_bytes and max_entry_bytes",
        ),
        (
            shards(16).to_string(),
            "the number of shards is 12, but it must be 16 for this max_bytes and max_entry_bytes",
        ),
        (BuildError::Alignment { alignment: 4 }.to_string(), "value_alignment is 4, but it must be 1, 8 or 16"),
        (BuildError::NoMaxBytes.to_string(), "max_bytes is not set"),
        (BuildError::ZeroLifetime.to_string(), "the time to live or to idle is 0, but it must be longer"),
        (BuildError::Jitter { fraction: 1.5 }.to_string(), "ttl_jitter is 1.5, but it must be a number from 0 to 1"),
        (
            BuildError::EarlyRefresh { beta: -0.5 }.to_string(),
            "the beta of early_refresh is -0.5, but it must be a finite number above 0",
        ),
        (
            BuildError::LateRefresh { refresh_after, ttl }.to_string(),
            "refresh_after is 3s, but it must be less than the time to live of 2s",
        ),
        (BuildError::NoSleep.to_string(), "wait_limit or load_timeout is set for a loader of tasks, but sleep is not"),
        (BuildError::NoExecutor.to_string(), "load_timeout is set for a loader of threads, but executor is not"),
        (BuildError::EmptyBatch.to_string(), "a batch needs room for a key, and one batch has to be in flight"),
        (
            BuildError::PolicyParameter {
                policy: "clock",
                parameter: "chances",
                value: "9".to_owned(),
                range: range(),
            }
            .to_string(),
            "chances of clock is \"9\", but it must be a number from 1 to 3",
        ),
        (BuildError::OutOfMemory { bytes: 9 }.to_string(), "the system refused 9 bytes of memory"),
        (
            ParsePolicyError::UnknownPolicy { name: "random".to_owned() }.to_string(),
            "there is no eviction policy \"random\"",
        ),
        (
            "s3-fifo(large=1)".parse::<Policy>().unwrap_err().to_string(),
            "s3-fifo has no parameter \"large\", only small and visits",
        ),
        ("lru(a=1)".parse::<Policy>().unwrap_err().to_string(), "lru has no parameter \"a\", nor any other"),
        (
            "clock(chances=9)".parse::<Policy>().unwrap_err().to_string(),
            "chances of clock is \"9\", but it must be a number from 1 to 3",
        ),
    ];
    for (said, expected) in messages {
        assert_eq!(said, expected);
    }
}
