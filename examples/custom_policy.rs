//! A custom eviction policy, compared with two built-in ones.
//!
//! ```sh
//! cargo run --release --example custom_policy
//! ```

use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Renumbering, Residents};
use bytecache::{Cache, CacheBuilder, Policy};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rand_distr::Zipf;

/// Evicts an entry at random.
struct Random {
    residents: Vec<EntryId>,
    /// The position of each id in `residents`.
    places: Vec<usize>,
    random: SmallRng,
}

impl Random {
    fn new(context: &PolicyContext) -> Self {
        let residents = Vec::with_capacity(context.ids());
        Self { residents, places: vec![0; context.ids()], random: SmallRng::seed_from_u64(1) }
    }

    /// Removes an id from both lists.
    fn forget(&mut self, id: EntryId) {
        let place = self.places[id.index()];
        self.residents.swap_remove(place);
        if let Some(moved) = self.residents.get(place) {
            self.places[moved.index()] = place;
        }
    }
}

impl EvictionPolicy for Random {
    fn insert(&mut self, newcomer: &Newcomer) {
        self.places[newcomer.id.index()] = self.residents.len();
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

    fn renumber(&mut self, moved: &Renumbering) {
        // All memory is allocated here, so that `bytes` changes only when the index grows.
        let mut residents = Vec::with_capacity(moved.ids());
        let mut places = vec![0; moved.ids()];
        for id in self.residents.iter().filter_map(|&old| moved.get(old)) {
            places[id.index()] = residents.len();
            residents.push(id);
        }
        (self.residents, self.places) = (residents, places);
    }

    fn bytes(&self) -> usize {
        self.residents.capacity() * size_of::<EntryId>() + self.places.capacity() * size_of::<usize>()
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
