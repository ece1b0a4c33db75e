//! Typed namespaces: codecs, values that do not decode or encode, loads, and atomic changes.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod batches;
mod changes;
mod codecs;
mod loads;
mod values;

use bytecache::typed::{Codec, EncodeError};
use bytecache::{Cache, ManualClock};

/// Encodes numbers below 1,000 as one byte and a mark of the version, and no others.
struct Small(u8);

impl Codec<u32> for Small {
    fn encode(&self, value: &u32, bytes: &mut Vec<u8>) -> Result<(), EncodeError> {
        let value = u8::try_from(*value).map_err(|_| EncodeError::new(format!("{value} is too large")))?;
        bytes.extend([self.0, value]);
        Ok(())
    }

    fn decode(&self, bytes: &[u8]) -> Option<u32> {
        match bytes {
            &[mark, value] if mark == self.0 => Some(value.into()),
            _ => None,
        }
    }
}

fn cache() -> Cache {
    Cache::new(1 << 20).unwrap()
}

/// Returns a cache and its clock.
fn timed_cache() -> (Cache, ManualClock) {
    let clock = ManualClock::new();
    (Cache::builder().max_bytes(1 << 20).clock(clock.clone()).build().unwrap(), clock)
}
