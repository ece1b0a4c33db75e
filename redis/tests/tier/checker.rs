//! A checker: values are versions, so a read that returns an older one than it may is found.
//!
//! Writers change the version of a key in the store, then tell Redis, and repeat that until it has
//! succeeded. A version is *confirmed* from then on. Readers of several instances check two rules:
//!
//! 1. A read returns no version older than the one that was confirmed `max_staleness` before it
//!    began.
//! 2. Foreign writers store a *marker* after their values, over the same connection. An instance
//!    that has read a marker never returns a version from before it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytecache_redis::{Remote, Tiered};
use tokio::task::JoinSet;

use crate::proxy::Proxy;
use crate::support::{Foreign, LIMIT, Server, connected, remote, tracked, until};

const MAX_STALENESS: Duration = Duration::from_millis(500);
const KEYS: usize = 8;
const MARKER: &str = "marker";

/// The versions in the store, and those that are confirmed.
#[derive(Default)]
struct World {
    stored: [AtomicU64; KEYS],
    confirmed: [Mutex<Vec<(Instant, u64)>>; KEYS],
    /// The confirmed versions before each marker.
    markers: Mutex<Vec<[u64; KEYS]>>,
    is_over: AtomicBool,
    served: AtomicU64,
    /// Reads that returned a version older than the confirmed one, within the bound.
    stale_in_bound: AtomicU64,
    beyond_bound: AtomicU64,
    behind_marker: AtomicU64,
    markers_seen: AtomicU64,
    failed: AtomicU64,
    written: AtomicU64,
}

impl World {
    /// Returns the version that was confirmed last before a moment.
    fn confirmed(&self, key: usize, before: Instant) -> u64 {
        let history = self.confirmed[key].lock().expect("no test panics with it");
        history.iter().rev().find(|(at, _)| *at <= before).map_or(0, |&(_, version)| version)
    }

    fn confirm(&self, key: usize, version: u64) {
        let mut history = self.confirmed[key].lock().expect("no test panics with it");
        history.push((Instant::now(), version));
        self.written.fetch_add(1, Ordering::SeqCst);
    }

    /// Changes a key in the store, and returns its version.
    fn change(&self, key: usize) -> u64 {
        self.stored[key].fetch_add(1, Ordering::SeqCst) + 1
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    fn count(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }

    fn report(&self, name: &str) {
        let count = Self::count;
        println!(
            "{name}: {} reads, {} failed; {} writes; {} reads older than confirmed, {} of them beyond the bound; \
             {} markers seen, {} reads behind them",
            count(&self.served),
            count(&self.failed),
            count(&self.written),
            count(&self.stale_in_bound) + count(&self.beyond_bound),
            count(&self.beyond_bound),
            count(&self.markers_seen),
            count(&self.behind_marker),
        );
        assert_eq!(count(&self.beyond_bound), 0, "no read is older than the bound");
        assert_eq!(count(&self.behind_marker), 0, "no read is older than a marker that was seen");
        assert_eq!(count(&self.failed), 0, "every read is served");
        assert!(count(&self.served) > 0 && count(&self.written) > 0);
    }

    /// Waits for as many more reads.
    async fn more_reads(&self, reads: u64) {
        let goal = Self::count(&self.served) + reads;
        until("reads go on", || Self::count(&self.served) >= goal).await;
    }
}

/// Opens an instance whose loads take a random time.
async fn instance(world: &Arc<World>, port: u16) -> (Tiered, Remote) {
    let builder = remote(port).max_staleness(MAX_STALENESS).command_timeout(Duration::from_millis(200));
    let (cache, remote) = connected(builder).await;
    let world = Arc::clone(world);
    let load = move |key: Arc<[u8]>| {
        let world = Arc::clone(&world);
        async move {
            let key: Option<usize> = std::str::from_utf8(&key).ok().and_then(|key| key.parse().ok());
            let version = key.map(|key| World::count(&world.stored[key]));
            tokio::time::sleep(Duration::from_micros(rand(2_000))).await;
            Ok::<_, std::io::Error>(version.map(|version| version.to_string().into_bytes()))
        }
    };
    let builder = Tiered::builder(&cache, &remote, "checked").reload_jitter(Duration::from_millis(1));
    let tiered = builder.load_limit(Duration::from_secs(5)).build(load).expect("the options are valid");
    (tracked(tiered).await, remote)
}

fn rand(below: u64) -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) % below
}

fn rand_key() -> usize {
    usize::try_from(rand(KEYS as u64)).expect("it is below the number of keys")
}

async fn version(tiered: &Tiered, key: &str) -> Option<u64> {
    let value = tiered.get(key).await.ok()??;
    std::str::from_utf8(&value).ok()?.parse().ok()
}

async fn read(world: Arc<World>, tiered: Tiered) {
    let mut floors = [0; KEYS];
    while !world.is_over() {
        if rand(4) == 0
            && let Some(marker) = version(&tiered, MARKER).await
        {
            let markers = world.markers.lock().expect("no test panics with it");
            let index = usize::try_from(marker).expect("it is an index");
            world.markers_seen.fetch_add(1, Ordering::SeqCst);
            floors.iter_mut().zip(markers[index]).for_each(|(floor, seen)| *floor = seen.max(*floor));
        }
        let key = rand_key();
        let began = Instant::now();
        let Some(found) = version(&tiered, &key.to_string()).await else {
            world.failed.fetch_add(1, Ordering::SeqCst);
            continue;
        };
        world.served.fetch_add(1, Ordering::SeqCst);
        if found < floors[key] {
            world.behind_marker.fetch_add(1, Ordering::SeqCst);
        }
        let bound = began.checked_sub(MAX_STALENESS).expect("the machine runs for longer");
        if found < world.confirmed(key, bound) {
            world.beyond_bound.fetch_add(1, Ordering::SeqCst);
        } else if found < world.confirmed(key, began) {
            world.stale_in_bound.fetch_add(1, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_micros(rand(300))).await;
    }
}

/// Changes the keys that leave `rest` by two, through an instance.
async fn write(world: Arc<World>, tiered: Tiered, rest: usize, also_inserts: bool) {
    while !world.is_over() {
        let key = rand_key() / 2 * 2 + rest;
        let version = world.change(key);
        let name = key.to_string();
        loop {
            let written = match also_inserts && rand(2) == 0 {
                true => tiered.insert(&name, version.to_string()).await,
                false if rand(20) == 0 => tiered.invalidate_all().await,
                false => tiered.remove(&name).await,
            };
            if written.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            if world.is_over() {
                return;
            }
        }
        world.confirm(key, version);
        tokio::time::sleep(Duration::from_micros(rand(4_000))).await;
    }
}

/// Changes the keys that leave `rest` by two, as a client that knows nothing of bytecache. Then
/// stores a marker over the same connection.
fn write_as_foreign(world: &World, foreign: &mut Foreign, rest: usize) {
    while !world.is_over() {
        let key = rand_key() / 2 * 2 + rest;
        let version = world.change(key);
        let generation = foreign.get("checked:generation").unwrap_or_else(|| "0".to_string());
        foreign.set(&format!("checked:{generation}:{key}"), &version.to_string());
        world.confirm(key, version);
        let marker = {
            let mut markers = world.markers.lock().expect("no test panics with it");
            // The writer of the other keys may not have told Redis yet: only own keys count.
            let mut seen = [0; KEYS];
            for own in (rest..KEYS).step_by(2) {
                seen[own] = world.confirmed(own, Instant::now());
            }
            markers.push(seen);
            markers.len() - 1
        };
        foreign.set(&format!("checked:{generation}:{MARKER}"), &marker.to_string());
        std::thread::sleep(Duration::from_micros(rand(4_000)));
    }
}

/// Starts two readers of each instance.
fn start_readers(world: &Arc<World>, instances: &[Tiered]) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for tiered in instances.iter().chain(instances) {
        tasks.spawn(read(Arc::clone(world), tiered.clone()));
    }
    tasks
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_are_coherent_while_everything_works() {
    let Some(server) = Server::start() else { return };
    let world = Arc::new(World::default());
    let mut instances = vec![];
    for _ in 0..3 {
        instances.push(instance(&world, server.port).await.0);
    }
    let mut tasks = start_readers(&world, &instances);
    tasks.spawn(write(Arc::clone(&world), instances[0].clone(), 0, true));
    let (foreign_world, mut foreign) = (Arc::clone(&world), server.foreign());
    tasks.spawn_blocking(move || write_as_foreign(&foreign_world, &mut foreign, 1));
    world.more_reads(20_000).await;
    world.end();
    while let Some(task) = tasks.join_next().await {
        task.expect("it ends");
    }
    for tiered in &instances {
        assert_eq!(tiered.verify(usize::MAX).await.expect("Redis answers").repaired, 0);
    }
    world.report("everything works");
    assert!(World::count(&world.markers_seen) > 0);
}

/// One instance behind a proxy, another one without, and a foreign writer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staleness_stays_in_its_bound_while_connections_break() {
    let Some(server) = Server::start() else { return };
    let proxy = Proxy::to(server.port).await;
    let world = Arc::new(World::default());
    let (broken, remote) = instance(&world, proxy.port).await;
    let (healthy, _other) = instance(&world, server.port).await;
    let mut tasks = start_readers(&world, &[broken.clone(), healthy.clone()]);
    tasks.spawn(write(Arc::clone(&world), healthy, 0, false));
    let (foreign_world, mut foreign) = (Arc::clone(&world), server.foreign());
    tasks.spawn_blocking(move || write_as_foreign(&foreign_world, &mut foreign, 1));

    for round in 0..10 {
        world.more_reads(500).await;
        match round % 5 {
            0 => proxy.silence(true),
            1 => proxy.half_cut(),
            2 => proxy.delay(Duration::from_millis(rand(100))),
            3 => proxy.delay(MAX_STALENESS),
            _ => {
                proxy.set_down(true);
                proxy.cut();
            }
        }
        if matches!(round % 5, 0 | 3 | 4) {
            until("the loss is noticed", || !broken.is_tracked()).await;
        }
        world.more_reads(500).await;
        let healed = Instant::now();
        proxy.silence(false);
        proxy.set_down(false);
        proxy.delay(Duration::ZERO);
        until("it is coherent again", || broken.is_tracked() && remote.is_connected()).await;
        println!("coherent {:?} after the connection was healed", healed.elapsed());
    }
    world.end();
    while let Some(task) = tasks.join_next().await {
        task.expect("it ends");
    }
    world.report("connections break");
}

/// The server is killed, stopped and filled up while reads and writes go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn staleness_stays_in_its_bound_while_the_server_fails() {
    let Some(mut server) = Server::start() else { return };
    let world = Arc::new(World::default());
    let (first, remote) = instance(&world, server.port).await;
    let (second, other) = instance(&world, server.port).await;
    let mut tasks = start_readers(&world, &[first.clone(), second.clone()]);
    tasks.spawn(write(Arc::clone(&world), first.clone(), 0, false));
    tasks.spawn(write(Arc::clone(&world), second.clone(), 1, false));

    for round in 0..6 {
        world.more_reads(500).await;
        let healed = match round % 3 {
            0 => {
                server.kill();
                until("the loss is noticed", || !first.is_tracked() && !second.is_tracked()).await;
                world.more_reads(500).await;
                server.restart();
                Instant::now()
            }
            1 => {
                server.signal("STOP");
                until("the loss is noticed", || !first.is_tracked() && !second.is_tracked()).await;
                let stopped = Instant::now();
                let pause = if round == 1 { Duration::from_secs(10) } else { 2 * MAX_STALENESS };
                while stopped.elapsed() < pause {
                    world.more_reads(100).await;
                }
                server.signal("CONT");
                Instant::now()
            }
            _ => {
                let mut foreign = server.foreign();
                foreign.ask::<String>(&["CONFIG", "SET", "maxmemory", "1"]);
                world.more_reads(500).await;
                foreign.ask::<String>(&["CONFIG", "SET", "maxmemory", "0"]);
                Instant::now()
            }
        };
        until("both are coherent again", || {
            first.is_tracked() && second.is_tracked() && remote.is_connected() && other.is_connected()
        })
        .await;
        println!("coherent {:?} after the server was healed", healed.elapsed());
    }
    let written = World::count(&world.written);
    until("writes go on", || World::count(&world.written) > written + 20).await;
    world.end();
    let ending = async {
        while let Some(task) = tasks.join_next().await {
            task.expect("it ends");
        }
    };
    tokio::time::timeout(LIMIT, ending).await.expect("all tasks end");
    world.report("the server fails");
}
