//! Decodes pictures row by row, within a limit of memory.
//!
//! The table has the bytes for each pixel that decoding takes beside the file. Only a PNG without
//! interlacing takes less, a few rows whatever its size. Every other decoder decodes the picture as
//! a whole into one buffer, of which we pass on the rows.
//!
//! | file | the decoder's own | its result |
//! |---|---|---|
//! | PNG, interlaced | 0 | 1 to 4: samples of 8 bits |
//! | JPEG, baseline, one scan | 0 | 3; 1 if it is grey |
//! | JPEG, progressive or of several scans | 2 for each sample: 3 with 4:2:0, 6 with 4:4:4 | 3; 1 |
//! | WebP, lossy | 1.5, and 5 for transparency | 3; 4 |
//! | WebP, lossless | 4; 0 with transparency | 3; 4 |
//! | WebP, animated (its first frame) | 14.5 | 3; 4 |

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::webp::WebPDecoder;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder};

use crate::media::image_file::{ContentType, entropy, webp_chunks};

/// Most bytes that decoding may take. A progressive JPEG of 50 megapixels with 4:2:0 takes 300 MB.
pub(crate) const MAX_DECODED_BYTES: u64 = 320 << 20;

/// Most pixels that are decoded. Photos of phones with 50 megapixels (8,192 × 6,144) pass.
pub(crate) const MAX_PIXELS: u64 = 64_000_000;

/// Reason why there are no pixels.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The picture would take more than [`MAX_DECODED_BYTES`], or has more than [`MAX_PIXELS`].
    #[error("it takes {bytes} bytes to decode: {MAX_DECODED_BYTES} at most")]
    TooLarge {
        /// Bytes that decoding would take, estimated from the headers.
        bytes: u64,
    },
    /// The decoder refuses the file. Holds the decoder's words.
    #[error("{0}")]
    Broken(String),
}

/// A picture whose headers were read.
pub(crate) struct Picture<'a> {
    /// Width in pixels, as stored.
    pub(crate) width: u32,
    /// Height in pixels, as stored.
    pub(crate) height: u32,
    /// ICC colour profile, if the file has one.
    pub(crate) profile: Option<Vec<u8>>,
    /// Transformation that turns the pixels upright.
    pub(crate) orientation: Orientation,
    /// Bytes that decoding takes, estimated from the headers.
    pub(crate) bytes: u64,
    source: Source<'a>,
}

enum Source<'a> {
    Png(Box<png::Reader<Cursor<&'a [u8]>>>),
    Whole(Box<dyn ImageDecoder + 'a>),
}

impl<'a> Picture<'a> {
    /// Reads the headers of a picture. Besides a copy of a JPEG or WebP file, this takes little
    /// memory.
    pub(crate) fn open(bytes: &'a [u8], content_type: ContentType) -> Result<Self, Error> {
        match content_type {
            ContentType::Png => Self::png(bytes),
            ContentType::Jpeg => {
                let decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(broken)?;
                let pixels = pixels(&decoder);
                // Even for files that can't be followed, the decoder takes no more than 9 bytes a
                // pixel.
                let needed = entropy::layout(bytes).map_or(9 * pixels, |layout| {
                    let kept = if layout.many_scans { 2 * layout.samples } else { 0 };
                    kept + if layout.components == 1 { pixels } else { 3 * pixels }
                });
                Self::whole(decoder, needed)
            }
            ContentType::Webp => {
                let lossless = webp_chunks::is_lossless(bytes);
                // The decoder relies on the container's statements, so the container is made
                // correct first.
                let bytes: Cow<'a, [u8]> = webp_chunks::rebuilt(bytes).map_or(bytes.into(), Cow::from);
                let decoder = WebPDecoder::new(Cursor::new(bytes)).map_err(broken)?;
                let transparent = decoder.color_type().has_alpha();
                let tenths = match (decoder.has_animation(), lossless, transparent) {
                    (true, ..) => 185,
                    (false, false, false) => 45,
                    (false, false, true) => 105,
                    (false, true, false) => 70,
                    (false, true, true) => 40,
                };
                let needed = pixels(&decoder) * tenths / 10;
                Self::whole(decoder, needed)
            }
        }
    }

    fn png(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut decoder = png::Decoder::new(Cursor::new(bytes));
        decoder.set_ignore_text_chunk(true);
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let reader = decoder.read_info().map_err(broken)?;
        let info = reader.info();
        let whole = reader.output_buffer_size().map_or(u64::MAX, |bytes| bytes as u64);
        let row = reader.output_line_size(info.width).map_or(u64::MAX, |bytes| bytes as u64);
        Ok(Self {
            width: info.width,
            height: info.height,
            profile: info.icc_profile.as_ref().map(|profile| profile.to_vec()),
            orientation: orientation(info.exif_metadata.as_ref().map(|exif| exif.to_vec())),
            // The decoder keeps a few rows. A row as stored has up to twice the bytes of a row of
            // 8-bit samples.
            bytes: if info.interlaced { whole } else { row.saturating_mul(8) },
            source: Source::Png(Box::new(reader)),
        })
    }

    fn whole(mut decoder: impl ImageDecoder + 'a, bytes: u64) -> Result<Self, Error> {
        let (width, height) = decoder.dimensions();
        Ok(Self {
            width,
            height,
            // A broken profile or broken metadata is no reason to refuse the picture.
            profile: decoder.icc_profile().ok().flatten(),
            orientation: orientation(decoder.exif_metadata().ok().flatten()),
            bytes,
            source: Source::Whole(Box::new(decoder)),
        })
    }

    /// Passes each row to `sink`, from the top. Rows are RGB of 8 bits each, with transparent
    /// pixels blended onto white.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the picture has more than [`MAX_PIXELS`] or takes more than
    /// [`MAX_DECODED_BYTES`]. [`Error::Broken`] if the decoder notices missing pixels. The JPEG
    /// decoder doesn't notice them.
    pub(crate) fn rows(self, mut sink: impl FnMut(&[u8])) -> Result<(), Error> {
        if self.bytes > MAX_DECODED_BYTES || u64::from(self.width) * u64::from(self.height) > MAX_PIXELS {
            return Err(Error::TooLarge { bytes: self.bytes });
        }
        let mut rgb = Vec::with_capacity(3 * self.width as usize);
        let mut give = |row: &[u8], colour: Colour| {
            rgb.clear();
            match colour {
                Colour::Rgb => return sink(row),
                Colour::Grey => rgb.extend(row.iter().flat_map(|&grey| [grey; 3])),
                Colour::GreyAlpha => {
                    rgb.extend(row.chunks_exact(2).flat_map(|pixel| [on_white(pixel[0], pixel[1]); 3]))
                }
                Colour::Rgba => rgb.extend(row.chunks_exact(4).flat_map(|pixel| {
                    [on_white(pixel[0], pixel[3]), on_white(pixel[1], pixel[3]), on_white(pixel[2], pixel[3])]
                })),
            }
            sink(&rgb);
        };
        match self.source {
            Source::Png(mut reader) => {
                let colour = match reader.output_color_type().0 {
                    png::ColorType::Grayscale => Colour::Grey,
                    png::ColorType::GrayscaleAlpha => Colour::GreyAlpha,
                    png::ColorType::Rgba => Colour::Rgba,
                    // Indexed pixels were expanded to RGB.
                    png::ColorType::Rgb | png::ColorType::Indexed => Colour::Rgb,
                };
                if reader.info().interlaced {
                    let mut pixels = vec![0; self.bytes as usize];
                    deinterlace(&mut reader, &mut pixels).map_err(broken)?;
                    pixels
                        .chunks_exact(colour.bytes() * self.width as usize)
                        .for_each(|row| give(row, colour));
                } else {
                    // Reading stops at the last row, because nothing need follow it.
                    for _ in 0..self.height {
                        let row = reader.next_row().map_err(broken)?;
                        give(
                            row.ok_or_else(|| Error::Broken("it has too few rows".to_owned()))?.data(),
                            colour,
                        );
                    }
                }
            }
            Source::Whole(decoder) => {
                let colour = Colour::of(decoder.color_type())?;
                let mut pixels = vec![0; decoder.total_bytes() as usize];
                decoder.read_image_boxed(&mut pixels).map_err(broken)?;
                pixels.chunks_exact(colour.bytes() * self.width as usize).for_each(|row| give(row, colour));
            }
        }
        Ok(())
    }
}

/// Reads the rows of all seven passes, and nothing after them.
fn deinterlace(reader: &mut png::Reader<Cursor<&[u8]>>, pixels: &mut [u8]) -> Result<(), png::DecodingError> {
    let (colour, depth) = reader.output_color_type();
    let stride = pixels.len() / reader.info().height.max(1) as usize;
    let bits = colour.samples() as u8 * depth as u8;
    let (width, height) = reader.info().size();
    let rows: u32 = [(0, 8, 0), (0, 8, 4), (4, 8, 0), (0, 4, 2), (2, 4, 0), (0, 2, 1), (1, 2, 0)]
        .iter()
        .map(|&(top, step, left)| if width > left { height.saturating_sub(top).div_ceil(step) } else { 0 })
        .sum();
    for _ in 0..rows {
        let Some(row) = reader.next_interlaced_row()? else { break };
        if let png::InterlaceInfo::Adam7(pass) = row.interlace() {
            png::expand_interlaced_row(pixels, stride, row.data(), pass, bits);
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Colour {
    Grey,
    GreyAlpha,
    Rgb,
    Rgba,
}

impl Colour {
    fn of(found: ColorType) -> Result<Self, Error> {
        let known = [
            (ColorType::L8, Colour::Grey),
            (ColorType::La8, Colour::GreyAlpha),
            (ColorType::Rgb8, Colour::Rgb),
            (ColorType::Rgba8, Colour::Rgba),
        ];
        let colour = known.into_iter().find(|(kind, _)| *kind == found).map(|(_, colour)| colour);
        colour.ok_or_else(|| Error::Broken(format!("its pixels are {found:?}")))
    }

    fn bytes(self) -> usize {
        match self {
            Self::Grey => 1,
            Self::GreyAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

fn on_white(colour: u8, alpha: u8) -> u8 {
    let (colour, alpha) = (u32::from(colour), u32::from(alpha));
    // The sum is at most 255 × 255 + 127, so the quotient is at most 255.
    ((colour * alpha + 255 * (255 - alpha) + 127) / 255) as u8
}

fn pixels(decoder: &impl ImageDecoder) -> u64 {
    let (width, height) = decoder.dimensions();
    u64::from(width) * u64::from(height)
}

fn orientation(exif: Option<Vec<u8>>) -> Orientation {
    exif.and_then(|exif| Orientation::from_exif_chunk(&exif)).unwrap_or(Orientation::NoTransforms)
}

fn broken(error: impl std::error::Error) -> Error {
    Error::Broken(error.to_string())
}
