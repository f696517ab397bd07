//! Follows a JPEG: markers, most of them with a segment of stated length; scans of entropy-coded
//! data; the end mark EOI.
//! Source: ITU-T T.81 (09/92), annex B.
//!
//! An end mark counts only at a place for markers. Inside a segment, `FF D9` is data. The thumbnail
//! in an EXIF segment is a whole JPEG of its own. A file that is cut directly after it would pass a
//! check of its last two bytes.

use super::Verdict;
use super::field::{Field, take_up_to};

#[derive(Debug, Default)]
pub(super) struct Jpeg {
    state: State,
    field: Field,
    size: Option<(u32, u32)>,
    scans: Scans,
}

/// Progress of the pixels. A scan's header alone brings none.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Scans {
    #[default]
    None,
    Announced,
    WithData,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Start,
    /// Place between segments, at which FF must follow.
    Marker,
    /// Place after an FF between segments.
    MarkerCode,
    Length {
        code: u8,
    },
    /// First bytes of a frame header, of which `left` bytes in all remain.
    Frame {
        left: u64,
    },
    Segment {
        code: u8,
        left: u64,
    },
    /// Entropy-coded data, which ends at an FF that is neither stuffing nor a restart marker.
    Scan,
    /// Place after an FF in entropy-coded data.
    ScanCode,
    End,
}

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
/// Marker without a length, "for temporary private use in arithmetic coding".
const TEM: u8 = 0x01;

impl Jpeg {
    /// Follows the markers through the next bytes. The error describes the contradiction to the
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
            (State::Scan | State::ScanCode, _) => Verdict::Awaiting("part of its pixels, or its end mark,"),
            (_, _) => Verdict::Awaiting("its end mark"),
        }
    }

    /// Takes at least one byte of `input`, which isn't empty.
    fn step(&mut self, input: &mut &[u8]) -> Result<(), String> {
        match self.state {
            State::Start => {
                // `sniff` has checked the start mark FF D8.
                if self.field.take::<2>(input).is_some() {
                    self.state = State::Marker;
                }
            }
            State::Marker => match self.field.take::<1>(input) {
                Some([0xff]) => self.state = State::MarkerCode,
                Some([other]) => return Err(format!("the byte {other:02x} stands where a marker should")),
                None => {}
            },
            State::MarkerCode => {
                if let Some([code]) = self.field.take::<1>(input) {
                    self.marker(code)?;
                }
            }
            State::Length { code } => {
                if let Some(length) = self.field.take::<2>(input) {
                    self.start_segment(code, u64::from(u16::from_be_bytes(length)))?;
                }
            }
            State::Frame { left } => {
                if let Some([_precision, h0, h1, w0, w1]) = self.field.take::<5>(input) {
                    self.frame(u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]))?;
                    self.state = State::Segment { code: 0, left: left - 5 };
                }
            }
            State::Segment { code, left } => {
                let left = left - take_up_to(left, input).len() as u64;
                self.state = match (left, code) {
                    (0, SOS) => State::Scan,
                    (0, _) => State::Marker,
                    (_, _) => State::Segment { code, left },
                };
            }
            State::Scan => self.scan(input),
            State::ScanCode => match self.field.take::<1>(input) {
                // FF 00 is a data byte FF, FF D0 to FF D7 restart within the scan, and FF FF is
                // filling.
                Some([0x00 | 0xd0..=0xd7]) => {
                    self.scans = Scans::WithData;
                    self.state = State::Scan;
                }
                Some([0xff]) | None => {}
                Some([code]) => self.marker(code)?,
            },
            State::End => *input = &[],
        }
        Ok(())
    }

    fn marker(&mut self, code: u8) -> Result<(), String> {
        self.state = match code {
            0xff => State::MarkerCode,
            TEM => State::Marker,
            EOI if self.scans == Scans::WithData => State::End,
            EOI => return Err("it ends without pixels".to_owned()),
            SOI => return Err("another picture starts within it".to_owned()),
            0x00 | 0x02..=0xbf | 0xd0..=0xd7 => {
                return Err(format!("the marker {code:02x} can't stand there"));
            }
            0xc0..=0xcf | 0xda..=0xfe => State::Length { code },
        };
        Ok(())
    }

    /// Begins a segment of `length` bytes, which include the two bytes of the length.
    fn start_segment(&mut self, code: u8, length: u64) -> Result<(), String> {
        let Some(left) = length.checked_sub(2) else {
            return Err(format!("the segment {code:02x} states the impossible length {length}"));
        };
        self.state = match code {
            // Frame headers are SOF0 to SOF15 without DHT, JPG and DAC. Precision, height, width
            // and number of components are at least 6 bytes.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf if left < 6 => {
                return Err("its frame header is too short".to_owned());
            }
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => State::Frame { left },
            SOS if self.size.is_none() => return Err("its pixels come before its frame header".to_owned()),
            SOS if left == 0 => return Err("its scan header is empty".to_owned()),
            _ if left == 0 => State::Marker,
            _ => State::Segment { code, left },
        };
        if code == SOS && self.scans == Scans::None {
            self.scans = Scans::Announced;
        }
        Ok(())
    }

    fn frame(&mut self, width: u16, height: u16) -> Result<(), String> {
        if self.size.is_some() {
            return Err("it has two frame headers".to_owned());
        }
        // T.81 allows a height of 0 that a DNL marker defines after the first scan. Encoders in use
        // don't write it, and few decoders read it.
        if width == 0 || height == 0 {
            return Err("its width or height is 0".to_owned());
        }
        self.size = Some((u32::from(width), u32::from(height)));
        Ok(())
    }

    fn scan(&mut self, input: &mut &[u8]) {
        let data = memchr::memchr(0xff, input).unwrap_or(input.len());
        if data > 0 {
            self.scans = Scans::WithData;
        }
        take_up_to(data as u64, input);
        if !input.is_empty() {
            take_up_to(1, input);
            self.state = State::ScanCode;
        }
    }
}
