//! An instance of the checker: a process of its own, which tells the judge of each read.
//!
//! It is started by [`Crew`](super::crew::Crew). It writes records to its standard output, one in a
//! line, and gets commands by its standard input:
//!
//! | record | meaning |
//! |---|---|
//! | `R began ended subject version` | a read of a key, or of a marker: `m` and its writer |
//! | `F` | a read of a key that failed |
//! | `L nanoseconds` | a load that took longer than those before, and returns next |
//! | `N moment number` | the instance has connected `number` times by now |
//! | `S moment 0`, `S moment 1` | the instance is coherent from now on, or not |
//! | `Q` | all tasks have ended, after the command `stop` |
//! | `V compared repaired` | what `verify` found, after the command `verify` |

use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytecache::Remaining;
use bytecache_redis::{Remote, Tiered, Verified};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::judge::KEYS;
use super::{COMMAND_TIMEOUT, INSTANCE, MARKING, MAX_STALENESS, NAMESPACE, load_limit, pause, rand, rand_key};
use crate::support::{LIMIT, connected, remote, tracked, until};

/// The connection to the judge: it has the store, and the clock.
struct Judge(tokio::sync::Mutex<BufReader<TcpStream>>);

impl Judge {
    async fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the judge listens");
        stream.set_nodelay(true).expect("the connection is open");
        Self(tokio::sync::Mutex::new(BufReader::new(stream)))
    }

    /// Sends a question, and returns the number in its answer. Runs as a task, so that a caller
    /// that gives up does not take another one's answer.
    async fn ask(self: &Arc<Self>, question: String) -> u64 {
        let judge = Arc::clone(self);
        let asking = tokio::spawn(async move {
            let mut stream = judge.0.lock().await;
            stream.write_all(question.as_bytes()).await.expect("the judge listens");
            let mut answer = String::new();
            stream.read_line(&mut answer).await.expect("the judge answers");
            answer.trim().parse().expect("the answer is a number")
        });
        asking.await.expect("the judge answers")
    }
}

/// A clock that shows the judge's time. It is late by less than a round trip.
#[derive(Clone, Copy)]
struct Clock {
    base: Instant,
    offset: u64,
}

impl Clock {
    async fn of(judge: &Arc<Judge>) -> Self {
        let offset = judge.ask("T\n".to_string()).await;
        Self { base: Instant::now(), offset }
    }

    fn now(&self) -> u64 {
        self.offset + u64::try_from(self.base.elapsed().as_nanos()).expect("the test does not take years")
    }
}

/// The records that have not yet been written.
#[derive(Default)]
struct Records {
    lines: String,
    /// In nanoseconds.
    longest_load: u64,
}

impl Records {
    fn push(&mut self, line: &str) {
        self.lines.push_str(line);
        self.lines.push('\n');
    }

    /// Records a load before its value is returned, and so before the reads that get the value.
    fn push_load(&mut self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).expect("it does not take years");
        if took > self.longest_load {
            self.longest_load = took;
            self.push(&format!("L {took}"));
        }
    }
}

/// The records of an instance, which its tasks share.
type SharedRecords = Arc<Mutex<Records>>;

fn lock(records: &SharedRecords) -> MutexGuard<'_, Records> {
    records.lock().expect("no task panics with it")
}

/// The state that the tasks of the instance share.
struct Instance {
    number: usize,
    judge: Arc<Judge>,
    clock: Clock,
    tiered: Tiered,
    remote: Remote,
    records: SharedRecords,
    is_over: AtomicBool,
}

impl Instance {
    fn record(&self, line: &str) {
        lock(&self.records).push(line);
    }

    fn flush(&self) {
        let lines = std::mem::take(&mut lock(&self.records).lines);
        let mut output = std::io::stdout().lock();
        let written = output.write_all(lines.as_bytes()).and_then(|()| output.flush());
        written.expect("the checker reads the records");
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Reads a number under a key, and records it. Returns `false` if the read failed.
    async fn read(&self, key: &str) -> bool {
        let began = self.clock.now();
        let value = self.tiered.get(key).await;
        let ended = self.clock.now();
        let number = match &value {
            Ok(Some(value)) => std::str::from_utf8(value).ok().and_then(|digits| digits.parse::<u64>().ok()),
            _ => None,
        };
        let Some(number) = number else { return false };
        self.record(&format!("R {began} {ended} {key} {number}"));
        true
    }

    /// Reads a key, and records it also if the read failed.
    async fn read_key(&self, key: usize) {
        if !self.read(&key.to_string()).await {
            self.record("F");
        }
    }

    async fn read_all(self: Arc<Self>) {
        while !self.is_over() {
            if rand(4) == 0 {
                let writer = MARKING.start + usize::try_from(rand(MARKING.len() as u64)).expect("it is small");
                // A marker that no tier has is no fault.
                self.read(&format!("m{writer}")).await;
            }
            self.read_key(rand_key(None)).await;
            tokio::time::sleep(Duration::from_micros(rand(600))).await;
        }
    }

    /// Changes the keys of this instance's own.
    async fn write(self: Arc<Self>) {
        while !self.is_over() {
            let key = rand_key(Some(self.number));
            let answer = self.judge.ask(format!("C {} {key}\n", self.number)).await;
            let (version, may_insert) = (answer / 2, answer % 2 == 1);
            let name = key.to_string();
            let mut written = match rand(20) {
                0 => self.tiered.invalidate_all().await,
                // All writes of a key are this task's, so inserts need no order.
                1..10 if may_insert => self.tiered.insert(&name, version.to_string()).await,
                _ => self.tiered.remove(&name).await,
            };
            // A failed write is repeated as a removal, which leaves the other local entries.
            while written.is_err() {
                if self.is_over() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
                written = self.tiered.remove(&name).await;
            }
            self.judge.ask(format!("W {key} {version}\n")).await;
            if rand(2) == 0 {
                self.read_key(key).await;
            }
            tokio::time::sleep(pause()).await;
        }
    }

    /// Records connections, and whether the instance is coherent. Passes the records on.
    async fn watch(self: Arc<Self>) {
        let (mut connections, mut was_coherent) = (0, false);
        while !self.is_over() {
            let stats = self.remote.stats();
            if stats.connections != connections {
                connections = stats.connections;
                self.record(&format!("N {} {connections}", self.clock.now()));
            }
            let is_coherent = stats.is_connected && self.tiered.is_tracked();
            if is_coherent != was_coherent {
                was_coherent = is_coherent;
                self.record(&format!("S {} {}", self.clock.now(), u8::from(is_coherent)));
            }
            self.flush();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Reads all keys, and compares the local entries with Redis. Nothing changes any longer.
    async fn verify(&self) -> Verified {
        let local = self.tiered.local();
        // On a slow machine, an answer of Redis may be late.
        loop {
            let is_coherent = || self.remote.is_connected() && self.tiered.is_tracked();
            until("the instance is coherent", is_coherent).await;
            for key in 0..KEYS {
                self.tiered.get(key.to_string()).await.expect("it is loaded");
            }
            let is_short =
                |key: usize| matches!(local.ttl(key.to_string()), Some(Remaining::For(left)) if left <= MAX_STALENESS);
            until("values that Redis could not take have left", || !(0..KEYS).any(is_short)).await;
            if let Ok(verified) = self.tiered.verify(usize::MAX).await
                && verified.compared > 0
            {
                return verified;
            }
        }
    }
}

/// Opens the instance. Loads take a random time of up to 2 ms.
async fn open(number: usize, redis_port: u16, judge_port: u16) -> Arc<Instance> {
    let judge = Arc::new(Judge::connect(judge_port).await);
    let clock = Clock::of(&judge).await;
    let (cache, remote) =
        connected(remote(redis_port).max_staleness(MAX_STALENESS).command_timeout(COMMAND_TIMEOUT)).await;
    let records = SharedRecords::default();
    let (store, loads) = (Arc::clone(&judge), Arc::clone(&records));
    let load = move |key: Arc<[u8]>| {
        let (store, loads) = (Arc::clone(&store), Arc::clone(&loads));
        async move {
            let key: Option<usize> = std::str::from_utf8(&key).ok().and_then(|key| key.parse().ok());
            let Some(key) = key.filter(|&key| key < KEYS) else { return Ok(None) };
            let began = Instant::now();
            let version = store.ask(format!("G {key}\n")).await;
            tokio::time::sleep(Duration::from_micros(rand(2_000))).await;
            lock(&loads).push_load(began.elapsed());
            Ok::<_, std::io::Error>(Some(version.to_string().into_bytes()))
        }
    };
    let builder = Tiered::builder(&cache, &remote, NAMESPACE).reload_jitter(Duration::from_millis(1));
    let tiered = tracked(builder.load_limit(load_limit()).build(load).expect("the options are valid")).await;
    let is_over = AtomicBool::new(false);
    Arc::new(Instance { number, judge, clock, tiered, remote, records, is_over })
}

/// Runs the instance that [`INSTANCE`] describes. Without it, this is not an instance.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn process_of_the_checker() {
    let Ok(description) = std::env::var(INSTANCE) else { return };
    let numbers: Vec<u16> = description.split(' ').map(|number| number.parse().expect("a number")).collect();
    let [number, redis_port, judge_port] = numbers[..] else { panic!("three numbers") };
    let instance = open(usize::from(number), redis_port, judge_port).await;

    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&instance).read_all());
    tasks.spawn(Arc::clone(&instance).read_all());
    tasks.spawn(Arc::clone(&instance).write());
    tasks.spawn(Arc::clone(&instance).watch());
    // Blocks a thread, and ends also if the checker has died.
    let command = || tokio::task::spawn_blocking(|| std::io::stdin().lock().lines().next());
    let _ = command().await;
    instance.is_over.store(true, Ordering::SeqCst);
    tokio::time::timeout(2 * LIMIT, tasks.join_all()).await.expect("all tasks end");
    instance.record("Q");
    instance.flush();

    let _ = command().await;
    let verified = tokio::time::timeout(2 * LIMIT, instance.verify()).await.expect("it ends");
    instance.record(&format!("V {} {}", verified.compared, verified.repaired));
    instance.flush();
}
