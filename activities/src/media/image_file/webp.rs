//! Follows a WebP: a RIFF container that states its length. The first chunk (VP8, VP8L or VP8X)
//! holds the dimensions.
//! Source: RFC 9649, sections 2.3–2.7 (container) and 3.4 (VP8L header); RFC 6386, section 9.1 (VP8
//! frame header).

use super::Verdict;
use super::field::{Field, take_up_to};

#[derive(Debug, Default)]
pub(super) struct Webp {
    state: State,
    field: Field,
    /// Bytes that the container still has to hold after the field or run that is being read.
    left: u64,
    size: Option<(u32, u32)>,
    has_pixels: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Container,
    ChunkStart,
    /// First bytes of a `VP8 `, `VP8L` or `VP8X` chunk, of which `left` bytes in all remain.
    Lossy {
        left: u64,
    },
    Lossless {
        left: u64,
    },
    Extended {
        left: u64,
    },
    Data {
        left: u64,
    },
    End,
}

impl Webp {
    /// Follows the chunks through the next bytes. The error describes the contradiction to the
    /// format.
    pub(super) fn update(&mut self, mut input: &[u8]) -> Result<(), String> {
        while !input.is_empty() {
            self.step(&mut input)?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> Verdict {
        match (self.state, self.size) {
            (State::End, Some((width, height))) => Verdict::Complete { width, height },
            (_, None) => Verdict::Awaiting("its header"),
            (_, _) => Verdict::Awaiting("part of the length it states"),
        }
    }

    /// Takes at least one byte of `input`, which isn't empty.
    fn step(&mut self, input: &mut &[u8]) -> Result<(), String> {
        match self.state {
            State::Container => {
                // The field holds "RIFF", a length and "WEBP". The length counts from "WEBP" on.
                // `sniff` has checked both words.
                if let Some([_, _, _, _, l0, l1, l2, l3, ..]) = self.field.take::<12>(input) {
                    let length = u32::from_le_bytes([l0, l1, l2, l3]);
                    self.left = u64::from(length).saturating_sub(4);
                    self.next_chunk()?;
                }
            }
            State::ChunkStart => {
                if let Some([k0, k1, k2, k3, l0, l1, l2, l3]) = self.field.take::<8>(input) {
                    self.start_chunk([k0, k1, k2, k3], u64::from(u32::from_le_bytes([l0, l1, l2, l3])))?;
                }
            }
            State::Lossy { left } => {
                // Bit 0 of the frame tag is 0 in a key frame. The upper two bits of each side are a
                // scale.
                let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
                match self.field.take::<10>(input) {
                    Some([tag, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1]) if tag & 1 == 0 => {
                        self.picture(side(w0, w1), side(h0, h1), left - 10)?;
                    }
                    Some(_) => return Err("its VP8 picture doesn't start with a key frame".to_owned()),
                    None => {}
                }
            }
            State::Lossless { left } => {
                match self.field.take::<5>(input) {
                    Some([0x2f, b0, b1, b2, b3]) => {
                        // The four bytes hold 14 bits of width - 1, then 14 bits of height - 1.
                        let bits = u32::from_le_bytes([b0, b1, b2, b3]);
                        self.picture((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1, left - 5)?;
                    }
                    Some(_) => return Err("its VP8L picture has no signature".to_owned()),
                    None => {}
                }
            }
            State::Extended { left } => {
                if let Some([_, _, _, _, w0, w1, w2, h0, h1, h2]) = self.field.take::<10>(input) {
                    // Width and height have 24 bits each, minus 1.
                    let side = |b0, b1, b2| u32::from_le_bytes([b0, b1, b2, 0]) + 1;
                    self.picture(side(w0, w1, w2), side(h0, h1, h2), left - 10)?;
                }
            }
            State::Data { left } => {
                let left = left - take_up_to(left, input).len() as u64;
                self.state = State::Data { left };
                if left == 0 {
                    self.next_chunk()?;
                }
            }
            State::End => *input = &[],
        }
        Ok(())
    }

    fn next_chunk(&mut self) -> Result<(), String> {
        self.state = match self.left {
            0 if self.has_pixels => State::End,
            0 => return Err("it has no pixels".to_owned()),
            1..8 => return Err("its stated length ends within a chunk's header".to_owned()),
            8.. => {
                self.left -= 8;
                State::ChunkStart
            }
        };
        Ok(())
    }

    fn start_chunk(&mut self, kind: [u8; 4], length: u64) -> Result<(), String> {
        if length > self.left {
            let kind = String::from_utf8_lossy(&kind);
            return Err(format!("its chunk {kind:?} reaches beyond the length it states"));
        }
        // Chunks are padded to an even length. Some encoders leave out the very last padding byte.
        let padded = (length + length % 2).min(self.left);
        self.left -= padded;
        self.has_pixels |= matches!(&kind, b"VP8 " | b"VP8L" | b"ANMF");
        self.state = match (&kind, self.size) {
            (b"VP8 ", None) if length >= 10 => State::Lossy { left: padded },
            (b"VP8L", None) if length >= 5 => State::Lossless { left: padded },
            (b"VP8X", None) if length >= 10 => State::Extended { left: padded },
            (_, None) => return Err("its first chunk is no picture header".to_owned()),
            (_, Some(_)) => State::Data { left: padded },
        };
        if padded == 0 {
            self.next_chunk()?;
        }
        Ok(())
    }

    fn picture(&mut self, width: u32, height: u32, left: u64) -> Result<(), String> {
        if width == 0 || height == 0 {
            return Err("its width or height is 0".to_owned());
        }
        self.size = Some((width, height));
        self.state = State::Data { left };
        if left == 0 {
            self.next_chunk()?;
        }
        Ok(())
    }
}
