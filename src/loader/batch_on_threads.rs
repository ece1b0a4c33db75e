//! Batches of loaders for threads: on the executor, or in the call that opened them.

use std::sync::Arc;
use std::time::Instant;

use super::async_load::Purpose;
use super::batch::{Batched, distinct};
use super::handles::Shared;
use super::leader::{AfterWrongCount, Leader, finish_all, run_all};
use super::load::Load;
use super::outcome::Answer;
use super::queue::Opener;
use super::runtime::Task;
use super::trace::Span;
use super::{Failure, IntoLoaded, LoadError, LoaderError};

impl<F, V, E, K> Load<E, (V, K)> for Batched<F>
where
    F: Fn(&[Arc<[u8]>]) -> Result<Vec<Option<V>>, E> + Send + Sync + 'static,
    V: IntoLoaded,
    E: LoaderError<K>,
{
    fn max_batch(&self) -> Option<usize> {
        Some(self.queue.max_keys())
    }

    fn lead(shared: &Shared<Self>, leader: Leader, _: Purpose) -> Answer<E> {
        let mut answer = Err(LoadError::TimedOut);
        shared.lead_many(vec![leader], None, |taken| answer = taken).and(answer)
    }

    fn begin(shared: &Arc<Shared<Self>>, leaders: Vec<Leader>, _: Purpose) -> Option<Task> {
        let mut opener = shared.load.queue.join(leaders)?;
        let shared = Arc::clone(shared);
        Some(Box::pin(async move {
            opener.granted().await;
            let leaders = distinct(opener.take());
            // An error that concerns all keys goes to their followers.
            let _ = shared.lead_many(leaders, Some(opener), drop);
        }))
    }
}

impl<F> Shared<Batched<F>> {
    /// Calls the function for the keys of all leaders, and stores their values. Passes the answer
    /// for each key to `take`.
    ///
    /// The opener is dropped when the function has returned. So the listener, which is notified
    /// later on this thread, may wait for the next batch.
    ///
    /// # Errors
    ///
    /// [`LoadError::WrongCount`]. Then `take` is not called.
    fn lead_many<V, E, K>(
        &self,
        mut leaders: Vec<Leader>,
        opener: Option<Opener<Leader>>,
        mut take: impl FnMut(Answer<E>),
    ) -> Result<(), LoadError<E>>
    where
        F: Fn(&[Arc<[u8]>]) -> Result<Vec<Option<V>>, E>,
        V: IntoLoaded,
        E: LoaderError<K>,
    {
        leaders.iter_mut().for_each(Leader::begin);
        let keys: Vec<Arc<[u8]>> = leaders.iter().map(Leader::loaders_key).collect();
        let began = Instant::now();
        // The opener is dropped as user code of these loads, since an executor may run the next
        // batch at once, on this thread.
        let load = || {
            let _opener = opener;
            Span::of_many(keys.len()).run(|| (self.load.load)(&keys))
        };
        let result = run_all(&mut leaders, |leader| leader, load);
        self.cost.record(began.elapsed());
        let result = result.map_err(Failure::new);
        finish_all(leaders, |leader| leader, result, &self.options, AfterWrongCount::Fail, |_, answer| take(answer))
    }
}
