//! Writers that know nothing of bytecache: a connection that sets keys, and `redis-cli`.
//!
//! Those that set keys store a marker after each value, over the same connection. A step that fails
//! is repeated.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use redis::{Connection, RedisResult, cmd};

use super::crew::{Shared, lock};
use super::{COMMAND_TIMEOUT, NAMESPACE, load_limit, pause, rand_key};
use crate::support::{client_program, url};

/// The longest time of a run of `redis-cli`. It waits for a server that has stopped.
const CLIENT_LIMIT: Duration = Duration::from_secs(2);

/// The state that the writers share.
#[derive(Clone)]
pub(super) struct World {
    pub(super) judge: Shared,
    /// The port of the primary.
    pub(super) primary: Arc<AtomicU16>,
    pub(super) is_over: Arc<AtomicBool>,
}

/// The way in which a writer changes a key.
#[derive(Clone, Copy)]
enum Means {
    Connection,
    SetByProgram,
    DeleteByProgram,
}

impl World {
    pub(super) fn port(&self) -> u16 {
        self.primary.load(Ordering::SeqCst)
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// Waits for `time`. Returns `false` if the run is over before.
    fn pause(&self, time: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < time {
            if self.is_over() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Starts the three writers. Their numbers follow those of the instances.
    pub(super) fn start_writers(&self) -> Vec<std::thread::JoinHandle<()>> {
        let means = [Means::Connection, Means::SetByProgram, Means::DeleteByProgram];
        let start = |(number, means)| {
            let world = self.clone();
            std::thread::spawn(move || world.write(super::INSTANCES + number, means))
        };
        means.into_iter().enumerate().map(start).collect()
    }

    fn write(&self, writer: usize, means: Means) {
        let mut connection = None;
        while !self.is_over() {
            let key = rand_key(Some(writer));
            let version = lock(&self.judge).change(key);
            loop {
                let written = match means {
                    Means::Connection => self.set(&mut connection, writer, (key, version)),
                    Means::SetByProgram => self.set_by_program(writer, (key, version)),
                    Means::DeleteByProgram => self.delete_by_program(key),
                };
                if written.is_some() {
                    lock(&self.judge).confirm(key, version);
                    break;
                }
                connection = None;
                if !self.pause(Duration::from_millis(5)) {
                    return;
                }
            }
            self.pause(pause());
        }
    }

    /// Sets a key and a marker by one connection. Returns `None` if the server did not answer.
    fn set(&self, connection: &mut Option<Connection>, writer: usize, own: (usize, u64)) -> Option<()> {
        if connection.is_none() {
            *connection = open(self.port()).ok();
        }
        let connection = connection.as_mut()?;
        let generation: Option<String> = cmd("GET").arg(generation_key()).query(connection).ok()?;
        let generation = generation.unwrap_or_else(|| "0".to_string());
        let [value, marker] = names(&generation, writer, own.0);
        cmd("SET").arg(value).arg(own.1).exec(connection).ok()?;
        let number = lock(&self.judge).mark(writer, own);
        cmd("SET").arg(marker).arg(number).exec(connection).ok()
    }

    /// Sets a key and a marker by one run of `redis-cli`.
    fn set_by_program(&self, writer: usize, own: (usize, u64)) -> Option<()> {
        let generation = self.ask_by_program(&format!("GET {}\n", generation_key()))?;
        let generation = if generation.is_empty() { "0" } else { &generation };
        let [value, marker] = names(generation, writer, own.0);
        let number = lock(&self.judge).mark(writer, own);
        // One command sets both or none. After the loss of a connection, the program sends the
        // commands that are left of a transaction over another one.
        (self.ask_by_program(&format!("MSET {value} {} {marker} {number}\n", own.1))? == "OK").then_some(())
    }

    /// Deletes a key by `redis-cli`, and once more after the longest time of a load: a load that
    /// began before the change may have stored the older value in between.
    fn delete_by_program(&self, key: usize) -> Option<()> {
        for pause in [load_limit() + 2 * COMMAND_TIMEOUT, Duration::ZERO] {
            let generation = self.ask_by_program(&format!("GET {}\n", generation_key()))?;
            let generation = if generation.is_empty() { "0" } else { &generation };
            let answer = self.ask_by_program(&format!("DEL {NAMESPACE}:{generation}:{key}\n"))?;
            answer.parse::<u64>().ok()?;
            self.pause(pause).then_some(())?;
        }
        Some(())
    }

    /// Runs `redis-cli`, and returns its answer. An error of the server is `None`.
    fn ask_by_program(&self, command: &str) -> Option<String> {
        let began = Instant::now();
        let mut program = Command::new(client_program());
        program.args(["-h", "127.0.0.1", "-p", &self.port().to_string()]);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = Ended(program.spawn().expect("the client of the server is installed, too"));
        client.0.stdin.take().expect("it is a pipe").write_all(command.as_bytes()).ok()?;
        let output = client.output(|| self.is_over() || began.elapsed() > CLIENT_LIMIT)?;
        let output = answer_in(&output)?.to_string();
        let is_error = ["ERR", "OOM", "LOADING", "READONLY", "MASTERDOWN", "Could not connect", "Error"];
        (!is_error.iter().any(|error| output.starts_with(error))).then_some(output)
    }
}

/// A process that is killed when it is dropped: it may wait for a server that has stopped.
struct Ended(std::process::Child);

impl Ended {
    /// Waits for the end of the process, and returns what it has printed. Returns `None` if it
    /// failed, or if the wait is over.
    fn output(mut self, is_over: impl Fn() -> bool) -> Option<String> {
        use std::io::Read;
        loop {
            if let Some(status) = self.0.try_wait().ok()? {
                let mut output = String::new();
                self.0.stdout.take()?.read_to_string(&mut output).ok()?;
                return status.success().then_some(output);
            }
            if is_over() {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Opens a connection whose commands fail after a second.
fn open(port: u16) -> RedisResult<Connection> {
    let limit = Duration::from_secs(1);
    let connection = redis::Client::open(url(port))?.get_connection_with_timeout(limit)?;
    connection.set_read_timeout(Some(limit))?;
    connection.set_write_timeout(Some(limit))?;
    Ok(connection)
}

pub(super) fn generation_key() -> String {
    format!("{NAMESPACE}:generation")
}

/// Returns the keys of a value and of a writer's marker.
fn names(generation: &str, writer: usize, key: usize) -> [String; 2] {
    [format!("{NAMESPACE}:{generation}:{key}"), format!("{NAMESPACE}:{generation}:m{writer}")]
}

/// Returns the answer in what `redis-cli` has printed. A key that is absent is an empty line. After
/// the loss of its connection, the program prints nothing, and ends as if all were well.
fn answer_in(output: &str) -> Option<&str> {
    output.strip_suffix('\n').map(str::trim_end)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::sync::Mutex;

    use super::*;
    use crate::processes::judge::Judge;
    use crate::support::{Server, client_is_there};

    fn world(port: u16) -> World {
        World {
            judge: Arc::new(Mutex::new(Judge::new(1, Duration::ZERO))),
            primary: Arc::new(AtomicU16::new(port)),
            is_over: Arc::default(),
        }
    }

    #[test]
    fn lost_connection_is_no_absent_key() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        if !client_is_there() {
            return;
        }
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // Closed after the first command.
                let _ = stream.read(&mut [0; 1_000]);
            }
        });
        assert_eq!(world(port).ask_by_program("GET key\n"), None);
    }

    #[test]
    fn absent_key_is_an_answer() {
        let Some(server) = Server::start() else { return };
        if !client_is_there() {
            return;
        }
        assert_eq!(world(server.port).ask_by_program("GET key\n").as_deref(), Some(""));
    }
}
