//! What is asked in each round.

use serde_bytes::ByteBuf;

use super::rounds::Phase;
use crate::exclusion::Exclusion;
use crate::proposal::SignedProposal;
use crate::sums::encode_sums;
use crate::wire_v1::Message;

/// What the questions are made of.
pub(super) struct Asked<'a> {
    pub(super) signed: &'a SignedProposal,
    /// Only the proposal's leader can call it off.
    pub(super) abandon: Option<&'a [u8; 64]>,
    pub(super) exclusions: &'a [Exclusion],
    pub(super) accused: &'a [Exclusion],
    /// Whether everybody gets the whole deals.
    pub(super) whole_deals: bool,
}

impl Phase {
    /// The open round's question to member `index`.
    pub(super) fn question(
        &self,
        asked: &Asked<'_>,
        ceremony: [u8; 16],
        index: u16,
    ) -> Option<Message> {
        Some(match self {
            Self::Accepting(_) => Message::Propose {
                proposal: asked.signed.clone(),
            },
            Self::Dealing(attempt, _) => Message::Begin {
                ceremony,
                attempt: attempt.number,
                excluded: asked.exclusions.to_vec(),
                acceptances: attempt.acceptances.clone(),
            },
            Self::Acknowledging { deals, wanted, .. } => {
                let whole = asked.whole_deals || wanted.contains(&index);
                deals.question(ceremony, index, whole)?
            }
            // Somebody has made it doubt what it had acknowledged.
            Self::Confirming { deals, wanted, .. } if wanted.contains(&index) => {
                deals.question(ceremony, index, true)?
            }
            Self::Confirming {
                deals,
                acknowledgements,
                result,
                ..
            } if deals.attempt.roster.is_leaving(index) => Message::HandOver {
                ceremony,
                attempt: deals.attempt.number,
                sums: ByteBuf::from(encode_sums(&result.sums)),
                acknowledgements: acknowledgements.clone(),
            },
            Self::Confirming {
                deals,
                acknowledgements,
                ..
            } => Message::Acknowledgements {
                ceremony,
                attempt: deals.attempt.number,
                acknowledgements: acknowledgements.clone(),
            },
            Self::Activating {
                certificate,
                public_shares,
                ..
            } => Message::Certificate {
                ceremony,
                certificate: ByteBuf::from(certificate.clone()),
                public_shares: ByteBuf::from(public_shares.clone()),
            },
            Self::Failed { .. } => match asked.abandon {
                Some(signature) => Message::Abandon {
                    ceremony,
                    signature: *signature,
                    excluded: asked.accused.to_vec(),
                },
                None => Message::Notice {
                    ceremony,
                    excluded: asked.accused.to_vec(),
                },
            },
            Self::Completed { .. } | Self::StoodAside => return None,
        })
    }
}
