//! Pictures of a wanted size in bytes, for whoever measures: drawn once, handed out again and again, so that they cost next to
//! nothing. Every picture of a kind is the same file.
//!
//! Noise in the picture brings it near the size, as detail does in a real one; a comment fills the rest. So what reads the file has as
//! much compressed data to go through as in a real one.

use anyhow::{Context, Result, bail};
use image::RgbImage;

use super::Shared;
use super::picture::{Recipe, encode, render};
use super::recent::Recent;
use super::settings::Format;
use crate::chance::Chance;

/// A few formats and shapes.
pub(super) const KEPT: usize = 8;

/// By format, size in pixels, quality and size in bytes.
pub(super) type Stock = Recent<(Format, u32, u32, u8, usize), Vec<u8>>;

/// The picture of the recipe, or the one in stock if the settings want a size.
pub(super) fn picture(shared: &Shared, recipe: &Recipe) -> Result<Vec<u8>> {
    let Some(wanted) = shared.settings().image_bytes.filter(|_| recipe.sound) else {
        return render(shared, recipe);
    };
    let key = (recipe.format, recipe.width, recipe.height, recipe.quality, wanted);
    let kept = shared.stock.get(key, || of_size(&render(shared, recipe)?, recipe, wanted))?;
    Ok(kept.as_ref().clone())
}

/// As much noise as fits, then a comment.
fn of_size(plain: &[u8], recipe: &Recipe, wanted: usize) -> Result<Vec<u8>> {
    let picture = image::load_from_memory(plain).context("reading the plain picture")?.into_rgb8();
    let mut file = plain.to_vec();
    // The size grows with the noise's amplitude: bisection.
    let (mut fits, mut too_much) = (0u32, 256u32);
    while too_much - fits > 1 {
        let amplitude = (fits + too_much) / 2;
        let noisy = encode(&with_noise(&picture, amplitude), recipe)?;
        if noisy.len() <= wanted {
            (fits, file) = (amplitude, noisy);
        } else {
            too_much = amplitude;
        }
    }
    pad(file, recipe.format, wanted)
}

/// The same noise for the same amplitude. The frame of the picture remains to be seen through it.
fn with_noise(picture: &RgbImage, amplitude: u32) -> RgbImage {
    let mut noisy = picture.clone();
    let mut chance = Chance::new(0);
    for value in noisy.iter_mut() {
        let noise = chance.below(u64::from(amplitude) + 1) as u32;
        *value = (u32::from(*value) + noise).saturating_sub(amplitude / 2).min(255) as u8;
    }
    noisy
}

/// Fills the file up to `wanted` bytes with what every reader skips. What is larger, or short by less than an empty comment, stays.
fn pad(file: Vec<u8>, format: Format, wanted: usize) -> Result<Vec<u8>> {
    let missing = wanted.saturating_sub(file.len());
    match format {
        Format::Jpeg => pad_jpeg(file, missing),
        Format::Png => pad_png(file, missing),
        // A file of one chunk has no place for others.
        Format::Webp => Ok(file),
    }
}

/// Comment segments (COM, ITU-T T.81 B.2.4.5) behind the JFIF header, which has to come first.
fn pad_jpeg(file: Vec<u8>, mut missing: usize) -> Result<Vec<u8>> {
    const HEADER: usize = 4;
    const MOST: usize = 0xffff - 2;
    let &[0xff, 0xd8, 0xff, 0xe0, high, low, ..] = file.as_slice() else {
        bail!("the encoder writes no JFIF header");
    };
    let (front, rest) = file.split_at(4 + usize::from(u16::from_be_bytes([high, low])));
    let mut padded = front.to_vec();
    while missing >= HEADER {
        let fill = (missing - HEADER).min(MOST);
        let length = u16::try_from(fill + 2).context("a comment's length")?;
        padded.extend([0xff, 0xfe]);
        padded.extend(length.to_be_bytes());
        padded.resize(padded.len() + fill, b'.');
        missing -= HEADER + fill;
    }
    padded.extend(rest);
    Ok(padded)
}

/// An ancillary, private chunk (PNG 1.2, 3.3) before the end chunk.
fn pad_png(mut file: Vec<u8>, missing: usize) -> Result<Vec<u8>> {
    const FRAME: usize = 12;
    let Some(fill) = missing.checked_sub(FRAME) else { return Ok(file) };
    let end = file.split_off(file.len().checked_sub(FRAME).context("a PNG without an end")?);
    let mut chunk = b"paDd".to_vec();
    chunk.resize(chunk.len() + fill, b'.');
    file.extend(u32::try_from(fill).context("a chunk's length")?.to_be_bytes());
    let crc = crc32fast::hash(&chunk);
    file.extend(chunk);
    file.extend(crc.to_be_bytes());
    file.extend(end);
    Ok(file)
}
