//! Files as they come from phones, editors and gateways: whole to every viewer, or not.

use std::io::Cursor;

use image::{DynamicImage, ImageFormat};

use super::super::tests::{chunk, picture, riff, segment};
use super::super::{Broken, ContentType, examine, inspect};
use crate::media::decode::Picture;

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/../fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn encoded(format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

fn grey_jpeg() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::ImageLuma8(picture().into_luma8()).write_to(&mut bytes, ImageFormat::Jpeg).unwrap();
    bytes.into_inner()
}

/// Baseline with and without subsampling, grey, with restarts, and progressive with refining scans.
fn jpegs() -> Vec<Vec<u8>> {
    let of_subsampling = file("photos/restarts.jpg");
    vec![encoded(ImageFormat::Jpeg), grey_jpeg(), of_subsampling, file("photos/progressive.jpg")]
}

fn png(interlaced: bool) -> Vec<u8> {
    let image = picture().into_rgb8();
    // Adam7: each pass is a small picture of its own, each row with the filter type 0 before it.
    let passes = if interlaced {
        vec![(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    } else {
        vec![(0, 0, 1, 1)]
    };
    let mut rows = Vec::new();
    for (left, top, right, down) in passes {
        for y in (top..image.height()).step_by(down) {
            rows.push(0);
            rows.extend((left..image.width()).step_by(right).flat_map(|x| image.get_pixel(x, y).0));
        }
    }
    let header = [
        &image.width().to_be_bytes()[..],
        &image.height().to_be_bytes(),
        &[8, 2, 0, 0, u8::from(interlaced)],
    ];
    // A stored block of zlib (RFC 1950, 1951): the pixels lie open, so that each byte of them counts.
    let length = u16::try_from(rows.len()).unwrap();
    let stored =
        [&[0x78, 1, 1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), &rows, &[0; 4]].concat();
    let (first, second) = stored.split_at(stored.len() / 2);
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header.concat()),
        chunk(b"tEXt", b"Comment\0made by somebody"),
        chunk(b"IDAT", first),
        chunk(b"IDAT", second),
        chunk(b"IEND", b""),
    ]
    .concat()
}

/// The pixels that a decoder finds in what `examine` calls sound.
fn pixels(bytes: &[u8], content_type: ContentType) -> Vec<u8> {
    let mut pixels = Vec::new();
    let picture = Picture::open(bytes, content_type).unwrap();
    picture.rows(|row| pixels.extend_from_slice(row)).unwrap();
    pixels
}

/// Whether the file is taken. What is taken has the same pixels as the original.
fn is_taken(changed: &[u8], original: &[u8]) -> bool {
    let expected = inspect(original).unwrap();
    match examine(changed) {
        Ok((found, sound)) => {
            assert_eq!(found.size_bytes, changed.len() as u64);
            assert_eq!((found.width, found.height), (expected.width, expected.height));
            assert!(pixels(&sound, found.content_type) == pixels(original, expected.content_type));
            true
        }
        Err(Broken::NotAnImage { .. } | Broken::Empty) => false,
        Err(broken) => {
            assert_eq!(Some(broken), inspect(changed).err(), "the second look changes no words");
            false
        }
    }
}

/// Where each segment of a JPEG before its first scan ends.
fn segment_ends(jpeg: &[u8]) -> Vec<usize> {
    let mut ends = vec![2];
    loop {
        let at = *ends.last().unwrap();
        if jpeg[at + 1] == 0xda {
            return ends;
        }
        ends.push(at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]])));
    }
}

fn insert(bytes: &[u8], at: usize, stray: &[u8]) -> Vec<u8> {
    [&bytes[..at], stray, &bytes[at..]].concat()
}

#[test]
fn a_jpeg_without_its_end_mark_is_taken_whatever_stands_in_its_place() {
    let jpeg = encoded(ImageFormat::Jpeg);
    for original in jpegs() {
        let cut = &original[..original.len() - 2];
        assert!(inspect(cut).is_err());
        for trailer in [
            &b""[..],
            b"SEFHe\0\0\0SEFT",
            b"\0\0\0\0",
            &[0x55; 5000],
            &jpeg,
            &jpeg[2..],
            b"\xff\xe1\0\x10 a segment that is cut",
            b"\xff\xda\0\x08",
            b"\xff\xd8\xff\xe0",
            b"\xff",
        ] {
            assert!(is_taken(&[cut, trailer].concat(), &original), "{trailer:?}");
        }
    }
}

#[test]
fn stray_bytes_between_the_segments_of_a_jpeg_are_skipped() {
    for original in jpegs() {
        for end in segment_ends(&original) {
            for stray in [&b"\0"[..], b"seven b", b"\xff\0\xff\0", b"a\xff\xd3b", &[0xee; 3000]] {
                let changed = insert(&original, end, stray);
                // The sniffing wants a marker first.
                assert!(is_taken(&changed, &original) || end == 2, "{stray:?} at {end}");
            }
        }
        let before_the_end = insert(&original, original.len() - 2, b"stray");
        assert!(is_taken(&before_the_end, &original));
    }
}

#[test]
fn a_jpeg_cut_within_its_pixels_is_refused() {
    for original in jpegs() {
        let scan = original.len() - 2;
        // Each of the last, and some before.
        for length in (3..scan).filter(|length| length % 7 == 0 || length + 60 > scan) {
            let cut = &original[..length];
            assert!(!is_taken(cut, &original), "{length} of {scan} bytes");
            // The rest of the file is missing, and its end is there.
            let bridged = [cut, b"\xff\xfe\0\x02"].concat();
            assert!(!is_taken(&bridged, &original), "{length} of {scan} bytes and a comment");
        }
    }
}

#[test]
fn a_progressive_jpeg_without_its_last_scans_is_refused() {
    let original = file("photos/progressive.jpg");
    let scans: Vec<usize> =
        (0..original.len() - 1).filter(|&at| original[at..at + 2] == [0xff, 0xda]).collect();
    assert!(scans.len() > 5, "{scans:?}");
    for scan in scans {
        assert!(examine(&original[..scan]).is_err(), "cut before the scan at {scan}");
    }
}

#[test]
fn a_jpeg_that_says_other_than_it_is_is_refused() {
    let original = encoded(ImageFormat::Jpeg);
    let at = original.windows(2).position(|window| window == [0xff, 0xc0]).unwrap();
    for (offset, value, why) in [
        (1, 0xc9, "arithmetic coding"),
        (1, 0xc3, "lossless"),
        (5, 0xff, "65,296 pixels high"),
        (9, 5, "five components"),
        (11, 0x55, "subsampling by 5"),
        (11, 0x01, "subsampling by 0"),
    ] {
        let mut changed = original[..original.len() - 2].to_vec();
        changed[at + offset] = value;
        assert!(examine(&changed).is_err(), "{why}");
    }
}

#[test]
fn a_png_is_taken_if_its_pixels_are_there() {
    for interlaced in [false, true] {
        let original = png(interlaced);
        let pixels_end = original.len() - 12;
        let text = original.windows(4).position(|window| window == b"tEXt").unwrap();
        let flipped = |at: usize| {
            let mut changed = original.clone();
            changed[at] ^= 1;
            changed
        };
        for (changed, why) in [
            (original[..pixels_end].to_vec(), "no end chunk"),
            (original[..pixels_end + 5].to_vec(), "half an end chunk"),
            ([&original[..pixels_end], b"trailer".as_slice()].concat(), "a trailer in its place"),
            ([&original[..pixels_end], &[0xff; 100]].concat(), "no chunk in its place"),
            (flipped(original.len() - 1), "a wrong checksum of the end chunk"),
            (flipped(text + 10), "a wrong text"),
            (insert(&original, pixels_end, b"stray"), "stray bytes behind the pixels"),
            (insert(&original, pixels_end, &chunk(b"tEXt", b"a\0b")[..13]), "half a text behind the pixels"),
        ] {
            assert!(inspect(&changed).is_err(), "{why}");
            assert!(is_taken(&changed, &original), "{why}, interlaced: {interlaced}");
        }
    }
}

#[test]
fn a_png_whose_pixels_are_missing_or_damaged_is_refused() {
    for interlaced in [false, true] {
        let original = png(interlaced);
        // The last pixel stands before zlib's checksum and the chunk's.
        let last_pixel = original.len() - 12 - 4 - 4;
        for length in 3..last_pixel {
            assert!(!is_taken(&original[..length], &original), "{length} of {last_pixel} bytes");
        }
        // A flipped bit is found, unless it makes a chunk reach beyond the end: then all pixels are there.
        let chunks = original.windows(4).enumerate().filter(|(_, window)| *window == b"IDAT");
        let lengths: Vec<usize> = chunks.flat_map(|(kind, _)| kind - 4..kind).collect();
        for at in (16..33).chain(lengths[0]..original.len() - 12) {
            for bit in 0..8 {
                let mut changed = original.clone();
                changed[at] ^= 1 << bit;
                assert!(!is_taken(&changed, &original) || lengths.contains(&at), "bit {bit} of byte {at}");
            }
        }
    }
}

fn with_length(webp: &[u8], length: u32) -> Vec<u8> {
    [b"RIFF", &length.to_le_bytes()[..], &webp[8..]].concat()
}

#[test]
fn a_webp_is_taken_if_its_pixels_are_there() {
    let lossy = file("photos/lossy.webp");
    let data = lossy[20..].to_vec();
    let canvas = [8, 0, 0, 0, 100, 0, 0, 74, 0, 0];
    let extended = riff(&[(b"VP8X", &canvas), (b"VP8 ", &data), (b"EXIF", b"II*\0\x08\0\0\0\0\0")]);
    for original in [lossy, encoded(ImageFormat::WebP), extended.clone()] {
        let stated = original.len() as u32 - 8;
        for length in [0, 4, 12, stated - 1, stated - 9, stated + 1, stated + 1000, u32::MAX] {
            assert!(is_taken(&with_length(&original, length), &original), "{length} for {stated}");
        }
        for length in [stated, 0, u32::MAX] {
            let trailed = [&with_length(&original, length)[..], b"trailer that is no chunk"].concat();
            assert!(is_taken(&trailed, &original), "{length} for {stated} with a trailer");
        }
    }
    for length in extended.len() - 17..extended.len() {
        assert!(is_taken(&extended[..length], &extended), "{length} of {} bytes", extended.len());
    }
}

#[test]
fn a_webp_whose_pixels_are_missing_is_refused() {
    for original in [file("photos/lossy.webp"), encoded(ImageFormat::WebP)] {
        let data = u32::from_le_bytes(original[16..20].try_into().unwrap()) as usize;
        for length in 3..20 + data {
            let cut = &original[..length];
            assert!(!is_taken(cut, &original), "{length} bytes");
            if length > 20 {
                // Its chunk says that it is whole. The last bytes may hold no pixel any more.
                let mut told = with_length(cut, u32::MAX);
                told[16..20].copy_from_slice(&(length as u32 - 20).to_le_bytes());
                assert!(!is_taken(&told, &original) || length + 8 > 20 + data, "{length} bytes");
            }
        }
    }
    let frames =
        riff(&[(b"VP8X", &[2, 0, 0, 0, 23, 0, 0, 15, 0, 0]), (b"ANIM", &[0; 6]), (b"ANMF", &[7; 30])]);
    assert!(examine(&with_length(&frames, u32::MAX)).is_err(), "an animation may lack frames");
}

#[test]
fn samples_from_outside_are_taken() {
    for (name, size) in [
        ("extraneous7.jpg", (400, 300)),
        ("no_eoi_trailer.jpg", (400, 300)),
        ("bad_ancillary_crc.png", (400, 300)),
    ] {
        let bytes = file(&format!("photos/{name}"));
        let (found, sound) = examine(&bytes).unwrap();
        assert_eq!((found.width, found.height), size, "{name}");
        assert_eq!(pixels(&sound, found.content_type).len(), 400 * 300 * 3, "{name}");
    }
}

#[test]
fn segments_are_found() {
    // Guards the helper: a JPEG of `image` has several before its scan.
    assert!(segment_ends(&encoded(ImageFormat::Jpeg)).len() > 4);
    assert_eq!(segment(0xfe, b"ab"), b"\xff\xfe\0\x04ab");
}
