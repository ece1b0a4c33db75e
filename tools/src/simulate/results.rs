//! The results of one trace: miss ratios by rows and capacities.

use std::fmt;

use bytecache::Policy;
use bytecache::policy::{Simulation, Unit};

use crate::amounts;

/// All runs over one trace.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) trace: String,
    /// Requests of any kind.
    pub(crate) requests: u64,
    pub(crate) unit: Unit,
    /// The charge of all keys together.
    pub(crate) working_set: u64,
    /// Capacities in ascending order.
    pub(crate) capacities: Vec<u64>,
    /// The rows of the policies, and then that of the optimum.
    pub(crate) rows: Vec<Row>,
}

/// The runs of one policy, by capacity.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) rule: Rule,
    pub(crate) runs: Vec<Simulation>,
}

/// The rule that chooses the victims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Policy(Policy),
    /// Belady's MIN, for capacities in entries.
    Optimum,
    /// The bound, for capacities in bytes.
    Bound,
}

impl Rule {
    /// Returns the rule of the last row.
    pub(crate) fn least(unit: Unit) -> Self {
        match unit {
            Unit::Entries => Self::Optimum,
            Unit::Bytes => Self::Bound,
        }
    }

    pub(crate) fn is_policy(self) -> bool {
        matches!(self, Self::Policy(_))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(policy) => policy.fmt(f),
            Self::Optimum => f.pad("optimum"),
            Self::Bound => f.pad("bound"),
        }
    }
}

/// Returns a short text of an amount in a unit.
pub(crate) fn amount(count: u64, unit: Unit) -> String {
    match unit {
        Unit::Entries => amounts::grouped(count),
        Unit::Bytes => amounts::bytes(count),
    }
}

impl Results {
    /// Returns the smallest and the largest miss ratio in percent, widened to two different
    /// multiples of ten.
    pub(crate) fn percent_range(&self) -> (f64, f64) {
        let percents = || self.rows.iter().flat_map(|row| &row.runs).map(|run| run.miss_ratio() * 100.0);
        let low = (percents().fold(100.0, f64::min) / 10.0).floor() * 10.0;
        let high = (percents().fold(0.0, f64::max) / 10.0).ceil() * 10.0;
        let low = low.min(90.0);
        (low, high.max(low + 10.0))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Returns rows with these numbers of misses in a hundred look-ups. The last row is the
    /// optimum's.
    pub(crate) fn results(policies: &[Policy], capacities: &[u64], misses: &[&[u64]]) -> Results {
        let rules = policies.iter().map(|policy| Rule::Policy(*policy)).chain([Rule::Optimum]);
        let run = |misses: &u64| {
            let mut simulation = Simulation::default();
            (simulation.requests, simulation.misses) = (100, *misses);
            (simulation.bytes, simulation.missed_bytes) = (1_000, misses * 5);
            simulation
        };
        let rows = rules.zip(misses).map(|(rule, misses)| Row { rule, runs: misses.iter().map(run).collect() });
        Results {
            trace: "some.trc".to_owned(),
            requests: 100,
            unit: Unit::Entries,
            working_set: 1_000,
            capacities: capacities.to_vec(),
            rows: rows.collect(),
        }
    }

    #[test]
    fn the_range_is_of_tens_and_never_empty() {
        let range = |misses| results(&[], &[1, 2], &[misses]).percent_range();
        assert_eq!(range(&[95, 41]), (40.0, 100.0));
        assert_eq!(range(&[50, 50]), (50.0, 60.0));
        assert_eq!(range(&[100, 100]), (90.0, 100.0));
        assert_eq!(range(&[0, 0]), (0.0, 10.0));
    }
}
