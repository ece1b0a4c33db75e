//! [`AsyncLoad`]: the functions of loaders for tasks, and how a leader runs them.

use core::future::Future;
use core::pin::Pin;
use std::sync::Arc;

use super::handles::Shared;
use super::leader::Leader;
use super::outcome::Answer;
use super::runtime::Task;
use super::trace::Span;
use super::{IntoLoaded, LoaderError, run_async};

/// The functions of an [`AsyncLoader`](crate::AsyncLoader): those that load one key, and those in a
/// [`Batched`](crate::Batched), which load many.
///
/// A function of one key gets the key as `Arc<[u8]>`, and returns a future of a `Result`. The
/// future is `Send` and borrows nothing. `E` is the error of the function. The compiler infers
/// `Kind`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use bytecache::{AsyncLoad, AsyncLoader, Cache, LoadError};
///
/// /// Returns the length of a value that is loaded, whatever loads it.
/// async fn length<F, E, Kind>(loader: &AsyncLoader<F>, key: &str) -> Result<usize, LoadError<E>>
/// where
///     F: AsyncLoad<E, Kind>,
///     E: Send + Sync + 'static,
///     Kind: 'static,
/// {
///     Ok(loader.get_async(key).await?.len())
/// }
///
/// let cache = Cache::new(1 << 20)?;
/// let loader = cache.loader().build_async(|_| async { Ok::<_, std::io::Error>("value") })?;
/// assert_eq!(length(&loader, "key").await?, 5);
/// # Ok(())
/// # }
/// ```
///
/// Other crates cannot implement this trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no function of a loader for tasks",
    note = "it takes an `Arc<[u8]>`, and returns a `Send` future of a `Result`"
)]
pub trait AsyncLoad<E, Kind>: Sized + Send + Sync + 'static {
    /// A load may run in the batch of another caller.
    #[doc(hidden)]
    const IS_BATCHED: bool;

    /// Runs the load of a leader, outside of any batch.
    #[doc(hidden)]
    fn lead(shared: Arc<Shared<Self>>, leader: Leader, purpose: Purpose, place: Place) -> Leading<E>;

    /// Begins the load of a leader that has a flight. Returns the future that runs it, or `None` if
    /// it joins the batch of another caller.
    #[doc(hidden)]
    fn begin(shared: Arc<Shared<Self>>, leader: Leader, purpose: Purpose, place: Place) -> Option<Task>;
}

/// The future of a load.
///
/// It is boxed, so that the futures of a loader's callers do not contain the type of the function.
/// The compiler would otherwise have to prove what the function implements for every lifetime in
/// the error, and could not.
pub(super) type Leading<E> = Pin<Box<dyn Future<Output = Answer<E>> + Send>>;

/// The reason of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// There is no value.
    Load,
    /// There is a value, which is due to be loaded again.
    Refresh,
}

/// The task in which a load runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The task of a caller. It has to end in time.
    Caller,
    /// A task of its own. It goes on after its callers have given up.
    Elsewhere,
}

impl Purpose {
    /// Begins the span of a load. The key is `None` if it is hidden.
    pub(super) fn span(self, key: Option<&[u8]>) -> Span {
        match self {
            Self::Load => Span::of_load(key),
            Self::Refresh => Span::of_refresh(key),
        }
    }
}

impl<F, V, E, K, T> AsyncLoad<E, (V, K, T)> for F
where
    F: Fn(Arc<[u8]>) -> T + Send + Sync + 'static,
    T: Future<Output = Result<V, E>> + Send + 'static,
    V: IntoLoaded + Send + 'static,
    E: LoaderError<K>,
    K: 'static,
{
    const IS_BATCHED: bool = false;

    fn lead(shared: Arc<Shared<Self>>, mut leader: Leader, purpose: Purpose, place: Place) -> Leading<E> {
        // Here, so that its parent is the span of the caller.
        let span = purpose.span(shared.options.shown(&leader.loaders_key()));
        Box::pin(async move {
            let mut limit = shared.limit(place);
            let load = |key| limit.wait(span.run_async(|| shared.run_async(key)));
            match run_async(&mut leader, load).await {
                Some(result) => leader.finish(result, &shared.options),
                None => leader.time_out(&shared.options),
            }
        })
    }

    fn begin(shared: Arc<Shared<Self>>, leader: Leader, purpose: Purpose, place: Place) -> Option<Task> {
        let leading = Self::lead(shared, leader, purpose, place);
        Some(Box::pin(async { drop(leading.await) }))
    }
}
