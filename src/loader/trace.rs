//! Spans and warnings about loads, with the feature `tracing`. Without it nothing is recorded.
//!
//! A span is entered while the function of a loader runs, or while its future is polled. It is a
//! child of the span in which the load begins: that of the caller, also if the load is a task of
//! its own. A batch begins where it runs.
//!
//! | span | fields |
//! |---|---|
//! | `load` | `key`: at most 64 bytes of the key, unless it is hidden; `refresh`: whether there was an entry; `failed` |
//! | `load_many` | `keys`: their number; `failed` |

#[cfg(feature = "tracing")]
pub(super) use real::{Span, warn_too_large};
#[cfg(not(feature = "tracing"))]
pub(super) use silent::{Span, warn_too_large};

#[cfg(feature = "tracing")]
mod real {
    use core::fmt;
    use core::future::{Future, poll_fn};
    use core::pin::pin;

    use tracing::field::{DisplayValue, Empty, display};
    use tracing::{debug_span, warn};

    use crate::cache::Cache;

    /// The bytes of a key that are shown.
    const SHOWN: usize = 64;

    /// The beginning of a key, as in a byte string.
    struct Key<'a>(&'a [u8]);

    impl fmt::Display for Key<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let shown = &self.0[..self.0.len().min(SHOWN)];
            write!(f, "{}{}", shown.escape_ascii(), if shown.len() < self.0.len() { "..." } else { "" })
        }
    }

    fn shown(key: Option<&[u8]>) -> Option<DisplayValue<Key<'_>>> {
        key.map(Key).map(display)
    }

    /// The span of a load.
    pub(in super::super) struct Span(tracing::Span);

    impl Span {
        /// Begins the span of a load. The key is `None` if it is hidden.
        pub(in super::super) fn of_load(key: Option<&[u8]>) -> Self {
            Self::of_key(key, false)
        }

        /// Begins the span of a refresh.
        pub(in super::super) fn of_refresh(key: Option<&[u8]>) -> Self {
            Self::of_key(key, true)
        }

        fn of_key(key: Option<&[u8]>, refresh: bool) -> Self {
            Self(debug_span!(target: "bytecache", "load", key = shown(key), refresh, failed = Empty))
        }

        pub(in super::super) fn of_many(keys: usize) -> Self {
            Self(debug_span!(target: "bytecache", "load_many", keys, failed = Empty))
        }

        /// Runs a loader in the span.
        pub(in super::super) fn run<V, E>(self, load: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
            let result = self.0.in_scope(load);
            self.0.record("failed", result.is_err());
            result
        }

        /// Like [`run`](Self::run), but for a loader in a task.
        pub(in super::super) fn run_async<V, E, F>(self, load: impl FnOnce() -> F) -> impl Future<Output = Result<V, E>>
        where
            F: Future<Output = Result<V, E>>,
        {
            let loading = self.0.in_scope(load);
            async move {
                let mut loading = pin!(loading);
                let result = poll_fn(|context| self.0.in_scope(|| loading.as_mut().poll(context))).await;
                self.0.record("failed", result.is_err());
                result
            }
        }
    }

    /// Warns of a loaded value that is too large to be stored, once for each cache. `bytes` is the
    /// size of the key and the value. The key is `None` if it is hidden.
    pub(in super::super) fn warn_too_large(cache: &Cache, key: Option<&[u8]>, bytes: usize) {
        if cache.is_first_too_large() {
            warn!(
                target: "bytecache",
                key = shown(key),
                bytes,
                max_entry_bytes = cache.max_entry_bytes(),
                "a loaded value is too large to be stored, and is loaded again by each call: \
                 see `rejected_too_large` for others"
            );
        }
    }
}

#[cfg(not(feature = "tracing"))]
mod silent {
    use core::future::Future;

    use crate::cache::Cache;

    /// The span of a load, which tells nothing.
    pub(in super::super) struct Span;

    impl Span {
        #[inline]
        pub(in super::super) fn of_load(_key: Option<&[u8]>) -> Self {
            Self
        }

        #[inline]
        pub(in super::super) fn of_refresh(_key: Option<&[u8]>) -> Self {
            Self
        }

        #[inline]
        pub(in super::super) fn of_many(_keys: usize) -> Self {
            Self
        }

        #[inline]
        pub(in super::super) fn run<V, E>(self, load: impl FnOnce() -> Result<V, E>) -> Result<V, E> {
            load()
        }

        #[inline]
        pub(in super::super) fn run_async<V, E, F>(self, load: impl FnOnce() -> F) -> impl Future<Output = Result<V, E>>
        where
            F: Future<Output = Result<V, E>>,
        {
            load()
        }
    }

    #[inline]
    pub(in super::super) fn warn_too_large(_cache: &Cache, _key: Option<&[u8]>, _bytes: usize) {}
}
