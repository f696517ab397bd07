use std::io::Cursor;

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{ImageDecoder, ImageEncoder, ImageFormat, Rgb, Rgba, RgbaImage};

use super::*;
use crate::media::image_file::ContentType;

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Red on the left, blue on the right.
fn red_and_blue(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, _| if x < width / 2 { Rgb([220, 0, 0]) } else { Rgb([0, 0, 220]) })
}

/// A TIFF block as EXIF has it: the orientation, and a copyright text instead of a place, which is a text just as well.
fn exif(orientation: Orientation) -> Vec<u8> {
    [
        b"II*\0\x08\0\0\0\x02\0".as_slice(),
        &[0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation.to_exif(), 0, 0, 0],
        &[0x98, 0x82, 2, 0, 7, 0, 0, 0, 38, 0, 0, 0],
        b"\0\0\0\0SECRET\0",
    ]
    .concat()
}

fn jpeg(image: &RgbImage, orientation: Orientation) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = JpegEncoder::new_with_quality(&mut bytes, 95);
    encoder.set_exif_metadata(exif(orientation)).unwrap();
    encoder.encode_image(image).unwrap();
    // A comment behind the start mark, too.
    [&bytes[..2], &[0xff, 0xfe, 0, 8], b"SECRET", &bytes[2..]].concat()
}

fn decoded(photo: &CheckedPhoto) -> RgbImage {
    let image = image::load_from_memory_with_format(&photo.bytes, ImageFormat::Jpeg).unwrap().into_rgb8();
    assert_eq!((image.width(), image.height()), (photo.width, photo.height));
    image
}

/// Whether the pixel is this colour, but for what JPEG does to it.
fn is(image: &RgbImage, x: u32, y: u32, colour: [u8; 3]) -> bool {
    image.get_pixel(x, y).0.iter().zip(colour).all(|(found, wanted)| found.abs_diff(wanted) < 12)
}

fn contains(bytes: &[u8], words: &[u8]) -> bool {
    bytes.windows(words.len()).any(|window| window == words)
}

#[test]
fn each_format_becomes_a_jpeg_of_the_same_size() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let photo = check(&encoded(red_and_blue(160, 120), format)).unwrap();

        let image = decoded(&photo);
        assert_eq!((photo.width, photo.height), (160, 120));
        assert!(is(&image, 20, 60, [220, 0, 0]) && is(&image, 140, 60, [0, 0, 220]), "{format:?}");
    }
}

#[test]
fn grey_and_deep_pictures_become_plain_rgb() {
    let grey = image::GrayImage::from_pixel(80, 80, image::Luma([90]));
    let deep = image::ImageBuffer::<Rgba<u16>, _>::from_pixel(80, 80, Rgba([u16::MAX, 0, 0, u16::MAX]));
    for (bytes, colour) in [
        (encoded(grey.clone(), ImageFormat::Png), [90, 90, 90]),
        (encoded(grey, ImageFormat::Jpeg), [90, 90, 90]),
        (encoded(deep, ImageFormat::Png), [255, 0, 0]),
    ] {
        assert!(is(&decoded(&check(&bytes).unwrap()), 40, 40, colour));
    }
}

#[test]
fn the_photo_is_turned_upright() {
    // (orientation, is it turned by 90°, where red is to be found)
    let (left, right, top, bottom) = ((8, 48), (120, 48), (48, 8), (48, 120));
    for (orientation, size, red, blue) in [
        (Orientation::NoTransforms, (128, 96), left, right),
        (Orientation::FlipHorizontal, (128, 96), right, left),
        (Orientation::Rotate180, (128, 96), right, left),
        (Orientation::FlipVertical, (128, 96), left, right),
        (Orientation::Rotate90FlipH, (96, 128), top, bottom),
        (Orientation::Rotate90, (96, 128), top, bottom),
        (Orientation::Rotate270FlipH, (96, 128), bottom, top),
        (Orientation::Rotate270, (96, 128), bottom, top),
    ] {
        let photo = check(&jpeg(&red_and_blue(128, 96), orientation)).unwrap();

        let image = decoded(&photo);
        assert_eq!((photo.width, photo.height), size, "{orientation:?}");
        assert!(is(&image, red.0, red.1, [220, 0, 0]), "{orientation:?}");
        assert!(is(&image, blue.0, blue.1, [0, 0, 220]), "{orientation:?}");
    }
}

#[test]
fn no_metadata_is_left() {
    let bytes = jpeg(&red_and_blue(128, 96), Orientation::Rotate90);
    assert!(contains(&bytes, b"SECRET") && contains(&bytes, b"Exif"));

    let photo = check(&bytes).unwrap();

    assert!(!contains(&photo.bytes, b"SECRET") && !contains(&photo.bytes, b"Exif"));
    // The result isn't turned once more by whoever reads it.
    let mut decoder = image::codecs::jpeg::JpegDecoder::new(Cursor::new(&photo.bytes)).unwrap();
    assert_eq!(decoder.orientation().unwrap(), Orientation::NoTransforms);
    assert_eq!(decoder.exif_metadata().unwrap(), None);
}

#[test]
fn the_colour_profile_stays_if_it_is_one_for_rgb() {
    let profile = |space: &[u8; 4], length: usize| {
        let mut profile = vec![0; length];
        profile[16..20].copy_from_slice(space);
        profile[36..40].copy_from_slice(b"acsp");
        profile
    };
    for (profile, stays) in [
        (profile(b"RGB ", 600), true),
        (profile(b"GRAY", 600), false),
        (profile(b"RGB ", MAX_PROFILE_BYTES), false),
        (vec![7; 30], false),
    ] {
        let mut bytes = Vec::new();
        let mut encoder = JpegEncoder::new(&mut bytes);
        encoder.set_icc_profile(profile.clone()).unwrap();
        encoder.encode_image(&red_and_blue(80, 80)).unwrap();

        let photo = check(&bytes).unwrap();

        let mut decoder = image::codecs::jpeg::JpegDecoder::new(Cursor::new(&photo.bytes)).unwrap();
        assert_eq!(decoder.icc_profile().unwrap(), stays.then_some(profile));
    }
}

#[test]
fn what_is_transparent_is_white() {
    let image = RgbaImage::from_fn(96, 96, |x, _| match x / 32 {
        0 => Rgba([200, 0, 0, 0]),
        1 => Rgba([200, 0, 0, 128]),
        _ => Rgba([200, 0, 0, 255]),
    });
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let flat = decoded(&check(&encoded(image.clone(), format)).unwrap());

        assert!(is(&flat, 12, 48, [255, 255, 255]), "{format:?}");
        assert!(is(&flat, 48, 48, [227, 127, 127]), "{format:?}");
        assert!(is(&flat, 84, 48, [200, 0, 0]), "{format:?}");
    }
}

#[test]
fn a_large_photo_is_scaled_down_and_turned() {
    let photo = check(&jpeg(&red_and_blue(3_000, 1_500), Orientation::Rotate90)).unwrap();

    let image = decoded(&photo);
    assert_eq!((photo.width, photo.height), (1_024, 2_048));
    assert!(is(&image, 500, 100, [220, 0, 0]) && is(&image, 500, 1_900, [0, 0, 220]));
}

/// Decodes the file named by the environment, and prints the most memory that this process had before and then, in kB.
#[test]
#[ignore = "a helper: its process is for it alone"]
fn peak_memory() {
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let bytes = std::fs::read(std::env::var_os("PHOTO").unwrap()).unwrap();
    let before = peak();
    check(&bytes).unwrap();
    eprintln!("PEAK {before} {}", peak());
}

#[test]
#[cfg(target_os = "linux")]
fn decoding_takes_the_memory_that_it_states() {
    let side = 2_000;
    let deep =
        image::ImageBuffer::<Rgba<u16>, _>::from_fn(side, side, |x, y| Rgba([x as u16, y as u16, 9, 9]));
    let plain = red_and_blue(side, side);
    for (bytes, content_type) in [
        (encoded(deep, ImageFormat::Png), ContentType::Png),
        (encoded(plain.clone(), ImageFormat::Png), ContentType::Png),
        (encoded(plain.clone(), ImageFormat::Jpeg), ContentType::Jpeg),
        (encoded(plain, ImageFormat::WebP), ContentType::Webp),
    ] {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        let ran = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "media::photo::tests::peak_memory", "--ignored", "--nocapture"])
            .env("PHOTO", file.path())
            .output()
            .unwrap();

        let output = String::from_utf8(ran.stderr).unwrap();
        let line = output.lines().find_map(|line| line.split_once("PEAK ")).unwrap().1;
        let (before, after) = line.split_once(' ').unwrap();
        let took_kb = after.parse::<u64>().unwrap() - before.parse::<u64>().unwrap();
        let stated_kb = Picture::open(&bytes, content_type).unwrap().bytes >> 10;
        // The small picture, the JPEG made of it, and what a decoder has beside pixels.
        let rest_kb = 3 * u64::from(side * side) / 1_024 + 8_192;
        assert!(took_kb <= stated_kb + rest_kb, "{content_type}: {took_kb} kB, {stated_kb} kB stated");
    }
}

#[test]
fn a_photo_that_takes_too_much_memory_is_refused_before_it_is_decoded() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/photos/progressive.jpg");
    let mut bytes = std::fs::read(path).unwrap();
    let frame = bytes.windows(2).position(|window| window == [0xff, 0xc2]).unwrap();
    // Height and width stand behind length and precision. With 4:2:0, a pixel takes 6 bytes.
    for (side, is_taken) in [(7_000_u16, true), (7_999, false)] {
        bytes[frame + 5..frame + 7].copy_from_slice(&side.to_be_bytes());
        bytes[frame + 7..frame + 9].copy_from_slice(&side.to_be_bytes());
        let stated = Picture::open(&bytes, ContentType::Jpeg).unwrap().bytes;

        let pixels = u64::from(side) * u64::from(side);
        assert!((6 * pixels..6 * pixels * 101 / 100).contains(&stated), "{stated} for {pixels}");
        assert_eq!(stated <= MAX_DECODED_BYTES, is_taken, "{stated}");
        if !is_taken {
            assert_eq!(check(&bytes), Err(Unusable::TooHeavy { bytes: stated }));
        }
    }
}

#[test]
fn fifty_megapixels_pass() {
    // They are decoded, and found to be missing: such a photo itself takes a test too long.
    assert!(matches!(check(&bomb(8_192, 6_144)), Err(Unusable::Broken { .. })));
}

#[test]
fn the_same_photo_gives_the_same_bytes() {
    let bytes = jpeg(&red_and_blue(2_500, 100), Orientation::Rotate270);
    assert_eq!(check(&bytes), check(&bytes));
}

#[test]
fn too_few_pixels_are_refused() {
    for (width, height, is_ok) in [(63, 64, false), (64, 63, false), (64, 64, true), (1, 1, false)] {
        let found = check(&encoded(red_and_blue(width, height), ImageFormat::Png));
        match found {
            Ok(_) => assert!(is_ok),
            Err(error) => assert_eq!((error, is_ok), (Unusable::TooSmall { width, height }, false)),
        }
    }
}

/// A whole PNG of a few bytes that claims this size: its pixels, if anybody asked for them, would be missing.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let chunk = |kind: &[u8; 4], data: &[u8]| {
        let crc = crc32fast::hash(&[kind, data].concat()).to_be_bytes();
        [&(data.len() as u32).to_be_bytes(), kind.as_slice(), data, &crc].concat()
    };
    let header = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat();
    [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", &[0; 9]), chunk(b"IEND", b"")]
        .concat()
}

#[test]
fn a_claim_of_too_many_pixels_is_refused_before_they_are_decoded() {
    for (width, height) in [(50_000, 50_000), (8_001, 8_000), (u32::MAX, u32::MAX)] {
        let pixels = u64::from(width) * u64::from(height);
        assert_eq!(check(&bomb(width, height)), Err(Unusable::TooLarge { pixels }));
    }
    // A second look at a damaged one doesn't decode them either.
    let damaged = bomb(50_000, 50_000);
    assert!(matches!(check(&damaged[..damaged.len() - 12]), Err(Unusable::Broken { .. })));
    // Those that are allowed are decoded, and found to be missing.
    assert!(matches!(check(&bomb(8_000, 8_000)), Err(Unusable::Broken { .. })));
}

#[test]
fn a_panorama_is_taken() {
    for (size, scaled) in
        [((20_000, 400), (2_048, 41)), ((100, 16_000), (13, 2_048)), ((40_000, 64), (2_048, 3))]
    {
        let photo = check(&encoded(red_and_blue(size.0, size.1), ImageFormat::Png)).unwrap();

        let image = decoded(&photo);
        assert_eq!((photo.width, photo.height), scaled);
        let middle = image.height() / 2;
        assert!(is(&image, 1, middle, [220, 0, 0]), "{size:?}");
        assert!(is(&image, image.width() - 2, middle, [0, 0, 220]), "{size:?}");
    }
}

#[test]
fn scaling_is_as_sharp_as_that_of_the_image_library() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/portrait.jpg");
    let portrait = image::open(path).unwrap().into_rgb8();
    for longest in [511, 400, 256, 100, 1] {
        let mut scaler = Scaler::new(portrait.dimensions(), longest);
        portrait.rows().for_each(|row| scaler.row(&row.flat_map(|pixel| pixel.0).collect::<Vec<u8>>()));

        let scaled = scaler.finish().unwrap();

        let filter = image::imageops::FilterType::Lanczos3;
        let expected = image::imageops::resize(&portrait, longest, longest, filter);
        assert_eq!(scaled.dimensions(), (longest, longest));
        let worst = scaled.iter().zip(expected.iter()).map(|(found, wanted)| found.abs_diff(*wanted)).max();
        assert!(worst <= Some(2), "{longest}: {worst:?}");
    }
}

#[test]
fn samples_that_every_viewer_shows_are_taken() {
    for name in ["extraneous7.jpg", "no_eoi_trailer.jpg", "bad_ancillary_crc.png"] {
        let bytes =
            std::fs::read(format!("{}/../fixtures/photos/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();

        let photo = check(&bytes).unwrap();

        assert_eq!((photo.width, photo.height), (400, 300), "{name}");
        assert!(decoded(&photo).pixels().any(|pixel| pixel.0 != [128; 3]), "{name}");
    }
}

#[test]
fn a_cut_photo_is_damaged() {
    for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP] {
        let bytes = encoded(red_and_blue(200, 200), format);
        for length in [bytes.len() / 2, bytes.len() * 4 / 5] {
            let error = check(&bytes[..length]).unwrap_err();
            assert!(error.to_string().starts_with("the photo is damaged: the "), "{error}");
            assert!(error.to_string().contains(" is cut short after "), "{error}");
        }
    }
}

#[test]
fn damaged_pixels_are_found_by_the_decoder() {
    // The structure is right; what its chunk holds is no compressed data.
    let error = check(&bomb(100, 100)).unwrap_err();
    assert!(matches!(error, Unusable::Broken { .. }), "{error}");
}

#[test]
fn what_is_no_photo_is_refused_with_advice() {
    for (bytes, message) in [
        (&b""[..], "the photo is empty (0 bytes)"),
        (b"hello", "the file is text, not a photo: send JPEG, PNG or WebP"),
        (b"%PDF-1.7 and so on, and so on", "the file is a PDF, not a photo: send JPEG, PNG or WebP"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC isn't supported: send JPEG, PNG or WebP"),
    ] {
        assert_eq!(check(bytes).unwrap_err().to_string(), message);
    }
}
