//! Takes a second look at a file whose structure is wrong, to tell whether its pixels are all there
//! nevertheless.
//!
//! Every viewer shows such files whole:
//! - a JPEG without its end mark, with a trailer in its place, or with stray bytes between
//!   segments;
//! - a PNG without its end chunk, or with a wrong checksum of a text;
//! - a WebP whose container states a wrong length.
//!
//! The second look costs as much as decoding, so only files that failed the first look get it.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::{ContentType, entropy, webp_chunks};
use crate::media::decode::Picture;

/// A picture whose pixels are all there.
pub(super) struct Whole<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes of the same picture that decoders accept.
    pub(super) bytes: Cow<'a, [u8]>,
}

/// Takes the second look. Returns `None` if pixels are missing, or if nothing tells that they are
/// there.
pub(super) fn look(content_type: ContentType, bytes: &[u8]) -> Option<Whole<'_>> {
    match content_type {
        ContentType::Jpeg => {
            // JPEG decoders paint missing pixels and report success, so no decoder is asked.
            let entropy::WholeJpeg { width, height, bytes } = entropy::follow(bytes)?;
            return Some(Whole { width, height, bytes: bytes.into() });
        }
        ContentType::Png => png_checksums_match(bytes).then_some(())?,
        ContentType::Webp => webp_chunks::pixels(bytes).map(|_| ())?,
    }
    // The decoders of PNG and WebP fail where data is missing.
    let picture = Picture::open(bytes, content_type).ok()?;
    let (width, height) = (picture.width, picture.height);
    picture.rows(|_| {}).ok()?;
    Some(Whole { width, height, bytes: bytes.into() })
}

/// Tells whether the checksums of the chunks that pixels depend on are right, in all chunks that
/// are whole. Decoding alone isn't enough, because the decoder may have all its pixels before it
/// comes to a checksum.
fn png_checksums_match(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((&[l0, l1, l2, l3, kind @ ..], data)) = rest.split_first_chunk::<8>() {
        let Some((data, after)) = data.split_at_checked(u32::from_be_bytes([l0, l1, l2, l3]) as usize) else {
            break;
        };
        let Some((stated, after)) = after.split_first_chunk() else { break };
        let mut crc = crc32fast::Hasher::new();
        crc.update(&kind);
        crc.update(data);
        if matches!(&kind, b"IHDR" | b"PLTE" | b"IDAT") && crc.finalize() != u32::from_be_bytes(*stated) {
            return false;
        }
        rest = after;
    }
    true
}
