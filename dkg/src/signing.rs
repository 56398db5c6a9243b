//! Signing the statement of a key under Y: who asks, who answers, in which order.
//!
//! Any member that serves a key may run a session ([`SigningSession`]), at any time and as often as it takes; t members
//! answer ([`Signer`]). There is nothing to write to a disk on either side: a crash means a new session.
//!
//! ```text
//!  coordinator ── commit (session) ─────────▶ member     fresh nonces, kept in memory for this session
//!              ◀──────────────── committed ──            or `key-certificate`, if the member has one already
//!              ── sign (all t commitments) ─▶            takes the nonces out, then signs its own activated result
//!              ◀─────────────────── signed ──
//!              ── key-certificate ──────────▶            to everybody
//!              ◀───────────────────── kept ──
//! ```
//!
//! A member never signs bytes that it is given: the message follows from the result that it has itself activated. A session
//! whose signer falls silent, refuses or cheats is given up and a new one begun with others; whoever cheated is named and not
//! asked again.

mod session;

use std::collections::VecDeque;

use rand_core::CryptoRng;
use reencrypt::{KeyCertificate, KeyShare};

use crate::certificate::CertifiedKey;
use crate::fault::Fault;
use crate::frost::{self, NonceCommitments, Nonces};
use crate::key_certificate::ToSign;
use crate::wire_v1::Message;

pub use session::{SigningEffect, SigningSession};

/// The most sessions of one sender for which a member keeps nonces at one time; its oldest is forgotten.
const MAX_SESSIONS: usize = 4;

/// Why something was not signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// No nonces for the session: used already, or lost in a restart.
    #[error("this member has no nonces for that session any more: begin a new one")]
    NoSession,
    /// The commitments are not those of a session of this member.
    #[error("the commitments are not those of t distinct members with this one's own among them")]
    Commitments,
    /// A signer's commitments are not two points.
    #[error("the commitments of member {signer} are not points")]
    BadCommitments {
        /// The signer's index.
        signer: u16,
    },
    /// False shares of the signature.
    #[error("members gave false shares of the signature: {signers:?}")]
    FalseShares {
        /// Their indices.
        signers: Vec<u16>,
    },
    /// Not a member of this key.
    #[error("the sender, or a signer, is not a member of this key")]
    NotAMember,
    /// The nonces could not be made.
    #[error("no nonces could be made; the source of randomness is not one")]
    Nonces,
    /// A certificate that does not hold or states something else.
    #[error(
        "the certificate does not state what this member has activated, or is not signed under the key"
    )]
    Certificate,
}

impl SigningError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSession => "no-signing-session",
            Self::Commitments => "signing-commitments",
            Self::BadCommitments { .. } => "signing-bad-commitments",
            Self::FalseShares { .. } => "signing-false-share",
            Self::NotAMember => "signing-not-a-member",
            Self::Nonces => "signing-nonces",
            Self::Certificate => "signing-certificate",
        }
    }

    pub(crate) fn culprit(&self) -> Option<u16> {
        match self {
            Self::BadCommitments { signer } => Some(*signer),
            Self::FalseShares { signers } => signers.first().copied(),
            _ => None,
        }
    }
}

struct Open {
    from: [u8; 32],
    session: [u8; 16],
    nonces: Nonces,
}

/// A member's side, for one activated key. Holds nonces only, in memory only: never written, gone with the process.
#[derive(Default)]
pub struct Signer {
    open: VecDeque<Open>,
}

impl Signer {
    /// A signer without open sessions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `commit` and `sign` of a member of the key. `share` and `key` are this node's own activated ones; `certificate` is
    /// the key's certificate, if this node has it.
    ///
    /// # Errors
    /// A fault is answered with [`Message::refusal`].
    pub fn handle<R: CryptoRng>(
        &mut self,
        from: &[u8; 32],
        message: &Message,
        share: &KeyShare,
        key: &CertifiedKey,
        certificate: Option<&[u8]>,
        rng: &mut R,
    ) -> Result<Message, Fault> {
        let ceremony = key.proposal().id();
        let result = key.result_hash();
        if message.ceremony() != Some(ceremony) || message.result() != Some(&result) {
            return Err(Fault::OtherCeremony);
        }
        if key.index_of(from).is_none() {
            return Err(Fault::Stranger { from: *from });
        }
        if let (Message::Commit { .. } | Message::Sign { .. }, Some(certificate)) =
            (message, certificate)
        {
            return Ok(Message::KeyCertificate {
                result,
                ceremony,
                certificate: serde_bytes::ByteBuf::from(certificate.to_vec()),
            });
        }
        match message {
            Message::Commit { session, .. } => {
                let commitments = self.commit(from, session, share, rng)?;
                Ok(Message::Committed {
                    session: *session,
                    ceremony,
                    commitments,
                })
            }
            Message::Sign {
                session,
                commitments,
                ..
            } => Ok(Message::Signed {
                share: self.sign(from, session, commitments, share, key)?,
                session: *session,
                ceremony,
            }),
            other => Err(Fault::OutOfStep {
                message: other.name(),
                stage: "activated",
            }),
        }
    }

    /// Fresh nonces; the same commitments again for a session that has not been signed for yet.
    fn commit<R: CryptoRng>(
        &mut self,
        from: &[u8; 32],
        session: &[u8; 16],
        share: &KeyShare,
        rng: &mut R,
    ) -> Result<NonceCommitments, SigningError> {
        let same = |open: &&Open| open.session == *session && open.from == *from;
        if let Some(open) = self.open.iter().find(same) {
            return Ok(open.nonces.commitments().clone());
        }
        let nonces = Nonces::new(share, rng)?;
        let commitments = nonces.commitments().clone();
        let of_sender = self.open.iter().filter(|open| open.from == *from).count();
        if of_sender >= MAX_SESSIONS
            && let Some(oldest) = self.open.iter().position(|open| open.from == *from)
        {
            drop(self.open.remove(oldest));
        }
        self.open.push_back(Open {
            from: *from,
            session: *session,
            nonces,
        });
        Ok(commitments)
    }

    /// The nonces are gone before anything else is looked at, whatever comes of it.
    fn sign(
        &mut self,
        from: &[u8; 32],
        session: &[u8; 16],
        commitments: &[NonceCommitments],
        share: &KeyShare,
        key: &CertifiedKey,
    ) -> Result<[u8; 32], SigningError> {
        let place = self
            .open
            .iter()
            .position(|open| open.session == *session && open.from == *from)
            .ok_or(SigningError::NoSession)?;
        let open = self.open.remove(place).ok_or(SigningError::NoSession)?;
        let package = key.package();
        let known = commitments
            .iter()
            .all(|signer| package.public_share(signer.index).is_some());
        if commitments.len() != usize::from(package.threshold())
            || !known
            || !commitments.contains(open.nonces.commitments())
            || share.check(package).is_err()
        {
            return Err(SigningError::Commitments);
        }
        let message = ToSign::of(key).message;
        frost::sign(open.nonces, commitments, &message, share, package)
    }
}

/// Verifies a key's certificate that a member sent, and that it states what this node has activated.
///
/// # Errors
/// [`SigningError::Certificate`].
pub fn check_key_certificate(
    bytes: &[u8],
    key: &CertifiedKey,
) -> Result<KeyCertificate, SigningError> {
    KeyCertificate::verify(bytes, key.public_key().as_bytes())
        .ok()
        .filter(|certificate| ToSign::of(key).is_stated_by(certificate))
        .ok_or(SigningError::Certificate)
}
