//! The traits of the public types.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::error::Error as StdError;
use std::time::Duration;

use bytecache::{BuildError, Cache, Error, LoadError, ParsePolicyError, Policy};

// Errors.

fn is_an_error_for_any_thread<E: StdError + Clone + Send + Sync + 'static>() {}

#[test]
fn errors_can_be_sent_shared_boxed_and_cloned() {
    is_an_error_for_any_thread::<Error>();
    is_an_error_for_any_thread::<BuildError>();
    is_an_error_for_any_thread::<ParsePolicyError>();
    is_an_error_for_any_thread::<LoadError<std::io::Error>>();
}

/// Fails in each of three ways, which `?` gives to the caller as one type.
fn fail(max_bytes: usize, key_len: usize, policy: &str) -> Result<(), Box<dyn StdError + Send + Sync>> {
    let cache = Cache::builder().max_bytes(max_bytes).policy(policy.parse()?).build()?;
    cache.insert(vec![0; key_len], "")?;
    Ok(())
}

#[test]
fn a_boxed_error_is_of_the_type_of_what_failed() {
    assert!(fail(1 << 20, 1, "lru").is_ok());
    assert!(fail(1 << 20, 1, "random").unwrap_err().is::<ParsePolicyError>());
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
        (BuildError::NoSleep.to_string(), "wait_limit is set for a loader of tasks, but sleep is not"),
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
