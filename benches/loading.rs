//! The costs of loading: `cargo bench --bench loading`.
//!
//! | row | operation, in ns |
//! |---|---|
//! | get | read a present entry, as a held value |
//! | get_or_load | the same, by a call that would load it |
//! | loader | the same, by a `Loader` with a refresh age and a time to live |
//! | loader, early | the same, with early refreshes |
//! | negative | ask a loader for a key with a negative entry |
//! | insert | store a value under a new key |
//! | load | load a value, by a loader that returns at once |
//! | load of 16 | the same, with sixteen keys in a call, for each key |
//! | load, async | like `load`, by a future that is ready at once |
//! | batch of 256 | the same, by a loader of many keys, for each key |
//!
//! The hits are on 2,000 entries, which are in the processor's caches. All rows run in turn, round
//! after round. Each number is the median of the rounds. Each ratio is the median of ratios within
//! rounds. The filling of the caches is not measured.
//!
//! A second table has cold reads of a source with two connections. A query keeps a connection for
//! 100 us, and the sleep of its thread adds some more. 256 tasks read, each one key after the
//! other:
//!
//! | row | the load of a key |
//! |---|---|
//! | by hand | one query, by `get_or_load_async` |
//! | batched | `Batch::up_to(256).in_flight(2)`, as tasks of a spawner |
//! | batched, in calls | the same without a spawner |

use std::convert::Infallible;
use std::future::poll_fn;
use std::hint::black_box;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use bytecache::{Batch, Cache, LoadError, Loaded, Value};

const HOUR: Duration = Duration::from_secs(3600);
const KEY_BYTES: usize = 24;
const VALUE: [u8; 104] = [0x5a; 104];

type Key = [u8; KEY_BYTES];
type Answer = Result<Value, LoadError<Infallible>>;

/// The amount of work to measure.
struct Size {
    entries: usize,
    operations: usize,
    rounds: usize,
    /// Cold reads of the source.
    cold: usize,
}

const FULL: Size = Size { entries: 2_000, operations: 400_000, rounds: 21, cold: 20_000 };
const QUICK: Size = Size { entries: 100, operations: 2_000, rounds: 1, cold: 500 };

fn key(number: usize) -> Key {
    let mut key = [b'k'; KEY_BYTES];
    key[..8].copy_from_slice(&number.to_le_bytes());
    key
}

fn cache() -> Cache {
    Cache::builder().max_bytes(64 << 20).shards(1).build().expect("a size that fits")
}

/// Panics: a load that must not run.
fn unwanted() -> Result<&'static [u8], Infallible> {
    unreachable!("a present entry is loaded")
}

fn found(answer: &Answer) -> bool {
    answer.is_ok()
}

/// Polls a future that only yields, and returns its result.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..10 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
    unreachable!("no other call loads")
}

/// One row: an operation on the key of a number.
struct Row<'a> {
    name: &'static str,
    /// Number of keys in a call.
    keys: usize,
    run: Box<dyn Fn(usize) -> bool + 'a>,
    /// Number of present keys, of which each call reads one, or `None` if each call has new keys.
    hits: Option<usize>,
}

impl Row<'_> {
    /// Returns the ns for each key.
    fn measure(&self, operations: usize, next: &mut usize) -> f64 {
        let calls = operations / self.keys;
        let mut done = 0;
        let begin = Instant::now();
        for call in 0..calls {
            let number = match self.hits {
                Some(entries) => (call * 7) % entries,
                None => {
                    *next += self.keys;
                    *next
                }
            };
            done += usize::from((self.run)(number));
        }
        let nanos = begin.elapsed().as_nanos() as f64;
        assert_eq!(done, calls, "{} did not do what it should", self.name);
        nanos / (calls * self.keys) as f64
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn main() {
    let size = if std::env::args().any(|arg| arg == "--test") { QUICK } else { FULL };
    let [hits, inserts, loads] = [cache(), cache(), cache()];
    let hits_of = |cache: &Cache| (0..size.entries).for_each(|number| cache.insert(key(number), VALUE).expect("room"));
    hits_of(&hits);
    let timed = cache();
    let loader = timed.loader().ttl(HOUR).refresh_after(HOUR / 2);
    let early = loader.clone().early_refresh(1.0);
    let load = |_: &[u8]| Ok::<_, Infallible>(VALUE);
    let (loader, early) = (loader.build(load).expect("valid rules"), early.build(load).expect("valid rules"));
    let nothing = cache().loader().negative_ttl(HOUR).build(|_| Ok::<Loaded<&[u8]>, Infallible>(Loaded::Absent));
    let nothing = nothing.expect("valid rules");
    for number in 0..size.entries {
        assert!(found(&loader.get(key(number))) && nothing.get(key(number)).is_err());
    }

    let many = |keys: Vec<Arc<[u8]>>| async move { Ok::<_, Infallible>(vec![Some(VALUE); keys.len()]) };
    let batched = loads.loader().build_batched_async(Batch::up_to(256), many).expect("valid rules");

    let row = |name, keys, hits, run| Row { name, keys, hits, run };
    let there = Some(size.entries);
    let rows = [
        row(
            "get",
            1,
            there,
            Box::new(|number| black_box(hits.get(key(number))).is_some()) as Box<dyn Fn(usize) -> bool>,
        ),
        row("get_or_load", 1, there, Box::new(|number| found(&black_box(hits.get_or_load(key(number), unwanted))))),
        row("loader", 1, there, Box::new(|number| found(&black_box(loader.get(key(number)))))),
        row("loader, early", 1, there, Box::new(|number| found(&black_box(early.get(key(number)))))),
        row("negative", 1, there, Box::new(|number| black_box(nothing.get(key(number))).is_err())),
        row("insert", 1, None, Box::new(|number| inserts.insert(key(number), VALUE).is_ok())),
        row("load", 1, None, Box::new(|number| found(&loads.get_or_load(key(number), || Ok(VALUE))))),
        row(
            "load of 16",
            16,
            None,
            Box::new(|number| {
                let keys: [Key; 16] = std::array::from_fn(|nth| key(number + nth));
                let load = |missing: &[&Key]| Ok::<_, Infallible>(vec![Some(VALUE); missing.len()]);
                loads.get_or_load_many(&keys, load).is_ok()
            }),
        ),
        row(
            "load, async",
            1,
            None,
            Box::new(|number| found(&now(loads.get_or_load_async(key(number), async || Ok(VALUE))))),
        ),
        row(
            "batch of 256",
            256,
            None,
            Box::new(|number| {
                let keys: [Key; 256] = std::array::from_fn(|nth| key(number + nth));
                now(batched.get_many_async(&keys)).iter().all(found)
            }),
        ),
    ];
    let mut next = 1 << 40;
    let mut times = vec![Vec::new(); rows.len()];
    for round in 0..size.rounds {
        for turn in 0..rows.len() {
            let which = (round + turn) % rows.len();
            times[which].push(rows[which].measure(size.operations, &mut next));
        }
    }
    println!("| row | ns | more than `get` | of `get` |\n|---|---:|---:|---:|");
    for (row, own) in rows.iter().zip(&times) {
        let more = median(own.iter().zip(&times[0]).map(|(own, get)| own - get).collect());
        let ratio = median(own.iter().zip(&times[0]).map(|(own, get)| own / get).collect());
        println!("| {} | {:.1} | {more:.1} | {ratio:.2} |", row.name, median(own.clone()));
    }
    cold_reads(size.cold);
}

/// The reply to a query: whether it has come, and the task that waits for it.
type Reply = Arc<Mutex<(bool, Option<Waker>)>>;

/// A store with two connections, and the number of queries that it got.
#[derive(Clone)]
struct Source {
    requests: mpsc::Sender<Reply>,
    queries: Arc<AtomicUsize>,
}

impl Source {
    fn connect() -> Self {
        let (requests, connections) = mpsc::channel::<Reply>();
        let connections = Arc::new(Mutex::new(connections));
        for _ in 0..2 {
            let requests = Arc::clone(&connections);
            let next = move || requests.lock().unwrap_or_else(PoisonError::into_inner).recv();
            thread::spawn(move || {
                while let Ok(reply) = next() {
                    thread::sleep(Duration::from_micros(100));
                    let mut reply = reply.lock().unwrap_or_else(PoisonError::into_inner);
                    reply.0 = true;
                    reply.1.take().into_iter().for_each(Waker::wake);
                }
            });
        }
        Self { requests, queries: Arc::default() }
    }

    /// Waits for the reply to a query.
    async fn query(&self) {
        self.queries.fetch_add(1, Ordering::Relaxed);
        let reply = Reply::default();
        self.requests.send(Arc::clone(&reply)).expect("connections stay open");
        poll_fn(|context| {
            let mut reply = reply.lock().unwrap_or_else(PoisonError::into_inner);
            reply.1 = Some(context.waker().clone());
            if reply.0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Reads keys one after the other in each of 256 tasks.
async fn read_all<R>(reads: usize, read: impl Fn(usize) -> R + Clone + Send + 'static)
where
    R: Future<Output = Answer> + Send,
{
    let next = Arc::new(AtomicUsize::new(0));
    let reader = || {
        let (next, read) = (Arc::clone(&next), read.clone());
        tokio::spawn(async move {
            let next = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|&number| number < reads);
            while let Some(number) = next() {
                assert!(found(&read(number).await));
            }
        })
    };
    let readers: Vec<_> = (0..256).map(|_| reader()).collect();
    for reader in readers {
        reader.await.expect("no reader panics");
    }
}

/// Prints the times and queries of cold reads, with one key in a query and with batches.
fn cold_reads(reads: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
    println!("\n| row | us for each read | reads for each query |\n|---|---:|---:|");
    for name in ["by hand", "batched", "batched, in calls"] {
        let (cache, source) = (cache(), Source::connect());
        let queries = Arc::clone(&source.queries);
        let begin = Instant::now();
        if name == "by hand" {
            let read = move |number| {
                let (cache, source) = (cache.clone(), source.clone());
                let load = async move || {
                    source.query().await;
                    Ok(VALUE)
                };
                async move { cache.get_or_load_async(key(number), load).await }
            };
            runtime.block_on(read_all(reads, read));
        } else {
            let many = move |keys: Vec<Arc<[u8]>>| {
                let source = source.clone();
                async move {
                    source.query().await;
                    Ok(vec![Some(VALUE); keys.len()])
                }
            };
            let builder = cache.loader();
            let builder = if name == "batched" { builder.spawner(|task| drop(tokio::spawn(task))) } else { builder };
            let loader = builder.build_batched_async(Batch::up_to(256).in_flight(2), many).expect("valid rules");
            let read = move |number| {
                let loader = loader.clone();
                async move { loader.get_async(key(number)).await }
            };
            runtime.block_on(read_all(reads, read));
        }
        let micros = begin.elapsed().as_secs_f64() * 1e6 / reads as f64;
        println!("| {name} | {micros:.2} | {:.1} |", reads as f64 / queries.load(Ordering::Relaxed) as f64);
    }
}
