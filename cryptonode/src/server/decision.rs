//! The decision on a share (protocol sections 5, 7 and 9): from a decoded request to bytes that may leave the node.
//!
//! 1. [`admit`]: the client is one that is served, the key is known, the node has a share of the result that is asked for
//!    ([`crate::keyring::KeyEntry::choose`]), and there are at least as many approvals as organisations are needed.
//! 2. [`Admitted::check`]: approvals of m distinct organisations bind the `write_id`, which is computed here from the bytes
//!    received, the bytes of X, and this connection's client key, now.
//! 3. Wrapped key and ephemeral key decode: group arithmetic, and so after the approvals.
//! 4. Both proofs hold: the writer knew r, the reader knows x_c. Without the second, X = U′ − U would open another document
//!    under this one's approvals.
//!    U + X is not the identity. From here on nothing can be refused, and [`Checked::record`] may go to the disk.
//! 5. [`Checked::compute`]: D_i = x_i·(U + X) and its proof, while the disk is at work.
//! 6. [`Prepared::release`]: the audit record is durable. If it cannot be written, the share is dropped: no record, no share.
//!
//! There is no I/O here and no clock: who drives it waits for a turn between 1 and 2, hands the record to the log between 4 and 5, and
//! waits for the disk between 5 and 6. What comes out of one step is the only way into the next.

use std::time::Duration;

use certs::{Approved, Refused};
use rand_core::CryptoRng;
use reencrypt::{
    EphemeralKey, EphemeralKeyError, NamedWrappedKey, PendingShare, RequestError, WrappedKey,
    verify_request,
};

use super::gate::Gate;
use super::phases::Phase;
use super::refusal::Refusal;
use crate::audit::{AuditApproval, AuditError, AuditRecord};
use crate::keyring::{Chosen, Keyring};
use crate::wire::v1::{Answer, ByteBuf, ResultVersion};

/// A decoded request and the client who sent it.
#[derive(Debug, Clone, Copy)]
pub struct ShareRequest<'a> {
    /// The result of the key whose share is wanted; the newest if absent.
    pub result: Option<ResultVersion>,
    /// Approval certificates, DER.
    pub approvals: &'a [ByteBuf],
    /// The wrapped key.
    pub wrapped_key: &'a [u8],
    /// The ephemeral key.
    pub ephemeral_key: &'a [u8],
    /// The client's public key as its connection proved it, DER SubjectPublicKeyInfo.
    pub client_spki: &'a [u8],
    /// SHA-256 of that.
    pub client: [u8; 32],
}

/// Who is told how far a decision is, for measures.
pub trait Observer {
    /// A phase is over.
    fn done(&mut self, phase: Phase);
    /// What became of the approvals.
    fn approvals(&mut self, outcome: Result<&Approved, &Refused>, time_ms: u64);
}

impl Observer for () {
    fn done(&mut self, _: Phase) {}
    fn approvals(&mut self, _: Result<&Approved, &Refused>, _: u64) {}
}

/// A request that is worth arithmetic.
#[derive(Debug)]
pub struct Admitted<'a> {
    request: ShareRequest<'a>,
    chosen: Chosen,
    wrapped: NamedWrappedKey<'a>,
}

/// Step 1.
///
/// # Errors
/// [`Refusal`]
pub fn admit<'a>(
    keyring: &Keyring,
    gate: &Gate,
    request: ShareRequest<'a>,
) -> Result<Admitted<'a>, Refusal> {
    let rules = gate.clients.rules();
    if rules
        .allow
        .as_ref()
        .is_some_and(|listed| !listed.contains(&request.client))
    {
        return Err(Refusal::ClientNotListed);
    }
    let public_key =
        WrappedKey::peek_public_key(request.wrapped_key).map_err(RequestError::from)?;
    let chosen = keyring.choose(public_key, request.result)?;
    let wrapped = NamedWrappedKey::new(request.wrapped_key).map_err(RequestError::from)?;
    gate.admit(public_key, wrapped.write_id())?;
    let (given, needed) = (request.approvals.len(), chosen.policy().approvals_needed());
    if given < usize::from(needed) {
        return Err(Refusal::TooFewApprovals { given, needed });
    }
    Ok(Admitted {
        request,
        chosen,
        wrapped,
    })
}

impl Admitted<'_> {
    /// Steps 2 to 4, at this time in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn check<R: CryptoRng>(
        &self,
        gate: &Gate,
        time_ms: u64,
        rng: &mut R,
        observer: &mut impl Observer,
    ) -> Result<Checked<'_>, Refusal> {
        let Self {
            request,
            chosen,
            wrapped,
        } = self;
        let write_id = *wrapped.write_id();
        let key = &chosen.key;
        // Again, now that the wait for the turn is over: what was suspended meanwhile is given no share.
        gate.admit(key.package.public_key().as_bytes(), &write_id)?;
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
            client_spki: request.client_spki,
        };
        let approved = chosen.policy().verify_unrevoked(
            &approvals,
            &binding,
            time_ms / 1000,
            &gate.revocations(),
        );
        observer.approvals(approved.as_ref(), time_ms);
        let approved = approved?;
        observer.done(Phase::Approvals);

        let wrapped = wrapped.clone().decode_under(&key.package.public_key());
        let wrapped = wrapped.map_err(RequestError::from)?;
        let ephemeral = EphemeralKey::parse(request.ephemeral_key).map_err(RequestError::from)?;
        let (wrapped, ephemeral) = verify_request(&wrapped, &ephemeral, rng)?;
        let pending = key.share.begin(&wrapped, &ephemeral)?;
        observer.done(Phase::Proofs);

        let record = AuditRecord {
            epoch: key.package.epoch(),
            client: request.client,
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
        Ok(Checked {
            record,
            pending,
            newest: chosen.newest,
        })
    }
}

/// A request that is in order: its share may be computed.
#[must_use]
pub struct Checked<'a> {
    record: AuditRecord,
    pending: PendingShare<'a>,
    newest: Option<ResultVersion>,
}

impl std::fmt::Debug for Checked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checked").finish_non_exhaustive()
    }
}

impl Checked<'_> {
    /// What must be durable before the share may leave.
    #[must_use]
    pub fn record(&self) -> &AuditRecord {
        &self.record
    }

    /// Step 5.
    pub fn compute<R: CryptoRng>(self, rng: &mut R, observer: &mut impl Observer) -> Prepared {
        let share = self.pending.multiply();
        observer.done(Phase::Share);
        let share = share.prove(rng);
        observer.done(Phase::Proof);
        Prepared {
            record: self.record,
            share: share.to_bytes().to_vec(),
            newest: self.newest,
        }
    }
}

/// A share that waits for its record to be durable.
#[must_use]
pub struct Prepared {
    record: AuditRecord,
    share: Vec<u8>,
    newest: Option<ResultVersion>,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").finish_non_exhaustive()
    }
}

impl Prepared {
    /// What must be durable before the share may leave.
    #[must_use]
    pub fn record(&self) -> &AuditRecord {
        &self.record
    }

    /// Step 6: what the audit log said of the record; `None` if it said nothing in time. A log that has too much to do is worth
    /// another try after `retry_after`.
    ///
    /// # Errors
    /// [`Refusal::AuditUnavailable`] or [`Refusal::Busy`]; the share is gone then.
    pub fn release(
        self,
        recorded: Option<Result<u64, AuditError>>,
        retry_after: Duration,
    ) -> Result<Answer, Refusal> {
        match recorded {
            Some(Ok(_)) => Ok(Answer::Share {
                share: ByteBuf::from(self.share),
                newest: self.newest,
            }),
            Some(Err(AuditError::Busy)) => Err(Refusal::Busy { retry_after }),
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
}
