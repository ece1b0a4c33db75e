//! The API in one sitting: `cargo run --example quickstart`.

use bytecache::{Cache, Policy};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The limit covers everything the cache allocates: entries, index and policy.
    let cache = Cache::builder().max_bytes(16 << 20).policy(Policy::Adaptive).build()?;

    // Keys and values are anything that lends bytes. A clone is a handle to the same cache.
    cache.insert("user:1", "Ada")?;
    cache.insert("user:2", "Grace")?;
    cache.clone().insert("user:3", vec![0; 100])?;

    // A `Value` is not a copy: it keeps the bytes where they are, even if the entry is evicted.
    if let Some(value) = cache.get("user:1") {
        println!("get:       {}", value.escape_ascii());
    }

    // A closure borrows the bytes for the length of a call.
    let length = cache.view("user:3", <[u8]>::len);
    println!("view:      {length:?} bytes");

    // A buffer of your own is filled, and can be used again and again.
    let mut buffer = Vec::new();
    if cache.get_into("user:2", &mut buffer) {
        println!("get_into:  {}", buffer.escape_ascii());
    }

    // Many keys at once cost less than one by one.
    let keys = ["user:1", "user:2", "user:4"];
    cache.get_many(&keys, |index, value| {
        println!("get_many:  {} is {:?}", keys[index], value.map(<[u8]>::len));
    });

    // Both tell whether they stored the value.
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
