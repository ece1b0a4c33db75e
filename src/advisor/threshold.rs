//! The threshold below which keys are sampled, and the pass over the keys that follows each change.
//!
//! ```text
//!   slots   | looked at: keys above the threshold have left | hand | not yet looked at ... |
//! ```
//!
//! When there is no slot for another key, the threshold is lowered by an eighth. The keys above it
//! leave, a few with each event. Meanwhile the shadows get smaller in proportion. Also between
//! changes, a hand goes over all slots again and again, as some keys may have ended.

/// A whole hash space, as a number of which a threshold is a part.
const ALL_HASHES: f64 = 18_446_744_073_709_551_616.0;
/// The slots that each event looks at for keys that have ended, and the slots while keys above the
/// threshold leave: each eighth slot becomes free then.
const SLOTS_PER_EVENT: usize = 1;
const SLOTS_WHILE_LOWERING: usize = 16;
/// The slots between two changes of the capacities while keys leave.
const SLOTS_PER_STEP: usize = 64;

/// The hashes of sampled keys.
pub(super) struct Threshold {
    /// Keys whose hash is below it are sampled.
    present: u64,
    /// The threshold before it was lowered last, while keys above it leave.
    former: u64,
    /// The next slot to look at, and the number of slots.
    hand: usize,
    slots: usize,
}

impl Threshold {
    /// Creates a threshold for keys in a table with `slots` slots.
    pub(super) fn new(present: u64, slots: usize) -> Self {
        Self { present, former: present, hand: 0, slots }
    }

    /// Returns the hash below which keys are sampled.
    pub(super) fn get(&self) -> u64 {
        self.present
    }

    /// Returns `true` if keys with this hash are sampled.
    pub(super) fn samples(&self, hash: u64) -> bool {
        hash < self.present
    }

    /// Returns `true` if all keys are sampled.
    pub(super) fn samples_all(&self) -> bool {
        self.present == u64::MAX
    }

    /// Returns the share of keys that are sampled.
    pub(super) fn share(&self) -> f64 {
        share_of(self.present)
    }

    /// Returns the share of keys that are in the table. While keys leave, it is between the former
    /// share and the present one.
    pub(super) fn share_in_table(&self) -> f64 {
        let (from, to) = (share_of(self.former), self.share());
        if self.is_lowering() { from + (to - from) * (self.hand as f64 / self.slots as f64) } else { to }
    }

    /// Returns `true` while keys above the threshold leave.
    fn is_lowering(&self) -> bool {
        self.former != self.present
    }

    /// Lowers the threshold, unless keys above it are still leaving.
    pub(super) fn lower(&mut self) {
        if !self.is_lowering() {
            self.present -= self.present / 8;
            self.hand = 0;
        }
    }

    /// Returns the number of slots that an event looks at.
    pub(super) fn slots_per_event(&self) -> usize {
        if self.is_lowering() { SLOTS_WHILE_LOWERING } else { SLOTS_PER_EVENT }
    }

    /// Returns the slot to look at.
    pub(super) fn slot(&self) -> usize {
        self.hand
    }

    /// Goes on to the next slot. Returns `true` at the end of a pass: then all keys above the
    /// threshold have left.
    pub(super) fn next_slot(&mut self) -> bool {
        self.hand += 1;
        let is_at_end = self.hand >= self.slots;
        if is_at_end {
            self.hand = 0;
            self.former = self.present;
        }
        is_at_end
    }

    /// Returns `true` if the shadows are to get smaller, after an event has looked at its slots.
    pub(super) fn is_at_step(&self) -> bool {
        self.is_lowering() && self.hand % SLOTS_PER_STEP < SLOTS_WHILE_LOWERING
    }
}

fn share_of(threshold: u64) -> f64 {
    if threshold == u64::MAX { 1.0 } else { threshold as f64 / ALL_HASHES }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_in_the_table_falls_in_steps_while_keys_leave() {
        let mut threshold = Threshold::new(1 << 63, 128);
        assert_eq!((threshold.share(), threshold.share_in_table(), threshold.slots_per_event()), (0.5, 0.5, 1));
        assert!(!threshold.is_at_step());
        threshold.lower();
        threshold.lower(); // Keys are still leaving.
        assert_eq!((threshold.share(), threshold.share_in_table(), threshold.slots_per_event()), (0.4375, 0.5, 16));
        let mut steps = Vec::new();
        for slot in 0..128 {
            assert_eq!(threshold.slot(), slot);
            assert_eq!(threshold.next_slot(), slot == 127);
            if slot % 16 == 15 && threshold.is_at_step() {
                steps.push(threshold.share_in_table());
            }
        }
        assert_eq!(steps, [0.468_75]);
        assert_eq!((threshold.slot(), threshold.share_in_table(), threshold.slots_per_event()), (0, 0.4375, 1));
    }

    #[test]
    fn a_threshold_above_all_hashes_samples_all_keys() {
        let mut threshold = Threshold::new(u64::MAX, 1);
        assert!(threshold.samples_all() && threshold.samples(u64::MAX - 1) && threshold.share() == 1.0);
        threshold.lower();
        assert!(!threshold.samples_all() && !threshold.samples(u64::MAX - 1) && threshold.samples(1));
    }
}
