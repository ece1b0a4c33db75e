//! TLS, users and passwords, by the options of the client.

#[cfg(feature = "tls")]
use std::process::{Command, Stdio};

use bytecache_redis::{Remote, Tiered};

#[cfg(feature = "tls")]
use crate::support::Folder;
use crate::support::{Server, Store, connected, text, until};

/// The commands that a user of an instance needs, as the documentation says.
const COMMANDS: &str = "+get +pttl +set +eval +incrby +ping +hello +role +client|tracking";

/// A server with a user `app`.
fn server_with_a_user() -> Option<Server> {
    let server = Server::start()?;
    let commands: Vec<_> = COMMANDS.split(' ').collect();
    let user = ["ACL", "SETUSER", "app", "reset", "on", ">secret", "~users:*"];
    server.foreign().ask::<String>(&[&user[..], &commands].concat());
    Some(server)
}

fn url_of(server: &Server, password: &str) -> String {
    format!("redis://app:{password}@127.0.0.1:{}", server.port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_with_the_documented_commands_can_do_all() {
    let Some(server) = server_with_a_user() else { return };
    let client = redis::Client::open(url_of(&server, "secret")).expect("the address is one");
    let (cache, remote) = connected(Remote::builder(client)).await;
    let store = Store::default();
    store.set(1);
    let users = store.tiered(Tiered::builder(&cache, &remote, "users")).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("1"));
    users.insert("1", "2").await.expect("it is stored");
    users.remove("1").await.expect("it is removed");
    // Replaces a tombstone by a script.
    assert_eq!(text(&users, "1").await.as_deref(), Some("1"));
    assert_eq!(users.stats().fills, 2);
    server.foreign().set("users:0:1", "3");
    until("the change has arrived", || users.stats().invalidations > 1).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("3"));
    users.invalidate_all().await.expect("it is incremented");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_password_is_no_connection() {
    let Some(server) = server_with_a_user() else { return };
    let client = redis::Client::open(url_of(&server, "wrong")).expect("the address is one");
    let remote = Remote::builder(client).connect().expect("the options are valid");
    until("attempts have failed", || remote.stats().failed_attempts > 1).await;
    assert!(!remote.is_connected());
    assert!(!format!("{remote:?}").contains("wrong"), "a password is not shown");
}

/// Certificates in a folder of their own.
#[cfg(feature = "tls")]
struct Certificates(Folder);

#[cfg(feature = "tls")]
impl Certificates {
    /// Makes an authority, and a certificate for the loopback address. Returns `None` where there
    /// is no `openssl`.
    fn make() -> Option<Self> {
        let made = Self(Folder::make());
        std::fs::write(made.path("names"), "subjectAltName=IP:127.0.0.1\n").expect("the folder is there");
        let steps = [
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority -keyout ca.key \
             -out ca.crt",
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout server.key \
             -out server.csr",
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.crt",
        ];
        for step in steps {
            let mut openssl = Command::new("openssl");
            openssl.args(step.split(' ')).current_dir(&made.0.0).stdout(Stdio::null()).stderr(Stdio::null());
            let Ok(status) = openssl.status() else {
                eprintln!("no openssl: left out");
                return None;
            };
            assert!(status.success(), "the certificate is made");
        }
        Some(made)
    }

    fn path(&self, file: &str) -> std::path::PathBuf {
        self.0.0.join(file)
    }

    fn option(&self, name: &str, file: &str) -> [String; 2] {
        [name.to_string(), self.path(file).to_string_lossy().into_owned()]
    }

    /// Starts a server, and returns it with the port for TLS. Returns `None` if the server does not
    /// know TLS.
    fn server(&self) -> Option<(Server, u16)> {
        let port = crate::support::free_port();
        let server = Server::start_with(|_| {
            let own = [String::from("--tls-port"), port.to_string(), "--tls-auth-clients".into(), "no".into()];
            let files = [
                self.option("--tls-cert-file", "server.crt"),
                self.option("--tls-key-file", "server.key"),
                self.option("--tls-ca-cert-file", "ca.crt"),
            ];
            own.into_iter().chain(files.into_iter().flatten()).collect()
        });
        server.map(|server| (server, port))
    }

    /// Returns a client that trusts this authority.
    fn client(&self, port: u16) -> redis::Client {
        let root_cert = std::fs::read(self.path("ca.crt")).expect("it was made");
        let trusted = redis::TlsCertificates { client_tls: None, root_cert: Some(root_cert) };
        redis::Client::build_with_tls(format!("rediss://127.0.0.1:{port}"), trusted).expect("the options are valid")
    }
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_and_invalidations_go_by_tls() {
    let Some(certificates) = Certificates::make() else { return };
    let Some((server, port)) = certificates.server() else { return };
    let (cache, remote) = connected(Remote::builder(certificates.client(port))).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    users.insert("1", "Ada").await.expect("it is stored");
    assert!(users.local().contains_key("1"));
    let mut foreign = server.foreign();
    assert_eq!(foreign.get("users:0:1").as_deref(), Some("Ada"));
    foreign.set("users:0:1", "Grace");
    until("the change has arrived", || !users.local().contains_key("1")).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("Grace"));
}

#[cfg(feature = "tls")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_of_another_authority_is_no_connection() {
    let (Some(certificates), Some(others)) = (Certificates::make(), Certificates::make()) else { return };
    let Some((_server, port)) = certificates.server() else { return };
    let remote = Remote::builder(others.client(port)).connect().expect("the options are valid");
    until("attempts have failed", || remote.stats().failed_attempts > 1).await;
    assert!(!remote.is_connected());
    connected(Remote::builder(certificates.client(port))).await;
}
