//! The user's photo: is it one, and if so, in the one form that the rest of the system knows.
//!
//! Anything may come as a "photo". It is decoded here, once, before anything is paid: the user hears at once what is
//! wrong with it, and no provider is sent what it would refuse. What goes on is a JPEG made here: upright, of a
//! bounded size, and without its metadata (the place it was taken at, the camera's serial number, a thumbnail of what
//! was cropped away). Only the colour profile stays, without which colours would shift.

mod kind;

#[cfg(test)]
mod tests;

use std::io::Cursor;

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};
use jpeg_encoder::{ColorType, Encoder, EncodingError};

use crate::image_file::{self, Broken, ContentType};

/// Less shows no face.
const MIN_SIDE: u32 = 64;
/// Any one side.
const MAX_SIDE: u32 = 12_000;
/// Phones of 50 megapixels pass (8,192 × 6,144). Decoding takes up to 8 bytes a pixel.
const MAX_PIXELS: u64 = 64_000_000;
/// A second line behind `MAX_PIXELS`, which says nothing of what a decoder needs besides the pixels.
const MAX_ALLOCATION_BYTES: u64 = MAX_PIXELS * 8 + 64 * 1024 * 1024;
/// The longer side of what goes on. Providers scale down further.
const RESULT_SIDE: u32 = 2_048;
/// libjpeg's scale; no loss to be seen.
const RESULT_QUALITY: u8 = 92;
/// Profiles of cameras and screens have 0.5 to 4 KB; one of this size or more is left out.
const MAX_PROFILE_BYTES: usize = 64 * 1024;

/// The photo as the rest of the system knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckedPhoto {
    /// A baseline JPEG, RGB, upright, without metadata.
    pub(crate) bytes: Vec<u8>,
    /// Pixels; 2,048 at most.
    pub(crate) width: u32,
    /// Pixels; 2,048 at most.
    pub(crate) height: u32,
}

/// Why a photo can't be used, in words for the user who sent it. Sending it again doesn't help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// No byte.
    #[error("the photo is empty (0 bytes)")]
    Empty,
    /// Another kind of file.
    #[error("{what}: send JPEG, PNG or WebP")]
    NotAnImage {
        /// What it is instead, as far as its first bytes tell.
        what: String,
    },
    /// Cut short or damaged.
    #[error("the photo is damaged: {why}")]
    Broken {
        /// In what way.
        why: String,
    },
    /// Too few pixels to work with.
    #[error("the photo is too small: {width} × {height} pixels, but each side needs at least {MIN_SIDE}")]
    TooSmall {
        /// As stored.
        width: u32,
        /// As stored.
        height: u32,
    },
    /// More pixels than are decoded.
    #[error(
        "the photo is too large: {pixels} pixels; up to {MAX_PIXELS} are allowed, and {MAX_SIDE} on each side"
    )]
    TooLarge {
        /// Width × height, as the file claims.
        pixels: u64,
    },
}

/// Decodes the photo and makes of it the JPEG that goes on.
///
/// Blocks for up to seconds and takes up to some 600 MB (a photo of 50 megapixels), so: `spawn_blocking`, few at once.
/// The same bytes give the same result. A panic would be a bug of a decoder, and come again with the same bytes.
pub(crate) fn check(bytes: &[u8]) -> Result<CheckedPhoto, Unusable> {
    let found = image_file::inspect(bytes).map_err(|broken| unusable(broken, bytes))?;
    // From the header alone: a file of 100 bytes may claim 50,000 × 50,000 pixels.
    check_size(found.width, found.height)?;
    let (pixels, profile, orientation) = decode(bytes, found.content_type).map_err(|error| {
        if matches!(error, ImageError::Limits(_)) {
            Unusable::TooLarge { pixels: u64::from(found.width) * u64::from(found.height) }
        } else {
            Unusable::Broken { why: error.to_string() }
        }
    })?;
    check_size(pixels.width(), pixels.height())?;

    // Transparency goes first, or scaling would mix the colours of what can't be seen into the edges; turning last,
    // when there is least to turn.
    let mut image = DynamicImage::ImageRgb8(on_white(pixels));
    if image.width().max(image.height()) > RESULT_SIDE {
        image = image.resize(RESULT_SIDE, RESULT_SIDE, FilterType::Lanczos3);
    }
    image.apply_orientation(orientation);
    encode(&image.into_rgb8(), profile).map_err(|error| Unusable::Broken { why: error.to_string() })
}

fn unusable(broken: Broken, bytes: &[u8]) -> Unusable {
    match broken {
        Broken::Empty => Unusable::Empty,
        Broken::NotAnImage { .. } => Unusable::NotAnImage { what: kind::describe(bytes) },
        Broken::Truncated { .. } | Broken::Corrupt { .. } => Unusable::Broken { why: broken.to_string() },
    }
}

fn check_size(width: u32, height: u32) -> Result<(), Unusable> {
    let pixels = u64::from(width) * u64::from(height);
    if width > MAX_SIDE || height > MAX_SIDE || pixels > MAX_PIXELS {
        return Err(Unusable::TooLarge { pixels });
    }
    if width < MIN_SIDE || height < MIN_SIDE {
        return Err(Unusable::TooSmall { width, height });
    }
    Ok(())
}

type Decoded = (DynamicImage, Option<Vec<u8>>, image::metadata::Orientation);

/// The pixels as stored, the colour profile, and how to turn the pixels upright.
fn decode(bytes: &[u8], content_type: ContentType) -> Result<Decoded, ImageError> {
    let format = match content_type {
        ContentType::Png => ImageFormat::Png,
        ContentType::Jpeg => ImageFormat::Jpeg,
        ContentType::Webp => ImageFormat::WebP,
    };
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_ALLOCATION_BYTES);
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    // Neither is worth refusing a photo for.
    let profile = decoder.icc_profile().ok().flatten();
    let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
    Ok((DynamicImage::from_decoder(decoder)?, profile, orientation))
}

/// RGB, eight bits each; what was transparent is white.
fn on_white(image: DynamicImage) -> RgbImage {
    if !image.color().has_alpha() {
        return image.into_rgb8();
    }
    let rgba = image.into_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [red, green, blue, alpha] = rgba.get_pixel(x, y).0;
        let alpha = u32::from(alpha);
        // At most 255 × 255 before the division, so at most 255 after it.
        let over_white = |colour: u8| ((u32::from(colour) * alpha + 255 * (255 - alpha) + 127) / 255) as u8;
        image::Rgb([red, green, blue].map(over_white))
    })
}

fn encode(image: &RgbImage, profile: Option<Vec<u8>>) -> Result<CheckedPhoto, EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, RESULT_QUALITY);
    if let Some(profile) = profile.filter(|profile| is_rgb_profile(profile)) {
        // The encoder could refuse just a profile that is too long.
        let _ = encoder.add_icc_profile(&profile);
    }
    // At most `RESULT_SIDE`.
    encoder.encode(image, image.width() as u16, image.height() as u16, ColorType::Rgb)?;
    Ok(CheckedPhoto { bytes, width: image.width(), height: image.height() })
}

/// Whether the profile describes the pixels that are written: grey and CMYK ones don't, their pixels became RGB.
/// Source: ICC.1:2022, 7.2: the size in bytes 0–3, the colour space in 16–19, "acsp" in 36–39.
fn is_rgb_profile(profile: &[u8]) -> bool {
    profile.len() < MAX_PROFILE_BYTES
        && profile.get(16..20) == Some(b"RGB ".as_slice())
        && profile.get(36..40) == Some(b"acsp".as_slice())
}
