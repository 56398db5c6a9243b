//! One stream: one request in, one answer out.

use std::sync::Arc;
use std::time::Instant;

use quinn::{ReadError, RecvStream, SendStream, VarInt};
use serde_bytes::ByteBuf;
use tracing::{debug, error};

use super::accept::{ClientKey, Shared};
use super::admission::Held;
use super::counters::{Open, count};
use super::decision::ShareRequest;
use super::phases::{Phase, Stopwatch};
use super::reencryption;
use super::refusal::Refusal;
use super::serving::descriptor;
use crate::audit::AuditError;
use crate::keyring::KeyRefusal;
use crate::telemetry::Kind;
use crate::wire::v1::{
    Answer, MAX_CEREMONY_MESSAGE, MAX_KEYS, MAX_MEMBER_REQUEST, MAX_RECORD_BYTES, MAX_RECORDS,
    MAX_REQUEST, MAX_SHARE_ANSWER, Request, WireError,
};
use crate::witness::Reply;

// Every message that a ceremony can make fits the wire.
const _: () = assert!(dkg::MAX_MESSAGE <= MAX_CEREMONY_MESSAGE);

/// Code with which a node stops reading a request that it has already refused.
const REFUSED: VarInt = VarInt::from_u32(1);

/// The kind of a request that ended before it was understood.
const UNREAD: &str = "unread";

fn kind_of(request: &Request) -> &'static str {
    match request {
        Request::Reencrypt { .. } => "reencrypt",
        Request::Key { .. } => "key",
        Request::KeyCertificate { .. } => "key_certificate",
        Request::Ceremony { .. } => "ceremony",
        Request::Policy { .. } => "policy",
        Request::Status { .. } => "status",
        Request::Checkpoint { .. } => "checkpoint",
        Request::Audit { .. } => "audit",
        Request::CosignedCheckpoint {} => "cosigned_checkpoint",
        Request::Consistency { .. } => "consistency",
        Request::Witness { .. } => "witness",
        Request::Evidence {} => "evidence",
    }
}

/// The client took its request back, or its connection is lost: nobody waits for an answer.
struct Abandoned;

/// Reads a request, carries it out and sends the answer. Once the request is read, it is carried out whether or not the
/// client still waits.
pub(super) async fn answer_stream(
    shared: Arc<Shared>,
    client: Arc<ClientKey>,
    mut entered: Result<Held, Refusal>,
    mut send: SendStream,
    mut receive: RecvStream,
) {
    let counters = &shared.serving.counters;
    let measures = &counters.measures;
    let since = Instant::now();
    let mut kind = UNREAD;
    let _open = Open::new(&counters.requests_open);
    let mut received = since;
    let mut watch = Stopwatch::start(&counters.phases);
    let mut trace = None;
    let result = match &mut entered {
        Err(refusal) => Err(refusal.clone()),
        Ok(held) => match read(&shared, &client, held, &mut receive).await {
            Ok(Ok(bytes)) => {
                received = Instant::now();
                watch.restart();
                match Request::from_bytes(&bytes) {
                    Ok(request) => {
                        kind = kind_of(&request);
                        if let Request::Reencrypt { traceparent, .. } = &request {
                            trace = *traceparent;
                        }
                        carry_out(&shared, &client, held, request, &mut watch).await
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Ok(Err(refusal)) => Err(refusal),
            Err(Abandoned) => {
                count(&counters.abandoned);
                measures.ended(kind, "abandoned", "", since);
                return;
            }
        },
    };
    let (answer, counter, outcome, reason) = match result {
        Ok(answer @ Answer::Share { .. }) => (answer, Some(&counters.shares), "share", ""),
        Ok(answer) => (answer, Some(&counters.other_answers), "answered", ""),
        Err(refusal) => {
            counters.refuse(refusal.code());
            debug!(code = refusal.code(), "a request was refused");
            let _ = receive.stop(REFUSED);
            (refusal.to_answer(), None, "refused", refusal.code())
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
    let _held = entered.ok().filter(|_| bytes.len() > MAX_SHARE_ANSWER);
    let sent = async {
        send.write_all(&bytes).await.ok()?;
        send.finish().ok()?;
        if outcome == "share" {
            counters.phases.record(Phase::Receive, received - since);
            counters.phases.record(Phase::Whole, received.elapsed());
        }
        // Not only handed to the socket: at a stop, the connection is closed only when the client has the answer.
        send.stopped().await.ok()
    };
    let taken = match tokio::time::timeout(shared.limits().answer, sent).await {
        Ok(taken) => taken.is_some(),
        Err(_) => {
            let _ = send.reset(REFUSED);
            false
        }
    };
    let outcome = if taken {
        counter.into_iter().for_each(count);
        outcome
    } else {
        count(&counters.abandoned);
        "abandoned"
    };
    measures.ended(kind, outcome, reason, since);
    // The answer is out: what is told of it delays nobody.
    let telemetry = &shared.serving.telemetry;
    let span = trace.and_then(|parent| telemetry.below(kind, Kind::Server, &parent, since));
    if let Some(mut span) = span {
        span.say("cryptonode.outcome", outcome);
        if !reason.is_empty() {
            span.say("cryptonode.reason", reason);
            span.failed(reason);
        }
        span.part(Phase::Receive.name(), since, received);
        for (phase, start, end) in watch.laps() {
            span.part(phase.name(), start, end);
        }
    }
}

/// A place for one request, if the operator's rules give this client one.
pub(super) fn enter(shared: &Shared, client: &ClientKey) -> Result<Held, Refusal> {
    let rules = shared.serving.gate.clients.rules();
    if rules.deny.contains(&client.fingerprint) {
        return Err(Refusal::ClientDenied);
    }
    let limits = rules.limits(&client.fingerprint);
    let held = client.rooms.enter(&limits).ok_or_else(|| busy(shared))?;
    if let Some(state) = client.rooms.client() {
        state.pass(limits, Instant::now())?;
    }
    Ok(held)
}

/// Reads one request to its end: bounded in length, in time, and in the bytes of all requests together.
async fn read(
    shared: &Shared,
    client: &ClientKey,
    held: &mut Held,
    receive: &mut RecvStream,
) -> Result<Result<Vec<u8>, Refusal>, Abandoned> {
    let (limit, deadline) = match client.member {
        Some(_) => (MAX_MEMBER_REQUEST, shared.limits().member_request),
        None => (MAX_REQUEST, shared.limits().request),
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
    request: Request,
    watch: &mut Stopwatch<'_>,
) -> Result<Answer, Refusal> {
    let serving = &shared.serving;
    match request {
        Request::Reencrypt {
            result,
            approvals,
            traceparent: _,
            wrapped_key,
            ephemeral_key,
        } => {
            watch.lap(Phase::Decode);
            let request = ShareRequest {
                result,
                approvals: &approvals,
                wrapped_key: &wrapped_key,
                ephemeral_key: &ephemeral_key,
                client_spki: &client.spki,
                client: client.fingerprint,
            };
            reencryption::answer(shared, client, request, watch).await
        }
        Request::Key { public_key } => {
            let key = serving.keyring.choose(&public_key, None)?.key;
            // The answer and its encoding; the descriptor is shorter than the certificate that it comes from.
            if !held.hold(4 * key.certificate.len()) {
                return Err(busy(shared));
            }
            Ok(Answer::Key {
                descriptor: descriptor(&key).to_json(),
                certificate: ByteBuf::from(key.certificate.as_slice()),
            })
        }
        Request::KeyCertificate { public_key } => {
            let entry = serving.keyring.entry(&public_key);
            let newest = entry
                .as_ref()
                .and_then(|entry| entry.state().newest.as_ref());
            let newest = newest.ok_or_else(|| match &entry {
                Some(_) => Refusal::NoCertificate {
                    public_key: hex::encode(public_key),
                },
                None => KeyRefusal::Unknown {
                    public_key: hex::encode(public_key),
                }
                .into(),
            })?;
            if !held.hold(4 * newest.certificate.as_bytes().len()) {
                return Err(busy(shared));
            }
            Ok(Answer::KeyCertificate {
                addresses: newest.addresses.clone(),
                certificate: ByteBuf::from(newest.certificate.as_bytes()),
            })
        }
        Request::Ceremony { message } => {
            let from = client.member.ok_or(Refusal::NotAMember)?;
            let reply = tokio::time::timeout(
                shared.limits().ceremony,
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
        Request::Policy { policy_hash } => {
            client.member.ok_or(Refusal::NotAMember)?;
            let policy = serving.ceremony.policy(policy_hash).await;
            let policy = policy.ok_or_else(|| Refusal::UnknownPolicy {
                hash: hex::encode(policy_hash),
            })?;
            if !held.hold(2 * policy.len()) {
                return Err(busy(shared));
            }
            Ok(Answer::Policy {
                policy: ByteBuf::from(policy),
            })
        }
        Request::Status {} => Ok(status(shared)),
        Request::Checkpoint {} => {
            let checkpoint =
                tokio::time::timeout(shared.limits().audit, serving.audit.checkpoint()).await;
            match checkpoint {
                Ok(Ok(note)) => Ok(Answer::Checkpoint { note }),
                Ok(Err(AuditError::Busy)) => Err(busy(shared)),
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
        Request::CosignedCheckpoint {}
        | Request::Consistency { .. }
        | Request::Witness { .. }
        | Request::Evidence {} => witnessing(shared, client, request).await,
    }
}

/// What others' witnesses say of this node's log, and it of theirs.
async fn witnessing(
    shared: &Shared,
    client: &ClientKey,
    request: Request,
) -> Result<Answer, Refusal> {
    let witness = &shared.serving.witness;
    match request {
        Request::Consistency { new, old } => {
            let proof = witness.consistency(old, new)?;
            let proof = proof.into_iter().map(|hash| ByteBuf::from(hash.to_vec()));
            Ok(Answer::Consistency {
                proof: proof.collect(),
            })
        }
        Request::Witness { offer } => {
            let from = client.member.ok_or(Refusal::NotAMember)?;
            match tokio::time::timeout(shared.limits().audit, witness.offered(from, offer)).await {
                Ok(reply) => Ok(match reply? {
                    Reply::Cosigned(signatures) => Answer::Cosigned { signatures },
                    Reply::Seen(note) => Answer::Seen { note },
                }),
                Err(_) => Err(busy(shared)),
            }
        }
        Request::Evidence {} => Ok(Answer::Evidence {
            findings: witness.evidence(),
        }),
        _ => match witness.cosigned() {
            Some(note) => Ok(Answer::Checkpoint { note }),
            None => Err(Refusal::Witness {
                code: "not-cosigned",
                message: "no witness has cosigned this log yet: ask again in a while".to_owned(),
            }),
        },
    }
}

fn busy(shared: &Shared) -> Refusal {
    Refusal::Busy {
        retry_after: shared.limits().retry_after,
    }
}

fn status(shared: &Shared) -> Answer {
    let serving = &shared.serving;
    let entries = serving.keyring.entries();
    let served = entries.iter().flat_map(|entry| entry.served());
    let keys = served.take(MAX_KEYS).map(|key| key.status());
    Answer::Status {
        keys: keys.collect(),
        time_ms: (serving.clock_ms)(),
        identity: serving.identity,
        software: serving.software.clone(),
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
