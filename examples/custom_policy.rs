//! A custom eviction policy, compared with two built-in ones.
//!
//! ```sh
//! cargo run --release --example custom_policy
//! ```

use bytecache::policy::{EntryId, EvictionPolicy, IdArray, Newcomer, PolicyContext, Residents};
use bytecache::{Cache, CacheBuilder, Policy};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::Zipf;

/// A policy that evicts an entry at random.
struct Random {
    residents: Vec<EntryId>,
    /// The position of each id in `residents`.
    places: IdArray<u32>,
    random: SmallRng,
}

impl Random {
    fn new(context: &PolicyContext) -> Self {
        let residents = Vec::with_capacity(context.max_entries());
        Self { residents, places: IdArray::new(context), random: SmallRng::seed_from_u64(1) }
    }

    /// Removes a resident.
    fn forget(&mut self, id: EntryId) {
        let place = self.places[id];
        self.residents.swap_remove(place as usize);
        if let Some(&moved) = self.residents.get(place as usize) {
            self.places[moved] = place;
        }
    }
}

impl EvictionPolicy for Random {
    fn insert(&mut self, newcomer: &Newcomer) {
        self.places[newcomer.id] = u32::try_from(self.residents.len()).expect("fewer residents than ids");
        self.residents.push(newcomer.id);
    }

    fn remove(&mut self, id: EntryId, _charge: u32) {
        self.forget(id);
    }

    fn evict(&mut self, _newcomer: Option<&Newcomer>, _residents: &mut Residents<'_>) -> Option<EntryId> {
        if self.residents.is_empty() {
            return None;
        }
        let victim = self.residents[self.random.random_range(0..self.residents.len())];
        self.forget(victim);
        Some(victim)
    }

    fn resize(&mut self, ids: usize, max_entries: usize) -> bool {
        // All memory is allocated here, so that `bytes` changes only with the bounds.
        self.places.resize(ids);
        self.residents.reserve_exact(max_entries.saturating_sub(self.residents.len()));
        true
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.residents[self.places[from] as usize] = to;
        self.places.rename(from, to);
    }

    fn bytes(&self) -> usize {
        self.residents.capacity() * size_of::<EntryId>() + self.places.bytes()
    }
}

/// Returns the hit ratio for requests to keys of which a few are popular.
fn hit_ratio(builder: CacheBuilder) -> Result<f64, Box<dyn std::error::Error>> {
    let cache = builder.max_bytes(1 << 20).shards(1).build()?;
    let mut random = SmallRng::seed_from_u64(2);
    let keys = Zipf::new(50_000.0, 0.9)?;
    for _ in 0..500_000 {
        let key: f64 = random.sample(keys);
        let key = key.to_le_bytes();
        if cache.view(key, |_| ()).is_none() {
            cache.insert(key, [0; 200])?;
        }
    }
    Ok(cache.stats().hit_ratio())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let random = Cache::builder().custom_policy(|context| Box::new(Random::new(&context)));
    println!("random    {:.1} % hits", 100.0 * hit_ratio(random)?);
    for policy in [Policy::Lru, Policy::S3Fifo] {
        println!("{policy:<9} {:.1} % hits", 100.0 * hit_ratio(Cache::builder().policy(policy))?);
    }
    Ok(())
}
