//! The answers that are remembered: a small SQLite file, each answer sealed, bounded in number for each tenant and in time.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use cryptonode::randomness;
use rusqlite::{Connection, OptionalExtension as _, params};

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Answers that one tenant may have remembered at a time.
const MAX_ANSWERS: u64 = 100_000;
/// Expired answers that go with each new one.
const PURGED_AT_ONCE: u32 = 64;
/// Those that go when there is no room for a new one.
const PURGED_FOR_ROOM: u32 = 4_096;
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

/// What a key and a request are known by.
pub(super) type Digest = [u8; 32];

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

/// The answers that are remembered.
pub struct Answers {
    connection: Mutex<Connection>,
    running: Mutex<HashSet<Digest>>,
    counts: Mutex<HashMap<String, u64>>,
    cipher: LessSafeKey,
}

pub(super) struct Remembered {
    pub(super) request: Digest,
    pub(super) answer: Answer,
}

/// An answer: its status, its headers that count, its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

/// The claim on a key while its request runs.
pub(super) struct Claim<'a> {
    answers: &'a Answers,
    slot: Digest,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        lock(&self.answers.running).remove(&self.slot);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
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

    pub(super) fn claim(&self, slot: Digest) -> Option<Claim<'_>> {
        let claim = || Claim {
            answers: self,
            slot,
        };
        lock(&self.running).insert(slot).then(claim)
    }

    pub(super) fn get(
        &self,
        slot: &Digest,
        now_ms: u64,
    ) -> Result<Option<Remembered>, AnswersError> {
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
    pub(super) fn put(
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
        let gone = purge(&transaction, Some(slot), now_ms, PURGED_AT_ONCE)?;
        transaction.execute(
            "INSERT INTO answers VALUES (?1, ?2, ?3, ?4, ?5)",
            params![slot, tenant, request, integer(expires_ms), sealed],
        )?;
        transaction.commit()?;
        self.uncount(gone);
        *lock(&self.counts).entry(tenant.to_owned()).or_default() += 1;
        Ok(())
    }

    /// Whether one more answer of this tenant can be remembered. What has expired goes, if it takes the room: nobody puts anything, and with it
    /// something away, while there is none.
    pub(super) fn has_room(&self, tenant: &str, now_ms: u64) -> Result<bool, AnswersError> {
        if !self.is_full(tenant) {
            return Ok(true);
        }
        let gone = purge(&lock(&self.connection), None, now_ms, PURGED_FOR_ROOM)?;
        self.uncount(gone);
        Ok(!self.is_full(tenant))
    }

    fn uncount(&self, gone: Vec<String>) {
        let mut counts = lock(&self.counts);
        for tenant in gone {
            if let Some(count) = counts.get_mut(&tenant) {
                *count = count.saturating_sub(1);
            }
        }
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

/// Removes some answers that have expired, and what has of `slot`; whose they were.
fn purge(
    connection: &Connection,
    slot: Option<&Digest>,
    now_ms: u64,
    limit: u32,
) -> Result<Vec<String>, AnswersError> {
    let mut purge = connection.prepare_cached(
        "DELETE FROM answers WHERE slot IN (SELECT slot FROM answers WHERE expires_ms <= ?1 LIMIT ?2) OR \
         (slot = ?3 AND expires_ms <= ?1) RETURNING tenant",
    )?;
    let rows = purge.query_map(params![integer(now_ms), limit, slot], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
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

    pub(super) fn into_response(self, replayed: bool) -> Response {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use axum::http::header;

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
    fn what_has_expired_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("idempotency.sqlite");
        drop(Answers::open(&path, &[7; 32]).unwrap());
        let rows = format!(
            "WITH RECURSIVE number(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < {MAX_ANSWERS})
             INSERT INTO answers SELECT randomblob(32), 'acme', zeroblob(32), 100 + n / 5000, x'' FROM number"
        );
        let list = Connection::open(&path).unwrap();
        list.execute_batch(&rows).unwrap();
        let full = Answers::open(&path, &[7; 32]).unwrap();
        assert!(!full.has_room("acme", 99).unwrap());
        assert!(full.has_room("umbra", 99).unwrap());
        // Nothing is put while there is no room, and all the same it comes with the time.
        assert!(full.has_room("acme", 100).unwrap());
        full.put("acme", &[1; 32], &remembered(5), (100, 200))
            .unwrap();
        assert!(full.get(&[1; 32], 199).unwrap().is_some());
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
