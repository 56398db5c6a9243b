//! The base of a reshare: the result whose shares are dealt anew, and what a node knows of it.
//!
//! A reshare hands Y on: t_old members of the base deal their shares of it, and the new members hold shares of the same
//! secret on another polynomial. The proposal carries the base's [`KeyCertificate`], signed under Y itself, so that a new
//! member that has never heard of the key learns from Y alone who its members are, their public shares, threshold and epoch.
//!
//! # Seats
//!
//! Those that take part in a proposal sit in *seats*, numbered from 1: first the new members in the order of their identities, so that a
//! new member's seat is its index of the new key; then the old members that are not new ones, in the base's order. A seat
//! may be new, old or both. In a create every seat is new.
//!
//! # What keeps two results of one base apart
//!
//! Attempts on a base are numbered across all proposals that begin from it. A member confirms them in increasing order
//! only, and refuses a base that it knows to be superseded. The node keeps what that takes beside the ceremonies
//! ([`Holding`]), and writes it in the same transaction as the confirmation ([`ConfirmedAttempt`]).

pub use reencrypt::ResultName;
use reencrypt::{KeyCertificate, KeyShare};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::fault::Fault;
use crate::proposal::{MAX_ADDRESS, ProposalError, check_text};

/// The most by which a proposal's attempts may be ahead of those that a node has confirmed. Without a bound, one proposal
/// could use the numbers up.
pub const MAX_ATTEMPTS_AHEAD: u32 = 1 << 20;

/// A result of which shares are dealt anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BaseName {
    /// Y, 32 bytes.
    pub public_key: [u8; 32],
    /// Which of its results.
    pub result: ResultName,
}

/// What a proposal says of its base, before it is checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseTerms {
    /// The base's certificate, signed under Y: the canonical bytes of a [`KeyCertificate`].
    pub certificate: Vec<u8>,
    /// Where the base's members are reached, `host:port`, in index order. Those of members that stay may differ from
    /// their entry among the new members, which then counts.
    pub addresses: Vec<String>,
    /// The indices in the base of the members that attempts may leave out, ascending. All others must take part, and they
    /// must be t of the base at least.
    pub old_may_be_absent: Vec<u16>,
    /// Attempts are numbered from here + 1: the highest attempt on this base that any member has confirmed.
    pub attempts_after: u32,
}

/// The base as it stands in the proposal's bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BaseFields {
    addresses: Vec<String>,
    certificate: ByteBuf,
    attempts_after: u32,
    old_may_be_absent: Vec<u16>,
}

/// The base of a proposal: its certificate has been verified under Y.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    certificate: KeyCertificate,
    addresses: Vec<String>,
    old_may_be_absent: Vec<u16>,
    attempts_after: u32,
}

/// What this node holds, and has promised, of the base of a reshare. The driver looks it up by [`crate::Member::base_of`]
/// for each message, and passes it in; nothing of it enters the ceremony's state.
#[derive(Debug, Default, Clone, Copy)]
pub struct Holding<'a> {
    /// This node's share of the base. `None` if it has none, or has erased it.
    pub share: Option<&'a KeyShare>,
    /// The greatest result of this Y of which this node has ever seen a valid certificate.
    pub newest: Option<ResultName>,
    /// The highest attempt on this base that this node has confirmed, in whichever ceremony; 0 for none.
    pub confirmed: u32,
}

/// An attempt that this member has just confirmed. To be written as [`Holding::confirmed`] of its base in the same
/// transaction as the machine's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfirmedAttempt {
    /// The base.
    pub base: BaseName,
    /// The attempt's number.
    pub attempt: u32,
}

/// A base that has been handed on: all members of the attempt have confirmed its successor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiredKey {
    /// The base. Whoever holds a share of it deals it no more, and erases it when the overlap has passed.
    pub base: BaseName,
    /// The result that follows it.
    pub successor: ResultName,
    /// SHA-256 of the successor's policy: it governs what is left of the base too.
    pub policy_hash: [u8; 32],
}

impl From<BaseTerms> for BaseFields {
    fn from(terms: BaseTerms) -> Self {
        Self {
            addresses: terms.addresses,
            certificate: ByteBuf::from(terms.certificate),
            attempts_after: terms.attempts_after,
            old_may_be_absent: terms.old_may_be_absent,
        }
    }
}

impl BaseFields {
    /// Verifies the certificate under the Y that it names, and that the rest fits it.
    pub(crate) fn verify(&self) -> Result<Base, ProposalError> {
        let certificate =
            KeyCertificate::verify_any(&self.certificate).map_err(ProposalError::Base)?;
        let members = certificate.members().len();
        if self.addresses.len() != members {
            return Err(ProposalError::BaseAddresses {
                expected: members,
                got: self.addresses.len(),
            });
        }
        for address in &self.addresses {
            check_text("address", address, MAX_ADDRESS)?;
        }
        let absent = &self.old_may_be_absent;
        let ascending = absent.iter().zip(absent.iter().skip(1)).all(|(a, b)| a < b);
        let in_range = absent
            .iter()
            .all(|index| (1..=members).contains(&usize::from(*index)));
        let threshold = certificate.package().threshold();
        let left = members.saturating_sub(absent.len());
        if !ascending || !in_range || left < usize::from(threshold) {
            return Err(ProposalError::OldAbsence {
                absent: absent.len(),
                members,
                threshold,
            });
        }
        if self.attempts_after > u32::MAX / 2 {
            return Err(ProposalError::AttemptsAfter(self.attempts_after));
        }
        Ok(Base {
            certificate,
            addresses: self.addresses.clone(),
            old_may_be_absent: absent.clone(),
            attempts_after: self.attempts_after,
        })
    }
}

impl Base {
    /// Who holds the base, with which public shares, under which threshold, policy and epoch.
    pub fn certificate(&self) -> &KeyCertificate {
        &self.certificate
    }

    /// Y and the base's result.
    pub fn name(&self) -> BaseName {
        BaseName {
            public_key: *self.certificate.package().public_key().as_bytes(),
            result: self.certificate.name(),
        }
    }

    /// Where the old members are reached, in the base's index order.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// The indices in the base of the members that attempts may leave out, ascending.
    pub fn old_may_be_absent(&self) -> &[u16] {
        &self.old_may_be_absent
    }

    /// Attempts are numbered from here + 1.
    pub fn attempts_after(&self) -> u32 {
        self.attempts_after
    }

    /// t_old: how many old members deal.
    pub fn threshold(&self) -> u16 {
        self.certificate.package().threshold()
    }

    /// Whether an attempt of this number may be taken part in, by what the node has confirmed and knows.
    pub(crate) fn check(&self, holding: &Holding<'_>, number: u32) -> Result<(), Fault> {
        let newest = holding.newest.unwrap_or(self.name().result);
        if newest > self.name().result {
            return Err(Fault::BaseSuperseded {
                epoch: newest.epoch,
                attempt: newest.attempt,
            });
        }
        if number <= holding.confirmed {
            return Err(Fault::AttemptTaken {
                highest: holding.confirmed,
            });
        }
        Ok(())
    }

    /// Whether a proposal from this base may be considered.
    pub(crate) fn check_proposed(&self, holding: &Holding<'_>) -> Result<(), Fault> {
        self.check(holding, self.attempts_after.saturating_add(1))?;
        if self.attempts_after.saturating_sub(holding.confirmed) > MAX_ATTEMPTS_AHEAD {
            return Err(Fault::AttemptsAhead {
                after: self.attempts_after,
                highest: holding.confirmed,
            });
        }
        Ok(())
    }

    /// The base's share that a dealer passes on, if it is the one of this index.
    pub(crate) fn usable_share<'a>(
        &self,
        holding: &Holding<'a>,
        index: u16,
    ) -> Result<&'a KeyShare, Fault> {
        holding
            .share
            .filter(|share| {
                share.index() == index && share.check(self.certificate.package()).is_ok()
            })
            .ok_or(Fault::BaseNotHeld { index })
    }
}
