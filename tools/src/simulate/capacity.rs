//! Capacities on the command line: absolute, or as a share of the working set.

use std::str::FromStr;

use crate::values;

/// One capacity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Capacity {
    /// A percentage of a trace's distinct keys, or of the bytes of their entries.
    Percent(f64),
    /// A number of entries or bytes.
    Absolute(u64),
}

/// The default capacities: three decades up to the working set.
pub(crate) const DEFAULT: [Capacity; 10] = {
    use Capacity::Percent as P;
    [P(0.1), P(0.2), P(0.5), P(1.0), P(2.0), P(5.0), P(10.0), P(20.0), P(50.0), P(100.0)]
};

impl FromStr for Capacity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(percent) = text.strip_suffix('%') {
            return match percent.trim().parse() {
                Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Self::Percent(percent)),
                _ => Err(format!("`{text}` is not a share above 0 % and up to 100 %")),
            };
        }
        match values::bytes(text) {
            Ok(0) => Err("a capacity of 0 holds nothing".to_owned()),
            Ok(count) => Ok(Self::Absolute(count as u64)),
            Err(error) => Err(format!("`{text}` is {error}, nor a share like 1%")),
        }
    }
}

/// Parses capacities that are separated by commas.
///
/// # Errors
///
/// Returns an error for the first text that is no capacity.
pub(crate) fn parse(text: &str) -> Result<Vec<Capacity>, String> {
    text.split(',').map(str::parse).collect()
}

/// Returns the capacities in entries or bytes, in ascending order, and each once. A share is at
/// least 1.
pub(crate) fn resolve(capacities: &[Capacity], working_set: u64) -> Vec<u64> {
    let mut resolved: Vec<_> = capacities.iter().map(|capacity| capacity.of(working_set)).collect();
    resolved.sort_unstable();
    resolved.dedup();
    resolved
}

impl Capacity {
    fn of(self, working_set: u64) -> u64 {
        match self {
            #[expect(clippy::cast_possible_truncation, reason = "positive, and at most the working set")]
            #[expect(clippy::cast_sign_loss, reason = "positive, and at most the working set")]
            Self::Percent(percent) => ((working_set as f64 * percent / 100.0).round() as u64).max(1),
            Self::Absolute(count) => count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_numbers_are_told_apart() {
        let expected = [Capacity::Percent(1.0), Capacity::Percent(0.5), Capacity::Absolute(64 << 20)];
        assert_eq!(parse("1%, 0.5 %,64M").expect("three capacities"), expected);
        assert_eq!(parse("10000").expect("one capacity"), [Capacity::Absolute(10_000)]);
        assert_eq!(parse("100%").expect("all of it"), [Capacity::Percent(100.0)]);
    }

    #[test]
    fn what_is_no_capacity_is_named() {
        for text in ["", "0", "0%", "-1%", "101%", "NaN%", "inf%", "%", "1.5", "-1", "1T", "64M%"] {
            let error = parse(&format!("1%,{text}")).expect_err(text);
            assert!(error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn shares_are_rounded_to_the_nearest_and_hold_one_at_least() {
        let percent = |percent, working_set| Capacity::Percent(percent).of(working_set);
        assert_eq!((percent(0.1, 7_454), percent(1.0, 7_454), percent(5.0, 7_454)), (7, 75, 373));
        assert_eq!((percent(0.1, 3), percent(100.0, 3), percent(100.0, 0)), (1, 3, 1));
    }

    #[test]
    fn capacities_ascend_and_come_once() {
        let capacities = parse("50%,7,10%,5").expect("four capacities");
        assert_eq!(resolve(&capacities, 50), [5, 7, 25]);
        assert_eq!(resolve(&DEFAULT, 100), [1, 2, 5, 10, 20, 50, 100]);
        assert_eq!(resolve(&DEFAULT, 1_000_000).len(), DEFAULT.len());
    }
}
