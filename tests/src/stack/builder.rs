//! What a stack is to be like, and its start.

use activities::storage::Storage;
use chaos::Links;
use client::Client;
use sandbox::provider::Settings;
use sandbox::{Dialect, Folder, ObjectStore, Provider, StoreKind};
use worker::Config;

use super::running::RunningWorker;
use super::{PORTRAIT_KEY, Stack};
use crate::given::portrait;
use crate::shared::Servers;
use crate::temporal_proxy::TemporalProxy;

/// What a stack is to be like.
pub struct Builder {
    provider: Settings,
    store: StoreKind,
    workers: bool,
    own_servers: bool,
    temporal_proxy: bool,
    proxied: bool,
    configure: Box<dyn FnOnce(&mut Config)>,
}

impl Builder {
    /// An aggregator whose calls and downloads take almost no time.
    pub(super) fn new() -> Self {
        let provider = Settings {
            batch_ms: 20,
            download_ms: 2,
            image_px: 96,
            idempotency_header: None,
            ..Settings::aggregator()
        };
        Self {
            provider,
            store: StoreKind::InProcess,
            workers: true,
            own_servers: false,
            temporal_proxy: false,
            proxied: false,
            configure: Box::new(|_| {}),
        }
    }

    /// Changes how the provider behaves.
    pub fn provider(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.provider);
        self
    }

    /// OpenAI itself instead of an aggregator.
    pub fn openai(mut self) -> Self {
        let Settings { dialect, model, .. } = Settings::openai();
        self.provider = Settings { dialect, model, ..self.provider };
        self
    }

    /// The stricter S3 server.
    pub fn strict_store(mut self) -> Self {
        self.store = StoreKind::Versity;
        self
    }

    /// Temporal and Postgres for this test alone, to be killed.
    pub fn own_servers(mut self) -> Self {
        self.own_servers = true;
        self
    }

    /// The worker reaches Temporal through [`TemporalProxy`].
    pub fn temporal_proxy(mut self) -> Self {
        self.temporal_proxy = true;
        self
    }

    /// The worker reaches all it talks to through proxies; see [`Stack::links`]. For tests of several threads: they go on while the
    /// test waits for its worker's end.
    pub fn proxied(mut self) -> Self {
        self.proxied = true;
        self
    }

    /// Nobody works.
    pub fn without_worker(mut self) -> Self {
        self.workers = false;
        self
    }

    /// Changes the worker's configuration.
    pub fn configure(mut self, change: impl FnOnce(&mut Config) + 'static) -> Self {
        self.configure = Box::new(change);
        self
    }

    /// Starts it.
    pub async fn start(self) -> Stack {
        // Large, and awaited by every test.
        Box::pin(self.started()).await
    }

    async fn started(self) -> Stack {
        let own = if self.own_servers { Some(Servers::start().await) } else { None };
        let servers = match &own {
            Some(servers) => servers,
            None => Servers::shared().await,
        };
        let namespace = servers.namespace();
        let database_url = servers.database(&format!("darkroom_{namespace}"), true).await;
        let folder = Folder::create().unwrap();
        let store = ObjectStore::start(self.store, &folder.sub("s3").unwrap()).await.unwrap();
        let provider = Provider::start(self.provider).await.unwrap();
        let settings = provider.settings();
        let preset = match settings.dialect {
            Dialect::Aggregator => "aggregator",
            Dialect::OpenAi => "openai",
        };
        let environment = [
            ("DATABASE_URL", database_url),
            ("TEMPORAL_ADDRESS", servers.temporal.address()),
            ("TEMPORAL_NAMESPACE", namespace),
            ("AWS_ENDPOINT_URL_S3", store.endpoint()),
            ("AWS_ACCESS_KEY_ID", store.access_key().into()),
            ("AWS_SECRET_ACCESS_KEY", store.secret_key().into()),
            ("DARKROOM_STORAGE__BUCKET", store.bucket().into()),
            ("DARKROOM_PROVIDER__PRESET", preset.into()),
            ("DARKROOM_PROVIDER__BASE_URL", provider.base_url()),
            ("DARKROOM_PROVIDER__API_KEY", settings.api_key),
            ("DARKROOM_PROVIDER__MODEL", settings.model),
            // Always sent, so that the meter can name calls; honoured where the provider's settings say so.
            ("DARKROOM_PROVIDER__IDEMPOTENCY_HEADER", "Idempotency-Key".into()),
            ("DARKROOM_PROVIDER__HONOURS_IDEMPOTENCY", settings.idempotency_header.is_some().to_string()),
            ("DARKROOM_FETCH__ALLOW_HOSTS", "127.0.0.1".into()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let direct = Config::read(None, environment.clone()).unwrap();
        let storage = Storage::new(&direct.storage);
        storage.put(PORTRAIT_KEY, "image/jpeg", portrait().into()).await.unwrap();
        let links = if self.proxied { Some(Links::start(&environment).await.unwrap()) } else { None };
        let mut environment = links.as_ref().map_or(environment.clone(), |links| links.through(&environment));
        let mut temporal_proxy = None;
        if self.temporal_proxy {
            let temporal = environment.iter_mut().find(|(name, _)| name == "TEMPORAL_ADDRESS").unwrap();
            temporal.1 = temporal_proxy.insert(TemporalProxy::start(&temporal.1).await).address();
        }
        let mut config = Config::read(None, environment.clone()).unwrap();
        (self.configure)(&mut config);
        Stack {
            client: Client::connect(&direct.temporal).await.unwrap(),
            temporal: direct.temporal.connect("tests").await.unwrap(),
            database: database::connect(&direct.database, 2).await.unwrap(),
            worker: if self.workers { Some(RunningWorker::start(&config)) } else { None },
            provider,
            store,
            storage,
            config,
            environment,
            temporal_proxy,
            links,
            servers: own,
            folder,
        }
    }
}
