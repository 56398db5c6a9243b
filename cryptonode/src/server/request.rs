//! One stream: one request in, one answer out.

use std::sync::Arc;
use std::time::Instant;

use quinn::{ReadError, RecvStream, SendStream, VarInt};
use serde_bytes::ByteBuf;
use tracing::{debug, error};

use super::accept::{ClientKey, Shared};
use super::admission::Held;
use super::counters::{Open, count};
use super::phases::{Phase, Stopwatch};
use super::reencryption::{self, ReencryptionRequest};
use super::refusal::Refusal;
use super::serving::descriptor;
use crate::wire::v1::{
    Answer, KeyStatus, MAX_CEREMONY_MESSAGE, MAX_KEYS, MAX_MEMBER_REQUEST, MAX_RECORD_BYTES,
    MAX_RECORDS, MAX_REQUEST, MAX_SHARE_ANSWER, Request, WireError,
};

// Every message that a ceremony can make fits the wire.
const _: () = assert!(dkg::MAX_MESSAGE <= MAX_CEREMONY_MESSAGE);

/// Code with which a node stops reading a request that it has already refused.
const REFUSED: VarInt = VarInt::from_u32(1);

/// The client took its request back, or its connection is lost: nobody waits for an answer.
struct Abandoned;

/// Reads a request, carries it out and sends the answer. Once the request is read, it is carried out whether or not the
/// client still waits.
pub(super) async fn answer_stream(
    shared: Arc<Shared>,
    client: Arc<ClientKey>,
    mut send: SendStream,
    mut receive: RecvStream,
) {
    let counters = &shared.serving.counters;
    let _open = Open::new(&counters.requests_open);
    let opened = Instant::now();
    let mut received = opened;
    let mut held = client.rooms.enter();
    let result = match &mut held {
        None => Err(busy(&shared)),
        Some(held) => match read(&shared, &client, held, &mut receive).await {
            Ok(Ok(bytes)) => {
                received = Instant::now();
                carry_out(&shared, &client, held, &bytes).await
            }
            Ok(Err(refusal)) => Err(refusal),
            Err(Abandoned) => {
                count(&counters.abandoned);
                return;
            }
        },
    };
    let mut is_share = false;
    let (answer, counter) = match result {
        Ok(answer @ Answer::Share { .. }) => {
            is_share = true;
            (answer, Some(&counters.shares))
        }
        Ok(answer) => (answer, Some(&counters.other_answers)),
        Err(refusal) => {
            counters.refuse(refusal.code());
            debug!(code = refusal.code(), "a request was refused");
            let _ = receive.stop(REFUSED);
            (refusal.to_answer(), None)
        }
    };
    let encoded = answer.to_bytes().or_else(|error| {
        error!(kind = answer.name(), %error, "an answer does not fit the protocol's bounds");
        let what = "its answer is longer than the protocol allows";
        Refusal::Internal { what }.to_answer().to_bytes()
    });
    drop(answer);
    let Ok(bytes) = encoded else { return };
    // A long answer keeps its place until the client has taken it, or a client that reads nothing could have the node hold
    // any number of them.
    let _held = held.filter(|_| bytes.len() > MAX_SHARE_ANSWER);
    let sent = async {
        send.write_all(&bytes).await.ok()?;
        send.finish().ok()?;
        if is_share {
            counters.phases.record(Phase::Receive, received - opened);
            counters.phases.record(Phase::Whole, received.elapsed());
        }
        // Not only handed to the socket: at a stop, the connection is closed only when the client has the answer.
        send.stopped().await.ok()
    };
    match tokio::time::timeout(shared.limits.answer, sent).await {
        Ok(Some(_)) => counter.into_iter().for_each(count),
        Ok(None) => count(&counters.abandoned),
        Err(_) => {
            count(&counters.abandoned);
            let _ = send.reset(REFUSED);
        }
    }
}

/// Reads one request to its end: bounded in length, in time, and in the bytes of all requests together.
async fn read(
    shared: &Shared,
    client: &ClientKey,
    held: &mut Held,
    receive: &mut RecvStream,
) -> Result<Result<Vec<u8>, Refusal>, Abandoned> {
    let (limit, deadline) = match client.member {
        Some(_) => (MAX_MEMBER_REQUEST, shared.limits.member_request),
        None => (MAX_REQUEST, shared.limits.request),
    };
    let reading = async {
        let mut bytes = Vec::new();
        loop {
            match receive.read_chunk(MAX_REQUEST, true).await {
                Ok(None) => return Ok(Ok(bytes)),
                Ok(Some(chunk)) => {
                    if bytes.len() + chunk.bytes.len() > limit {
                        return Ok(Err(Refusal::Message(WireError::TooLong { limit })));
                    }
                    if !held.hold(chunk.bytes.len()) {
                        return Ok(Err(busy(shared)));
                    }
                    bytes.extend_from_slice(&chunk.bytes);
                }
                Err(ReadError::Reset(_) | ReadError::ConnectionLost(_)) => return Err(Abandoned),
                Err(error) => {
                    debug!(%error, "a request could not be read");
                    return Err(Abandoned);
                }
            }
        }
    };
    match tokio::time::timeout(deadline, reading).await {
        Ok(read) => read,
        Err(_) => Ok(Err(Refusal::RequestTimeout { after: deadline })),
    }
}

async fn carry_out(
    shared: &Shared,
    client: &ClientKey,
    held: &mut Held,
    bytes: &[u8],
) -> Result<Answer, Refusal> {
    let serving = &shared.serving;
    let mut watch = Stopwatch::start(&serving.counters.phases);
    match Request::from_bytes(bytes)? {
        Request::Reencrypt {
            approvals,
            wrapped_key,
            ephemeral_key,
        } => {
            watch.lap(Phase::Decode);
            let request = ReencryptionRequest {
                approvals: &approvals,
                wrapped_key: &wrapped_key,
                ephemeral_key: &ephemeral_key,
                client,
            };
            let share = reencryption::answer(shared, &request).await?;
            Ok(Answer::Share {
                share: ByteBuf::from(share),
            })
        }
        Request::Key { public_key } => {
            let key = serving
                .keyring
                .get(&public_key)
                .ok_or_else(|| Refusal::UnknownKey {
                    public_key: hex::encode(public_key),
                })?;
            // The answer and its encoding; the descriptor is shorter than the certificate that it comes from.
            if !held.hold(4 * key.certificate.len()) {
                return Err(busy(shared));
            }
            Ok(Answer::Key {
                descriptor: descriptor(&key).to_json(),
                certificate: ByteBuf::from(key.certificate.as_slice()),
            })
        }
        Request::Ceremony { message } => {
            let from = client.member.ok_or(Refusal::NotAMember)?;
            let reply = tokio::time::timeout(
                shared.limits.ceremony,
                serving.ceremony.handle(from, message.into_vec()),
            )
            .await
            .map_err(|_| Refusal::Internal {
                what: "the ceremony took too long to answer",
            })??;
            Ok(Answer::Ceremony {
                message: ByteBuf::from(reply),
            })
        }
        Request::Status {} => Ok(status(shared)),
        Request::Checkpoint {} => {
            let checkpoint =
                tokio::time::timeout(shared.limits.audit, serving.audit.checkpoint()).await;
            match checkpoint {
                Ok(Ok(note)) => Ok(Answer::Checkpoint { note }),
                _ => Err(Refusal::AuditUnavailable),
            }
        }
        Request::Audit { from, limit } => {
            // The records and their encoding.
            if !held.hold(2 * MAX_RECORD_BYTES) {
                return Err(busy(shared));
            }
            audit_page(shared, from, limit).await
        }
    }
}

fn busy(shared: &Shared) -> Refusal {
    Refusal::Busy {
        retry_after: shared.limits.retry_after,
    }
}

fn status(shared: &Shared) -> Answer {
    let serving = &shared.serving;
    let keys = serving.keyring.iter().take(MAX_KEYS).map(|key| KeyStatus {
        epoch: key.package.epoch(),
        index: key.share.index(),
        members: u16::try_from(key.members.len()).unwrap_or(u16::MAX),
        threshold: key.package.threshold(),
        public_key: *key.package.public_key().as_bytes(),
    });
    Answer::Status {
        keys: keys.collect(),
        time_ms: (serving.clock_ms)(),
        identity: serving.identity,
        software: concat!("cryptonode ", env!("CARGO_PKG_VERSION")).to_owned(),
    }
}

async fn audit_page(shared: &Shared, from: u64, limit: u32) -> Result<Answer, Refusal> {
    let audit = Arc::clone(&shared.serving.audit);
    let limit = limit.min(MAX_RECORDS as u32);
    // It reads files: not for the runtime's threads. The size is read last, so that every record lies below it.
    let read = tokio::task::spawn_blocking(move || {
        audit
            .read(from, limit, MAX_RECORD_BYTES)
            .map(|records| (audit.size(), records))
    });
    match read.await {
        Ok(Ok((size, records))) => Ok(Answer::Audit {
            from,
            size,
            records: records.into_iter().map(ByteBuf::from).collect(),
        }),
        _ => Err(Refusal::AuditUnavailable),
    }
}
