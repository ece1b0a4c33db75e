//! Users and passwords, by the options of the client.

use bytecache_redis::Tiered;

use crate::support::{Server, Store, connected, patient, text, until};

/// The commands that a user of an instance needs, as the documentation says.
pub(crate) const COMMANDS: &str = "+get +pttl +set +eval +incrby +ping +hello +role +client|tracking";

/// A server with a user `app`.
fn server_with_a_user() -> Option<Server> {
    let server = Server::start()?;
    add_user(&server, COMMANDS);
    Some(server)
}

/// Adds a user `app` with these commands, and the password `secret`.
pub(crate) fn add_user(server: &Server, commands: &str) {
    let commands: Vec<_> = commands.split(' ').collect();
    let user = ["ACL", "SETUSER", "app", "reset", "on", ">secret", "~users:*"];
    server.foreign().ask::<String>(&[&user[..], &commands].concat());
}

fn url_of(server: &Server, password: &str) -> String {
    format!("redis://app:{password}@127.0.0.1:{}", server.port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_with_the_documented_commands_can_do_all() {
    let Some(server) = server_with_a_user() else { return };
    let client = redis::Client::open(url_of(&server, "secret")).expect("the address is one");
    let (cache, remote) = connected(patient(client)).await;
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
    let remote = patient(client).connect().expect("the options are valid");
    until("attempts have failed", || remote.stats().failed_attempts > 1).await;
    assert!(!remote.is_connected());
    assert_eq!(remote.stats().failure, Some("the user or the password is wrong"));
    assert!(!format!("{remote:?}").contains("wrong"), "a password is not shown");
}
