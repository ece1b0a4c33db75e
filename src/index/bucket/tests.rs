use super::*;

#[test]
fn tags_are_found_in_every_lane_and_nowhere_else() {
    for lane in 0..LANES {
        let bucket = Bucket::new();
        bucket.set_tag(lane, 0x80);
        let tags = bucket.tags();
        assert_eq!(tags.matching(0x80).collect::<Vec<_>>(), [lane]);
        assert_eq!(tags.matching(0x81).count(), 0);
        assert_eq!(tags.used().collect::<Vec<_>>(), [lane]);
        assert_eq!(tags.free().count(), LANES - 1);
    }
    let bucket = Bucket::new();
    (0..LANES).for_each(|lane| bucket.set_tag(lane, if lane % 2 == 0 { 1 } else { 0xff }));
    assert_eq!(bucket.tags().matching(1).collect::<Vec<_>>(), [0, 2, 4, 6, 8, 10]);
    for tag in [0, 1, 2, 0x7f, 0xff] {
        let by_words = Lanes(bucket.tags().equal_by_words(tag) & ((1 << LANES) - 1));
        assert_eq!(by_words, bucket.tags().matching(tag));
    }
    assert_eq!(bucket.tags().free().count(), 0);
}

#[test]
fn used_lanes_are_told_by_the_low_bits_of_their_tags() {
    let bucket = Bucket::new();
    for (lane, tag) in [(0, 0x08), (1, 0x0f), (3, 0xff), (7, 0x10), (11, 0x03)] {
        bucket.set_tag(lane, tag);
    }
    let chosen = |bits| bucket.tags().with_low_bits(7, bits).collect::<Vec<_>>();
    assert_eq!([chosen(0), chosen(3), chosen(7)], [vec![0, 7], vec![11], vec![1, 3]]);
    assert_eq!(bucket.tags().used().without(bucket.tags().with_low_bits(7, 7)).collect::<Vec<_>>(), [0, 7, 11]);
    assert!(bucket.tags().used().are_several());
    assert!(!bucket.tags().with_low_bits(7, 3).are_several() && !Lanes::NONE.are_several());
}

#[test]
fn locations_and_hashes_share_a_word_in_arenas_of_any_size() {
    for (bytes, bits) in [(64_u64 << 10, 16), (1 << 20, 19), (16 << 30, 32)] {
        // Not every machine has addresses for the largest arena.
        let Ok(bytes) = usize::try_from(bytes) else { continue };
        let divided = LocationBits::for_arena(bytes);
        assert_eq!(divided.mask.count_ones(), bits);
        let last = Location::from_offset(bytes - 8).unwrap();
        let word = divided.word(last, 0xffff);
        assert_eq!(divided.location(word), last.to_word());
        assert_eq!(divided.extra(word), divided.kept(0xffff));
        // The lowest extra bit that is kept, and the highest.
        let lowest = 1 << (bits - u16::BITS).min(15);
        assert!(divided.has_extra(word, 0xffff) && !divided.has_extra(word, 0x7fff) || bits == u32::BITS);
        assert!(!divided.has_extra(word, 0xffff ^ lowest) || bits == u32::BITS);
        let moved = divided.moved(word, Location::from_offset(0).unwrap());
        assert_eq!((divided.location(moved), divided.extra(moved)), (1, divided.kept(0xffff)));
    }
}

#[test]
fn visits_stop_at_their_top_and_leave_their_neighbours_alone() {
    let bucket = Bucket::new();
    for lane in 0..LANES {
        (0..5).for_each(|_| bucket.visit(lane));
        assert_eq!(bucket.visits(lane), MAX_VISITS);
    }
    assert!(!bucket.has_overflowed());
    bucket.set_visits(5, 1);
    let visits: Vec<_> = (0..LANES).map(|lane| bucket.visits(lane)).collect();
    assert_eq!(visits, [3, 3, 3, 3, 3, 1, 3, 3, 3, 3, 3, 3]);
}

#[test]
fn the_overflow_count_stays_once_it_is_full() {
    let bucket = Bucket::new();
    bucket.add_overflow();
    bucket.remove_overflow();
    assert!(!bucket.has_overflowed());
    (0..300).for_each(|_| bucket.add_overflow());
    (0..300).for_each(|_| bucket.remove_overflow());
    assert!(bucket.has_overflowed());
}
