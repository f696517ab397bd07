//! versitygw over a folder, as a process.

use anyhow::Result;

use super::{ACCESS_KEY, BUCKET, SECRET_KEY};
use crate::folder::Folder;
use crate::process::{Guarded, Program};
use crate::{find, http, port};

const HEALTH: &str = "/health";

/// A running versitygw.
#[derive(Debug)]
pub struct Versity {
    server: Guarded,
    port: u16,
}

impl Versity {
    /// Starts it with one empty bucket.
    pub async fn start(folder: &Folder) -> Result<Versity> {
        let program = find::program("versitygw", "DARKROOM_VERSITYGW")?;
        let objects = folder.sub("objects")?;
        // A bucket is a folder.
        objects.sub(BUCKET)?;
        let port = port::free()?;
        let server = Program::new("versitygw", program, folder.share())
            .args([
                "--access", ACCESS_KEY, "--secret", SECRET_KEY, "--region", "auto", "--health", HEALTH,
                "--quiet",
            ])
            .args(["--keep-alive", "--port", &format!("127.0.0.1:{port}"), "posix"])
            // Metadata in files of its own: not every temporary folder has extended attributes.
            .arg("--sidecar")
            .arg(folder.sub("metadata")?.path())
            .arg(objects.path())
            .start()
            .await?;
        let mut versity = Versity { server, port };
        versity.ready().await?;
        Ok(versity)
    }

    /// Its URL.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its process, to be killed and paused.
    pub fn process(&mut self) -> &mut Guarded {
        &mut self.server
    }

    /// Starts it again after it has ended, at the same address with the same data, and waits until it is ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.restart().await?;
        self.ready().await
    }

    async fn ready(&mut self) -> Result<()> {
        let client = http::client()?;
        let url = format!("{}{HEALTH}", self.endpoint());
        let healthy = async || client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
        self.server.ready(healthy).await
    }

    /// Stops it.
    pub async fn stop(mut self) -> Result<()> {
        self.server.stop().await
    }
}
