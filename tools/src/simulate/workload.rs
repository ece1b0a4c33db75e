//! A trace, and the charges of its entries.

use std::collections::HashSet;

use bytecache::policy;
use bytecache::policy::Unit;

use crate::trace::{Operation, Request, Trace};

/// The requests of a trace, with charges in a unit.
#[derive(Debug)]
pub(crate) struct Workload<'a> {
    requests: &'a [Request],
    unit: Unit,
    working_set: u64,
}

impl<'a> Workload<'a> {
    /// Creates the workload of `trace`. Without a unit, charges are in bytes if sizes vary, and in
    /// entries if not.
    pub(crate) fn new(trace: &'a Trace, unit: Option<Unit>) -> Self {
        let requests = trace.requests();
        let unit = unit.unwrap_or_else(|| if sizes_vary(requests) { Unit::Bytes } else { Unit::Entries });
        let mut known = HashSet::new();
        let firsts = stored(requests).filter(|request| known.insert(request.key));
        let working_set = firsts.map(|request| u64::from(charge(request, unit))).sum();
        Self { requests, unit, working_set }
    }

    pub(crate) fn requests(&self) -> &'a [Request] {
        self.requests
    }

    pub(crate) fn unit(&self) -> Unit {
        self.unit
    }

    /// Returns the charge of all distinct keys, each with the size of its first request.
    pub(crate) fn working_set(&self) -> u64 {
        self.working_set
    }

    /// Returns the charge of a request's entry, which is the one in the simulator.
    pub(crate) fn charge(&self, request: &Request) -> u32 {
        charge(request, self.unit)
    }
}

/// Converts a request to one of the simulator.
pub(crate) fn of_policy(request: &Request) -> policy::Request {
    policy::Request { hash: request.key, charge: request.size_bytes }
}

fn charge(request: &Request, unit: Unit) -> u32 {
    match unit {
        Unit::Entries => 1,
        Unit::Bytes => request.size_bytes.max(1),
    }
}

/// Returns the requests after which an entry may be present.
fn stored(requests: &[Request]) -> impl Iterator<Item = &Request> {
    requests.iter().filter(|request| request.operation != Operation::Delete)
}

fn sizes_vary(requests: &[Request]) -> bool {
    let mut sizes = stored(requests).map(|request| request.size_bytes);
    let first = sizes.next();
    sizes.any(|size| Some(size) != first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TraceBuilder;

    fn trace(requests: &[(u64, u32, Operation)]) -> Trace {
        let mut builder = TraceBuilder::default();
        for &(key, size_bytes, operation) in requests {
            builder.push_number(key, size_bytes, operation);
        }
        builder.finish()
    }

    #[test]
    fn the_unit_is_bytes_where_sizes_vary() {
        let unit = |trace: &Trace| Workload::new(trace, None).unit();
        let fetches = |sizes: [u32; 3]| trace(&sizes.map(|size| (u64::from(size), size, Operation::Fetch)));
        assert_eq!(unit(&fetches([1, 1, 1])), Unit::Entries);
        assert_eq!(unit(&fetches([5, 5, 5])), Unit::Entries);
        assert_eq!(unit(&fetches([5, 5, 6])), Unit::Bytes);
        assert_eq!(unit(&trace(&[(1, 5, Operation::Store), (1, 0, Operation::Delete)])), Unit::Entries);
    }

    #[test]
    fn the_working_set_counts_a_key_once_with_its_first_size() {
        let requests = [
            (1, 100, Operation::Fetch),
            (1, 70, Operation::Store),
            (2, 0, Operation::Store),
            (3, 9, Operation::Delete),
        ];
        let trace = trace(&requests);
        assert_eq!(Workload::new(&trace, Some(Unit::Entries)).working_set(), 2);
        assert_eq!(Workload::new(&trace, Some(Unit::Bytes)).working_set(), 101);
    }
}
