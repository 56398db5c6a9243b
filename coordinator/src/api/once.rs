//! Requests that must not happen twice: the header `Idempotency-Key`.
//!
//! 1. The key is claimed: while a request with it runs, another is told to wait.
//! 2. If an answer is remembered for it, the body is taken in and hashed. The same request gets the same answer, with
//!    `Idempotency-Replayed: true`; another one is refused.
//! 3. Otherwise the request is carried out, to its end even if nobody waits any more, and its answer is durable before it is sent.
//!
//! A key belongs to the API key that used it, and with it to the tenant; the request that it stands for is method, path, query, the headers
//! that count, and SHA-256 over the body. Answers can hold what is shown once (a new API key), so they lie sealed under a key that
//! comes from the API's secret. Only answers to what was done are remembered: whoever was refused may try again.
//!
//! What is between doing and remembering when the power fails is forgotten: then the second try is carried out. The record refuses
//! a signed transaction that it has, by its id; a new API key stands twice in the list.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use cryptonode::randomness;
use futures_util::StreamExt as _;
use rusqlite::{Connection, OptionalExtension as _, params};
use sha2::{Digest as _, Sha256};

use super::auth::Caller;
use super::{Problem, drain};
use crate::envelope::hash_items;
use crate::platform::now_ms;

pub(super) const HEADER: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const MAX_KEY: usize = 128;
/// Answers that one tenant may have remembered at a time.
const MAX_ANSWERS: u64 = 100_000;
/// Longest answer that is remembered: a prepared transaction in hexadecimal.
const MAX_ANSWER: usize = 256 * 1024;
/// How long the next part of a repeated body may take.
const PART_WITHIN: Duration = Duration::from_secs(60);
/// Expired answers that go with each new one.
const PURGED_AT_ONCE: u32 = 64;
const SLOT: &str = "coordinator/v1/idempotency-slot";
const REQUEST: &str = "coordinator/v1/idempotency-request";
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS answers (
        slot BLOB PRIMARY KEY,
        tenant TEXT NOT NULL,
        request BLOB NOT NULL,
        expires_ms INTEGER NOT NULL,
        answer BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS answers_by_expiry ON answers (expires_ms);
";
/// Headers of a request that change what it means.
const COUNTING: [HeaderName; 3] = [
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
];
/// Headers of an answer that belong to it.
// `Connection`: what brought a body is closed, whoever answers.
const KEPT: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::ETAG,
    header::CONNECTION,
];

type Digest = [u8; 32];

/// Why answers cannot be remembered.
#[derive(Debug, thiserror::Error)]
pub enum AnswersError {
    /// The file.
    #[error(
        "the list of Idempotency-Keys cannot be used: {0}; put the disk in order, or remove idempotency.sqlite: what it remembers may then happen twice"
    )]
    Store(#[from] rusqlite::Error),
    /// What lies there was not made here.
    #[error(
        "the list of Idempotency-Keys was altered: remove idempotency.sqlite; what it remembers may then happen twice"
    )]
    Sealed,
}

impl From<AnswersError> for Problem {
    fn from(e: AnswersError) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "idempotency-store",
            e.to_string(),
        )
    }
}

/// The answers that are remembered.
pub struct Answers {
    connection: Mutex<Connection>,
    running: Mutex<HashSet<Digest>>,
    counts: Mutex<HashMap<String, u64>>,
    cipher: LessSafeKey,
}

struct Remembered {
    request: Digest,
    answer: Answer,
}

/// An answer: its status, its headers that count, its body.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
}

/// The claim on a key while its request runs.
struct Claim<'a> {
    answers: &'a Answers,
    slot: Digest,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        lock(&self.answers.running).remove(&self.slot);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Answers {
    /// Opens the list, or begins one; `key` seals what is in it.
    ///
    /// # Errors
    /// [`AnswersError`]
    pub fn open(path: &Path, key: &[u8; 32]) -> Result<Self, AnswersError> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.execute_batch(SCHEMA)?;
        let mut counts = HashMap::new();
        {
            let mut rows =
                connection.prepare("SELECT tenant, count(*) FROM answers GROUP BY tenant")?;
            let pairs = rows.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)))?;
            for pair in pairs {
                let (tenant, count) = pair?;
                counts.insert(tenant, u64::try_from(count).unwrap_or(0));
            }
        }
        let cipher = UnboundKey::new(&AES_256_GCM, key).map_err(|_| AnswersError::Sealed)?;
        Ok(Self {
            connection: Mutex::new(connection),
            running: Mutex::default(),
            counts: Mutex::new(counts),
            cipher: LessSafeKey::new(cipher),
        })
    }

    fn claim(&self, slot: Digest) -> Option<Claim<'_>> {
        let claim = || Claim {
            answers: self,
            slot,
        };
        lock(&self.running).insert(slot).then(claim)
    }

    fn get(&self, slot: &Digest, now_ms: u64) -> Result<Option<Remembered>, AnswersError> {
        let row = lock(&self.connection)
            .prepare_cached(
                "SELECT request, answer FROM answers WHERE slot = ?1 AND expires_ms > ?2",
            )?
            .query_row(params![slot, integer(now_ms)], |row| {
                Ok((row.get::<_, Digest>(0)?, row.get::<_, Vec<u8>>(1)?))
            })
            .optional()?;
        let Some((request, sealed)) = row else {
            return Ok(None);
        };
        let answer = self
            .unseal(slot, &request, sealed)
            .ok_or(AnswersError::Sealed)?;
        Ok(Some(Remembered { request, answer }))
    }

    /// Makes an answer durable, and removes some that have expired.
    fn put(
        &self,
        tenant: &str,
        slot: &Digest,
        remembered: &Remembered,
        (now_ms, expires_ms): (u64, u64),
    ) -> Result<(), AnswersError> {
        let request = &remembered.request;
        let sealed = self
            .seal(slot, request, &remembered.answer)
            .ok_or(AnswersError::Sealed)?;
        let mut connection = lock(&self.connection);
        let transaction = connection.transaction()?;
        let gone: Vec<String> = {
            let mut purge = transaction.prepare_cached(
                "DELETE FROM answers WHERE slot IN (SELECT slot FROM answers WHERE expires_ms <= ?1 LIMIT ?2) OR \
                 (slot = ?3 AND expires_ms <= ?1) RETURNING tenant",
            )?;
            let rows = purge.query_map(params![integer(now_ms), PURGED_AT_ONCE, slot], |row| {
                row.get(0)
            })?;
            rows.collect::<Result<_, _>>()?
        };
        transaction.execute(
            "INSERT INTO answers VALUES (?1, ?2, ?3, ?4, ?5)",
            params![slot, tenant, request, integer(expires_ms), sealed],
        )?;
        transaction.commit()?;
        let mut counts = lock(&self.counts);
        for tenant in gone {
            if let Some(count) = counts.get_mut(&tenant) {
                *count = count.saturating_sub(1);
            }
        }
        *counts.entry(tenant.to_owned()).or_default() += 1;
        Ok(())
    }

    fn is_full(&self, tenant: &str) -> bool {
        lock(&self.counts)
            .get(tenant)
            .is_some_and(|count| *count >= MAX_ANSWERS)
    }

    fn seal(&self, slot: &Digest, request: &Digest, answer: &Answer) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = randomness::public();
        let mut sealed = answer.to_bytes();
        let aad = Aad::from([*slot, *request].concat());
        let cipher = &self.cipher;
        cipher
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .ok()?;
        Some([nonce.as_slice(), &sealed].concat())
    }

    fn unseal(&self, slot: &Digest, request: &Digest, sealed: Vec<u8>) -> Option<Answer> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let mut buffer = sealed.to_vec();
        let aad = Aad::from([*slot, *request].concat());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.cipher.open_in_place(nonce, aad, &mut buffer).ok()?;
        Answer::from_bytes(opened)
    }
}

impl Answer {
    /// Status, number of headers, each with its length in front, then the body.
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.status.as_u16().to_le_bytes().to_vec();
        bytes.push(u8::try_from(self.headers.len()).unwrap_or(0));
        for (name, value) in &self.headers {
            for item in [name.as_str().as_bytes(), value.as_bytes()] {
                let length = u16::try_from(item.len()).unwrap_or(0);
                bytes.extend_from_slice(&length.to_le_bytes());
                bytes.extend_from_slice(item.get(..usize::from(length)).unwrap_or_default());
            }
        }
        bytes.extend_from_slice(&self.body);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (status, rest) = bytes.split_first_chunk::<2>()?;
        let (count, mut rest) = rest.split_first()?;
        let mut item = || {
            let (length, behind) = rest.split_first_chunk::<2>()?;
            let (item, behind) =
                behind.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            rest = behind;
            Some(item)
        };
        let mut headers = Vec::new();
        for _ in 0..*count {
            let (name, value) = (item()?, item()?);
            headers.push((
                HeaderName::from_bytes(name).ok()?,
                HeaderValue::from_bytes(value).ok()?,
            ));
        }
        Some(Self {
            status: StatusCode::from_u16(u16::from_le_bytes(*status)).ok()?,
            headers,
            body: Bytes::copy_from_slice(rest),
        })
    }

    fn into_response(self, replayed: bool) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        if replayed {
            response
                .headers_mut()
                .insert(REPLAYED, HeaderValue::from_static("true"));
        }
        response
    }
}

/// The hash over a body as it passes by.
#[derive(Default)]
struct Passing {
    digest: Sha256,
    /// Whether that was all of it.
    ended: bool,
}

/// Carries out `run`, or gives the answer that it gave before. What is remembered is remembered for `lifetime_ms`.
pub(super) async fn once<F>(
    answers: &Arc<Answers>,
    caller: &Caller,
    request: Request,
    lifetime_ms: u64,
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
    let found = {
        let answers = answers.clone();
        blocking(move || answers.get(&slot, now_ms())).await
    };
    let found = match found {
        Ok(found) => found,
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
    if answers.is_full(&caller.tenant) {
        let detail = "this tenant has used more Idempotency-Keys than are remembered at a time: wait until some are forgotten";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "idempotency-full", detail);
        return refuse(problem.retry_after(60), request).await;
    }

    let response = run(request).await;
    let Some(request) = digest().filter(|_| response.status().is_success()) else {
        return response;
    };
    let (parts, body) = response.into_parts();
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
    let passing: Arc<Mutex<Passing>> = Arc::default();
    let seen = passing.clone();
    let mut stream = body.into_data_stream();
    let body = futures_util::stream::poll_fn(move |context| {
        let polled = stream.poll_next_unpin(context);
        if let std::task::Poll::Ready(part) = &polled {
            let mut seen = lock(&seen);
            match part {
                Some(Ok(part)) => seen.digest.update(part),
                Some(Err(_)) => {}
                None => seen.ended = true,
            }
        }
        polled
    });
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn remembered(request: u8) -> Remembered {
        Remembered {
            request: [request; 32],
            answer: Answer {
                status: StatusCode::CREATED,
                headers: vec![(
                    header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                )],
                body: Bytes::from_static(b"{\"api_key\":\"a secret\"}"),
            },
        }
    }

    #[test]
    fn answers_outlive_the_process_and_end_by_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("idempotency.sqlite");
        let open = || Answers::open(&path, &[7; 32]).unwrap();
        open()
            .put("acme", &[1; 32], &remembered(5), (100, 200))
            .unwrap();
        let again = open();
        let found = again.get(&[1; 32], 199).unwrap().unwrap();
        assert_eq!(
            (found.request, found.answer),
            ([5; 32], remembered(5).answer)
        );
        assert!(again.get(&[1; 32], 200).unwrap().is_none());
        assert!(again.get(&[2; 32], 0).unwrap().is_none());
        // What has expired makes room for the same key, and is counted no more.
        again
            .put("acme", &[1; 32], &remembered(6), (200, 300))
            .unwrap();
        assert_eq!(again.get(&[1; 32], 250).unwrap().unwrap().request, [6; 32]);
        assert_eq!(lock(&again.counts).get("acme"), Some(&1));
        assert_eq!(lock(&open().counts).get("acme"), Some(&1));
    }

    #[test]
    fn what_is_shown_once_is_not_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("idempotency.sqlite");
        let answers = Answers::open(&path, &[7; 32]).unwrap();
        answers
            .put("acme", &[1; 32], &remembered(5), (100, 200))
            .unwrap();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(8).any(|it| it == b"a secret"));
        }
        // Neither another key nor another slot opens it.
        assert!(
            Answers::open(&path, &[8; 32])
                .unwrap()
                .get(&[1; 32], 100)
                .is_err()
        );
        lock(&answers.connection)
            .execute("UPDATE answers SET slot = ?1", params![[2_u8; 32]])
            .unwrap();
        assert!(answers.get(&[2; 32], 100).is_err());
    }

    #[test]
    fn a_key_is_claimed_once_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let answers = Answers::open(&folder.path().join("a"), &[7; 32]).unwrap();
        let claim = answers.claim([1; 32]).unwrap();
        assert!(answers.claim([1; 32]).is_none());
        assert!(answers.claim([2; 32]).is_some());
        drop(claim);
        assert!(answers.claim([1; 32]).is_some());
    }
}
