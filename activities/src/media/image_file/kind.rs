//! Names the kind of a file that is no photo from its first bytes, so that its sender knows what to
//! do.

/// Number of a file's first bytes that are read.
pub(crate) const HEAD_BYTES: usize = 256;
/// Number of bytes that are shown of an unknown kind of file.
const SHOWN_BYTES: usize = 16;

/// Describes the file in the beginning of a sentence that ends with "send JPEG, PNG or WebP".
pub(crate) fn describe(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    match magic(head).or_else(|| text(head)) {
        Some(what) => what.to_owned(),
        None => {
            let start: String = head.iter().take(SHOWN_BYTES).map(|byte| format!("{byte:02x}")).collect();
            format!("the file is of no known kind (it starts with the bytes {start})")
        }
    }
}

/// Names a picture, video or document of a kind that we don't store. The sender chose that kind, so
/// another download brings the same. A web page, a text, JSON, a compressed file or unknown bytes
/// are not named, because they may be a server's fault.
pub(crate) fn unsupported(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(HEAD_BYTES)];
    magic(head).filter(|what| *what != GZIP).or_else(|| text(head).filter(|what| *what == SVG))
}

/// Tells whether the bytes begin like a PNG, a JPEG, a WebP (any RIFF file) or a GIF.
pub(crate) fn is_image(bytes: &[u8]) -> bool {
    let magic: [&[u8]; 4] = [b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8"];
    magic.iter().any(|magic| bytes.starts_with(magic))
}

const VIDEO: &str = "the file is a video, not a photo";
const GZIP: &str = "the file is compressed with gzip";
const SVG: &str = "SVG isn't supported";

fn magic(head: &[u8]) -> Option<&'static str> {
    Some(match head {
        [b'%', b'P', b'D', b'F', ..] => "the file is a PDF, not a photo",
        [b'G', b'I', b'F', b'8', ..] => "GIF isn't supported",
        [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => "BMP isn't supported",
        [b'I', b'I', b'*', 0, ..] | [b'M', b'M', 0, b'*', ..] => {
            "TIFF and cameras' raw files aren't supported"
        }
        [b'P', b'K', 3, 4, ..] => "the file is a ZIP archive or a document, not a photo",
        [0x1f, 0x8b, ..] => GZIP,
        [0, 0, 0, 0x0c, b'J', b'X', b'L', b' ', ..] | [0xff, 0x0a, ..] => "JPEG XL isn't supported",
        [0x1a, 0x45, 0xdf, 0xa3, ..] | [b'R', b'I', b'F', b'F', _, _, _, _, b'A', b'V', b'I', b' ', ..] => {
            VIDEO
        }
        // A file of ISO base media begins with the length of the first box, its type and its brand.
        [_, _, _, _, b'f', b't', b'y', b'p', brand @ ..] => match brand.get(..4) {
            Some(b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1") => {
                "HEIC isn't supported"
            }
            Some(b"avif" | b"avis") => "AVIF isn't supported",
            _ => VIDEO,
        },
        _ => return None,
    })
}

fn text(head: &[u8]) -> Option<&'static str> {
    // The head may end within a character.
    let whole = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    if whole.chars().any(|char| char.is_control() && !char.is_whitespace()) {
        return None;
    }
    let text = whole.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    Some(if text.starts_with("<!doctype html") || text.starts_with("<html") {
        "the file is a web page (HTML), not a photo"
    } else if text.contains("<svg") {
        SVG
    } else if text.starts_with(['{', '[']) {
        "the file is JSON, not a photo"
    } else {
        "the file is text, not a photo"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_what_they_are() {
        for (bytes, words) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], "HEIC isn't supported"),
            (b"\0\0\0\x18ftypmif1\0\0\0\0", "HEIC isn't supported"),
            (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF isn't supported"),
            (b"\0\0\0\x18ftypisom\0\0\0\0", "video"),
            (b"\0\0\0\x18ftyp", "video"),
            (b"%PDF-1.7", "PDF"),
            (b"GIF89a", "GIF"),
            (b"BM\x36\0\x0c\0\0\0\0\0", "BMP"),
            (b"II*\0\x08", "TIFF"),
            (b"PK\x03\x04", "ZIP"),
            (b"\x1f\x8b\x08", "gzip"),
            (b"\xff\x0a\0", "JPEG XL"),
            (b"  \r\n<!DOCTYPE HTML><html>", "HTML"),
            (b"\xef\xbb\xbf<html>", "HTML"),
            (b"<?xml version=\"1.0\"?><svg xmlns", "SVG"),
            (b"{\"error\":1}", "JSON"),
            ("I look like a ph\u{f6}t\u{f6}".as_bytes(), "is text"),
            (b"\0\x01\x02\xff", "no known kind (it starts with the bytes 000102ff)"),
            (b"\xff\xfe\xfd", "no known kind"),
        ] {
            let found = describe(bytes);
            assert!(found.contains(words), "{words}: {found}");
        }
        for (bytes, is_meant) in [
            (&b"GIF89a"[..], true),
            (b"<?xml version=\"1.0\"?>\n<svg xmlns", true),
            (b"BM\x36\0\x0c\0\0\0\0\0", true),
            (b"II*\0\x08", true),
            (b"\0\0\0\x18ftypavif\0\0\0\0", true),
            (b"\0\0\0\x18ftypheic\0\0\0\0", true),
            (b"\0\0\0\x18ftypisom\0\0\0\0", true),
            (b"\x1a\x45\xdf\xa3\x01", true),
            (b"RIFF\0\0\0\0AVI LIST", true),
            (b"%PDF-1.7", true),
            (b"PK\x03\x04", true),
            (b"\xff\x0a\0", true),
            (b"\x1f\x8b\x08", false),
            (b"<!DOCTYPE html><html><svg></svg>", false),
            (b"{\"error\":1}", false),
            (b"busy", false),
            (b"", false),
            (b"\x89PNG\r\n\x1a\n", false),
            (b"\xff\xd8\xff\xe0", false),
        ] {
            assert_eq!(unsupported(bytes).is_some(), is_meant, "{bytes:?}");
        }
        // A character of two bytes over the end of what is looked at.
        assert!(describe(format!("x{}", "\u{e4}".repeat(200)).as_bytes()).contains("is text"));
    }
}
