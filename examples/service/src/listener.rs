//! The connection that hears of changes of the table, from all instances and other programs.
//!
//! A trigger of the table sends a `NOTIFY` for each row that changes: see `schema.sql`. PostgreSQL
//! delivers it after the change is committed, and keeps nothing for a connection that is lost. So
//! the listener reports when it begins and ends to hear everything.

use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::BoxError;
use tokio::time::{sleep, timeout};
use tokio_postgres::{AsyncMessage, Config, NoTls};

use crate::report::report;
use crate::service::{Service, UserCache};

/// Time between two questions whether the server is still there. A connection that a network has
/// cut shows no sign of that until something is sent.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Limit on the wait for an answer. With the heartbeat, this is the longest time in which a lost
/// connection is not noticed.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

/// Time between two attempts to connect.
const RETRY: Duration = Duration::from_millis(200);

/// A report of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// From here on, each change is reported.
    Listening,
    /// The user with this id has changed.
    Changed(i64),
    /// Any user may have changed.
    AllChanged,
    /// From here on, changes may be missed.
    Lost,
}

/// Listens for as long as the future is polled, and connects again when the connection is lost.
pub async fn listen<C: UserCache>(config: Config, service: Arc<Service<C>>) -> Infallible {
    loop {
        let Err(error) = listen_once(&config, &service).await;
        report("the listener has no connection", &*error);
        service.hear(Event::Lost).await;
        sleep(RETRY).await;
    }
}

/// Listens until the connection is lost.
async fn listen_once<C: UserCache>(config: &Config, service: &Service<C>) -> Result<Infallible, BoxError> {
    let mut config = config.clone();
    config.application_name("user-service listener");
    let (client, mut connection) = timeout(ANSWER_LIMIT, config.connect(NoTls)).await??;
    let messages = async {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(change) = message? {
                service.hear(change.payload().parse().map_or(Event::AllChanged, Event::Changed)).await;
            }
        }
        Err("the server has closed the connection".into())
    };
    let questions = async {
        timeout(ANSWER_LIMIT, client.batch_execute("LISTEN users_changed")).await??;
        service.hear(Event::Listening).await;
        loop {
            sleep(HEARTBEAT).await;
            timeout(ANSWER_LIMIT, client.simple_query("SELECT 1")).await??;
        }
    };
    // The first one carries the answers of the second one.
    tokio::select! { end = messages => end, end = questions => end }
}
