//! An S3 server: one in our process, always at hand, or the stricter `versitygw`.

mod files;
pub mod in_process;
pub mod versity;

use anyhow::Result;

use crate::folder::Folder;

pub use in_process::S3;
pub use versity::Versity;

const BUCKET: &str = "darkroom";
const ACCESS_KEY: &str = "sandbox";
const SECRET_KEY: &str = "sandbox-secret";

/// Which S3 server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StoreKind {
    /// s3s in our own process: nothing to install. Its conditional put is not atomic, and what it refuses for its checksum it keeps.
    #[default]
    InProcess,
    /// versitygw, a process of its own: atomic, with S3's own error codes.
    Versity,
}

/// A running S3 server with one bucket.
#[derive(Debug)]
pub enum ObjectStore {
    /// See [`StoreKind::InProcess`].
    InProcess(S3),
    /// See [`StoreKind::Versity`].
    Versity(Box<Versity>),
}

impl ObjectStore {
    /// Starts a server that keeps its objects in the folder.
    pub async fn start(kind: StoreKind, folder: &Folder) -> Result<ObjectStore> {
        Ok(match kind {
            StoreKind::InProcess => ObjectStore::InProcess(S3::start(folder).await?),
            StoreKind::Versity => ObjectStore::Versity(Box::new(Versity::start(folder).await?)),
        })
    }

    /// Its URL. Buckets are in the path (path style).
    pub fn endpoint(&self) -> String {
        match self {
            ObjectStore::InProcess(s3) => s3.endpoint(),
            ObjectStore::Versity(versity) => versity.endpoint(),
        }
    }

    /// The bucket, empty at the start.
    pub fn bucket(&self) -> &str {
        BUCKET
    }

    /// The access key id that may do everything.
    pub fn access_key(&self) -> &str {
        ACCESS_KEY
    }

    /// Its secret.
    pub fn secret_key(&self) -> &str {
        SECRET_KEY
    }

    /// Stops it.
    pub async fn stop(self) -> Result<()> {
        match self {
            ObjectStore::InProcess(s3) => s3.stop().await,
            ObjectStore::Versity(versity) => versity.stop().await,
        }
    }
}
