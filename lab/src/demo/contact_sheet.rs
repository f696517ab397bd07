//! One picture of all images.

use std::path::Path;

use activities::storage::Storage;
use anyhow::Context;
use image::imageops::FilterType;
use image::{Rgb, RgbImage};
use workflows::types::StoredImage;

const TILE: u32 = 128;
const GAP: u32 = 4;
/// Images a sheet shows, at most.
const MOST: usize = 400;

/// Draws the images, read from the bucket, and writes the sheet as JPEG.
pub(super) async fn write(storage: &Storage, images: &[StoredImage], file: &Path) -> anyhow::Result<()> {
    let mut tiles = Vec::new();
    for image in images.iter().take(MOST) {
        let bytes = storage.get(&image.object.object_key, 50 << 20).await?;
        let picture = image::load_from_memory(&bytes).with_context(|| image.object.object_key.clone())?;
        tiles.push(picture.resize_to_fill(TILE, TILE, FilterType::Triangle).to_rgb8());
    }
    let columns = ((tiles.len() as f64 * 1.4).sqrt().ceil() as u32).max(1);
    let rows = (tiles.len() as u32).div_ceil(columns).max(1);
    let side = |count: u32| count * (TILE + GAP) + GAP;
    let mut sheet = RgbImage::from_pixel(side(columns), side(rows), Rgb([24, 24, 24]));
    for (position, tile) in (0u32..).zip(&tiles) {
        let (x, y) = (position % columns, position / columns);
        image::imageops::replace(&mut sheet, tile, (side(x)).into(), (side(y)).into());
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    sheet.save(file).with_context(|| file.display().to_string())
}
