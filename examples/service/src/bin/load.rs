//! Sends requests to the service with bytecache, and then to the service with moka.

use std::path::Path;
use std::time::{Duration, Instant};

use axum::BoxError;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::Zipf;
use tokio::task::JoinSet;
use user_service::database::User;
use user_service::driver::{Connection, Instance};

const HELP: &str = "\
Sends requests to the service with bytecache, and then to the service with moka. Prints the
requests a second, the 99th percentile of their times and the longest one, the share of reads that
caused no query, and the resident memory. DATABASE_URL is the address of the database.

  --rows N             users in the table, 1000000 by default; requests ask for these
  --exponent S         the exponent of Zipf's law for the keys, 0.99 by default
  --writes PERCENT     requests that write, 1 by default
  --connections N      connections that send requests, 32 by default
  --requests N         requests that count, 1000000 by default, after as many that fill the cache
  --cache-mib MIB      the limit of both caches, 32 by default
  --moka-mib MIB       another limit for moka
  --rounds N           rows for each cache, 1 by default; each round has the other order
  --help               this text";

#[derive(Clone)]
struct Options {
    rows: i64,
    exponent: f64,
    writes_percent: f64,
    connections: u64,
    requests: u64,
    cache_mib: usize,
    moka_mib: Option<usize>,
    rounds: usize,
}

impl Options {
    /// Returns the options of the command line, or `None` if it asks for help.
    fn parse() -> Result<Option<Self>, lexopt::Error> {
        use lexopt::prelude::*;
        let mut options = Self {
            rows: 1_000_000,
            exponent: 0.99,
            writes_percent: 1.0,
            connections: 32,
            requests: 1_000_000,
            cache_mib: 32,
            moka_mib: None,
            rounds: 1,
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("rows") => options.rows = arguments.value()?.parse()?,
                Long("exponent") => options.exponent = arguments.value()?.parse()?,
                Long("writes") => options.writes_percent = arguments.value()?.parse()?,
                Long("connections") => options.connections = arguments.value()?.parse()?,
                Long("requests") => options.requests = arguments.value()?.parse()?,
                Long("cache-mib") => options.cache_mib = arguments.value()?.parse()?,
                Long("moka-mib") => options.moka_mib = Some(arguments.value()?.parse()?),
                Long("rounds") => options.rounds = arguments.value()?.parse()?,
                Long("help") => return Ok(None),
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

/// The requests of a phase.
#[derive(Default)]
struct Sent {
    reads: usize,
    /// The time of each request.
    times: Vec<Duration>,
}

impl Sent {
    fn add(&mut self, other: Self) {
        self.reads += other.reads;
        self.times.extend(other.times);
    }

    /// Returns the milliseconds that 99 % of the requests did not exceed, and the longest time.
    fn p99_and_longest(&mut self) -> [f64; 2] {
        self.times.sort_unstable();
        let last = self.times.len().saturating_sub(1);
        [last * 99 / 100, last].map(|rank| self.times.get(rank).map_or(0.0, Duration::as_secs_f64) * 1e3)
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let Some(options) = Options::parse()? else {
        println!("{HELP}");
        return Ok(());
    };
    println!("| cache | limit, MiB | requests a second | p99, ms | longest, ms | hits, % | resident MiB |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut contenders = [("bytecache", options.cache_mib), ("moka", options.moka_mib.unwrap_or(options.cache_mib))];
    for _ in 0..options.rounds {
        for (cache, mib) in contenders {
            measure(cache, mib, &options).await?;
        }
        contenders.reverse();
    }
    Ok(())
}

/// Starts the service with a cache, sends requests, and prints a row of the table.
async fn measure(cache: &str, mib: usize, options: &Options) -> Result<(), BoxError> {
    let program = std::env::current_exe()?.with_file_name("user-service");
    let database = std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set")?;
    let limit = mib.to_string();
    // A busy machine makes requests slow, but no failures.
    let arguments = ["--cache", cache, "--cache-mib", &limit, "--request-limit-ms", "25000"];
    let service = start(&program, &database, &arguments).await?;
    send(&service, options, 1).await?;
    let before = service.metrics().await?;
    let start = Instant::now();
    let mut sent = send(&service, options, 2).await?;
    let duration = start.elapsed();
    let after = service.metrics().await?;

    let queries = after.database_reads() - before.database_reads();
    let requests = sent.times.len() as f64 / duration.as_secs_f64();
    let [p99, longest] = sent.p99_and_longest();
    // A read that waits for the query of another one causes none. So this is slightly more than
    // hits.
    let hits = 100.0 * (1.0 - queries / sent.reads as f64).max(0.0);
    let resident = service.resident_bytes()? as f64 / f64::from(1 << 20);
    println!("| {cache} | {mib} | {requests:.0} | {p99:.1} | {longest:.0} | {hits:.1} | {resident:.0} |");
    Ok(())
}

/// Starts the service, and waits until it trusts its cache.
async fn start(program: &Path, database: &str, options: &[&str]) -> Result<Instance, BoxError> {
    let service = Instance::start(program, database, options).await?;
    let start = Instant::now();
    while !service.metrics().await?.is_listening() {
        if start.elapsed() > Duration::from_secs(30) {
            return Err("the service is not notified of changes".into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(service)
}

/// Sends requests by all connections. The same `phase` sends the same requests.
async fn send(service: &Instance, options: &Options, phase: u64) -> Result<Sent, BoxError> {
    let mut tasks = JoinSet::new();
    for number in 0..options.connections {
        let random = SmallRng::seed_from_u64(phase << 32 | number);
        tasks.spawn(send_by(service.connect().await?, random, options.clone()));
    }
    let mut all = Sent::default();
    while let Some(sent) = tasks.join_next().await {
        all.add(sent??);
    }
    Ok(all)
}

/// Sends one request after the other.
async fn send_by(mut connection: Connection, mut random: SmallRng, options: Options) -> Result<Sent, BoxError> {
    let ranks = Zipf::new(options.rows as f64, options.exponent)?;
    let mut sent = Sent::default();
    for _ in 0..options.requests / options.connections.max(1) {
        let rank: f64 = random.sample(ranks);
        // Spreads the frequent keys over the table.
        let id = (rank as i64).wrapping_mul(2_654_435_761).rem_euclid(options.rows) + 1;
        let request = Instant::now();
        let status = if random.random_bool(options.writes_percent / 100.0) {
            let about = format!("Likes the number {}", random.random::<u64>());
            let user = User { name: format!("User {id}"), email: format!("user{id}@example.org"), about };
            connection.put(id, &user).await?
        } else {
            sent.reads += 1;
            connection.get(id).await?.0
        };
        sent.times.push(request.elapsed());
        if !status.is_success() {
            return Err(format!("the answer for user {id} is {status}").into());
        }
    }
    Ok(sent)
}
