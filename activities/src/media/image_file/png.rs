//! Follows a PNG: a signature, then chunks of length, type, data and CRC-32, the last of them IEND.
//! Source: W3C, Portable Network Graphics (Third Edition), sections 5.2–5.6 and 11.2.

use super::Verdict;
use super::field::{Field, take_up_to};

const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// Longest chunk in bytes. The length field has four bytes, of which 31 bits count (5.3).
const MAX_CHUNK_BYTES: u32 = (1 << 31) - 1;

#[derive(Debug, Default)]
pub(super) struct Png {
    state: State,
    field: Field,
    crc: crc32fast::Hasher,
    size: Option<(u32, u32)>,
    has_pixels: bool,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Signature,
    ChunkStart,
    Header,
    Data {
        kind: [u8; 4],
        left: u32,
    },
    Crc {
        kind: [u8; 4],
    },
    End,
}

impl Png {
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
            (State::Signature | State::Header, _) | (_, None) => Verdict::Awaiting("its header"),
            (State::Data { kind: [b'I', b'D', b'A', b'T'], .. }, _) => {
                Verdict::Awaiting("part of its pixels")
            }
            (State::ChunkStart | State::Data { .. } | State::Crc { .. }, _) => {
                Verdict::Awaiting("its end chunk")
            }
        }
    }

    /// Takes at least one byte of `input`, which isn't empty.
    fn step(&mut self, input: &mut &[u8]) -> Result<(), String> {
        match self.state {
            State::Signature => {
                if let Some(signature) = self.field.take::<8>(input) {
                    if signature != SIGNATURE {
                        return Err("its signature was altered, as by a transfer in text mode".to_owned());
                    }
                    self.state = State::ChunkStart;
                }
            }
            State::ChunkStart => {
                if let Some([l0, l1, l2, l3, kind @ ..]) = self.field.take::<8>(input) {
                    self.start_chunk(u32::from_be_bytes([l0, l1, l2, l3]), kind)?;
                }
            }
            State::Header => {
                if let Some(header) = self.field.take::<13>(input) {
                    self.crc.update(&header);
                    let [w0, w1, w2, w3, h0, h1, h2, h3, ..] = header;
                    self.size =
                        Some((u32::from_be_bytes([w0, w1, w2, w3]), u32::from_be_bytes([h0, h1, h2, h3])));
                    self.state = State::Crc { kind: *b"IHDR" };
                }
            }
            State::Data { kind, left } => {
                let data = take_up_to(u64::from(left), input);
                self.crc.update(data);
                // `data` is no longer than `left`.
                let left = left - data.len() as u32;
                self.state = if left == 0 { State::Crc { kind } } else { State::Data { kind, left } };
            }
            State::Crc { kind } => {
                if let Some(stated) = self.field.take::<4>(input) {
                    self.end_chunk(kind, u32::from_be_bytes(stated))?;
                }
            }
            State::End => *input = &[],
        }
        Ok(())
    }

    fn start_chunk(&mut self, length: u32, kind: [u8; 4]) -> Result<(), String> {
        if length > MAX_CHUNK_BYTES || !kind.iter().all(u8::is_ascii_alphabetic) {
            return Err("something that is no chunk stands where one should start".to_owned());
        }
        self.crc.reset();
        self.crc.update(&kind);
        self.state = match (&kind, self.size) {
            (b"IHDR", None) if length == 13 => State::Header,
            (b"IHDR", _) => return Err("it has a second header, or one of a wrong length".to_owned()),
            (_, None) => return Err("its first chunk is not the header".to_owned()),
            (b"IEND", _) if length > 0 => return Err("its end chunk is not empty".to_owned()),
            (b"IEND", _) if !self.has_pixels => return Err("it has no pixels".to_owned()),
            (_, _) if length == 0 => State::Crc { kind },
            (_, _) => State::Data { kind, left: length },
        };
        self.has_pixels |= &kind == b"IDAT";
        Ok(())
    }

    fn end_chunk(&mut self, kind: [u8; 4], stated: u32) -> Result<(), String> {
        let found = self.crc.clone().finalize();
        if found != stated {
            let kind = String::from_utf8_lossy(&kind);
            return Err(format!("the checksum of its {kind} chunk is {found:08x}, not {stated:08x}"));
        }
        if self.size.is_some_and(|(width, height)| width == 0 || height == 0) {
            return Err("its width or height is 0".to_owned());
        }
        self.state = if &kind == b"IEND" { State::End } else { State::ChunkStart };
        Ok(())
    }
}
