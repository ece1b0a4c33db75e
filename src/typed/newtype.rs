//! [`newtype_key!`](crate::newtype_key): structs around a key as keys.

/// Makes structs with one unnamed field keys of a [`Typed`](crate::Typed).
///
/// The field has a type that is an [`OwnedKey`](crate::typed::OwnedKey). The struct is written as
/// its field is, so it may replace the type of the field without a new version of the namespace.
///
/// ```
/// use bytecache::typed::Utf8;
/// use bytecache::{Cache, Typed};
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// struct UserId(u64);
/// struct Word((String, u32));
///
/// bytecache::newtype_key!(UserId(u64), Word((String, u32)));
///
/// let cache = Cache::new(1 << 20)?;
/// let names: Typed<UserId, String, _, _> = cache.namespace("names").typed(Utf8).build()?;
/// names.insert(&UserId(7), &"Ada".to_string())?;
/// assert_eq!(names.get(&UserId(7)).as_deref(), Some("Ada"));
/// names.for_each(|id, _| assert_eq!(id, UserId(7)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! newtype_key {
    ($($name:ident($field:ty)),+ $(,)?) => {$(
        impl $crate::typed::Key for $name {
            const BYTES: ::core::option::Option<usize> = <$field as $crate::typed::Key>::BYTES;

            #[inline]
            fn write(&self, key: &mut $crate::typed::KeyBuffer) {
                $crate::typed::Key::write(&self.0, key);
            }
        }

        impl $crate::typed::OwnedKey for $name {
            fn read(key: &[u8]) -> ::core::option::Option<Self> {
                <$field as $crate::typed::OwnedKey>::read(key).map($name)
            }
        }
    )+};
}
