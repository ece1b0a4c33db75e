//! Spans around commands to Redis, with the feature `tracing`. Without it nothing is recorded.
//!
//! A span has the target `bytecache_redis`, the name `redis`, and the field `command`. It names no
//! keys and no values.

use core::future::Future;

/// Records a span while the future of a command runs.
#[cfg(feature = "tracing")]
pub(crate) fn traced<F: Future>(command: &'static str, future: F) -> impl Future<Output = F::Output> {
    tracing::Instrument::instrument(future, tracing::debug_span!(target: "bytecache_redis", "redis", command))
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn traced<F: Future>(_command: &'static str, future: F) -> F {
    future
}

/// Records an event of the connection, and its reason if there is one. It names no addresses.
pub(crate) fn event(message: &'static str, reason: &'static str) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "bytecache_redis", reason, "{message}");
    #[cfg(not(feature = "tracing"))]
    let _ = (message, reason);
}
