//! Reads the blocks of a scan and drops their values. Only two things are kept: the end of each
//! block, and which coefficients aren't 0, because the length of later scans depends on it.

use super::Frame;
use super::bits::{Bits, Table};

/// Missing bits of a coefficient that no scan has brought.
const ABSENT: u8 = u8::MAX;

/// One colour component, such as the red chroma.
pub(super) struct Component {
    pub(super) id: u8,
    /// Columns and rows of the component's blocks in an interleaved unit.
    wide: u32,
    high: u32,
    /// Columns and rows of blocks in a scan of this component alone.
    grid: (u32, u32),
    /// Columns and rows of blocks with the padding to whole units.
    padded: (u32, u32),
    /// Number of bits that each coefficient still lacks.
    missing: [u8; 64],
    /// Coefficients of each block that aren't 0, as bits. Kept for progressive pictures only.
    nonzero: Vec<u64>,
}

/// Header of one scan.
pub(super) struct Scan {
    /// Index of each component, with its tables for the first coefficient and for the others.
    pub(super) components: Vec<(usize, Option<Table>, Option<Table>)>,
    pub(super) first: u8,
    pub(super) last: u8,
    /// True if the scan brings one more bit of known coefficients.
    pub(super) refines: bool,
    /// Lowest bit that the scan brings.
    pub(super) low_bit: u8,
}

impl Component {
    pub(super) fn new(id: u8, (wide, high): (u32, u32), grid: (u32, u32), padded: (u32, u32)) -> Self {
        Self { id, wide, high, grid, padded, missing: [ABSENT; 64], nonzero: Vec::new() }
    }

    pub(super) fn blocks(&self) -> usize {
        self.padded.0 as usize * self.padded.1 as usize
    }

    pub(super) fn is_whole(&self) -> bool {
        self.missing.iter().all(|&bits| bits == 0)
    }
}

impl Frame {
    /// Reads all blocks of a scan. Returns `None` if there are fewer, or if something is no code.
    pub(super) fn read(&mut self, scan: &Scan, restart_interval: u32, bits: &mut Bits<'_>) -> Option<()> {
        let mut zero_blocks = 0;
        let (wide, high) = match scan.components[..] {
            [(index, ..)] => self.components[index].grid,
            _ => (self.units_wide, self.units_high),
        };
        let progressive = self.progressive;
        for unit in 0..wide * high {
            if restart_interval > 0 && unit > 0 && unit % restart_interval == 0 {
                bits.restart()?;
                zero_blocks = 0;
            }
            let (x, y) = (unit % wide, unit / wide);
            for (index, dc, ac) in &scan.components {
                let component = &mut self.components[*index];
                if progressive && component.nonzero.is_empty() {
                    component.nonzero = vec![0; component.blocks()];
                }
                let (own_wide, own_high) =
                    if scan.components.len() == 1 { (1, 1) } else { (component.wide, component.high) };
                for row in y * own_high..(y + 1) * own_high {
                    for column in x * own_wide..(x + 1) * own_wide {
                        let block = (row * component.padded.0 + column) as usize;
                        if !progressive {
                            sequential(dc.as_ref()?, ac.as_ref()?, bits)?;
                        } else if scan.first == 0 {
                            first_coefficient(scan, dc.as_ref(), bits)?;
                        } else {
                            let nonzero = component.nonzero.get_mut(block)?;
                            others(scan, ac.as_ref()?, bits, &mut zero_blocks, nonzero)?;
                        }
                    }
                }
            }
        }
        for (index, ..) in &scan.components {
            let known = usize::from(scan.first)..=usize::from(scan.last);
            self.components[*index].missing[known].fill(scan.low_bit);
        }
        Some(())
    }
}

/// Reads a sequential block (F.2.2): the difference of the first coefficient, then runs of zeros,
/// each with the coefficient that ends it.
fn sequential(dc: &Table, ac: &Table, bits: &mut Bits<'_>) -> Option<()> {
    let length = dc.decode(bits)?;
    bits.bits(length)?;
    let mut k = 1;
    while k < 64 {
        let code = ac.decode(bits)?;
        match (code >> 4, code & 0x0f) {
            (15, 0) => k += 16,
            (_, 0) => break,
            (zeros, length) => {
                k += zeros + 1;
                bits.bits(length)?;
            }
        }
    }
    (k <= 64).then_some(())
}

/// Reads the first coefficient of a progressive block (G.1.2.1): its difference, or one more bit of
/// it.
fn first_coefficient(scan: &Scan, dc: Option<&Table>, bits: &mut Bits<'_>) -> Option<()> {
    let length = if scan.refines { 1 } else { dc?.decode(bits)? };
    bits.bits(length)?;
    Some(())
}

/// Reads the other coefficients of a progressive block (G.1.2.2 and G.1.2.3). `zero_blocks` counts
/// the blocks that, by one code, have no further coefficient.
fn others(
    scan: &Scan,
    ac: &Table,
    bits: &mut Bits<'_>,
    zero_blocks: &mut u32,
    nonzero: &mut u64,
) -> Option<()> {
    let mut k = scan.first;
    while *zero_blocks == 0 && k <= scan.last {
        let code = ac.decode(bits)?;
        let (mut zeros, length) = (code >> 4, code & 0x0f);
        if length == 0 && zeros < 15 {
            *zero_blocks = (1 << zeros) + bits.bits(zeros)?;
            break;
        }
        bits.bits(length)?;
        // Known coefficients stand within the run, each with one more bit.
        while k <= scan.last {
            if scan.refines && (*nonzero >> k) & 1 == 1 {
                bits.bit()?;
            } else if zeros == 0 {
                break;
            } else {
                zeros -= 1;
            }
            k += 1;
        }
        if length > 0 {
            // A run must not lead beyond the last coefficient.
            (k <= scan.last).then(|| *nonzero |= 1 << k)?;
        }
        k += 1;
    }
    if *zero_blocks > 0 {
        *zero_blocks -= 1;
        if scan.refines {
            let rest = (k..=scan.last).filter(|&k| (*nonzero >> k) & 1 == 1).count();
            (0..rest).try_for_each(|_| bits.bit().map(drop))?;
        }
    }
    Some(())
}
