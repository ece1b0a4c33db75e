//! Reads of many keys of a [`Typed`] in one call.
//!
//! The loader of bytes looks up all keys and loads the missing values. A value that does not decode
//! is removed, and its key is read again by a call of its own.

use core::borrow::Borrow;

use super::read::{Answer, is_whole};
use super::{Codec, Key, OwnedKey, SharedError, Tasks, Threads, Typed, Values, own_bytes};
use crate::loader::LoadError;
use crate::ring::Value;

/// The state of a key after its bytes were read.
enum Decoded<V> {
    Answered(Answer<V>),
    /// The bytes did not decode, and were removed.
    ReadAgain,
}

impl<C> Values<C> {
    fn decode_answer<V>(&self, key: &[u8], answer: Result<Value, LoadError<SharedError>>) -> Decoded<V>
    where
        C: Codec<V>,
    {
        match answer {
            Ok(value) => match self.codec.decode(&value) {
                Some(value) => Decoded::Answered(Ok(Some(value))),
                None => {
                    self.space.remove_undecodable(key, |bytes| !is_whole(&self.codec, bytes));
                    Decoded::ReadAgain
                }
            },
            Err(LoadError::Absent) => Decoded::Answered(Ok(None)),
            Err(error) => Decoded::Answered(Err(error)),
        }
    }
}

/// Returns the bytes of keys, without a prefix.
fn bytes_of<Q: Key>(keys: &[Q]) -> Vec<Vec<u8>> {
    keys.iter().map(|key| own_bytes(key).as_bytes().to_vec()).collect()
}

impl<K: OwnedKey, V, C: Codec<V>> Typed<K, V, C, Threads> {
    /// Returns the values under `keys`, in order, with a result for each. Loads the missing values.
    /// See [`Loader::get_many`](crate::Loader::get_many).
    ///
    /// # Errors
    ///
    /// Each key has a result of its own, with the errors of [`get`](Self::get).
    ///
    /// ```
    /// use bytecache::Cache;
    /// use bytecache::typed::Utf8;
    /// use std::io::Error;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let load = |id: u64| match id {
    ///     0 => Err(Error::other("down")),
    ///     id => Ok((id < 3).then(|| format!("user {id}"))),
    /// };
    /// let names = cache.namespace("names").typed(Utf8).build_loader(load)?;
    /// let found = names.get_many(&[0, 1, 3]);
    /// assert!(found[0].is_err());
    /// assert!(matches!(&found[1], Ok(Some(name)) if name == "user 1"));
    /// assert!(matches!(&found[2], Ok(None)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get_many<Q>(&self, keys: &[Q]) -> Vec<Result<Option<V>, LoadError<SharedError>>>
    where
        K: Borrow<Q>,
        Q: Key,
    {
        let bytes = bytes_of(keys);
        let answers = self.loads.0.get_many(&bytes);
        let decoded = answers.into_iter().zip(&bytes).map(|(answer, key)| self.values.decode_answer(key, answer));
        let answer = |(decoded, key)| match decoded {
            Decoded::Answered(answer) => answer,
            Decoded::ReadAgain => self.get(key),
        };
        decoded.zip(keys).map(answer).collect()
    }
}

impl<K: OwnedKey, V, C: Codec<V>> Typed<K, V, C, Tasks> {
    /// Returns the values under `keys`, in order, with a result for each. Loads the missing values
    /// at the same time, or in batches. See
    /// [`AsyncLoader::get_many_async`](crate::AsyncLoader::get_many_async).
    ///
    /// # Errors
    ///
    /// Each key has a result of its own, with the errors of [`get`](Self::get).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use bytecache::Cache;
    /// use bytecache::typed::Utf8;
    /// use std::io::Error;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let load = |id: u64| async move { Ok::<_, Error>((id < 3).then(|| format!("user {id}"))) };
    /// let names = cache.namespace("names").typed(Utf8).build_async(load)?;
    /// let found = names.get_many(&[1, 3]).await;
    /// assert!(matches!(&found[0], Ok(Some(name)) if name == "user 1"));
    /// assert!(matches!(&found[1], Ok(None)));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_many<Q>(&self, keys: &[Q]) -> Vec<Result<Option<V>, LoadError<SharedError>>>
    where
        K: Borrow<Q>,
        Q: Key,
    {
        let bytes = bytes_of(keys);
        let mut found = Vec::with_capacity(keys.len());
        for ((answer, bytes), key) in self.loads.0.get_many(&bytes).await.into_iter().zip(&bytes).zip(keys) {
            found.push(match self.values.decode_answer(bytes, answer) {
                Decoded::Answered(answer) => answer,
                Decoded::ReadAgain => self.get(key).await,
            });
        }
        found
    }
}
