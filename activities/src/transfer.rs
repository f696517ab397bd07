//! Transfer: one call's images, from where the provider left them into our store.

mod missing;

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use workflows::failure::FailureKind;
use workflows::keys;
use workflows::types::{ImageSource, StoredObject, Transfer, TransferInput, TransferOutput, Transferred};

use crate::failure::{Failure, Retry, words};
use crate::heartbeat::Done;
use crate::image_file::{self, Broken, Inspected, content_type, kind};
use crate::incoming::Watch;
use crate::{Activities, fetch, incoming, late, storage};
use missing::{Age, Missing, Patience};

/// Downloads of a file that arrives whole but is broken, before it is taken for broken at the provider.
const MAX_BROKEN: u32 = 3;

/// Progress of one image. The heartbeat has it for each position, so that the next attempt moves only what is left.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Known {
    /// The image's end, once it has come.
    transferred: Option<Transferred>,
    /// Downloads that brought a broken file.
    broken: u32,
    /// Answers without a file.
    missing: Option<Missing>,
}

/// Stores each image of the call and says what it found.
///
/// Returned: every image is `Stored` (an object of that size and sha256 exists), `Gone` (its URL or its file is dead, for
/// good) or `Unusable`. Failed: some objects may exist already; the next attempt knows which.
/// Twice: the same bytes under the same keys.
pub(crate) async fn transfer(
    reach: &Activities,
    ctx: &ActivityContext,
    input: TransferInput,
) -> Result<TransferOutput, ActivityError> {
    let age = Age::of(ctx.info());
    let known = Done::<Vec<Known>>::resume(ctx);
    known.change(|known| known.resize(input.images.len(), Known::default()));
    let work = async {
        let moves = input
            .images
            .iter()
            .enumerate()
            .map(|(position, image)| move_one(reach, ctx, &known, &age, position, image));
        // All of them to their end, so that one image's trouble costs no other its progress.
        let results = futures::future::join_all(moves).await;
        let written = input.images.iter().map(|image| image.object_key.as_str());
        let written = written.filter(|key| *key != keys::beautified(&input.task_id));
        late::withdraw(reach, &input.task_id, written).await;
        results.into_iter().collect::<Result<Vec<Transferred>, Failure>>()
    };
    match known.beat(ctx, work).await {
        Ok(images) => Ok(TransferOutput { images }),
        // Timed out, or the worker stops: another attempt goes on from the heartbeat.
        Err(_) if ctx.is_cancelled() => Err(ActivityError::cancelled()),
        Err(failure) => {
            let info = ctx.info();
            tracing::warn!(
                task_id = input.task_id,
                activity = info.activity_id,
                attempt = info.attempt,
                kind = failure.kind.as_str(),
                error = failure.message,
                "transfer failed"
            );
            Err(failure.into())
        }
    }
}

async fn move_one(
    reach: &Activities,
    ctx: &ActivityContext,
    known: &Done<Vec<Known>>,
    age: &Age,
    position: usize,
    image: &Transfer,
) -> Result<Transferred, Failure> {
    if let Some(transferred) = known.change(|known| known[position].transferred.clone()) {
        return Ok(transferred);
    }
    let _permit = tokio::select! {
        permit = reach.moving.acquire() => permit.map_err(|_| stopped())?,
        () = ctx.cancelled() => return Err(stopped()),
    };
    let transferred = match store(reach, ctx, image).await {
        Ok(inspected) => Transferred::Stored(object(&image.object_key, inspected)),
        Err(Trouble::Gone(message)) => Transferred::Gone { message: words(&message) },
        Err(Trouble::Unusable(message)) => Transferred::Unusable { message: words(&message) },
        Err(Trouble::Broken(why)) => {
            let broken = known.change(|known| {
                known[position].broken += 1;
                known[position].broken
            });
            let message = format!("{}: {why}", place(&image.source));
            if broken < MAX_BROKEN {
                return Err(Failure::new(FailureKind::ImageUnavailable, Retry::Backoff, message));
            }
            Transferred::Gone { message: format!("{message} ({broken} downloads)") }
        }
        Err(Trouble::Missing(failure, patience)) => {
            match known.change(|known| missing::count(&mut known[position].missing, age.ms(), patience)) {
                None => return Err(failure),
                Some(stays) => Transferred::Gone { message: format!("{} ({stays})", failure.message) },
            }
        }
        Err(Trouble::Passing(failure)) => return Err(failure),
    };
    known.change(|known| known[position].transferred = Some(transferred.clone()));
    Ok(transferred)
}

/// The attempt is over before its work was done.
fn stopped() -> Failure {
    Failure::new(FailureKind::Internal, Retry::Backoff, "the attempt was told to stop")
}

/// Why an image could not be stored.
enum Trouble {
    /// Its URL is dead, for good.
    Gone(String),
    /// It is not to be taken, and another download or generation would be the same.
    Unusable(String),
    /// It arrived whole, and is no whole image.
    Broken(Broken),
    /// The file isn't there. Another attempt may find it, until patience ends.
    Missing(Failure, Patience),
    /// Another attempt may do.
    Passing(Failure),
}

impl From<storage::Error> for Trouble {
    /// The object is a staged one.
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::NotFound { .. } => Trouble::Missing(error.into(), missing::OF_STAGED),
            storage::Error::TooLarge { .. }
            | storage::Error::KeyRefused { .. }
            | storage::Error::Unavailable { .. } => Trouble::Passing(error.into()),
        }
    }
}

impl From<fetch::Error> for Trouble {
    fn from(error: fetch::Error) -> Self {
        match error {
            fetch::Error::Refused { .. } | fetch::Error::TooLarge { .. } => {
                Trouble::Unusable(error.to_string())
            }
            fetch::Error::Status { status: 410, .. } => Trouble::Gone(error.to_string()),
            fetch::Error::Status { status: 400..=407 | 409..=424 | 426..=428 | 430..=499, .. } => {
                Trouble::Missing(Failure::of_image_url(error), missing::OF_URL)
            }
            fetch::Error::Status { .. } | fetch::Error::Unreachable { .. } | fetch::Error::Cut { .. } => {
                Trouble::Passing(Failure::of_image_url(error))
            }
        }
    }
}

impl From<incoming::Error> for Trouble {
    fn from(error: incoming::Error) -> Self {
        match error {
            incoming::Error::Fetch(error) => error.into(),
            incoming::Error::Storage(error) => error.into(),
            incoming::Error::Stopped => Trouble::Passing(stopped()),
        }
    }
}

/// Moves one image, measuring and checking it on the way.
///
/// What turns out broken is left to be overwritten, or removed by `insert`: an attempt that was paused, and is long replaced,
/// must not remove what another has stored.
///
/// Told to stop, it cuts the body, and still waits for the store's answer: a put that was left alone might come to its end after
/// everybody has looked.
async fn store(reach: &Activities, ctx: &ActivityContext, image: &Transfer) -> Result<Inspected, Trouble> {
    let open = async {
        let mut incoming = match &image.source {
            ImageSource::Url(url) => {
                reach.fetcher.get(url, reach.fetch.max_image_bytes).await?.into_incoming()
            }
            ImageSource::StagingKey(key) => reach.storage.open(key).await?,
        };
        let head = incoming.peek(kind::HEAD_BYTES).await?;
        let content_type = content_type(&head).map_err(|broken| match kind::unsupported(&head) {
            Some(what) => Trouble::Unusable(format!("{what}: only PNG, JPEG and WebP are stored")),
            None => Trouble::Broken(broken),
        })?;
        Ok::<_, Trouble>((incoming, content_type))
    };
    let (incoming, content_type) = tokio::select! {
        opened = open => opened?,
        () = ctx.cancelled() => return Err(Trouble::Passing(stopped())),
    };
    let watch = Watch::default();
    let stop = ctx.clone();
    let length = incoming.length;
    let stream = watch.over(incoming.until(async move { stop.cancelled().await }));
    let put = match length {
        Some(length) => reach.storage.put_stream(&image.object_key, content_type, length, stream).await,
        // S3 wants the length first.
        None => match spool(stream).await {
            Ok(file) => reach.storage.put_file(&image.object_key, content_type, file).await,
            Err(error) => {
                let action = format!("spool `{}` to a temporary file", image.object_key);
                Err(storage::Error::Unavailable { action, why: error.to_string() })
            }
        },
    };
    let (inspector, broke_off) = watch.end();
    if let Some(error) = broke_off {
        return Err(error.into());
    }
    put?;
    match inspector.finish() {
        Err(broken) if broken.wrong_structure_of().is_some() => look_again(reach, ctx, image, broken).await,
        inspected => inspected.map_err(Trouble::Broken),
    }
}

/// Takes a second look at an image whose structure is wrong. The second look needs all bytes, so that they are read back
/// from the store, into which they went.
async fn look_again(
    reach: &Activities,
    ctx: &ActivityContext,
    image: &Transfer,
    broken: Broken,
) -> Result<Inspected, Trouble> {
    let look = async {
        let permit = Arc::clone(&reach.decoding).acquire_owned().await;
        let permit = permit.map_err(|_| Trouble::Passing(stopped()))?;
        let bytes = match reach.storage.get(&image.object_key, image_file::MAX_SECOND_LOOK_BYTES).await {
            Ok(bytes) => bytes,
            Err(storage::Error::TooLarge { .. }) => return Err(Trouble::Broken(broken)),
            Err(error) => return Err(Trouble::Passing(error.into())),
        };
        let looking = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            image_file::examine(&bytes).map(|(found, _)| found)
        });
        // A panic is a decoder's bug.
        looking.await.unwrap_or(Err(broken)).map_err(Trouble::Broken)
    };
    tokio::select! {
        looked = look => looked,
        () = ctx.cancelled() => Err(Trouble::Passing(stopped())),
    }
}

/// Writes a body of unknown length to a file that vanishes with its handle.
async fn spool(mut stream: BoxStream<'static, std::io::Result<Bytes>>) -> std::io::Result<tokio::fs::File> {
    let mut file = tokio::fs::File::from_std(tempfile::tempfile()?);
    while let Some(chunk) = stream.try_next().await? {
        file.write_all(&chunk).await?;
    }
    file.flush().await?;
    file.rewind().await?;
    Ok(file)
}

/// Where an image comes from, for a message: without a signed URL's query.
fn place(source: &ImageSource) -> String {
    match source {
        ImageSource::Url(url) => fetch::redacted(url),
        ImageSource::StagingKey(key) => key.clone(),
    }
}

fn object(key: &str, inspected: Inspected) -> StoredObject {
    StoredObject {
        object_key: key.to_owned(),
        size_bytes: inspected.size_bytes,
        content_type: inspected.content_type.as_str().to_owned(),
        width: inspected.width,
        height: inspected.height,
        sha256: inspected.sha256,
    }
}
