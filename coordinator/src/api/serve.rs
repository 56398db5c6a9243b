//! Connections: HTTP/1.1, bounded in number, and each in the time that a request's head may take and that an answer may stand still ([`taken`]).
//!
//! Whoever has no API key can still open connections. Each takes a file descriptor, which the record's stores need too, so
//! there is a limit; and a connection whose next head does not come is closed, so the limit cannot be used up by waiting.

mod taken;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use cryptonode::tls;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use taken::Taken;

/// Connections at the same time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 768;
/// The same where anybody can reach the port.
const MAX_TLS_CONNECTIONS: usize = 192;
/// How long the head of a request may take, from the connection's start or the end of the answer before. Clients of this crate
/// let go of an idle connection earlier.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long an answer may stand still because nobody takes it, unless the settings say.
pub const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// How long to wait after the system refuses a connection.
const AFTER_REFUSAL: Duration = Duration::from_millis(200);

/// Who asks over TLS: the key that the connection's other end proved to hold. An extension of every request there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallerKey(pub Option<[u8; 32]>);

/// Serves until `stop` resolves and the requests that run have ended. A connection whose other end takes no byte of its answer for `taken_within`
/// is closed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    taken_within: Duration,
    stop: impl Future<Output = ()>,
) {
    let limits = (MAX_CONNECTIONS, taken_within);
    serve_on(listener, None, limits, router, stop).await;
}

/// The same over TLS; every request has its [`CallerKey`].
pub async fn serve_tls(
    listener: TcpListener,
    config: ServerConfig,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let tls = TlsAcceptor::from(Arc::new(config));
    let limits = (MAX_TLS_CONNECTIONS, TAKEN_WITHIN);
    serve_on(listener, Some(tls), limits, router, stop).await;
}

async fn serve_on(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    (connections, taken_within): (usize, Duration),
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(connections));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN);
    let accept = async {
        loop {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(e) => {
                    tracing::warn!(error = %e, "the system refuses a connection");
                    tokio::time::sleep(AFTER_REFUSAL).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let stream = Taken::new(stream, taken_within);
            let (http, router, tls) = (http.clone(), router.clone(), tls.clone());
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                match tls {
                    None => {
                        let service = TowerToHyperService::new(router);
                        let connection = http.serve_connection(TokioIo::new(stream), service);
                        ended(watcher.watch(connection).await);
                    }
                    Some(tls) => serve_caller(&http, &tls, stream, router, watcher).await,
                }
                drop(place);
            });
        }
    };
    tokio::select! {
        () = accept => {}
        () = stop => {}
    }
    drop(listener);
    graceful.shutdown().await;
}

/// One connection over TLS.
async fn serve_caller(
    http: &http1::Builder,
    tls: &TlsAcceptor,
    stream: Taken<TcpStream>,
    router: Router,
    watcher: Watcher,
) {
    let stream = match tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return tracing::debug!(error = %e, "a TLS handshake failed"),
        Err(_) => return tracing::debug!("a TLS handshake took too long"),
    };
    let caller = CallerKey(tls::client_key(stream.get_ref().1));
    let service = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller);
        service.call(request)
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    ended(watcher.watch(connection).await);
}

fn ended(connection: Result<(), hyper::Error>) {
    if let Err(e) = connection {
        tracing::trace!(error = %e, "a connection ended early");
    }
}
