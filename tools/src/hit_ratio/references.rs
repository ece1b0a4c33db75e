//! The rows of `groundtruth.csv` with which our policies are compared.

use bytecache::Policy;
use bytecache::policy::Unit;

/// The rows of the same policy, or of the most similar ones. If there are several, the first that a
/// cell has counts.
struct Peers {
    policy: &'static str,
    in_entries: &'static [&'static str],
    in_bytes: &'static [&'static str],
}

const PEERS: [Peers; 14] = [
    Peers { policy: "lru", in_entries: &["lru", "caffeine:lru"], in_bytes: &["lru"] },
    Peers { policy: "2q", in_entries: &["2q", "caffeine:2q"], in_bytes: &["2q"] },
    Peers { policy: "arc", in_entries: &["arc"], in_bytes: &["arc"] },
    Peers { policy: "slru", in_entries: &["caffeine:slru_20_80"], in_bytes: &["slru_20_80"] },
    Peers { policy: "fifo", in_entries: &["fifo", "caffeine:fifo"], in_bytes: &["fifo"] },
    Peers { policy: "mru", in_entries: &["caffeine:mru"], in_bytes: &["caffeine:mru"] },
    Peers { policy: "clock", in_entries: &["clock"], in_bytes: &["clock"] },
    Peers { policy: "sieve", in_entries: &["sieve", "caffeine:sieve"], in_bytes: &["sieve"] },
    Peers { policy: "s3-fifo", in_entries: &["caffeine:s3fifo"], in_bytes: &["caffeine:s3fifo"] },
    Peers { policy: "w-tinylfu", in_entries: &["caffeine:wtinylfu_climb"], in_bytes: &[] },
    Peers { policy: "gdsf", in_entries: &["gdsf"], in_bytes: &["gdsf"] },
    Peers { policy: "lfu(ageing=none)", in_entries: &["lfu", "caffeine:lfu"], in_bytes: &["lfu"] },
    // With charges of one, GDSF is LFU with dynamic ageing.
    Peers { policy: "lfu(ageing=dynamic)", in_entries: &["gdsf"], in_bytes: &[] },
    Peers {
        policy: "w-tinylfu(adaptive=false)",
        in_entries: &["caffeine:wtinylfu_w1"],
        in_bytes: &["caffeine:wtinylfu_w1"],
    },
];

impl Peers {
    fn policy(&self) -> Policy {
        self.policy.parse().expect("a built-in policy")
    }
}

/// Returns the rows with which a policy is compared, the most similar first. Returns no rows if no
/// policy is similar.
pub(crate) fn peers_of(policy: Policy, unit: Unit) -> &'static [&'static str] {
    let peers = PEERS.iter().find(|peers| peers.policy() == policy);
    peers.map_or(&[], |peers| match unit {
        Unit::Entries => peers.in_entries,
        Unit::Bytes => peers.in_bytes,
    })
}

/// Returns all policies, and those with other parameters that have peers.
pub(crate) fn policies() -> Vec<Policy> {
    let tuned = PEERS.iter().map(Peers::policy).filter(|policy| !Policy::ALL.contains(policy));
    Policy::ALL.iter().copied().chain(tuned).collect()
}
