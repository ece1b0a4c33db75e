//! Starts the service as a process and sends it requests: for the load generator and the tests.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use axum::BoxError;
use axum::http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::database::User;

/// Limit on the start of the service, and on an answer.
const LIMIT: Duration = Duration::from_secs(30);

/// A process of the service. It is killed when this is dropped.
pub struct Instance {
    process: Child,
    address: String,
}

impl Instance {
    /// Starts the service, and waits until it listens.
    pub async fn start(program: &Path, database: &str, options: &[&str]) -> Result<Self, BoxError> {
        let mut process = Command::new(program)
            .args(["--address", "127.0.0.1:0"])
            .args(options)
            .env("DATABASE_URL", database)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = process.stdout.take().ok_or("the service has no output")?;
        let line = timeout(LIMIT, BufReader::new(output).lines().next_line()).await??;
        let address = line.as_deref().and_then(|line| line.strip_prefix("listening on "));
        let address = address.ok_or("the service did not start")?.to_string();
        Ok(Self { process, address })
    }

    /// Opens a connection.
    pub async fn connect(&self) -> Result<Connection, BoxError> {
        let stream = timeout(LIMIT, TcpStream::connect(&self.address)).await??;
        stream.set_nodelay(true)?;
        let (requests, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { requests, host: self.address.clone() })
    }

    /// Returns the metrics.
    pub async fn metrics(&self) -> Result<Metrics, BoxError> {
        let (_, body) = self.connect().await?.send(Method::GET, "/metrics", Bytes::new()).await?;
        Metrics::parse(std::str::from_utf8(&body)?)
    }

    /// Returns the bytes of physical memory that the process uses.
    pub fn resident_bytes(&self) -> Result<usize, BoxError> {
        let process = self.process.id().ok_or("the service has ended")?;
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no resident memory")?;
        let kibibytes: usize = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kibibytes << 10)
    }

    /// Sends a signal, by its name without `SIG`.
    pub async fn signal(&self, name: &str) -> Result<(), BoxError> {
        let process = self.process.id().ok_or("the service has ended")?;
        let sent = Command::new("kill").args(["-s", name, &process.to_string()]).status().await?;
        if sent.success() { Ok(()) } else { Err("the signal was not sent".into()) }
    }

    /// Waits until the process has ended. Returns `true` if it reports success.
    pub async fn ended(&mut self) -> Result<bool, BoxError> {
        Ok(timeout(LIMIT, self.process.wait()).await??.success())
    }
}

/// A connection that sends one request after the other.
pub struct Connection {
    requests: SendRequest<Full<Bytes>>,
    host: String,
}

impl Connection {
    /// Returns the status and the user, if there is one.
    pub async fn get(&mut self, id: i64) -> Result<(StatusCode, Option<User>), BoxError> {
        let (status, body) = self.send(Method::GET, &format!("/users/{id}"), Bytes::new()).await?;
        let user = if status == StatusCode::OK { Some(serde_json::from_slice(&body)?) } else { None };
        Ok((status, user))
    }

    /// Stores a user.
    pub async fn put(&mut self, id: i64, user: &User) -> Result<StatusCode, BoxError> {
        let body = serde_json::to_vec(user)?.into();
        Ok(self.send(Method::PUT, &format!("/users/{id}"), body).await?.0)
    }

    /// Deletes a user.
    pub async fn delete(&mut self, id: i64) -> Result<StatusCode, BoxError> {
        Ok(self.send(Method::DELETE, &format!("/users/{id}"), Bytes::new()).await?.0)
    }

    /// Sends a request, and returns the status and the body of the answer.
    pub async fn send(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes), BoxError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        let answer = async {
            self.requests.ready().await?;
            let answer = self.requests.send_request(request).await?;
            let status = answer.status();
            Ok::<_, BoxError>((status, answer.into_body().collect().await?.to_bytes()))
        };
        timeout(LIMIT, answer).await?
    }
}

/// The samples of a scrape: each with its name and labels, and its value.
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// Parses the format OpenMetrics.
    pub fn parse(text: &str) -> Result<Self, BoxError> {
        let samples = text.strip_suffix("# EOF\n").ok_or("the text does not end with its mark")?;
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ').ok_or("a sample without a value")?;
            Ok((name.to_string(), value.parse()?))
        };
        samples.lines().filter(|line| !line.starts_with('#')).map(sample).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the value of a sample: its name and labels are those of the text.
    pub fn get(&self, sample: &str) -> Option<f64> {
        self.0.iter().find(|(name, _)| name == sample).map(|&(_, value)| value)
    }

    /// Returns the number of queries for a user.
    pub fn database_reads(&self) -> f64 {
        self.get("service_database_reads_total").unwrap_or(f64::NAN)
    }

    /// Returns a counter of the namespace of users.
    pub fn of_users(&self, counter: &str) -> f64 {
        self.get(&format!("bytecache_{counter}_total{{cache=\"service\",namespace=\"users\"}}")).unwrap_or(f64::NAN)
    }

    /// Returns `true` while the service hears of the changes of others.
    pub fn is_listening(&self) -> bool {
        self.get("service_listening") == Some(1.0)
    }
}
