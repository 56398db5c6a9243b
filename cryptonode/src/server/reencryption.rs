//! The path of a share (protocol sections 5, 7 and 9): from a decoded request to bytes that may leave the node.
//!
//! 1. The key is known, the node has a share of the result that is asked for ([`crate::keyring::KeyEntry::choose`]), and there are at least as many approvals as organisations are needed.
//! 2. Approvals of m distinct organisations bind the `write_id`, which is computed here from the bytes received, the bytes
//!    of X, and this connection's client key, now.
//! 3. Wrapped key and ephemeral key decode: group arithmetic, and so after the approvals.
//! 4. Both proofs hold: the writer knew r, the reader knows x_c. Without the second, X = U′ − U would open another document
//!    under this one's approvals.
//! 5. D_i = x_i·(U + X) and its proof.
//! 6. The audit record is durable. If it cannot be written, the share is dropped: no record, no share.
//!
//! Steps 2 to 5 are arithmetic without a pause; they run in one turn. What must not happen between the check of the
//! time in step 2 and the answer is a long wait; the wait for the turn comes before it, and the one for the disk has a
//! deadline.

use std::time::Duration;

use reencrypt::{EphemeralKey, EphemeralKeyError, RequestError, WrappedKey, verify_request};
use sha2::{Digest, Sha256};

use super::accept::{ClientKey, Shared};
use super::counters::Open;
use super::phases::{Phase, Stopwatch};
use super::refusal::Refusal;
use super::serving::Serving;
use crate::audit::{AuditApproval, AuditError, AuditRecord};
use crate::keyring::Chosen;
use crate::wire::v1::{Answer, ByteBuf, ResultVersion};

/// A decoded request and the client who sent it.
pub(super) struct ReencryptionRequest<'a> {
    pub(super) result: Option<ResultVersion>,
    pub(super) approvals: &'a [ByteBuf],
    pub(super) wrapped_key: &'a [u8],
    pub(super) ephemeral_key: &'a [u8],
    pub(super) client: &'a ClientKey,
}

/// The share, once its record is durable.
pub(super) async fn answer(
    shared: &Shared,
    request: &ReencryptionRequest<'_>,
    watch: &mut Stopwatch<'_>,
) -> Result<Answer, Refusal> {
    let serving = &shared.serving;
    let rules = serving.gate.clients.rules();
    if rules
        .allow
        .as_ref()
        .is_some_and(|listed| !listed.contains(&request.client.fingerprint))
    {
        return Err(Refusal::ClientNotListed);
    }
    let public_key =
        WrappedKey::peek_public_key(request.wrapped_key).map_err(RequestError::from)?;
    let chosen = serving.keyring.choose(public_key, request.result)?;
    serving
        .gate
        .admit(public_key, &Sha256::digest(request.wrapped_key).into())?;
    let (given, needed) = (request.approvals.len(), chosen.policy().approvals_needed());
    if given < usize::from(needed) {
        return Err(Refusal::TooFewApprovals { given, needed });
    }

    let measures = &serving.counters.measures;
    watch.restart();
    let (record, share) = {
        let waiting = Open::new(&measures.waiting);
        let turn = shared.admission.turn(&request.client.rooms).await;
        let _turn = turn.ok_or(Refusal::Stopping)?;
        drop(waiting);
        let _computing = Open::new(&measures.computing);
        watch.lap(Phase::Turn);
        make_share(serving, &chosen, request, watch)?
    };
    // Other work gets its turn before the thread goes on to another request's arithmetic.
    let recording = Open::new(&measures.recording);
    let recorded = within(shared.limits().audit, serving.audit.append(record)).await;
    drop(recording);
    match recorded {
        Some(Ok(_)) => {
            watch.lap(Phase::Audit);
            Ok(Answer::Share {
                share: ByteBuf::from(share),
                newest: chosen.newest,
            })
        }
        Some(Err(AuditError::Busy)) => Err(Refusal::Busy {
            retry_after: shared.limits().retry_after,
        }),
        Some(Err(error)) => {
            tracing::error!(code = error.code(), %error, "no share was given: its audit record could not be written");
            Err(Refusal::AuditUnavailable)
        }
        None => {
            tracing::error!("no share was given: its audit record was not durable in time");
            Err(Refusal::AuditUnavailable)
        }
    }
}

/// Steps 2 to 5.
fn make_share(
    serving: &Serving,
    chosen: &Chosen,
    request: &ReencryptionRequest<'_>,
    watch: &mut Stopwatch<'_>,
) -> Result<(AuditRecord, Vec<u8>), Refusal> {
    let (time_ms, measures) = ((serving.clock_ms)(), &serving.counters.measures);
    let write_id: [u8; 32] = Sha256::digest(request.wrapped_key).into();
    // Again, now that the wait for the turn is over: what was suspended meanwhile is given no share.
    serving
        .gate
        .admit(chosen.key.package.public_key().as_bytes(), &write_id)?;
    let (ephemeral_point, _) = request
        .ephemeral_key
        .split_first_chunk()
        .ok_or(EphemeralKeyError::Length {
            got: request.ephemeral_key.len(),
        })
        .map_err(RequestError::from)?;
    let ephemeral_point = *ephemeral_point;

    let approvals: Vec<&[u8]> = request
        .approvals
        .iter()
        .map(|approval| approval.as_slice())
        .collect();
    let binding = certs::Binding {
        write_id,
        ephemeral_point,
        client_spki: &request.client.spki,
    };
    let key = &chosen.key;
    let approved = chosen
        .policy()
        .verify_unrevoked(
            &approvals,
            &binding,
            time_ms / 1000,
            &serving.gate.revocations(),
        )
        .inspect_err(|refused| {
            for (_, reason) in &refused.reasons {
                measures.approval_not_counted(reason.code());
            }
        })?;
    for (_, reason) in &approved.not_counted {
        measures.approval_not_counted(reason.code());
    }
    for counted in &approved.counted {
        let age_s = time_ms as f64 / 1000.0 - counted.not_before as f64;
        measures.approval_counted(&counted.organisation, age_s);
    }
    watch.lap(Phase::Approvals);

    let wrapped = WrappedKey::parse_under(request.wrapped_key, &key.package.public_key())
        .map_err(RequestError::from)?;
    let ephemeral = EphemeralKey::parse(request.ephemeral_key).map_err(RequestError::from)?;
    let mut rng = rand::rng();
    let (wrapped, ephemeral) = verify_request(&wrapped, &ephemeral, &mut rng)?;
    watch.lap(Phase::Proofs);
    let share = key.share.multiply(&wrapped, &ephemeral)?;
    watch.lap(Phase::Share);
    let share = share.prove(&mut rng);
    watch.lap(Phase::Proof);

    let record = AuditRecord {
        epoch: key.package.epoch(),
        client: request.client.fingerprint,
        time_ms,
        write_id,
        approvals: approved
            .counted
            .into_iter()
            .map(|counted| AuditApproval {
                approval_id: counted.approval_id,
                organisation: counted.organisation,
                issuer_fingerprint: counted.issuer_fingerprint,
            })
            .collect(),
        public_key: *key.package.public_key().as_bytes(),
        ephemeral_point,
    };
    Ok((record, share.to_bytes().to_vec()))
}

async fn within<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::time::timeout(limit, future).await.ok()
}
