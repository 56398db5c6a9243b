//! Requests that must not happen twice: the header `Idempotency-Key`.
//!
//! 1. The key is claimed: while a request with it runs, another is told to wait.
//! 2. If an answer is remembered for it, the body is taken in and hashed. The same request gets the same answer, with
//!    `Idempotency-Replayed: true`; another one is refused.
//! 3. Otherwise the request is carried out, to its end even if nobody waits any more, and its answer is durable before it is sent.
//!
//! A key belongs to the API key that used it, and with it to the tenant; the request that it stands for is method, path, query, the headers
//! that count, and SHA-256 over the body, what the route does not read of it included. Answers can hold what is shown once (a new API
//! key), so they lie sealed under a key that comes from the API's secret. Only answers to what was done are remembered: whoever was
//! refused may try again.
//!
//! What is between doing and remembering when the power fails is forgotten: then the second try is carried out. The record refuses
//! a signed transaction that it has, by its id; a new API key stands twice in the list.

mod store;

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use sha2::{Digest as _, Sha256};

use super::auth::Caller;
use super::bodies::SERVER_TIMING;
use super::changes::Settled;
use super::{DRAIN, Problem, drain};
use crate::envelope::hash_items;
use crate::platform::now_ms;

pub use store::{Answers, AnswersError};

use store::{Answer, Digest, Remembered, lock};

pub(super) const HEADER: &str = "idempotency-key";
const MAX_KEY: usize = 128;
/// Longest answer that is remembered: a prepared transaction in hexadecimal.
const MAX_ANSWER: usize = 256 * 1024;
/// How long the next part of a repeated body may take.
const PART_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of a body that are taken in although its route does not ask for them. Of a request with more nothing is remembered.
const MAX_REST: u64 = 64 * 1024;
const SLOT: &str = "coordinator/v1/idempotency-slot";
const REQUEST: &str = "coordinator/v1/idempotency-request";
/// Headers of a request that change what it means.
const COUNTING: [HeaderName; 3] = [
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
];
/// Headers of an answer that belong to it; one that ends its connection ends that of a repetition too.
const KEPT: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::ETAG,
    header::CONNECTION,
    HeaderName::from_static(SERVER_TIMING),
];

impl From<AnswersError> for Problem {
    fn from(e: AnswersError) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "idempotency-store",
            e.to_string(),
        )
    }
}

/// A body that is hashed as it passes by.
struct Passing {
    body: BodyDataStream,
    digest: Sha256,
    length: u64,
    /// Whether that was all of it.
    ended: bool,
}

impl Passing {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        let polled = self.body.poll_next_unpin(context);
        match &polled {
            Poll::Ready(Some(Ok(part))) => {
                self.digest.update(part);
                self.length = self.length.saturating_add(part.len() as u64);
            }
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => {}
        }
        polled
    }
}

/// Takes in what a route left of a body. Routes that need none never look at it, and an empty one, too, has an end to be found.
async fn take_rest(passing: &Mutex<Passing>) {
    let most = lock(passing).length.saturating_add(MAX_REST);
    let rest = async {
        loop {
            {
                let passing = lock(passing);
                if passing.ended || passing.length > most {
                    break;
                }
            }
            match poll_fn(|context| lock(passing).poll(context)).await {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => break,
            }
        }
    };
    let _ = tokio::time::timeout(DRAIN, rest).await;
}

/// For how long answers are remembered.
#[derive(Clone, Copy)]
pub(super) struct Lifetimes {
    /// What the route usually gives.
    pub(super) usual_ms: u64,
    /// What says that something has happened ([`Settled`]).
    pub(super) settled_ms: u64,
}

/// Carries out `run`, or gives the answer that it gave before.
pub(super) async fn once<F>(
    answers: &Arc<Answers>,
    caller: &Caller,
    request: Request,
    lifetimes: Lifetimes,
    run: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    use axum::response::IntoResponse as _;
    let refuse = async |problem: Problem, request: Request| {
        drain(request.into_body()).await;
        problem.into_response()
    };
    let key = match key_of(&request) {
        Ok(key) => key,
        Err(problem) => return refuse(problem, request).await,
    };
    let items = [
        caller.tenant.as_bytes(),
        caller.key_id.as_bytes(),
        key.as_bytes(),
    ];
    let slot = hash_items(SLOT, &items);
    let Some(_claim) = answers.claim(slot) else {
        let detail = "a request with this Idempotency-Key is under way: wait a moment, and send it again to get its answer";
        let problem = Problem::new(StatusCode::CONFLICT, "idempotency-key-in-use", detail);
        return refuse(problem.retry_after(1), request).await;
    };
    let looked = {
        let (answers, tenant) = (answers.clone(), caller.tenant.clone());
        blocking(move || {
            let found = answers.get(&slot, now_ms())?;
            let room = found.is_some() || answers.has_room(&tenant, now_ms())?;
            Ok((found, room))
        })
        .await
    };
    let (found, room) = match looked {
        Ok(looked) => looked,
        Err(problem) => return refuse(problem, request).await,
    };
    let (passing, request, head) = hashing(request);
    let digest = || {
        let passing = lock(&passing);
        let body: Digest = passing.digest.clone().finalize().into();
        let items: Vec<&[u8]> = head
            .iter()
            .map(Vec::as_slice)
            .chain([body.as_slice()])
            .collect();
        passing.ended.then(|| hash_items(REQUEST, &items))
    };
    if let Some(remembered) = found {
        let mut body = request.into_body().into_data_stream();
        while let Ok(Some(Ok(_))) = tokio::time::timeout(PART_WITHIN, body.next()).await {}
        if digest() == Some(remembered.request) {
            return remembered.answer.into_response(true);
        }
        let detail = "this Idempotency-Key was used for another request: draw a new one for each thing that is to be made";
        return Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency-key-reused",
            detail,
        )
        .into_response();
    }
    if !room {
        let detail = "this tenant has used more Idempotency-Keys than are remembered at a time: wait until some are forgotten";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "idempotency-full", detail);
        return refuse(problem.retry_after(60), request).await;
    }

    let response = run(request).await;
    if response.status().is_success() {
        take_rest(&passing).await;
    }
    let Some(request) = digest().filter(|_| response.status().is_success()) else {
        return response;
    };
    let (parts, body) = response.into_parts();
    let lifetime_ms = match parts.extensions.get::<Settled>() {
        Some(_) => lifetimes.settled_ms,
        None => lifetimes.usual_ms,
    };
    let Ok(body) = axum::body::to_bytes(body, MAX_ANSWER).await else {
        return Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the answer is far too long",
        )
        .into_response();
    };
    let kept = |name: HeaderName| Some((name.clone(), parts.headers.get(name)?.clone()));
    let answer = Answer {
        status: parts.status,
        headers: KEPT.into_iter().filter_map(kept).collect(),
        body,
    };
    let remembered = Remembered {
        request,
        answer: answer.clone(),
    };
    let (tenant, to) = (caller.tenant.clone(), answers.clone());
    let now = now_ms();
    let times = (now, now.saturating_add(lifetime_ms));
    if let Err(problem) = blocking(move || to.put(&tenant, &slot, &remembered, times)).await {
        // It is done: that it may be done again is the lesser evil.
        tracing::error!(
            code = problem.code(),
            "the answer to a request with an Idempotency-Key is not remembered"
        );
    }
    answer.into_response(false)
}

fn key_of(request: &Request) -> Result<String, Problem> {
    let mut lines = request.headers().get_all(HEADER).iter();
    let (first, second) = (lines.next(), lines.next());
    let key = first
        .filter(|_| second.is_none())
        .map(HeaderValue::as_bytes);
    match key {
        Some(key) if (1..=MAX_KEY).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic) => {
            Ok(String::from_utf8_lossy(key).into_owned())
        }
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "idempotency-key-malformed",
            "an Idempotency-Key has 1 to 128 visible characters, and a request has one of them at most",
        )),
    }
}

/// The request with a body that is hashed as it is read, and what else makes it the request that it is.
fn hashing(request: Request) -> (Arc<Mutex<Passing>>, Request, Vec<Vec<u8>>) {
    let (parts, body) = request.into_parts();
    let target = parts.uri.path_and_query().map_or("/", |it| it.as_str());
    let mut head = vec![parts.method.as_str().into(), target.into()];
    for name in COUNTING {
        let lines: Vec<&[u8]> = parts
            .headers
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        head.push(lines.join(&b'\n'));
    }
    let passing = Arc::new(Mutex::new(Passing {
        body: body.into_data_stream(),
        digest: Sha256::new(),
        length: 0,
        ended: false,
    }));
    let hashed = passing.clone();
    let body = futures_util::stream::poll_fn(move |context| lock(&hashed).poll(context));
    (
        passing,
        Request::from_parts(parts, Body::from_stream(body)),
        head,
    )
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AnswersError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(e) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            e.to_string(),
        )),
    }
}
