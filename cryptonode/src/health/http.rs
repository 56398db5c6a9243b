//! The page's HTTP server: three paths, one request a connection, few connections, each for a few seconds.
//!
//! Nobody is asked who they are, so a connection must not be a place that can be occupied. When there is no room for a new one,
//! an old one goes: of the same address if that has its part already, one that has asked nothing before one that is
//! being answered. Whoever asks at once is answered, however many others keep silent.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};

use super::{Condition, Subject};

/// Connections at a time, and those of them from one address.
const MAX_CONNECTIONS: usize = 32;
const MAX_OF_ADDRESS: usize = 16;
/// Answers that are made at a time; more wait. They read the disk.
const MAX_ANSWERS: usize = 4;
/// How long a request's head may take.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection may last, from its start until the client has the answer.
const CONNECTION_WITHIN: Duration = Duration::from_secs(10);
/// When an address that was taken is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// How long to wait after the system refuses a connection.
const AFTER_REFUSAL: Duration = Duration::from_millis(200);

/// The page of a running node; closed when it is dropped.
///
/// A taken address does not stop the node: whoever needs its shares must not suffer for its page. It is tried again, and the
/// failure is in the log and in `status`.
pub(crate) struct Page {
    task: Option<JoinHandle<()>>,
    state: Arc<Mutex<Result<Option<SocketAddr>, String>>>,
}

impl Page {
    /// Opens the page on `address`, if there is one.
    pub(crate) async fn open(address: Option<SocketAddr>, subject: Arc<dyn Subject>) -> Self {
        let state = Arc::new(Mutex::new(Ok(None)));
        let Some(address) = address else {
            return Self { task: None, state };
        };
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "health and metrics are open to the network, and nobody is asked who they are");
        }
        let mut listener = bind(address, &state).await;
        let seen = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                match listener.take() {
                    Some(listener) => return serve(listener, subject).await,
                    None => {
                        tokio::time::sleep(AGAIN).await;
                        listener = bind(address, &seen).await;
                    }
                }
            }
        });
        Self {
            task: Some(task),
            state,
        }
    }

    /// Where it is; `None` if it is turned off.
    ///
    /// # Errors
    /// Why its address cannot be had.
    pub(crate) fn address(&self) -> Result<Option<SocketAddr>, String> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn bind(
    address: SocketAddr,
    state: &Mutex<Result<Option<SocketAddr>, String>>,
) -> Option<TcpListener> {
    let bound = match TcpListener::bind(address).await {
        Ok(listener) => listener
            .local_addr()
            .map(|address| (listener, address))
            .map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    match bound {
        Ok((listener, address)) => {
            *state = Ok(Some(address));
            tracing::info!(%address, "health and metrics");
            Some(listener)
        }
        Err(reason) => {
            if state.is_ok() {
                tracing::error!(%address, reason, "health and metrics cannot be shown: correct health.listen in config.toml, or stop what uses the address");
            }
            *state = Err(format!("cannot listen on {address} (TCP): {reason}"));
            None
        }
    }
}

/// A connection that goes on.
struct Open {
    address: IpAddr,
    /// Its request has come.
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

/// Closes a connection, if that is what it takes for one more from this address.
fn make_room(open: &mut VecDeque<Open>, address: IpAddr) {
    open.retain(|one| !one.task.is_finished());
    let of_address = open.iter().filter(|one| one.address == address).count();
    let own_only = of_address >= MAX_OF_ADDRESS;
    if !own_only && open.len() < MAX_CONNECTIONS {
        return;
    }
    // The oldest stand first, and the first of equals is taken.
    let goes = open
        .iter()
        .enumerate()
        .filter(|(_, one)| !own_only || one.address == address)
        .min_by_key(|(_, one)| one.asked.load(Ordering::Relaxed))
        .map(|(position, _)| position);
    if let Some(one) = goes.and_then(|position| open.remove(position)) {
        one.task.abort();
    }
}

async fn serve(listener: TcpListener, subject: Arc<dyn Subject>) {
    let answers = Arc::new(Semaphore::new(MAX_ANSWERS));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_buf_size(16 * 1024)
        .keep_alive(false);
    let mut open = VecDeque::new();
    // Dropped with this function, and with it all connections.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, address) = match listener.accept().await {
            Ok((stream, address)) => (stream, address.ip()),
            Err(error) => {
                tracing::warn!(%error, "the system refuses a connection to the health page");
                tokio::time::sleep(AFTER_REFUSAL).await;
                continue;
            }
        };
        make_room(&mut open, address);
        let asked = Arc::new(AtomicBool::new(false));
        let (subject, seen) = (Arc::clone(&subject), Arc::clone(&asked));
        let answers = Arc::clone(&answers);
        let service = service_fn(move |request: Request<Incoming>| {
            let (subject, answers) = (Arc::clone(&subject), Arc::clone(&answers));
            seen.store(true, Ordering::Relaxed);
            async move {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let turn = answers.acquire_owned().await;
                // Sizes are read from the disk for the metrics.
                let answer = tokio::task::spawn_blocking(move || {
                    let _turn = turn;
                    answer(&method, &path, &*subject)
                });
                let answer = answer
                    .await
                    .unwrap_or_else(|_| text(StatusCode::INTERNAL_SERVER_ERROR, "it failed\n"));
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        let task = connections.spawn(async move {
            match tokio::time::timeout(CONNECTION_WITHIN, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::trace!(%error, "a connection to the health page ended early");
                }
                Err(_) => tracing::trace!("a connection to the health page took too long"),
            }
        });
        open.push_back(Open {
            address,
            asked,
            task,
        });
    }
}

fn answer(method: &Method, path: &str, subject: &dyn Subject) -> Response<Full<Bytes>> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(ALLOW, allowed);
        return answer;
    }
    match path {
        "/healthz" => conditions("healthy", subject, &subject.unhealthy()),
        "/readyz" => conditions("ready", subject, &subject.not_ready()),
        "/metrics" => with_type(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            subject.metrics(),
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /healthz, /readyz and /metrics\n",
        ),
    }
}

fn conditions(word: &str, subject: &dyn Subject, reasons: &[Condition]) -> Response<Full<Bytes>> {
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let value = json!({
        "name": subject.name(), "stage": subject.stage(), (word): reasons.is_empty(), "reasons": reasons,
    });
    with_type(status, "application/json", format!("{value}\n"))
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", body.to_owned())
}

fn with_type(status: StatusCode, media: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
