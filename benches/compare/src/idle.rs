//! When this process has nothing left to do.
//!
//! A contender with threads of its own goes on for a while after a slice. That would slow down
//! the contender that is measured next.

use std::thread;
use std::time::{Duration, Instant};

/// How long the process is looked at, and what it may compute meanwhile and still counts as idle.
const LOOK: Duration = Duration::from_millis(5);
const IDLE: Duration = Duration::from_micros(500);

/// After this the race goes on anyway: longer than any contender was seen to work behind a slice.
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

/// The time that all threads of this process have computed.
fn computed() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes a time to a place of that type.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    assert_eq!(status, 0, "every process has this clock");
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
