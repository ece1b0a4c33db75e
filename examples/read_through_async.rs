//! A read-through cache for tasks. A thousand tasks on tokio read fifty keys of a slow store.
//!
//! ```sh
//! cargo run --example read_through_async
//! ```
//!
//! The cache works with any runtime. Only the lines with `tokio::` depend on this one.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytecache::{Cache, LoadError};

const TASKS: usize = 1_000;
const KEYS: usize = 50;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let cache = Cache::new(16 << 20)?;
    let reads = Arc::new(AtomicUsize::new(0));

    let pages = {
        let reads = Arc::clone(&reads);
        cache
            .loader()
            .ttl(Duration::from_secs(600))
            .refresh_after(Duration::from_secs(300))
            .spawner(|load| drop(tokio::spawn(load))) // A load goes on if its callers give up.
            .wait_limit(Duration::from_secs(5))
            .sleep(tokio::time::sleep)
            .build_async(move |key| {
                let reads = Arc::clone(&reads);
                async move {
                    reads.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    let page = format!("<h1>{}</h1>", String::from_utf8_lossy(&key));
                    Ok::<_, std::io::Error>(page)
                }
            })?
    };

    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let pages = pages.clone();
            tokio::spawn(async move { pages.get_async(format!("page:{}", task % KEYS)).await })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await??, format!("<h1>page:{}</h1>", number % KEYS).into_bytes());
    }
    println!("{TASKS} tasks, {KEYS} keys, {} reads of the store", reads.load(Ordering::Relaxed));

    // If a task is dropped during its load, another task loads.
    let dropped = cache.get_or_load_async("slow", async || {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Ok::<_, std::io::Error>("never")
    });
    let impatient = tokio::time::timeout(Duration::from_millis(10), dropped);
    let (timed_out, other) = tokio::join!(impatient, async {
        tokio::task::yield_now().await;
        cache.get_or_load_async("slow", async || Ok::<_, std::io::Error>("quick")).await
    });
    assert!(timed_out.is_err());
    println!("after the leader was dropped: {}", String::from_utf8_lossy(&other?));

    // A task and a thread can share a load.
    let thread = {
        let cache = cache.clone();
        tokio::task::spawn_blocking(move || cache.get_or_load("shared", || Ok::<_, std::io::Error>("by the thread")))
    };
    let task = cache.get_or_load_async("shared", async || Ok::<_, std::io::Error>("by the task")).await?;
    assert_eq!(task, thread.await??);

    let error: Result<_, LoadError<String>> =
        cache.get_or_load_async("broken", async || Err::<String, _>("no such page".to_string())).await;
    println!("an error is returned to all callers: {}", error.err().map(|error| error.to_string()).unwrap_or_default());
    Ok(())
}
