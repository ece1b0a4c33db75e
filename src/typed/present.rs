//! Reads of a [`Typed`] that find values and negative entries, and never load.

use core::borrow::Borrow;

use super::read::is_whole;
use super::{Codec, Key, KeyBuffer, OwnedKey, Typed};
use crate::cache::Namespace;
use crate::loader::Present;
use crate::shard::Negative;

impl<K: OwnedKey, V, C: Codec<V>, L> Typed<K, V, C, L> {
    /// Returns the state of `key`: its value, a load that has found nothing, or neither. Never
    /// loads or refreshes the value, and waits for nothing. Removes a value that does not decode.
    ///
    /// Counts one hit or one miss. A [negative entry](crate::docs::glossary) is a hit. To look
    /// without counting, call [`peek`](Self::peek).
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Present};
    /// use std::io::Error;
    /// use std::time::Duration;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names = cache
    ///     .namespace("names")
    ///     .typed(Utf8)
    ///     .negative_ttl(Duration::from_secs(30))
    ///     .build_loader(|id: u64| Ok::<_, Error>((id == 1).then(|| "Ada".to_string())))?;
    /// assert_eq!(names.get_if_present(&1), Present::Nothing);
    /// assert_eq!((names.get(&1)?.as_deref(), names.get(&2)?), (Some("Ada"), None));
    /// assert_eq!(names.get_if_present(&1), Present::Value("Ada".to_string()));
    /// assert_eq!(names.get_if_present(&2), Present::Absent);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Cost
    ///
    /// That of [`Namespace::view`], and of decoding.
    #[must_use]
    pub fn get_if_present<Q>(&self, key: &Q) -> Present<V>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        let (space, codec) = (&self.values.space, &self.values.codec);
        let mut stored = KeyBuffer::default();
        self.write_stored_key(key, &mut stored);
        let mut is_undecodable = false;
        let decoded = space.decode_present(stored.as_bytes(), &mut is_undecodable, |bytes| codec.decode(bytes));
        if is_undecodable {
            space.remove_undecodable(Namespace::key_in(stored.as_bytes()), |bytes| !is_whole(codec, bytes));
        }
        match decoded {
            Ok(Some(value)) => Present::Value(value),
            Err(Negative::Absent) => Present::Absent,
            Ok(None) | Err(Negative::Failed) => Present::Nothing,
        }
    }
}
