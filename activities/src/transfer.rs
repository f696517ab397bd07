//! Transfer: one call's images, from where the provider left them into our store.

use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use tokio::io::{AsyncSeekExt, AsyncWriteExt};
use workflows::failure::FailureKind;
use workflows::keys;
use workflows::types::{ImageSource, StoredObject, Transfer, TransferInput, TransferOutput, Transferred};

use crate::failure::{Failure, Retry, words};
use crate::heartbeat::Done;
use crate::image_file::{Broken, Inspected, MAGIC_BYTES, content_type};
use crate::incoming::Watch;
use crate::{Activities, fetch, incoming, late, storage};

/// Downloads of a file that arrives whole but is broken, before it is taken for broken at the provider.
const MAX_BROKEN: u32 = 3;

/// What is known of each image, by position; kept in the heartbeat, so that a next attempt moves only what is left.
/// What became of it, and how often its file arrived broken.
type Known = Vec<(Option<Transferred>, u32)>;

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
    let known = Done::<Known>::resume(ctx);
    known.change(|known| known.resize(input.images.len(), (None, 0)));
    let work = async {
        let moves = input
            .images
            .iter()
            .enumerate()
            .map(|(position, image)| move_one(reach, ctx, &known, position, image));
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
    known: &Done<Known>,
    position: usize,
    image: &Transfer,
) -> Result<Transferred, Failure> {
    if let (Some(transferred), _) = &known.get()[position] {
        return Ok(transferred.clone());
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
                known[position].1 += 1;
                known[position].1
            });
            let message = format!("{}: {why}", place(&image.source));
            if broken < MAX_BROKEN {
                return Err(Failure::new(FailureKind::ImageUnavailable, Retry::Backoff, message));
            }
            Transferred::Gone { message: format!("{message} ({broken} downloads)") }
        }
        Err(Trouble::Passing(failure)) => return Err(failure),
    };
    known.change(|known| known[position].0 = Some(transferred.clone()));
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
    /// Another attempt may do.
    Passing(Failure),
}

impl From<storage::Error> for Trouble {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::NotFound { .. } => Trouble::Gone(error.to_string()),
            storage::Error::TooLarge { .. }
            | storage::Error::KeyRefused { .. }
            | storage::Error::Unavailable { .. } => Trouble::Passing(error.into()),
        }
    }
}

impl From<fetch::Error> for Trouble {
    fn from(error: fetch::Error) -> Self {
        let message = error.to_string();
        match error {
            fetch::Error::Refused { .. } | fetch::Error::TooLarge { .. } => Trouble::Unusable(message),
            fetch::Error::Status { status: 400..=407 | 409..=424 | 426..=428 | 430..=499, .. } => {
                Trouble::Gone(message)
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
        let content_type = content_type(&incoming.peek(MAGIC_BYTES).await?).map_err(Trouble::Broken)?;
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
    inspector.finish().map_err(Trouble::Broken)
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
