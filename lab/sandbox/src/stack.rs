//! Everything a worker needs, on this machine.

use anyhow::Result;

use crate::folder::Folder;
use crate::postgres::Postgres;
use crate::process::Program;
use crate::provider::{Dialect, Provider, Settings};
use crate::s3::{ObjectStore, StoreKind};
use crate::temporal::Temporal;

/// What the stack is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// The stand-in provider, its clock among it.
    pub provider: Settings,
    /// The S3 server.
    pub store: StoreKind,
    /// Temporal's namespaces, beside `default`. The environment names the first, or `default`.
    pub namespaces: Vec<String>,
    /// Without Temporal's web UI.
    pub headless: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            provider: Settings::default(),
            store: StoreKind::default(),
            namespaces: Vec::new(),
            headless: true,
        }
    }
}

/// A running stack. Dropping it stops everything, soon; [`Stack::stop`] also waits.
#[derive(Debug)]
pub struct Stack {
    /// The database server.
    pub postgres: Postgres,
    /// Temporal's server.
    pub temporal: Temporal,
    /// The S3 server.
    pub store: ObjectStore,
    /// The stand-in provider.
    pub provider: Provider,
    namespace: String,
    folder: Folder,
}

impl Stack {
    /// Starts the parts, all at once. If one can't start, the others are stopped and the error says why.
    pub async fn start(options: Options) -> Result<Stack> {
        let folder = Folder::create()?;
        let (database, state, objects) =
            (folder.sub("postgres")?, folder.sub("temporal")?, folder.sub("s3")?);
        let namespace = options.namespaces.first().cloned().unwrap_or_else(|| "default".to_owned());
        let started = tokio::try_join!(
            Box::pin(Postgres::start(&database)),
            Box::pin(Temporal::start(&state, &options.namespaces, options.headless)),
            Box::pin(ObjectStore::start(options.store, &objects)),
            Box::pin(Provider::start(options.provider)),
        );
        match started {
            Ok((postgres, temporal, store, provider)) => {
                Ok(Stack { postgres, temporal, store, provider, namespace, folder })
            }
            Err(error) => {
                // What had started was dropped with the join; wait until it has really gone.
                drop((database, state, objects));
                folder.remove().await?;
                Err(error)
            }
        }
    }

    /// The environment of a worker that uses this stack: names and values.
    pub fn environment(&self) -> Vec<(String, String)> {
        let settings = self.provider.settings();
        let preset = match settings.dialect {
            Dialect::Aggregator => "aggregator",
            Dialect::OpenAi => "openai",
        };
        [
            ("DATABASE_URL", self.postgres.url("postgres")),
            ("TEMPORAL_ADDRESS", self.temporal.address()),
            ("TEMPORAL_NAMESPACE", self.namespace.clone()),
            ("AWS_ENDPOINT_URL_S3", self.store.endpoint()),
            ("AWS_ACCESS_KEY_ID", self.store.access_key().to_owned()),
            ("AWS_SECRET_ACCESS_KEY", self.store.secret_key().to_owned()),
            ("AWS_REGION", "auto".to_owned()),
            ("DARKROOM_STORAGE__BUCKET", self.store.bucket().to_owned()),
            ("DARKROOM_PROVIDER__PRESET", preset.to_owned()),
            ("DARKROOM_PROVIDER__BASE_URL", self.provider.base_url()),
            ("DARKROOM_PROVIDER__API_KEY", settings.api_key.clone()),
            ("DARKROOM_PROVIDER__MODEL", settings.model.clone()),
            ("DARKROOM_FETCH__ALLOW_HOSTS", "127.0.0.1".to_owned()),
        ]
        .into_iter()
        .chain([(
            "DARKROOM_PROVIDER__HONOURS_IDEMPOTENCY",
            settings.idempotency_header.is_some().to_string(),
        )])
        .chain(settings.idempotency_header.map(|header| ("DARKROOM_PROVIDER__IDEMPOTENCY_HEADER", header)))
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    /// A program to run beside the stack, under guard: it ends with the stack, and its log lies in the stack's folder.
    pub fn program(&self, name: &str, path: impl Into<std::path::PathBuf>) -> Result<Program> {
        Ok(Program::new(name, path, self.folder.sub(name)?))
    }

    /// Where the servers keep their data and logs.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Stops everything, in the order of who uses whom, and removes its data.
    pub async fn stop(self) -> Result<()> {
        let Stack { postgres, temporal, store, provider, folder, .. } = self;
        let (provider, temporal, postgres, store) =
            tokio::join!(provider.stop(), temporal.stop(), postgres.stop(), store.stop());
        let removed = folder.remove().await;
        provider.and(temporal).and(postgres).and(store).and(removed)
    }
}
