//! The form that `edits` takes: images as files, the rest as text.

use axum::body::Body;
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::super::error::ApiError;
use super::field::Fields;

/// The text fields, and the files in their order.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<(Fields, Vec<Bytes>), ApiError> {
    let mut request = Request::new(body);
    if let Some(content_type) = headers.get(CONTENT_TYPE) {
        request.headers_mut().insert(CONTENT_TYPE, content_type.clone());
    }
    let mut form =
        Multipart::from_request(request, &()).await.map_err(|error| malformed(&error.body_text()))?;
    let (mut values, mut files) = (Map::new(), Vec::new());
    while let Some(part) = form.next_field().await.map_err(|error| malformed(&error.body_text()))? {
        let name = part.name().unwrap_or_default().to_owned();
        let is_file = part.file_name().is_some();
        match name.as_str() {
            "image" | "image[]" if !is_file => return Err(wrong_file(&name, "expected a file")),
            "image" | "image[]" | "mask" => {
                let content_type = part.content_type().unwrap_or("application/octet-stream").to_owned();
                if !["image/jpeg", "image/png", "image/webp"].contains(&content_type.as_str()) {
                    return Err(unsupported(&name, &content_type));
                }
                let bytes = part.bytes().await.map_err(|error| malformed(&error.body_text()))?;
                if name != "mask" {
                    files.push(bytes);
                }
            }
            _ => {
                let text = part.text().await.map_err(|error| malformed(&error.body_text()))?;
                values.insert(name, Value::String(text));
            }
        }
    }
    Ok((Fields::of_form(values), files))
}

fn malformed(why: &str) -> ApiError {
    ApiError::invalid(400, format!("Could not parse multipart form: {why}"))
}

fn wrong_file(name: &str, why: &str) -> ApiError {
    ApiError::parameter(name, "invalid_type", format!("Invalid type for '{name}': {why}."))
}

fn unsupported(name: &str, content_type: &str) -> ApiError {
    let message = format!(
        "Invalid file '{name}': unsupported mimetype ('{content_type}'). Supported file formats are 'image/jpeg', 'image/png', \
         and 'image/webp'."
    );
    ApiError::parameter(name, "unsupported_file_mimetype", message)
}
