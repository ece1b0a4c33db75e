use super::*;

#[test]
fn an_update_whose_own_entry_is_evicted_makes_no_more_room_than_it_needs() {
    let mut simulator = Simulator::new(&Policy::Fifo, 100, Unit::Bytes);
    [(1, 60), (2, 40)].into_iter().for_each(|(hash, charge)| _ = simulator.request(Request { hash, charge }));
    simulator.set_capacity(50);
    assert!(simulator.store(Request { hash: 1, charge: 10 }));
    assert_eq!((simulator.evicted(), simulator.charge(), simulator.contains(2)), (&[1][..], 50, true));
    simulator.validate();
}

#[test]
fn without_more_ids_an_entry_leaves_for_each_that_comes() {
    let mut simulator = Simulator::new(&Policy::S3Fifo, 1 << 30, Unit::Bytes);
    simulator.max_ids = simulator.slots.0.len() + 10;
    let entries = max_entries(simulator.max_ids);
    for (requests, hash) in (1..).zip(0..3 * entries as u64) {
        assert!(!simulator.request(Request { hash, charge: 1 }));
        assert_eq!(simulator.len(), entries.min(requests));
    }
    simulator.validate();
}
