//! How a body goes over the wire: at once, in a trickle, or not to its end.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use futures::StreamExt;
use tokio::time::sleep;

/// Pieces of a body that trickles.
const PIECES: usize = 16;

const FLUSHED: Duration = Duration::from_millis(20);

/// How fast, and how far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Pace {
    #[default]
    AtOnce,
    /// Over this time.
    Over(Duration),
    /// Half of it, then the connection ends.
    Cut,
}

/// The body, and in `headers` the length of all of it.
pub(super) fn body(bytes: Bytes, pace: Pace, headers: &mut HeaderMap) -> Body {
    headers.insert(CONTENT_LENGTH, bytes.len().into());
    let wait = match pace {
        Pace::AtOnce => return Body::from(bytes),
        Pace::Over(time) => time / PIECES as u32,
        Pace::Cut => {
            let half = futures::stream::iter([Ok(bytes.slice(..bytes.len() / 2))]);
            let end = futures::stream::once(async {
                // What came before is to be on its way.
                sleep(FLUSHED).await;
                Err(std::io::Error::other("cut"))
            });
            return Body::from_stream(half.chain(end));
        }
    };
    let size = bytes.len().div_ceil(PIECES).max(1);
    let pieces: Vec<Bytes> = bytes.chunks(size).map(Bytes::copy_from_slice).collect();
    let paced = futures::stream::iter(pieces).then(move |piece| async move {
        sleep(wait).await;
        Ok::<_, std::io::Error>(piece)
    });
    Body::from_stream(paced)
}
