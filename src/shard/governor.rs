//! The live target: how full a ring may be.
//!
//! The fuller the ring, the more live bytes lie in the chunk that is cleaned next, and have to be
//! relocated. The bytes written for each byte stored, relocations included, are the *write
//! amplification*. It depends on the policy and the traffic. If entries die in the order in which
//! they came, whole chunks empty, and it stays at 1 even with a target of 97 %. If they die at
//! random, it is 1 / (1 - v) with v = e^(-(1-v)/target), which is 3.6 at 85 %.
//!
//! So the target is steered. It goes down if the amplification of the last stretch was above a
//! limit, and up if it was below another.

/// Targets are in parts of this.
pub(crate) const FULL: u32 = 1 << 16;

const START: u32 = FULL * 95 / 100;
/// The highest target: that of a ring whose entries leave in the order in which they came.
pub(crate) const HIGHEST: u32 = FULL * 975 / 1000;
/// The highest target, as a share.
pub(crate) const HIGHEST_SHARE: f64 = HIGHEST as f64 / FULL as f64;
/// Random deaths need 0.80 to stay under an amplification of 3.
const LOWEST: u32 = FULL * 79 / 100;
const STEP_DOWN: u32 = FULL / 100;
const STEP_UP: u32 = FULL / 400;
/// The step down if entries had to be evicted. Small, as it may come once for each chunk.
const STEP_CROWDED: u32 = FULL / 2000;
/// The write amplification above which the target goes down, and the one below which it goes up, in
/// tenths.
const TOO_MUCH: u64 = 28;
const LITTLE: u64 = 24;

/// Steers one shard's live target.
#[derive(Debug)]
pub(crate) struct Governor {
    target: u32,
    /// The bytes that had been inserted and relocated when this stretch began.
    inserted: u64,
    relocated: u64,
    /// The inserted bytes at which it ends.
    until: u64,
}

impl Governor {
    pub(crate) fn new() -> Self {
        Self { target: START, inserted: 0, relocated: 0, until: 0 }
    }

    /// Returns the share of the ring that may be live, in parts of [`FULL`].
    pub(crate) fn target(&self) -> u32 {
        self.target
    }

    /// Sets the target to one that another governor had reached, within the bounds.
    pub(crate) fn set_target(&mut self, target: u32) {
        self.target = target.clamp(LOWEST, HIGHEST);
    }

    /// Notes that entries had to be evicted although the target was kept, as no chunk was worth
    /// cleaning.
    pub(crate) fn note_crowded(&mut self) {
        self.target = (self.target - STEP_CROWDED).max(LOWEST);
    }

    /// Moves the target by the bytes that have been `inserted` and `relocated` so far, once for
    /// each sixteenth of `ring_bytes` that was inserted. Returns `true` if the target has changed.
    /// Entries that a policy refuses are not inserted.
    #[inline]
    pub(crate) fn steer(&mut self, inserted: u64, relocated: u64, ring_bytes: usize) -> bool {
        inserted >= self.until && self.end_stretch(inserted, relocated, ring_bytes)
    }

    #[cold]
    fn end_stretch(&mut self, inserted: u64, relocated: u64, ring_bytes: usize) -> bool {
        let (stretch, length) = (inserted - self.inserted, (ring_bytes as u64 / 16).max(1));
        if stretch < length {
            // The first stretch begins, or the ring has become larger.
            self.until = self.inserted + length;
            return false;
        }
        self.until = inserted + length;
        let before = self.target;
        let amplification = (stretch + relocated - self.relocated) * 10 / stretch;
        if amplification > TOO_MUCH {
            self.target = (self.target - STEP_DOWN).max(LOWEST);
        } else if amplification < LITTLE {
            self.target = (self.target + STEP_UP).min(HIGHEST);
        }
        (self.inserted, self.relocated) = (inserted, relocated);
        before != self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The target after long traffic with this amplification, in tenths.
    fn steered(tenths: u64) -> f64 {
        let mut governor = Governor::new();
        for stretch in 1..=1000 {
            governor.steer(1000 * stretch, 100 * (tenths - 10) * stretch, 16_000);
        }
        f64::from(governor.target()) / f64::from(FULL)
    }

    #[test]
    fn the_target_follows_the_amplification_within_its_range() {
        for (tenths, target) in [(10, 0.975), (26, 0.95), (50, 0.79)] {
            assert!((steered(tenths) - target).abs() < 0.001, "at {tenths} tenths: {}", steered(tenths));
        }
    }
}
