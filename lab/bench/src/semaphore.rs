//! The naive way of one limit over all workers, to compare with: a call that has its slot waits there until a row in Postgres counts
//! fewer calls in flight than the limit. It stands between the workers and the provider, so that the workers are the same.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use database::DatabaseConnection;
use sea_orm::{ConnectionTrait, DbBackend, Statement};
use tokio::task::JoinHandle;

/// How often a call that waits looks at the row.
const LOOKS_EVERY: Duration = Duration::from_millis(50);
/// Largest request: a photo of a user, as text.
const MOST_BYTES: usize = 64 << 20;
/// Statements at once.
const CONNECTIONS: u32 = 8;

const TABLE: &str = "CREATE TABLE semaphore (used integer NOT NULL, most integer NOT NULL)";
const ACQUIRE: &str = "UPDATE semaphore SET used = used + 1 WHERE used < most";
const RELEASE: &str = "UPDATE semaphore SET used = used - 1";

/// The gate, serving.
pub(crate) struct Semaphore {
    address: SocketAddr,
    path: String,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Gate {
    database: DatabaseConnection,
    provider: reqwest::Client,
    origin: String,
}

impl Semaphore {
    /// A gate before the provider whose base URL this is.
    pub(crate) async fn start(base_url: &str, database: &database::Settings, most: u32) -> Result<Self> {
        let url = reqwest::Url::parse(base_url).context("the provider's URL")?;
        let origin = url.origin().ascii_serialization();
        let database = database::connect(database, CONNECTIONS).await?;
        database.execute_unprepared(TABLE).await?;
        database.execute_unprepared(&format!("INSERT INTO semaphore VALUES (0, {most})")).await?;
        let gate = Gate { database, provider: reqwest::Client::new(), origin };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(pass).with_state(gate);
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the semaphore's gate has ended: {error}");
            }
        });
        Ok(Self { address, path: url.path().to_owned(), server })
    }

    /// What workers take for the provider's.
    pub(crate) fn base_url(&self) -> String {
        format!("http://{}{}", self.address, self.path)
    }

    pub(crate) async fn stop(self) {
        self.server.abort();
        // Aborted: nothing to be told.
        let _ = self.server.await;
    }
}

/// Waits, passes the request on, and counts it out again.
async fn pass(State(gate): State<Gate>, request: Request) -> Response {
    let passed = async {
        while !gate.execute(ACQUIRE).await? {
            tokio::time::sleep(LOOKS_EVERY).await;
        }
        let answer = gate.forward(request).await;
        gate.execute(RELEASE).await?;
        answer
    };
    passed.await.unwrap_or_else(|error: anyhow::Error| {
        (StatusCode::BAD_GATEWAY, format!("the semaphore's gate: {error:#}")).into_response()
    })
}

impl Gate {
    /// Whether a row was changed.
    async fn execute(&self, sql: &str) -> Result<bool> {
        let statement = Statement::from_string(DbBackend::Postgres, sql);
        Ok(self.database.execute_raw(statement).await?.rows_affected() > 0)
    }

    async fn forward(&self, request: Request) -> Result<Response> {
        let (parts, body) = request.into_parts();
        let target = format!("{}{}", self.origin, parts.uri);
        let mut headers = parts.headers;
        headers.remove("host");
        let body = to_bytes(body, MOST_BYTES).await?;
        let answer = self.provider.request(parts.method, target).headers(headers).body(body).send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut response = Response::new(Body::from(answer.bytes().await?));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}
