//! Bytes on their way in, whoever they come from; looked at while they pass.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use crate::image_file::Inspector;
use crate::{fetch, storage};

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// While it was fetched.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
    /// While it was read from the store.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// Its reader wants no more of it.
    #[error("told to stop")]
    Stopped,
}

/// A body being read.
pub(crate) struct Incoming {
    /// Its length in bytes, where the sender said.
    pub(crate) length: Option<u64>,
    /// Its chunks.
    pub(crate) stream: BoxStream<'static, Result<Bytes, Error>>,
}

impl Incoming {
    /// Reads the first bytes, `enough` if there are as many, and puts them back.
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

    /// The body, broken off with [`Error::Stopped`] as soon as `stop` is there.
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

/// Inspects a body while somebody else reads it.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    inspector: Inspector,
    broke_off: Option<Error>,
}

impl Watch {
    /// The body's chunks. Its reader sees an error where it breaks off; which one, `end` tells.
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

    /// What has passed, and why it broke off if it did.
    pub(crate) fn end(&self) -> (Inspector, Option<Error>) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut watched.inspector), watched.broke_off.take())
    }
}
