//! Bodies of documents over HTTP: how one is taken in, and how one goes out, whole or in part.

use std::io;
use std::ops::Range;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cryptonode::wire::v1::TraceParent;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde::Deserialize;
use tokio::sync::mpsc::Receiver;
use tokio::task::JoinHandle;
use utoipa::IntoParams;

use super::conditional::{Tag, next_version};
use super::page::Asked;
use super::{Api, Problem, drain};
use crate::platform::{
    ByteRange, NoRange, Phases, PlatformError, PreparedWrite, ReadReport, ReadStream, WriteRequest,
};
use crate::record::{DocumentName, Identifier, UserName};

pub(super) const SERVER_TIMING: &str = "server-timing";

/// What is said of a body beside it.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WriteQuery {
    /// The user who writes: who will sign, or for whom the platform signs. If absent, the one that the API key is bound to.
    #[param(value_type = Option<String>, example = "alice")]
    author: Option<Identifier>,
    /// The version that must come next; refused if it is another.
    version: Option<u64>,
}

/// Stores a request's body for a document, or a new version of it; the transaction is for its author to sign. What is left of the body
/// comes back, too.
pub(super) async fn store(
    api: &Api,
    name: DocumentName,
    query: Result<Asked<WriteQuery>, Problem>,
    author: impl FnOnce(Option<Identifier>) -> Result<UserName, Problem>,
    request: Request,
) -> (Result<PreparedWrite, Problem>, Body) {
    let (head, body) = request.into_parts();
    let next = next_version(&head.headers, api.platform.record(), &name);
    let wish = query.and_then(|Asked(query)| {
        let next = next?;
        Ok(WriteRequest {
            dataset: name.dataset_name(),
            document: name.document,
            version: query.version.or(next),
            author: author(query.author)?,
            content_type: media_type(&head.headers),
        })
    });
    match wish {
        Err(problem) => (Err(problem), body),
        Ok(wish) => {
            let mut parts = body.into_data_stream();
            let prepared = api.platform.prepare_write(wish, &mut parts).await;
            let rest = Body::from_stream(parts);
            (prepared.map_err(Problem::from), rest)
        }
    }
}

/// The answer to a request that had a document's body: a refused one is taken to its end first, or its sender never sees why.
pub(super) async fn answer_to_body(
    outcome: Result<impl IntoResponse, Problem>,
    rest: Body,
) -> Response {
    let mut answer = match outcome {
        Ok(done) => done.into_response(),
        Err(problem) => {
            drain(rest).await;
            problem.into_response()
        }
    };
    // The connection's buffer has the end of the body in it, and is wiped with the connection.
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer
}

/// The document as an answer. With `trailers` its length is not said beforehand, and the times of the whole read come behind it.
pub(super) fn answer(read: ReadStream, trailers: bool) -> Response {
    let content_type = read
        .content_type
        .as_deref()
        .and_then(|kind| HeaderValue::from_str(kind).ok());
    let timing = timing_of(&read.report);
    let range = read.range.clone();
    let bytes = range.as_ref().map_or(read.length, |it| it.end - it.start);
    let (length, whole) = (HeaderValue::from(bytes), read.length);
    let read_id = HeaderValue::from_str(&read.report.read_id.to_string());
    let tag = Tag::of_body(read.report.version, &read.report.checksum).header();
    let mut response = frames(read, trailers).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        content_type.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream")),
    );
    if trailers {
        headers.insert(header::TRAILER, HeaderValue::from_static(SERVER_TIMING));
    } else {
        headers.insert(header::CONTENT_LENGTH, length);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Some(timing) = timing {
        headers.insert(SERVER_TIMING, timing);
    }
    if let Some(tag) = tag {
        headers.insert(header::ETAG, tag);
    }
    if let Ok(read_id) = read_id {
        headers.insert("x-read-id", read_id);
    }
    if let Some(range) = range {
        is_part(&mut response, &range, whole);
    }
    response
}

/// The media type of what is sent. What is no text is none either: the record's own sentence refuses it.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Whether the caller takes fields behind a body (RFC 9110 section 6.5).
pub(super) fn wants_trailers(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::TE).iter();
    let words = lines.filter_map(|line| line.to_str().ok());
    words
        .flat_map(|line| line.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case("trailers"))
}

/// Says of an answer which bytes of how many it has.
pub(super) fn is_part(response: &mut Response, range: &Range<u64>, whole: u64) {
    let last = range.end.saturating_sub(1);
    let told = format!("bytes {}-{last}/{whole}", range.start);
    if let Ok(told) = HeaderValue::from_str(&told) {
        response.headers_mut().insert(header::CONTENT_RANGE, told);
    }
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
}

/// Which bytes the caller wants. A unit that nobody knows is passed over, as the standard has it; a range of bytes that cannot be
/// read is refused, because a read is for ever on the record.
pub(super) fn range_of(headers: &HeaderMap) -> Result<Option<ByteRange>, Problem> {
    let Some(value) = headers.get(header::RANGE) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    let range = match text.split_once('=') {
        Some((unit, range)) if unit.eq_ignore_ascii_case("bytes") => range,
        Some(_) => return Ok(None),
        None => text,
    };
    let range = range.parse();
    range
        .map(Some)
        .map_err(|e: NoRange| Problem::bad_request(e.to_string()))
}

/// The span that the caller does this in (W3C Trace Context). What is none is passed over, as the standard has it.
pub(super) fn trace_of(headers: &HeaderMap) -> Option<TraceParent> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    TraceParent::from_header(text)
}

/// The phases of a read as `Server-Timing` (W3C). Before a long document has left, what it took to decrypt and in all is not known, and not said. What the reader
/// of an end-to-end read does itself is not known here.
fn server_timing(report: &ReadReport) -> String {
    let Phases {
        record_ms,
        approvals_ms,
        cluster_ms,
        master_key_ms,
        fetch_ms,
        checksum_ms,
        decrypt_ms,
        first_byte_ms,
        total_ms,
    } = report.phases;
    let mut phases = vec![("permission", record_ms)];
    let rest = [
        ("approvals", approvals_ms),
        ("reencryption", cluster_ms),
        ("master-key", master_key_ms),
    ];
    phases.extend(rest.into_iter().filter(|(_, ms)| *ms > 0.0));
    let outcome = report.outcome.as_str();
    if outcome != "relayed" {
        phases.extend([("fetch", fetch_ms), ("checksum", checksum_ms)]);
    }
    match outcome {
        "relayed" => phases.push(("total", total_ms)),
        "complete" => phases.extend([("decrypt", decrypt_ms), ("total", total_ms)]),
        _ => phases.push(("first-byte", first_byte_ms)),
    }
    let named = phases.iter().map(|(name, ms)| format!("{name};dur={ms}"));
    named.collect::<Vec<_>>().join(", ")
}

fn timing_of(report: &ReadReport) -> Option<HeaderValue> {
    HeaderValue::from_str(&server_timing(report)).ok()
}

/// An answer with the times of the read that it is about, if they are known.
pub(super) fn with_times(report: Option<&ReadReport>, answer: impl IntoResponse) -> Response {
    let mut response = answer.into_response();
    if let Some(timing) = report.and_then(timing_of) {
        response.headers_mut().insert(SERVER_TIMING, timing);
    }
    response
}

/// The parts of a body as they come; an error breaks off the answer, so that nobody takes a part for the whole.
pub(super) fn parts(
    parts: Receiver<Bytes>,
    end: JoinHandle<Result<(), PlatformError>>,
) -> impl Stream<Item = io::Result<Bytes>> {
    stream::unfold(Some((parts, end)), async |state| {
        let (mut parts, end) = state?;
        if let Some(part) = parts.recv().await {
            return Some((Ok(part), Some((parts, end))));
        }
        match end.await {
            Ok(Ok(())) => None,
            Ok(Err(e)) => Some((Err(io::Error::other(e)), None)),
            Err(e) => Some((Err(io::Error::other(e)), None)),
        }
    })
}

/// The document, and with `trailers` the times of the whole read behind it.
fn frames(read: ReadStream, trailers: bool) -> Body {
    let ReadStream {
        first,
        parts: others,
        end,
        report,
        reports,
        ..
    } = read;
    let document = stream::iter(first.map(Ok)).chain(parts(others, end));
    // Asked for when the document has ended, and not before. After an error nobody asks.
    let times = stream::once(async move { times(&reports.get(report.read_id)?) });
    let times = times.filter_map(async |times| times.map(Ok));
    match trailers {
        true => Body::new(StreamBody::new(document.map_ok(Frame::data).chain(times))),
        false => Body::from_stream(document),
    }
}

/// The times of the whole read, behind it.
fn times(report: &ReadReport) -> Option<Frame<Bytes>> {
    let mut fields = HeaderMap::new();
    fields.insert(SERVER_TIMING, timing_of(report)?);
    Some(Frame::trailers(fields))
}
