//! The pictures behind the URLs in answers: drawn when they are fetched, gone when their URL has expired.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::time::{Duration, Instant, sleep};

use super::picture::{Recipe, draw};
use super::{Shared, paced};
use crate::fault::Fault;

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
    let Some(recipe) = shared.files.get(&name, &signed.signature) else { return expired() };
    let mut metered = Metered::new(&shared, &name, &recipe);
    let settings = shared.settings();
    tokio::join!(sleep(paced(settings.download_ms, settings.speed)), shared.downloads.pass());
    let fault = shared.faults.for_download(&recipe.prompt, recipe.index);
    if let Some(Fault::DownloadStatus { status }) = fault {
        metered.status = Some(status);
        return StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response();
    }
    let content_type = recipe.format.content_type();
    let drawn = draw(shared.clone(), recipe.clone()).await;
    let mut bytes = match drawn {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::error!(%error, "a picture could not be drawn");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    if let Some(Fault::Truncated { keep_bytes }) = fault {
        bytes.truncate(keep_bytes);
    }
    metered.status = Some(200);
    ([(CONTENT_TYPE, content_type)], bytes).into_response()
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
}

impl<'a> Metered<'a> {
    fn new(shared: &'a Shared, name: &str, recipe: &Recipe) -> Metered<'a> {
        Metered { shared, at: shared.meter.download_began(name, recipe.call, recipe.index), status: None }
    }
}

impl Drop for Metered<'_> {
    fn drop(&mut self) {
        self.shared.meter.download_ended(self.at, self.status);
    }
}
