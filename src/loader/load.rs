//! [`Load`]: the functions of loaders for threads, and how a leader runs them.

use std::sync::Arc;

use super::async_load::Purpose;
use super::handles::Shared;
use super::leader::Leader;
use super::outcome::Answer;
use super::runtime::Task;
use super::trace::Span;
use super::{IntoLoaded, LoaderError};

/// The functions of a [`Loader`](crate::Loader): those that load one key, and those in a
/// [`Batched`](crate::Batched), which load many.
///
/// A function of one key gets the key as `&[u8]`, and returns a `Result`. `E` is the error of the
/// function. The compiler infers `Kind`.
///
/// ```
/// use bytecache::{Cache, Load, LoadError, Loader};
///
/// /// Returns the length of a value that is loaded, whatever loads it.
/// fn length<F, E, Kind>(loader: &Loader<F>, key: &str) -> Result<usize, LoadError<E>>
/// where
///     F: Load<E, Kind>,
///     E: Send + Sync + 'static,
/// {
///     Ok(loader.get(key)?.len())
/// }
///
/// let cache = Cache::new(1 << 20)?;
/// let loader = cache.loader().build(|_| Ok::<_, std::io::Error>("value"))?;
/// assert_eq!(length(&loader, "key")?, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Other crates cannot implement this trait.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no function of a loader for threads",
    note = "it takes a `&[u8]`, and returns a `Result`"
)]
pub trait Load<E, Kind>: Sized + Send + Sync + 'static {
    /// Returns the most keys of a batch, or `None` if each load runs by itself.
    #[doc(hidden)]
    fn max_batch(&self) -> Option<usize>;

    /// Runs the load of a leader, outside of any batch.
    #[doc(hidden)]
    fn lead(shared: &Shared<Self>, leader: Leader, purpose: Purpose) -> Answer<E>;

    /// Begins the loads of leaders that have flights: at most [`max_batch`](Self::max_batch), and
    /// at least one. Returns the future that runs them, or `None` if all join the batch of another
    /// caller. A future that waits does not block its thread.
    #[doc(hidden)]
    fn begin(shared: &Arc<Shared<Self>>, leaders: Vec<Leader>, purpose: Purpose) -> Option<Task>;
}

impl<F, V, E, K> Load<E, (V, K)> for F
where
    F: Fn(&[u8]) -> Result<V, E> + Send + Sync + 'static,
    V: IntoLoaded,
    E: LoaderError<K>,
{
    fn max_batch(&self) -> Option<usize> {
        None
    }

    fn lead(shared: &Shared<Self>, leader: Leader, purpose: Purpose) -> Answer<E> {
        let span = purpose.span(shared.options.shown(&leader.loaders_key()));
        shared.lead_one(leader, span)
    }

    fn begin(shared: &Arc<Shared<Self>>, leaders: Vec<Leader>, purpose: Purpose) -> Option<Task> {
        let with_span = |leader: Leader| (purpose.span(shared.options.shown(&leader.loaders_key())), leader);
        // Here, so that the parent of each span is the span of the caller.
        let leaders: Vec<(Span, Leader)> = leaders.into_iter().map(with_span).collect();
        let shared = Arc::clone(shared);
        Some(Box::pin(
            async move { leaders.into_iter().for_each(|(span, leader)| drop(shared.lead_one(leader, span))) },
        ))
    }
}
