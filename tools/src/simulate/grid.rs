//! Simulates all policies at all capacities, on several threads.
//!
//! # Synchronization
//!
//! Cells are independent and deterministic. Each thread takes the number of the next cell from a
//! counter, until none is left. It returns its results when it ends.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytecache::Policy;
use bytecache::policy::{Simulation, Simulator};
use indicatif::ProgressBar;

use super::optimum::Optimum;
use super::results::{Row, Rule};
use super::workload::{Workload, of_policy};
use crate::trace::Operation;

/// Number of requests between two steps of the progress bar.
const BLOCK_REQUESTS: usize = 1 << 16;

/// Returns a row for each policy, and then the row of the optimum.
pub(crate) fn run(
    workload: &Workload<'_>,
    policies: &[Policy],
    capacities: &[u64],
    threads: usize,
    bar: &ProgressBar,
) -> Vec<Row> {
    let optimum = Optimum::new(workload);
    let rules: Vec<_> =
        policies.iter().map(|policy| Rule::Policy(*policy)).chain([Rule::least(workload.unit())]).collect();
    let cells: Vec<_> = rules.iter().flat_map(|rule| capacities.iter().map(|capacity| (*rule, *capacity))).collect();
    let runs = run_all(cells.len(), threads, |cell| match cells[cell] {
        (Rule::Policy(policy), capacity) => simulate(workload, policy, capacity, bar),
        (Rule::Optimum | Rule::Bound, capacity) => {
            let least = optimum.at(capacity);
            bar.inc(workload.requests().len() as u64);
            least
        }
    });
    let runs = runs.chunks(capacities.len()).map(<[_]>::to_vec);
    rules.into_iter().zip(runs).map(|(rule, runs)| Row { rule, runs }).collect()
}

/// Calls `run` for each number below `cells`, and returns the results in their order.
fn run_all(cells: usize, threads: usize, run: impl Fn(usize) -> Simulation + Sync) -> Vec<Simulation> {
    let next = AtomicUsize::new(0);
    let work = || {
        // Relaxed: the counter only hands out numbers. Results are passed on when the thread is
        // joined.
        let mine = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed)).take_while(|cell| *cell < cells);
        mine.map(|cell| (cell, run(cell))).collect::<Vec<_>>()
    };
    let mut results = vec![Simulation::default(); cells];
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads.min(cells)).map(|_| scope.spawn(work)).collect();
        for thread in running {
            for (cell, result) in thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)) {
                results[cell] = result;
            }
        }
    });
    results
}

fn simulate(workload: &Workload<'_>, policy: Policy, capacity: u64, bar: &ProgressBar) -> Simulation {
    let mut simulator = Simulator::new(&policy, capacity, workload.unit());
    for block in workload.requests().chunks(BLOCK_REQUESTS) {
        for request in block {
            match request.operation {
                Operation::Fetch => simulator.request(of_policy(request)),
                Operation::Store => simulator.store(of_policy(request)),
                Operation::Delete => simulator.remove(request.key),
            };
        }
        bar.inc(block.len() as u64);
    }
    simulator.simulation()
}

#[cfg(test)]
mod tests {
    use bytecache::policy;
    use bytecache::policy::Unit;

    use super::*;
    use crate::mixture::generate;
    use crate::trace::TraceBuilder;

    #[test]
    fn any_number_of_threads_gives_the_same_rows() {
        let trace = generate(5_000, 3);
        let workload = Workload::new(&trace, None);
        let policies = [Policy::Lru, Policy::Arc, Policy::S3Fifo];
        let run = |threads| {
            let bar = ProgressBar::hidden();
            let rows = run(&workload, &policies, &[5_000, 50_000], threads, &bar);
            assert_eq!(bar.position(), 4 * 2 * 5_000);
            rows.into_iter().map(|row| (row.rule, row.runs)).collect::<Vec<_>>()
        };
        let rows = run(1);
        assert_eq!(rows.iter().map(|row| row.0.to_string()).collect::<Vec<_>>(), ["lru", "arc", "s3-fifo", "bound"]);
        let requests = trace.requests().iter().map(of_policy);
        assert_eq!(rows[1].1[0], policy::simulate(&Policy::Arc, 5_000, Unit::Bytes, requests));
        for threads in [2, 3, 100] {
            assert_eq!(run(threads), rows);
        }
    }

    #[test]
    fn stores_and_removals_are_done_and_not_counted() {
        let mut builder = TraceBuilder::default();
        for operation in [Operation::Store, Operation::Fetch, Operation::Delete, Operation::Delete, Operation::Fetch] {
            builder.push_number(1, 3, operation);
        }
        let trace = builder.finish();
        let run = simulate(&Workload::new(&trace, None), Policy::Lru, 1, &ProgressBar::hidden());
        assert_eq!((run.requests, run.misses, run.missed_bytes), (2, 1, 3));
    }
}
