//! A window over a snapshot that is read. It finds blocks, also after damaged ones.
//!
//! ```text
//!   file     ... | block | bl?ck | block | ...
//!                        ^ start      ^ the next mark with a header that is right
//! ```
//!
//! A block whose header is damaged does not say where the next one begins. So the source looks for
//! the next mark whose header has the right checksum. After a damaged payload it searches from the
//! start of that payload, because bytes may be missing.

use std::io::{self, Read};

use super::format::{BlockHeader, MARK};

/// The size of the window in bytes, unless a block is longer.
const WINDOW_BYTES: usize = 1 << 20;

/// The bytes of a file that are not read yet.
pub(super) struct Source<R> {
    reader: R,
    window: Vec<u8>,
    start: usize,
    end: usize,
    has_ended: bool,
    /// The last block was damaged, and the next one has not been found.
    is_lost: bool,
    /// The number of the next block.
    next_number: u64,
    /// The number of damaged places.
    pub(super) damaged: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(reader: R) -> Self {
        let window = vec![0; WINDOW_BYTES];
        Self { reader, window, start: 0, end: 0, has_ended: false, is_lost: false, next_number: 0, damaged: 0 }
    }

    /// Returns the next bytes: at least `count`, unless the file ends before.
    ///
    /// Memory for more than the window is allocated as the bytes come, so a length that is too
    /// large costs nothing.
    pub(super) fn fill(&mut self, count: usize) -> io::Result<&[u8]> {
        while self.end - self.start < count && !self.has_ended {
            if self.end == self.window.len() {
                self.window.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
                if self.end == self.window.len() {
                    self.window.resize(self.end.saturating_mul(2).min(count.max(WINDOW_BYTES)), 0);
                }
            }
            match self.reader.read(&mut self.window[self.end..]) {
                Ok(0) => self.has_ended = true,
                Ok(read) => self.end = (self.end + read).min(self.window.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.has_ended = true;
                    return Err(error);
                }
            }
        }
        Ok(&self.window[self.start..self.end])
    }

    /// Passes bytes that were returned by [`fill`](Self::fill).
    pub(super) fn pass(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    /// Passes bytes without looking at them. Returns `false` if the file ends before.
    pub(super) fn skip(&mut self, mut count: u64) -> bool {
        while count > 0 {
            let available = match self.fill(1) {
                Ok(bytes) if !bytes.is_empty() => bytes.len(),
                _ => return false,
            };
            let passed = usize::try_from(count).unwrap_or(usize::MAX).min(available);
            self.pass(passed);
            count -= passed as u64;
        }
        true
    }

    /// Counts a damaged place, unless the last one was counted and no block was found since.
    pub(super) fn note_damage(&mut self) {
        if !core::mem::replace(&mut self.is_lost, true) {
            self.damaged += 1;
        }
    }

    /// Returns the header of the next block, and passes it. Returns `None` at the end of the file,
    /// or if reading fails.
    pub(super) fn next_block(&mut self, nonce: u64) -> Option<BlockHeader> {
        // Ends: each round passes a byte or more.
        loop {
            let Ok(bytes) = self.fill(BlockHeader::BYTES) else {
                self.note_damage();
                return None;
            };
            if bytes.is_empty() {
                return None;
            }
            if let Some(header) = BlockHeader::from_bytes(bytes, nonce) {
                self.pass(BlockHeader::BYTES);
                if header.number != self.next_number {
                    self.note_damage(); // Blocks are missing, or in another order.
                }
                self.next_number = header.number.wrapping_add(1);
                self.is_lost = false;
                return Some(header);
            }
            let [first, ..] = MARK;
            let next = bytes.iter().skip(1).position(|&byte| byte == first).map_or(bytes.len(), |place| place + 1);
            self.note_damage();
            self.pass(next);
        }
    }
}
