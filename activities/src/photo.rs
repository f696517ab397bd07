//! The user's photo: is it one, and if so, in the one form that the rest of the system knows.
//!
//! Anything may come as a "photo". It is decoded here, once, before anything is paid: the user hears at once what is
//! wrong with it, and no provider is sent what it would refuse. What goes on is a JPEG made here: upright, of a
//! bounded size, and without its metadata (the place it was taken at, the camera's serial number, a thumbnail of what
//! was cropped away). Only the colour profile stays, without which colours would shift.

mod scale;

#[cfg(test)]
mod tests;

use image::{DynamicImage, RgbImage};
use jpeg_encoder::{ColorType, Encoder, EncodingError};

use crate::decode::{self, MAX_DECODED_BYTES, MAX_PIXELS, Picture};
use crate::image_file::{self, Broken, kind};
use scale::Scaler;

/// Less shows no face.
const MIN_SIDE: u32 = 64;
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
    #[error("the photo is too large: {pixels} pixels; up to {MAX_PIXELS} are allowed")]
    TooLarge {
        /// Width × height, as the file claims.
        pixels: u64,
    },
    /// More memory than decoding may take.
    #[error(
        "the photo is too large: it takes {bytes} bytes to decode, and up to {MAX_DECODED_BYTES} are allowed: send a \
         smaller one, or a JPEG that is not progressive"
    )]
    TooHeavy {
        /// As its headers tell.
        bytes: u64,
    },
}

/// Decodes the photo and makes of it the JPEG that goes on.
///
/// The caller runs it in `spawn_blocking`, since it blocks for up to seconds, and one at a time, since it takes memory:
/// 1. Decoding takes up to 336 MB, as [`decode`] has it by kind of file. A row is scaled down as soon as it is decoded,
///    so that the large picture is nowhere a second time. A PNG of 64 megapixels takes less than 1 MB, a baseline JPEG
///    of 50 takes 150 MB.
/// 2. The small picture takes 13 MB, the same again while it is turned upright, and a few for the JPEG made of it.
///
/// The file itself comes on top: once for its bytes, once in the JPEG decoder, and once if it had to be mended.
/// The same bytes give the same result. A panic would be a bug of a decoder, and come again with the same bytes.
pub(crate) fn check(bytes: &[u8]) -> Result<CheckedPhoto, Unusable> {
    let (found, sound) = image_file::examine(bytes).map_err(|broken| unusable(broken, bytes))?;
    // From the header alone: a file of 100 bytes may claim 50,000 × 50,000 pixels.
    check_size(found.width, found.height)?;
    let mut picture = Picture::open(&sound, found.content_type).map_err(undecodable)?;
    check_size(picture.width, picture.height)?;
    let (profile, orientation) = (picture.profile.take(), picture.orientation);
    let mut scaler = Scaler::new((picture.width, picture.height), RESULT_SIDE);
    picture.rows(|row| scaler.row(row)).map_err(undecodable)?;
    let scaled = scaler.finish().ok_or_else(|| Unusable::Broken { why: "it has too few rows".to_owned() })?;
    let mut image = DynamicImage::ImageRgb8(scaled);
    image.apply_orientation(orientation);
    encode(&image.into_rgb8(), profile).map_err(|error| Unusable::Broken { why: error.to_string() })
}

fn undecodable(error: decode::Error) -> Unusable {
    match error {
        decode::Error::TooLarge { bytes } => Unusable::TooHeavy { bytes },
        decode::Error::Broken(why) => Unusable::Broken { why },
    }
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
    if pixels > MAX_PIXELS {
        return Err(Unusable::TooLarge { pixels });
    }
    if width < MIN_SIDE || height < MIN_SIDE {
        return Err(Unusable::TooSmall { width, height });
    }
    Ok(())
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
