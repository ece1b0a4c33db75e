//! A page that shows a running cache: its hit ratio, its memory, and the answers of its advisor.
//!
//! ```sh
//! cargo run --release --example dashboard -- --port 8080 --seconds 600
//! cargo run --release --example dashboard -- --trace requests.csv
//! ```
//!
//! It serves one page on localhost, and prints the address. Meanwhile generated traffic runs, or a
//! recorded trace is replayed again and again: a file of lines `key,size`, or one of records (see
//! `trace.rs`). Without `--port` it takes 8080, and 0 is any free port. Without `--seconds` it runs
//! until it is stopped. The page needs nothing from elsewhere, and is updated by server-sent
//! events.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bytecache::{Advisor, Cache, Namespace};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::Zipf;

use state::{Point, state};
use trace::Trace;

mod state;
mod trace;

const PAGE: &str = include_str!("page.html");
/// The time between two events, and between two points of the history.
const STEP: Duration = Duration::from_millis(500);
const MAX_POINTS: usize = 240;
/// Reads of a thread between two pauses, and the pause: the page leaves cores to other programs.
const READS_BETWEEN_PAUSES: u32 = 2_000;
const PAUSE: Duration = Duration::from_millis(10);
/// Seconds after which other keys are hot.
const DRIFT_SECONDS: u64 = 60;
/// The page that is a search.
const SEARCH: u64 = 5;

/// The cache that is shown, and what was seen of it.
struct Shown {
    cache: Cache,
    since: Instant,
    history: Mutex<Vec<Point>>,
}

impl Shown {
    /// Notes the reads up to this moment.
    fn note_point(&self) {
        let stats = self.cache.stats();
        let point = Point { seconds: self.since.elapsed().as_secs_f64(), hits: stats.hits, misses: stats.misses };
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.push(point);
        let surplus = history.len().saturating_sub(MAX_POINTS);
        history.drain(..surplus);
    }

    /// Returns all that the page shows, as JSON in one line.
    fn json(&self) -> String {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner).clone();
        state(&self.cache, &history)
    }
}

/// The values after `--port`, `--seconds` and `--trace`.
struct Options {
    port: u16,
    time: Option<Duration>,
    trace: Option<Trace>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self { port: 8080, time: None, trace: None };
        while let Some(flag) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--port" => options.port = value.parse()?,
                "--seconds" => options.time = Some(Duration::from_secs(value.parse()?)),
                "--trace" => options.trace = Some(Trace::open(value.into())?),
                _ => return Err(format!("{flag} is none of --port, --seconds and --trace").into()),
            }
        }
        Ok(options)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    let advisor = Advisor::new().share(1.0 / 16.0).half_life(Duration::from_secs(120));
    let cache = Cache::builder().max_bytes(24 << 20).advisor(advisor).build()?;
    let shown = Arc::new(Shown { cache, since: Instant::now(), history: Mutex::default() });
    match options.trace {
        Some(trace) => {
            let cache = shown.cache.clone();
            thread::spawn(move || replay(&cache, &trace));
        }
        None => {
            for seed in 0..2 {
                let users = shown.cache.namespace("users").build()?;
                let shown = Arc::clone(&shown);
                thread::spawn(move || run_traffic(&shown, &users, seed));
            }
        }
    }
    let listener = TcpListener::bind(("127.0.0.1", options.port))?;
    println!("http://{}/", listener.local_addr()?);
    let server = Arc::clone(&shown);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let shown = Arc::clone(&server);
            // A browser that goes away ends its own thread.
            thread::spawn(move || serve(&shown, stream));
        }
    });
    while options.time.is_none_or(|time| shown.since.elapsed() < time) {
        shown.note_point();
        thread::sleep(STEP);
    }
    Ok(())
}

/// Pauses after some reads.
fn pause_after(reads: u32) {
    if reads % READS_BETWEEN_PAUSES == 0 {
        thread::sleep(PAUSE);
    }
}

/// Replays a trace until the program ends: each request is a look-up, and an insert after a miss.
fn replay(cache: &Cache, trace: &Trace) {
    let value = vec![7; cache.max_entry_bytes()];
    let mut reads = 0_u32;
    let mut request = |key: &str, size: usize| {
        pause_after(reads);
        reads = reads.wrapping_add(1);
        if cache.view(key, |_| ()).is_none() {
            // A value that is too large for the cache is a miss each time.
            let _ = cache.insert(key, value.get(..size).unwrap_or(&value));
        }
    };
    while trace.for_each(&mut request).inspect_err(|error| eprintln!("{error}")).is_ok() {}
}

/// Reads and loads keys until the program ends. Few keys get most of the reads, and two are always
/// the hottest: a user, and a search whose text must not run in the page.
fn run_traffic(shown: &Shown, users: &Namespace, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let Ok(zipf) = Zipf::new(200_000.0, 0.9) else { return };
    for read in 0_u32.. {
        pause_after(read);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank is a small whole number")]
        let rank = random.sample(zipf) as u64;
        let page = rank + shown.since.elapsed().as_secs() / DRIFT_SECONDS * 3;
        let outcome = match read % 16 {
            0 => read_user(users, 1),
            4 => read_page(&shown.cache, SEARCH),
            8 => read_user(users, rank),
            _ => read_page(&shown.cache, page),
        };
        if let Err(error) = outcome {
            eprintln!("{error}");
        }
    }
}

fn read_user(users: &Namespace, rank: u64) -> Result<(), Box<dyn Error>> {
    let key = format!("user:{rank}");
    if users.view(&key, |_| ()).is_none() {
        users.insert(&key, [7; 120])?;
    }
    Ok(())
}

fn read_page(cache: &Cache, page: u64) -> Result<(), Box<dyn Error>> {
    let key = match page {
        SEARCH => "/search?q=<script>alert('hot')</script>".to_string(),
        _ => format!("/page/{page}"),
    };
    let size = 100 + usize::try_from(page % 17)? * 30;
    let load = || {
        if page % 4_001 == 4_000 {
            return Err(std::io::Error::other("the store is down"));
        }
        if page % 16 == 0 {
            thread::sleep(Duration::from_micros(200)); // A slow part of the store.
        }
        Ok(vec![7_u8; size])
    };
    // A failed load is counted, and the next read loads again.
    let _ = cache.get_or_load(key, load);
    Ok(())
}

/// Returns `true` if a header names this machine as the host. A page from elsewhere, whose name
/// leads to this machine, has its own name there, and gets nothing.
fn is_local(header: &str) -> bool {
    let Some((name, host)) = header.split_once(':') else { return false };
    let host = host.trim();
    let host = host.rsplit_once(':').map_or(host, |(host, _port)| host);
    name.eq_ignore_ascii_case("host") && (host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1")
}

/// Answers one request.
fn serve(shown: &Shown, mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut request)?;
    let (mut header, mut is_for_this_host) = (String::new(), false);
    while reader.read_line(&mut header)? > 2 {
        is_for_this_host |= is_local(&header);
        header.clear();
    }
    match request.split_whitespace().nth(1) {
        _ if !is_for_this_host => {
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Some("/") => {
            let page = PAGE.replace("@FIRST@", &shown.json());
            let length = page.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {length}\r\n\
                 Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; \
                 script-src 'unsafe-inline'; connect-src 'self'\r\nConnection: close\r\n\r\n{page}"
            )
        }
        Some("/events") => {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\n")?;
            loop {
                write!(stream, "data: {}\n\n", shown.json())?;
                thread::sleep(STEP);
            }
        }
        _ => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    }
}
