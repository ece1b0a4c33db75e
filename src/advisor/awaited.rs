//! Misses whose store may follow.
//!
//! The charge of a key that no shadow holds is unknown until it is stored. A later miss may take
//! the place of an earlier one, whose bytes are not counted then.

use crate::policy::spread;

/// The places for misses.
const PLACES: usize = 256;

/// The misses of the last keys.
pub(super) struct AwaitedStores(Box<[Awaited]>);

#[derive(Clone, Copy, Default)]
struct Awaited {
    hash: u64,
    /// The weight of the misses of an entry whose charge was not known.
    unsized_misses: f64,
}

impl AwaitedStores {
    pub(super) fn new() -> Self {
        Self(vec![Awaited::default(); PLACES].into())
    }

    /// Returns the bytes that [`new`](Self::new) allocates.
    pub(super) fn footprint() -> usize {
        PLACES * size_of::<Awaited>()
    }

    /// Forgets all misses.
    pub(super) fn clear(&mut self) {
        self.0.fill(Awaited::default());
    }

    /// Notes a miss of a key. Its weight is 0 if the charge is known.
    pub(super) fn note(&mut self, hash: u64, unsized_misses: f64) {
        let awaited = self.of(hash);
        if awaited.hash != hash {
            *awaited = Awaited { hash, unsized_misses: 0.0 };
        }
        awaited.unsized_misses += unsized_misses;
    }

    /// Returns the weight of the misses of a key that is stored, or `None` if there was no miss.
    pub(super) fn take(&mut self, hash: u64) -> Option<f64> {
        let awaited = self.of(hash);
        (awaited.hash == hash).then(|| core::mem::take(awaited).unsized_misses)
    }

    fn of(&mut self, hash: u64) -> &mut Awaited {
        #[allow(clippy::cast_possible_truncation, reason = "below PLACES")]
        &mut self.0[(spread(hash) >> 20) as usize % PLACES]
    }
}
