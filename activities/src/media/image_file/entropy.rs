//! Tells whether a JPEG holds all its pixels, by following its entropy-coded data without computing
//! a pixel.
//! Source: ITU-T T.81 (09/92): A.2 (order of blocks), B.2 (segments), F.2.2 (sequential), G.1.2 and
//! G.2 (progressive).
//!
//! The structure alone can't tell. A JPEG without its end mark may be cut, or may only lack the
//! mark. Stray bytes between segments may look like markers. Decoders can't tell either, because
//! they paint missing pixels.
//!
//! A Huffman-coded scan is whole if each of its blocks can be read. A picture is whole once its
//! scans have brought each coefficient of each block at full precision. Bytes after that are no
//! part of the picture.

mod bits;
mod blocks;

use bits::{Bits, Table};
use blocks::{Component, Scan};

/// Most blocks of a picture, which are 89 megapixels without subsampling. For a progressive picture
/// they take 32 MB.
const MAX_BLOCKS: usize = 4 << 20;
/// Most scans of a picture. Encoders write up to 12. Each scan costs a visit to each block, however
/// short the scan is in the file.
const MAX_SCANS: u32 = 100;

/// A picture whose pixels are all there.
pub(crate) struct WholeJpeg {
    /// Width in pixels, as stored.
    pub(crate) width: u32,
    /// Height in pixels, as stored.
    pub(crate) height: u32,
    /// Bytes of the same picture without stray bytes and trailer, and with an end mark.
    pub(crate) bytes: Vec<u8>,
}

/// Needs of decoding, as far as the headers before the first pixels tell.
pub(crate) struct Layout {
    /// Number of samples of all components, with the padding of their blocks.
    pub(crate) samples: u64,
    /// Number of colour components: 1 for grey.
    pub(crate) components: usize,
    /// True if a decoder has to keep all coefficients until the last scan.
    pub(crate) many_scans: bool,
}

/// Follows the whole picture. Returns `None` if pixels are missing, or if the file can't be
/// followed. Files with lossless or arithmetic coding can't, nor those of more than 4,194,304
/// blocks or 100 scans.
pub(crate) fn follow(bytes: &[u8]) -> Option<WholeJpeg> {
    let mut walk = Walk::new(bytes);
    let mut kept = vec![0xff, SOI];
    for _ in 0..MAX_SCANS {
        let header = walk.next_scan(&mut kept)?;
        let scan = walk.scan(header)?;
        let start = walk.at;
        let frame = walk.frame.as_mut()?;
        let mut bits = Bits::new(bytes.get(start..)?);
        frame.read(&scan, walk.restart_interval, &mut bits)?;
        walk.at = start + bits.consumed();
        kept.extend_from_slice(bytes.get(start..walk.at)?);
        if frame.components.iter().all(Component::is_whole) {
            kept.extend([0xff, EOI]);
            return Some(WholeJpeg { width: frame.width, height: frame.height, bytes: kept });
        }
    }
    None
}

/// Reads the headers up to the first pixels. Returns `None` if the file can't be followed.
pub(crate) fn layout(bytes: &[u8]) -> Option<Layout> {
    let mut walk = Walk::new(bytes);
    let header = walk.next_scan(&mut Vec::new())?;
    let in_scan = usize::from(*header.first()?);
    let frame = walk.frame?;
    let samples = frame.components.iter().map(|component| component.blocks() as u64 * 64).sum();
    let components = frame.components.len();
    Some(Layout { samples, components, many_scans: frame.progressive || in_scan < components })
}

const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const DHT: u8 = 0xc4;
const DRI: u8 = 0xdd;

/// Frame header, and the pixels that are known so far.
pub(super) struct Frame {
    progressive: bool,
    width: u32,
    height: u32,
    components: Vec<Component>,
    /// Columns and rows of minimum coded units in an interleaved scan.
    units_wide: u32,
    units_high: u32,
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    frame: Option<Frame>,
    dc_tables: [Option<Table>; 4],
    ac_tables: [Option<Table>; 4],
    restart_interval: u32,
}

impl<'a> Walk<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let (dc_tables, ac_tables) = Default::default();
        // The walk begins after the start mark, which `sniff` has checked.
        Self { bytes, at: 2, frame: None, dc_tables, ac_tables, restart_interval: 0 }
    }

    /// Reads segments into `kept` up to the next scan. Returns the scan's header.
    fn next_scan(&mut self, kept: &mut Vec<u8>) -> Option<&'a [u8]> {
        loop {
            let code = self.next_marker()?;
            let length = usize::from(u16::from_be_bytes(self.bytes.get(self.at..)?.first_chunk().copied()?));
            let segment = self.bytes.get(self.at..self.at + length)?;
            let data = segment.get(2..)?;
            self.at += length;
            kept.extend([0xff, code]);
            kept.extend_from_slice(segment);
            match code {
                0xc0..=0xc2 if self.frame.is_none() => {
                    self.frame = Some(Frame::read_header(code == 0xc2, data)?)
                }
                // The file has a second frame, or lossless, hierarchical or arithmetic coding.
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc8..=0xcf => return None,
                DHT => self.read_tables(data)?,
                DRI => self.restart_interval = u32::from(u16::from_be_bytes(data.first_chunk().copied()?)),
                SOS => return Some(data),
                _ => {}
            }
        }
    }

    /// Skips to the next marker that has a segment. Like libjpeg, skips stray bytes before it.
    fn next_marker(&mut self) -> Option<u8> {
        loop {
            self.at += memchr::memchr(0xff, self.bytes.get(self.at..)?)? + 1;
            match *self.bytes.get(self.at)? {
                // After fill bytes, the next byte decides.
                0xff => {}
                // Another picture or the end comes before all pixels of this one.
                SOI | EOI => return None,
                0x00 | 0x01 | 0xd0..=0xd7 => self.at += 1,
                code => {
                    self.at += 1;
                    return Some(code);
                }
            }
        }
    }

    fn read_tables(&mut self, mut data: &[u8]) -> Option<()> {
        while let Some((&kind, rest)) = data.split_first() {
            let (table, rest) = Table::read(rest)?;
            let tables = if kind >> 4 == 0 { &mut self.dc_tables } else { &mut self.ac_tables };
            *tables.get_mut(usize::from(kind & 0x0f))? = Some(table);
            data = rest;
        }
        Some(())
    }

    /// Interprets a scan's header: its components, its coefficients and their bits (B.2.3).
    fn scan(&self, header: &[u8]) -> Option<Scan> {
        let frame = self.frame.as_ref()?;
        let (&count, rest) = header.split_first()?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(count))?;
        let [first, last, bits, ..] = *rest else { return None };
        let mut components = Vec::new();
        for selector in selectors.chunks_exact(2) {
            let index = frame.components.iter().position(|component| component.id == selector[0])?;
            let table =
                |tables: &[Option<Table>; 4], which: u8| tables.get(usize::from(which)).cloned().flatten();
            components.push((
                index,
                table(&self.dc_tables, selector[1] >> 4),
                table(&self.ac_tables, selector[1] & 15),
            ));
        }
        // A sequential scan has all coefficients, whatever its header says, because libjpeg reads
        // it so.
        let (first, last, bits) = if frame.progressive { (first, last, bits) } else { (0, 63, 0) };
        let is_dc = first == 0;
        let may_be = match (frame.progressive, is_dc) {
            (false, _) => true,
            (true, true) => last == 0,
            (true, false) => count == 1 && first <= last && last <= 63,
        };
        (may_be && !components.is_empty() && components.len() <= 4).then_some(Scan {
            components,
            first,
            last,
            refines: bits >> 4 != 0,
            low_bit: bits & 0x0f,
        })
    }
}

impl Frame {
    /// Reads a frame header (B.2.2) and computes its numbers of blocks (A.1.1, A.2.4).
    fn read_header(progressive: bool, data: &[u8]) -> Option<Self> {
        let [_precision, h0, h1, w0, w1, count, ref rest @ ..] = *data else { return None };
        let (width, height) =
            (u32::from(u16::from_be_bytes([w0, w1])), u32::from(u16::from_be_bytes([h0, h1])));
        let described: Vec<[u8; 2]> =
            rest.chunks_exact(3).take(usize::from(count)).map(|triple| [triple[0], triple[1]]).collect();
        let factors = described.iter().map(|[_, factor]| (u32::from(factor >> 4), u32::from(factor & 15)));
        let (most_wide, most_high) =
            factors.clone().fold((0, 0), |(h, v), (wide, high)| (h.max(wide), v.max(high)));
        let fits = |factor: u32| (1..=4).contains(&factor);
        let right = factors.clone().all(|(wide, high)| fits(wide) && fits(high));
        if width == 0
            || height == 0
            || !(1..=4).contains(&described.len())
            || described.len() != usize::from(count)
            || !right
        {
            return None;
        }
        let units_wide = width.div_ceil(8 * most_wide);
        let units_high = height.div_ceil(8 * most_high);
        let components: Vec<Component> = described
            .iter()
            .zip(factors)
            .map(|([id, _], (wide, high))| {
                let own = |side: u32, factor: u32, most: u32| (side * factor).div_ceil(most).div_ceil(8);
                let grid = (own(width, wide, most_wide), own(height, high, most_high));
                Component::new(*id, (wide, high), grid, (units_wide * wide, units_high * high))
            })
            .collect();
        let blocks: usize = components.iter().map(Component::blocks).sum();
        (blocks <= MAX_BLOCKS).then_some(Self {
            progressive,
            width,
            height,
            components,
            units_wide,
            units_high,
        })
    }
}
