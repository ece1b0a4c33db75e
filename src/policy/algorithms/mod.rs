//! The built-in policies: one file for each, and its line in the table at the end.

mod adaptive;
mod arc;
mod clock;
mod fifo;
mod gdsf;
mod lfu;
mod lru;
mod mru;
mod s3fifo;
mod sieve;
mod slru;
mod tiny_lfu;
mod two_queue;

pub use adaptive::{AdaptiveConfig, Favor};
pub use clock::ClockConfig;
pub use lfu::{Ageing, LfuConfig};
pub use s3fifo::S3FifoConfig;
pub use slru::SlruConfig;
pub use tiny_lfu::TinyLfuConfig;
pub use two_queue::TwoQueueConfig;

// The name of a policy, its configuration if it has parameters, and its type.
super::built_in::policies! {
    /// Least recently used. `"lru"`.
    Lru => lru::Lru,
    /// Least frequently used, with counts that age. `"lfu"`.
    Lfu(LfuConfig) => lfu::Lfu,
    /// Two queues and ghosts: 2Q in its full version. `"2q"`.
    TwoQueue(TwoQueueConfig) => two_queue::TwoQueue,
    /// The adaptive replacement cache. `"arc"`.
    Arc => arc::Arc,
    /// Segmented LRU. `"slru"`.
    Slru(SlruConfig) => slru::Slru,
    /// First in, first out. `"fifo"`.
    Fifo => fifo::Fifo,
    /// Most recently used. `"mru"`.
    Mru => mru::Mru,
    /// Second chance. `"clock"`.
    Clock(ClockConfig) => clock::Clock,
    /// A hand that sifts a queue. `"sieve"`.
    Sieve => sieve::Sieve,
    /// Three FIFO queues: a small one that one-hit wonders soon leave, a main one, and ghosts.
    /// `"s3-fifo"`.
    S3Fifo(S3FifoConfig) => s3fifo::S3Fifo,
    /// W-TinyLFU: a window, and admission by frequency. `"w-tinylfu"`.
    TinyLfu(TinyLfuConfig) => tiny_lfu::TinyLfu,
    /// GreedyDual-Size with frequency: small entries rather than large ones. `"gdsf"`.
    Gdsf => gdsf::Gdsf,
    /// Two CLOCKs, a window and a main part. The border between them moves by measurement, and
    /// small entries stay rather than large ones. The default. `"adaptive"`.
    #[default]
    Adaptive(AdaptiveConfig) => adaptive::Adaptive,
}
