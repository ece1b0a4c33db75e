//! [`BoxAsyncLoader`]: a loader for tasks whose type does not name its function.

use core::future::Future;
use core::pin::Pin;
use std::sync::Arc;

use super::handles::{AsyncLoader, Shared};
use super::{IntoLoaded, Loaded};

/// The function of a [`BoxAsyncLoader`].
pub type BoxAsyncLoad<E> =
    Box<dyn Fn(Arc<[u8]>) -> Pin<Box<dyn Future<Output = Result<Loaded<Vec<u8>>, E>> + Send>> + Send + Sync>;

/// A loader for tasks whose function is boxed, from [`AsyncLoader::boxed`]: its type can be named.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::io;
/// use bytecache::{BoxAsyncLoader, BuildError, Cache};
///
/// struct Pages {
///     loader: BoxAsyncLoader<io::Error>,
/// }
///
/// impl Pages {
///     fn new(cache: &Cache) -> Result<Self, BuildError> {
///         let loader = cache
///             .loader()
///             .build_async(|path| async move { Ok::<_, io::Error>([b"<h1>", &*path].concat()) })?;
///         Ok(Self { loader: loader.boxed() })
///     }
/// }
///
/// let pages = Pages::new(&Cache::new(1 << 20)?)?;
/// assert_eq!(pages.loader.get_async("index").await?, "<h1>index");
/// # Ok(())
/// # }
/// ```
pub type BoxAsyncLoader<E> = AsyncLoader<BoxAsyncLoad<E>>;

impl<F> AsyncLoader<F> {
    /// Returns this loader with its function in a box, so that its type can be named in a struct.
    ///
    /// The result has the same options, and keeps the mean duration of its loads for itself.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::io;
    /// use bytecache::{BoxAsyncLoader, Cache};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let upper = cache
    ///     .loader()
    ///     .build_async(|key| async move { Ok::<_, io::Error>(key.to_ascii_uppercase()) })?;
    /// let fixed = cache.loader().build_async(|_| async { Ok::<_, io::Error>("value") })?;
    /// let loaders: [BoxAsyncLoader<io::Error>; 2] = [upper.boxed(), fixed.boxed()];
    /// assert_eq!(loaders[0].get_async("key").await?, "KEY");
    /// assert_eq!(loaders[1].get_async("other").await?, "value");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cost
    ///
    /// Each load allocates a box for its future. A value that is not a `Vec<u8>` is converted to
    /// one. Hits cost the same.
    #[must_use]
    pub fn boxed<V, E, T>(self) -> BoxAsyncLoader<E>
    where
        F: Fn(Arc<[u8]>) -> T + Send + Sync + 'static,
        T: Future<Output = Result<V, E>> + Send + 'static,
        V: IntoLoaded,
        V::Value: Into<Vec<u8>>,
        E: 'static,
    {
        let load = |shared: Arc<Shared<F>>| {
            move |key| {
                let loading = shared.call(key);
                Box::pin(async { Ok(to_vec(loading.await?.into_loaded())) }) as Pin<Box<dyn Future<Output = _> + Send>>
            }
        };
        self.map(|shared| Box::new(load(shared)) as BoxAsyncLoad<E>)
    }
}

fn to_vec(loaded: Loaded<impl Into<Vec<u8>>>) -> Loaded<Vec<u8>> {
    match loaded {
        Loaded::Value(value) => Loaded::Value(value.into()),
        Loaded::ValueFor(value, lifetime) => Loaded::ValueFor(value.into(), lifetime),
        Loaded::Absent => Loaded::Absent,
        Loaded::AbsentFor(ttl) => Loaded::AbsentFor(ttl),
    }
}
