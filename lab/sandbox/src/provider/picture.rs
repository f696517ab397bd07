//! The pictures: the reference in another light and another frame, with a caption that says where it comes from.

use std::io::Cursor;
use std::sync::{Arc, LazyLock};

use ab_glyph::FontRef;
use anyhow::{Context, Result};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder, Rgb, RgbImage, imageops};
use imageproc::drawing::draw_text_mut;
use sha2::{Digest, Sha256};

use super::Shared;
use super::recent::Recent;
use super::reference::Reference;
use super::settings::Format;
use super::stock;

/// See assets/README.md.
static FONT: LazyLock<Option<FontRef<'static>>> =
    LazyLock::new(|| FontRef::try_from_slice(include_bytes!("../../assets/DejaVuSans-Bold-subset.ttf")).ok());

/// The reference is kept a quarter larger than the picture, so that each picture can show another part of it without scaling.
const MARGIN_DIVISOR: u32 = 4;
const CAPTION_CHARS: usize = 34;

/// All that a picture is made of: the same recipe gives the same bytes, so nothing else need be kept.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// The call's number.
    pub(super) call: u64,
    /// From 0, of so many in the call.
    pub(super) index: u32,
    pub(super) of: u32,
    /// Whether it is a picture at all.
    pub(super) sound: bool,
    pub(super) prompt: Arc<str>,
    pub(super) reference: Option<Reference>,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) format: Format,
    pub(super) quality: u8,
}

impl Recipe {
    /// The size at which the reference is kept for it.
    pub(super) fn kept_size(&self) -> (u32, u32) {
        (self.width + self.width / MARGIN_DIVISOR, self.height + self.height / MARGIN_DIVISOR)
    }
}

/// A tint: what each of red, green and blue gets from red, green and blue, in 256ths, and how dark the corners are, in percent.
struct Look {
    matrix: [[i32; 3]; 3],
    vignette: i32,
}

const fn look(matrix: [[i32; 3]; 3], vignette: i32) -> Look {
    Look { matrix, vignette }
}

/// Far enough apart to be told at a glance.
const LOOKS: [Look; 10] = [
    look([[256, 0, 0], [0, 256, 0], [0, 0, 256]], 0), // as it is
    look([[101, 197, 48], [89, 176, 43], [70, 137, 34]], 55), // sepia
    look([[300, 20, 0], [0, 240, 10], [0, 10, 150]], 30), // evening
    look([[77, 150, 29], [77, 150, 29], [77, 150, 29]], 40), // black and white
    look([[150, 20, 10], [10, 240, 30], [20, 40, 330]], 30), // night
    look([[330, 30, 10], [20, 300, 20], [10, 30, 320]], 0), // bright
    look([[0, 60, 200], [30, 200, 30], [230, 30, 0]], 20), // red for blue
    look([[120, 60, 0], [60, 260, 0], [40, 120, 60]], 50), // forest
    look([[260, 40, 40], [0, 110, 60], [60, 60, 220]], 35), // magenta
    look([[140, 70, 0], [70, 120, 20], [20, 60, 130]], 80), // dusk
];

/// References (or backdrops) by digest, size and look.
pub(super) type Tinted = Recent<([u8; 32], u32, u32, usize), RgbImage>;

/// Draws it on a thread that may be busy.
pub(super) async fn draw(shared: Arc<Shared>, recipe: Arc<Recipe>) -> Result<Vec<u8>> {
    tokio::task::spawn_blocking(move || stock::picture(&shared, &recipe))
        .await
        .context("drawing a picture")?
}

/// What is no picture.
pub(super) const NO_IMAGE: &[u8] =
    b"<html><head><title>Service temporarily unavailable</title></head><body></body></html>";

/// One white pixel.
pub(super) const GIF: &[u8] =
    b"GIF89a\x01\0\x01\0\x80\0\0\xff\xff\xff\0\0\0!\xf9\x04\0\0\0\0\0,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;";

/// Takes from a picture what stands behind its pixels.
pub(super) fn without_end(format: Format, bytes: &mut Vec<u8>) {
    match format {
        // IEND: length, kind, checksum.
        Format::Png => bytes.truncate(bytes.len().saturating_sub(12)),
        Format::Jpeg => bytes.truncate(bytes.len().saturating_sub(2)),
        // The length stands behind "RIFF", the lowest byte first.
        Format::Webp => bytes.iter_mut().skip(5).take(1).for_each(|byte| *byte = byte.wrapping_add(1)),
    }
}

pub(super) fn render(shared: &Shared, recipe: &Recipe) -> Result<Vec<u8>> {
    if !recipe.sound {
        return Ok(NO_IMAGE.into());
    }
    let turn = recipe.call.wrapping_mul(5).wrapping_add(u64::from(recipe.index));
    let tinted = tinted(shared, recipe, turn)?;
    let part = |edge: u32, step: u64| {
        let room = u64::from(edge / MARGIN_DIVISOR);
        u32::try_from(turn.wrapping_mul(step) % (room + 1)).unwrap_or(0)
    };
    // Heads are near the top.
    let (left, top) = (part(recipe.width, 37), part(recipe.height, 53) / 2);
    let mut picture = cut_out(&tinted, left, top, recipe.width, recipe.height)?;
    caption(&mut picture, recipe);
    encode(&picture, recipe)
}

/// The reference in one of the looks; every other one is mirrored too.
fn tinted(shared: &Shared, recipe: &Recipe, turn: u64) -> Result<Arc<RgbImage>> {
    let (width, height) = recipe.kept_size();
    // The remainder is below the list's length.
    let at = (turn % LOOKS.len() as u64) as usize;
    let digest = match &recipe.reference {
        Some(reference) => reference.digest(),
        None => Sha256::digest(&*recipe.prompt).into(),
    };
    shared.tinted.get((digest, width, height, at), || {
        let mut picture = match &recipe.reference {
            Some(reference) => reference.decoded(&shared.decoded, width, height)?.as_ref().clone(),
            None => backdrop(&recipe.prompt, width, height),
        };
        if at % 2 == 1 {
            imageops::flip_horizontal_in_place(&mut picture);
        }
        if let Some(look) = LOOKS.get(at) {
            tint(&mut picture, look);
        }
        Ok(picture)
    })
}

/// A part of it, copied line by line: that is fast without optimisation too.
fn cut_out(from: &RgbImage, left: u32, top: u32, width: u32, height: u32) -> Result<RgbImage> {
    let (line_bytes, left_bytes) = (from.width() as usize * 3, left as usize * 3);
    let (width_bytes, mut bytes) = (width as usize * 3, Vec::with_capacity((width * height) as usize * 3));
    for line in from.as_raw().chunks_exact(line_bytes).skip(top as usize).take(height as usize) {
        bytes.extend_from_slice(line.get(left_bytes..left_bytes + width_bytes).unwrap_or_default());
    }
    RgbImage::from_raw(width, height, bytes).context("a frame beyond the picture")
}

fn tint(picture: &mut RgbImage, look: &Look) {
    let (width, height) = (picture.width() as i32, picture.height() as i32);
    let row_bytes = width as usize * 3;
    for (y, row) in picture.chunks_exact_mut(row_bytes.max(3)).enumerate() {
        let from_middle_y = (2 * y as i32 - height) * 256 / height.max(1);
        for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
            let from_middle_x = (2 * x as i32 - width) * 256 / width.max(1);
            let distance = (from_middle_x * from_middle_x + from_middle_y * from_middle_y) >> 9; // 0 to 256
            let light = 256 - distance * look.vignette / 100;
            let (red, green, blue) = (i32::from(pixel[0]), i32::from(pixel[1]), i32::from(pixel[2]));
            for (channel, mix) in pixel.iter_mut().zip(&look.matrix) {
                let mixed = (mix[0] * red + mix[1] * green + mix[2] * blue) >> 8;
                *channel = ((mixed * light) >> 8).clamp(0, 255) as u8;
            }
        }
    }
}

/// Without a reference: colours that follow from the prompt.
fn backdrop(prompt: &str, width: u32, height: u32) -> RgbImage {
    let digest = Sha256::digest(prompt);
    let mix = |from: u8, to: u8, at: u32, of: u32| {
        let (from, to) = (u32::from(from), u32::from(to));
        u8::try_from((from * (of - at) + to * at) / of.max(1)).unwrap_or(u8::MAX)
    };
    RgbImage::from_fn(width, height, |x, y| {
        Rgb([
            mix(digest[0], digest[1], x, width),
            mix(digest[2], digest[3], y, height),
            mix(digest[4], digest[5], x + y, width + height),
        ])
    })
}

/// A dark band at the bottom: "#12  3/5" and the beginning of the prompt.
fn caption(picture: &mut RgbImage, recipe: &Recipe) {
    let (width, height) = picture.dimensions();
    let band = (height / 7).max(1);
    let from = (height - band) as usize * width as usize * 3;
    for value in picture.iter_mut().skip(from) {
        *value /= 4;
    }
    let Some(font) = FONT.as_ref() else { return };
    let size = band as f32 * 0.42;
    let left = (width / 40) as i32;
    let top = (height - band) as i32;
    let origin = format!("#{}   {}/{}", recipe.call, recipe.index + 1, recipe.of);
    draw_text_mut(
        picture,
        Rgb([255, 255, 255]),
        left,
        top + (band as f32 * 0.06) as i32,
        size,
        font,
        &origin,
    );
    let mut said: String = recipe.prompt.chars().filter(|c| !c.is_control()).take(CAPTION_CHARS).collect();
    if recipe.prompt.chars().count() > CAPTION_CHARS {
        said.push('…');
    }
    draw_text_mut(
        picture,
        Rgb([220, 220, 200]),
        left,
        top + (band as f32 * 0.52) as i32,
        size * 0.85,
        font,
        &said,
    );
}

pub(super) fn encode(picture: &RgbImage, recipe: &Recipe) -> Result<Vec<u8>> {
    let (width, height) = picture.dimensions();
    let mut bytes = Vec::new();
    let out = &mut Cursor::new(&mut bytes);
    match recipe.format {
        Format::Png => PngEncoder::new_with_quality(out, CompressionType::Fast, FilterType::Up).write_image(
            picture,
            width,
            height,
            ExtendedColorType::Rgb8,
        ),
        Format::Jpeg => JpegEncoder::new_with_quality(out, recipe.quality).write_image(
            picture,
            width,
            height,
            ExtendedColorType::Rgb8,
        ),
        Format::Webp => {
            WebPEncoder::new_lossless(out).write_image(picture, width, height, ExtendedColorType::Rgb8)
        }
    }
    .context("encoding a picture")?;
    Ok(bytes)
}
