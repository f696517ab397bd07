use std::io::Cursor;

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;

use super::*;

/// Pixels that don't compress to nothing, 24 × 16.
pub(super) fn picture() -> DynamicImage {
    RgbImage::from_fn(24, 16, |x, y| Rgb([(x * 7) as u8, (y * 13) as u8, (x * y) as u8])).into()
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn portrait() -> Vec<u8> {
    std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/portrait.jpg")).unwrap()
}

/// A PNG chunk: length, kind, data, checksum.
pub(super) fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let crc = crc32fast::hash(&[kind, data].concat()).to_be_bytes();
    [&(data.len() as u32).to_be_bytes(), kind.as_slice(), data, &crc].concat()
}

/// A JPEG segment: marker, length, data.
pub(super) fn segment(code: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 2).unwrap().to_be_bytes();
    [&[0xff, code], &length[..], data].concat()
}

/// The JPEG with an EXIF segment that holds a whole JPEG as its thumbnail.
fn jpeg_with_thumbnail() -> Vec<u8> {
    let jpeg = encoded(ImageFormat::Jpeg);
    let exif = segment(0xe1, &[b"Exif\0\0II*\0\x08\0\0\0\0\0", &jpeg[..]].concat());
    [&jpeg[..2], &exif[..], &jpeg[2..]].concat()
}

/// Three scans, a table between them, restart markers, stuffed FFs, fill bytes: what progressive encoders write.
fn jpeg_with_many_scans() -> Vec<u8> {
    let frame = segment(0xc2, &[8, 0, 40, 0, 30, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0]);
    let scan = segment(0xda, &[1, 1, 0, 0, 63, 0]);
    [
        &[0xff, 0xd8],
        &segment(0xdb, &[7; 65])[..],
        &frame,
        &scan,
        &[1, 2, 0xff, 0x00, 3, 0xff, 0xd0, 4, 0xff, 0xff],
        &segment(0xc4, &[9; 20])[1..],
        &scan,
        &[5, 0xff, 0x00],
        &scan,
        &[0xff, 0x00, 6, 0xff, 0xff, 0xff, 0xd9],
    ]
    .concat()
}

pub(super) fn riff(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (kind, data) in chunks {
        body.extend_from_slice(*kind);
        body.extend_from_slice(&(data.len() as u32).to_le_bytes());
        body.extend_from_slice(data);
        body.resize(body.len().next_multiple_of(2), 0);
    }
    [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
}

/// A frame header as of RFC 6386 and 5 more bytes; 300 × 200, with scale bits that don't count.
const LOSSY: &[u8] = &[0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x2c, 0x41, 0xc8, 0x80, 1, 2, 3, 4, 5];

fn webp_extended() -> Vec<u8> {
    let canvas = [0x10, 0, 0, 0, 0xff, 0x01, 0x00, 0x2b, 0x01, 0x01];
    riff(&[(b"VP8X", &canvas), (b"ICCP", b"odd"), (b"ANMF", &[7; 30]), (b"EXIF", b"II*\0")])
}

/// Without the padding byte behind its last chunk, which some encoders forget.
fn webp_unpadded() -> Vec<u8> {
    let mut bytes = riff(&[(b"VP8 ", LOSSY)]);
    bytes.pop();
    bytes[4] -= 1;
    bytes
}

/// Every whole file of these tests, with its type and size in pixels.
fn whole_files() -> Vec<(Vec<u8>, ContentType, u32, u32)> {
    vec![
        (encoded(ImageFormat::Png), ContentType::Png, 24, 16),
        (encoded(ImageFormat::Jpeg), ContentType::Jpeg, 24, 16),
        (encoded(ImageFormat::WebP), ContentType::Webp, 24, 16),
        (jpeg_with_thumbnail(), ContentType::Jpeg, 24, 16),
        (jpeg_with_many_scans(), ContentType::Jpeg, 30, 40),
        (riff(&[(b"VP8 ", LOSSY)]), ContentType::Webp, 300, 200),
        (webp_unpadded(), ContentType::Webp, 300, 200),
        (webp_extended(), ContentType::Webp, 512, 65_836),
    ]
}

fn in_chunks(bytes: &[u8], mut length: impl FnMut() -> usize) -> Result<Inspected, Broken> {
    let mut inspector = Inspector::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at(length().clamp(1, rest.len()));
        inspector.update(chunk);
        rest = after;
    }
    inspector.finish()
}

#[test]
fn whole_files_are_recognised_with_their_dimensions() {
    for (bytes, content_type, width, height) in whole_files() {
        let found = inspect(&bytes).unwrap();

        let sha256 = found.sha256.clone();
        let size_bytes = bytes.len() as u64;
        assert_eq!(found, Inspected { size_bytes, content_type, width, height, sha256 });
        assert_eq!(super::content_type(&bytes[..12]), Ok(content_type.as_str()));
    }
}

#[test]
fn the_portrait_has_the_hash_that_sha256sum_prints() {
    let expected = Inspected {
        size_bytes: 68052,
        content_type: ContentType::Jpeg,
        width: 512,
        height: 512,
        sha256: "945df306f127a6012259cb6b4694cd1f07c49d63e21136ff595cdd99f3516028".to_owned(),
    };
    assert_eq!(inspect(&portrait()), Ok(expected));
}

#[test]
fn a_cut_anywhere_is_found() {
    for (bytes, content_type, ..) in whole_files() {
        for length in 0..bytes.len() {
            let found = inspect(&bytes[..length]).unwrap_err();

            match found {
                Broken::Empty => assert_eq!(length, 0),
                Broken::NotAnImage { .. } => assert!(length < 12, "{length} bytes of a {content_type}"),
                Broken::Truncated { content_type: of, size_bytes, .. } => {
                    assert_eq!((of, size_bytes), (content_type, length as u64));
                }
                Broken::Corrupt { why, .. } => panic!("{length} bytes of a {content_type}: {why}"),
            }
        }
    }
}

#[test]
fn a_cut_anywhere_in_the_portrait_is_found() {
    let bytes = portrait();
    for length in (12..bytes.len()).rev().step_by(97) {
        assert!(matches!(inspect(&bytes[..length]), Err(Broken::Truncated { .. })), "{length}");
    }
}

#[test]
fn one_byte_at_a_time_gives_the_same_answer() {
    for (bytes, ..) in whole_files() {
        assert_eq!(in_chunks(&bytes, || 1), inspect(&bytes));
    }
}

#[test]
fn bytes_after_the_picture_are_tolerated() {
    for (mut bytes, content_type, width, height) in whole_files() {
        bytes.extend_from_slice(b"\xff\xd8\xff a depth map, a video");

        let found = inspect(&bytes).unwrap();

        let size_bytes = bytes.len() as u64;
        let sha256 = found.sha256.clone();
        assert_eq!(found, Inspected { size_bytes, content_type, width, height, sha256 });
    }
}

#[test]
fn a_flipped_bit_in_a_png_is_found() {
    let mut bytes = encoded(ImageFormat::Png);
    for position in 0..bytes.len() {
        for bit in 0..8 {
            bytes[position] ^= 1 << bit;
            assert!(inspect(&bytes).is_err(), "bit {bit} of byte {position}");
            bytes[position] ^= 1 << bit;
        }
    }
}

#[test]
fn what_is_no_picture_is_called_so() {
    for text in
        ["<!DOCTYPE html><html>Not found</html>", r#"{"error":{"message":"no"}}"#, "gone", "\0", "GIF89a"]
    {
        let starts_with = hex(&text.as_bytes()[..text.len().min(16)]);
        let error = Broken::NotAnImage { starts_with };
        assert_eq!(inspect(text.as_bytes()), Err(error.clone()), "{text}");
        assert_eq!(content_type(text.as_bytes()), Err(error), "{text}");
    }
    assert_eq!(inspect(b""), Err(Broken::Empty));
    assert_eq!(content_type(b""), Err(Broken::Empty));
}

#[test]
fn contradictions_are_named() {
    let png = encoded(ImageFormat::Png);
    let jpeg = encoded(ImageFormat::Jpeg);
    let frame = segment(0xc0, &[8, 0, 9, 0, 9, 1, 1, 0x11, 0]);
    let start = [0xff, 0xd8];
    let end = [0xff, 0xd9];
    let empty_frame = segment(0xc0, &[8, 0, 0, 0, 9, 1, 1, 0x11, 0]);
    let scan = segment(0xda, &[1, 1, 0, 0, 63, 0]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("signature", [b"\x89PNG\n\x1a\n", &png[8..]].concat()),
        ("first chunk is not", [&png[..8], &png[33..]].concat()),
        ("second header", [&png[..33], &png[8..]].concat()),
        ("no pixels", [&png[..33], &png[png.len() - 12..]].concat()),
        ("no chunk", [&png[..33], &[0xff; 40]].concat()),
        ("without pixels", [&start[..], &frame, &end].concat()),
        ("without pixels", [&start[..], &frame, &scan, &end].concat()),
        ("before its frame header", [&start[..], &scan, &[1; 20]].concat()),
        ("another picture", [&start[..], &frame, &start, &[0; 20]].concat()),
        ("two frame headers", [&start[..], &frame, &frame, &end].concat()),
        ("is 0", [&start[..], &empty_frame, &end, &[0; 20]].concat()),
        ("where a marker should", [&jpeg[..20], b"stray", &jpeg[20..]].concat()),
        ("impossible length", [&start[..], &[0xff, 0xe0, 0, 1], &jpeg[20..]].concat()),
        ("can't stand", [&start[..], &[0xff, 0x00], &jpeg[20..]].concat()),
        ("no pixels", riff(&[(b"VP8X", &[0; 10]), (b"EXIF", b"II*\0")])),
        ("no picture header", riff(&[(b"EXIF", b"II*\0"), (b"VP8 ", LOSSY)])),
        ("no picture header", riff(&[(b"VP8 ", &LOSSY[..8])])),
        ("key frame", riff(&[(b"VP8 ", &[1; 20])])),
        ("no signature", riff(&[(b"VP8L", &[1; 20])])),
        ("beyond the length", [b"RIFF\x20\0\0\0WEBPVP8 \xff\xff\0\0", LOSSY].concat()),
        ("ends within", [b"RIFF\x06\0\0\0WEBPVP8 \xff\xff\0\0", LOSSY].concat()),
    ];
    for (words, bytes) in cases {
        match inspect(&bytes) {
            Err(Broken::Corrupt { why, .. }) => assert!(why.contains(words), "{words}: {why}"),
            other => panic!("{words}: {other:?}"),
        }
    }
}

#[test]
fn it_holds_a_few_hundred_bytes() {
    assert!(size_of::<Inspector>() < 512, "{}", size_of::<Inspector>());
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_answer(
        lengths in prop::collection::vec(1usize..200, 1..50),
        which in 0usize..8,
        cut in 0.0f64..1.2,
    ) {
        let (bytes, ..) = whole_files().swap_remove(which);
        let bytes = &bytes[..((bytes.len() as f64 * cut) as usize).min(bytes.len())];
        let mut lengths = lengths.iter().cycle();
        prop_assert_eq!(in_chunks(bytes, || *lengths.next().unwrap_or(&1)), inspect(bytes));
    }

    #[test]
    fn damage_never_panics(
        which in 0usize..8,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (mut bytes, ..) = whole_files().swap_remove(which);
        for (position, byte) in damage {
            let position = position.index(bytes.len());
            bytes[position] = byte;
        }
        let found = inspect(&bytes);
        prop_assert_eq!(in_chunks(&bytes, || 3), found);
    }
}
