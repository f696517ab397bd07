//! Reads the chunks of a WebP in memory as leniently as browsers do, and ignores the length that
//! the container states.
//! Source: RFC 9649, section 2.

use std::ops::Range;

/// Bit of VP8X (2.7.1) that announces a colour profile.
const PROFILE: u8 = 0x20;
/// Bit of VP8X that announces transparency.
const TRANSPARENCY: u8 = 0x10;
/// Bit of VP8X that announces EXIF metadata.
const EXIF: u8 = 0x08;

/// Returns kind and data of each chunk that is whole, from the front.
fn chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], Range<usize>)> {
    let mut at = 12;
    std::iter::from_fn(move || {
        let (&[k0, k1, k2, k3, length @ ..], _) = bytes.get(at..)?.split_first_chunk::<8>()?;
        let data = at + 8..(at + 8).checked_add(u32::from_le_bytes(length) as usize)?;
        bytes.get(data.clone())?;
        at = data.end + data.len() % 2;
        Some(([k0, k1, k2, k3], data))
    })
}

/// Tells whether the pixels are lossless.
pub(crate) fn is_lossless(bytes: &[u8]) -> bool {
    chunks(bytes).any(|(kind, _)| &kind == b"VP8L")
}

/// Returns the chunk of pixels, if the file has a whole one. For an animation returns `None`,
/// because nothing tells whether all its frames are there.
pub(super) fn pixels(bytes: &[u8]) -> Option<([u8; 4], Range<usize>)> {
    let mut chunks = chunks(bytes);
    let pixels = chunks.find(|(kind, _)| matches!(kind, b"VP8 " | b"VP8L" | b"ANIM" | b"ANMF"))?;
    matches!(&pixels.0, b"VP8 " | b"VP8L").then_some(pixels)
}

/// Rebuilds the picture with a correct container that announces only chunks that are there. Returns
/// `None` for an animation, and for a file without a whole chunk of pixels.
pub(crate) fn rebuilt(bytes: &[u8]) -> Option<Vec<u8>> {
    let find = |wanted: &[u8; 4]| chunks(bytes).find(|(kind, _)| kind == wanted).map(|(_, data)| data);
    let (kind, pixels) = pixels(bytes)?;
    let mut body = b"WEBP".to_vec();
    let mut add = |kind: &[u8; 4], data: &[u8]| {
        body.extend_from_slice(kind);
        body.extend_from_slice(&(data.len() as u32).to_le_bytes());
        body.extend_from_slice(data);
        body.resize(body.len().next_multiple_of(2), 0);
    };
    let (profile, transparency, exif) = (find(b"ICCP"), find(b"ALPH"), find(b"EXIF"));
    if let Some(header) = find(b"VP8X") {
        let mut header = bytes[header].to_vec();
        let flags = header.first_mut()?;
        let there = [(PROFILE, profile.is_some()), (EXIF, exif.is_some())];
        let there =
            there.iter().fold(0, |flags, (flag, is_there)| if *is_there { flags | flag } else { flags });
        // Lossless pixels hold their transparency themselves.
        let is_transparent = transparency.is_some() || &kind == b"VP8L";
        *flags = there | if is_transparent { *flags & TRANSPARENCY } else { 0 };
        add(b"VP8X", &header);
        if let Some(data) = profile {
            add(b"ICCP", &bytes[data]);
        }
        if let Some(data) = transparency {
            add(b"ALPH", &bytes[data]);
        }
        add(&kind, &bytes[pixels]);
        if let Some(data) = exif {
            add(b"EXIF", &bytes[data]);
        }
    } else {
        add(&kind, &bytes[pixels]);
    }
    Some([b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat())
}
