//! [`Crew`]: the processes of the instances, and the judge that they talk to.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};

use super::INSTANCE;
use super::judge::{Judge, Read};
use crate::support::until;

/// The judge, which several threads talk to.
pub(super) type Shared = Arc<Mutex<Judge>>;

pub(super) fn lock(judge: &Shared) -> MutexGuard<'_, Judge> {
    judge.lock().expect("no thread panics with it")
}

/// The processes. They are killed when it is dropped.
pub(super) struct Crew {
    processes: Vec<(Child, ChildStdin)>,
}

impl Crew {
    /// Starts an instance for each port of a server.
    pub(super) fn start(judge: &Shared, redis_ports: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let judge_port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::clone(judge);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let judge = Arc::clone(&shared);
                // It ends with the connection.
                std::thread::spawn(move || answer(&judge, &stream));
            }
        });
        let program = std::env::current_exe().expect("a test has a program");
        let start = |(number, redis_port): (usize, &u16)| {
            let mut command = Command::new(&program);
            command.args(["--exact", "processes::instance::process_of_the_checker", "--nocapture"]);
            command.env(INSTANCE, format!("{number} {redis_port} {judge_port}"));
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn().expect("the program starts");
            let records = child.stdout.take().expect("it is a pipe");
            let judge = Arc::clone(judge);
            std::thread::spawn(move || {
                for line in BufReader::new(records).lines().map_while(Result::ok) {
                    // The harness of the tests writes other lines.
                    let _ = record(&judge, number, &line);
                }
            });
            let commands = child.stdin.take().expect("it is a pipe");
            (child, commands)
        };
        Self { processes: redis_ports.iter().enumerate().map(start).collect() }
    }

    /// Sends a line to all instances.
    pub(super) fn command(&mut self, line: &str) {
        for (_, commands) in &mut self.processes {
            writeln!(commands, "{line}").expect("the instance lives");
        }
    }

    pub(super) fn are_alive(&mut self) -> bool {
        self.processes.iter_mut().all(|(child, _)| matches!(child.try_wait(), Ok(None)))
    }

    /// Waits for the ends of the processes.
    pub(super) async fn join(mut self) {
        for (child, _) in &mut self.processes {
            let mut status = None;
            until("an instance ends", || {
                status = child.try_wait().expect("it is a child");
                status.is_some()
            })
            .await;
            assert!(status.is_some_and(|status| status.success()), "an instance ends well");
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for (child, _) in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Answers the questions of an instance, in order.
fn answer(judge: &Shared, stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut output = stream;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let (kind, arguments) = parse(&line).expect("a question has numbers");
        let mut judge = lock(judge);
        let number = match (kind, &arguments[..]) {
            ("T", []) => judge.now(),
            ("G", &[key]) => judge.load(place(key)),
            ("C", &[instance, key]) => judge.change(place(key)) * 2 + u64::from(judge.begin_write(place(instance))),
            ("W", &[key, version]) => {
                judge.confirm(place(key), version);
                0
            }
            _ => panic!("an unknown question: {line}"),
        };
        drop(judge);
        if writeln!(output, "{number}").is_err() {
            return;
        }
    }
}

/// Takes a record of an instance. Returns `None` if the line is not one.
fn record(judge: &Shared, instance: usize, line: &str) -> Option<()> {
    let (kind, arguments) = match line.strip_prefix("R ") {
        Some(read) => {
            let mut parts = read.split(' ');
            let (began, ended) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let (subject, version) = (parts.next()?, parts.next()?.parse().ok()?);
            let read = Read { began, ended, version };
            match subject.strip_prefix('m') {
                Some(writer) => lock(judge).read_marker(instance, writer.parse().ok()?, read),
                None => lock(judge).read(instance, subject.parse().ok()?, read),
            }
            return Some(());
        }
        None => parse(line)?,
    };
    let mut judge = lock(judge);
    match (kind, &arguments[..]) {
        ("F", []) => judge.figures.failed += 1,
        ("L", &[took]) => judge.loaded(instance, took),
        ("N", &[at, connections]) => judge.set_connections(instance, at, connections),
        ("S", &[at, is_coherent]) => judge.set_coherent(instance, at, is_coherent == 1),
        ("Q", []) => judge.set_quiet(instance),
        ("V", &[compared, repaired]) => judge.set_verified(instance, compared, repaired),
        _ => return None,
    }
    Some(())
}

/// Returns the first word and the numbers after it.
fn parse(line: &str) -> Option<(&str, Vec<u64>)> {
    let mut parts = line.split(' ');
    let kind = parts.next()?;
    let numbers: Result<_, _> = parts.map(str::parse).collect();
    Some((kind, numbers.ok()?))
}

fn place(number: u64) -> usize {
    usize::try_from(number).expect("it is small")
}
