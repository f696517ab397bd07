//! One call, from its arrival to its answer and its place on the bill.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::response::{IntoResponse, Response};
use tokio::sync::watch;
use tokio::time::sleep;

use super::answer::{Answer, Picture, success};
use super::body::Pace;
use super::error::ApiError;
use super::idempotency::Turn;
use super::picture::{Recipe, draw};
use super::request::{self, Endpoint, ImageRequest};
use super::settings::Settings;
use super::{Shared, paced};
use crate::fault::{Entries, ProviderFault};
use crate::http::Connection;
use crate::meter::Limits;

/// `POST /v1/images/generations`
pub(super) async fn generations(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    serve(shared, connection, Endpoint::Generations, headers, body).await
}

/// `POST /v1/images/edits`
pub(super) async fn edits(
    State(shared): State<Arc<Shared>>,
    Extension(connection): Extension<Connection>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    serve(shared, connection, Endpoint::Edits, headers, body).await
}

/// How a call ends.
#[derive(Debug, Clone)]
enum Outcome {
    Answer(Answer),
    /// The connection is reset.
    Reset,
    /// Nothing comes, for ever.
    Silence,
}

impl From<ApiError> for Outcome {
    fn from(error: ApiError) -> Outcome {
        Outcome::Answer(error.into())
    }
}

async fn serve(
    shared: Arc<Shared>,
    connection: Connection,
    endpoint: Endpoint,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let settings = shared.settings();
    let key = settings.idempotency_header.as_deref().unwrap_or("idempotency-key");
    let key = headers.get(key).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let seq = shared.meter.arrived(endpoint.path(), key.clone());
    let mut presence = Presence { shared: &shared, seq, answered: false };
    let key = key.filter(|_| settings.idempotency_header.is_some());

    let outcome = match admit(&shared, &settings, seq, endpoint, &headers, body).await {
        Ok(request) => begin(&shared, settings, seq, endpoint, request, key).await,
        Err(error) => error.into(),
    };
    let (status, error_code) = match &outcome {
        Outcome::Answer(answer) => (Some(answer.status), answer.error_code.clone()),
        Outcome::Reset | Outcome::Silence => (None, None),
    };
    shared.meter.answered(seq, status, error_code);
    if let Outcome::Answer(answer) = &outcome {
        shared.meter.note(seq, |call| {
            (call.retry_after_ms, call.spoilt) = (answer.retry_after_ms(), answer.spoilt);
        });
    }
    presence.answered = true;
    match outcome {
        Outcome::Answer(mut answer) => {
            answer.headers.push(("x-request-id", format!("req_{seq:08}")));
            answer.into_response()
        }
        Outcome::Reset => {
            connection.reset();
            std::future::pending().await
        }
        Outcome::Silence => std::future::pending().await,
    }
}

/// Notes when the client hangs up: then the handler is dropped before it has an answer.
struct Presence<'a> {
    shared: &'a Shared,
    seq: u64,
    answered: bool,
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.shared.meter.note(self.seq, |call| call.client_gone = true);
        }
    }
}

/// The key must be the one there is.
pub(super) fn authorize(settings: &Settings, headers: &HeaderMap) -> Result<(), ApiError> {
    let sent = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|value| value.strip_prefix("Bearer "));
    if sent != Some(settings.api_key.as_str()) {
        return Err(ApiError::invalid_api_key(sent.is_some()));
    }
    Ok(())
}

/// Key and request.
async fn admit(
    shared: &Shared,
    settings: &Settings,
    seq: u64,
    endpoint: Endpoint,
    headers: &HeaderMap,
    body: Body,
) -> Result<ImageRequest, ApiError> {
    authorize(settings, headers)?;
    let request = request::read(endpoint, settings, headers, body).await?;
    shared.meter.note(seq, |call| {
        call.prompt = request.prompt.to_string();
        call.n = request.n;
    });
    Ok(request)
}

/// Does the work, or joins the call that does it.
async fn begin(
    shared: &Arc<Shared>,
    settings: Settings,
    seq: u64,
    endpoint: Endpoint,
    request: ImageRequest,
    key: Option<String>,
) -> Outcome {
    let slot = match &key {
        None => watch::Sender::new(None),
        Some(key) => match shared.answers.turn(key, request.fingerprint(endpoint)) {
            Turn::First(slot) => slot,
            Turn::Repeat(answer) => {
                shared.meter.note(seq, |call| call.replayed = true);
                return wait(answer).await;
            }
            Turn::Other => {
                let message = "This idempotency key was used for a request with other parameters.";
                return ApiError::parameter("idempotency_key", "idempotency_key_reused", message.to_owned())
                    .into();
            }
        },
    };
    let limits = Limits {
        max_in_flight: settings.max_in_flight,
        max_per_second: settings.max_per_second,
        retry_after: Duration::from_millis(settings.retry_after_ms),
    };
    let answer = slot.subscribe();
    if let Err(throttled) = shared.meter.accept(seq, limits) {
        let retry_after_ms = u64::try_from(throttled.retry_after.as_millis()).unwrap_or(u64::MAX);
        let refusal = Answer::from(ApiError::rate_limited(Some(retry_after_ms.max(1))));
        settle(shared, key.as_deref(), &slot, refusal, false);
        return wait(answer).await;
    }
    // From here on it goes on by itself: a client that hangs up stops nothing, and pays.
    let work = tokio::spawn(work(shared.clone(), settings, seq, request, key, slot));
    match work.await {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::error!(%error, "a call broke");
            ApiError::status(500, None).into()
        }
    }
}

/// Makes the answer known under its key, for as long as it lives: what was refused may be tried again.
fn settle(
    shared: &Shared,
    key: Option<&str>,
    slot: &watch::Sender<Option<Answer>>,
    answer: Answer,
    done: bool,
) {
    slot.send_replace(Some(answer));
    if let Some(key) = key.filter(|_| !done) {
        shared.answers.forget(key);
    }
}

async fn wait(mut answer: watch::Receiver<Option<Answer>>) -> Outcome {
    match answer.wait_for(Option::is_some).await.map(|answer| answer.clone()) {
        Ok(Some(answer)) => Outcome::Answer(answer),
        Ok(None) | Err(_) => ApiError::status(500, None).into(),
    }
}

/// An accepted call: refused after all, or done and billed.
async fn work(
    shared: Arc<Shared>,
    settings: Settings,
    seq: u64,
    request: ImageRequest,
    key: Option<String>,
    slot: watch::Sender<Option<Answer>>,
) -> Outcome {
    let fault = shared.faults.for_call(&request.prompt);
    let images = if let Some(ProviderFault::ShortAnswer { images }) = fault { images } else { request.n };
    let made = match refusal(fault.as_ref()) {
        Some(outcome) => Err(outcome),
        None => make(&shared, &settings, seq, &request, images, fault.as_ref()).await.map_err(Outcome::from),
    };
    let answer = match made {
        Ok(answer) => answer,
        Err(outcome) => {
            shared.meter.finished(seq, None, 0);
            match &outcome {
                Outcome::Answer(answer) => settle(&shared, key.as_deref(), &slot, answer.clone(), false),
                Outcome::Reset | Outcome::Silence => {
                    settle(&shared, key.as_deref(), &slot, ApiError::status(500, None).into(), false);
                }
            }
            return outcome;
        }
    };
    let rejected = u32::from(fault == Some(ProviderFault::Entries(Entries::RejectedFirst)));
    let images = images.saturating_sub(rejected);
    shared.meter.finished(seq, Some(images), settings.price_micros(images));
    settle(&shared, key.as_deref(), &slot, answer.clone(), true);
    delivery(fault.as_ref(), answer)
}

/// What becomes of the answer of a call that is done and billed.
fn delivery(fault: Option<&ProviderFault>, answer: Answer) -> Outcome {
    match fault {
        Some(ProviderFault::MalformedJson) => Outcome::Answer(answer.cut()),
        Some(ProviderFault::Says { status, body, .. }) => {
            Outcome::Answer(Answer { spoilt: true, ..Answer::verbatim(*status, body) })
        }
        Some(ProviderFault::Entries(Entries::NullFirst)) => {
            Outcome::Answer(Answer { spoilt: true, ..answer })
        }
        Some(ProviderFault::SlowBody { ms }) => {
            Outcome::Answer(Answer { pace: Pace::Over(Duration::from_millis(*ms)), ..answer })
        }
        Some(ProviderFault::CutBody) => Outcome::Answer(Answer { pace: Pace::Cut, spoilt: true, ..answer }),
        Some(ProviderFault::WrongContentType) => {
            Outcome::Answer(Answer { content_type: "text/html", ..answer })
        }
        Some(ProviderFault::ResetAfterBilling) => Outcome::Reset,
        Some(ProviderFault::HangAfterBilling) => Outcome::Silence,
        Some(_) | None => Outcome::Answer(answer),
    }
}

/// How a fault ends a call before anything is done, if it does.
#[expect(clippy::wildcard_enum_match_arm, reason = "all others strike later")]
fn refusal(fault: Option<&ProviderFault>) -> Option<Outcome> {
    match fault? {
        ProviderFault::Status { status, retry_after_s } => {
            Some(ApiError::status(*status, *retry_after_s).into())
        }
        ProviderFault::ModerationBlocked => Some(ApiError::moderation_blocked().into()),
        ProviderFault::InvalidKey => Some(ApiError::invalid_api_key(true).into()),
        ProviderFault::InsufficientQuota => Some(ApiError::insufficient_quota().into()),
        ProviderFault::Html { status } => Some(Outcome::Answer(Answer::html(*status))),
        ProviderFault::Says { status, body, billed: false } => {
            Some(Outcome::Answer(Answer::verbatim(*status, body)))
        }
        ProviderFault::ResetBeforeBilling => Some(Outcome::Reset),
        ProviderFault::HangBeforeBilling => Some(Outcome::Silence),
        _ => None,
    }
}

/// The work itself. It takes the provider's time; drawing happens meanwhile.
async fn make(
    shared: &Arc<Shared>,
    settings: &Settings,
    seq: u64,
    request: &ImageRequest,
    images: u32,
    fault: Option<&ProviderFault>,
) -> Result<Answer, ApiError> {
    let sound = fault != Some(&ProviderFault::NotAnImage);
    let entries = if let Some(ProviderFault::Entries(entries)) = fault { Some(*entries) } else { None };
    let by_url = request.by_url && entries != Some(Entries::DataUrls);
    let recipes = recipes(shared, settings, seq, request, images, sound).await?;
    let pictures = async {
        if by_url {
            return Ok(Vec::new());
        }
        let mut pictures = Vec::new();
        for recipe in &recipes {
            pictures.push(Picture::Bytes(draw(shared.clone(), Arc::new(recipe.clone())).await?));
        }
        anyhow::Ok(pictures)
    };
    let (pictures, (), ()) =
        tokio::join!(pictures, sleep(paced(settings.call_ms(seq), settings.speed)), shared.calls.pass());
    let mut pictures = pictures.map_err(|error| {
        tracing::error!(%error, "a picture could not be drawn");
        ApiError::status(500, None)
    })?;
    if by_url {
        // Only now: a URL's life begins with the answer.
        let live = paced(settings.url_ttl_ms, settings.speed);
        pictures.extend(recipes.iter().map(|recipe| Picture::Url(shared.files.put(recipe.clone(), live))));
    }
    let created_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let spoilt = !sound && !by_url;
    Ok(Answer { spoilt, ..success(settings, request, created_s, pictures, &recipes, entries) })
}

async fn recipes(
    shared: &Arc<Shared>,
    settings: &Settings,
    seq: u64,
    request: &ImageRequest,
    images: u32,
    sound: bool,
) -> Result<Vec<Recipe>, ApiError> {
    let mut references = Vec::new();
    for (place, source) in request.references.iter().enumerate() {
        references.push(source.resolve(shared, place + 1).await?);
    }
    let (width, height) = size(request.shape.unwrap_or((1, 1)), settings.image_px);
    let recipe = Recipe {
        call: seq,
        index: 0,
        of: images,
        sound,
        prompt: request.prompt.clone(),
        reference: references.first().cloned(),
        width,
        height,
        format: request.format.unwrap_or(settings.format),
        quality: request.quality.unwrap_or(settings.jpeg_quality).max(1),
    };
    super::reference::check(shared, references, recipe.kept_size()).await?;
    Ok((0..images).map(|index| Recipe { index, ..recipe.clone() }).collect())
}

/// The shape asked for, with the configured longer edge.
fn size((width, height): (u32, u32), longer_px: u32) -> (u32, u32) {
    let longer = width.max(height).max(1);
    let scaled = |edge: u32| (edge * longer_px / longer).max(16);
    (scaled(width), scaled(height))
}
