//! Tells whether a PNG, JPEG or WebP file is whole, from its bytes as they stream by, without
//! decoding a pixel.
//!
//! An HTTP body of the announced length can still be half a picture, because the provider's own
//! upload may have been cut. Decoding would not tell, because the usual decoders paint the missing
//! part grey and report success. Decoding also costs about a hundred times more than hashing. So
//! each format has a state machine that follows the file's structure to the end mark.
//!
//! The state machines find every cut, however much of the file is left. In a PNG they also find
//! every flipped byte, because its chunks carry CRCs. A flipped byte within the compressed pixels
//! of a JPEG or WebP may stay unnoticed, because those carry no checksum. Bytes *after* a complete
//! picture are tolerated, as in every viewer, because phones append depth maps and video there.
//!
//! Some files fail this check although every viewer shows them whole (see `again.rs`). A file whose
//! structure is wrong can therefore get a second look, with all its bytes in memory. [`examine`]
//! accepts such a file if all its pixels are known to be there.

mod again;
pub(crate) mod entropy;
mod field;
mod jpeg;
pub(crate) mod kind;
mod png;
mod webp;
pub(crate) mod webp_chunks;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use sha2::{Digest, Sha256};

/// Largest file that gets a second look, in bytes. The second look has the whole file in memory.
pub(crate) const MAX_SECOND_LOOK_BYTES: u64 = 64 << 20;
/// Bytes that are kept until the format is known, and shown when it is unknown. No whole picture is
/// this short.
const HEAD_BYTES: usize = 16;

/// Formats that we store. The content decides, never a header or a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ContentType {
    /// PNG, which is `image/png`.
    Png,
    /// JPEG, which is `image/jpeg`, both baseline and progressive.
    Jpeg,
    /// WebP, which is `image/webp`: lossy, lossless or animated.
    Webp,
}

impl ContentType {
    /// Returns the media type for a `Content-Type` header.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }

    /// Returns the format that a file claims by its first 12 bytes.
    fn sniff(head: &[u8]) -> Option<Self> {
        match head {
            [0x89, b'P', b'N', b'G', ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Self::Webp),
            _ => None,
        }
    }
}

impl fmt::Display for ContentType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Webp => "WebP",
        })
    }
}

/// A file that holds a whole picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inspected {
    /// Size of the file in bytes, including bytes after the picture.
    pub(crate) size_bytes: u64,
    /// Format of the file, by its content.
    pub(crate) content_type: ContentType,
    /// Width in pixels as stored, at least 1. An EXIF orientation is not applied.
    pub(crate) width: u32,
    /// Height in pixels as stored, at least 1.
    pub(crate) height: u32,
    /// SHA-256 of all bytes, as 64 lower-case hex digits.
    pub(crate) sha256: String,
}

/// Reason why a file isn't a whole picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// The file has no bytes at all.
    #[error("the image is empty (0 bytes)")]
    Empty,
    /// The file is something else, such as an error page. Another download may bring the picture.
    #[error("not a PNG, JPEG or WebP image: it starts with the bytes {starts_with}")]
    NotAnImage {
        /// First bytes of the file, up to 16, as hex digits.
        starts_with: String,
    },
    /// The file is the correct beginning of a picture. Another download may bring all of it.
    #[error("the {content_type} is cut short after {size_bytes} bytes: {awaited} is missing")]
    Truncated {
        /// Format that the file claims.
        content_type: ContentType,
        /// Size of the part that came, in bytes.
        size_bytes: u64,
        /// Part of the file that should have come next.
        awaited: &'static str,
    },
    /// The structure of the file contradicts itself.
    #[error("the {content_type} is damaged: {why}")]
    Corrupt {
        /// Format that the file claims.
        content_type: ContentType,
        /// Description of the contradiction, for people.
        why: String,
    },
}

impl Broken {
    /// Returns the format of a file whose structure is wrong. [`examine`] may still accept such a
    /// file.
    pub(crate) fn wrong_structure_of(&self) -> Option<ContentType> {
        match self {
            Self::Truncated { content_type, .. } | Self::Corrupt { content_type, .. } => Some(*content_type),
            Self::Empty | Self::NotAnImage { .. } => None,
        }
    }
}

/// Follows a file chunk by chunk. The inspector needs a few hundred bytes, whatever the file's
/// size.
#[derive(Debug)]
pub(crate) struct Inspector {
    size_bytes: u64,
    hash: Sha256,
    head: [u8; HEAD_BYTES],
    format: Format,
}

/// State machine that follows the bytes, once the format is known.
#[derive(Debug)]
enum Format {
    Undecided,
    None,
    Png(png::Png),
    Jpeg(jpeg::Jpeg),
    Webp(webp::Webp),
    Corrupt(ContentType, String),
}

/// Result of a state machine after the last byte.
#[derive(Debug)]
enum Verdict {
    Complete { width: u32, height: u32 },
    Awaiting(&'static str),
}

impl Inspector {
    /// Makes an inspector that has seen no byte yet.
    pub(crate) fn new() -> Self {
        Self { size_bytes: 0, hash: Sha256::new(), head: [0; HEAD_BYTES], format: Format::Undecided }
    }

    /// Takes the next bytes of the file, split in any way.
    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.hash.update(chunk);
        let rest = self.fill_head(chunk);
        self.size_bytes = self.size_bytes.saturating_add(chunk.len() as u64);
        self.follow(rest);
    }

    /// Judges the file after its last byte.
    ///
    /// # Errors
    /// [`Broken`] describes the fault in words for a log or a user.
    pub(crate) fn finish(self) -> Result<Inspected, Broken> {
        let size_bytes = self.size_bytes;
        let truncated = |content_type, awaited| Broken::Truncated { content_type, size_bytes, awaited };
        let head = &self.head[..self.head_len()];
        let (content_type, verdict) = match self.format {
            Format::Undecided if size_bytes == 0 => return Err(Broken::Empty),
            Format::Undecided | Format::None => {
                return Err(match ContentType::sniff(head) {
                    Some(content_type) => truncated(content_type, "its header"),
                    None => Broken::NotAnImage { starts_with: hex(head) },
                });
            }
            Format::Corrupt(content_type, why) => return Err(Broken::Corrupt { content_type, why }),
            Format::Png(png) => (ContentType::Png, png.finish()),
            Format::Jpeg(jpeg) => (ContentType::Jpeg, jpeg.finish()),
            Format::Webp(webp) => (ContentType::Webp, webp.finish()),
        };
        match verdict {
            Verdict::Awaiting(awaited) => Err(truncated(content_type, awaited)),
            Verdict::Complete { width, height } => Ok(Inspected {
                size_bytes,
                content_type,
                width,
                height,
                sha256: hex(self.hash.finalize().as_slice()),
            }),
        }
    }

    fn head_len(&self) -> usize {
        usize::try_from(self.size_bytes).map_or(HEAD_BYTES, |size| size.min(HEAD_BYTES))
    }

    /// Keeps the file's first bytes. Once there are enough of them, picks the state machine and
    /// passes them to it. Returns the rest of the chunk.
    fn fill_head<'a>(&mut self, chunk: &'a [u8]) -> &'a [u8] {
        let have = self.head_len();
        let (front, rest) = chunk.split_at(chunk.len().min(HEAD_BYTES - have));
        self.head[have..have + front.len()].copy_from_slice(front);
        if have < HEAD_BYTES && have + front.len() == HEAD_BYTES {
            self.format = match ContentType::sniff(&self.head) {
                Some(ContentType::Png) => Format::Png(png::Png::default()),
                Some(ContentType::Jpeg) => Format::Jpeg(jpeg::Jpeg::default()),
                Some(ContentType::Webp) => Format::Webp(webp::Webp::default()),
                None => Format::None,
            };
            let head = self.head;
            self.follow(&head);
        }
        rest
    }

    fn follow(&mut self, bytes: &[u8]) {
        let (content_type, result) = match &mut self.format {
            Format::Undecided | Format::None | Format::Corrupt(..) => return,
            Format::Png(png) => (ContentType::Png, png.update(bytes)),
            Format::Jpeg(jpeg) => (ContentType::Jpeg, jpeg.update(bytes)),
            Format::Webp(webp) => (ContentType::Webp, webp.update(bytes)),
        };
        if let Err(why) = result {
            self.format = Format::Corrupt(content_type, why);
        }
    }
}

impl Default for Inspector {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the media type of a file, from its first 12 bytes, or from all bytes of a shorter file.
///
/// # Errors
/// [`Broken::Empty`] or [`Broken::NotAnImage`]. A success doesn't mean that the rest of the file is
/// right.
pub(crate) fn content_type(head: &[u8]) -> Result<&'static str, Broken> {
    match ContentType::sniff(head) {
        Some(content_type) => Ok(content_type.as_str()),
        None if head.is_empty() => Err(Broken::Empty),
        None => Err(Broken::NotAnImage { starts_with: hex(&head[..head.len().min(HEAD_BYTES)]) }),
    }
}

/// Inspects a file that is in memory already.
///
/// # Errors
/// The errors of [`Inspector::finish`].
pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspected, Broken> {
    let mut inspector = Inspector::new();
    inspector.update(bytes);
    inspector.finish()
}

/// Inspects a file that is in memory, and takes a second look if its structure is wrong. Returns
/// the result, and bytes of the same picture that decoders accept.
///
/// The second look blocks for as long as decoding takes, and needs as much memory (see
/// [`crate::media::decode`]). So callers use `spawn_blocking`, and examine one file at a time.
///
/// # Errors
/// The errors of [`Inspector::finish`].
pub(crate) fn examine(bytes: &[u8]) -> Result<(Inspected, Cow<'_, [u8]>), Broken> {
    let broken = match inspect(bytes) {
        Ok(found) => return Ok((found, Cow::Borrowed(bytes))),
        Err(broken) => broken,
    };
    let Some(content_type) = broken.wrong_structure_of() else { return Err(broken) };
    let Some(again::Whole { width, height, bytes: sound }) = again::look(content_type, bytes) else {
        return Err(broken);
    };
    let found = Inspected {
        size_bytes: bytes.len() as u64,
        content_type,
        width,
        height,
        sha256: hex(Sha256::digest(bytes).as_slice()),
    };
    Ok((found, sound))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
