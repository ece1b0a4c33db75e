//! [`Proxy`]: stands between an instance and its server, and delays, holds or cuts connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The connection over which an instance gets its invalidations: it is opened first.
pub(crate) const TRACKED: usize = 0;
/// The connection over which an instance reads.
pub(crate) const READS: usize = 1;

#[derive(Clone, Debug, Default)]
struct Mode {
    /// Numbers of connections whose replies are held back.
    held: Vec<usize>,
    are_all_held: bool,
    /// Replies of all connections are delayed.
    delay: Duration,
    /// Replies and messages of tracked connections are delayed.
    delay_of_tracked: Duration,
    /// Nothing is passed on in any direction, and connections stay open.
    is_silent: bool,
    /// New connections are closed at once.
    is_down: bool,
    /// The port of the server that new connections go to.
    server: u16,
    /// Advanced when all connections are to be closed.
    cuts: u64,
    /// Advanced when all connections are to be closed for replies only.
    half_cuts: u64,
}

/// A proxy on a port of its own. It ends when it is dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    mode: watch::Sender<Mode>,
    /// The messages that instances have sent over their tracked connections.
    sent: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

impl Proxy {
    pub(crate) async fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let mode = watch::Sender::new(Mode { server, ..Mode::default() });
        let sent = Arc::new(AtomicU64::new(0));
        let (modes, counter) = (mode.clone(), Arc::clone(&sent));
        let task = tokio::spawn(async move {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                let Mode { is_down, server, .. } = *modes.borrow();
                if is_down {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
                let counter = (number == TRACKED).then(|| Arc::clone(&counter));
                tokio::spawn(connection(client, server, number, modes.subscribe(), counter));
                number += 1;
            }
        });
        Self { port, mode, sent, task }
    }

    /// Holds the replies and messages of a connection back until `release`.
    pub(crate) fn hold(&self, connection: usize) {
        self.mode.send_modify(|mode| mode.held.push(connection));
    }

    pub(crate) fn release(&self, connection: usize) {
        self.mode.send_modify(|mode| mode.held.retain(|&held| held != connection));
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.mode.send_modify(|mode| mode.delay = delay);
    }

    /// Delays the replies and messages of tracked connections. So values overtake invalidations.
    pub(crate) fn delay_tracked(&self, delay: Duration) {
        self.mode.send_modify(|mode| mode.delay_of_tracked = delay);
    }

    /// Passes nothing on, in any direction: a partition.
    pub(crate) fn silence(&self, is_silent: bool) {
        self.mode.send_modify(|mode| mode.is_silent = is_silent);
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.mode.send_modify(|mode| mode.is_down = is_down);
    }

    /// Holds the replies of all connections back, or no longer.
    pub(crate) fn hold_all(&self, are_held: bool) {
        self.mode.send_modify(|mode| mode.are_all_held = are_held);
    }

    /// Sets the port of the server that new connections go to.
    pub(crate) fn set_server(&self, port: u16) {
        self.mode.send_modify(|mode| mode.server = port);
    }

    /// Closes all connections.
    pub(crate) fn cut(&self) {
        self.mode.send_modify(|mode| mode.cuts += 1);
    }

    /// Closes all connections for replies. Requests still reach the server.
    pub(crate) fn half_cut(&self) {
        self.mode.send_modify(|mode| mode.half_cuts += 1);
    }

    /// Returns the number of messages that were sent over the first connection.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }
}

async fn connection(
    client: TcpStream,
    server: TcpStream,
    number: usize,
    modes: watch::Receiver<Mode>,
    counter: Option<Arc<AtomicU64>>,
) {
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let half_cuts = modes.borrow().half_cuts;
    let is_tracked = AtomicBool::new(false);
    let direction = |replies_of, counter| Direction { replies_of, counter, is_tracked: &is_tracked };
    let mut half_cut = modes.clone();
    let replies = async {
        let mut to_client = to_client;
        tokio::select! {
            () = pass(from_server, &mut to_client, modes.clone(), direction(Some(number), None)) => return,
            _ = async { half_cut.wait_for(|mode| mode.half_cuts != half_cuts).await.is_ok() } => {}
        }
        // The client reads the end of the replies, and may go on to send.
        let _ = to_client.shutdown().await;
        std::future::pending().await
    };
    let mut to_server = to_server;
    let requests = pass(from_client, &mut to_server, modes.clone(), direction(None, counter));
    let mut cut = modes.clone();
    let cuts = modes.borrow().cuts;
    tokio::select! {
        () = replies => {}
        () = requests => {}
        _ = cut.wait_for(|mode| mode.cuts != cuts) => {}
    }
}

/// A direction of a connection.
struct Direction<'a> {
    /// The number of the connection, for replies.
    replies_of: Option<usize>,
    /// Counts what is passed on.
    counter: Option<Arc<AtomicU64>>,
    /// The client has asked for messages over this connection.
    is_tracked: &'a AtomicBool,
}

/// Passes bytes on in one direction.
async fn pass(
    mut from: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    direction: Direction<'_>,
) {
    let Direction { replies_of, counter, is_tracked } = direction;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(bytes @ 1..) = from.read(&mut buffer).await else { return };
        if let Some(counter) = &counter {
            counter.fetch_add(1, Ordering::SeqCst);
        }
        if replies_of.is_none() && buffer[..bytes].windows(8).any(|word| word == b"TRACKING") {
            is_tracked.store(true, Ordering::SeqCst);
        }
        let is_held = |mode: &Mode| replies_of.is_some_and(|number| mode.are_all_held || mode.held.contains(&number));
        let may_pass = |mode: &Mode| !mode.is_silent && !is_held(mode);
        let delay = |mode: &Mode| match is_tracked.load(Ordering::SeqCst) {
            true => mode.delay + mode.delay_of_tracked,
            false => mode.delay,
        };
        let Ok(delay) = modes.wait_for(may_pass).await.map(|mode| delay(&mode)) else { return };
        if replies_of.is_some() && !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..bytes]).await.is_err() {
            return;
        }
    }
}
