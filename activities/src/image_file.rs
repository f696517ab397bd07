//! Whether a PNG, JPEG or WebP file is whole, told from its bytes as they stream by, without decoding a pixel.
//!
//! An HTTP body of the announced length can still be half a picture: the provider's own upload may have been cut.
//! Decoding would not tell (the usual decoders paint the missing part grey and call it a success) and costs a
//! hundred times more than hashing. So each format has a state machine that follows its structure to the end mark.
//!
//! The state machines find every cut, whatever the length that is left, and in a PNG also every flipped byte (its chunks
//! carry CRCs). They can't find a flipped byte within the compressed pixels of a JPEG or WebP, which carry no checksum.
//! They tolerate bytes *after* a complete picture, as every viewer does: phones append depth maps and video there.
//!
//! They also stumble over files that every viewer shows whole (see `again.rs`). So a file whose structure is wrong gets
//! a second look, with all its bytes at hand: [`examine`] refuses it only if pixels are missing.

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

/// A larger file gets no second look, for which all of it is in memory.
pub(crate) const MAX_SECOND_LOOK_BYTES: u64 = 64 << 20;
/// Bytes kept before the format is told, and shown when it is none of ours. No whole picture is this short.
const HEAD_BYTES: usize = 16;

/// The formats we store, by their content, never by what a server or a file name claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ContentType {
    /// `image/png`
    Png,
    /// `image/jpeg`, baseline and progressive alike.
    Jpeg,
    /// `image/webp`: lossy, lossless, animated.
    Webp,
}

impl ContentType {
    /// The media type, as in a `Content-Type` header.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }

    /// The format that a file with this beginning wants to be, as far as its first 12 bytes tell.
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

/// A whole picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inspected {
    /// Of the file, whatever follows the picture included.
    pub(crate) size_bytes: u64,
    /// By content.
    pub(crate) content_type: ContentType,
    /// Pixels, as stored: an EXIF orientation is not applied. At least 1.
    pub(crate) width: u32,
    /// Pixels, as stored. At least 1.
    pub(crate) height: u32,
    /// Of all bytes; 64 lower-case hex digits.
    pub(crate) sha256: String,
}

/// Why a file isn't a whole picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// There was no byte at all.
    #[error("the image is empty (0 bytes)")]
    Empty,
    /// Something else, such as an error page. Another download brings the same again.
    #[error("not a PNG, JPEG or WebP image: it starts with the bytes {starts_with}")]
    NotAnImage {
        /// Up to 16 bytes, as hex digits.
        starts_with: String,
    },
    /// The beginning of a picture, right as far as it goes. Another download may bring all of it.
    #[error("the {content_type} is cut short after {size_bytes} bytes: {awaited} is missing")]
    Truncated {
        /// What it would have been.
        content_type: ContentType,
        /// What there was of it.
        size_bytes: u64,
        /// What should have come next.
        awaited: &'static str,
    },
    /// The structure contradicts itself.
    #[error("the {content_type} is damaged: {why}")]
    Corrupt {
        /// What it claims to be.
        content_type: ContentType,
        /// What contradicts what.
        why: String,
    },
}

impl Broken {
    /// The file is of this format, and its structure is wrong: [`examine`] may take it nevertheless.
    pub(crate) fn wrong_structure_of(&self) -> Option<ContentType> {
        match self {
            Self::Truncated { content_type, .. } | Self::Corrupt { content_type, .. } => Some(*content_type),
            Self::Empty | Self::NotAnImage { .. } => None,
        }
    }
}

/// Follows a file chunk by chunk; holds a few hundred bytes, whatever the file's size.
#[derive(Debug)]
pub(crate) struct Inspector {
    size_bytes: u64,
    hash: Sha256,
    head: [u8; HEAD_BYTES],
    format: Format,
}

/// Which state machine follows the bytes.
#[derive(Debug)]
enum Format {
    Undecided,
    None,
    Png(png::Png),
    Jpeg(jpeg::Jpeg),
    Webp(webp::Webp),
    Corrupt(ContentType, String),
}

/// What a state machine says once all bytes were seen.
#[derive(Debug)]
enum Verdict {
    Complete { width: u32, height: u32 },
    Awaiting(&'static str),
}

impl Inspector {
    /// Nothing seen yet.
    pub(crate) fn new() -> Self {
        Self { size_bytes: 0, hash: Sha256::new(), head: [0; HEAD_BYTES], format: Format::Undecided }
    }

    /// Takes the next bytes of the file; how it is split doesn't matter.
    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.hash.update(chunk);
        let rest = self.fill_head(chunk);
        self.size_bytes = self.size_bytes.saturating_add(chunk.len() as u64);
        self.follow(rest);
    }

    /// All bytes were given: is it a whole picture?
    ///
    /// # Errors
    /// [`Broken`] says what is wrong, in words for a log or a user.
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

    /// Puts the file's first bytes aside; once there are enough, picks the state machine and shows them to it.
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

/// The media type of a file, from its first 12 bytes (or all bytes, if it has fewer).
///
/// # Errors
/// [`Broken::Empty`] or [`Broken::NotAnImage`]. The rest of the file may be broken all the same.
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
/// As [`Inspector::finish`].
pub(crate) fn inspect(bytes: &[u8]) -> Result<Inspected, Broken> {
    let mut inspector = Inspector::new();
    inspector.update(bytes);
    inspector.finish()
}

/// Inspects a file that is in memory, and takes a second look where its structure is wrong. Gives what it found, and the
/// same picture with a structure that is right, for decoders.
///
/// Blocks as long as decoding takes, and needs as much memory ([`crate::decode`]): `spawn_blocking`, one at a time.
///
/// # Errors
/// As [`Inspector::finish`].
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
