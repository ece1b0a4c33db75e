//! Applies random operations of proptest to a cache and to a map, and compares them. The fuzz
//! target `operations` gives the same model other operations.

use bytecache::Policy;
use proptest::prelude::*;

use crate::support::alone;

#[path = "../support/operations.rs"]
mod operations;

use operations::{Alignment, Found, Len, Operation, Setup, Time};

prop_compose! {
    fn setups()(
        more_kib in prop_oneof![Just(0), Just(136), any::<u8>()],
        (two_shards, listened_to) in any::<(bool, bool)>(),
        alignment in prop_oneof![Just(Alignment::One), Just(Alignment::Eight), Just(Alignment::Sixteen)],
        policy in (0..Policy::ALL.len()).prop_map(|index| u8::try_from(index).expect("there are few policies")),
        expected_entry_bytes in any::<Option<u16>>(),
        (seed, day) in any::<(u8, u16)>(),
    ) -> Setup {
        Setup { more_kib, two_shards, alignment, policy, expected_entry_bytes, seed, day, listened_to }
    }
}

/// Returns lengths: mostly small, some larger than a chunk, a few larger than an entry may be.
fn lengths() -> impl Strategy<Value = Len> {
    prop_oneof![
        20 => any::<u8>().prop_map(Len::Tiny),
        10 => any::<u16>().prop_map(Len::Small),
        3 => any::<u8>().prop_map(Len::Part),
        1 => any::<i8>().prop_map(Len::NearMax),
    ]
}

fn times() -> impl Strategy<Value = Time> {
    prop_oneof![
        6 => any::<u8>().prop_map(Time::Millis),
        3 => any::<u8>().prop_map(Time::Seconds),
        1 => any::<u16>().prop_map(Time::Hours),
    ]
}

fn found() -> impl Strategy<Value = Found> {
    prop_oneof![
        4 => (lengths(), prop::option::of(times())).prop_map(|(len, ttl)| Found::Value(len, ttl)),
        1 => prop::option::of(times()).prop_map(Found::Nothing),
        1 => Just(Found::Failure),
    ]
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let (key, keys) = (any::<u8>, || prop::collection::vec(any::<u8>(), 0..40));
    let time = || prop::option::of(times());
    let operation = prop_oneof![
        30 => (key(), lengths()).prop_map(|(key, len)| Operation::Insert(key, len)),
        5 => (key(), lengths()).prop_map(|(key, len)| Operation::InsertIfAbsent(key, len)),
        5 => (key(), lengths()).prop_map(|(key, len)| Operation::Replace(key, len)),
        5 => (key(), lengths(), time(), time(), time())
            .prop_map(|(key, len, ttl, idle, stale)| Operation::InsertWithLifetime(key, len, ttl, idle, stale)),
        5 => (key(), lengths(), time()).prop_map(|(key, len, ttl)| Operation::Update(key, len, ttl)),
        2 => (key(), any::<bool>()).prop_map(|(key, removes)| Operation::UpdateWithout(key, removes)),
        3 => (key(), lengths(), prop::bool::weighted(0.8))
            .prop_map(|(key, len, is_right)| Operation::ReplaceIf(key, len, is_right)),
        2 => (key(), any::<bool>()).prop_map(|(key, removes)| Operation::RemoveIf(key, removes)),
        3 => (key(), lengths()).prop_map(|(key, len)| Operation::Swap(key, len)),
        2 => (key(), lengths(), any::<bool>())
            .prop_map(|(key, len, has_ended)| Operation::Lease(key, len, has_ended)),
        // Few keys, so that they meet counters.
        4 => (0..4_u8, prop_oneof![3 => -9..9_i64, 1 => any::<i64>()], time())
            .prop_map(|(key, by, ttl)| Operation::Increment(key, by, ttl)),
        1 => (any::<u16>(), lengths()).prop_map(|(from, len)| Operation::Fill(from, len)),
        2 => (key(), key(), lengths()).prop_map(|(read, key, len)| Operation::InsertInside(read, key, len)),
        30 => key().prop_map(Operation::Get),
        2 => keys().prop_map(Operation::GetMany),
        2 => key().prop_map(Operation::GetOrStale),
        3 => (key(), found()).prop_map(|(key, found)| Operation::Load(key, found)),
        1 => (keys(), found()).prop_map(|(keys, found)| Operation::LoadMany(keys, found)),
        2 => (key(), times()).prop_map(|(key, ttl)| Operation::SetTtl(key, ttl)),
        1 => key().prop_map(Operation::Persist),
        1 => key().prop_map(Operation::Touch),
        6 => key().prop_map(Operation::Remove),
        2 => key().prop_map(Operation::Take),
        1 => any::<u8>().prop_map(Operation::Retain),
        1 => Just(Operation::Clear),
        4 => key().prop_map(Operation::Hold),
        3 => any::<u8>().prop_map(Operation::LetGo),
        1 => Just(Operation::Maintain),
        2 => any::<u16>().prop_map(Operation::Resize),
        2 => times().prop_map(Operation::Step),
        1 => any::<u8>().prop_map(Operation::StepBack),
    ];
    prop::collection::vec(operation, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn it_may_forget_and_never_lies(setup in setups(), operations in operations()) {
        let _alone = alone();
        operations::run(&setup, operations);
    }
}
