//! Stores to a [`Typed`], removals from it, and atomic changes of its entries.

use core::borrow::Borrow;

use super::{Codec, Counter, Key, KeyBuffer, OwnedKey, Typed, Values, own_bytes};
use crate::cache::{Namespace, Update};
use crate::error::Error;
use crate::expiry::Lifetime;

/// # Writing
///
/// A stored value gets the deadlines that the builder of the namespace has set. The defaults of the
/// cache apply to the others.
impl<K: OwnedKey, V, C: Codec<V>, L> Typed<K, V, C, L> {
    /// Stores `value` under `key`, replacing the current entry. See
    /// [`Namespace::insert`].
    ///
    /// # Errors
    ///
    /// * [`Error::Unencodable`] if the codec does not encode the value;
    /// * those of [`Namespace::insert`].
    ///
    /// Each of them leaves no entry under `key`.
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// names.insert(&1, &"Ada".to_string())?;
    /// assert_eq!(names.get(&1).as_deref(), Some("Ada"));
    ///
    /// assert!(names.insert(&1, &"a".repeat(1 << 20)).is_err());
    /// assert!(!names.contains_key(&1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert<Q>(&self, key: &Q, value: &V) -> Result<(), Error>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        self.insert_with_lifetime(key, value, Lifetime::new())
    }

    /// Stores `value` under `key` with a lifetime of its own. The lifetime of the builder applies
    /// to everything that `lifetime` does not set.
    ///
    /// # Errors
    ///
    /// Those of [`insert`](Self::insert).
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Lifetime, ManualClock, Typed};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::new();
    /// let cache = Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build()?;
    /// let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// let minute = Lifetime::new().ttl(Duration::from_secs(60));
    /// names.insert_with_lifetime(&1, &"Ada".to_string(), minute)?;
    /// clock.advance(Duration::from_secs(61));
    /// assert!(names.get(&1).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn insert_with_lifetime<Q>(&self, key: &Q, value: &V, lifetime: Lifetime) -> Result<(), Error>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        let Values { space, lifetime: usual, .. } = &*self.values;
        // Before the value is encoded: an invalidation meanwhile comes after this.
        let mut stored = KeyBuffer::default();
        self.write_stored_key(key, &mut stored);
        let bytes = self.values.encode_for(Namespace::key_in(stored.as_bytes()), value)?;
        space.store(stored.as_bytes(), &bytes, &lifetime.or(*usual))
    }

    /// Removes the entry under `key`. Returns `true` if there was one. See
    /// [`Namespace::remove`].
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<String, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// names.insert("ada", &"Ada".to_string())?;
    /// assert!(names.remove("ada") && !names.remove("ada"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "invalidate")]
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        self.values.space.remove(own_bytes(key).as_bytes())
    }

    /// Calls `update` with the value under `key`, or with `None`, and stores its result. Returns
    /// `true` if an entry was stored or removed. See [`Namespace::update`].
    ///
    /// The closure may be called several times. It gets `None` for a value that does not decode.
    ///
    /// # Errors
    ///
    /// Those of [`insert`](Self::insert). The entry is removed, unless its value has changed since
    /// the closure was called.
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed, Update};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let lists: Typed<u64, String, _, _> = cache.namespace("lists").typed(Utf8).build()?;
    /// let append = |word| {
    ///     lists.update(&1, |list| Update::Store(list.unwrap_or_default() + word))
    /// };
    /// assert!(append("one;")? && append("two;")?);
    /// assert_eq!(lists.get(&1).as_deref(), Some("one;two;"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn update<Q>(&self, key: &Q, mut update: impl FnMut(Option<V>) -> Update<V>) -> Result<bool, Error>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        let Values { space, codec, lifetime: usual, .. } = &*self.values;
        let mut failure = None;
        let changed = space.update(own_bytes(key).as_bytes(), |bytes| {
            failure = None;
            let (value, lifetime) = match update(bytes.and_then(|bytes| codec.decode(bytes))) {
                Update::Keep => return Update::Keep,
                Update::Remove => return Update::Remove,
                Update::StoreFor(value, lifetime) => (value, Some(lifetime.or(*usual))),
                // A new entry gets the deadlines of this namespace. A present one keeps its own.
                Update::Store(value) => (value, bytes.is_none().then_some(*usual)),
            };
            match (self.values.encode(&value), lifetime) {
                (Ok(bytes), None) => Update::Store(bytes),
                (Ok(bytes), Some(lifetime)) => Update::StoreFor(bytes, lifetime),
                (Err(error), _) => {
                    failure = Some(error);
                    Update::Remove // What is older than a value that does not encode.
                }
            }
        })?;
        match failure {
            None => Ok(changed),
            Some(error) => {
                space.count_unencodable();
                Err(Error::Unencodable { reason: error.into_reason() })
            }
        }
    }

    /// Stores `new` under `key` if the current value has the bytes of `expected`. Returns `true` if
    /// it was stored. The deadlines of the entry stay. See [`Namespace::replace_if`].
    ///
    /// # Errors
    ///
    /// * [`Error::Unencodable`] if one of the values does not encode: the entry is removed;
    /// * those of [`Namespace::replace_if`].
    ///
    /// ```
    /// use bytecache::typed::Utf8;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let names: Typed<u64, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
    /// let [ada, grace] = ["Ada", "Grace"].map(String::from);
    /// names.insert(&1, &ada)?;
    /// assert!(names.replace_if(&1, &ada, &grace)? && !names.replace_if(&1, &ada, &grace)?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn replace_if<Q>(&self, key: &Q, expected: &V, new: &V) -> Result<bool, Error>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        let key = own_bytes(key);
        let expected = self.values.encode_for(key.as_bytes(), expected)?;
        let new = self.values.encode_for(key.as_bytes(), new)?;
        self.values.space.replace_if(key.as_bytes(), expected, new)
    }
}

impl<K: OwnedKey, L> Typed<K, i64, Counter, L> {
    /// Adds `by` to the counter under `key`, and returns the sum. An absent counter begins at `by`,
    /// with the deadlines of the namespace. See [`Namespace::increment`].
    ///
    /// # Errors
    ///
    /// Those of [`Namespace::increment`].
    ///
    /// ```
    /// use bytecache::typed::Counter;
    /// use bytecache::{Cache, Typed};
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// let visits: Typed<u64, i64, _, _> = cache.namespace("visits").typed(Counter).build()?;
    /// assert_eq!((visits.increment(&1, 2)?, visits.increment(&1, 3)?), (2, 5));
    /// assert!(visits.increment(&1, i64::MAX).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn increment<Q>(&self, key: &Q, by: i64) -> Result<i64, Error>
    where
        K: Borrow<Q>,
        Q: Key + ?Sized,
    {
        let Values { space, lifetime, .. } = &*self.values;
        space.increment(own_bytes(key).as_bytes(), by, *lifetime)
    }
}
