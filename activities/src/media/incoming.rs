//! Bodies that come in from a server or the store, inspected while somebody reads them.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::fetch;
use crate::media::image_file::Inspector;
use crate::storage;

/// Reason why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The fetch of the body failed.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// The store failed while the body was read.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The reader of the body was told to stop.
    #[error("the reader of the body was told to stop")]
    Stopped,
}

/// A body that is being read.
pub(crate) struct Incoming {
    /// Length in bytes, if the sender announced one.
    pub(crate) length: Option<u64>,
    /// Chunks of the body, in any sizes.
    pub(crate) stream: BoxStream<'static, Result<Bytes, Error>>,
}

impl Incoming {
    /// Reads the first `enough` bytes or more, and puts them back. A shorter body gives all its
    /// bytes.
    pub(crate) async fn peek(&mut self, enough: usize) -> Result<Bytes, Error> {
        let mut head = BytesMut::new();
        while head.len() < enough {
            match self.stream.try_next().await? {
                Some(chunk) => head.extend_from_slice(&chunk),
                None => break,
            }
        }
        let head = head.freeze();
        let rest = std::mem::replace(&mut self.stream, futures::stream::empty().boxed());
        self.stream = futures::stream::once(futures::future::ready(Ok(head.clone()))).chain(rest).boxed();
        Ok(head)
    }

    /// Returns the body's chunks until `stop` is ready, and then [`Error::Stopped`].
    pub(crate) fn until(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> BoxStream<'static, Result<Bytes, Error>> {
        let state = (self.stream, Box::pin(stop));
        futures::stream::try_unfold(state, async |(mut stream, mut stop)| {
            let next = tokio::select! {
                biased;
                () = &mut stop => return Err(Error::Stopped),
                next = stream.try_next() => next?,
            };
            Ok(next.map(|chunk| (chunk, (stream, stop))))
        })
        .boxed()
    }
}

/// Inspects a body while somebody else reads it. Clones share the inspection.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    inspector: Inspector,
    broke_off: Option<Error>,
}

impl Watch {
    /// Passes the chunks on and inspects them. The reader gets an I/O error where the body breaks
    /// off, and `end` has the real one.
    pub(crate) fn over(
        &self,
        stream: BoxStream<'static, Result<Bytes, Error>>,
    ) -> BoxStream<'static, std::io::Result<Bytes>> {
        let watched = self.0.clone();
        stream
            .map(move |chunk| {
                let mut watched = watched.lock().unwrap_or_else(PoisonError::into_inner);
                match chunk {
                    Ok(chunk) => {
                        watched.inspector.update(&chunk);
                        Ok(chunk)
                    }
                    Err(error) => {
                        let text = error.to_string();
                        watched.broke_off = Some(error);
                        Err(std::io::Error::other(text))
                    }
                }
            })
            .boxed()
    }

    /// Takes the inspection of all bytes so far, and the error that broke the body off. A second
    /// call finds neither.
    pub(crate) fn end(&self) -> (Inspector, Option<Error>) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut watched.inspector), watched.broke_off.take())
    }
}
