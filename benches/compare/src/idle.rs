//! Waits until this process is idle.
//!
//! A contender with threads of its own continues to work after a slice. That would slow down the
//! contender that is measured next.

use std::thread;
use std::time::{Duration, Instant};

/// Length of an observation, and the processor time during it that still counts as idle.
const LOOK: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_micros(500);

/// Time after which the race goes on in any case. It is longer than any contender was seen to work
/// after a slice.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// Waits until no thread of this process computes.
pub fn wait() {
    let begin = Instant::now();
    let mut before = computed();
    while begin.elapsed() < MAX_WAIT {
        thread::sleep(LOOK);
        let now = computed();
        if now.saturating_sub(before) < IDLE {
            return;
        }
        before = now;
    }
    eprintln!("something still computes after {MAX_WAIT:?}");
}

/// Returns the processor time of all threads of this process.
fn computed() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes a time to a variable of that type.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "every process has this clock");
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
