//! Users' photos, and other things a photo's URL may lead to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::Shared;

/// What stands behind one URL.
#[derive(Debug, Clone)]
pub(super) enum Photo {
    Bytes { bytes: Bytes, content_type: String },
    Redirect { to: String },
    Status { status: u16 },
    Busy,
}

/// All of them, by name.
#[derive(Debug, Default)]
pub(super) struct Photos(Mutex<HashMap<String, Photo>>);

impl Photos {
    pub(super) fn put(&self, name: &str, photo: Photo) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), photo);
    }

    fn get(&self, name: &str) -> Option<Photo> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// `GET /photos/{name}`
pub(super) async fn serve(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Response {
    let Some(photo) = shared.photos.get(&name) else { return StatusCode::NOT_FOUND.into_response() };
    shared.meter.photo_hit(&name);
    match photo {
        Photo::Bytes { bytes, content_type } => ([(CONTENT_TYPE, content_type)], bytes).into_response(),
        Photo::Redirect { to } => (StatusCode::FOUND, [(LOCATION, to)]).into_response(),
        Photo::Busy => (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "0")]).into_response(),
        Photo::Status { status } => {
            StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }
    }
}
