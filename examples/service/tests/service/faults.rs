//! A lost connection, callers that give up, and the end of an instance.

use axum::http::StatusCode;
use user_service::driver::Metrics;

use crate::support::{Database, ROWS, name_of, run, wait_for, wait_for_name, wait_until};

const TERMINATE_LISTENER: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
     WHERE datname = current_database() AND application_name = 'user-service listener'";

#[test]
fn without_a_listener_answers_come_from_the_database() {
    run(async {
        let database = Database::new("faults_lost");
        let service = database.instance(&[]).await;
        let writer = database.connect().await;
        for id in [1, 2, ROWS + 1] {
            name_of(&service, id).await.unwrap();
        }

        // The listener cannot connect again, but connections that exist go on.
        let server = Database { address: std::env::var("DATABASE_URL").unwrap() };
        server.psql("ALTER DATABASE faults_lost ALLOW_CONNECTIONS false");
        writer.batch_execute(TERMINATE_LISTENER).await.unwrap();
        wait_for(&service, "the loss is noticed", |metrics| !metrics.is_listening()).await;
        for name in ["new", "newer"] {
            writer.batch_execute(&format!("UPDATE users SET name = '{name}' WHERE id = 1")).await.unwrap();
            assert_eq!(name_of(&service, 1).await.unwrap().as_deref(), Some(name));
        }
        writer.batch_execute("INSERT INTO users SELECT 101, 'inserted', '', ''").await.unwrap();
        assert_eq!(name_of(&service, ROWS + 1).await.unwrap().as_deref(), Some("inserted"));

        server.psql("ALTER DATABASE faults_lost ALLOW_CONNECTIONS true");
        wait_for(&service, "it listens again", Metrics::is_listening).await;
        let before = service.metrics().await.unwrap();
        assert!(before.of_users("invalidations") >= 3.0, "one at the start, at the loss, and at the return");
        for _ in 0..2 {
            assert_eq!(name_of(&service, 1).await.unwrap().as_deref(), Some("newer"));
            assert_eq!(name_of(&service, 2).await.unwrap().as_deref(), Some("User 2"));
        }
        let after = service.metrics().await.unwrap();
        assert_eq!(after.database_reads() - before.database_reads(), 2.0, "the cache was empty, and is used again");
        writer.batch_execute("UPDATE users SET name = 'newest' WHERE id = 1").await.unwrap();
        wait_for_name(&service, 1, Some("newest")).await;
    });
}

#[test]
fn callers_that_give_up_cost_one_load() {
    run(async {
        let database = Database::new("faults_impatient");
        let service = database.instance(&["--request-limit-ms", "100"]).await;
        let mut lock = database.connect().await;
        let lock = lock.transaction().await.unwrap();
        lock.batch_execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let mut connection = service.connect().await.unwrap();
        for _ in 0..5 {
            assert_eq!(connection.get(1).await.unwrap(), (StatusCode::GATEWAY_TIMEOUT, None));
        }
        lock.commit().await.unwrap();
        wait_for(&service, "the load ends", |metrics| metrics.of_users("loads") == 1.0).await;
        assert_eq!(name_of(&service, 1).await.unwrap().as_deref(), Some("User 1"));
        let metrics = service.metrics().await.unwrap();
        assert_eq!((metrics.database_reads(), metrics.of_users("hits")), (1.0, 1.0));
    });
}

#[test]
fn requests_in_progress_are_answered_before_the_end() {
    run(async {
        let database = Database::new("faults_end");
        let mut service = database.instance(&["--request-limit-ms", "30000"]).await;
        let mut lock = database.connect().await;
        let lock = lock.transaction().await.unwrap();
        lock.batch_execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE").await.unwrap();
        let mut connection = service.connect().await.unwrap();
        let request = tokio::spawn(async move { connection.get(1).await.unwrap() });
        wait_for(&service, "the load begins", |metrics| metrics.database_reads() == 1.0).await;

        service.signal("TERM").await.unwrap();
        wait_until("no connection is accepted", async || service.connect().await.is_err()).await;
        assert!(!request.is_finished());
        lock.commit().await.unwrap();
        let (status, user) = request.await.unwrap();
        assert_eq!((status, user.unwrap().name.as_str()), (StatusCode::OK, "User 1"));
        assert!(service.ended().await.unwrap(), "it reports success");
    });
}

#[test]
fn an_instance_without_a_database_says_so() {
    run(async {
        let database = Database { address: "host=/nowhere user=nobody".to_string() };
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_user-service"));
        let service = user_service::driver::Instance::start(program, &database.address, &[]).await.unwrap();
        let (status, _) = service.connect().await.unwrap().get(1).await.unwrap();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!service.metrics().await.unwrap().is_listening());
    });
}
