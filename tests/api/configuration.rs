//! The builder, the policies' parameters and the sizes accept each value in range. They refuse
//! every other value with an error that names the range.

use bytecache::policy::{Ageing, ClockConfig, LfuConfig, S3FifoConfig, SlruConfig, TinyLfuConfig, TwoQueueConfig};
use bytecache::testing::Inspect;
use bytecache::{BuildError, Cache, CacheBuilder, Error, ParsePolicyError, Policy};

use crate::support::alone;

// Policies.

#[test]
fn policies_parse_from_their_names_in_any_case_and_print_them() {
    for policy in Policy::ALL {
        assert_eq!(policy.to_string().parse(), Ok(*policy));
        assert_eq!(policy.name().to_uppercase().parse(), Ok(*policy));
        assert_eq!(format!("{policy:>10}").len(), 10);
    }
    for unknown in ["", "lru ", "no-policy", "lru(", "(small=1)"] {
        let error = unknown.parse::<Policy>().unwrap_err();
        assert_eq!(error, ParsePolicyError::UnknownPolicy { name: unknown.to_owned() });
        assert!(error.to_string().contains(unknown));
    }
}

/// A numeric parameter: its policy, name, least and greatest value, and setter.
type Numbers = (&'static str, &'static str, u8, u8, fn(u8) -> Result<Policy, BuildError>);
const NUMBERS: [Numbers; 7] = [
    ("s3-fifo", "small", 0, 100, |number| Ok(S3FifoConfig::new().small_percent(number)?.into())),
    ("s3-fifo", "visits", 1, 3, |number| Ok(S3FifoConfig::new().promotion_visits(number)?.into())),
    ("slru", "protected", 0, 100, |number| Ok(SlruConfig::new().protected_percent(number)?.into())),
    ("2q", "in", 0, 100, |number| Ok(TwoQueueConfig::new().in_percent(number)?.into())),
    ("2q", "out", 0, 200, |number| Ok(TwoQueueConfig::new().out_percent(number)?.into())),
    ("w-tinylfu", "window", 1, 99, |number| Ok(TinyLfuConfig::new().window_percent(number)?.into())),
    ("clock", "chances", 1, 3, |number| Ok(ClockConfig::new().chances(number)?.into())),
];

#[test]
fn numbers_of_policies_are_taken_in_their_range_and_refused_beyond_it_by_setters_and_texts() {
    for (policy, name, least, most, set) in NUMBERS {
        let parse = |number: &str| format!("{policy}({name}={number})").parse::<Policy>();
        for number in 0..=u8::MAX {
            let is_right = (least..=most).contains(&number);
            match (set(number), parse(&number.to_string())) {
                (Ok(policy), Ok(parsed)) => {
                    assert_eq!(policy, parsed);
                    assert_eq!(policy.to_string().parse(), Ok(policy));
                    assert!(is_right, "{policy}");
                }
                (Err(error), Err(unparsed)) => {
                    let BuildError::PolicyParameter { policy, parameter, value, range } = error else {
                        panic!("{error}")
                    };
                    assert_eq!(unparsed, ParsePolicyError::PolicyParameter { policy, parameter, value, range });
                    assert!(!is_right, "{policy}({name}={number})");
                }
                (set, parsed) => panic!("{set:?}, {parsed:?}"),
            }
        }
        let around = [most.wrapping_add(1).to_string(), "256".to_owned(), "-1".to_owned(), "1.5".to_owned()];
        for number in around.iter().map(String::as_str).chain(["", "many", "99999999999999999999"]) {
            let error = parse(number).unwrap_err();
            let range = format!("a number from {least} to {most}");
            let expected = ParsePolicyError::PolicyParameter {
                policy: policy.parse::<Policy>().unwrap().name(),
                parameter: name,
                value: number.to_owned(),
                range: range.clone(),
            };
            assert_eq!(error, expected);
            let said = error.to_string();
            assert!([policy, name, number, &range].iter().all(|part| said.contains(part)), "{said}");
        }
    }
}

#[test]
fn every_parameter_that_a_policy_prints_is_one_of_the_tested() {
    let words = ["ageing", "adaptive"];
    let tuned = [
        Policy::from(LfuConfig::new().ageing(Ageing::None)),
        SlruConfig::new().protected_percent(1).unwrap().into(),
        TwoQueueConfig::new().in_percent(1).unwrap().into(),
        ClockConfig::new().chances(2).unwrap().into(),
        S3FifoConfig::new().small_percent(1).unwrap().into(),
        TinyLfuConfig::new().adaptive(false).into(),
    ];
    for text in tuned.map(|policy| policy.to_string()) {
        let (name, parameters) = text.strip_suffix(')').unwrap().split_once('(').unwrap();
        for (parameter, _) in parameters.split(',').map(|parameter| parameter.split_once('=').unwrap()) {
            let is_number = NUMBERS.iter().any(|number| (number.0, number.1) == (name, parameter));
            assert!(is_number || words.contains(&parameter), "{text}");
        }
    }
}

#[test]
fn a_parameter_that_is_a_word_names_the_words_that_it_takes() {
    for (text, value, range) in [
        ("lfu(ageing=fast)", "fast", "none, halving or dynamic"),
        ("lfu(ageing)", "", "none, halving or dynamic"),
        ("w-tinylfu(adaptive=1)", "1", "false or true"),
    ] {
        let error = text.parse::<Policy>().unwrap_err();
        assert!(
            matches!(&error, ParsePolicyError::PolicyParameter { value: seen, range: said, .. } if seen == value && said == range),
            "{error:?}"
        );
        assert!(error.to_string().contains(range), "{error}");
    }
    assert_eq!("LFU(Ageing=Dynamic)".parse(), Ok(Policy::from(LfuConfig::new().ageing(Ageing::Dynamic))));
    assert_eq!("w-tinylfu(adaptive=FALSE)".parse(), Ok(Policy::from(TinyLfuConfig::new().adaptive(false))));
}

#[test]
fn a_parameter_that_a_policy_does_not_have_is_refused_with_those_that_it_has() {
    let error = "s3-fifo(small=1,large=20)".parse::<Policy>().unwrap_err();
    let known = vec!["small", "visits"];
    assert_eq!(error, ParsePolicyError::UnknownParameter { policy: "s3-fifo", parameter: "large".to_owned(), known });
    assert!(error.to_string().contains("small and visits"), "{error}");
    let error = "lru(small=1)".parse::<Policy>().unwrap_err();
    assert_eq!(error.to_string(), "lru has no parameter \"small\", nor any other");
}

// The builder.

#[test]
fn a_builder_without_a_size_is_refused() {
    assert_eq!(Cache::builder().build().unwrap_err(), BuildError::NoMaxBytes);
}

fn refused(builder: CacheBuilder) -> BuildError {
    let error = builder.build().unwrap_err();
    let said = error.to_string();
    assert!(!said.contains("from 1 to 0"), "{said}");
    error
}

#[test]
fn a_number_of_shards_that_is_no_power_of_two_or_too_large_or_too_small_is_refused() {
    let kind = |max_bytes, shards| refused(Cache::builder().max_bytes(max_bytes).shards(shards));
    for shards in [0, 3, 6, 8_192, usize::MAX] {
        assert_eq!(kind(1 << 30, shards), BuildError::Shards { shards, min: 1, max: 4096 });
    }
    for max_bytes in [64 << 10, 300_000, 1 << 20, 5 << 20] {
        let BuildError::Shards { min: 1, max, .. } = kind(max_bytes, 3) else { panic!("{max_bytes}") };
        assert!(Cache::builder().max_bytes(max_bytes).shards(max).build().is_ok(), "{max} shards of {max_bytes} bytes");
        assert!(matches!(kind(max_bytes, 2 * max), BuildError::TooSmall { .. }));
    }
}

/// Relies on the limit that a shard addresses less than 16 GiB.
#[cfg(target_pointer_width = "64")]
#[test]
fn a_number_of_shards_that_cannot_address_the_cache_is_refused() {
    let kind = |max_bytes, shards| refused(Cache::builder().max_bytes(max_bytes).shards(shards));
    assert_eq!(kind(40 << 30, 1), BuildError::Shards { shards: 1, min: 4, max: 4096 });
    assert_eq!(kind(60 << 40, 2048), BuildError::Shards { shards: 2048, min: 4096, max: 4096 });
    let error = Cache::builder().max_bytes(60 << 40).shards(2048).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the number of shards is 2048, but it must be 4096 for this max_bytes and max_entry_bytes"
    );
}

#[cfg(target_pointer_width = "64")]
#[test]
fn a_size_beyond_what_the_most_shards_can_address_is_refused_whatever_else_was_said() {
    let largest = (64 << 40) - (4 << 30);
    for max_bytes in [largest + 1, 1 << 47, 1 << 60, usize::MAX] {
        let builder = Cache::builder().max_bytes(max_bytes);
        let expected = BuildError::TooManyBytes { max_bytes, largest };
        assert_eq!(refused(builder.clone()), expected);
        assert_eq!(refused(builder.clone().shards(4096)), expected);
        assert_eq!(refused(builder.clone().shards(3)), expected);
        assert_eq!(refused(builder.max_entry_bytes(usize::MAX)), expected);
    }
    let error = Cache::new(1 << 47).unwrap_err().to_string();
    assert_eq!(error, "max_bytes is 140737488355328, but it must be at most 70364449210368");
}

#[test]
fn a_size_that_is_too_small_is_refused_with_the_smallest_that_works() {
    let _alone = alone();
    for policy in Policy::ALL {
        for (shards, max_entry_bytes, alignment) in [
            (None, None, 1),
            (Some(1), None, 16),
            (Some(2), Some(3_000), 8),
            (Some(64), None, 1),
            (None, Some(20_000), 16),
        ] {
            let builder = |max_bytes| {
                let mut builder = Cache::builder().max_bytes(max_bytes).policy(*policy).value_alignment(alignment);
                builder = max_entry_bytes.into_iter().fold(builder, CacheBuilder::max_entry_bytes);
                shards.into_iter().fold(builder, CacheBuilder::shards)
            };
            // Each error names a size that meets the condition that failed.
            let mut smallest = 20_000;
            let cache = (0..5).find_map(|_| {
                let error = match builder(smallest).build() {
                    Ok(cache) => return Some(cache),
                    Err(error) => error,
                };
                smallest = match error {
                    BuildError::TooSmall { max_bytes, min_bytes } if max_bytes == smallest => min_bytes,
                    BuildError::MaxEntryBytes { max_entry_bytes, .. } => max_entry_bytes * 8,
                    BuildError::Shards { shards, .. } => max_entry_bytes.unwrap() * shards * 8,
                    _ => panic!("{error}"),
                };
                None
            });
            let cache = cache.unwrap_or_else(|| panic!("{policy}: {smallest} bytes are not enough either"));
            let max = cache.max_entry_bytes();
            cache.insert("key", vec![1; max - 3]).unwrap();
            assert!(cache.contains_key("key"), "{policy}: {max} of {smallest} bytes");
            refused(builder(smallest - 1));
            assert!(smallest <= shards.unwrap_or(1) * (64 << 10) || max_entry_bytes.is_some(), "{policy}: {smallest}");
        }
    }
    for max_bytes in [0, 1, 7, 1_000] {
        let builder = Cache::builder().max_bytes(max_bytes);
        let expected = refused(builder.clone());
        assert!(matches!(expected, BuildError::TooSmall { min_bytes: 32_769..65_536, .. }), "{expected:?}");
        assert_eq!(refused(builder.clone().max_entry_bytes(100)), expected);
        assert_eq!(refused(builder.shards(usize::MAX / 2 + 1)), expected);
    }
}

#[test]
fn the_largest_entry_is_what_was_asked_for_up_to_an_eighth_of_the_cache() {
    let _alone = alone();
    for max_bytes in [64 << 10, 1 << 20, 100_000_000] {
        for max in [1, 4_096, max_bytes / 16, max_bytes / 8] {
            let cache = Cache::builder().max_bytes(max_bytes).max_entry_bytes(max).build().unwrap();
            assert_eq!(cache.max_entry_bytes(), max);
            cache.insert("", vec![7; max]).unwrap();
            assert_eq!(cache.get("").unwrap().len(), max);
            let error = cache.insert("", vec![7; max + 1]).unwrap_err();
            assert_eq!(error, Error::TooLarge { bytes: max + 1, max });
        }
        for max_entry_bytes in [0, max_bytes / 8 + 1, usize::MAX] {
            let builder = Cache::builder().max_bytes(max_bytes).max_entry_bytes(max_entry_bytes);
            let expected = BuildError::MaxEntryBytes { max_entry_bytes, largest: max_bytes / 8 };
            assert_eq!(refused(builder.clone()), expected);
            assert_eq!(refused(builder.shards(1)), expected);
        }
    }
}

/// Relies on the limit that a shard holds at most 16 GiB less one chunk.
#[cfg(target_pointer_width = "64")]
#[test]
fn the_largest_entry_is_an_eighth_of_the_smallest_shard() {
    let builder = Cache::builder().max_bytes(64 << 30);
    let max_entry_bytes = (4 << 30) + 1;
    assert_eq!(
        refused(builder.max_entry_bytes(max_entry_bytes)),
        BuildError::MaxEntryBytes { max_entry_bytes, largest: 1 << 30 }
    );
}

#[test]
fn a_number_of_shards_alone_bounds_entries_by_an_eighth_of_one() {
    let _alone = alone();
    for (max_bytes, shards, max) in
        [(1 << 20, 1, 128 << 10), (1 << 20, 4, 32 << 10), (64 << 20, 1, 512 << 10), (64 << 20, 64, 128 << 10)]
    {
        let cache = Cache::builder().max_bytes(max_bytes).shards(shards).build().unwrap();
        assert_eq!(cache.max_entry_bytes(), max);
        cache.insert("", vec![7; max]).unwrap();
        assert!(cache.contains_key(""));
    }
}

#[test]
fn a_number_of_shards_that_cannot_hold_the_largest_entry_is_refused_with_the_largest_number() {
    for (max_bytes, max_entry_bytes, most) in [
        (1 << 20, 128 << 10, 1),
        (1 << 20, 65_536, 2),
        (1 << 20, 65_537, 1),
        (64 << 20, 1 << 20, 8),
        (100 << 20, 1 << 20, 8),
    ] {
        let builder = Cache::builder().max_bytes(max_bytes).max_entry_bytes(max_entry_bytes);
        let cache = builder.clone().shards(most).build().unwrap();
        assert_eq!((cache.max_entry_bytes(), cache.shards()), (max_entry_bytes, most));
        let shards = 2 * most;
        let error = builder.clone().shards(shards).build().unwrap_err();
        assert_eq!(error, BuildError::Shards { shards, min: 1, max: most });
        assert!(error.to_string().contains(&most.to_string()), "{error}");
        assert!(builder.build().unwrap().shards() <= most);
    }
}

#[test]
fn an_alignment_that_is_none_of_1_8_and_16_is_refused() {
    for alignment in [0, 2, 4, 32, usize::MAX] {
        let error = Cache::builder().max_bytes(1 << 20).value_alignment(alignment).build().unwrap_err();
        assert_eq!(error, BuildError::Alignment { alignment });
    }
}

#[test]
fn any_expected_entry_size_gives_a_cache_that_works() {
    let _alone = alone();
    for expected in [0, 1, 25, 1 << 20, usize::MAX] {
        for max_bytes in [64 << 10, 1 << 20] {
            let cache = Cache::builder().max_bytes(max_bytes).expected_entry_bytes(expected).build().unwrap();
            for number in 0..3_000_u32 {
                cache.insert(number.to_le_bytes(), [3; 100]).unwrap();
            }
            cache.validate();
            assert!(cache.len() > 150, "{} entries where {expected} bytes were expected", cache.len());
        }
    }
}

/// Runs only in a process with little address space, which
/// [`memory_that_the_system_refuses_is_an_error`] starts.
#[test]
#[ignore = "needs a limit on the address space"]
fn three_gib_are_refused() {
    let error = Cache::builder().max_bytes(3 << 30).shards(1).build().unwrap_err();
    assert!(matches!(error, BuildError::OutOfMemory { .. }), "{error}");
    println!("refused: {error}");
}

#[cfg(target_os = "linux")]
#[test]
fn memory_that_the_system_refuses_is_an_error() {
    let own = std::env::current_exe().unwrap();
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            "ulimit -v 2000000 && exec \"$0\" --ignored --exact configuration::three_gib_are_refused --nocapture",
        ])
        .arg(own)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("refused: the system refused"));
}

#[test]
fn every_error_says_what_was_wrong() {
    let _alone = alone();
    let cache = Cache::new(1 << 20).unwrap();
    let said = cache.insert(vec![0; 65_536], "").unwrap_err().to_string();
    assert!(said.contains("65536") && said.contains("65535"), "{said}");
    let said = cache.insert("", vec![0; 1 << 20]).unwrap_err().to_string();
    assert!(said.contains("1048576") && said.contains(&cache.max_entry_bytes().to_string()), "{said}");
    let error: Box<dyn std::error::Error + Send + Sync> = Cache::new(0).unwrap_err().into();
    assert!(error.to_string().contains("max_bytes is 0, but it must be at least"), "{error}");
    let build = |builder: CacheBuilder| builder.build().unwrap_err().to_string();
    let builder = Cache::builder().max_bytes(1 << 20);
    for (said, expected) in [
        (
            build(builder.clone().max_entry_bytes(0)),
            "max_entry_bytes is 0, but it must be from 1 to 131072 for this max_bytes",
        ),
        (
            build(builder.clone().shards(12)),
            "the number of shards is 12, but it must be a power of two from 1 to 16 for this max_bytes and max_entry_bytes",
        ),
        (
            build(builder.clone().max_entry_bytes(30_000).shards(8)),
            "the number of shards is 8, but it must be a power of two from 1 to 4 for this max_bytes and max_entry_bytes",
        ),
        (
            build(builder.clone().max_entry_bytes(100_000).shards(2)),
            "the number of shards is 2, but it must be 1 for this max_bytes and max_entry_bytes",
        ),
        (build(builder.clone().value_alignment(64)), "value_alignment is 64, but it must be 1, 8 or 16"),
        (build(builder.ttl_jitter(f64::NAN)), "ttl_jitter is NaN, but it must be a number from 0 to 1"),
        (
            cache.loader().early_refresh(f64::INFINITY).build(|_| Ok::<_, String>("")).unwrap_err().to_string(),
            "the beta of early_refresh is inf, but it must be a finite number above 0",
        ),
        (
            "s3-fifo(small=200)".parse::<Policy>().unwrap_err().to_string(),
            "small of s3-fifo is \"200\", but it must be a number from 0 to 100",
        ),
    ] {
        assert_eq!(said, expected);
    }
}

#[test]
fn the_largest_entry_finds_a_place_among_the_smallest() {
    let _alone = alone();
    for &policy in Policy::ALL {
        for max_bytes in [64 << 10, 256 << 10, 1 << 20] {
            let cache = Cache::builder().max_bytes(max_bytes).policy(policy).build().unwrap();
            for key in 0..max_bytes / 6 {
                cache.insert(&key.to_le_bytes()[..4], [1]).unwrap();
            }
            for number in 0..4_u8 {
                let value = vec![number; cache.max_entry_bytes() - 1];
                // The policy may evict this entry in favour of the others, but the insert finds
                // room for it.
                cache.insert([number], &value).unwrap_or_else(|error| panic!("{policy}, {max_bytes}: {error}"));
                assert!(cache.peek([number]).is_none_or(|found| found == value));
            }
            cache.validate();
        }
    }
}
