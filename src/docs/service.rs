//! A service from end to end: a database, several instances, metrics, and a shutdown.
//!
//! The repository has a service to copy, in `examples/service/`. It serves users of a table in
//! PostgreSQL with axum, and each instance has a cache. This page walks through it. The code is
//! quoted from there, and a test compares it.
//!
//! ```text
//!   GET, PUT, DELETE --> routes.rs --> service.rs --> users.rs --> database.rs --> PostgreSQL
//!                                          ^                                           |
//!                                          +---------- listener.rs <----- NOTIFY ------+
//! ```
//!
//! | command | what it does |
//! |---|---|
//! | `./run` | serves on port 8080; starts a PostgreSQL with a million users if `DATABASE_URL` is not set |
//! | `./load` | sends requests to the service with bytecache, and with moka |
//! | `./check` | runs the tests, which start several instances |
//!
//! # Reading
//!
//! The cache of users is a [`Typed`](crate::Typed), built once:
//!
//! ```rust,ignore
//! let cache = Cache::new(max_bytes)?;
//! let collector = PrometheusCollector::new();
//! collector.add("service", &cache);
//! registry.register_collector(Box::new(collector));
//!
//! let users = cache
//!     .namespace("users")
//!     .version(1) // Another layout of `User` gets another version.
//!     .typed(Postcard)
//!     .ttl(Duration::from_secs(600))
//!     .negative_ttl(Duration::from_secs(30)) // An absent user is remembered for half a minute.
//!     .spawner(|load| drop(tokio::spawn(load))) // A load goes on if its callers give up.
//!     .build_async(move |id| {
//!         let database = database.clone();
//!         async move { database.user(id).await }
//!     })?;
//! ```
//!
//! A request calls [`get`](crate::Typed::get). Requests for the same absent user share one query.
//! An id without a row is remembered, too, so that requests for it do not reach the database.
//!
//! # Writing
//!
//! A write changes the database, and then removes the entry:
//!
//! ```rust,ignore
//! let result = self.database.put(id, user).await;
//! self.users.remove(id).await; // After an error, too: the row may have been written.
//! result
//! ```
//!
//! Once the request is answered, no later read of this instance returns the former user. A load
//! that has read the former row is in a *flight*. [`remove`](crate::Typed::remove) detaches the
//! flight, so its result goes only to the callers that already wait for it.
//!
//! A time limit may drop the request between the two steps. The trigger of the next section covers
//! that: the instance hears of its own writes, too. The price is one more load after a write, if
//! the user was read again before the notification came.
//!
//! # Hearing of other instances
//!
//! A trigger sends the id of each row that changes. So it does not matter whether an instance,
//! `psql` or a migration changes the row:
//!
//! ```sql
//! IF TG_OP IN ('UPDATE', 'DELETE') THEN
//!   PERFORM pg_notify('users_changed', OLD.id::text);
//! END IF;
//! IF TG_OP IN ('INSERT', 'UPDATE') THEN
//!   PERFORM pg_notify('users_changed', NEW.id::text);
//! END IF;
//! ```
//!
//! An inserted row counts as a change, because its absence may be remembered. Each instance listens
//! on a connection of its own, and applies all that it hears:
//!
//! ```rust,ignore
//! match event {
//!     Event::Changed(id) => self.users.remove(id).await,
//!     Event::AllChanged => self.users.clear(),
//!     Event::Lost => {
//!         // Relaxed: reads that see it use nothing that was written before.
//!         self.is_listening.store(false, Ordering::Relaxed);
//!         self.users.clear();
//!     }
//!     Event::Listening => {
//!         // Drops the entries of reads that began before the loss and ended after it.
//!         self.users.clear();
//!         self.is_listening.store(true, Ordering::Release);
//!     }
//! }
//! ```
//!
//! `clear` calls [`invalidate_all`](crate::Typed::invalidate_all), which takes a few instructions.
//!
//! # A lost connection
//!
//! PostgreSQL keeps no notifications for a connection that is lost. While an instance hears
//! nothing, it must not trust its cache, and reads the database:
//!
//! ```rust,ignore
//! if !self.is_listening.load(Ordering::Acquire) {
//!     return self.database.user(id).await;
//! }
//! self.users.get(id).await
//! ```
//!
//! The cache is cleared twice. After the first time, nothing that the instance stored while it
//! listened is left. A request that found the connection alive may still begin a load after that,
//! and store its result. A later change of that row is not heard. The second `clear` comes after
//! `LISTEN` has taken effect. It removes such entries, and detaches the loads in progress.
//!
//! A connection that the network has cut shows no sign of that. So the listener asks the server
//! every second for an answer:
//!
//! ```rust,ignore
//! timeout(ANSWER_LIMIT, client.batch_execute("LISTEN users_changed")).await??;
//! service.hear(Event::Listening).await;
//! loop {
//!     sleep(HEARTBEAT).await;
//!     timeout(ANSWER_LIMIT, client.simple_query("SELECT 1")).await??;
//! }
//! ```
//!
//! # A load and a notification
//!
//! A load and a change of its row may meet in three ways:
//!
//! | the load reads | the notification arrives | what happens |
//! |---|---|---|
//! | the former row | after the load has ended | the entry is stored, and then removed |
//! | the former row | before the load has ended | the flight is detached, and its result is not stored |
//! | the newer row | at any time | the entry may be removed and loaded once more |
//!
//! There is no fourth way. PostgreSQL sends a notification after the commit, and only once new
//! queries see the change. A load that begins after the notification reads the newer row. So no
//! former user stays in the cache after the notification of its change was heard. The test
//! `a_load_that_a_notification_overtakes_is_not_stored` delays a load for the second row.
//! [`Stats::discarded_loads`](crate::Stats::discarded_loads) counts these loads.
//!
//! # Guarantees
//!
//! | after | reads return the newer user |
//! |---|---|
//! | the answer to a `PUT` or `DELETE` | on the same instance, at once |
//! | any change of the table | on each instance, once it has heard the notification |
//! | a change while the connection is lost | on that instance, once it has noticed the loss: after 3 s at the latest |
//!
//! Not guaranteed:
//!
//! * Between a commit and its notification, other instances return the former user. That takes
//!   about as long as a round trip to the database. A process that was stopped has to catch up
//!   first.
//! * Reads from a replica may return a row that is older than its notification. Loads have to read
//!   the primary.
//! * `LISTEN` needs a session of its own. A pooler that shares sessions, such as PgBouncer in its
//!   transaction mode, does not deliver notifications.
//! * While the connection is lost, requests for the same user do not share queries. The pool limits
//!   the number of queries that run at once.
//! * A statement that changes a million rows sends a million notifications. For such
//!   statements, disable the trigger, and send one notification without an id in the same
//!   transaction.
//!
//! # Callers that give up
//!
//! A request may take two seconds. Then its client gets an answer, and its future is dropped:
//!
//! ```rust,ignore
//! .layer(TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, limit))
//! ```
//!
//! With a [`spawner`](crate::typed::TypedBuilder::spawner), the load goes on as a task, and later
//! requests find its result. Without one, a query that takes longer than the limit would begin
//! again with each request. No caller ends such a task, so the query needs a limit of its own: the
//! connections set `statement_timeout`.
//!
//! # Metrics
//!
//! `GET /metrics` encodes the registry, with the `PrometheusCollector` of the feature `prometheus`.
//! These metrics are worth an alert:
//!
//! | metric | alert if |
//! |---|---|
//! | `service_listening` | it is 0 for a minute: all reads go to the database |
//! | `bytecache_hits_total`, `bytecache_misses_total` | the ratio of hits falls |
//! | `bytecache_load_failures_total` | it rises: queries fail |
//! | `bytecache_load_duration_seconds` | its upper classes fill: queries are slow |
//! | `bytecache_undecodable_total` | it rises: a layout has changed without its version |
//!
//! Samples with the label `namespace` are parts of those without it. A query selects one of the
//! two.
//!
//! # Shutdown
//!
//! After `SIGTERM` the service accepts no more connections, and answers the requests in progress.
//! It ends after that, or after 20 seconds. The cache needs no step of its own. Loads whose callers
//! are gone end with the runtime.
//!
//! A [snapshot](super::snapshots) does not suit this service. Changes that come while an instance
//! is down are not heard, so a restored user may be older than the table.
