//! Reads fields and runs of bytes that may be split over any number of chunks.

/// Longest field of all formats in bytes, which is PNG's IHDR.
const MAX_BYTES: usize = 13;

/// Collects one field of fixed length.
#[derive(Debug, Default)]
pub(super) struct Field {
    bytes: [u8; MAX_BYTES],
    have: usize,
}

impl Field {
    /// Moves the missing ones of `N` bytes from the front of `input`. Returns the field once it is
    /// complete, and begins the next.
    pub(super) fn take<const N: usize>(&mut self, input: &mut &[u8]) -> Option<[u8; N]> {
        const { assert!(N <= MAX_BYTES) };
        let missing = N.saturating_sub(self.have);
        let front = take_up_to(missing as u64, input);
        self.bytes[self.have..self.have + front.len()].copy_from_slice(front);
        self.have += front.len();
        if self.have < N {
            return None;
        }
        self.have = 0;
        let mut field = [0; N];
        field.copy_from_slice(&self.bytes[..N]);
        Some(field)
    }
}

/// Moves up to `count` bytes from the front of `input`, and returns them.
pub(super) fn take_up_to<'a>(count: u64, input: &mut &'a [u8]) -> &'a [u8] {
    let count = usize::try_from(count).map_or(input.len(), |count| count.min(input.len()));
    let (front, rest) = input.split_at(count);
    *input = rest;
    front
}
