//! Parts of arrays of cache lines that are indexed by hashes, for snapshots.
//!
//! ```text
//!   part   | lines of the whole u32 | first line u32 | line 64 | line 64 | ...
//! ```
//!
//! The high bits of a hash choose its line. So an array of another size finds the lines that had
//! the hashes of each, as when it is resized.

use core::ops::Range;

use super::hash_order::Move;
use crate::units::to_u32;

/// The words of a line.
const WORDS: usize = 8;
const LINE_BYTES: usize = WORDS * size_of::<u64>();
/// The lines of a part: 2 KiB with the numbers before them. A writer that has to wait for that does
/// so without going to sleep.
const LINES: usize = 31;
/// The most lines of an array.
const MAX_LINES: usize = 1 << 28;

/// Appends a part of an array of `lines` lines, whose words `words_of` returns. Returns `false` if
/// there is no such part.
pub(super) fn save(lines: usize, words_of: impl Fn(usize) -> [u64; WORDS], part: usize, bytes: &mut Vec<u8>) -> bool {
    let first = part.saturating_mul(LINES);
    let places = first..lines.min(first.saturating_add(LINES));
    if places.is_empty() {
        return false;
    }
    bytes.extend_from_slice(&to_u32(lines).to_le_bytes());
    bytes.extend_from_slice(&to_u32(first).to_le_bytes());
    places.flat_map(words_of).for_each(|word| bytes.extend_from_slice(&word.to_le_bytes()));
    true
}

/// Calls `take` for each line of the part and each place of an array of `lines` lines that has
/// hashes of it: with their move, the lines before that have hashes of the place, too, and the
/// words. Bytes that are no part have none.
pub(super) fn restore(lines: usize, bytes: &[u8], mut take: impl FnMut(&Move, Range<usize>, [u64; WORDS])) {
    let Some((total, first, saved)) = read(bytes) else { return };
    let end = (first + saved.len() / LINE_BYTES).min(total);
    if end == first {
        return;
    }
    // The moves the other way say which places have hashes of the first line and the last one.
    let places = Move::between(lines, total, first).sources.start..Move::between(lines, total, end - 1).sources.end;
    for place in places {
        let whole = Move::between(total, lines, place);
        for source in whole.sources.start.max(first)..whole.sources.end.min(end) {
            if let Some(words) = words_at(saved, source - first) {
                let step = whole.taking_from(source);
                take(&step, whole.sources.start..source, words);
            }
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

    /// Returns the lines that each place of an array of `lines` lines gets.
    fn restored(saved: usize, lines: usize) -> Vec<Vec<u64>> {
        let mut array = vec![Vec::new(); lines];
        let mut bytes = Vec::new();
        let mut part = 0;
        while save(saved, |line| [line as u64; WORDS], part, &mut bytes) {
            assert!(bytes.len() <= 16 << 10);
            restore(lines, &bytes, |step, before, words| {
                assert_eq!(before.len(), array[step.place].len());
                assert!(step.share(step.sources.start) > 0 && step.sources.len() == 1);
                array[step.place].push(words[7]);
            });
            bytes.clear();
            part += 1;
        }
        array
    }

    #[test]
    fn each_place_gets_the_lines_that_had_its_hashes() {
        for (saved, into) in [(1, 1), (1, 5), (255, 255), (256, 256), (1000, 1000), (1000, 1500), (1000, 333), (7, 1)] {
            // In units that both arrays consist of.
            let overlaps =
                |place: usize, line: usize| place * saved < (line + 1) * into && line * into < (place + 1) * saved;
            let lines_of = |place| (0..saved).filter(|&line| overlaps(place, line)).map(|line| line as u64).collect();
            let expected: Vec<Vec<_>> = (0..into).map(lines_of).collect();
            assert_eq!(restored(saved, into), expected, "from {saved} to {into}");
        }
    }

    #[test]
    fn bytes_that_are_no_part_change_nothing() {
        let huge = [[0xff; 8].as_slice(), &[1; 64]].concat();
        let none = [[0; 8].as_slice(), &[1; 64]].concat();
        let beyond = [[5, 0, 0, 0, 5, 0, 0, 0].as_slice(), &[1; 64]].concat();
        for bytes in [&[][..], &[1; 7], &huge, &none, &beyond, &[1, 0, 0, 0, 0, 0, 0, 0, 9]] {
            restore(10, bytes, |_, _, _| panic!("{bytes:?} has no line"));
        }
    }
}
