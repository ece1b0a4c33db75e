//! The main operations of a cache.
//!
//! ```sh
//! cargo run --example quickstart
//! ```

use bytecache::{Cache, Policy};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The limit covers everything that the cache allocates: entries, index, policy and counters.
    let cache = Cache::builder().max_bytes(16 << 20).policy(Policy::Adaptive).build()?;

    // Keys and values can have any type that implements `AsRef<[u8]>`. A clone is a handle of the
    // same cache.
    cache.insert("user:1", "Ada")?;
    cache.insert("user:2", "Grace")?;
    cache.clone().insert("user:3", vec![0; 100])?;

    // A `Value` is not a copy. It keeps the bytes in place, even if the entry is evicted.
    if let Some(value) = cache.get("user:1") {
        println!("get:       {}", value.escape_ascii());
    }

    // `view` calls a closure with the bytes.
    let length = cache.view("user:3", <[u8]>::len);
    println!("view:      {length:?} bytes");

    // `get_into` copies the bytes to a buffer, which can be reused.
    let mut buffer = Vec::new();
    if cache.get_into("user:2", &mut buffer) {
        println!("get_into:  {}", buffer.escape_ascii());
    }

    // `get_many` reads several keys faster than one call for each.
    let keys = ["user:1", "user:2", "user:4"];
    cache.get_many(&keys, |index, value| {
        println!("get_many:  {} is {:?}", keys[index], value.map(<[u8]>::len));
    });

    // Both calls return `true` if they stored the value.
    let absent = cache.insert_if_absent("user:1", "Alan")?;
    let present = cache.replace("user:1", "Edsger")?;
    println!("stored:    {absent} if absent, {present} if present");

    println!("removed:   {}", cache.remove("user:2"));

    let stats = cache.stats();
    println!("stats:     {} hits, {} misses, {} inserts", stats.hits, stats.misses, stats.inserts);
    let memory = cache.memory();
    println!("memory:    {} of at most {} bytes allocated, {} live", memory.allocated, memory.max, memory.live);
    Ok(())
}
