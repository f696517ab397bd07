//! Scales a picture down while its rows come, so that the large picture is never in memory.
//!
//! The filter is Lanczos with three lobes, as in `image::imageops`. A pixel of the result is the
//! weighted mean of the source pixels within three of its own widths, first by columns and then by
//! rows. Each row is scaled to the width of the result when it comes. The row is then added to the
//! rows of the result to which it belongs, about six of them.

use std::collections::VecDeque;
use std::f64::consts::PI;

use image::RgbImage;

const CHANNELS: usize = 3;
const LOBES: f64 = 3.0;

/// Takes a picture's rows and scales them down.
pub(super) struct Scaler {
    columns: Vec<Taps>,
    rows: Vec<Taps>,
    /// Index of the next row that comes.
    y: usize,
    /// Unfinished rows of the result, beginning with the top one. More rows of the source belong to
    /// each.
    open: VecDeque<Vec<f32>>,
    pixels: Vec<u8>,
    size: (u32, u32),
}

/// Source pixels from `first` on that make one pixel of the result, with their weights. The sum of
/// the weights is 1.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

impl Scaler {
    /// Makes a scaler for a picture of this size. The longer side of the result has up to `longest`
    /// pixels, the other one at least 1.
    pub(super) fn new((width, height): (u32, u32), longest: u32) -> Self {
        let side = width.max(height);
        let scaled = |own: u32| {
            let exact = u64::from(own) * u64::from(longest);
            if side > longest { (exact + u64::from(side) / 2) / u64::from(side) } else { u64::from(own) }
        };
        // A scaled side is at most `longest`, or the side itself.
        let size = (scaled(width).max(1) as u32, scaled(height).max(1) as u32);
        Self {
            columns: taps(width, size.0),
            rows: taps(height, size.1),
            y: 0,
            open: VecDeque::new(),
            pixels: Vec::with_capacity(CHANNELS * size.0 as usize * size.1 as usize),
            size,
        }
    }

    /// Takes the next row, which is RGB of 8 bits each.
    pub(super) fn row(&mut self, row: &[u8]) {
        let scaled: Vec<f32> = self.columns.iter().flat_map(|taps| taps.of(row)).collect();
        let done = self.pixels.len() / scaled.len();
        while self.rows.get(done + self.open.len()).is_some_and(|taps| taps.first <= self.y) {
            self.open.push_back(vec![0.0; scaled.len()]);
        }
        for (sums, taps) in self.open.iter_mut().zip(&self.rows[done..]) {
            if let Some(weight) = self.y.checked_sub(taps.first).and_then(|tap| taps.weights.get(tap)) {
                sums.iter_mut().zip(&scaled).for_each(|(sum, value)| *sum += weight * value);
            }
        }
        self.y += 1;
        while self.rows.get(self.pixels.len() / scaled.len()).is_some_and(|taps| taps.end() <= self.y) {
            let sums = self.open.pop_front().unwrap_or_default();
            // `as` clamps the sum to 0 and 255.
            self.pixels.extend(sums.iter().map(|sum| sum.round() as u8));
        }
    }

    /// Returns the result once all rows have come, or `None` if some are missing.
    pub(super) fn finish(self) -> Option<RgbImage> {
        RgbImage::from_raw(self.size.0, self.size.1, self.pixels)
    }
}

impl Taps {
    fn end(&self) -> usize {
        self.first + self.weights.len()
    }

    /// Computes the weighted mean of these pixels within a row.
    fn of(&self, row: &[u8]) -> [f32; CHANNELS] {
        let source = row[CHANNELS * self.first..CHANNELS * self.end()].chunks_exact(CHANNELS);
        let mut sums = [0.0; CHANNELS];
        for (pixel, weight) in source.zip(&self.weights) {
            sums[0] += weight * f32::from(pixel[0]);
            sums[1] += weight * f32::from(pixel[1]);
            sums[2] += weight * f32::from(pixel[2]);
        }
        sums
    }
}

/// Computes the weights for each pixel of one side of the result.
fn taps(from: u32, to: u32) -> Vec<Taps> {
    if from == to {
        return (0..to as usize).map(|first| Taps { first, weights: vec![1.0] }).collect();
    }
    let ratio = f64::from(from) / f64::from(to);
    let reach = LOBES * ratio;
    (0..to)
        .map(|position| {
            let centre = (f64::from(position) + 0.5) * ratio;
            let first = (centre - reach).floor().max(0.0) as u32;
            let end = ((centre + reach).ceil() as u32).min(from);
            let weights = || (first..end).map(|source| lanczos((f64::from(source) + 0.5 - centre) / ratio));
            let sum: f64 = weights().sum();
            Taps { first: first as usize, weights: weights().map(|weight| (weight / sum) as f32).collect() }
        })
        .collect()
}

fn lanczos(x: f64) -> f64 {
    let sinc = |x: f64| if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) };
    if x.abs() < LOBES { sinc(x) * sinc(x / LOBES) } else { 0.0 }
}
