//! [`Topology`]: the primaries of a Redis Cluster, and which of them has a key.
//!
//! It is asked for when a session begins. A node that no longer has a key's slot answers with an
//! error, which ends the session. So a topology never changes.

use redis::Value;

/// The number of slots of a cluster.
const SLOTS: u16 = 16_384;

/// The primaries of a cluster, and their slots.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Topology {
    /// The host of each primary, if the cluster knows it, and its port.
    pub(crate) nodes: Vec<(Option<String>, u16)>,
    /// The first and last slot of a range, and the index of its node.
    ranges: Vec<(u16, u16, usize)>,
}

impl Topology {
    /// Reads an answer to `CLUSTER SLOTS`. Returns `None` if it has another form, or no slots.
    pub(crate) fn parse(answer: &Value) -> Option<Self> {
        let Value::Array(ranges) = answer else { return None };
        let mut topology = Self::default();
        for range in ranges {
            let Value::Array(parts) = range else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &parts[..] else { return None };
            let [host, Value::Int(port), ..] = &primary[..] else { return None };
            let host = match host {
                // The host is not known.
                Value::BulkString(host) if host == b"?" => return None,
                Value::BulkString(host) if !host.is_empty() => Some(String::from_utf8(host.clone()).ok()?),
                _ => None,
            };
            let node = (host, u16::try_from(*port).ok()?);
            let place = topology.nodes.iter().position(|known| *known == node).unwrap_or_else(|| {
                topology.nodes.push(node);
                topology.nodes.len() - 1
            });
            topology.ranges.push((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, place));
        }
        (!topology.nodes.is_empty()).then_some(topology)
    }

    /// Returns the index of the node that has a key, or `None` if no node has its slot.
    pub(crate) fn node(&self, key: &[u8]) -> Option<usize> {
        let slot = slot(key);
        self.ranges.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|&(_, _, node)| node)
    }
}

/// Returns the slot of a key. If the key has a part in braces, that part alone decides.
fn slot(key: &[u8]) -> u16 {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        rest.iter().position(|&byte| byte == b'}').map(|close| &rest[..close])
    });
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key)) % SLOTS
}

/// The checksum CRC-16/XMODEM, as Redis Cluster defines it.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => (crc << 1) ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // By `CLUSTER KEYSLOT`.
        assert_eq!(slot(b"somekey"), 11_058);
        assert_eq!(slot(b"foo{hash_tag}"), 2_515);
        assert_eq!(slot(b"bar{hash_tag}"), 2_515);
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
    }

    fn range(first: i64, last: i64, host: &str, port: i64) -> Value {
        let primary = Value::Array(vec![Value::BulkString(host.into()), Value::Int(port)]);
        Value::Array(vec![Value::Int(first), Value::Int(last), primary])
    }

    #[test]
    fn keys_have_the_nodes_of_their_slots() {
        let answer = Value::Array(vec![range(0, 99, "a", 1), range(11_000, 12_000, "b", 2), range(100, 9_999, "a", 1)]);
        let topology = Topology::parse(&answer).expect("it has the form");
        assert_eq!(topology.nodes, [(Some("a".to_string()), 1), (Some("b".to_string()), 2)]);
        assert_eq!(topology.node(b"foo{hash_tag}"), Some(0));
        assert_eq!(topology.node(b"somekey"), Some(1));
        assert_eq!(topology.node(b"foo"), None);
    }

    #[test]
    fn node_without_a_host_has_that_of_its_cluster() {
        let topology = Topology::parse(&Value::Array(vec![range(0, 16_383, "", 7)]));
        assert_eq!(topology.expect("it has the form").nodes, [(None, 7)]);
    }

    #[test]
    fn answers_of_another_form_are_refused() {
        for answer in [Value::Nil, Value::Array(vec![]), Value::Array(vec![Value::Int(1)])] {
            assert_eq!(Topology::parse(&answer), None);
        }
        for answer in [range(0, 70_000, "a", 1), range(0, 16_383, "?", 1)] {
            assert_eq!(Topology::parse(&Value::Array(vec![answer])), None);
        }
    }
}
