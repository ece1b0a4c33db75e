//! A checker of several processes: each is an instance, values are versions, and a [`judge`] finds
//! reads that return an older version than they may.
//!
//! Three instances read all keys, each by a proxy of its own, and change keys of their own. A
//! foreign connection and `redis-cli` change other keys. Meanwhile connections are cut,
//! half-closed, delayed and held, and the server is killed, stopped, filled up, and replaced by a
//! replica.
//!
//! The test prints the requests served, the stale reads, and the time until all instances were
//! coherent after each fault. [`SECONDS`] sets how long it runs. By default each fault comes once.

mod crew;
mod foreign;
mod instance;
mod judge;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::proxy::Proxy;
use crate::support::{LIMIT, Server, client_is_there, until};
use crew::{Crew, Shared, lock};
use foreign::{World, generation_key};
use judge::{Judge, KEYS, WRITERS};

const NAMESPACE: &str = "checked";
const MAX_STALENESS: Duration = Duration::from_millis(500);
const COMMAND_TIMEOUT: Duration = Duration::from_millis(200);
const INSTANCES: usize = 3;
/// The writers that store markers: the foreign ones that set keys.
const MARKING: std::ops::Range<usize> = INSTANCES..INSTANCES + 2;
/// The variable that sets for how many seconds the checker runs.
const SECONDS: &str = "BYTECACHE_CHECK_SECONDS";
/// The variable that makes a process an instance: its number, and the ports of its server and of
/// the judge.
const INSTANCE: &str = "BYTECACHE_CHECKED_INSTANCE";

/// Returns the time for which the checker runs, if one was set.
fn run_time() -> Option<Duration> {
    let seconds = std::env::var(SECONDS).ok()?;
    Some(Duration::from_secs(seconds.parse().expect("it is a number of seconds")))
}

/// Returns the time for which the server stops.
fn stop_time() -> Duration {
    Duration::from_secs(if run_time().is_some() { 10 } else { 2 })
}

/// Returns the load limit of the instances. Tombstones live for it, and for two command timeouts. A
/// fill may wait for as long as a fault lasts: so the limit is longer than that, also on a slow
/// machine.
fn load_limit() -> Duration {
    stop_time() + Duration::from_secs(4)
}

/// Returns the pause of a writer after a write. Most are short. After some, the keys of the writer
/// rest for longer than the bound: so a value that stays stale is found.
fn pause() -> Duration {
    match rand(200) {
        0 => 3 * MAX_STALENESS,
        _ => Duration::from_micros(rand(8_000)),
    }
}

/// Returns a random number below `below`.
fn rand(below: u64) -> u64 {
    RandomState::new().hash_one(0) % below
}

/// Returns a random key, of a writer if one is named.
fn rand_key(writer: Option<usize>) -> usize {
    let key = usize::try_from(rand(KEYS as u64)).expect("it is below the number of keys");
    writer.map_or(key, |writer| key / WRITERS * WRITERS + writer)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing is passed on between an instance and the server.
    Silence,
    /// All replies to an instance are late by more than `max_staleness`.
    Delay,
    /// Invalidations reach an instance later than the values that it reads.
    LateInvalidations,
    /// The connections of an instance are closed for replies.
    HalfCut,
    /// The connections of an instance are closed, and new ones refused.
    Cut,
    /// The server closes all connections.
    ClosedByServer,
    /// The server is killed, and starts empty.
    Kill,
    /// The server stops for a while.
    Stop,
    /// The server has no memory left.
    Full,
    /// The server is killed, and its replica takes over.
    Failover,
}

const FAULTS: [Fault; 10] = [
    Fault::Silence,
    Fault::Delay,
    Fault::LateInvalidations,
    Fault::HalfCut,
    Fault::Cut,
    Fault::ClosedByServer,
    Fault::Kill,
    Fault::Stop,
    Fault::Full,
    Fault::Failover,
];

/// A run of the checker.
struct Run {
    world: World,
    server: Server,
    proxies: Vec<Proxy>,
}

impl Run {
    fn judge(&self) -> &Shared {
        &self.world.judge
    }

    fn served(&self) -> u64 {
        lock(self.judge()).figures.served
    }

    /// Waits for as many more reads. A slow machine may take long, as long as there is progress.
    async fn more_reads(&self, reads: u64) {
        let mut served = self.served();
        let goal = served + reads;
        while served < goal {
            until("reads go on", || self.served() > served).await;
            served = self.served();
        }
    }

    /// Waits until all writers have written, and until all markers are seen. A deletion takes the
    /// load limit, and begins again if one of its steps fails.
    async fn until_all_write(&self) {
        let began = Instant::now();
        let all_write = || {
            let figures = lock(self.judge()).figures;
            figures.confirmed.iter().all(|&writes| writes > 0)
                && figures.markers_seen[MARKING].iter().all(|&seen| seen > 0)
        };
        while !all_write() {
            assert!(began.elapsed() < 2 * LIMIT + 2 * load_limit(), "all writers write");
            self.more_reads(100).await;
        }
    }

    /// Lets reads go on for long enough that entries from before a fault must have left.
    async fn read_past_bound(&self) {
        let began = Instant::now();
        while began.elapsed() < 3 * MAX_STALENESS {
            self.more_reads(100).await;
        }
    }

    /// Waits until instances notice that they are not coherent, while a fault lasts.
    async fn until_noticed(&self, instances: impl Iterator<Item = usize> + Clone) {
        let are_coherent = || {
            let judge = lock(self.judge());
            instances.clone().any(|instance| judge.is_coherent(instance))
        };
        until("the loss is noticed", || !are_coherent()).await;
    }

    /// Lets a fault happen that closes connections, and waits until instances have connected again.
    /// They do so at once: so an instance may be coherent whenever it is asked.
    async fn until_reconnected(&self, instances: impl Iterator<Item = usize>, fault: impl FnOnce()) {
        let connections = |instance| lock(self.judge()).connections(instance);
        let before: Vec<_> = instances.map(|instance| (instance, connections(instance))).collect();
        fault();
        let is_over = || before.iter().all(|&(instance, before)| connections(instance) > before);
        until("the instances connect again", is_over).await;
    }

    /// Waits until all instances are coherent, and prints when the fault began and ended, and how
    /// long after that all were.
    async fn until_coherent(&self, fault: Fault, began: u64, healed: u64) {
        let mut since = None;
        until("all are coherent again", || {
            since = lock(self.judge()).coherent_since();
            since.is_some()
        })
        .await;
        let after = Duration::from_nanos(since.expect("it was seen").saturating_sub(healed));
        let [began, healed] = [began, healed].map(|moment| moment / 1_000_000);
        println!("{fault:?} from {began} to {healed} ms: coherent {after:.1?} after it");
    }

    fn now(&self) -> u64 {
        lock(self.judge()).now()
    }

    /// Lets a fault happen and end.
    async fn suffer(&mut self, fault: Fault) {
        let number = usize::try_from(rand(INSTANCES as u64)).expect("it is small");
        let proxy = &self.proxies[number];
        let (began, mut healed) = (self.now(), None);
        match fault {
            Fault::Silence => {
                proxy.silence(true);
                self.read_past_bound().await;
                self.until_noticed(number..=number).await;
                proxy.silence(false);
            }
            Fault::Delay => {
                proxy.delay(MAX_STALENESS);
                self.read_past_bound().await;
                self.until_noticed(number..=number).await;
                proxy.delay(Duration::ZERO);
            }
            Fault::LateInvalidations => {
                proxy.delay_tracked(Duration::from_millis(50));
                self.more_reads(6_000).await;
                proxy.delay_tracked(Duration::ZERO);
            }
            Fault::HalfCut => {
                healed = Some(self.now());
                self.until_reconnected(number..=number, || proxy.half_cut()).await;
            }
            Fault::Cut => {
                proxy.set_down(true);
                proxy.cut();
                self.read_past_bound().await;
                self.until_noticed(number..=number).await;
                proxy.set_down(false);
            }
            Fault::ClosedByServer => {
                let mut foreign = self.server.foreign();
                healed = Some(self.now());
                let kill = || _ = foreign.ask::<u64>(&["CLIENT", "KILL", "TYPE", "normal"]);
                self.until_reconnected(0..INSTANCES, kill).await;
            }
            Fault::Kill => {
                self.server.kill();
                self.read_past_bound().await;
                self.until_noticed(0..INSTANCES).await;
                self.server.restart();
            }
            Fault::Stop => {
                let stopped = Instant::now();
                self.server.signal("STOP");
                self.until_noticed(0..INSTANCES).await;
                while stopped.elapsed() < stop_time() {
                    self.more_reads(100).await;
                }
                self.server.signal("CONT");
            }
            Fault::Full => {
                let mut foreign = self.server.foreign();
                foreign.ask::<String>(&["CONFIG", "SET", "maxmemory", "1"]);
                self.more_reads(600).await;
                foreign.ask::<String>(&["CONFIG", "SET", "maxmemory", "0"]);
            }
            Fault::Failover => self.fail_over().await,
        }
        let healed = healed.unwrap_or_else(|| self.now());
        self.until_coherent(fault, began, healed).await;
        self.more_reads(300).await;
    }

    /// Kills the primary while a replica follows it, and lets the replica take over. Writes that
    /// the replica does not have are counted as lost. As an operator would, the test then begins a
    /// new generation, before the instances reach the new primary.
    async fn fail_over(&mut self) {
        let replica = Server::start().expect("it was started before");
        let mut foreign = replica.foreign();
        foreign.ask::<String>(&["REPLICAOF", "127.0.0.1", &self.server.port.to_string()]);
        let mut is_up = || foreign.ask::<String>(&["INFO", "replication"]).contains("master_link_status:up");
        until("the replica follows", &mut is_up).await;
        self.more_reads(300).await;
        // Only what the primary had confirmed before it ended counts as lost.
        let before = {
            let judge = lock(self.judge());
            std::array::from_fn::<_, KEYS, _>(|key| judge.confirmed(key, u64::MAX))
        };
        self.server.kill();
        self.proxies.iter().for_each(|proxy| {
            proxy.set_down(true);
            proxy.cut();
        });
        foreign.ask::<String>(&["REPLICAOF", "NO", "ONE"]);
        let generation = foreign.get(&generation_key()).unwrap_or_else(|| "0".to_string());
        for (key, &confirmed) in before.iter().enumerate() {
            // A tombstone is no version.
            let value: Option<Vec<u8>> = foreign.ask(&["GET", &format!("{NAMESPACE}:{generation}:{key}")]);
            let version = value.and_then(|value| std::str::from_utf8(&value).ok()?.parse::<u64>().ok());
            if version.is_some_and(|version| version < confirmed) {
                lock(self.judge()).figures.lost += 1;
            }
        }
        foreign.ask::<u64>(&["INCR", &generation_key()]);
        self.until_noticed(0..INSTANCES).await;
        self.world.primary.store(replica.port, Ordering::SeqCst);
        self.proxies.iter().for_each(|proxy| {
            proxy.set_server(replica.port);
            proxy.set_down(false);
        });
        self.server = replica;
    }
}

/// Prints the figures, and asserts that no rule was broken.
fn report(judge: &Judge, took: Duration) {
    let figures = judge.figures;
    println!(
        "{:.0?}: {} reads served, {} failed; writes confirmed by each writer: {:?}; {} reads older than confirmed \
         within the bound, {} beyond it; {} behind an own write; markers of each writer seen: {:?}, {} reads behind \
         them; {} writes lost in failovers; longest load {:.0?}",
        took,
        figures.served,
        figures.failed,
        figures.confirmed,
        figures.stale_in_bound,
        figures.beyond_bound,
        figures.behind_own_write,
        figures.markers_seen,
        figures.behind_marker,
        figures.lost,
        judge.longest_load(),
    );
    assert!(judge.violations.is_empty(), "{:#?}", judge.violations);
    assert_eq!((figures.beyond_bound, figures.behind_marker, figures.behind_own_write), (0, 0, 0));
    assert_eq!(figures.failed, 0, "every read is served");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staleness_of_processes_stays_in_its_bound_while_all_fails() {
    let Some(server) = Server::start() else { return };
    if !client_is_there() {
        eprintln!("no redis-cli or valkey-cli: left out");
        return;
    }
    let mut proxies = vec![];
    for _ in 0..INSTANCES {
        proxies.push(Proxy::to(server.port).await);
    }
    let ports: Vec<_> = proxies.iter().map(|proxy| proxy.port).collect();
    let judge: Shared = Arc::new(Mutex::new(Judge::new(INSTANCES, MAX_STALENESS)));
    let primary = Arc::new(AtomicU16::new(server.port));
    let world = World { judge, primary, is_over: Arc::new(AtomicBool::new(false)) };
    let began = Instant::now();
    let mut crew = Crew::start(&world.judge, &ports);
    let writers = world.start_writers();
    let mut run = Run { world, server, proxies };

    until("all have started", || lock(run.judge()).coherent_since().is_some()).await;
    run.more_reads(10_000).await;
    run.until_all_write().await;
    lock(run.judge()).may_insert = false;
    until("no insert is in progress", || !lock(run.judge()).are_inserting()).await;
    for fault in FAULTS {
        run.suffer(fault).await;
    }
    while run_time().is_some_and(|time| began.elapsed() < time) {
        run.suffer(FAULTS[usize::try_from(rand(FAULTS.len() as u64)).expect("it is small")]).await;
        assert!(crew.are_alive(), "the instances live");
    }

    run.world.is_over.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.join().expect("a writer ends");
    }
    crew.command("stop");
    until("all are quiet", || lock(run.judge()).are_quiet()).await;
    crew.command("verify");
    until("all have verified", || lock(run.judge()).verified().is_some()).await;
    crew.join().await;
    let judge = lock(run.judge());
    let verified = judge.verified().expect("all have verified");
    println!("local entries compared, and differing, of each instance: {verified:?}");
    report(&judge, began.elapsed());
    assert!(verified.iter().all(|&(compared, repaired)| compared > 0 && repaired == 0), "{verified:?}");
}
