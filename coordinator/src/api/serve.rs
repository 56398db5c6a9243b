//! Connections: HTTP/1.1, bounded in number, and each in the time that a request's head may take.
//!
//! Whoever has no API key can still open connections. Each takes a file descriptor, which the record's stores need too, so
//! there is a limit; and a connection whose next head does not come is closed, so the limit cannot be used up by waiting.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Connections at the same time; more wait to be accepted.
const MAX_CONNECTIONS: usize = 768;
/// How long the head of a request may take, from the connection's start or the end of the answer before. Clients of this crate
/// let go of an idle connection earlier.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// How long to wait after the system refuses a connection.
const AFTER_REFUSAL: Duration = Duration::from_millis(200);

/// Serves until `stop` resolves and the requests that run have ended.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
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
            let service = TowerToHyperService::new(router.clone());
            let connection = http.serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(e) = connection.await {
                    tracing::trace!(error = %e, "a connection ended early");
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
