//! The stand-in provider: OpenAI's Images API, or an aggregator's dialect of it, on a free loopback port.
//!
//! It is strict where the real one is, makes real pictures from the photo it is given, takes its time, holds its limits, sends a bill,
//! and goes on working when the client hangs up. What it was asked stands in [`Provider::meter`]; what shall go wrong, in
//! [`Provider::faults`].

mod answer;
mod body;
mod call;
mod error;
mod file;
mod gate;
mod idempotency;
mod photo;
mod picture;
mod recent;
mod reference;
mod request;
mod settings;
mod stock;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Result;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};

use crate::fault::{Faults, ProviderFault, Rule};
use crate::http::{self, Server};
use crate::meter::{Bill, Meter, Recorder};
use error::ApiError;

pub use settings::{Dialect, Format, Settings};

/// 16 images of 50 MB would be allowed; nobody needs as much here.
const MAX_BODY_BYTES: usize = 128 * 1024 * 1024;

/// At 512 px each takes 1.2 MB.
const KEPT_PHOTOS: usize = 32;
/// A photo comes in ten tints, so this is enough for those in work at a time.
const KEPT_TINTS: usize = 128;

/// A running stand-in provider.
#[derive(Debug)]
pub struct Provider {
    shared: Arc<Shared>,
    server: Server,
}

/// What the handlers share.
#[derive(Debug)]
struct Shared {
    settings: RwLock<Settings>,
    meter: Recorder,
    faults: Faults,
    calls: gate::Gate,
    downloads: gate::Gate,
    files: file::Files,
    photos: photo::Photos,
    decoded: reference::Decoded,
    tinted: picture::Tinted,
    stock: stock::Stock,
    answers: idempotency::Answers,
    http: reqwest::Client,
}

impl Provider {
    /// Starts it.
    pub async fn start(settings: Settings) -> Result<Provider> {
        let shared = Arc::new(Shared {
            settings: RwLock::new(settings),
            meter: Recorder::new(),
            faults: Faults::default(),
            calls: gate::Gate::default(),
            downloads: gate::Gate::default(),
            files: file::Files::default(),
            photos: photo::Photos::default(),
            decoded: reference::Decoded::new(KEPT_PHOTOS),
            tinted: picture::Tinted::new(KEPT_TINTS),
            stock: stock::Stock::new(stock::KEPT),
            answers: idempotency::Answers::default(),
            http: http::client()?,
        });
        let server = Server::start(None, router(shared.clone())).await?;
        shared.files.served_at(format!("http://{}/files", server.address()));
        Ok(Provider { shared, server })
    }

    /// `http://host:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// What a client calls its base URL: `http://host:port/v1`.
    pub fn base_url(&self) -> String {
        format!("{}/v1", self.url())
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        self.shared.settings()
    }

    /// Changes settings while it runs; calls that come later obey them.
    pub fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.shared.settings.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// How much faster than real its clock runs.
    pub fn set_speed(&self, speed: f64) {
        self.change(|settings| settings.speed = speed);
    }

    /// What it was asked and did.
    pub fn meter(&self) -> &Recorder {
        &self.shared.meter
    }

    /// What there is to pay so far.
    pub fn bill(&self) -> Bill {
        self.shared.meter.snapshot().bill()
    }

    /// What shall go wrong.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// From now on, prompts that contain this are rejected by moderation.
    pub fn rejects(&self, prompt: &str) {
        self.faults().add(Rule::new(ProviderFault::ModerationBlocked).prompt(prompt));
    }

    /// The next call whose prompt contains this gets so many images, whatever it asked for.
    pub fn short_answer(&self, prompt: &str, images: u32) {
        self.faults().add(Rule::new(ProviderFault::ShortAnswer { images }).prompt(prompt).times(1));
    }

    /// The next calls fail with this status.
    pub fn fails(&self, status: u16, times: u64) {
        self.faults().add(Rule::new(ProviderFault::Status { status, retry_after_s: None }).times(times));
    }

    /// The next downloads fail with this status.
    pub fn fails_downloads(&self, status: u16, times: u64) {
        self.faults().add(Rule::new(ProviderFault::DownloadStatus { status }).times(times));
    }

    /// Accepted calls don't end, however long they take, until [`Provider::release`].
    pub fn hold(&self) {
        self.shared.calls.close();
    }

    /// Lets one of the calls that wait go on.
    pub fn release_one(&self) {
        self.shared.calls.let_one_pass();
    }

    /// Held calls end, and later ones are not held.
    pub fn release(&self) {
        self.shared.calls.open();
    }

    /// Downloads don't end until [`Provider::release_downloads`].
    pub fn hold_downloads(&self) {
        self.shared.downloads.close();
    }

    /// The next downloads that arrive, so many, don't end until [`Provider::release_downloads`]; those after them pass.
    pub fn hold_next_downloads(&self, count: usize) {
        self.shared.downloads.hold_next(count);
    }

    /// Held downloads end, and later ones are not held.
    pub fn release_downloads(&self) {
        self.shared.downloads.open();
    }

    /// Every URL given out so far has expired.
    pub fn expire_urls(&self) {
        self.shared.files.expire_all();
    }

    /// Serves a user's photo; its URL.
    pub fn serve_photo(&self, name: &str, bytes: impl Into<bytes::Bytes>, content_type: &str) -> String {
        let photo = photo::Photo::Bytes { bytes: bytes.into(), content_type: content_type.to_owned() };
        self.serve(name, photo)
    }

    /// Serves a redirect to another address; its URL.
    pub fn serve_redirect(&self, name: &str, to: &str) -> String {
        self.serve(name, photo::Photo::Redirect { to: to.to_owned() })
    }

    /// Serves an empty answer of this status; its URL.
    pub fn serve_status(&self, name: &str, status: u16) -> String {
        self.serve(name, photo::Photo::Status { status })
    }

    /// Serves a 503 that asks to be tried again immediately; its URL.
    pub fn serve_busy(&self, name: &str) -> String {
        self.serve(name, photo::Photo::Busy)
    }

    fn serve(&self, name: &str, photo: photo::Photo) -> String {
        self.shared.photos.put(name, photo);
        format!("{}/photos/{name}", self.url())
    }

    /// Goes away, as in an outage: nobody listens, open connections are cut. Calls under way are still done and billed.
    pub async fn go_down(&mut self) {
        self.server.cut().await;
    }

    /// Comes back at the same address.
    pub async fn come_back(&mut self) -> Result<()> {
        let port = self.server.address().port();
        self.server = Server::start(Some(port), router(self.shared.clone())).await?;
        Ok(())
    }

    /// Stops it.
    pub async fn stop(mut self) -> Result<()> {
        self.server.stop().await
    }
}

impl Shared {
    fn settings(&self) -> Settings {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Provider time, as long as it takes on our clock.
fn paced(provider_ms: u64, speed: f64) -> Duration {
    Duration::from_secs_f64(provider_ms as f64 / 1000.0 / speed.max(1e-6))
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/v1/images/generations", post(call::generations))
        .route("/v1/images/edits", post(call::edits))
        .route("/v1/models", get(models))
        .route("/files/{name}", get(file::download))
        .route("/photos/{name}", get(photo::serve))
        .route("/_meter", get(meter))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(shared)
}

async fn meter(State(shared): State<Arc<Shared>>) -> Json<Meter> {
    Json(shared.meter.snapshot())
}

/// The list of models, which costs nothing: clients try their key on it.
async fn models(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
) -> Result<Json<serde_json::Value>, ApiError> {
    let settings = shared.settings();
    call::authorize(&settings, &headers)?;
    let model =
        serde_json::json!({"id": settings.model, "object": "model", "created": 0, "owned_by": "sandbox"});
    Ok(Json(serde_json::json!({"object": "list", "data": [model]})))
}

async fn nowhere(method: Method, uri: Uri) -> Response {
    ApiError::invalid(404, format!("Invalid URL ({method} {})", uri.path())).into_response()
}

async fn wrong_method(method: Method) -> Response {
    ApiError::invalid(405, format!("Not allowed to {method} on this URL")).into_response()
}
