//! Entries that die on time: `cargo run --example ttl`.
//!
//! A clock that is turned by hand makes an hour pass at once; a service leaves `.clock(..)` out.

use std::time::Duration;

use bytecache::{Cache, Lifetime, ManualClock, Remaining, RemovalCause};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn show(cache: &Cache, keys: &[&str]) {
    for key in keys {
        let left = match cache.ttl(key) {
            None => "gone".to_owned(),
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
        // Entries that were stored together do not expire together: each lives for 9 to 10 minutes.
        .ttl_jitter(0.1)
        .stale_for(MINUTE)
        .on_removal(|key, _, cause| {
            if cause == RemovalCause::Expired {
                println!("  ({} has expired, and its space is back)", key.escape_ascii());
            }
        })
        .clock(clock.clone())
        .build()?;

    println!("Stored:");
    cache.insert("page", "<html>")?;
    cache.insert_with_ttl("token", "abc", 30 * SECOND)?;
    // A session: an hour at most, ten minutes without a read, and not a second beyond.
    let session = Lifetime::new().ttl(60 * MINUTE).time_to_idle(10 * MINUTE).stale_for(Duration::ZERO);
    cache.insert_with_lifetime("session", "Ada", session)?;
    cache.insert_with_lifetime("config", "{}", Lifetime::forever())?;
    let keys = ["page", "token", "session", "config"];
    show(&cache, &keys);

    println!("\nAfter 31 seconds:");
    clock.advance(31 * SECOND);
    show(&cache, &keys);
    // Reads miss the token, but for another minute it is there for those who can make do with it.
    if let Some(found) = cache.get_or_stale("token") {
        println!("  token, stale: {}, is {}", found.is_stale(), found.value().escape_ascii());
    }

    println!("\nAfter 8 more minutes, in which the session was read:");
    for _ in 0..8 {
        clock.advance(MINUTE);
        assert!(cache.get("session").is_some());
    }
    cache.maintain(); // The next insert would do as well.
    show(&cache, &keys);

    println!("\nWithout a rewrite of any value:");
    cache.set_ttl("page", 5 * SECOND)?;
    cache.persist("session");
    show(&cache, &keys);

    println!("\nAfter an hour:");
    clock.advance(60 * MINUTE);
    cache.maintain();
    show(&cache, &keys);
    println!("\n{} entries expired, {} are there.", cache.stats().expirations, cache.len());
    Ok(())
}
