//! The certificate of a result: the proposal, what the attempt computed, and every member's confirmation.
//!
//! Whoever pins the members' identities verifies with it, alone and offline, which key was made, by whom, under which
//! policy, and what every member's public share is. It also carries each member's share, sealed to that member's
//! recovery key, so that any copy restores any member that has its phrase.
//!
//! A result is certified when *all* members have confirmed it: then every honest one holds its share, and none was left
//! out unseen. In a reshare the old members of the attempt have confirmed too. Such a certificate carries, in its proposal, the base's
//! certificate under Y, so that whoever knows the 32 bytes of Y verifies the whole of it ([`verify_reshare`]).
//!
//! # Two ways of verifying the confirmations
//!
//! Third parties that pin the members verify them one by one and strictly, so that all come to the same verdict. Nodes
//! verify them together, for half the cost (see [`crate::signature`]): when they activate, when they read the certificate
//! again, when they are restored, and when they learn of a reshare. The batch's weights are hashes of what it verifies, so
//! all nodes come to one verdict too. The two verdicts differ only on a confirmation that its own author has signed with a
//! component of small order, and that a false leader let pass: nothing is activated that some member did not sign, and what
//! members have activated they also read again and restore from.

mod error;

use rand_core::CryptoRng;
use reencrypt::{KeyShare, Point, PublicKeyPackage};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::attempt;
use crate::base::ResultName;
use crate::confirm::{AttemptResult, Confirmation};
use crate::dealers::dealers;
use crate::phrase::RecoveryPhrase;
use crate::proposal::{MemberIdentity, Proposal};
use crate::sealed_share::Binding;
use crate::shares::evaluate_all_vartime;
use crate::signature::{self, Batch};
use crate::sums::encode_sums;
use crate::tags;
use crate::wire_v1::{self, MAX_CERTIFICATE};

pub use error::CertificateError;

/// The canonical form of a certificate. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[serde(with = "serde_bytes")]
    set: [u8; 64],
    /// S_0 ‖ … ‖ S_t−1.
    sums: ByteBuf,
    epoch: u64,
    /// The seats in the proposal of those that did not take part, ascending.
    absent: Vec<u16>,
    attempt: u32,
    version: u16,
    proposal: ByteBuf,
    qualified: Vec<u16>,
    confirmations: Vec<Confirmation>,
    /// N of everybody who takes part, by seat, from which the parameters follow.
    encryption_keys: ByteBuf,
}

/// A key whose certificate has been verified.
#[derive(Debug, Clone)]
pub struct CertifiedKey {
    proposal: Proposal,
    roster: Proposal,
    attempt: u32,
    result: AttemptResult,
    package: PublicKeyPackage,
    confirmations: Vec<Confirmation>,
}

/// Version of the certificate's encoding.
const CERTIFICATE_VERSION: u16 = 1;

/// Writes a certificate. The caller has verified every confirmation, in index order.
pub(crate) fn encode<'a>(
    proposal: &Proposal,
    number: u32,
    absent: Vec<u16>,
    encryption_keys: impl Iterator<Item = &'a Point>,
    result: &AttemptResult,
    confirmations: &[Confirmation],
) -> Vec<u8> {
    wire_v1::encode(&Fields {
        version: CERTIFICATE_VERSION,
        proposal: ByteBuf::from(proposal.to_bytes()),
        attempt: number,
        absent,
        epoch: result.epoch,
        encryption_keys: ByteBuf::from(
            encryption_keys
                .flat_map(|key| *key.as_bytes())
                .collect::<Vec<u8>>(),
        ),
        set: result.set,
        qualified: result.qualified.clone(),
        sums: ByteBuf::from(encode_sums(&result.sums)),
        confirmations: confirmations.to_vec(),
    })
}

/// How the confirmations' signatures are verified.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signatures {
    /// One by one and strictly, as third parties do.
    Strictly,
    /// In a batch, as members do.
    Together,
}

/// What a member knows already, and need not decode again if the certificate has the same.
#[derive(Clone, Copy)]
pub(crate) struct Known<'a> {
    pub(crate) proposal: &'a Proposal,
    /// Its bytes.
    pub(crate) encoded: &'a [u8],
    /// S_0 … S_t−1; empty if it knows none.
    pub(crate) sums: &'a [Point],
}

/// Verifies a certificate for whoever pins the members' identities, in any order.
///
/// # Errors
/// [`CertificateError::OtherMembers`] if the pinned identities are not exactly the members'; otherwise what is wrong
/// with the certificate itself.
pub fn verify_certificate(
    bytes: &[u8],
    pinned: &[[u8; 32]],
) -> Result<CertifiedKey, CertificateError> {
    let key = CertifiedKey::verify(bytes, Signatures::Strictly, None, package)?;
    key.check_pinned(pinned)?;
    Ok(key)
}

/// Reads the certificate of a key of which this node holds a share: it has verified it when it activated the key.
///
/// # Errors
/// Those of [`verify_certificate`].
pub fn read_own_certificate(
    bytes: &[u8],
    pinned: &[[u8; 32]],
) -> Result<CertifiedKey, CertificateError> {
    let key = CertifiedKey::verify_unpinned(bytes)?;
    key.check_pinned(pinned)?;
    Ok(key)
}

/// Verifies the certificate of a reshare for whoever knows Y and nothing else: the base's certificate in its proposal is signed
/// under Y, it names the old members, and those that took part have confirmed the new result with all its members. The confirmations are
/// verified in a batch, as by all nodes.
///
/// # Errors
/// [`CertificateError::NotAReshare`] for a certificate of a new key, [`CertificateError::OtherKey`] for one of another key;
/// otherwise what is wrong with the certificate itself.
pub fn verify_reshare(
    bytes: &[u8],
    public_key: &[u8; 32],
) -> Result<CertifiedKey, CertificateError> {
    let key = CertifiedKey::verify_unpinned(bytes)?;
    let base = key.proposal.base().ok_or(CertificateError::NotAReshare)?;
    if base.name().public_key != *public_key {
        return Err(CertificateError::OtherKey);
    }
    Ok(key)
}

/// A key as a node gets it back that has lost everything but its phrase.
#[derive(Debug)]
pub struct RestoredKey {
    /// The key.
    pub certified: CertifiedKey,
    /// The node's share of it.
    pub share: KeyShare,
}

/// Step 19: gets a node's share back from its phrase and anybody's copy of the certificate. The members are not pinned; what
/// shows that the certificate is not made up is the node's own confirmation in it, which only its identity can sign.
///
/// # Errors
/// [`CertificateError::NotAMember`] if the phrase is not one of a member, [`CertificateError::SealedShare`] if what
/// its node sealed is not its share; otherwise what is wrong with the certificate.
pub fn restore_key(bytes: &[u8], phrase: &RecoveryPhrase) -> Result<RestoredKey, CertificateError> {
    let certified = CertifiedKey::verify_unpinned(bytes)?;
    let share = certified.recover_share(phrase)?;
    Ok(RestoredKey { certified, share })
}

impl CertifiedKey {
    /// Step 17: verifies that the members that the certificate names confirmed it, in a batch. Whether they are the right ones is for
    /// the caller to know.
    pub(crate) fn verify_unpinned(bytes: &[u8]) -> Result<Self, CertificateError> {
        Self::verify(bytes, Signatures::Together, None, package)
    }

    /// The same, for a member that has been given Y_1 ‖ … ‖ Y_n beside it: they are checked together, under random weights, in
    /// O(n + t) group operations instead of O(n·t). If they are empty they are computed.
    pub(crate) fn verify_with<R: CryptoRng>(
        bytes: &[u8],
        known: Known<'_>,
        public_shares: &[u8],
        rng: &mut R,
    ) -> Result<Self, CertificateError> {
        if public_shares.is_empty() {
            return Self::verify(bytes, Signatures::Together, Some(known), package);
        }
        Self::verify(
            bytes,
            Signatures::Together,
            Some(known),
            |roster, result| {
                let points = points(chunks(
                    "public shares",
                    public_shares,
                    roster.members().len(),
                )?)?;
                PublicKeyPackage::of_commitments_vartime(&result.sums, result.epoch, points, rng)
                    .map_err(|_| CertificateError::PublicShares)
            },
        )
    }

    fn verify(
        bytes: &[u8],
        signatures: Signatures,
        known: Option<Known<'_>>,
        package: impl FnOnce(&Proposal, &AttemptResult) -> Result<PublicKeyPackage, CertificateError>,
    ) -> Result<Self, CertificateError> {
        let fields: Fields = wire_v1::decode(bytes, MAX_CERTIFICATE)?;
        if fields.version != CERTIFICATE_VERSION {
            return Err(CertificateError::Version(fields.version));
        }
        let proposal = match known {
            Some(known) if *fields.proposal == *known.encoded => known.proposal.clone(),
            _ => Proposal::from_bytes(&fields.proposal)?,
        };
        let present = (1u16..)
            .zip(proposal.seats())
            .map(|(seat, _)| seat)
            .filter(|seat| !fields.absent.contains(seat))
            .collect::<Vec<u16>>();
        let canonical = fields
            .absent
            .iter()
            .zip(fields.absent.iter().skip(1))
            .all(|(a, b)| a < b)
            && fields.absent.len() + present.len() == proposal.seats().len();
        let roster = proposal
            .among(&present)
            .filter(|_| canonical)
            .ok_or(CertificateError::Absence)?;
        let seats = roster.seats().len();
        let encryption_keys = chunks("encryption keys", &fields.encryption_keys, seats)?;
        let sums = chunks("sums", &fields.sums, usize::from(proposal.threshold()))?;
        count("confirmations", fields.confirmations.len(), seats)?;
        let dealers = dealers(&roster).ok_or(CertificateError::Absence)?;
        count("qualified dealers", fields.qualified.len(), dealers.len())?;
        let qualified = dealers.iter().map(|dealer| &dealer.index);
        if fields.epoch != proposal.epoch()
            || fields.attempt < proposal.first_attempt()
            || !qualified.eq(&fields.qualified)
        {
            return Err(CertificateError::OtherResult);
        }
        let result = AttemptResult {
            params: attempt::params(&roster, fields.attempt, encryption_keys),
            epoch: fields.epoch,
            set: fields.set,
            qualified: fields.qualified,
            sums: match known {
                Some(known) if known.sums.iter().map(Point::as_bytes).eq(sums) => {
                    known.sums.to_vec()
                }
                _ => points(sums)?,
            },
        };
        if let Some(base) = proposal.base()
            && result.sums.first() != Some(&base.certificate().package().public_key())
        {
            return Err(CertificateError::OtherKey);
        }
        check_confirmations(&roster, &result, &fields.confirmations, signatures)?;
        let package = package(&roster, &result)?;
        Ok(Self {
            proposal,
            roster,
            attempt: fields.attempt,
            result,
            package,
            confirmations: fields.confirmations,
        })
    }

    fn check_pinned(&self, pinned: &[[u8; 32]]) -> Result<(), CertificateError> {
        let mut pinned = pinned.to_vec();
        pinned.sort_unstable();
        if !pinned
            .iter()
            .eq(self.members().iter().map(|member| &member.identity))
        {
            return Err(CertificateError::OtherMembers);
        }
        Ok(())
    }

    /// Y, the threshold, and every member's public share.
    pub fn package(&self) -> &PublicKeyPackage {
        &self.package
    }

    /// The key, 32 bytes, by which it is named.
    pub fn public_key(&self) -> Point {
        self.package.public_key()
    }

    /// The members in index order: the first has index 1.
    pub fn members(&self) -> &[MemberIdentity] {
        self.roster.members()
    }

    /// What tells its attempt from every other one, also from one of the same number: the hash of all that the attempt is.
    pub fn params(&self) -> &[u8; 64] {
        &self.result.params
    }

    /// The proposal with the key's members only.
    pub(crate) fn roster(&self) -> &Proposal {
        &self.roster
    }

    /// The index, 1…n, of an identity among the key's members.
    pub fn index_of(&self, identity: &[u8; 32]) -> Option<u16> {
        self.roster
            .index_of(identity)
            .filter(|seat| !self.roster.is_leaving(*seat))
    }

    /// The member of index 1…n.
    pub fn member(&self, index: u16) -> Option<&MemberIdentity> {
        self.roster
            .member(index)
            .filter(|_| !self.roster.is_leaving(index))
    }

    /// The name of the result: of two of one key, the greater is followed.
    pub fn name(&self) -> ResultName {
        ResultName {
            epoch: self.result.epoch,
            attempt: self.attempt,
            hash: self.result.hash(),
        }
    }

    /// SHA-256 of the approval policy of the key.
    pub fn policy_hash(&self) -> &[u8; 32] {
        self.proposal.policy_hash()
    }

    /// 0 for a new key.
    pub fn epoch(&self) -> u64 {
        self.result.epoch
    }

    /// The number of the attempt that made it.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// What was proposed; in a reshare also the base. Its seats are not the key's indices if somebody was absent.
    pub fn proposal(&self) -> &Proposal {
        &self.proposal
    }

    /// The hash that all members signed, 64 bytes.
    pub fn result_hash(&self) -> [u8; 64] {
        self.result.hash()
    }

    pub(crate) fn result(&self) -> &AttemptResult {
        &self.result
    }

    pub(crate) fn confirmation(&self, index: u16) -> Option<&Confirmation> {
        usize::from(index)
            .checked_sub(1)
            .and_then(|place| self.confirmations.get(place))
    }

    /// Step 19: restores a member's share from its phrase.
    ///
    /// # Errors
    /// [`CertificateError::NotAMember`] if the phrase is not one of a member, [`CertificateError::SealedShare`] if what
    /// its node sealed is not its share.
    pub fn recover_share(&self, phrase: &RecoveryPhrase) -> Result<KeyShare, CertificateError> {
        let keys = phrase.node_keys();
        let identity = keys.identity.verifying_key().to_bytes();
        let index = self
            .index_of(&identity)
            .ok_or(CertificateError::NotAMember)?;
        let member = self.member(index).ok_or(CertificateError::NotAMember)?;
        if member.recovery_public != *keys.recovery_public.as_bytes() {
            return Err(CertificateError::NotAMember);
        }
        let unusable = CertificateError::SealedShare { member: index };
        let sealed = self
            .confirmation(index)
            .ok_or(CertificateError::Confirmation { member: index })?;
        let binding = Binding {
            params: &self.result.params,
            index,
            member,
            set: &self.result.set,
        };
        let sealed = sealed.sealed_share.first_chunk();
        let opened = sealed.and_then(|sealed| binding.open(&phrase.recovery_secret(), sealed));
        let Some(secret) = opened else {
            return Err(unusable);
        };
        KeyShare::new(index, self.result.epoch, self.public_key(), secret)
            .ok()
            .filter(|share| share.check(&self.package).is_ok())
            .ok_or(unusable)
    }
}

/// Every member's public share, from the sums.
pub(crate) fn package(
    proposal: &Proposal,
    result: &AttemptResult,
) -> Result<PublicKeyPackage, CertificateError> {
    let members = u16::try_from(proposal.members().len()).unwrap_or(u16::MAX);
    let public_shares =
        evaluate_all_vartime(&result.sums, members).ok_or(CertificateError::Point)?;
    let public_key = result
        .sums
        .first()
        .copied()
        .ok_or(CertificateError::Point)?;
    PublicKeyPackage::new(
        public_key,
        result.epoch,
        proposal.threshold(),
        public_shares,
    )
    .map_err(|_| CertificateError::Point)
}

/// One confirmation of each seat, in order, signed.
fn check_confirmations(
    roster: &Proposal,
    result: &AttemptResult,
    confirmations: &[Confirmation],
    signatures: Signatures,
) -> Result<(), CertificateError> {
    let (params, hash) = (&result.params, result.hash());
    let mut batch = Batch::default();
    for (member, confirmation) in (1u16..).zip(confirmations) {
        let wrong = CertificateError::Confirmation { member };
        let author = roster.identity(member).ok_or(wrong.clone())?;
        if confirmation.index != member || !confirmation.is_complete(roster) {
            return Err(wrong);
        }
        let index = member.to_le_bytes();
        let items = confirmation.signed_items(params, &index, &hash);
        match signatures {
            Signatures::Together => {
                batch.push(author, tags::CONFIRM, &items, &confirmation.signature);
            }
            Signatures::Strictly => {
                if !signature::verify(author, tags::CONFIRM, &items, &confirmation.signature) {
                    return Err(wrong);
                }
            }
        }
    }
    batch.verify().map_err(|places| {
        let first = places.first().and_then(|place| u16::try_from(*place).ok());
        CertificateError::Confirmation {
            member: first.unwrap_or_default().saturating_add(1),
        }
    })
}

fn points(encoded: &[[u8; 32]]) -> Result<Vec<Point>, CertificateError> {
    encoded
        .iter()
        .map(|bytes| Point::from_bytes(bytes).map_err(|_| CertificateError::Point))
        .collect()
}

fn count(what: &'static str, got: usize, expected: usize) -> Result<(), CertificateError> {
    if got != expected {
        return Err(CertificateError::Count {
            what,
            expected,
            got,
        });
    }
    Ok(())
}

fn chunks<'a>(
    what: &'static str,
    bytes: &'a [u8],
    expected: usize,
) -> Result<&'a [[u8; 32]], CertificateError> {
    let (chunks, remainder) = bytes.as_chunks::<32>();
    count(
        what,
        chunks.len() + usize::from(!remainder.is_empty()),
        expected,
    )?;
    if !remainder.is_empty() {
        return Err(CertificateError::Count {
            what,
            expected,
            got: chunks.len(),
        });
    }
    Ok(chunks)
}

#[cfg(test)]
mod tests;
