//! The program: options, start, and the end.

use std::sync::Arc;
use std::time::Duration;

use axum::BoxError;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tokio_postgres::Config;
use user_service::database::{Database, parse_address};
use user_service::listener::listen;
use user_service::routes::routes;
use user_service::service::{Service, UserCache};
use user_service::users::Users;
use user_service::with_moka::MokaUsers;

const HELP: &str = "\
Serves users of a table in PostgreSQL, whose address is in DATABASE_URL.

  --address ADDRESS          where to listen, 127.0.0.1:8080 by default
  --cache bytecache|moka     the cache in front of the table
  --cache-mib MIB            its size, 64 by default
  --request-limit-ms MS      the longest time for a request, 2000 by default
  --help                     this text";

/// The longest time in which requests in progress may end after a signal.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(20);

struct Options {
    address: String,
    is_moka: bool,
    cache_bytes: usize,
    request_limit: Duration,
}

impl Options {
    /// Returns the options of the command line, or `None` if it asks for help.
    fn parse() -> Result<Option<Self>, lexopt::Error> {
        use lexopt::prelude::*;
        let mut options = Self {
            address: "127.0.0.1:8080".to_string(),
            is_moka: false,
            cache_bytes: 64 << 20,
            request_limit: Duration::from_millis(2000),
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("address") => options.address = arguments.value()?.string()?,
                Long("cache") => {
                    options.is_moka = arguments.value()?.parse_with(|name| match name {
                        "bytecache" => Ok(false),
                        "moka" => Ok(true),
                        _ => Err("the cache is bytecache or moka"),
                    })?;
                }
                Long("cache-mib") => options.cache_bytes = arguments.value()?.parse::<usize>()?.saturating_mul(1 << 20),
                Long("request-limit-ms") => {
                    options.request_limit = Duration::from_millis(arguments.value()?.parse()?);
                }
                Long("help") => return Ok(None),
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(Some(options))
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let Some(options) = Options::parse()? else {
        println!("{HELP}");
        return Ok(());
    };
    let address = parse_address(&std::env::var("DATABASE_URL").map_err(|_| "DATABASE_URL is not set")?)?;
    let mut registry = Registry::default();
    let database = Database::new(&address, &mut registry)?;
    if options.is_moka {
        let users = MokaUsers::new(options.cache_bytes, database.clone());
        serve(Service::new(database, users, &mut registry), registry, address, &options).await
    } else {
        let users = Users::new(options.cache_bytes, database.clone(), &mut registry)?;
        serve(Service::new(database, users, &mut registry), registry, address, &options).await
    }
}

/// Serves until a signal to end, and then until the requests in progress have ended.
async fn serve<C: UserCache>(
    service: Service<C>,
    registry: Registry,
    database: Config,
    options: &Options,
) -> Result<(), BoxError> {
    let service = Arc::new(service);
    tokio::spawn(listen(database, Arc::clone(&service)));

    let socket = TcpListener::bind(&options.address).await?;
    println!("listening on {}", socket.local_addr()?);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (end, has_ended) = oneshot::channel();
    let ended = async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        let _ = end.send(()); // Fails only if nobody waits for it any more.
    };
    let late = async {
        let _ = has_ended.await; // An error is an end, too.
        sleep(SHUTDOWN_LIMIT).await;
    };
    let server = axum::serve(socket, routes(service, registry, options.request_limit)).with_graceful_shutdown(ended);
    tokio::select! {
        result = server => Ok(result?),
        () = late => Err("requests in progress did not end in time".into()),
    }
}
