//! Checks the user's photo, and converts the photo to the one form that the rest of the system
//! uses.
//!
//! Anything may come as a "photo". The file is decoded here, before anything is paid. So the user
//! learns immediately if the file is unusable, and no paid call fails because of it. A PNG or WebP
//! with a wrong structure is decoded twice.
//!
//! The result is a JPEG made here, upright, of a bounded size and without metadata. The metadata
//! may have the place where the photo was taken, the camera's serial number, or a thumbnail of
//! parts that the user cropped. Only the colour profile stays, because colours would shift without
//! it.

mod scale;

#[cfg(test)]
mod tests;

use image::{DynamicImage, RgbImage};
use jpeg_encoder::{ColorType, Encoder, EncodingError};

use crate::media::decode::{self, MAX_DECODED_BYTES, MAX_PIXELS, Picture};
use crate::media::image_file::{self, Broken, kind};
use scale::Scaler;

/// Shortest side of a photo, in pixels. A smaller photo shows no face.
const MIN_SIDE: u32 = 64;
/// Longest side of the checked photo, in pixels. Providers scale down further.
const RESULT_SIDE: u32 = 2_048;
/// Quality of the checked photo on libjpeg's scale, without a visible loss.
const RESULT_QUALITY: u8 = 92;
/// Bound of a colour profile, in bytes. A profile of this size or more is left out. Profiles of
/// cameras and screens have 0.5 to 4 KB.
const MAX_PROFILE_BYTES: usize = 64 * 1024;

/// The photo in the form that the rest of the system knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckedPhoto {
    /// Baseline JPEG, RGB, upright, without metadata except a colour profile.
    pub(crate) bytes: Vec<u8>,
    /// Width in pixels, at most 2,048.
    pub(crate) width: u32,
    /// Height in pixels, at most 2,048.
    pub(crate) height: u32,
}

/// Reason why a photo can't be used, in words for the user who sent it. Sending the same photo
/// again doesn't help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// The file has no bytes at all.
    #[error("the photo is empty (0 bytes)")]
    Empty,
    /// The file is of another kind.
    #[error("{what}: send JPEG, PNG or WebP")]
    NotAnImage {
        /// Kind of the file, as far as its first bytes tell.
        what: String,
    },
    /// The file is cut short or damaged.
    #[error("the photo is damaged: {why}")]
    Broken {
        /// Description of the damage, for the user.
        why: String,
    },
    /// The photo has too few pixels to work with.
    #[error("the photo is too small: {width} × {height} pixels, but each side needs at least {MIN_SIDE}")]
    TooSmall {
        /// Width in pixels in the file, before the photo is turned upright.
        width: u32,
        /// Height in pixels in the file, before the photo is turned upright.
        height: u32,
    },
    /// The photo has more than `MAX_PIXELS` pixels.
    #[error("the photo is too large: {pixels} pixels; up to {MAX_PIXELS} are allowed")]
    TooLarge {
        /// Width × height, as the file claims.
        pixels: u64,
    },
    /// Decoding the photo would take more than `MAX_DECODED_BYTES`.
    #[error(
        "the photo is too large: it takes {bytes} bytes to decode, and up to {MAX_DECODED_BYTES} are allowed: send a \
         smaller one, or a JPEG that is not progressive"
    )]
    TooHeavy {
        /// Bytes that decoding would take, estimated from the headers.
        bytes: u64,
    },
}

/// Decodes the photo and makes the checked photo from it. The same bytes give the same result.
///
/// The caller uses `spawn_blocking`, because decoding blocks for up to seconds. The caller checks
/// one photo at a time, because of the memory:
/// 1. Decoding takes up to 336 MB, by kind of file (see [`decode`]). A PNG without interlacing is
///    decoded row by row, and takes less than 1 MB at usual widths. Every other file is decoded
///    whole. The rows are then scaled down one by one, so no second large picture is made. A
///    baseline JPEG of 50 megapixels takes 150 MB.
/// 2. The small picture takes 13 MB, the same again while it is turned upright, and a few more for
///    the JPEG made from it.
/// 3. The file's bytes are in memory once, a second time in the decoder of a JPEG or WebP, and a
///    third time if the file had to be mended.
///
/// A panic is a decoder's bug, which the same bytes cause again.
pub(crate) fn check(bytes: &[u8]) -> Result<CheckedPhoto, Unusable> {
    let (found, sound) = image_file::examine(bytes).map_err(|broken| unusable(broken, bytes))?;
    // The size is checked in the header, because a file of 100 bytes may claim 50,000 × 50,000
    // pixels.
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
        // The encoder refuses a profile only if it is too long, and this one isn't.
        let _ = encoder.add_icc_profile(&profile);
    }
    // Both sides are at most `RESULT_SIDE`, so they fit into 16 bits.
    encoder.encode(image, image.width() as u16, image.height() as u16, ColorType::Rgb)?;
    Ok(CheckedPhoto { bytes, width: image.width(), height: image.height() })
}

/// Tells whether a profile describes the RGB pixels that are written. Profiles for grey and CMYK
/// don't, because their pixels became RGB.
/// Source: ICC.1:2022, 7.2: the size in bytes 0–3, the colour space in 16–19, "acsp" in 36–39.
fn is_rgb_profile(profile: &[u8]) -> bool {
    profile.len() < MAX_PROFILE_BYTES
        && profile.get(16..20) == Some(b"RGB ".as_slice())
        && profile.get(36..40) == Some(b"acsp".as_slice())
}
