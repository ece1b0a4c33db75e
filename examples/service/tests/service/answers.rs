//! Answers, and which of them come from the cache.

use axum::http::{Method, StatusCode};
use hyper::body::Bytes;

use crate::support::{Database, ROWS, name_of, named, run};

#[test]
fn users_are_read_once_and_absent_users_too() {
    run(async {
        let service = Database::new("answers_reads").instance(&[]).await;
        for _ in 0..3 {
            assert_eq!(name_of(&service, 1).await.unwrap().as_deref(), Some("User 1"));
            assert_eq!(name_of(&service, ROWS + 1).await.unwrap(), None);
        }
        let metrics = service.metrics().await.unwrap();
        assert_eq!(metrics.database_reads(), 2.0);
        assert_eq!(metrics.of_users("loads"), 2.0);
        assert_eq!(metrics.of_users("loads_not_found"), 1.0);
        assert_eq!(metrics.of_users("negative_hits"), 2.0);
        assert_eq!(metrics.of_users("hits"), 4.0, "the negative ones are among them");
        // The whole cache has the same counts, as it has no other namespace.
        assert_eq!(metrics.get("bytecache_hits_total{cache=\"service\"}"), Some(4.0));
        assert_eq!(metrics.get("bytecache_memory_max_bytes{cache=\"service\"}"), Some(f64::from(64 << 20)));
        let duration = "bytecache_load_duration_seconds_count{cache=\"service\",namespace=\"users\"}";
        assert_eq!(metrics.get(duration), Some(2.0));
    });
}

#[test]
fn the_instance_that_writes_reads_its_writes() {
    run(async {
        let service = Database::new("answers_writes").instance(&[]).await;
        let mut connection = service.connect().await.unwrap();
        for round in 0..20 {
            let user = named(&format!("Ada {round}"));
            assert_eq!(connection.put(1, &user).await.unwrap(), StatusCode::NO_CONTENT);
            assert_eq!(connection.get(1).await.unwrap(), (StatusCode::OK, Some(user)));
            assert_eq!(connection.delete(1).await.unwrap(), StatusCode::NO_CONTENT);
            assert_eq!(connection.get(1).await.unwrap(), (StatusCode::NOT_FOUND, None));
        }
        assert_eq!(connection.delete(1).await.unwrap(), StatusCode::NOT_FOUND);
    });
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    run(async {
        let service = Database::new("answers_refused").instance(&[]).await;
        let mut connection = service.connect().await.unwrap();
        let (status, _) = connection.send(Method::GET, "/users/ada", Bytes::new()).await.unwrap();
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let (status, _) = connection.send(Method::PUT, "/users/1", Bytes::from("{}")).await.unwrap();
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
    });
}
