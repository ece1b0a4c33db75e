//! Random numbers for jitter and for tombstones. They are not secret.

use core::time::Duration;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Returns a random number. Two processes draw different ones, as the state has keys of its own.
pub(crate) fn number() -> u64 {
    static STATE: OnceLock<RandomState> = OnceLock::new();
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    // Relaxed: each draw only needs another number.
    STATE.get_or_init(RandomState::new).hash_one(DRAWN.fetch_add(1, Ordering::Relaxed))
}

/// The longest duration that is drawn: 136 years. Floating-point numbers round longer ones up.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// Returns a random duration from zero to `max`.
pub(crate) fn below(max: Duration) -> Duration {
    let fraction = f64::from((number() >> 32) as u32) / f64::from(u32::MAX);
    max.min(LONGEST).mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_stay_below_their_maximum() {
        let max = Duration::from_millis(10);
        let drawn: Vec<_> = (0..1_000).map(|_| below(max)).collect();
        assert!(drawn.iter().all(|&duration| duration <= max));
        assert!((0..100).all(|_| below(Duration::MAX) <= LONGEST));
        assert!(drawn.iter().any(|&duration| duration < max / 4));
        assert!(drawn.iter().any(|&duration| duration > max / 4 * 3));
    }
}
