//! Between a worker and Temporal: everything passes, but for activities that a mishap is planned for. So a suite can do to each
//! activity, by name, what happens to them in life, and the worker never knows.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Collected, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use temporalio_client::tonic::Code;
use temporalio_common::protos::temporal::api::failure::v1::failure::FailureInfo;
use temporalio_common::protos::temporal::api::failure::v1::{ApplicationFailureInfo, Failure};
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, RespondActivityTaskCompletedRequest,
    RespondActivityTaskCompletedResponse, RespondActivityTaskFailedRequest,
};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use workflows::failure::FailureKind;
use workflows::keys;

use crate::patience::PATIENCE;

/// What happens to one attempt at an activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActivityFault {
    /// It fails with this kind before it has done anything.
    Fails {
        /// The kind.
        kind: FailureKind,
        /// Whether Temporal may try again.
        retryable: bool,
    },
    /// It works; then it is reported as failed, so that it is done twice in a row.
    DoneTwice,
    /// It works, or fails, but nobody hears of it: Temporal waits for its heartbeat's end.
    ResultLost,
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Point {
    /// Its worker gets it.
    Begun,
    /// Its worker has been at it for a moment.
    Working,
    /// Its worker has its result.
    Worked,
}

/// Less than any activity takes.
const A_MOMENT: Duration = Duration::from_millis(4);

/// An activity of a task: their names.
type Activity = (String, String);

/// A running gateway. It ends with its handle.
pub struct TemporalProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Its own: a test that waits for its worker's end blocks its runtime, and the worker says goodbye through here.
    runtime: Option<Runtime>,
}

struct Shared {
    upstream: String,
    client: Client<HttpConnector, Full<Bytes>>,
    mishaps: Mutex<HashMap<Activity, ActivityFault>>,
    /// Whose attempt a task token is.
    attempts: Mutex<HashMap<Vec<u8>, Activity>>,
    reached: watch::Sender<Vec<(String, Point, Instant)>>,
    /// By the method's name.
    refusals: Mutex<HashMap<String, Refusal>>,
}

/// A method that is refused for a while.
struct Refusal {
    code: Code,
    lasts: Duration,
    /// From the first request on.
    until: Option<Instant>,
    requests: usize,
}

impl TemporalProxy {
    /// Starts one before the server at `upstream`, host:port.
    pub async fn start(upstream: &str) -> TemporalProxy {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.spawn(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).await.unwrap().unwrap();
        let address = listener.local_addr().unwrap();
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            client: Client::builder(TokioExecutor::new()).http2_only(true).build(connector),
            mishaps: Mutex::default(),
            attempts: Mutex::default(),
            reached: watch::Sender::default(),
            refusals: Mutex::default(),
        });
        runtime.spawn(accept(listener, shared.clone()));
        TemporalProxy { address, shared, runtime: Some(runtime) }
    }

    /// Where workers find it, host:port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The next attempt at this task's activity of this type meets this mishap; later ones none.
    pub fn plan(&self, task_id: &str, activity: &str, mishap: ActivityFault) {
        lock(&self.shared.mishaps).insert((keys::workflow_id(task_id), activity.to_owned()), mishap);
    }

    /// The next request of this method, and all that follow within `lasts`, are refused with this status.
    pub fn refuse(&self, method: &str, code: Code, lasts: Duration) {
        let refusal = Refusal { code, lasts, until: None, requests: 0 };
        lock(&self.shared.refusals).insert(method.to_owned(), refusal);
    }

    /// How many requests of this method were refused.
    pub fn refused(&self, method: &str) -> usize {
        lock(&self.shared.refusals).get(method).map_or(0, |refusal| refusal.requests)
    }

    /// Mishaps that were planned and haven't happened.
    pub fn planned(&self) -> Vec<(String, String)> {
        lock(&self.shared.mishaps).keys().cloned().collect()
    }

    /// Waits until any attempt at an activity of this type has come so far, since then.
    pub async fn reached(&self, activity: Option<&str>, point: Point, since: Instant) -> Instant {
        if point == Point::Working {
            let working = self.noted(activity, Point::Begun, since).await + A_MOMENT;
            tokio::time::sleep_until(working.into()).await;
            return working;
        }
        self.noted(activity, point, since).await
    }

    async fn noted(&self, activity: Option<&str>, point: Point, since: Instant) -> Instant {
        let mut found = None;
        let mut reached = self.shared.reached.subscribe();
        let there = reached.wait_for(|reached| {
            let there = |(name, at, when): &&(String, Point, Instant)| {
                activity.is_none_or(|activity| activity == name) && *at == point && *when >= since
            };
            found = reached.iter().find(there).map(|(_, _, when)| *when);
            found.is_some()
        });
        tokio::time::timeout(PATIENCE, there).await.expect("no activity comes so far").unwrap();
        found.unwrap()
    }
}

impl Drop for TemporalProxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with this task.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let _ = stream.set_nodelay(true);
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(shared.pass(request).await) }
            });
            let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // As the sandbox's Temporal is told to.
            http.timer(TokioTimer::new())
                .keep_alive_interval(Duration::from_secs(1))
                .keep_alive_timeout(Duration::from_secs(2));
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

type Reply = Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>>;

impl Shared {
    async fn pass(&self, request: Request<Incoming>) -> Reply {
        let (parts, body) = request.into_parts();
        // A caller that goes away needs no answer.
        let Ok(body) = body.collect().await else { return unavailable() };
        let body = body.to_bytes();
        let method = parts.uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        if let Some(code) = self.refusal(&method) {
            return status(code, "shard status unknown");
        }
        match method.as_str() {
            "PollActivityTaskQueue" => self.deliver(parts, body).await,
            "RespondActivityTaskCompleted" => self.complete(parts, body).await,
            "RespondActivityTaskFailed" => self.fail(parts, body).await,
            _ => self.send(&parts, &method, body).await,
        }
    }

    fn refusal(&self, method: &str) -> Option<Code> {
        let (mut refusals, now) = (lock(&self.refusals), Instant::now());
        let refusal = refusals.get_mut(method)?;
        let until = *refusal.until.get_or_insert(now + refusal.lasts);
        let refused = refusal.requests == 0 || now < until;
        refusal.requests += usize::from(refused);
        refused.then_some(refusal.code)
    }

    async fn deliver(&self, parts: Parts, body: Bytes) -> Reply {
        let namespace = message::<PollActivityTaskQueueRequest>(&body).namespace;
        let reply = self.send(&parts, "PollActivityTaskQueue", body).await;
        let (head, polled) = reply.into_parts();
        let polled: Collected<Bytes> = polled.collect().await.expect("infallible");
        let trailers = polled.trailers().cloned();
        let bytes = polled.to_bytes();
        let task = message::<PollActivityTaskQueueResponse>(&bytes);
        let whole = |bytes| Response::from_parts(head.clone(), with_trailers(bytes, trailers.clone()));
        let Some(execution) = task.workflow_execution else { return whole(bytes) };
        let kind = task.activity_type.unwrap_or_default().name;
        let activity = (execution.workflow_id, kind);
        lock(&self.attempts).insert(task.task_token.clone(), activity.clone());
        let mishap = lock(&self.mishaps).get(&activity).copied();
        if let Some(ActivityFault::Fails { kind, retryable }) = mishap {
            lock(&self.mishaps).remove(&activity);
            let failed = failure(task.task_token, namespace, kind, retryable);
            self.send(&parts, "RespondActivityTaskFailed", frame(&failed)).await;
            return whole(frame(&PollActivityTaskQueueResponse::default()));
        }
        self.note(&task.task_token, Point::Begun);
        whole(bytes)
    }

    async fn complete(&self, parts: Parts, body: Bytes) -> Reply {
        let done = message::<RespondActivityTaskCompletedRequest>(&body);
        let activity = lock(&self.attempts).get(&done.task_token).cloned();
        let mishap = activity.and_then(|activity| lock(&self.mishaps).remove(&activity));
        self.note(&done.task_token, Point::Worked);
        match mishap {
            Some(ActivityFault::ResultLost) => received(),
            Some(ActivityFault::DoneTwice) => {
                let failed = failure(done.task_token, done.namespace, FailureKind::Internal, true);
                self.send(&parts, "RespondActivityTaskFailed", frame(&failed)).await
            }
            Some(ActivityFault::Fails { .. }) | None => {
                self.send(&parts, "RespondActivityTaskCompleted", body).await
            }
        }
    }

    async fn fail(&self, parts: Parts, body: Bytes) -> Reply {
        let failed = message::<RespondActivityTaskFailedRequest>(&body);
        let activity = lock(&self.attempts).get(&failed.task_token).cloned();
        let is_lost = activity.is_some_and(|activity| {
            let mut mishaps = lock(&self.mishaps);
            mishaps.get(&activity) == Some(&ActivityFault::ResultLost) && mishaps.remove(&activity).is_some()
        });
        if is_lost { received() } else { self.send(&parts, "RespondActivityTaskFailed", body).await }
    }

    fn note(&self, token: &[u8], point: Point) {
        if let Some((_, activity)) = lock(&self.attempts).get(token) {
            self.reached.send_modify(|reached| reached.push((activity.clone(), point, Instant::now())));
        }
    }

    /// Asks the server and gives back all it says. What it can't be asked is unavailable, as if the server itself were gone.
    async fn send(&self, parts: &Parts, method: &str, body: Bytes) -> Reply {
        let service = parts.uri.path().rsplit_once('/').map_or("", |(service, _)| service);
        let uri: Uri = format!("http://{}{service}/{method}", self.upstream).parse().unwrap();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = parts.headers.clone();
        request.headers_mut().remove(CONTENT_LENGTH);
        // So that replies come plain.
        request.headers_mut().remove("grpc-accept-encoding");
        let Ok(reply) = self.client.request(request).await else { return unavailable() };
        let (head, body) = reply.into_parts();
        let Ok(body) = body.collect().await else { return unavailable() };
        let trailers = body.trailers().cloned();
        Response::from_parts(head, with_trailers(body.to_bytes(), trailers))
    }
}

fn with_trailers(
    bytes: Bytes,
    trailers: Option<hyper::HeaderMap>,
) -> http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible> {
    Full::new(bytes).with_trailers(std::future::ready(trailers.map(Ok))).boxed_unsync()
}

/// gRPC's own word for it, which clients wait out.
fn unavailable() -> Reply {
    status(Code::Unavailable, "")
}

fn status(code: Code, message: &'static str) -> Reply {
    let mut reply = Response::new(with_trailers(Bytes::new(), None));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    reply.headers_mut().insert("grpc-status", HeaderValue::from(code as i32));
    reply.headers_mut().insert("grpc-message", HeaderValue::from_static(message));
    reply
}

/// What the server says to a result, and to a failure.
fn received() -> Reply {
    let mut reply = Response::new(with_trailers(
        frame(&RespondActivityTaskCompletedResponse {}),
        Some([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))].into_iter().collect()),
    ));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    reply
}

fn failure(
    task_token: Vec<u8>,
    namespace: String,
    kind: FailureKind,
    retryable: bool,
) -> RespondActivityTaskFailedRequest {
    let info = ApplicationFailureInfo {
        r#type: kind.as_str().to_owned(),
        non_retryable: !retryable,
        ..Default::default()
    };
    let failure = Failure {
        message: "a mishap planned by a test".into(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
        ..Default::default()
    };
    RespondActivityTaskFailedRequest { task_token, namespace, failure: Some(failure), ..Default::default() }
}

/// What is in a gRPC frame, be it compressed; nothing in an empty body.
fn message<M: Message + Default>(body: &Bytes) -> M {
    let Some((head, message)) = body.split_at_checked(5) else { return M::default() };
    if head[0] == 0 {
        return M::decode(message).unwrap();
    }
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(message).read_to_end(&mut plain).unwrap();
    M::decode(&plain[..]).unwrap()
}

fn frame(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
