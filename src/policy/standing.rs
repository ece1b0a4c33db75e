//! [`Standing`]: what a policy knows of an entry, in a form that outlives the process.

/// The knowledge of a policy about an entry, for a [snapshot](crate::docs::snapshots).
///
/// [`EvictionPolicy::walk`](super::EvictionPolicy::walk) shows a standing for each entry, and
/// [`EvictionPolicy::restore`](super::EvictionPolicy::restore) gets it back. The order in which
/// entries are shown is kept as well, so a policy with one queue needs nothing else.
///
/// ```
/// use bytecache::policy::Standing;
///
/// let standing = Standing::new().class(1).rank(40);
/// assert_eq!((standing.class, standing.rank, standing.uses), (1, 40, 0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Standing {
    /// The part of the policy that the entry is in, such as the number of a queue. 0 is the part
    /// from which entries leave first.
    pub class: u8,
    /// A number by which the policy compares the entries of a class.
    pub rank: u64,
    /// The number of uses of the entry, as far as the policy counts it.
    pub uses: u32,
    /// The place of the entry among others with the same rank, if that is not the order in which
    /// they are shown.
    pub order: u32,
}

impl Standing {
    /// Creates the standing of an entry of which nothing is known but its place in the order.
    ///
    /// ```
    /// use bytecache::policy::Standing;
    ///
    /// assert_eq!(Standing::new(), Standing::default());
    /// ```
    #[must_use]
    pub const fn new() -> Self {
        Self { class: 0, rank: 0, uses: 0, order: 0 }
    }

    /// Sets the class.
    ///
    /// ```
    /// use bytecache::policy::Standing;
    ///
    /// assert_eq!(Standing::new().class(2).class, 2);
    /// ```
    #[must_use]
    pub const fn class(self, class: u8) -> Self {
        Self { class, ..self }
    }

    /// Sets the rank.
    ///
    /// ```
    /// use bytecache::policy::Standing;
    ///
    /// assert_eq!(Standing::new().rank(7).rank, 7);
    /// ```
    #[must_use]
    pub const fn rank(self, rank: u64) -> Self {
        Self { rank, ..self }
    }

    /// Sets the number of uses.
    ///
    /// ```
    /// use bytecache::policy::Standing;
    ///
    /// assert_eq!(Standing::new().uses(3).uses, 3);
    /// ```
    #[must_use]
    pub const fn uses(self, uses: u32) -> Self {
        Self { uses, ..self }
    }

    /// Sets the place among entries with the same rank.
    ///
    /// ```
    /// use bytecache::policy::Standing;
    ///
    /// assert_eq!(Standing::new().order(5).order, 5);
    /// ```
    #[must_use]
    pub const fn order(self, order: u32) -> Self {
        Self { order, ..self }
    }
}

/// Writes the numbers of a policy's state.
#[derive(Debug)]
pub(crate) struct StateWriter<'a>(pub(crate) &'a mut Vec<u8>);

impl StateWriter<'_> {
    /// Appends a number.
    pub(crate) fn number(&mut self, number: f64) -> &mut Self {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }
}

/// Reads the numbers of a policy's state, which may be any bytes.
#[derive(Debug)]
pub(crate) struct StateReader<'a>(pub(crate) &'a [u8]);

impl StateReader<'_> {
    /// Returns the next number, or `None` if there is none or it is not finite.
    pub(crate) fn number(&mut self) -> Option<f64> {
        let (bytes, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(f64::from_le_bytes(*bytes)).filter(|number| number.is_finite())
    }

    /// Returns the next number as a count, if it is one.
    pub(crate) fn count(&mut self) -> Option<u32> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number within bounds")]
        self.number_in(0.0..=f64::from(u32::MAX)).map(|number| number as u32)
    }

    /// Returns the next number if it is within bounds.
    pub(crate) fn number_in(&mut self, bounds: core::ops::RangeInclusive<f64>) -> Option<f64> {
        self.number().filter(|number| bounds.contains(number))
    }
}
