//! Approvals: what a peer says to the crypto nodes about a read (protocol section 7).
//!
//! 1. The read must be on the record, final, and recent: within the window by this peer's own clock. One from further in the future
//!    than that is refused too, or an orderer whose clock is ahead would make reads that stay recent for as long as it is ahead.
//!    The peer must know of now, too: one that has heard nothing from the order for [`HEARD_WITHIN_MS`] cannot know whom the others removed since.
//! 2. The reader must be active and permitted *now*, by this peer's own state, with the key that signed the read, and the version still
//!    there: a permission that was removed after the read, however shortly, stands in the way. The client that will ask the nodes must be one by
//!    which the reader's tenant reads. A peer that lacks a block which it was told is final has stopped, for it cannot know.
//! 3. One certificate is issued for a read. It is durable before it leaves, and given again when asked again, as long as
//!    it is valid and 2 still holds; never a second one. It does not outlive its reader.
//!
//! 4. A peer that was just started waits until it knows what was final at its start; one whose store was set back or lost issues none for reads that it may have
//!    approved before (`lease`), and one whose organisation got new keys none for reads that its predecessor may have approved (`tenure`).
//!
//! What has left cannot be called back: a permission removed *after* an approval was given out takes effect at the nodes when that
//! approval expires.
//!
//! The approval id is the id of the read's transaction in hexadecimal, so a node's audit record leads to the very
//! transaction.

use super::{Peer, StoreError};
use crate::record::{
    apply::{active_user, read::readable},
    identifier::UserName,
    rejection::Rejection,
    signed::TransactionId,
    state::{Holder, State},
};
use certs::Approval;
use reencrypt::EphemeralKey;

/// For how long a peer that hears nothing from the order goes on approving: batches come every 1.2 seconds when nobody submits anything, and a few leaders in turn that
/// do not answer cost some seconds. For so long, and by how much its clock is behind, a reader whom the others removed may still be approved by a peer that is cut off.
/// A peer whose clock is ahead by more than this approves nothing.
const HEARD_WITHIN_MS: u64 = 10_000;

/// Why a peer does not approve.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApprovalRefusal {
    /// No such read on the record.
    #[error("there is no read {} on the record", hex::encode(.0))]
    UnknownRead(TransactionId),
    /// The peer was started, and does not yet know all that was final then; or it hears nothing of the others.
    #[error(
        "this peer does not know what is final now: it was just started and is getting what it missed, or hears nothing from the others; ask again in a moment"
    )]
    CatchingUp,
    /// The peer was set back, or is new in its organisation's name, which may have approved the read before.
    #[error(
        "this peer's store was set back or lost, or it has new keys, and its organisation may have approved the read from {time_ms} ms before; make a new read after {until_ms} ms"
    )]
    SetBack {
        /// Time of the read's block.
        time_ms: u64,
        /// The last time of reads that it can have approved.
        until_ms: u64,
    },
    /// Its block is not final.
    #[error("the read is not final yet; ask again in a moment")]
    NotFinal,
    /// A read of what is under no cluster key.
    #[error("the version is not under a cluster key: its read needs no approval")]
    NotNeeded,
    /// Too long ago.
    #[error("the read is from {time_ms} ms, more than {window_ms} ms ago; make a new one")]
    TooOld {
        /// Time of its block.
        time_ms: u64,
        /// For how long reads are approved.
        window_ms: u64,
    },
    /// Its block's time is ahead of this peer's clock.
    #[error(
        "the read is from {time_ms} ms, more than {window_ms} ms ahead of this peer's clock; set the clocks of the record and its peers, and make a new one"
    )]
    InFuture {
        /// Time of its block.
        time_ms: u64,
        /// How far clocks may differ.
        window_ms: u64,
    },
    /// The key that signed it is the reader's no more.
    #[error("{reader} has another key now than the one that signed the read; make a new one")]
    KeyRotated {
        /// Who reads.
        reader: UserName,
    },
    /// The reader may not read it any more, or it is erased.
    #[error("the read may not be approved any more: {0}")]
    NotPermitted(Rejection),
    /// The one approval of the read has expired, or is valid for longer than its reader now.
    #[error("the approval of this read has expired, or would outlive its reader; make a new read")]
    Expired,
    /// No certificate can be made of it.
    #[error("the approval cannot be issued: {0}")]
    Issuer(String),
    /// It could not be remembered.
    #[error("the approval cannot be made durable: {0}")]
    Store(String),
    /// A peer that is somewhere else says no.
    #[error("{message}")]
    Elsewhere {
        /// The reason's stable code.
        code: String,
        /// The reason.
        message: String,
    },
    /// The peer does not work.
    #[error("the peer of {0} does not work at present")]
    Unavailable(String),
}

impl ApprovalRefusal {
    /// A stable code for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::UnknownRead(_) => "unknown-read",
            Self::CatchingUp => "peer-catching-up",
            Self::SetBack { .. } => "peer-set-back",
            Self::NotFinal => "read-not-final",
            Self::NotNeeded => "approval-not-needed",
            Self::TooOld { .. } => "read-too-old",
            Self::InFuture { .. } => "read-in-future",
            Self::KeyRotated { .. } => "reader-key-rotated",
            Self::NotPermitted(rejection) => rejection.code(),
            Self::Expired => "approval-expired",
            Self::Issuer(_) => "approval-issuer",
            Self::Store(_) => "approval-store",
            Self::Elsewhere { code, .. } => code,
            Self::Unavailable(_) => "peer-unavailable",
        }
    }
}

impl ApprovalRefusal {
    /// Whether the same peer may well approve the same read a little later: it was away, late or hindered, and has not decided.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        // A peer elsewhere says its code alone. That it does not know the read means that it is behind, for the record has it.
        matches!(
            self.code(),
            "peer-unavailable"
                | "peer-catching-up"
                | "read-not-final"
                | "unknown-read"
                | "approval-store"
        )
    }
}

/// What an approval says, apart from its time.
struct Grounds {
    write_id: [u8; 32],
    ephemeral_point: [u8; 32],
    client_spki: Vec<u8>,
    /// Time of the read's block, milliseconds since the Unix epoch.
    time_ms: u64,
    /// The number of that block.
    height: u64,
    /// Until when at most, seconds since the Unix epoch.
    not_after: u64,
    /// The reader's own end: that of its account, of its certificate, or of its client's.
    readers_end: u64,
}

impl Peer {
    /// Decides on approvals, each read by itself, at this peer's own time (milliseconds since the Unix epoch). New ones are
    /// made durable together.
    pub fn approve(
        &mut self,
        reads: &[TransactionId],
        now_ms: u64,
    ) -> Vec<Result<Vec<u8>, ApprovalRefusal>> {
        if let Err(error) = self.lease.settle(&self.store, now_ms) {
            let refused = |_| Err(ApprovalRefusal::Store(error.to_string()));
            return reads.iter().map(refused).collect();
        }
        let mut issued: Vec<(TransactionId, u64, Vec<u8>)> = Vec::new();
        let mut answers = Vec::with_capacity(reads.len());
        for read in reads {
            // The same read twice in one go: the second gets what the first got.
            let answer = match issued.iter().find(|(id, ..)| id == read) {
                Some((_, _, certificate)) => Ok(certificate.clone()),
                None => self.decide(read, now_ms).map(|(certificate, new)| {
                    if let Some(not_after) = new {
                        issued.push((*read, not_after, certificate.clone()));
                    }
                    certificate
                }),
            };
            answers.push(answer);
        }
        if !issued.is_empty()
            && let Err(error) = self.remember(&issued, now_ms)
        {
            // Whether they are on the disk is not known: none of them may leave.
            for (read, answer) in reads.iter().zip(&mut answers) {
                if issued.iter().any(|(id, ..)| id == read) {
                    *answer = Err(ApprovalRefusal::Store(error.to_string()));
                }
            }
        }
        answers
    }

    /// Makes new approvals durable, and that there may be more: they may leave when it returns.
    fn remember(
        &mut self,
        issued: &[(TransactionId, u64, Vec<u8>)],
        now_ms: u64,
    ) -> Result<(), StoreError> {
        let noted = self.lease.next(issued.len(), now_ms);
        self.store.remember(issued, &noted.rows())?;
        self.lease.noted(noted)
    }

    /// The certificate, and until when it is valid if it is a new one.
    fn decide(
        &self,
        read: &TransactionId,
        now_ms: u64,
    ) -> Result<(Vec<u8>, Option<u64>), ApprovalRefusal> {
        if self.stopped || self.keys_on_record() != Some(true) {
            return Err(ApprovalRefusal::Unavailable(
                self.keys.organisation.to_string(),
            ));
        }
        let silent = |heard: u64| now_ms > heard.saturating_add(HEARD_WITHIN_MS);
        if self.catch_up_ms.is_some() || self.heard_ms.is_some_and(silent) {
            return Err(ApprovalRefusal::CatchingUp);
        }
        let live = self.replica.live();
        let grounds = self.grounds(&live.state, read, now_ms)?;
        let not_before = now_ms / 1000;
        let remembered = self
            .store
            .approval(read)
            .map_err(|error| ApprovalRefusal::Store(error.to_string()))?;
        if let Some((not_after, certificate)) = remembered {
            return if not_before <= not_after && not_after <= grounds.readers_end {
                Ok((certificate, None))
            } else {
                Err(ApprovalRefusal::Expired)
            };
        }
        let approvable_before = |time_ms: u64| {
            let mut reads = live.state.threshold_reads();
            reads.any(|(_, it)| it.time_ms < time_ms && self.tenure.after(it.height).is_none())
        };
        let forgotten = self
            .lease
            .may_be_forgotten(grounds.time_ms, approvable_before);
        if let Some(until_ms) = forgotten.max(self.tenure.after(grounds.height)) {
            let time_ms = grounds.time_ms;
            return Err(ApprovalRefusal::SetBack { time_ms, until_ms });
        }
        let not_after = grounds.not_after;
        let approval = Approval {
            write_id: grounds.write_id,
            ephemeral_point: grounds.ephemeral_point,
            approval_id: hex::encode(read),
            client_spki: grounds.client_spki,
            not_before,
            not_after,
        };
        let certificate = self
            .keys
            .issuer
            .issue(&approval)
            .map_err(|error| ApprovalRefusal::Issuer(error.to_string()))?;
        Ok((certificate, Some(not_after)))
    }

    /// Whether this peer's state has the read, and would still permit it.
    fn grounds(
        &self,
        state: &State,
        id: &TransactionId,
        now_ms: u64,
    ) -> Result<Grounds, ApprovalRefusal> {
        let read = state.read(id).ok_or(ApprovalRefusal::UnknownRead(*id))?;
        if read.height > self.final_height {
            return Err(ApprovalRefusal::NotFinal);
        }
        let asked = read
            .reencryption
            .as_ref()
            .ok_or(ApprovalRefusal::NotNeeded)?;
        let window_ms = self.terms.window_ms;
        if now_ms > read.time_ms.saturating_add(window_ms) {
            return Err(ApprovalRefusal::TooOld {
                time_ms: read.time_ms,
                window_ms,
            });
        }
        if read.time_ms > now_ms.saturating_add(window_ms) {
            return Err(ApprovalRefusal::InFuture {
                time_ms: read.time_ms,
                window_ms,
            });
        }
        // Expiry counts by this peer's clock, and at least by the time at which the read was accepted.
        let time_ms = now_ms.max(read.time_ms);
        let content = readable(state, &read.reader, &read.name, time_ms)
            .map_err(ApprovalRefusal::NotPermitted)?;
        let reader =
            active_user(state, &read.reader, time_ms).map_err(ApprovalRefusal::NotPermitted)?;
        if reader.key_version != read.key_version {
            return Err(ApprovalRefusal::KeyRotated {
                reader: read.reader.clone(),
            });
        }
        let now = now_ms / 1000;
        let mut readers_end = u64::MAX;
        if let Some(expires_ms) = reader.expires_ms {
            readers_end = expires_ms / 1000;
            if readers_end <= now {
                let user = read.reader.clone();
                let expired = Rejection::UserExpired { user, expires_ms };
                return Err(ApprovalRefusal::NotPermitted(expired));
            }
        }
        if let Some(certificate) = &reader.certificate {
            readers_end = readers_end.min(certificate.not_after_s());
            if self
                .fresher
                .as_ref()
                .is_some_and(|it| it.revoke(certificate))
            {
                let revoked = Rejection::CertificateRevoked(Holder::User(read.reader.clone()));
                return Err(ApprovalRefusal::NotPermitted(revoked));
            }
        }
        let client = state
            .client_stands(&read.reader.tenant, &asked.client_spki, time_ms)
            .map_err(ApprovalRefusal::NotPermitted)?;
        if let Some((client, certificate)) = client {
            readers_end = readers_end.min(certificate.not_after_s());
            if self
                .fresher
                .as_ref()
                .is_some_and(|it| it.revoke(certificate))
            {
                let revoked = Rejection::CertificateRevoked(Holder::Client(client));
                return Err(ApprovalRefusal::NotPermitted(revoked));
            }
        }
        let unchanged = content
            .threshold
            .is_some_and(|key| key.write_id == asked.write_id);
        let ephemeral = EphemeralKey::parse(&asked.ephemeral_key)
            .ok()
            .filter(|_| unchanged);
        let ephemeral = ephemeral.ok_or_else(|| {
            let (version, found) = (read.name.clone(), asked.write_id);
            ApprovalRefusal::NotPermitted(Rejection::WriteId { version, found })
        })?;
        Ok(Grounds {
            write_id: asked.write_id,
            ephemeral_point: *ephemeral.point().as_bytes(),
            client_spki: asked.client_spki.clone(),
            time_ms: read.time_ms,
            height: read.height,
            not_after: now
                .saturating_add(u64::from(self.terms.lifetime_s))
                .min(readers_end),
            readers_end,
        })
    }
}
