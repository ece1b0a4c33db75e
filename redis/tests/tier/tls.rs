//! TLS, by the options of the client: one server, and a cluster.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use bytecache_redis::Tiered;

use crate::cluster::servers::Cluster;
use crate::security::{COMMANDS, add_user};
use crate::support::{Folder, Server, Store, connected, free_port, patient, text, until};

/// The commands that the user needs beside the others in a cluster, as the documentation says.
const CLUSTER_COMMANDS: &str = "+cluster|slots +cluster|info";

/// Certificates in a folder of their own.
struct Certificates(Folder);

impl Certificates {
    /// Makes an authority, and a certificate for the loopback address. Returns `None` where there
    /// is no `openssl`, or no server that knows TLS.
    fn make() -> Option<Self> {
        if Server::start()?.foreign().ask::<Vec<String>>(&["CONFIG", "GET", "tls-port"]).is_empty() {
            eprintln!("the server does not know TLS: left out");
            return None;
        }
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

    fn path(&self, file: &str) -> PathBuf {
        self.0.0.join(file)
    }

    fn option(&self, name: &str, file: &str) -> [String; 2] {
        [name.to_string(), self.path(file).to_string_lossy().into_owned()]
    }

    /// Returns the options of a server with a port for TLS.
    fn options(&self) -> Vec<String> {
        let own = ["--tls-port", &free_port().to_string(), "--tls-auth-clients", "no"].map(String::from);
        let files = [
            self.option("--tls-cert-file", "server.crt"),
            self.option("--tls-key-file", "server.key"),
            self.option("--tls-ca-cert-file", "ca.crt"),
        ];
        own.into_iter().chain(files.into_iter().flatten()).collect()
    }

    fn server(&self) -> Option<Server> {
        Server::start_with(|_| self.options())
    }

    /// Returns a client of a server, which trusts this authority. `user` is the name of a user and
    /// a password, or nothing.
    fn client(&self, server: &Server, user: &str) -> redis::Client {
        let root_cert = std::fs::read(self.path("ca.crt")).expect("it was made");
        let trusted = redis::TlsCertificates { client_tls: None, root_cert: Some(root_cert) };
        let port = server.option("tls-port");
        let address = format!("rediss://{user}127.0.0.1:{port}");
        redis::Client::build_with_tls(address, trusted).expect("the options are valid")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_and_invalidations_go_by_tls() {
    let Some(certificates) = Certificates::make() else { return };
    let Some(server) = certificates.server() else { return };
    let (cache, remote) = connected(patient(certificates.client(&server, ""))).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    users.insert("1", "Ada").await.expect("it is stored");
    assert!(users.local().contains_key("1"));
    let mut foreign = server.foreign();
    assert_eq!(foreign.get("users:0:1").as_deref(), Some("Ada"));
    foreign.set("users:0:1", "Grace");
    until("the change has arrived", || !users.local().contains_key("1")).await;
    assert_eq!(text(&users, "1").await.as_deref(), Some("Grace"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_of_another_authority_is_no_connection() {
    let (Some(certificates), Some(others)) = (Certificates::make(), Certificates::make()) else { return };
    let Some(server) = certificates.server() else { return };
    let remote = patient(others.client(&server, "")).connect().expect("the options are valid");
    until("attempts have failed", || remote.stats().failed_attempts > 1).await;
    assert!(!remote.is_connected());
    connected(patient(certificates.client(&server, ""))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_nodes_of_a_cluster_are_reached_by_tls_as_the_user() {
    let Some(certificates) = Certificates::make() else { return };
    let options = || {
        let mut options = certificates.options();
        options.extend(["--tls-cluster", "yes"].map(String::from));
        options
    };
    let Some(cluster) = Cluster::start_with(options).await else { return };
    cluster.nodes.iter().for_each(|node| add_user(node, &[COMMANDS, CLUSTER_COMMANDS].join(" ")));
    let client = certificates.client(&cluster.nodes[0], "app:secret@");
    let (cache, remote) = connected(patient(client).cluster()).await;
    let users = Store::default().tiered(Tiered::builder(&cache, &remote, "users")).await;
    let keys: Vec<_> = (0..30).map(|key| key.to_string()).collect();
    for key in &keys {
        users.insert(key, "Ada").await.expect("it is stored");
    }
    for node in &cluster.nodes {
        let mut foreign = node.foreign();
        assert!(foreign.ask::<u64>(&["DBSIZE"]) > 0, "each node has some of the keys");
        let clients: String = foreign.ask(&["CLIENT", "LIST"]);
        let address = format!("laddr=127.0.0.1:{} ", node.option("tls-port"));
        let of_user: Vec<_> = clients.lines().filter(|client| client.contains("user=app")).collect();
        assert!(of_user.len() >= 2 && of_user.iter().all(|client| client.contains(&address)), "{clients}");
    }
    for key in &keys {
        assert!(users.local().contains_key(key), "an instance keeps what it inserts");
        cluster.set(&format!("users:0:{key}"), "Grace");
        until("the change has arrived", || !users.local().contains_key(key)).await;
        assert_eq!(text(&users, key).await.as_deref(), Some("Grace"));
    }
    users.invalidate_all().await.expect("it is incremented");
}
