//! The requests of a simulation, and its result.

/// A key that is requested, and the charge of its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The hash that stands for the key: equal hashes are equal keys. Any numbers that tell keys
    /// apart will do, as they are hashed once more.
    pub hash: u64,
    /// The bytes that the entry takes. A resident entry keeps the charge that it came with.
    pub charge: u32,
}

/// The unit of a capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// The number of entries. Their charges make no difference.
    Entries,
    /// The charges of the entries.
    Bytes,
}

/// The result of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Simulation {
    /// The number of requests.
    pub requests: u64,
    /// The number of requests that were not hits.
    pub misses: u64,
    /// The sum of the charges of all requests.
    pub bytes: u64,
    /// The sum of the charges of requests that were not hits.
    pub missed_bytes: u64,
}

impl Simulation {
    /// Returns the misses for each request, from 0 to 1, or 0 if there was no request.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Unit, simulate};
    ///
    /// let requests = [1, 1, 2, 1].map(|hash| Request { hash, charge: 1 });
    /// assert_eq!(simulate(&Policy::Lru, 2, Unit::Entries, requests).miss_ratio(), 0.5);
    /// ```
    #[must_use]
    pub fn miss_ratio(&self) -> f64 {
        self.misses as f64 / self.requests.max(1) as f64
    }

    /// Returns the bytes missed for each byte requested, from 0 to 1, or 0 if there was no request.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{Request, Unit, simulate};
    ///
    /// let requests = [(1, 30), (1, 30), (2, 60)].map(|(hash, charge)| Request { hash, charge });
    /// assert_eq!(simulate(&Policy::Lru, 100, Unit::Bytes, requests).byte_miss_ratio(), 0.75);
    /// ```
    #[must_use]
    pub fn byte_miss_ratio(&self) -> f64 {
        self.missed_bytes as f64 / self.bytes.max(1) as f64
    }
}
