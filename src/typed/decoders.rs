//! Two decoders with which a [`Typed`](super::Typed) reads a value in place.
//!
//! A read takes its decoder by value. So the caller's closure needs no flag that says whether it
//! was called. If there is no value, the read returns the decoder.

use core::marker::PhantomData;

use super::{Codec, ViewCodec};
use crate::cache::Decode;

/// Decodes a whole value.
pub(super) struct Whole<'a, V, C> {
    codec: &'a C,
    value: PhantomData<fn() -> V>,
}

impl<'a, V, C: Codec<V>> Whole<'a, V, C> {
    #[inline(always)]
    pub(super) fn new(codec: &'a C) -> Self {
        Self { codec, value: PhantomData }
    }
}

impl<V, C: Codec<V>> Decode for Whole<'_, V, C> {
    type Output = V;

    #[inline(always)]
    fn decode(self, bytes: &[u8]) -> Result<V, Self> {
        self.codec.decode(bytes).ok_or(self)
    }

    fn is_value(&self, bytes: &[u8]) -> bool {
        self.codec.decode(bytes).is_some()
    }
}

/// Calls a closure with the view of a value.
pub(super) struct Viewed<'a, V, C, F> {
    codec: &'a C,
    read: F,
    value: PhantomData<fn() -> V>,
}

impl<'a, V, C: ViewCodec<V>, F> Viewed<'a, V, C, F> {
    #[inline(always)]
    pub(super) fn new(codec: &'a C, read: F) -> Self {
        Self { codec, read, value: PhantomData }
    }
}

impl<V, C: ViewCodec<V>, R, F: FnOnce(&C::View) -> R> Decode for Viewed<'_, V, C, F> {
    type Output = R;

    #[inline(always)]
    fn decode(self, bytes: &[u8]) -> Result<R, Self> {
        match self.codec.view(bytes) {
            Some(value) => Ok((self.read)(value)),
            None => Err(self),
        }
    }

    fn is_value(&self, bytes: &[u8]) -> bool {
        self.codec.view(bytes).is_some()
    }
}
