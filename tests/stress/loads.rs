//! Loads under contention. The values of a store have versions, and no read after an invalidation
//! returns an older version. Tasks are polled, dropped and woken in any order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Batch, Cache, LoadError, Loaded, ManualClock, Value};

use crate::support::{Gate, Hand, alone, block_on, random, until};

const KEYS: usize = 8;

/// The store behind the cache. Versions only grow.
#[derive(Default)]
struct Store {
    versions: [AtomicU64; KEYS],
    /// The latest version of each key that an invalidation has followed.
    settled: [AtomicU64; KEYS],
}

impl Store {
    fn read(&self, key: usize) -> u64 {
        let version = self.versions[key].load(Ordering::SeqCst);
        thread::yield_now(); // The version may become outdated on its way to the cache.
        version
    }

    /// Returns the oldest version that a read which begins after this call may return.
    fn settled(&self, key: usize) -> u64 {
        self.settled[key].load(Ordering::SeqCst)
    }

    /// Writes a new version, and then invalidates the key in the cache, in one of many ways.
    fn change(&self, cache: &Cache, key: usize, way: usize) {
        let version = self.versions[key].fetch_add(1, Ordering::SeqCst) + 1;
        let name = name(key);
        match way % 8 {
            0 if !is_nothing(version) => cache.insert(name, entry(version)).unwrap(),
            0 | 1 => drop(cache.remove(name)),
            2 => drop(cache.take(name)),
            3 => cache.clear(),
            4 => cache.retain(|_, _| false),
            5 => {
                cache.insert_with_ttl(name, entry(version), Duration::ZERO).unwrap();
                cache.remove(name); // Otherwise it could be served stale.
            }
            // A declined replacement also means that older values are invalid, so loads in progress
            // must not be stored.
            6 if !is_nothing(version) => drop(cache.replace(name, entry(version)).unwrap()),
            _ => cache.retain(|key, _| key != name),
        }
        self.settled[key].fetch_max(version, Ordering::SeqCst);
    }

    /// Checks the answer of a call that began when `settled` was the settled version.
    #[track_caller]
    fn check(&self, key: usize, answer: Result<Value, LoadError<String>>, settled: u64) {
        match answer {
            Ok(value) => assert!(version_of(&value) >= settled, "{} was read after {settled}", version_of(&value)),
            Err(LoadError::Absent) => {
                let latest = self.versions[key].load(Ordering::SeqCst);
                let was_nothing = (settled..=latest).any(is_nothing);
                assert!(was_nothing, "no value was found after version {settled}, and {latest} is the latest");
            }
            Err(LoadError::Failed(_) | LoadError::RecentFailure | LoadError::Panicked) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// Returns `true` for versions in which a key has no value.
fn is_nothing(version: u64) -> bool {
    version % 4 == 3
}

fn name(key: usize) -> [u8; 1] {
    [key.try_into().unwrap()]
}

/// Returns a version as a value, whose length depends on the version.
fn entry(version: u64) -> Vec<u8> {
    version.to_le_bytes().repeat(1 + (version % 5) as usize)
}

fn version_of(value: &[u8]) -> u64 {
    let mut words = value.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
    let version = words.next().unwrap();
    assert!(words.all(|word| word == version), "a torn value");
    version
}

fn run(cache: &Cache, steps: usize) {
    let store = Arc::new(Store::default());
    // The load returns the stored version, fails, or panics.
    let load = {
        let store = Arc::clone(&store);
        move |key: usize, chance: usize| match chance % 16 {
            0 => Err("down".to_string()),
            1 => panic!("the loader does"),
            _ => Ok(match store.read(key) {
                version if is_nothing(version) => Loaded::AbsentFor(Duration::from_secs(60)),
                version => Loaded::Value(entry(version)),
            }),
        }
    };
    let tick = Duration::from_millis(16);
    let rules = cache.loader().ttl(3 * tick).refresh_after(tick).stale_for(10 * tick).error_ttl(tick);
    let loader = {
        let (load, count) = (load.clone(), AtomicUsize::new(0));
        rules.clone().build(move |key| load(key[0].into(), count.fetch_add(1, Ordering::Relaxed))).unwrap()
    };
    let load_many = {
        let (load, count) = (load.clone(), Arc::new(AtomicUsize::new(0)));
        move |keys: Vec<Arc<[u8]>>| {
            let (load, chance) = (load.clone(), count.fetch_add(1, Ordering::Relaxed));
            async move {
                let each = |key: &Arc<[u8]>| load(key[0].into(), chance).map(Some);
                keys.iter().map(each).collect::<Result<Vec<_>, _>>()
            }
        }
    };
    let batch = Batch::up_to(3).in_flight(2);
    let batched = rules.clone().build_batched_async(batch, load_many.clone()).unwrap();
    let spawning = rules.spawner(|task| drop(thread::spawn(|| block_on(task))));
    let spawning = spawning.build_batched_async(batch, load_many).unwrap();
    thread::scope(|scope| {
        for seed in 0..4_usize {
            let (store, load, loader, batched, spawning) = (&store, &load, &loader, &batched, &spawning);
            scope.spawn(move || {
                let mut state = seed as u64;
                for _ in 0..steps {
                    let (key, way, chance) = (random(&mut state) % KEYS, random(&mut state), random(&mut state));
                    if chance % 5 == 0 {
                        // Each key is changed by one thread alone. Two threads could insert in
                        // another order than they write to the store.
                        store.change(cache, key / 4 * 4 + seed, way);
                        continue;
                    }
                    let settled = store.settled(key);
                    let call = || match way % 8 {
                        0 => Some(cache.get_or_load(name(key), || load(key, chance))),
                        1 => Some(block_on(cache.get_or_load_async(name(key), async || load(key, chance)))),
                        2 => {
                            let many = cache.get_or_load_many(&[name(key), name((key + 1) % KEYS)], |missing| {
                                let load = |key: &&[u8; 1]| load(key[0].into(), chance).map(Some);
                                missing.iter().map(load).collect::<Result<Vec<_>, _>>()
                            });
                            Some(many.and_then(|mut values| values.swap_remove(0).ok_or(LoadError::Absent)))
                        }
                        3 => Some(loader.get(name(key))),
                        4 => loader.get_many(&[name((key + 1) % KEYS), name(key)]).pop(),
                        5 => Some(block_on(batched.get_async(name(key)))),
                        6 => {
                            let many = [name((key + 1) % KEYS), name((key + 2) % KEYS), name(key)];
                            block_on(spawning.get_many_async(&many)).pop()
                        }
                        _ => cache.get(name(key)).map(Ok),
                    };
                    if let Ok(Some(answer)) = catch_unwind(AssertUnwindSafe(call)) {
                        store.check(key, answer, settled);
                    }
                }
            });
        }
    });
    // Spawned loads may go on.
    until(|| cache.memory().flights == 0);
    assert_eq!(cache.loads_under_way(), (0, 0));
    cache.validate();
}

#[test]
fn no_read_that_follows_an_invalidation_is_of_an_older_version() {
    let _alone = alone();
    std::panic::set_hook(Box::new(|panic| {
        if panic.payload().downcast_ref() != Some(&"the loader does") {
            eprintln!("{panic}");
        }
    }));
    let cache = Cache::builder().max_bytes(256 << 10).shards(2).build().unwrap();
    run(&cache, 30_000);
    let stats = cache.stats();
    assert!(stats.discarded_loads > 100 && stats.followers > 100 && stats.load_failures > 100, "{stats:?}");
    let cache = Cache::builder().max_bytes(256 << 10).shards(1).on_removal(|_, _, _| {}).build().unwrap();
    run(&cache, 10_000);
}

type Loading = Pin<Box<dyn Future<Output = Result<Vec<Option<Vec<u8>>>, String>> + Send>>;

/// A cache with a loader whose loads wait at gates.
struct Gated {
    cache: Cache,
    clock: ManualClock,
    gates: Arc<std::sync::Mutex<Vec<Gate>>>,
    running: Arc<[AtomicUsize; KEYS]>,
    epochs: Arc<[AtomicUsize; KEYS]>,
}

/// A guard that counts a running load of a key.
struct Running(Arc<[AtomicUsize; KEYS]>, usize);

impl Drop for Running {
    fn drop(&mut self) {
        self.0[self.1].fetch_sub(1, Ordering::Relaxed);
    }
}

impl Gated {
    fn new() -> Self {
        let clock = ManualClock::new();
        let cache = Cache::builder().max_bytes(1 << 20).shards(1).clock(clock.clone()).build().unwrap();
        Self { cache, clock, gates: Arc::default(), running: Arc::default(), epochs: Arc::default() }
    }

    /// Returns a function that loads keys.
    fn load(&self) -> impl Fn(Vec<Arc<[u8]>>) -> Loading + Clone + Send + Sync + use<> {
        let (gates, running, epochs) = (Arc::clone(&self.gates), Arc::clone(&self.running), Arc::clone(&self.epochs));
        move |keys| {
            let (gates, running, epochs) = (Arc::clone(&gates), Arc::clone(&running), Arc::clone(&epochs));
            Box::pin(async move {
                let begin = |key: &Arc<[u8]>| {
                    let key = usize::from(key[0]);
                    running[key].fetch_add(1, Ordering::Relaxed);
                    (epochs[key].load(Ordering::Relaxed) as u64, Running(Arc::clone(&running), key))
                };
                let running: Vec<_> = keys.iter().map(begin).collect();
                let gate = Gate::new();
                gates.lock().unwrap().push(gate.clone());
                gate.await;
                let value = |(epoch, _running): &(u64, Running)| match epoch % 7 {
                    3 => Err("down".to_string()),
                    4 => panic!("the loader does"),
                    _ => Ok(Some(entry(*epoch))),
                };
                running.iter().map(value).collect()
            })
        }
    }

    /// Returns a function that begins a call for a key, and the tasks that its loader spawns.
    fn loader(&self, kind: Kind) -> (Box<dyn Fn(usize) -> Task>, Spawned) {
        let spawned = Spawned::default();
        let tasks = Arc::clone(&spawned);
        let builder = self.cache.loader().refresh_after(Duration::from_secs(10));
        let builder = match kind {
            Kind::InPlace | Kind::BatchInPlace => builder,
            Kind::Spawned | Kind::BatchSpawned => builder.spawner(move |task| {
                tasks.lock().unwrap().push(Hand::new(async {
                    task.await;
                    None
                }));
            }),
        };
        let (load, batch) = (self.load(), Batch::up_to(3).in_flight(2));
        let begin: Box<dyn Fn(usize) -> Task> = match kind {
            Kind::InPlace | Kind::Spawned => {
                let load = move |key| {
                    let loading = load(vec![key]);
                    async { Ok::<_, String>(Loaded::from(loading.await?.swap_remove(0))) }
                };
                let loader = builder.build_async(load).unwrap();
                Box::new(move |key| {
                    let loader = loader.clone();
                    Hand::new(async move { Some(loader.get_async(name(key)).await) })
                })
            }
            Kind::BatchInPlace | Kind::BatchSpawned => {
                let loader = builder.build_batched_async(batch, load).unwrap();
                Box::new(move |key| {
                    let loader = loader.clone();
                    Hand::new(async move {
                        match key % 2 {
                            0 => Some(loader.get_async(name(key)).await),
                            _ => loader.get_many_async(&[name((key + 1) % KEYS), name(key)]).await.pop(),
                        }
                    })
                })
            }
        };
        (begin, spawned)
    }
}

/// The place where loads run.
#[derive(Clone, Copy, Debug)]
enum Kind {
    InPlace,
    Spawned,
    BatchInPlace,
    BatchSpawned,
}

/// A call, or a spawned load, which has no answer.
type Task = Hand<'static, Option<Result<Value, LoadError<String>>>>;

type Spawned = Arc<std::sync::Mutex<Vec<Task>>>;

/// A task, and the epoch of its key when it began.
struct Asking {
    task: Task,
    epoch: u64,
    /// Number of wakes before the last poll, or `None` if it was never polled.
    seen_wakes: Option<usize>,
}

impl Asking {
    fn can_go_on(&self) -> bool {
        self.seen_wakes.is_none_or(|seen| self.task.wakes() > seen)
    }
}

#[test]
fn tasks_that_are_polled_dropped_and_woken_in_any_order_get_what_is_right_and_leave_nothing() {
    let _alone = alone();
    let kinds = [Kind::InPlace, Kind::Spawned, Kind::BatchInPlace, Kind::BatchSpawned];
    for (seed, kind) in (0..150).flat_map(|seed| kinds.map(|kind| (seed, kind))) {
        let mut state = seed;
        let gated = Gated::new();
        let (begin, spawned) = gated.loader(kind);
        let mut asking: Vec<Asking> = Vec::new();
        let take_spawned = |asking: &mut Vec<Asking>| {
            let tasks = spawned.lock().unwrap().split_off(0);
            asking.extend(tasks.into_iter().map(|task| Asking { task, epoch: 0, seen_wakes: None }));
        };
        for _ in 0..400 {
            let chance = random(&mut state);
            let pick = random(&mut state) % asking.len().max(1);
            match chance % 10 {
                0..3 => {
                    let key = random(&mut state) % KEYS;
                    let epoch = gated.epochs[key].load(Ordering::Relaxed) as u64;
                    asking.push(Asking { task: begin(key), epoch, seen_wakes: None });
                }
                // Some tasks are never polled, and some are polled without having been woken.
                3..6 if !asking.is_empty() => poll_one(&mut asking, pick),
                6 if !asking.is_empty() => drop(asking.swap_remove(pick)),
                7 => {
                    let mut gates = gated.gates.lock().unwrap();
                    if !gates.is_empty() {
                        let gate = random(&mut state) % gates.len();
                        gates.swap_remove(gate).open();
                    }
                }
                8 => {
                    let key = random(&mut state) % KEYS;
                    gated.epochs[key].fetch_add(1, Ordering::Relaxed);
                    gated.cache.remove(name(key));
                }
                _ => gated.clock.advance(Duration::from_secs(1)),
            }
            take_spawned(&mut asking);
        }
        // All gates are opened. Every task that was woken ends, and then no task is left.
        let mut rounds = 0;
        while !asking.is_empty() {
            gated.gates.lock().unwrap().drain(..).for_each(|gate| gate.open());
            let at = asking.iter().position(Asking::can_go_on);
            let at = at.unwrap_or_else(|| panic!("no task can go on: {kind:?}, seed {seed}"));
            poll_one(&mut asking, at);
            take_spawned(&mut asking);
            rounds += 1;
            assert!(rounds < 100_000, "the tasks wait for each other");
        }
        assert!(gated.running.iter().all(|running| running.load(Ordering::Relaxed) == 0));
        assert_eq!(gated.cache.loads_under_way(), (0, 0));
        assert_eq!(gated.cache.memory().flights, 0);
        gated.cache.validate();
    }
}

fn poll_one(asking: &mut Vec<Asking>, at: usize) {
    let Asking { task, epoch, seen_wakes } = &mut asking[at];
    *seen_wakes = Some(task.wakes());
    match catch_unwind(AssertUnwindSafe(|| task.poll())) {
        Ok(Poll::Pending) => return,
        Ok(Poll::Ready(Some(Ok(value)))) => assert!(version_of(&value) >= *epoch),
        Ok(Poll::Ready(Some(Err(LoadError::Failed(_) | LoadError::Panicked)) | None)) => {}
        Ok(Poll::Ready(Some(Err(other)))) => panic!("{other:?}"),
        Err(_) => {}
    }
    asking.swap_remove(at);
}

#[test]
fn of_tasks_on_a_runtime_that_ask_for_few_keys_each_key_is_loaded_once_for_each_invalidation() {
    let _alone = alone();
    const TASKS: usize = 2_000;
    let cache = Cache::builder().max_bytes(16 << 20).build().unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let (cache, loads) = (cache.clone(), Arc::clone(&loads));
                tokio::spawn(async move {
                    let load = async || {
                        loads.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        Ok::<_, String>(entry(7))
                    };
                    cache.get_or_load_async(name(task % KEYS), load).await.unwrap()
                })
            })
            .collect();
        for task in tasks {
            assert_eq!(version_of(&task.await.unwrap()), 7);
        }
    });
    assert_eq!(loads.load(Ordering::Relaxed), KEYS);
    assert_eq!(cache.loads_under_way(), (0, 0));
}
