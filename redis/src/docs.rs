//! Guarantees, the format in Redis, failures, and limits.
//!
//! An *instance* is a process with a [`Tiered`](crate::Tiered). The *store* is the database behind
//! the loader. A *foreign* client is any client of the server that is no instance, such as
//! `redis-cli`.
//!
//! # Guarantees
//!
//! | when | guarantee |
//! |---|---|
//! | always | Once an instance has read a value from Redis, it returns no version of any key that Redis had replaced before that read. In a cluster this holds for the keys of one node. |
//! | the connection works | A change in Redis by any client is seen by each instance once its invalidation arrives. That takes about half a round trip. |
//! | the connection is lost, delayed or half-open | Local entries are served for at most [`max_staleness`](crate::RemoteBuilder::max_staleness) after the last moment at which the connection is known to have worked. Then the local tier is reset. |
//! | there is no connection | Missing keys are loaded by the loader, once for each key in a process. Results are kept locally for at most `max_staleness`. |
//! | the connection is back | The local tier is reset before entries from Redis are kept. |
//! | `remove` or `insert` returned `Ok` | This instance never returns an older value from either tier, until its process ends. The other instances follow as above. An insert protects for no longer than its lifetime: if that is shorter than the life of a tombstone, a load that began before may store the older value after it. |
//! | `remove` returned `Ok` | A load that began before, in any process, does not bring the old value back if Redis receives its write before the tombstone expires: load limit plus two command timeouts after the removal. |
//! | `invalidate_all` returned `Ok` | As for `remove`, for all keys of the namespace. Later loads go to the new generation. |
//! | `remove`, `insert` or `invalidate_all` returned an error | Nothing about other instances: they may serve older values until their lifetimes end. If [`is_outcome_unknown`](crate::Error::is_outcome_unknown), the command may take effect later, also after newer writes. Repeat it until it succeeds. |
//! | a foreign client sets a key | Instances read it as any other value. It replaces tombstones. |
//! | a foreign client deletes a key | The entry leaves all local tiers. But a load that began before the change may store the older value in Redis again, as there is no tombstone. Use `remove`, or delete twice: the second time after the load limit. |
//! | a foreign client sets or deletes `namespace:generation` | As `invalidate_all`. If the number is lower than before, the first instance that remembers a higher number sets it to one more than that. |
//! | the server, or a node of a cluster, is flushed | All local tiers are reset. |
//! | the server fails over, and loses writes that it had confirmed | Instances connect again, reset their local tiers, and read what the new server has. Lost removals are not found. |
//!
//! The table assumes that Redis evicts neither generations nor tombstones. Give the server enough
//! memory, and a `maxmemory-policy` that begins with `volatile-`, as generations have no expiry.
//! After the loss of a generation while no instance runs, entries of an older one may be read until
//! they expire. After the loss of a tombstone, a removal protects no better than a `DEL`.
//!
//! Values are compared with what Redis holds, not with the store: between a write to the store and
//! the `remove` after it, all tiers have the older value.
//!
//! # Format
//!
//! | key in Redis | value |
//! |---|---|
//! | `users:generation` | the generation of the namespace `users` as a decimal number; absent: 0 |
//! | `users:0:KEY` | the plain bytes of the value under `KEY`, in generation 0 |
//! | `users:0:KEY` | `\0bytecache:nothing`: the loader found nothing |
//! | `users:0:KEY` | `\0bytecache:removed:` and 16 hexadecimal digits: a tombstone |
//!
//! ```text
//! redis-cli GET users:generation          # (nil): 0
//! redis-cli GET users:0:42                # the value under 42
//! redis-cli SET users:0:42 Ada EX 300     # change it, for all instances
//! redis-cli INCR users:generation         # invalidate all
//! ```
//!
//! Values that begin with `\0bytecache:` are refused. Each key has an expiry in Redis: its time to
//! live and its stale period together. An instance keeps a value for no longer than Redis does. A
//! value that a foreign client stored without an expiry is kept for the
//! [`ttl`](crate::TieredBuilder::ttl) of the namespace. Entries of older generations leave by their
//! expiry.
//!
//! # How it works
//!
//! Each instance has two connections to the server, or to each primary of a cluster. Over one of
//! them Redis sends the invalidations of all keys of its namespaces: `CLIENT TRACKING ON BCAST
//! NOLOOP PREFIX users:`, as push messages of RESP3. The same connection carries the writes and
//! pings. The other one carries the reads, so that long values do not delay invalidations.
//!
//! * **Flights.** A load runs in a flight of the local tier, which an invalidation ends. So a value
//!   that was read before an invalidation is not kept after it. Inserts take a
//!   [`Lease`](bytecache::Lease) before their command is sent.
//! * **Clusters.** The keys of a namespace lie on all nodes, by their slots. The slots are read
//!   when the instance connects, and each primary is tracked. A connection to one of them that is
//!   lost, and a key that has moved to another node, end all connections. The instance then reads
//!   the slots again. A command goes to the node of its key. So `get_many` takes two round trips to
//!   each node, at the same time.
//! * **Fences.** Redis sends invalidations at the end of an event cycle, so a reply that shows a
//!   change may come first. A value from Redis is returned only after a ping over the tracked
//!   connection was answered. All invalidations that belong before the value have arrived by then.
//!   Hence a hit in Redis takes two round trips. They cannot be one: a ping that is sent with the
//!   read is executed in the same cycle, and answered before the invalidations of that cycle.
//! * **Own writes.** With `NOLOOP`, an instance keeps the value that it has just inserted. It is
//!   not told of its own writes, so each is followed to its end by a task. A write without an
//!   answer resets the local tier and ends the connection, as it may take effect later: for the
//!   next connection it is then the write of another client.
//! * **Generations.** Each write also asks for the number of the generation, at the same time. If
//!   it is another one than this instance knew, the write is repeated in the current generation. In
//!   a cluster a write so needs the node of that number, too.
//! * **Fills.** A loaded value is stored with `NX`, so it replaces nothing. If the load has seen a
//!   tombstone or a value in its stale period, a script replaces that very entry, and no other.
//!   Redis does send an instance the invalidations of its own scripts. So such a value is read once
//!   more from Redis before it stays in the local tier. A value that would live shorter than the
//!   tombstone does not replace it. It stays in the local tier alone, for its own lifetime.
//! * **The last writer.** If two clients change a key in one event cycle, Redis leaves the
//!   invalidation out for the client of the last change. So a fill could hide a deletion by another
//!   client. A load stores nothing in Redis once a later load or an insert of its key has begun. If
//!   its fill was already sent, it removes the local entry.
//! * **Batches.** With [`build_batched`](crate::TieredBuilder::build_batched), keys that are in
//!   neither tier are loaded in batches. While two batches are being loaded, further keys gather in
//!   the next one. Reads of Redis need no batches: commands of all tasks share a connection, and
//!   none waits for the answer of another.
//! * **Only what Redis holds.** Redis sends no invalidation of a key that it does not hold. A
//!   loaded value that could not be stored there is kept locally for at most `max_staleness`.
//!
//! # Failures
//!
//! | failure | what an instance does |
//! |---|---|
//! | Redis cannot be reached | connects again, after 20 ms at first, then after up to 1 s, and up to half more at random |
//! | a connection is half-open, or the server has stopped | finds it by a ping, one for each quarter of `max_staleness`, with a timeout of half of it |
//! | the connection of reads alone is half-open | connects again after 16 pings in a row without an answer: 12 s by default |
//! | the server ends a connection whose output buffer is full | connects again |
//! | reads do not return in time | after [five in a row](crate::RemoteBuilder::breaker), reads are refused for a second; then one read probes the server |
//! | a write does not return in time | returns [`Error::TimedOut`](crate::Error::TimedOut), ends the connection, connects again |
//! | the server is out of memory | reads go on; loaded values are kept locally for at most `max_staleness`; inserts and removals return the error |
//! | the server is a replica, or becomes one | finds it by the next ping; is treated as not connected |
//! | a primary of a cluster cannot be reached, or refuses commands | is treated as not connected, for all keys, until a replica has taken over |
//! | a key of a cluster is being moved | its reads are loaded by the loader, and its writes return the error |
//!
//! Each command waits for at most the [`command_timeout`](crate::RemoteBuilder::command_timeout). A
//! read waits for up to three of these times, and for the loader. After a change it is one more,
//! and the [`reload_jitter`](crate::TieredBuilder::reload_jitter). After a reconnection it is one
//! more, and up to six more if the number of the generation has gone back. The circuit breaker is
//! one for all nodes of a cluster.
//!
//! # What to watch
//!
//! [`Tiered::stats`](crate::Tiered::stats) counts the work beyond the local tier. The feature
//! `prometheus` adds a `TierCollector` for `prometheus-client`. The feature `tracing` adds spans
//! around commands and loads, and events of the connection. None of them shows a key or a value.
//!
//! [`Tiered::verify`](crate::Tiered::verify) compares a sample of local entries with Redis. On a
//! healthy system it finds nothing.
//!
//! # The choice of the client
//!
//! The crate is built on the client `redis`. It passes push messages to a function in the task that
//! reads the connection, in order with the replies. Fences depend on that. It supports RESP3, and
//! has regular releases. Its connection to a cluster passes push messages through a channel to
//! another task, not in order with the replies. So this crate connects to each node by itself.
//!
//! The client `fred` passes invalidations to another task, by a broadcast channel. Such a channel
//! is not in order with the replies, and drops messages for a receiver that lags. `fred` reconnects
//! by itself; but here a session must end with the first message that may be lost, so the
//! reconnection is part of this crate in any case. `fred` needs 84 crates with the features that
//! this crate would use, and `redis` needs 58.
//!
//! # TLS and authentication
//!
//! They are options of the client. The feature `tls` of this crate turns on the client's rustls.
//! The service passes a `rediss://` address, or a client of `redis::Client::build_with_tls` with
//! its own certificates. It also depends on `rustls` with a provider of cryptography: the feature
//! `ring` or `aws_lc_rs`.
//!
//! In a cluster the nodes tell their ports for TLS only with the option `tls-cluster yes` of the
//! server.
//!
//! A user of an instance needs these commands, and the keys of its namespaces. In a cluster it also
//! needs `+cluster|slots +cluster|info`, and for another database than 0 `+select`.
//!
//! ```text
//! ACL SETUSER app on >secret ~users:* +get +pttl +set +eval +incrby +ping +hello +role +client|tracking
//! ```
//!
//! # What is not there
//!
//! * Sentinel. An instance connects to one address that follows the primary, or to a cluster.
//! * Keys of a cluster while one of its primaries cannot be reached: see the table of failures.
//! * Knowledge of a primary that is cut off from the rest of its cluster. An instance that is cut
//!   off with it reads what that primary has. After the `cluster-node-timeout` such a primary
//!   refuses commands, and the instance leaves it by the next ping.
//! * Time that passes while the machine is suspended: limits and lifetimes do not count it.
//! * A bound on how old the result of a slow load is. Callers that join a load in progress get its
//!   result, unless an invalidation has come between. Without a connection, it is as old as the
//!   load is long, up to the [`load_limit`](crate::TieredBuilder::load_limit).
//! * Refreshes before the end of a lifetime.
//! * Reads from replicas.
