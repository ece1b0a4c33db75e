//! A checker of several processes: each is an instance, values are versions, and a [`judge`] finds
//! reads that return an older version than they may.
//!
//! Three instances read all keys, each by a proxy of its own, and change keys of their own. A
//! foreign connection and `redis-cli` change other keys. Meanwhile connections are cut,
//! half-closed, delayed and held, and the server is killed, stopped, filled up, and replaced by a
//! replica.
//!
//! The test prints the requests served, the stale reads, and the time until all instances were
//! coherent after each fault. `BYTECACHE_CHECK_SECONDS` sets how long it runs. By default each
//! fault comes once.

mod crew;
mod foreign;
mod instance;
mod judge;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::cmd;

use crate::proxy::Proxy;
use crate::support::{Server, client_is_there, until};
use crew::{Crew, Shared, lock};
use foreign::{World, generation_key, open};
use judge::{Judge, KEYS, WRITERS};

const NAMESPACE: &str = "checked";
const MAX_STALENESS: Duration = Duration::from_millis(500);
const COMMAND_TIMEOUT: Duration = Duration::from_millis(200);
/// It is longer than any fault of a connection: tombstones live for it, and two command timeouts.
const LOAD_LIMIT: Duration = Duration::from_secs(4);
const INSTANCES: usize = 3;
/// The variable that makes a process an instance: its number, and the ports of its server and of
/// the judge.
const INSTANCE: &str = "BYTECACHE_CHECKED_INSTANCE";

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
    /// The time for which the server stops.
    stop: Duration,
}

impl Run {
    fn judge(&self) -> &Shared {
        &self.world.judge
    }

    /// Waits for as many more reads.
    async fn more_reads(&self, reads: u64) {
        let goal = lock(self.judge()).figures.served + reads;
        until("reads go on", || lock(self.judge()).figures.served >= goal).await;
    }

    /// Lets reads go on for long enough that entries from before a fault must have left.
    async fn read_past_bound(&self) {
        let began = Instant::now();
        while began.elapsed() < 3 * MAX_STALENESS {
            self.more_reads(100).await;
        }
    }

    /// Waits until instances notice that they are not coherent.
    async fn until_noticed(&self, instances: impl Iterator<Item = usize> + Clone) {
        let are_coherent = || {
            let judge = lock(self.judge());
            instances.clone().any(|instance| judge.is_coherent(instance))
        };
        until("the loss is noticed", || !are_coherent()).await;
    }

    /// Waits until all instances are coherent, and prints how long after `healed` that was.
    async fn until_coherent(&self, fault: Fault, healed: u64) {
        let mut since = None;
        until("all are coherent again", || {
            since = lock(self.judge()).coherent_since();
            since.is_some()
        })
        .await;
        let after = Duration::from_nanos(since.expect("it was seen").saturating_sub(healed));
        println!("{fault:?}: coherent {after:.1?} after the fault ended");
    }

    fn now(&self) -> u64 {
        lock(self.judge()).now()
    }

    /// Lets a fault happen and end.
    async fn suffer(&mut self, fault: Fault) {
        let number = usize::try_from(rand(INSTANCES as u64)).expect("it is small");
        let proxy = &self.proxies[number];
        let mut healed = None;
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
                proxy.delay_tracked(Duration::from_millis(10));
                self.more_reads(6_000).await;
                proxy.delay_tracked(Duration::ZERO);
            }
            Fault::HalfCut => {
                proxy.half_cut();
                healed = Some(self.now());
                self.until_noticed(number..=number).await;
            }
            Fault::Cut => {
                proxy.set_down(true);
                proxy.cut();
                self.read_past_bound().await;
                self.until_noticed(number..=number).await;
                proxy.set_down(false);
            }
            Fault::ClosedByServer => {
                let mut connection = open(self.world.port()).expect("the server answers");
                cmd("CLIENT").arg(&["KILL", "TYPE", "normal"]).exec(&mut connection).expect("the server answers");
                healed = Some(self.now());
                self.until_noticed(0..INSTANCES).await;
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
                while stopped.elapsed() < self.stop {
                    self.more_reads(100).await;
                }
                self.server.signal("CONT");
            }
            Fault::Full => {
                let mut connection = open(self.world.port()).expect("the server answers");
                let mut set = |bytes| cmd("CONFIG").arg(&["SET", "maxmemory", bytes]).exec(&mut connection);
                set("1").expect("the server answers");
                self.more_reads(600).await;
                set("0").expect("the server answers");
            }
            Fault::Failover => self.fail_over().await,
        }
        let healed = healed.unwrap_or_else(|| self.now());
        self.until_coherent(fault, healed).await;
        self.more_reads(300).await;
    }

    /// Kills the primary while a replica follows it, and lets the replica take over. Writes that
    /// the replica does not have are counted as lost. As an operator would, the test then begins a
    /// new generation, before the instances reach the new primary.
    async fn fail_over(&mut self) {
        let replica = Server::start().expect("it was started before");
        let mut connection = open(replica.port).expect("the server answers");
        let follow = ["127.0.0.1".to_string(), self.server.port.to_string()];
        cmd("REPLICAOF").arg(&follow).exec(&mut connection).expect("the server answers");
        until("the replica follows", || {
            let info: String = cmd("INFO").arg("replication").query(&mut connection).expect("the server answers");
            info.contains("master_link_status:up")
        })
        .await;
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
        cmd("REPLICAOF").arg(&["NO", "ONE"]).exec(&mut connection).expect("the server answers");
        let generation: Option<String> = cmd("GET").arg(generation_key()).query(&mut connection).expect("it answers");
        let generation = generation.unwrap_or_else(|| "0".to_string());
        for (key, &confirmed) in before.iter().enumerate() {
            let name = format!("{NAMESPACE}:{generation}:{key}");
            let value: Option<Vec<u8>> = cmd("GET").arg(name).query(&mut connection).expect("the server answers");
            let version = value.and_then(|value| std::str::from_utf8(&value).ok()?.parse::<u64>().ok());
            if version.is_some_and(|version| version < confirmed) {
                lock(self.judge()).figures.lost += 1;
            }
        }
        cmd("INCR").arg(generation_key()).exec(&mut connection).expect("the server answers");
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
        "{:.0?}: {} reads served, {} failed; {} writes confirmed; {} reads older than confirmed within the bound, \
         {} beyond it; {} markers seen, {} reads behind them; {} writes lost in failovers; longest load {:.0?}",
        took,
        figures.served,
        figures.failed,
        figures.confirmed,
        figures.stale_in_bound,
        figures.beyond_bound,
        figures.markers_seen,
        figures.behind_marker,
        figures.lost,
        judge.longest_load(),
    );
    assert!(judge.violations.is_empty(), "{:#?}", judge.violations);
    assert_eq!((figures.beyond_bound, figures.behind_marker), (0, 0));
    assert_eq!(figures.failed, 0, "every read is served");
    assert!(figures.served > 0 && figures.confirmed > 0 && figures.markers_seen > 0);
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
    let seconds = std::env::var("BYTECACHE_CHECK_SECONDS").ok();
    let limit = seconds.map(|seconds| Duration::from_secs(seconds.parse().expect("it is a number of seconds")));
    let stop = if limit.is_some() { Duration::from_secs(10) } else { Duration::from_secs(2) };
    let began = Instant::now();
    let mut crew = Crew::start(&world.judge, &ports);
    let writers = world.start_writers();
    let mut run = Run { world, server, proxies, stop };

    until("all have started", || lock(run.judge()).coherent_since().is_some()).await;
    run.more_reads(10_000).await;
    lock(run.judge()).may_insert = false;
    until("no insert is in progress", || !lock(run.judge()).are_inserting()).await;
    for fault in FAULTS {
        run.suffer(fault).await;
    }
    while limit.is_some_and(|limit| began.elapsed() < limit) {
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
    crew.join();
    let judge = lock(run.judge());
    println!("{:?} local entries compared, and differing", judge.verified());
    report(&judge, began.elapsed());
    assert_eq!(judge.verified().map(|(_, repaired)| repaired), Some(0));
}
