//! Parts of arrays of cache lines that are indexed by hashes, for snapshots.
//!
//! ```text
//!   part   | lines of the whole u32 | first line u32 | line 64 | line 64 | ...
//! ```
//!
//! The high bits of a hash choose its line. So an array of another size finds the line that had its
//! hashes, as when it grows.

use crate::units::to_u32;

/// The words of a line.
const WORDS: usize = 8;
const LINE_BYTES: usize = WORDS * size_of::<u64>();
/// The lines of a part: 16 KiB with the numbers before them.
const LINES: usize = 255;
/// The most lines of an array.
const MAX_LINES: usize = 1 << 28;

/// Appends a part of an array. Returns `false` if there is no such part.
pub(super) fn save<T>(array: &[T], words_of: impl Fn(&T) -> [u64; WORDS], part: usize, bytes: &mut Vec<u8>) -> bool {
    let first = part.saturating_mul(LINES);
    let Some(lines) = array.get(first..array.len().min(first.saturating_add(LINES))).filter(|lines| !lines.is_empty())
    else {
        return false;
    };
    bytes.extend_from_slice(&to_u32(array.len()).to_le_bytes());
    bytes.extend_from_slice(&to_u32(first).to_le_bytes());
    lines.iter().flat_map(words_of).for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    true
}

/// Calls `set` with the lines of an array of `lines` lines that the part has, and their words.
/// Bytes that are no part have none.
pub(super) fn restore(lines: usize, bytes: &[u8], mut set: impl FnMut(usize, [u64; WORDS])) {
    let Some((total, first, saved)) = read(bytes) else { return };
    let end = (first + saved.len() / LINE_BYTES).min(total);
    for line in first * lines / total..(end * lines).div_ceil(total).min(lines) {
        let number = (line * total / lines).checked_sub(first);
        let words = number.and_then(|number| words_at(saved, number));
        if let Some(words) = words {
            set(line, words);
        }
    }
}

fn read(bytes: &[u8]) -> Option<(usize, usize, &[u8])> {
    let (total, rest) = bytes.split_first_chunk()?;
    let (first, rest) = rest.split_first_chunk()?;
    let (total, first) = (u32::from_le_bytes(*total) as usize, u32::from_le_bytes(*first) as usize);
    (first < total && total <= MAX_LINES).then_some((total, first, rest))
}

fn words_at(saved: &[u8], number: usize) -> Option<[u64; WORDS]> {
    let line = saved.get(number * LINE_BYTES..(number + 1) * LINE_BYTES)?;
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(line.chunks_exact(size_of::<u64>())) {
        *word = u64::from_le_bytes(bytes.try_into().ok()?);
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored(saved: &[[u64; WORDS]], lines: usize) -> Vec<u64> {
        let mut array = vec![0; lines];
        let mut bytes = Vec::new();
        let mut part = 0;
        while save(saved, |line| *line, part, &mut bytes) {
            assert!(bytes.len() <= 16 << 10);
            restore(lines, &bytes, |line, words| array[line] = words[7]);
            bytes.clear();
            part += 1;
        }
        array
    }

    #[test]
    fn each_line_gets_what_the_line_with_its_hashes_had() {
        let lines: Vec<_> = (0..1000_u64).map(|number| [0, 0, 0, 0, 0, 0, 0, number]).collect();
        for (saved, into) in [(1, 1), (1, 5), (255, 255), (256, 256), (1000, 1000), (1000, 1500), (1000, 333), (7, 1)] {
            let expected: Vec<_> = (0..into).map(|line| (line * saved / into) as u64).collect();
            assert_eq!(restored(&lines[..saved], into), expected, "from {saved} to {into}");
        }
    }

    #[test]
    fn bytes_that_are_no_part_change_nothing() {
        let huge = [[0xff; 8].as_slice(), &[1; 64]].concat();
        let none = [[0; 8].as_slice(), &[1; 64]].concat();
        let beyond = [[5, 0, 0, 0, 5, 0, 0, 0].as_slice(), &[1; 64]].concat();
        for bytes in [&[][..], &[1; 7], &huge, &none, &beyond, &[1, 0, 0, 0, 0, 0, 0, 0, 9]] {
            restore(10, bytes, |_, _| panic!("{bytes:?} has no line"));
        }
    }
}
