//! The pictures behind the URLs in answers: drawn when they are fetched, gone when their URL has expired.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::{Duration, Instant, sleep};

use super::body::{Pace, body};
use super::picture::{GIF, NO_IMAGE, Recipe, draw, without_end};
use super::settings::Format;
use super::{Shared, paced};
use crate::fault::ProviderFault;

/// All of them, by name.
#[derive(Debug, Default)]
pub(super) struct Files {
    root: OnceLock<String>,
    by_name: Mutex<HashMap<String, File>>,
}

#[derive(Debug, Clone)]
struct File {
    recipe: Arc<Recipe>,
    signature: String,
    expires: Instant,
}

impl Files {
    /// Where they are served, known once the server listens.
    pub(super) fn served_at(&self, root: String) {
        // It listens at the same place for ever.
        let _ = self.root.set(root);
    }

    /// A URL for a picture, signed as storage services do it.
    pub(super) fn put(&self, recipe: Recipe, live: Duration) -> String {
        let name = format!("{}-{}.{}", recipe.call, recipe.index, recipe.format.extension());
        let signature = signature(&name, &recipe);
        let root = self.root.get().map(String::as_str).unwrap_or_default();
        let url = format!("{root}/{name}?expires_ms={}&signature={signature}", live.as_millis());
        let now = Instant::now();
        let mut files = self.files();
        files.retain(|_, file| file.expires > now);
        files.insert(name, File { recipe: Arc::new(recipe), signature, expires: now + live });
        url
    }

    pub(super) fn expire_all(&self) {
        self.files().clear();
    }

    fn get(&self, name: &str, signature: &str) -> Option<Arc<Recipe>> {
        let file = self.files().get(name).cloned()?;
        (file.signature == signature && file.expires > Instant::now()).then_some(file.recipe)
    }

    fn files(&self) -> MutexGuard<'_, HashMap<String, File>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Not guessable from the name alone, and the same for the same picture.
fn signature(name: &str, recipe: &Recipe) -> String {
    let digest = Sha256::new().chain_update(name).chain_update(&*recipe.prompt).finalize();
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// A URL's query.
#[derive(Debug, Deserialize)]
pub(super) struct Signed {
    #[serde(default)]
    signature: String,
}

/// `GET /files/{name}`
pub(super) async fn download(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(signed): Query<Signed>,
) -> Response {
    let Some(recipe) = shared.files.get(&name, &signed.signature) else {
        if let Some((call, index)) = made_by(&name) {
            Metered::new(&shared, &name, call, index).status = Some(StatusCode::FORBIDDEN.as_u16());
        }
        return expired();
    };
    let mut metered = Metered::new(&shared, &name, recipe.call, recipe.index);
    let settings = shared.settings();
    tokio::join!(sleep(paced(settings.download_ms, settings.speed)), shared.downloads.pass());
    let fault = shared.faults.for_download(&recipe.prompt, recipe.index);
    match fault {
        Some(ProviderFault::DownloadStatus { status }) => {
            metered.status = Some(status);
            return StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
        }
        Some(ProviderFault::DownloadHang) => return std::future::pending().await,
        _ => {}
    }
    let mut bytes = match draw(shared.clone(), recipe.clone()).await {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!(%error, "a picture could not be drawn");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let (mut pace, mut content_type) = (Pace::AtOnce, recipe.format.content_type());
    metered.spoilt = !recipe.sound;
    match fault {
        Some(ProviderFault::Truncated { keep_bytes }) => {
            bytes.truncate(keep_bytes);
            metered.spoilt = true;
        }
        Some(ProviderFault::DownloadNotAnImage) => {
            bytes = NO_IMAGE.into();
            metered.spoilt = true;
        }
        Some(ProviderFault::DownloadGif) => {
            bytes = GIF.into();
            metered.spoilt = true;
        }
        Some(ProviderFault::DownloadWithoutEnd) => without_end(recipe.format, &mut bytes),
        Some(ProviderFault::FlippedBit) => {
            let middle = bytes.len() / 2;
            bytes.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
            metered.spoilt |= recipe.format == Format::Png;
        }
        Some(ProviderFault::DownloadWrongType) => content_type = "text/html",
        Some(ProviderFault::DownloadSlow { ms }) => pace = Pace::Over(Duration::from_millis(ms)),
        Some(ProviderFault::DownloadCut) => pace = Pace::Cut,
        _ => {}
    }
    metered.status = Some(200);
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let body = body(bytes.into(), pace, &mut headers);
    (headers, body).into_response()
}

/// Call and place of the picture that a file of this name held; see [`Files::put`].
fn made_by(name: &str) -> Option<(u64, u32)> {
    let (call, index) = name.split_once('.')?.0.split_once('-')?;
    Some((call.parse().ok()?, index.parse().ok()?))
}

/// As S3 answers when a signed URL's time is over.
fn expired() -> Response {
    let body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                <Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
    (StatusCode::FORBIDDEN, [(CONTENT_TYPE, "application/xml")], body).into_response()
}

/// Tells the meter that the download has ended, also when the client hangs up and the handler is dropped.
struct Metered<'a> {
    shared: &'a Shared,
    at: usize,
    status: Option<u16>,
    spoilt: bool,
}

impl<'a> Metered<'a> {
    fn new(shared: &'a Shared, name: &str, call: u64, index: u32) -> Metered<'a> {
        let at = shared.meter.download_began(name, call, index);
        Metered { shared, at, status: None, spoilt: false }
    }
}

impl Drop for Metered<'_> {
    fn drop(&mut self) {
        self.shared.meter.download_ended(self.at, self.status, self.spoilt);
    }
}
