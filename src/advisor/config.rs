//! [`Advisor`]: the options of the advisor.

use core::time::Duration;
use std::sync::Arc;

use super::engine::ShadowPlan;
use super::keys::ShadowSet;
use super::turns::{MAX_READS, MAX_TURNS, Pace};
use crate::policy::{Policy, PolicyFactory};

/// The share of keys that are sampled at most, by default: one in 384.
///
/// A read of a sampled key costs one or two thousand instructions. With one key in 384 that is 3 to
/// 6 instructions a read.
const DEFAULT_SHARE: f64 = 1.0 / 384.0;
/// The turns for each read of a sampled key, on average, and the batches of turns. A turn costs
/// about 65 instructions, and a batch another 190. With a turn for each 32 reads, and a batch for
/// each 288, that is 2.7 instructions a read.
const TURNS_TO_SAMPLED_READS: f64 = 12.0;
const BATCHES_TO_SAMPLED_READS: f64 = 4.0;
/// The reads in the window for each read to a turn, while the window has few reads: after 66,560
/// reads, one in 10 counts, whatever the share. So such a window tells its hot keys, too.
const WINDOW_READS_TO_TURN: f64 = 6_656.0;
const DEFAULT_HALF_LIFE: Duration = Duration::from_secs(3600);
const DEFAULT_SIZES: [u32; 8] = [25, 50, 75, 100, 125, 150, 200, 400];
/// Policies that are the best choice for some traffic. The others are close to one of them.
const DEFAULT_POLICIES: [Policy; 8] = [
    Policy::Adaptive,
    Policy::S3Fifo,
    Policy::TinyLfu,
    Policy::Sieve,
    Policy::Lru,
    Policy::Lfu,
    Policy::Arc,
    Policy::Gdsf,
];
/// The size of the cache itself, in percent.
pub(super) const PRESENT: u32 = 100;
/// The part of `max_bytes` that the advisor takes by default, its least, and the divisor of
/// `max_bytes` that gives its most.
const DEFAULT_PERCENT: usize = 1;
const MIN_DEFAULT_BYTES: usize = 2 << 20;
const MOST_SHARE: usize = 8;
/// The most shadows: each has a bit in a set.
const MAX_SHADOWS: usize = ShadowSet::BITS as usize;

/// The options of the advisor, which answers two questions on live traffic: would another size
/// help, and would another policy?
///
/// [`CacheBuilder::advisor`](crate::CacheBuilder::advisor) turns it on, and
/// [`Cache::advice`](crate::Cache::advice) returns its answers. [`docs::advisor`] says how it works
/// and how exact it is.
///
/// [`docs::advisor`]: crate::docs::advisor
///
/// ```
/// use bytecache::{Advisor, Cache, Policy};
///
/// let cache = Cache::builder().max_bytes(64 << 20).advisor(Advisor::new()).build()?;
/// for key in 0..200_000_u32 {
///     let key = (key % 50_000).to_le_bytes();
///     if cache.get(key).is_none() {
///         cache.insert(key, [0; 100])?;
///     }
/// }
/// let advice = cache.advice().ok_or("there were reads")?;
/// println!("{advice}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "an advisor does nothing until it is passed to a builder"]
pub struct Advisor {
    share: f64,
    half_life: Duration,
    max_bytes: Option<usize>,
    sizes: Vec<u32>,
    policies: Vec<Policy>,
}

/// Returns what [`Advisor::new`] returns.
impl Default for Advisor {
    fn default() -> Self {
        Self::new()
    }
}

impl Advisor {
    /// Returns the default options.
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let cache = Cache::builder().max_bytes(64 << 20).advisor(Advisor::new()).build()?;
    /// assert!(cache.advice().is_none()); // There were no reads yet.
    /// # Ok::<(), bytecache::BuildError>(())
    /// ```
    pub fn new() -> Self {
        Self {
            share: DEFAULT_SHARE,
            half_life: DEFAULT_HALF_LIFE,
            max_bytes: None,
            sizes: DEFAULT_SIZES.into(),
            policies: DEFAULT_POLICIES.into(),
        }
    }

    /// Sets the largest share of keys that are sampled, from 0 to 1. The default is 1/384.
    ///
    /// Twelve times this share of all reads count towards the [hot keys](crate::Cache::hot_keys),
    /// whatever their keys, and more of them while the window has few reads. With a share of 1/4 or
    /// more, all reads count, unless the thread also reads another cache with an advisor.
    ///
    /// The share becomes smaller when the sampled keys need more than the
    /// [memory](Self::max_bytes) of the advisor. The share is clamped to the range. NaN is ignored.
    ///
    /// # Cost
    ///
    /// In proportion to the share: see [`docs::advisor`](crate::docs::advisor).
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let advisor = Advisor::new().share(0.25);
    /// let cache = Cache::builder().max_bytes(64 << 20).advisor(advisor).build()?;
    /// # drop(cache);
    /// # Ok::<(), bytecache::BuildError>(())
    /// ```
    pub fn share(mut self, share: f64) -> Self {
        if !share.is_nan() {
            self.share = share.clamp(0.0, 1.0);
        }
        self
    }

    /// Sets the time after which traffic counts half. The default is an hour.
    ///
    /// ```
    /// use bytecache::Advisor;
    /// use std::time::Duration;
    ///
    /// let advisor = Advisor::new().half_life(Duration::from_secs(600));
    /// assert_ne!(advisor, Advisor::new());
    /// ```
    pub fn half_life(mut self, time: Duration) -> Self {
        self.half_life = time;
        self
    }

    /// Sets the memory of the advisor, in bytes. It is part of the memory of the cache, and at most
    /// an eighth of that.
    ///
    /// The default is one percent of the cache, and at least 2 MiB. It holds about 9,000 keys for
    /// each 2 MiB.
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let builder = Cache::builder().max_bytes(64 << 20);
    /// let cache = builder.clone().advisor(Advisor::new().max_bytes(1 << 20)).build()?;
    /// let without = builder.build()?;
    /// let taken = cache.memory().overhead - without.memory().overhead;
    /// assert!((1_000 << 10..=1 << 20).contains(&taken));
    /// # Ok::<(), bytecache::BuildError>(())
    /// ```
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Sets the sizes at which the present policy is simulated, in percent of that of the cache.
    ///
    /// The default is 25, 50, 75, 100, 125, 150, 200 and 400. The size of 100 percent is always
    /// simulated. At most 32 rows are simulated: the sizes first, and then the
    /// [policies](Self::policies).
    ///
    /// ```
    /// use bytecache::{Advisor, Cache};
    ///
    /// let advisor = Advisor::new().sizes([50, 200]);
    /// let cache = Cache::builder().max_bytes(64 << 20).advisor(advisor).build()?;
    /// cache.get("key");
    /// let advice = cache.advice().ok_or("there was a read")?;
    /// let sizes: Vec<u32> = advice.curve().map(|row| row.size_percent).collect();
    /// assert_eq!(sizes, [50, 100, 200]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sizes(mut self, percent: impl IntoIterator<Item = u32>) -> Self {
        self.sizes = percent.into_iter().collect();
        self
    }

    /// Sets the policies that are simulated at the size of the cache, besides the present one.
    ///
    /// The default is adaptive, S3-FIFO, W-TinyLFU, SIEVE, LRU, LFU, ARC and GDSF.
    ///
    /// ```
    /// use bytecache::{Advisor, Cache, Policy};
    ///
    /// let advisor = Advisor::new().policies([Policy::Lru, Policy::S3Fifo]);
    /// let cache = Cache::builder().max_bytes(64 << 20).advisor(advisor).build()?;
    /// cache.get("key");
    /// let advice = cache.advice().ok_or("there was a read")?;
    /// let names: Vec<&str> = advice.other_policies().map(|row| row.policy.as_str()).collect();
    /// assert_eq!(names, ["lru", "s3-fifo"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn policies(mut self, policies: impl IntoIterator<Item = Policy>) -> Self {
        self.policies = policies.into_iter().collect();
        self
    }

    /// Returns the memory of the advisor in a cache of `max_bytes`.
    pub(crate) fn bytes_in(&self, max_bytes: usize) -> usize {
        let default = (max_bytes / 100 * DEFAULT_PERCENT).max(MIN_DEFAULT_BYTES);
        self.max_bytes.unwrap_or(default).min(max_bytes / MOST_SHARE)
    }

    /// Returns the bytes that the lists of sizes and policies allocate.
    pub(super) fn heap_bytes(&self) -> usize {
        self.sizes.capacity() * size_of::<u32>() + self.policies.capacity() * size_of::<Policy>()
    }

    /// Returns the time after which traffic counts half.
    pub(super) fn half_life_time(&self) -> Duration {
        self.half_life
    }

    /// Returns the hash below which keys are sampled at first.
    pub(super) fn first_threshold(&self) -> u64 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut to the range of u64")]
        {
            (self.share * 2_f64.powi(64)) as u64
        }
    }

    /// Returns the frequency of the reads that count towards the hot keys, after `reads` reads in
    /// the window.
    pub(super) fn pace(&self, reads: f64) -> Pace {
        let most = (1.0 / (TURNS_TO_SAMPLED_READS * self.share)).clamp(1.0, f64::from(MAX_READS));
        let turns = (1.0 / (BATCHES_TO_SAMPLED_READS * self.share)).clamp(1.0, f64::from(MAX_TURNS));
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "cut to the range of u32")]
        {
            let reads_to_turn = (reads / WINDOW_READS_TO_TURN).clamp(1.0, most.round()) as u32;
            Pace { reads_to_turn, turns: turns.round() as u32 }
        }
    }

    /// Returns the rows to simulate: the curve of the present policy in ascending order, and the
    /// other policies.
    pub(super) fn rows(&self, present: &PresentPolicy) -> Vec<ShadowRow> {
        let mut sizes: Vec<u32> = self.sizes.iter().copied().filter(|&size| size > 0 && size != PRESENT).collect();
        sizes.truncate(MAX_SHADOWS - 1);
        sizes.push(PRESENT);
        sizes.sort_unstable();
        sizes.dedup();
        let curve =
            sizes.into_iter().map(|size| ShadowRow { policy: present.clone(), size_percent: size, is_of_curve: true });
        let mut policies: Vec<Policy> = Vec::new();
        for &policy in &self.policies {
            if present.policy != Some(policy) && !policies.contains(&policy) {
                policies.push(policy);
            }
        }
        let others = policies.into_iter().map(|policy| ShadowRow {
            policy: PresentPolicy::built_in(policy),
            size_percent: PRESENT,
            is_of_curve: false,
        });
        curve.chain(others).take(MAX_SHADOWS).collect()
    }
}

/// A policy, and how it is made.
#[derive(Clone)]
pub(crate) struct PresentPolicy {
    /// `None` for a custom policy.
    pub(crate) policy: Option<Policy>,
    pub(crate) factory: PolicyFactory,
}

impl PresentPolicy {
    /// Returns a built-in policy.
    pub(crate) fn built_in(policy: Policy) -> Self {
        Self { policy: Some(policy), factory: Arc::new(move |context| policy.build(&context)) }
    }

    /// Returns a custom policy.
    pub(crate) fn custom(factory: PolicyFactory) -> Self {
        Self { policy: None, factory }
    }

    /// Returns the name of the policy.
    pub(super) fn name(&self) -> String {
        self.policy.map_or_else(|| "custom".to_string(), |policy| policy.to_string())
    }
}

/// A policy and a size that are simulated.
#[derive(Clone)]
pub(super) struct ShadowRow {
    pub(super) policy: PresentPolicy,
    pub(super) size_percent: u32,
    /// It is the present policy.
    pub(super) is_of_curve: bool,
}

impl ShadowRow {
    /// Returns the size as a share of that of the cache.
    pub(super) fn size(&self) -> f64 {
        f64::from(self.size_percent) / f64::from(PRESENT)
    }

    /// Returns the shadow to make.
    pub(super) fn plan(&self) -> ShadowPlan {
        ShadowPlan { factory: Arc::clone(&self.policy.factory), size: self.size() }
    }
}

#[cfg(not(bytecache_loom))]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_become_rarer_with_the_reads_of_the_window_up_to_the_share() {
        let turns = |share: f64| {
            let paces = [0.0, 66_560.0, 1e12].map(|reads| Advisor::new().share(share).pace(reads));
            (paces.map(|pace| pace.reads_to_turn), paces[2].turns)
        };
        assert_eq!(turns(1.0 / 384.0), ([1, 10, 32], 9));
        assert_eq!(turns(1.0 / 64.0), ([1, 5, 5], 9));
        assert_eq!(turns(1.0 / 16.0), ([1, 1, 1], 4));
        assert_eq!(turns(1.0 / 4.0), ([1, 1, 1], 1));
        assert_eq!(turns(1.0), ([1, 1, 1], 1));
        assert_eq!(turns(0.0), ([1, 10, 1 << 20], 9));
    }
}
