//! Temporal and Postgres. All tests of a binary share them, each with a namespace and a database of its own; but those that kill
//! them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use sandbox::{Folder, Postgres, Temporal};
use sea_orm::{ConnectionTrait, Database};
use tokio::sync::OnceCell;
use worker::config::Config;

/// Tests one binary may have. Namespaces are made at the start: a new one takes Temporal seconds to know.
const NAMESPACES: usize = 300;
/// A database with the schema applied, to copy.
const TEMPLATE: &str = "darkroom_template";

/// The two servers. They end with the process: their guards see to it.
pub struct Servers {
    /// Postgres.
    pub postgres: Postgres,
    /// Temporal.
    pub temporal: Temporal,
    next: AtomicUsize,
    /// Where their data lies.
    pub folder: Folder,
}

static SHARED: OnceCell<Servers> = OnceCell::const_new();

impl Servers {
    /// The shared servers, started by whoever needs them first.
    pub(crate) async fn shared() -> &'static Servers {
        SHARED.get_or_init(Servers::start).await
    }

    pub(crate) async fn start() -> Servers {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = Folder::create().unwrap();
        let namespaces: Vec<String> = (0..NAMESPACES).map(|number| format!("t{number}")).collect();
        let (data, state) = (folder.sub("postgres").unwrap(), folder.sub("temporal").unwrap());
        let (postgres, temporal) =
            tokio::join!(Postgres::start(&data), Temporal::start(&state, &namespaces, true));
        let (postgres, temporal) = (postgres.unwrap(), temporal.unwrap());
        let admin = Database::connect(postgres.url("postgres")).await.unwrap();
        admin.execute_unprepared(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
        let settings = Config::read(None, [("DATABASE_URL".to_owned(), postgres.url(TEMPLATE))]).unwrap();
        let template = database::connect(&settings.database, 2).await.unwrap();
        migrations::up(&template).await.unwrap();
        template.close().await.unwrap();
        admin.close().await.unwrap();
        Servers { postgres, temporal, next: AtomicUsize::new(0), folder }
    }

    /// A namespace nobody else uses.
    pub(crate) fn namespace(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(number < NAMESPACES, "more stacks than namespaces: raise NAMESPACES");
        format!("t{number}")
    }

    /// A database of that name with the schema applied, or empty.
    pub(crate) async fn database(&self, name: &str, with_schema: bool) -> String {
        // Postgres copies a template only while nobody else does.
        static COPYING: Mutex<()> = Mutex::new(());
        let url = self.postgres.url("postgres");
        let template = if with_schema { TEMPLATE } else { "template0" };
        let statement = format!("CREATE DATABASE {name} TEMPLATE {template}");
        tokio::task::spawn_blocking(move || {
            let _copying = COPYING.lock().unwrap_or_else(PoisonError::into_inner);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let admin = Database::connect(url).await.unwrap();
                admin.execute_unprepared(&statement).await.unwrap();
                admin.close().await.unwrap();
            });
        })
        .await
        .unwrap();
        self.postgres.url(name)
    }
}
