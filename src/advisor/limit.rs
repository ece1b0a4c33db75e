//! The limit on the memory of an engine, whose policies may allocate more while they run.

/// The measurements in a row above the limit after which an engine is given up.
const MOST_IN_A_ROW: u32 = 3;

/// A limit on bytes, and how the last measurements compared with it.
pub(super) struct Limit {
    max_bytes: usize,
    /// The measurements in a row that were above the limit.
    above: u32,
}

impl Limit {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, above: 0 }
    }

    /// Notes a measurement. Returns `false` if it is above the limit.
    pub(super) fn holds_for(&mut self, bytes: usize) -> bool {
        let holds = bytes <= self.max_bytes;
        self.above = if holds { 0 } else { self.above + 1 };
        holds
    }

    /// Returns `true` if the last measurements were all above the limit.
    pub(super) fn is_hopeless(&self) -> bool {
        self.above >= MOST_IN_A_ROW
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_measurements_in_a_row_above_the_limit_are_hopeless() {
        let mut limit = Limit::new(10);
        for (bytes, holds, is_hopeless) in
            [(11, false, false), (11, false, false), (10, true, false), (11, false, false), (12, false, false)]
        {
            assert_eq!((limit.holds_for(bytes), limit.is_hopeless()), (holds, is_hopeless));
        }
        assert!(!limit.holds_for(11) && limit.is_hopeless());
    }
}
