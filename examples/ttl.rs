//! Entries that expire: times to live, times to idle, stale periods, and changes of deadlines.
//!
//! ```sh
//! cargo run --example ttl
//! ```
//!
//! A `ManualClock` lets an hour pass at once. A service omits `.clock(..)`.

use std::time::Duration;

use bytecache::{Cache, Lifetime, ManualClock, Remaining, RemovalCause};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Prints the time that each entry has left.
fn show(cache: &Cache, keys: &[&str]) {
    for key in keys {
        let left = match cache.ttl(key) {
            None => "absent".to_owned(),
            Some(Remaining::Forever) => "no deadline".to_owned(),
            Some(Remaining::For(left)) => format!("{left:.1?} left"),
        };
        println!("  {key:<8} {left}");
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let clock = ManualClock::new();
    let cache = Cache::builder()
        .max_bytes(16 << 20)
        .ttl(10 * MINUTE)
        // Each entry lives for 9 to 10 minutes, so entries that are stored together do not expire
        // together.
        .ttl_jitter(0.1)
        .stale_for(MINUTE)
        .on_removal(|key, _, cause| {
            if cause == RemovalCause::Expired {
                println!("  ({} has expired, and its space is free)", key.escape_ascii());
            }
        })
        .clock(clock.clone())
        .build()?;

    println!("Stored:");
    cache.insert("page", "<html>")?;
    cache.insert_with_ttl("token", "abc", 30 * SECOND)?;
    // A session lives for at most an hour, and for at most ten minutes without a read. It has no
    // stale period.
    let session = Lifetime::new().ttl(60 * MINUTE).time_to_idle(10 * MINUTE).stale_for(Duration::ZERO);
    cache.insert_with_lifetime("session", "Ada", session)?;
    cache.insert_with_lifetime("config", "{}", Lifetime::forever())?;
    let keys = ["page", "token", "session", "config"];
    show(&cache, &keys);

    println!("\nAfter 31 seconds:");
    clock.advance(31 * SECOND);
    show(&cache, &keys);
    // Reads miss the expired token. `get_or_stale` returns it for another minute.
    if let Some(found) = cache.get_or_stale("token") {
        println!("  token, stale: {}, is {}", found.is_stale(), found.value().escape_ascii());
    }

    println!("\nAfter 8 more minutes, in which the session was read:");
    for _ in 0..8 {
        clock.advance(MINUTE);
        assert!(cache.get("session").is_some());
    }
    cache.maintain(); // Removes expired entries, as the next insert would.
    show(&cache, &keys);

    println!("\nAfter changes of the deadlines:");
    cache.set_ttl("page", 5 * SECOND)?;
    cache.persist("session");
    show(&cache, &keys);

    println!("\nAfter an hour:");
    clock.advance(60 * MINUTE);
    cache.maintain();
    show(&cache, &keys);
    println!("\n{} entries expired, {} are present.", cache.stats().expirations, cache.len());
    Ok(())
}
