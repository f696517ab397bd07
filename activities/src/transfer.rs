//! The step `transfer` moves the images of one call into our store, from the provider's URLs or
//! from staging.

mod missing;

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use workflows::failure::{FailureKind, Retry, one_line};
use workflows::heartbeats::TransferProgress;
use workflows::keys;
use workflows::types::{ImageSource, StoredObject, Transfer, TransferInput, TransferOutput, Transferred};

use crate::failure::Failure;
use crate::heartbeat::Checkpoint;
use crate::media::image_file::{self, Broken, Inspected, content_type, kind};
use crate::media::incoming::Watch;
use crate::media::{fetch, incoming};
use crate::{TransferSteps, orphans, storage};
use missing::{Age, Patience};

/// Downloads of one image after which a broken file counts as broken at the provider.
const MAX_BROKEN: u32 = 3;

/// Stores each image of the call.
///
/// The result says of each image that it is `Stored`, `Gone` or `Unusable`. `Stored` means that an
/// object of that size and sha256 exists. `Gone` means one of three: the URL is dead, the staged
/// object stays missing, or three downloads were broken. `Unusable` means that the image must not
/// be stored. A failed attempt may have stored some objects, and the next attempt knows which. A
/// second execution writes the same bytes under the same keys.
pub(crate) async fn transfer(
    env: &TransferSteps,
    ctx: &ActivityContext,
    input: TransferInput,
) -> Result<TransferOutput, ActivityError> {
    let age = Age::of(ctx.info());
    let known = Checkpoint::<Vec<TransferProgress>>::resume(ctx);
    known.change(|known| known.resize(input.images.len(), TransferProgress::default()));
    let work = async {
        let moves = input
            .images
            .iter()
            .enumerate()
            .map(|(position, image)| move_one(env, ctx, &known, &age, position, image));
        // All moves run to their end. The failure of one image doesn't stop the others.
        let results = futures::future::join_all(moves).await;
        let written = input.images.iter().map(|image| image.object_key.as_str());
        let written = written.filter(|key| *key != keys::beautified(&input.task_id));
        orphans::delete_if_task_ended(&env.database, &env.storage, &input.task_id, written).await;
        results.into_iter().collect::<Result<Vec<Transferred>, Failure>>()
    };
    match known.beat(ctx, work).await {
        Ok(images) => Ok(TransferOutput { images }),
        // The attempt timed out, or its worker stops. Another attempt goes on from the heartbeat.
        Err(_) if ctx.is_cancelled() => Err(ActivityError::cancelled()),
        Err(failure) => Err(failure.logged(ctx.info()).into()),
    }
}

async fn move_one(
    env: &TransferSteps,
    ctx: &ActivityContext,
    known: &Checkpoint<Vec<TransferProgress>>,
    age: &Age,
    position: usize,
    image: &Transfer,
) -> Result<Transferred, Failure> {
    if let Some(transferred) = known.change(|known| known[position].transferred.clone()) {
        return Ok(transferred);
    }
    let _permit = tokio::select! {
        permit = env.moving.acquire() => permit.map_err(|_| stopped())?,
        () = ctx.cancelled() => return Err(stopped()),
    };
    let transferred = match store(env, ctx, image).await {
        Ok(inspected) => Transferred::Stored(object(&image.object_key, inspected)),
        Err(Trouble::Gone(message)) => Transferred::Gone { message: one_line(&message) },
        Err(Trouble::Unusable(message)) => Transferred::Unusable { message: one_line(&message) },
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

/// Returns the failure of an attempt that is over before its work was done.
fn stopped() -> Failure {
    Failure::new(FailureKind::Internal, Retry::Backoff, "the attempt was told to stop")
}

/// Reason why an image could not be stored.
enum Trouble {
    /// The URL is dead for good.
    Gone(String),
    /// The file must not be stored, and another download or call would bring the same.
    Unusable(String),
    /// The file arrived whole, and is no whole image.
    Broken(Broken),
    /// The file isn't there. Another attempt may find it, until patience ends.
    Missing(Failure, Patience),
    /// Another attempt may store the image.
    Passing(Failure),
}

impl From<storage::Error> for Trouble {
    /// Converts an error of the store. `NotFound` means that a staged object is missing.
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
            fetch::Error::ForbiddenUrl { .. } | fetch::Error::TooLarge { .. } => {
                Trouble::Unusable(error.to_string())
            }
            fetch::Error::Status { status: 410, .. } => Trouble::Gone(error.to_string()),
            error if error.is_refusal() => Trouble::Missing(Failure::of_image_url(error), missing::OF_URL),
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

/// Moves one image, and measures and checks the image on the way.
///
/// `store` deletes no broken object, because a paused attempt could delete its successor's. Another
/// attempt overwrites the broken object, or `insert` deletes it. A broken `beautified` stays.
///
/// A cancelled attempt cuts the upload short but still waits for the store's response. An abandoned
/// PUT could complete after `insert` has cleaned up.
async fn store(env: &TransferSteps, ctx: &ActivityContext, image: &Transfer) -> Result<Inspected, Trouble> {
    let open = async {
        let mut incoming = match &image.source {
            ImageSource::Url(url) => env.fetcher.get(url, env.fetch.max_image_bytes).await?.into_incoming(),
            ImageSource::StagingKey(key) => env.storage.open(key).await?,
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
        Some(length) => env.storage.put_stream(&image.object_key, content_type, length, stream).await,
        // S3 needs the length before the body.
        None => match spool(stream).await {
            Ok(file) => env.storage.put_file(&image.object_key, content_type, file).await,
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
        Err(broken) if broken.wrong_structure_of().is_some() => look_again(env, ctx, image, broken).await,
        inspected => inspected.map_err(Trouble::Broken),
    }
}

/// Checks an image a second time if the first check found a wrong structure. The second check needs
/// all bytes, so it reads them back from the store, into which they were written.
async fn look_again(
    env: &TransferSteps,
    ctx: &ActivityContext,
    image: &Transfer,
    broken: Broken,
) -> Result<Inspected, Trouble> {
    let look = async {
        let permit = Arc::clone(&env.decoding).acquire_owned().await;
        let permit = permit.map_err(|_| Trouble::Passing(stopped()))?;
        let bytes = match env.storage.get(&image.object_key, image_file::MAX_SECOND_LOOK_BYTES).await {
            Ok(bytes) => bytes,
            Err(storage::Error::TooLarge { .. }) => return Err(Trouble::Broken(broken)),
            Err(error) => return Err(Trouble::Passing(error.into())),
        };
        let looking = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            image_file::examine(&bytes).map(|(found, _)| found)
        });
        // A panic is a bug of the decoder, so the first verdict stands.
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

/// Returns an image's URL without its query, or its staging key, for a message.
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
