//! What kind of provider this is.

/// Which API it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// OpenAI's own: reference images only by multipart to `edits`, answers always `b64_json`.
    OpenAi,
    /// What aggregators make of it: `generations` takes `image`, `aspect_ratio` and `response_format`, and answers with URLs.
    #[default]
    Aggregator,
}

/// A picture's file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Lossless and large.
    Png,
    /// Small.
    Jpeg,
    /// Lossless here.
    Webp,
}

impl Format {
    /// As the API calls it.
    pub(crate) fn named(name: &str) -> Option<Format> {
        match name {
            "png" => Some(Format::Png),
            "jpeg" => Some(Format::Jpeg),
            "webp" => Some(Format::Webp),
            _ => None,
        }
    }

    /// As the API calls it, and as files are called.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpeg",
            Format::Webp => "webp",
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Png => "image/png",
            Format::Jpeg => "image/jpeg",
            Format::Webp => "image/webp",
        }
    }
}

/// How the stand-in provider behaves. All can be changed while it runs ([`super::Provider::change`]).
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which API it speaks.
    pub dialect: Dialect,
    /// The one key it takes.
    pub api_key: String,
    /// The one model it knows.
    pub model: String,
    /// How much faster than real its clock runs: what takes 8 s takes 8 s / speed. Rates and waits in headers are in our time.
    pub speed: f64,
    /// What one call takes, in provider time, however many images it makes.
    pub batch_ms: u64,
    /// By how much of that a call may take more or less, 0 to 1: evenly spread, by the order of arrival.
    pub batch_spread: f64,
    /// What one download takes, in provider time.
    pub download_ms: u64,
    /// The longer edge of its pictures.
    pub image_px: u32,
    /// About how many bytes a picture has: then all of a kind are the same file, drawn once. None: each is drawn, and as large as it gets.
    pub image_bytes: Option<usize>,
    /// The format of pictures where the request names none.
    pub format: Format,
    /// JPEG quality, 1 to 100, where the request names none.
    pub jpeg_quality: u8,
    /// So many calls at once; more get a 429.
    pub max_in_flight: Option<usize>,
    /// So many calls may start in any second; more get a 429.
    pub max_per_second: Option<f64>,
    /// What `retry-after` says after too many at once.
    pub retry_after_ms: u64,
    /// How long the URLs of pictures live, in provider time.
    pub url_ttl_ms: u64,
    /// The header whose value makes a repeated call return the first one's answer, unbilled. None: as at every real image provider.
    pub idempotency_header: Option<String>,
    /// What each billed call costs, in millionths of a dollar.
    pub price_per_call_micros: u64,
    /// What each billed image costs, in millionths of a dollar.
    pub price_per_image_micros: u64,
}

impl Settings {
    /// An aggregator: URLs, JPEG, no idempotency.
    pub fn aggregator() -> Settings {
        Settings {
            dialect: Dialect::Aggregator,
            api_key: "sandbox-key".to_owned(),
            model: "gemini-2.5-flash-image".to_owned(),
            speed: 1.0,
            batch_ms: 8_000,
            batch_spread: 0.0,
            download_ms: 2_000,
            image_px: 512,
            image_bytes: None,
            format: Format::Jpeg,
            jpeg_quality: 85,
            max_in_flight: None,
            max_per_second: None,
            retry_after_ms: 1_000,
            url_ttl_ms: 3_600_000,
            idempotency_header: None,
            price_per_call_micros: 0,
            price_per_image_micros: 39_000,
        }
    }

    /// OpenAI itself: `b64_json`, PNG.
    pub fn openai() -> Settings {
        Settings {
            dialect: Dialect::OpenAi,
            model: "gpt-image-2".to_owned(),
            format: Format::Png,
            ..Settings::aggregator()
        }
    }

    /// What the call of this number takes, in provider time.
    pub(crate) fn call_ms(&self, seq: u64) -> u64 {
        // Multiples of the golden ratio, without their whole part, are spread evenly between 0 and 1, and neighbours are far apart.
        let place = (seq as f64 * 0.618_033_988_749_895).fract();
        (self.batch_ms as f64 * (1.0 + self.batch_spread * (2.0 * place - 1.0))).round().max(0.0) as u64
    }

    pub(crate) fn price_micros(&self, images: u32) -> u64 {
        self.price_per_call_micros + self.price_per_image_micros * u64::from(images)
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings::aggregator()
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;

    #[test]
    fn calls_are_spread_evenly_around_what_one_takes() {
        let settings = Settings { batch_spread: 0.5, ..Settings::default() };
        let mut all: Vec<u64> = (1..=1_000).map(|seq| settings.call_ms(seq)).collect();
        all.sort_unstable();
        // 4 s, 8 s in the middle, 12 s.
        let quarters = [0, 250, 500, 750, 999].map(|place| all[place].div_euclid(100));
        assert_eq!(quarters, [40, 60, 80, 100, 119]);
        assert_eq!(Settings::default().call_ms(7), 8_000);
    }
}
