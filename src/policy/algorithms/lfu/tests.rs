use super::*;
use crate::policy::tests::Outcome::{self, Evicts, Hit, Miss};
use crate::policy::tests::follow;

#[test]
fn lfu_on_a_hand_worked_trace() {
    // Keys and counts, in the order in which they leave.
    follow(
        LfuConfig::new().ageing(Ageing::None),
        3,
        &[
            (1, Miss),
            (2, Miss),
            (3, Miss),
            (1, Hit),
            (1, Hit),
            (2, Hit),          // 3:1 2:2 1:3
            (4, Evicts(&[3])), // 4:1 2:2 1:3
            (3, Evicts(&[4])), // 3:1 2:2 1:3
            (3, Hit),          // 2:2 3:2 1:3
            (5, Evicts(&[2])), // 5:1 3:2 1:3
            (2, Evicts(&[5])), // 2:1 3:2 1:3: counts do not outlive their entries
        ],
    );
}

/// An entry of 16 hits, then another with fewer. After 20 accesses to two entries counts are
/// halved.
fn a_popular_entry_grows_old() -> Vec<(u64, Outcome)> {
    let mut steps = vec![(1, Miss)];
    steps.extend((0..8).map(|_| (1, Hit))); // 1:9, and 9 accesses
    steps.extend([(2, Miss), (2, Hit), (2, Hit)]); // 2:3 1:9
    steps.extend((0..7).map(|_| (1, Hit))); // 2:3 1:16, and 19 accesses
    steps.push((2, Hit)); // 2:4 1:16, halved 2:2 1:8
    steps.extend((0..7).map(|_| (2, Hit))); // 1:8 2:9, otherwise 2:11 1:16
    steps
}

#[test]
fn an_entry_that_was_popular_long_ago_leaves_when_counts_are_halved() {
    let steps = [a_popular_entry_grows_old(), vec![(3, Evicts(&[1]))]].concat();
    follow(LfuConfig::new().ageing(Ageing::Halving), 2, &steps);
    let steps = [a_popular_entry_grows_old(), vec![(3, Evicts(&[2]))]].concat();
    follow(LfuConfig::new().ageing(Ageing::None), 2, &steps);
}

#[test]
fn dynamic_ageing_on_a_hand_worked_trace() {
    // Keys and ranks, in the order in which they leave, and L.
    follow(
        LfuConfig::new().ageing(Ageing::Dynamic),
        2,
        &[
            (1, Miss),
            (1, Hit),
            (1, Hit),
            (2, Miss),         // 2:1 1:3, 0
            (3, Evicts(&[2])), // 3:2 1:3, 1
            (4, Evicts(&[3])), // 1:3 4:3, 2
            (1, Hit),          // 4:3 1:6, 2: a count of 4 over L
            (5, Evicts(&[4])), // 5:4 1:6, 3
            (5, Hit),          // 5:5 1:6, 3
            (6, Evicts(&[5])), // 1:6 6:6, 5
            (7, Evicts(&[1])), // 6:6 7:7, 6
        ],
    );
}
