//! [`Judge`]: has the store, knows which versions are confirmed, and judges the reads of all
//! instances.
//!
//! # Rules
//!
//! 1. A read returns no version older than the one that was confirmed `max_staleness` before the
//!    read began. While an instance has no connection, a result may also be as old as the load of
//!    it is long: so the longest load of the instance is added.
//! 2. A writer stores a *marker* after its values, over the same connection. Its floors are the
//!    versions that the writer had confirmed by then. A read that begins after an instance has read
//!    a marker returns no version below its floors, in that instance.
//! 3. A read that begins after the instance has confirmed a write of its own returns no version
//!    below that one, in that instance.
//!
//! All moments are nanoseconds on the judge's clock. An instance tells its own moments: they are
//! late by less than a round trip to the judge, and confirmations are stamped after the fact. Both
//! errors only make a rule milder.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The number of keys. See [`writer_of`].
pub(crate) const KEYS: usize = 12;
/// The number of writers: three instances, and three kinds of foreign clients.
pub(crate) const WRITERS: usize = 6;

pub(crate) type Versions = [u64; KEYS];

/// Returns the writer of a key. The numbers of the instances come first.
fn writer_of(key: usize) -> usize {
    key % WRITERS
}

/// The floors that are remembered of each instance. Older ones are implied by later ones.
const REMEMBERED: usize = 4_096;

/// A read that an instance has done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Read {
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) version: u64,
}

/// The figures of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) served: u64,
    pub(crate) failed: u64,
    /// The confirmed writes of each writer.
    pub(crate) confirmed: [u64; WRITERS],
    /// The reads of a marker of each writer.
    pub(crate) markers_seen: [u64; WRITERS],
    /// Reads older than the confirmed version, within the bound.
    pub(crate) stale_in_bound: u64,
    pub(crate) beyond_bound: u64,
    pub(crate) behind_marker: u64,
    pub(crate) behind_own_write: u64,
    /// Writes that a server lost in a failover.
    pub(crate) lost: u64,
}

/// The knowledge of an instance.
#[derive(Debug, Default)]
struct Instance {
    /// The floors since a moment, in order. Each includes those before it.
    floors: VecDeque<(u64, Versions)>,
    longest_load: u64,
    /// Its current write may be an insert.
    is_inserting: bool,
    /// The number of times that it has connected.
    connections: u64,
    is_coherent: bool,
    coherent_since: u64,
    /// The local entries that it compared with Redis, and those that differed.
    verified: Option<(u64, u64)>,
    is_quiet: bool,
}

#[derive(Debug)]
pub(crate) struct Judge {
    base: Instant,
    max_staleness: u64,
    stored: Versions,
    confirmed: [Vec<(u64, u64)>; KEYS],
    markers: Vec<Versions>,
    instances: Vec<Instance>,
    /// Instances may insert values. An insert whose outcome is unknown may take effect after newer
    /// writes, so they only do while nothing fails.
    pub(crate) may_insert: bool,
    pub(crate) figures: Figures,
    /// The first violations, in words.
    pub(crate) violations: Vec<String>,
}

impl Judge {
    pub(crate) fn new(instances: usize, max_staleness: Duration) -> Self {
        Self {
            base: Instant::now(),
            max_staleness: nanos(max_staleness),
            stored: [0; KEYS],
            confirmed: Default::default(),
            markers: vec![],
            instances: (0..instances).map(|_| Instance::default()).collect(),
            may_insert: true,
            figures: Figures::default(),
            violations: vec![],
        }
    }

    /// Returns the present moment.
    pub(crate) fn now(&self) -> u64 {
        nanos(self.base.elapsed())
    }

    /// Returns the version of a key in the store.
    pub(crate) fn load(&self, key: usize) -> u64 {
        self.stored[key]
    }

    /// Changes a key in the store, and returns its version.
    pub(crate) fn change(&mut self, key: usize) -> u64 {
        self.stored[key] += 1;
        self.stored[key]
    }

    /// Begins a write of an instance, and returns `true` if it may be an insert.
    pub(crate) fn begin_write(&mut self, instance: usize) -> bool {
        self.instances[instance].is_inserting = self.may_insert;
        self.may_insert
    }

    pub(crate) fn are_inserting(&self) -> bool {
        self.instances.iter().any(|instance| instance.is_inserting)
    }

    /// Records that Redis was told of a version.
    pub(crate) fn confirm(&mut self, key: usize, version: u64) {
        let now = self.now();
        self.confirmed[key].push((now, version));
        self.figures.confirmed[writer_of(key)] += 1;
    }

    /// Returns the version that was confirmed last by a moment.
    pub(crate) fn confirmed(&self, key: usize, by: u64) -> u64 {
        let history = &self.confirmed[key];
        let count = history.partition_point(|&(at, _)| at <= by);
        count.checked_sub(1).map_or(0, |last| history[last].1)
    }

    /// Creates a marker whose floors are the confirmed versions of a writer's keys. `own` is the
    /// version that the same connection has just stored.
    pub(crate) fn mark(&mut self, writer: usize, own: (usize, u64)) -> u64 {
        let mut floors = [0; KEYS];
        for key in (writer..KEYS).step_by(WRITERS) {
            floors[key] = self.confirmed(key, u64::MAX);
        }
        floors[own.0] = floors[own.0].max(own.1);
        self.markers.push(floors);
        index(self.markers.len() - 1)
    }

    /// Judges a read of a key.
    pub(crate) fn read(&mut self, instance: usize, key: usize, read: Read) {
        self.figures.served += 1;
        let seen = &self.instances[instance];
        let last = seen.floors.partition_point(|&(at, _)| at <= read.began);
        let floor = last.checked_sub(1).map_or(0, |last| seen.floors[last].1[key]);
        let bound = read.began.saturating_sub(self.max_staleness + seen.longest_load);
        let needed = self.confirmed(key, bound);
        let confirmed = self.confirmed(key, read.began);
        let rule = match read.version {
            version if version < floor => {
                self.figures.behind_marker += 1;
                Some(("the floor of a marker", floor))
            }
            version if version < confirmed && writer_of(key) == instance => {
                self.figures.behind_own_write += 1;
                Some(("the version that it had confirmed itself", confirmed))
            }
            version if version < needed => {
                self.figures.beyond_bound += 1;
                Some(("the version confirmed max_staleness before", needed))
            }
            version if version < confirmed => {
                self.figures.stale_in_bound += 1;
                None
            }
            _ => None,
        };
        if let Some((rule, least)) = rule
            && self.violations.len() < 10
        {
            let millis = read.began / 1_000_000;
            self.violations.push(format!(
                "at {millis} ms instance {instance} read version {} of key {key}, below {rule}: {least}",
                read.version
            ));
        }
    }

    /// Records that an instance has read a marker of a writer.
    pub(crate) fn read_marker(&mut self, instance: usize, writer: usize, read: Read) {
        self.figures.markers_seen[writer] += 1;
        let Some(marker) = usize::try_from(read.version).ok().and_then(|marker| self.markers.get(marker)) else {
            self.violations.push(format!("instance {instance} read marker {}, which does not exist", read.version));
            return;
        };
        let floors = &mut self.instances[instance].floors;
        let (at, former) = floors.back().copied().unwrap_or((0, [0; KEYS]));
        let raised = std::array::from_fn(|key| former[key].max(marker[key]));
        if raised != former {
            // Records of an instance come in the order in which its reads ended, or nearly so.
            floors.push_back((at.max(read.ended), raised));
        }
        if floors.len() > REMEMBERED {
            floors.drain(..REMEMBERED / 2);
        }
    }

    /// Records a load of an instance.
    pub(crate) fn loaded(&mut self, instance: usize, took: u64) {
        let longest = &mut self.instances[instance].longest_load;
        *longest = took.max(*longest);
    }

    pub(crate) fn longest_load(&self) -> Duration {
        let longest = self.instances.iter().map(|instance| instance.longest_load).max();
        Duration::from_nanos(longest.unwrap_or_default())
    }

    /// Records the number of times that an instance has connected.
    pub(crate) fn set_connections(&mut self, instance: usize, at: u64, connections: u64) {
        let instance = &mut self.instances[instance];
        instance.connections = connections;
        instance.coherent_since = at;
    }

    pub(crate) fn connections(&self, instance: usize) -> u64 {
        self.instances[instance].connections
    }

    /// Records that an instance is connected and gets its invalidations, or no longer.
    pub(crate) fn set_coherent(&mut self, instance: usize, at: u64, is_coherent: bool) {
        let instance = &mut self.instances[instance];
        instance.is_coherent = is_coherent;
        instance.coherent_since = at;
    }

    pub(crate) fn is_coherent(&self, instance: usize) -> bool {
        self.instances[instance].is_coherent
    }

    /// Returns the moment since which all instances are coherent, if they are.
    pub(crate) fn coherent_since(&self) -> Option<u64> {
        let all = self.instances.iter().all(|instance| instance.is_coherent);
        all.then(|| self.instances.iter().map(|instance| instance.coherent_since).max().unwrap_or_default())
    }

    pub(crate) fn set_quiet(&mut self, instance: usize) {
        self.instances[instance].is_quiet = true;
    }

    pub(crate) fn are_quiet(&self) -> bool {
        self.instances.iter().all(|instance| instance.is_quiet)
    }

    /// Records how many local entries an instance compared with Redis, and how many differed.
    pub(crate) fn set_verified(&mut self, instance: usize, compared: u64, repaired: u64) {
        self.instances[instance].verified = Some((compared, repaired));
    }

    /// Returns what each instance compared, and what differed, if all have verified.
    pub(crate) fn verified(&self) -> Option<Vec<(u64, u64)>> {
        self.instances.iter().map(|instance| instance.verified).collect()
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("the test does not take years")
}

fn index(index: usize) -> u64 {
    u64::try_from(index).expect("an index fits")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(1);

    fn read(began: u64, version: u64) -> Read {
        Read { began, ended: began + 1, version }
    }

    #[test]
    fn read_older_than_the_bound_is_found() {
        let mut judge = Judge::new(1, BOUND);
        let version = judge.change(3);
        judge.confirm(3, version);
        let at = judge.confirmed[3][0].0;
        let bound = nanos(BOUND);
        judge.read(0, 3, read(at + bound - 1, 0));
        assert_eq!((judge.figures.stale_in_bound, judge.figures.beyond_bound), (1, 0));
        judge.read(0, 3, read(at + bound, 0));
        assert_eq!((judge.figures.stale_in_bound, judge.figures.beyond_bound), (1, 1));
        judge.read(0, 3, read(at + bound, version));
        assert_eq!(judge.figures.beyond_bound, 1);

        judge.loaded(0, 5);
        judge.read(0, 3, read(at + bound + 4, 0));
        assert_eq!(judge.figures.beyond_bound, 1);
        judge.read(0, 3, read(at + bound + 5, 0));
        assert_eq!(judge.figures.beyond_bound, 2);
    }

    #[test]
    fn read_behind_a_marker_of_its_instance_is_found() {
        let mut judge = Judge::new(2, BOUND);
        let version = judge.change(4);
        let marker = judge.mark(4, (4, version));
        judge.read_marker(0, 4, read(10, marker));
        judge.read(0, 4, read(10, 0));
        judge.read(1, 4, read(12, 0));
        assert_eq!(judge.figures.behind_marker, 0);
        judge.read(0, 4, read(11, 0));
        assert_eq!(judge.figures.behind_marker, 1);
        judge.read(0, 4, read(12, version));
        assert_eq!(judge.figures.behind_marker, 1);
    }

    #[test]
    fn read_behind_a_write_of_its_instance_is_found() {
        let mut judge = Judge::new(2, Duration::from_secs(3_600));
        let key = WRITERS;
        judge.confirmed[key].push((10, 1));
        judge.read(0, key, read(9, 0));
        judge.read(1, key, read(10, 0));
        judge.read(0, key, read(10, 1));
        assert_eq!(judge.figures.behind_own_write, 0);
        judge.read(0, key, read(10, 0));
        assert_eq!(judge.figures.behind_own_write, 1);
        assert_eq!(judge.violations.len(), 1);
    }
}
