//! [`Tiered::verify`]: compares local entries with Redis.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;

use crate::chance;
use crate::error::Error;
use crate::format::Stored;
use crate::numbering;
use crate::space::Space;
use crate::tiered::Tiered;

/// The most keys that are read from Redis by one pipeline.
const AT_ONCE: usize = 128;

/// The result of [`Tiered::verify`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// The number of entries that were compared.
    pub compared: u64,
    /// The number of entries that differed from Redis. They were removed.
    pub repaired: u64,
}

/// A local entry, and a checksum of its value.
struct Sampled {
    key: Vec<u8>,
    checksum: u64,
}

/// # Checking
impl Tiered {
    /// Compares a random sample of local entries with Redis, and removes those that differ. Returns
    /// how many were compared, and how many differed.
    ///
    /// On a healthy system none differs. Entries that change meanwhile are not compared. A value
    /// that is kept locally, as Redis could not take it, differs. Entries that were removed a short
    /// time ago are left out. After a change of the generation no further entries are compared.
    ///
    /// # Errors
    ///
    /// An error of the connection, also if a key of the sample is being moved to another node.
    /// [`Error::NotConnected`] also if invalidations do not arrive.
    ///
    /// # Cost
    ///
    /// A walk over all entries of the cache, without a pause for other tasks of the thread, and a
    /// round trip to each node for each 128 entries of the sample. Call it every few minutes at
    /// most.
    ///
    /// ```no_run
    /// # async fn example(users: bytecache_redis::Tiered) -> Result<(), bytecache_redis::Error> {
    /// let verified = users.verify(1_000).await?;
    /// if verified.repaired > 0 {
    ///     eprintln!("{} of {} entries differed", verified.repaired, verified.compared);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn verify(&self, sample: usize) -> Result<Verified, Error> {
        let space = &self.source.space;
        space.settle();
        if !space.trust.is_tracked() {
            return Err(Error::NotConnected);
        }
        let wire = self.source.shared.wire()?;
        let asked = space.generation.ask();
        let (generation, _) = numbering::ask(&self.source.shared, &wire, space).await?;
        let mut verified = Verified::default();
        for sampled in draw(space, sample).chunks(AT_ONCE) {
            let keys: Vec<_> = sampled.iter().map(|entry| space.entry_key(generation, &entry.key)).collect();
            let in_redis = wire.read_many(&keys).await?;
            // Local entries that Redis changed before it answered are gone after this.
            wire.fence_all().await?;
            if space.generation.has_changed_since(asked) {
                // The sample is of an older generation.
                break;
            }
            for (entry, bytes) in sampled.iter().zip(in_redis) {
                // Entries that have changed are not compared.
                if space.writing.contains(&entry.key) || !entry.is_unchanged(space) {
                    continue;
                }
                let in_redis = bytes.map(Stored::from);
                if matches!(in_redis, Some(Stored::Removed(_))) {
                    // A value that would not live as long as its tombstone is in the local tier
                    // alone.
                    continue;
                }
                verified.compared += 1;
                space.counters.verified.count();
                if !matches!(in_redis, Some(Stored::Value(value)) if checksum(&value) == entry.checksum) {
                    space.local.remove(&entry.key);
                    verified.repaired += 1;
                    space.counters.repaired.count();
                }
            }
        }
        Ok(verified)
    }
}

impl Sampled {
    fn is_unchanged(&self, space: &Space) -> bool {
        space.local.peek(&self.key).is_some_and(|value| checksum(&value) == self.checksum)
    }
}

/// Draws a sample of the local entries. Each entry is as likely as any other.
fn draw(space: &Space, sample: usize) -> Vec<Sampled> {
    let mut drawn: Vec<Sampled> = Vec::new();
    let mut seen = 0_u64;
    let _ = space.local.try_for_each(|key, value, _left| {
        seen += 1;
        let place = match drawn.len() < sample {
            true => drawn.len(),
            false => usize::try_from(chance::number() % seen).unwrap_or(usize::MAX),
        };
        if place < sample {
            let entry = Sampled { key: key.to_vec(), checksum: checksum(value) };
            match drawn.get_mut(place) {
                Some(former) => *former = entry,
                None => drawn.push(entry),
            }
        }
        ControlFlow::<()>::Continue(())
    });
    drawn
}

fn checksum(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
