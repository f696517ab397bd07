//! Reads the bits and Huffman codes of a scan.

/// Reads a scan bit by bit, up to its end, which is a marker other than a restart, or the end of
/// the file.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    byte: u8,
    left: u8,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, byte: 0, left: 0 }
    }

    /// Returns the number of bytes of which at least one bit was read, stuffing included.
    pub(super) fn consumed(&self) -> usize {
        self.at
    }

    /// Reads the next bit. Returns `None` at the end of the scan.
    pub(super) fn bit(&mut self) -> Option<u32> {
        if self.left == 0 {
            self.byte = *self.bytes.get(self.at)?;
            self.at += 1;
            self.left = 8;
            if self.byte == 0xff {
                // FF 00 is a data byte FF. Like libjpeg, we read FF FF 00 as one too.
                while *self.bytes.get(self.at)? == 0xff {
                    self.at += 1;
                }
                if self.bytes[self.at] != 0 {
                    return None;
                }
                self.at += 1;
            }
        }
        self.left -= 1;
        Some(u32::from(self.byte >> self.left) & 1)
    }

    pub(super) fn bits(&mut self, count: u8) -> Option<u32> {
        (0..count).try_fold(0, |bits, _| Some((bits << 1) | self.bit()?))
    }

    /// Skips to the end of the restart marker that must come now. Stray bytes may stand before it.
    pub(super) fn restart(&mut self) -> Option<()> {
        self.left = 0;
        loop {
            self.at += memchr::memchr(0xff, self.bytes.get(self.at..)?)? + 1;
            match *self.bytes.get(self.at)? {
                0xff => {}
                0x00 => self.at += 1,
                0xd0..=0xd7 => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }
}

/// Huffman table (T.81, B.2.4.2): the number of codes of each length, and their values.
#[derive(Clone)]
pub(super) struct Table {
    counts: [u8; 16],
    values: Vec<u8>,
}

impl Table {
    /// Reads one Huffman table. Returns the table and the data after it.
    pub(super) fn read(data: &[u8]) -> Option<(Self, &[u8])> {
        let (&counts, rest) = data.split_first_chunk::<16>()?;
        let codes = counts.iter().map(|&count| usize::from(count)).sum();
        let (values, rest) = rest.split_at_checked(codes)?;
        Some((Self { counts, values: values.to_vec() }, rest))
    }

    /// Reads one Huffman code. Codes of one length are consecutive numbers that continue those of
    /// the length below (C.2).
    pub(super) fn decode(&self, bits: &mut Bits<'_>) -> Option<u8> {
        let (mut code, mut first, mut index) = (0u32, 0u32, 0u32);
        for count in self.counts.map(u32::from) {
            code |= bits.bit()?;
            if code >= first && code - first < count {
                return self.values.get((index + code - first) as usize).copied();
            }
            index += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}
