//! s3s over a folder, in our process.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};

use super::files::Files;
use super::{ACCESS_KEY, BUCKET, SECRET_KEY};
use crate::folder::Folder;
use crate::http::Server;

/// An S3 server in our process.
#[derive(Debug)]
pub struct S3 {
    server: Server,
    root: PathBuf,
}

impl S3 {
    /// Starts it with one empty bucket.
    pub async fn start(folder: &Folder) -> Result<S3> {
        // A bucket is a folder.
        folder.sub(BUCKET)?;
        let root = folder.path().to_owned();
        let server = Server::start(None, router(&root)?).await?;
        Ok(S3 { server, root })
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.server.address())
    }

    /// Goes away, as in an outage: nobody listens, open connections are cut. What it stored stays.
    pub async fn go_down(&mut self) {
        self.server.cut().await;
    }

    /// Comes back at the same address.
    pub async fn come_back(&mut self) -> Result<()> {
        self.server = Server::start(Some(self.server.address().port()), router(&self.root)?).await?;
        Ok(())
    }

    /// Stops it.
    pub async fn stop(mut self) -> Result<()> {
        self.server.stop().await
    }
}

fn router(root: &std::path::Path) -> Result<Router> {
    let files = Files::new(root).map_err(|error| anyhow!("s3s cannot use {}: {error:?}", root.display()))?;
    let mut builder = S3ServiceBuilder::new(files);
    builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
    Ok(Router::new().fallback(answer).with_state(builder.build()))
}

async fn answer(State(s3): State<S3Service>, request: Request) -> Response {
    let request = request.map(s3s::Body::http_body_unsync);
    match s3.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            tracing::warn!(?error, "a request to the S3 server failed");
            axum::http::StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
