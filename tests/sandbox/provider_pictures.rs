//! The pictures: made from the photo, different from one another, the same each time they are fetched.

use anyhow::Result;
use image::RgbImage;
use sandbox::Provider;
use sandbox::provider::Settings;
use serde_json::json;

use crate::client::*;

/// The mean difference of two pictures' values, 0 to 255.
fn difference(a: &RgbImage, b: &RgbImage) -> u64 {
    let sum: u64 = a.iter().zip(b.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum / a.len() as u64
}

async fn fetch(urls: &[String]) -> Result<Vec<Vec<u8>>> {
    let mut files = Vec::new();
    for url in urls {
        files.push(http().get(url).send().await?.error_for_status()?.bytes().await?.to_vec());
    }
    Ok(files)
}

#[tokio::test]
async fn pictures_of_one_call_differ_and_stay_the_same() -> Result<()> {
    let provider = Provider::start(Settings { image_px: 128, ..aggregator() }).await?;
    let mut request = asks(&provider, "a garden", 10);
    request["image"] = json!(provider.serve_photo("me.png", photo(), "image/png"));
    let urls = urls(generations(&provider, &request)).await?;

    let (once, twice) = (fetch(&urls).await?, fetch(&urls).await?);

    assert_eq!(once, twice);
    let pictures = once.iter().map(|bytes| picture(bytes)).collect::<Result<Vec<_>>>()?;
    for (at, one) in pictures.iter().enumerate() {
        for other in pictures.iter().skip(at + 1) {
            assert!(difference(one, other) >= 5, "two pictures look the same");
        }
    }
    provider.stop().await
}

#[tokio::test]
async fn pictures_show_the_photo_they_were_made_from() -> Result<()> {
    let provider = Provider::start(aggregator()).await?;
    let plain = |colour: [u8; 3]| -> Result<Vec<u8>> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        RgbImage::from_pixel(64, 64, image::Rgb(colour)).write_to(&mut bytes, image::ImageFormat::Png)?;
        Ok(bytes.into_inner())
    };
    let mut brightness = Vec::new();
    for (name, colour) in [("dark.png", [20; 3]), ("light.png", [230; 3])] {
        let mut request = asks(&provider, "x", 1);
        request["image"] = json!(provider.serve_photo(name, plain(colour)?, "image/png"));
        let files = fetch(&urls(generations(&provider, &request)).await?).await?;
        let picture = picture(&files[0])?;
        brightness.push(picture.get_pixel(32, 20).0.iter().map(|value| u32::from(*value)).sum::<u32>());
    }
    assert!(brightness[1] > brightness[0] + 100, "{brightness:?}");
    provider.stop().await
}

#[tokio::test]
async fn the_caption_alone_tells_some_pictures_apart() -> Result<()> {
    let provider = Provider::start(Settings { image_px: 256, ..aggregator() }).await?;
    // Looks and frames go on by five with each call: the first call's sixth picture and the second's first are the same but for "6/6".
    let sixth = fetch(&urls(generations(&provider, &asks(&provider, "a garden", 6))).await?).await?;
    let first = fetch(&urls(generations(&provider, &asks(&provider, "a garden", 1))).await?).await?;
    let (one, other) = (picture(&sixth[5])?, picture(&first[0])?);

    let part = |picture: &RgbImage, top: u32, height: u32| {
        image::imageops::crop_imm(picture, 0, top, 256, height).to_image()
    };

    assert_eq!(difference(&part(&one, 0, 200), &part(&other, 0, 200)), 0);
    assert_ne!(part(&one, 220, 36), part(&other, 220, 36));
    provider.stop().await
}

#[tokio::test]
async fn pictures_of_a_wanted_size_are_whole_and_have_it() -> Result<()> {
    for (format, image_px, image_bytes) in
        [("jpeg", 512, 50_000), ("jpeg", 1024, 1_500_000), ("png", 256, 250_000)]
    {
        let settings = Settings { image_px, image_bytes: Some(image_bytes), ..aggregator() };
        let provider = Provider::start(settings).await?;
        let mut request = asks(&provider, "a garden", 2);
        request["image"] = json!(provider.serve_photo("me.png", photo(), "image/png"));
        request["output_format"] = json!(format);

        let files = fetch(&urls(generations(&provider, &request)).await?).await?;

        assert_eq!(files[0], files[1], "drawn once");
        assert!(
            files[0].len() <= image_bytes && files[0].len() + 12 > image_bytes,
            "{format} {}",
            files[0].len()
        );
        assert_eq!(picture(&files[0])?.width(), image_px);
        provider.stop().await?;
    }
    Ok(())
}
