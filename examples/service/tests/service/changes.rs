//! Changes that other instances and other programs make.

use axum::http::StatusCode;

use crate::support::{Database, ROWS, name_of, named, run, wait_for, wait_for_name, wait_until};

#[test]
fn a_write_by_one_instance_reaches_the_other() {
    run(async {
        let database = Database::new("changes_instances");
        let (writer, reader) = (database.instance(&[]).await, database.instance(&[]).await);
        let mut connection = writer.connect().await.unwrap();
        for id in [1, ROWS + 1] {
            let before = name_of(&reader, id).await.unwrap();
            assert_eq!(name_of(&reader, id).await.unwrap(), before);
            assert_eq!(connection.put(id, &named("Ada")).await.unwrap(), StatusCode::NO_CONTENT);
            wait_for_name(&reader, id, Some("Ada")).await;
            assert_eq!(connection.delete(id).await.unwrap(), StatusCode::NO_CONTENT);
            wait_for_name(&reader, id, None).await;
        }
        // No other entry was dropped for that.
        assert_eq!(reader.metrics().await.unwrap().of_users("invalidations"), 1.0, "that of the start");
    });
}

#[test]
fn a_change_by_psql_reaches_all_instances() {
    run(async {
        let database = Database::new("changes_psql");
        let instances = [database.instance(&[]).await, database.instance(&[]).await];
        let steps = [
            ("UPDATE users SET name = 'Ada' WHERE id = 1", 1, Some("Ada")),
            ("UPDATE users SET id = 1000 WHERE id = 1", 1, None),
            ("INSERT INTO users VALUES (1, 'Grace', '', '')", 1, Some("Grace")),
            ("DELETE FROM users WHERE id = 1", 1, None),
            ("UPDATE users SET name = 'Everyone'", ROWS, Some("Everyone")),
            ("TRUNCATE users", ROWS, None),
        ];
        for (statement, id, name) in steps {
            for instance in &instances {
                name_of(instance, id).await.unwrap();
            }
            database.psql(statement);
            for instance in &instances {
                wait_for_name(instance, id, name).await;
            }
        }
    });
}

/// A load reads the row, and returns only after the row has changed and the notification was heard.
#[test]
fn a_load_that_a_notification_overtakes_is_not_stored() {
    run(async {
        let database = Database::new("changes_overtaken");
        // A query for a user reads its row, and then waits for the lock of its id.
        database.psql(
            "ALTER TABLE users RENAME TO rows;
             CREATE FUNCTION wait_for(id bigint) RETURNS boolean LANGUAGE plpgsql AS $$
             BEGIN
               PERFORM pg_advisory_lock_shared(id);
               PERFORM pg_advisory_unlock_shared(id);
               RETURN true;
             END $$;
             CREATE VIEW users AS SELECT * FROM rows WHERE wait_for(id)",
        );
        let service = database.instance(&[]).await;
        let lock = database.connect().await;
        lock.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();

        let mut connection = service.connect().await.unwrap();
        let older = tokio::spawn(async move { connection.get(1).await.unwrap() });
        let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted \
                     AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        wait_until("the load has read its row", async || {
            lock.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 1
        })
        .await;

        // Notifications come in order: once the second change is seen, the first one was heard.
        name_of(&service, 2).await.unwrap();
        database.psql("UPDATE rows SET name = 'newer' WHERE id = 1");
        database.psql("UPDATE rows SET name = 'newer' WHERE id = 2");
        wait_for_name(&service, 2, Some("newer")).await;

        lock.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
        let (status, user) = older.await.unwrap();
        assert_eq!((status, user.unwrap().name.as_str()), (StatusCode::OK, "User 1"), "it began before the change");
        assert_eq!(name_of(&service, 1).await.unwrap().as_deref(), Some("newer"));
        wait_for(&service, "the result is discarded", |metrics| metrics.of_users("discarded_loads") == 1.0).await;
    });
}
