//! The number of entries of one size that a shard will hold, computed without making the shard.
//!
//! The estimate adds up what a full shard allocates: its fixed parts, an index and a policy for
//! the entries, the wheel if entries have deadlines, and chunks. It uses the same rules as the
//! shard itself: [`live_limit`] for the part of the chunks that may be live, and [`Home::of`] for
//! the place of large entries.

use super::cleaner::{half_used_chunks, live_limit, ready_chunks};
use super::config::Logs;
use super::governor;
use super::{Shard, ShardConfig};
use crate::expiry::Wheel;
use crate::index::{Index, MIN_BUCKETS, Table};
use crate::ring::{Home, Layout};

/// The share of an index's room that is used when a shard is full, in percent: the index grows in
/// steps, to a little more than it needs.
const INDEX_USE: usize = 97;
/// The most buckets for which a policy is made to learn what it allocates. For more the line
/// through two of these is followed.
const SAMPLED_BUCKETS: usize = 4096;
/// Chunks' worth of the bytes of runs that are shared and not full: the one being filled, and the
/// one being emptied.
const RUNS_NOT_FULL: usize = 2;

/// The bytes that a policy allocates, for any number of buckets, and the logs that it reads.
#[derive(Debug, Default)]
pub(crate) struct PolicyBytes {
    /// The numbers of buckets asked for so far, and the bytes.
    known: Vec<(usize, usize)>,
    logs: Option<Logs>,
}

impl PolicyBytes {
    fn of(&mut self, config: &ShardConfig, buckets: usize) -> usize {
        if buckets > SAMPLED_BUCKETS {
            let half = self.of(config, SAMPLED_BUCKETS / 2);
            let whole = self.of(config, SAMPLED_BUCKETS);
            let steps = (buckets - SAMPLED_BUCKETS).div_ceil(SAMPLED_BUCKETS / 2);
            return whole.saturating_add(whole.saturating_sub(half).saturating_mul(steps));
        }
        if let Some(&(_, bytes)) = self.known.iter().find(|&&(known, _)| known == buckets) {
            return bytes;
        }
        let bytes = config.policy(buckets).bytes();
        self.known.push((buckets, bytes));
        bytes
    }

    /// Returns the logs that policies of this kind read.
    fn logs(&mut self, config: &ShardConfig) -> Logs {
        *self.logs.get_or_insert_with(|| Logs::of(&*config.policy(MIN_BUCKETS)))
    }
}

impl ShardConfig {
    /// Returns `true` if a full shard holds `entries` entries with such a key and value, all with
    /// the default lifetime.
    pub(crate) fn holds(&self, entries: usize, key_len: usize, value_len: usize, policy: &mut PolicyBytes) -> bool {
        let is_storable = key_len.checked_add(value_len).is_some_and(|bytes| bytes <= self.max_entry_bytes);
        if !is_storable || entries > Index::max_len_of(Table::max_size()) {
            return false;
        }
        let stamps = self.options.rules.usual_stamps();
        let charge = Layout::charge_for(key_len, value_len, stamps, self.options.alignment);
        let buckets = Index::buckets_for(entries / INDEX_USE * 100 + entries % INDEX_USE).min(Table::max_size());
        let wheel = if stamps.is_empty() { 0 } else { Wheel::footprint(Table::extent(buckets)) };
        let fixed = self.overhead(policy.logs(self)) + Table::footprint(buckets) + wheel;
        let taken = fixed.saturating_add(policy.of(self, buckets));
        let usable = self.budget.saturating_sub(taken) >> self.chunk_shift();
        self.room_for(charge, usable) >= entries
    }

    /// Returns how many entries of one charge `usable` chunks hold.
    fn room_for(&self, charge: usize, usable: usize) -> usize {
        let chunk = 1 << self.chunk_shift();
        let bytes = usable * chunk;
        let most = |unused: usize| live_limit(bytes, governor::HIGHEST, unused) / charge;
        match Home::of(charge, chunk, self.max_chunks()) {
            Home::Chunk => {
                let reserve = (ready_chunks(self.max_chunks()) + half_used_chunks(usable)).min(usable);
                most(reserve * chunk + (usable - reserve) * (chunk % charge))
            }
            Home::Alone(span) => most(0).min(usable / span),
            Home::Shared(span) => {
                let runs = (usable / span).saturating_sub(RUNS_NOT_FULL);
                most(0).min(runs * (span * chunk / charge))
            }
        }
    }

    /// Returns `true` if the budget suffices for an empty shard.
    pub(crate) fn suffices(&self) -> bool {
        Shard::min_budget(self) <= self.budget
    }
}
