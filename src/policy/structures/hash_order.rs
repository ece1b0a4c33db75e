//! [`HashOrder`]: the place of each hash in an array, also while the array is resized in place.
//!
//! ```text
//!   grows      | old layout | old, and read for the places behind | position: new layout ... |
//!   shrinks    | new layout ... position | old layout                                        |
//! ```
//!
//! A high multiply chooses the place, so places ascend with the hashes. In a longer array the place
//! of a hash is the same or a higher one. So the array grows in place from its end to its start,
//! and shrinks from its start to its end: each place is overwritten once all that was in it has
//! been read. The *position* tells which places have the new layout, so a hash always has one
//! place.

use core::ops::Range;

/// The layout of an array by hash.
#[derive(Clone, Debug)]
pub(super) struct HashOrder {
    len: usize,
    /// Boxed, as the layouts of policies lie among what each insert writes to.
    moving: Option<Box<Moving>>,
}

/// A change of the length under way.
#[derive(Clone, Copy, Debug)]
struct Moving {
    to: usize,
    /// The first place that has the new layout where the array grows, and the first that does not
    /// where it shrinks.
    position: usize,
}

/// The next thing to do for another length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing: the array has that length.
    Done,
    /// The array gets this many elements.
    Allocate(usize),
    /// A place is moved to the new layout, and is in it from here on.
    Move(Move),
}

/// A place in the new layout, and those of the old one that its hashes were in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) place: usize,
    pub(super) sources: Range<usize>,
    old_len: u64,
    new_len: u64,
}

impl Move {
    /// Returns the move of a place of `new_len` that is filled from an array of `old_len` places.
    pub(super) fn between(old_len: usize, new_len: usize, place: usize) -> Self {
        let (start, end) = (place as u64 * old_len as u64, (place as u64 + 1) * old_len as u64);
        let (old_len, new_len) = (old_len as u64, new_len as u64);
        #[allow(clippy::cast_possible_truncation, reason = "at most the former length")]
        let sources = (start / new_len) as usize..end.div_ceil(new_len) as usize;
        Self { place, sources, old_len, new_len }
    }

    /// Returns the part of this move that takes from one of its sources.
    pub(super) fn taking_from(&self, source: usize) -> Self {
        Self { sources: source..source + 1, ..self.clone() }
    }

    /// Returns the part of a source's hashes that belong to the place, in a unit that is the same
    /// for all sources.
    pub(super) fn share(&self, source: usize) -> u64 {
        self.share_of(source..source + 1)
    }

    /// Returns the sum of the [shares](Self::share) of adjacent sources.
    pub(super) fn share_of(&self, sources: Range<usize>) -> u64 {
        let place = self.place as u64;
        let start = (sources.start as u64 * self.new_len).max(place * self.old_len);
        (sources.end as u64 * self.new_len).min((place + 1) * self.old_len).saturating_sub(start)
    }
}

impl HashOrder {
    /// Creates the layout of an array of `len` elements, at least one.
    pub(super) fn new(len: usize) -> Self {
        Self { len, moving: None }
    }

    /// Returns the number of places: the former number until a change of it is complete.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns `true` while the length changes.
    pub(super) fn is_moving(&self) -> bool {
        self.moving.is_some()
    }

    /// Returns the number of places at the end of the change under way.
    pub(super) fn final_len(&self) -> usize {
        self.moving.as_ref().map_or(self.len, |moving| moving.to)
    }

    /// Returns the place of a hash at the end of the change under way.
    pub(super) fn final_place(&self, hash: u64) -> usize {
        place_among(self.final_len(), hash)
    }

    /// Returns the move that fills a place of the [final layout](Self::final_len). Its only source
    /// is the place itself if that has been moved.
    pub(super) fn move_to(&self, place: usize) -> Move {
        let len = self.final_len();
        match &self.moving {
            Some(moving) if (place < moving.position) == (len > self.len) => Move::between(self.len, len, place),
            _ => Move::between(len, len, place),
        }
    }

    /// Returns the place of a hash.
    #[inline]
    pub(super) fn place(&self, hash: u64) -> usize {
        match &self.moving {
            None => place_among(self.len, hash),
            Some(moving) => self.place_while_moving(moving, hash),
        }
    }

    #[cold]
    fn place_while_moving(&self, moving: &Moving, hash: u64) -> usize {
        let place = place_among(moving.to, hash);
        let is_moved = (place < moving.position) != (moving.to > self.len);
        if is_moved { place } else { place_among(self.len, hash) }
    }

    /// Returns the next step towards `len` elements, at least one. A change to another length that
    /// is under way is completed first. The length at most halves at a time, so a place has a few
    /// sources.
    pub(super) fn advance(&mut self, len: usize) -> Step {
        let Some(moving) = &mut self.moving else {
            if self.len == len {
                return Step::Done;
            }
            let to = len.max(self.len.div_ceil(2));
            let grows = to > self.len;
            self.moving = Some(Box::new(Moving { to, position: if grows { to } else { 0 } }));
            return if grows { Step::Allocate(to) } else { self.advance(len) };
        };
        let Moving { to, position } = **moving;
        let grows = to > self.len;
        if position == if grows { 0 } else { to } {
            self.len = to;
            self.moving = None;
            return if grows { self.advance(len) } else { Step::Allocate(to) };
        }
        let place = if grows { position - 1 } else { position };
        moving.position = if grows { place } else { place + 1 };
        Step::Move(Move::between(self.len, to, place))
    }
}

/// Returns the place of a hash among `len` places.
#[inline]
fn place_among(len: usize, hash: u64) -> usize {
    #[allow(clippy::cast_possible_truncation, reason = "the product's top half is below the length")]
    {
        ((u128::from(hash) * len as u128) >> u64::BITS) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::simulator::spread;

    /// An array that holds each hash at its place, however its length changes.
    struct Held {
        order: HashOrder,
        places: Vec<Vec<u64>>,
    }

    impl Held {
        fn resize(&mut self, len: usize, steps: usize) -> bool {
            for _ in 0..steps {
                match self.order.advance(len) {
                    Step::Done => return true,
                    Step::Allocate(len) => self.places.resize(len, Vec::new()),
                    Step::Move(step) => {
                        assert!(step.sources.len() <= 4, "{step:?}");
                        let old = self.order.len;
                        let mut moved = Vec::new();
                        for source in step.sources.clone() {
                            let here = core::mem::take(&mut self.places[source]);
                            let (go, stay) = here.into_iter().partition(|&hash| {
                                self.order.place(hash) == step.place && place_among(old, hash) == source
                            });
                            self.places[source] = stay;
                            moved.extend::<Vec<_>>(go);
                            assert!(step.share(source) > 0);
                        }
                        assert!(self.places[step.place].is_empty(), "what was there is read before");
                        self.places[step.place] = moved;
                    }
                }
                self.check();
            }
            false
        }

        fn check(&self) {
            for number in 0..300 {
                let hash = spread(number);
                assert!(self.places[self.order.place(hash)].contains(&hash), "{number}");
            }
        }
    }

    #[test]
    fn every_hash_is_found_at_its_place_after_each_step() {
        let mut held = Held { order: HashOrder::new(7), places: vec![Vec::new(); 7] };
        for hash in (0..300).map(spread) {
            held.places[held.order.place(hash)].push(hash);
        }
        for len in [8, 16, 17, 40, 39, 13, 1, 5, 64, 3] {
            // A change of mind: the change under way is completed first.
            held.resize(len + 5, 3);
            while !held.resize(len, 4) {}
            assert_eq!((held.order.len(), held.places.len(), held.order.is_moving()), (len, len, false));
        }
    }
}
