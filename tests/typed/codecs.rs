//! The codecs, each with a value that comes back, in place and decoded, and with bytes that do not.

use bytecache::typed::{Codec, NoLoads, RawBytes, Utf8, ViewCodec};
use bytecache::{Cache, Typed};

/// Stores a value, reads it, and then reads bytes that are no value.
fn assert_round_trip<V: PartialEq + core::fmt::Debug, C: Codec<V>>(cache: &Cache, codec: C, value: &V, broken: &[u8]) {
    let values: Typed<u64, V, C, NoLoads> = cache.namespace("values").typed(codec).build().unwrap();
    values.insert(&1, value).unwrap();
    assert_eq!(values.get(&1).as_ref(), Some(value));
    values.namespace().insert(1_u64.to_be_bytes(), broken).unwrap();
    let before = values.stats().undecodable;
    assert_eq!(values.get(&1), None);
    assert!(!values.contains_key(&1));
    assert_eq!(values.stats().undecodable, before + 1);
}

/// Reads a value in place, and then bytes that are no value.
fn assert_viewed<V, C: ViewCodec<V>>(cache: &Cache, codec: C, value: &V, check: impl Fn(&C::View), broken: &[u8]) {
    let values: Typed<u64, V, C, NoLoads> = cache.namespace("views").typed(codec).build().unwrap();
    values.insert(&1, value).unwrap();
    assert_eq!(values.view(&1, &check), Some(()));
    values.namespace().insert(1_u64.to_be_bytes(), broken).unwrap();
    assert_eq!(values.view(&1, &check), None);
    assert_eq!((values.stats().undecodable, values.stats().hits, values.stats().misses), (1, 1, 1));
}

#[test]
fn texts_come_back_and_other_bytes_are_undecodable() {
    let cache = super::cache();
    assert_round_trip(&cache, Utf8, &"Ada".to_string(), &[0xff]);
    assert_viewed(&cache, Utf8, &"Ada".to_string(), |text: &str| assert_eq!(text, "Ada"), &[0xff]);
}

#[test]
fn bytes_come_back_whatever_they_are() {
    let cache = super::cache();
    let values: Typed<Vec<u8>, Vec<u8>, _, _> = cache.namespace("bytes").typed(RawBytes).build().unwrap();
    for bytes in [vec![], vec![0xfd, 0xc1], vec![7; 5_000]] {
        values.insert(&bytes, &bytes).unwrap();
        assert_eq!(values.get(&bytes), Some(bytes.clone()));
        assert_eq!(values.view(&bytes, <[u8]>::len), Some(bytes.len()));
    }
}

#[cfg(feature = "postcard")]
#[test]
fn types_of_serde_come_back_and_left_over_bytes_are_undecodable() {
    use bytecache::typed::Postcard;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct User {
        name: String,
        emails: Vec<String>,
        age: Option<u32>,
    }

    let user = User { name: "Ada".to_string(), emails: vec!["ada@example.org".to_string()], age: Some(36) };
    let mut bytes = vec![];
    Postcard.encode(&user, &mut bytes).unwrap();
    let cut = bytes[..bytes.len() - 1].to_vec();
    bytes.push(0);
    for broken in [&bytes[..], &cut, b"", &[0xff; 40]] {
        assert_round_trip(&super::cache(), Postcard, &user, broken);
    }
}

#[cfg(feature = "zerocopy")]
mod with_zerocopy {
    use bytecache::typed::Zerocopy;
    use bytecache::{BuildError, Cache};
    use zerocopy::{Immutable, IntoBytes, KnownLayout, TryFromBytes};

    use super::{assert_round_trip, assert_viewed};

    #[derive(Clone, Debug, PartialEq, Immutable, IntoBytes, KnownLayout, TryFromBytes)]
    #[repr(C)]
    struct Score {
        points: u64,
        rank: u32,
        /// Other bytes than 0 and 1 are no value.
        is_final: bool,
        padding: [u8; 3],
    }

    const SCORE: Score = Score { points: 9_000, rank: 3, is_final: true, padding: [0; 3] };

    #[test]
    fn values_are_read_in_place_at_their_alignment_and_validated() {
        let cache = Cache::builder().max_bytes(1 << 20).value_alignment(8).build().unwrap();
        let mut broken = SCORE.as_bytes().to_vec();
        broken[12] = 2;
        assert_round_trip(&cache, Zerocopy, &SCORE, &broken);
        assert_viewed(&cache, Zerocopy, &SCORE, |score: &Score| assert_eq!(*score, SCORE), &broken[..15]);
    }

    #[test]
    fn a_larger_alignment_than_that_of_the_cache_is_an_error_of_build() {
        let cache = super::super::cache();
        let error = cache.namespace("scores").typed(Zerocopy).build::<u64, Score>().unwrap_err();
        assert_eq!(error, BuildError::CodecAlignment { needed: 8, alignment: 1 });
        assert!(cache.namespaces().is_empty(), "nothing was opened");
        assert!(cache.namespace("bytes").typed(Zerocopy).build::<u64, [u8; 3]>().is_ok());
    }
}

#[cfg(feature = "rkyv")]
mod with_rkyv {
    use bytecache::typed::{Codec, Rkyv};
    use bytecache::{BuildError, Cache};

    use super::{assert_round_trip, assert_viewed};

    #[derive(Clone, Debug, PartialEq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
    struct User {
        name: String,
        logins: Vec<u64>,
        large: Option<u128>,
    }

    #[test]
    fn archived_values_are_read_in_place_and_validated() {
        let cache = Cache::builder().max_bytes(1 << 20).value_alignment(16).build().unwrap();
        let user = User { name: "A rather long name".to_string(), logins: vec![7, 9], large: Some(1 << 100) };
        let mut broken = vec![];
        Rkyv::new().encode(&user, &mut broken).unwrap();
        broken[0] = 0xff; // The first byte of the name, which has to be UTF-8.
        assert_round_trip(&cache, Rkyv::new(), &user, &broken);
        let check = |user: &ArchivedUser| assert_eq!((user.name.len(), user.logins[1].to_native()), (18, 9));
        assert_viewed(&cache, Rkyv::new(), &user, check, &broken);
        assert_round_trip(&cache, Rkyv::new(), &user, b"");
    }

    #[test]
    fn a_larger_alignment_than_that_of_the_cache_is_an_error_of_build() {
        let cache = Cache::builder().max_bytes(1 << 20).value_alignment(8).build().unwrap();
        let build = |codec: Rkyv| cache.namespace("users").typed(codec).build::<u64, User>();
        assert_eq!(build(Rkyv::new()).unwrap_err(), BuildError::CodecAlignment { needed: 16, alignment: 8 });
        // The type itself needs 16 here.
        assert_eq!(build(Rkyv::aligned_to_8()).unwrap_err(), BuildError::CodecAlignment { needed: 16, alignment: 8 });
        let names = cache.namespace("names").typed(Rkyv::aligned_to_8()).build::<u64, Vec<String>>();
        let names = names.unwrap();
        names.insert(&1, &vec!["Ada".to_string()]).unwrap();
        assert_eq!(names.view(&1, |names| names.len()), Some(1));
    }
}
