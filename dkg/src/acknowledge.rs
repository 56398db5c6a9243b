//! Step 2, acknowledge: each member checks its share of every deal, and says so, or complains with evidence.
//!
//! An acknowledgement is a signature over the *set of deals* by hash, in index order:
//!
//! ```text
//! set = H("cryptonode/v1/dkg-deal-set", params, digest_1, …, digest_n)
//! ```
//!
//! A complaint opens a ciphertext to everybody: the point n_j·N_i with a proof that it is formed with the n_j of the
//! member's encryption key N_j (purpose `complaint`). From it anyone decrypts that share and sees who lied: the dealer or the
//! complaint's author. The point also opens what the author dealt to the accused, and both in every other attempt of the ceremony, and no more:
//! one of the two is a cheat, and has known all of that already. N_i is none that was made from another member's, because a
//! deal whose dealer does not know n_i is void before anybody complains of it ([`crate::knowledge`]).

use ed25519_dalek::SigningKey;
use rand_core::CryptoRng;
use reencrypt::{Hasher, Point, SecretScalar, decode_scalar, equality};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::attempt::{Attempt, altered};
use crate::deal::{self, DealHeader, OpenHeader, Pad, RelayedDeal};
use crate::fault::{DealFault, Fault};
use crate::known::known;
use crate::proposal::Proposal;
use crate::shares::share_fits;
use crate::signature::{self, Batch};
use crate::tags;

/// The longest Merkle path of a ciphertext in a complaint, in bytes: 16 hashes.
const MAX_PATH: usize = 16 * 32;

/// Member j's word that its share of every deal in the set is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// The hash of the set of deals, 64 bytes.
    #[serde(with = "serde_bytes")]
    pub set: [u8; 64],
    /// The member's index, 1…n.
    pub index: u16,
    /// The member's signature over `H("cryptonode/v1/dkg-acknowledge", params, LE16(index), set)`, 64 bytes.
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
}

/// Evidence against one deal. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Complaint {
    /// The Merkle path of the ciphertext.
    pub path: ByteBuf,
    /// The equality proof of protocol.md 2, 96 bytes.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 96],
    /// The dealer complained of, by the index in its header.
    pub dealer: u16,
    /// n_j·N_i, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub opening: [u8; 32],
    /// c_ij, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub ciphertext: [u8; 32],
}

/// All complaints of one member, in the order of the dealers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Complaints {
    /// The hash of the set of deals complained of, 64 bytes.
    #[serde(with = "serde_bytes")]
    pub set: [u8; 64],
    /// The member's index, 1…n.
    pub index: u16,
    /// The member's signature over `H("cryptonode/v1/dkg-complain", params, LE16(index), set, and for each complaint
    /// LE16(dealer), ciphertext, path, opening, proof)`, 64 bytes.
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
    /// At least one.
    pub complaints: Vec<Complaint>,
}

/// The hash of a set of deals, from their digests in index order.
pub(crate) fn deal_set<'a>(
    params: &[u8; 64],
    digests: impl Iterator<Item = &'a [u8; 64]>,
) -> [u8; 64] {
    digests
        .fold(
            Hasher::new(tags::DEAL_SET).item(params),
            |hasher, digest| hasher.item(digest),
        )
        .finalize()
}

impl Acknowledgement {
    pub(crate) fn new(params: &[u8; 64], index: u16, set: [u8; 64], identity: &SigningKey) -> Self {
        let signature = signature::sign(
            identity,
            tags::ACKNOWLEDGE,
            &[params, &index.to_le_bytes(), &set],
        );
        Self {
            index,
            set,
            signature,
        }
    }

    /// Whether the member of its index signed it.
    pub(crate) fn is_signed(&self, proposal: &Proposal, params: &[u8; 64]) -> bool {
        let index = self.index.to_le_bytes();
        let items: [&[u8]; 3] = [params, &index, &self.set];
        proposal.identity(self.index).is_some_and(|identity| {
            signature::verify(identity, tags::ACKNOWLEDGE, &items, &self.signature)
        })
    }
}

/// Step 12: one acknowledgement of each new member, in index order, all of the set that this member has seen itself.
///
/// Their signatures are verified only to say of somebody that it has acknowledged other deals. The leader has verified them; and whatever a false
/// one makes of it, nothing is activated before every member has signed the set once more in its confirmation, and those are verified.
pub(crate) fn check_acknowledgements(
    proposal: &Proposal,
    params: &[u8; 64],
    own: &Acknowledgement,
    acknowledgements: &[Acknowledgement],
) -> Result<(), Fault> {
    check_order(proposal, acknowledgements)?;
    let is_own_altered = |other: &Acknowledgement| other.index == own.index && other != own;
    if acknowledgements.iter().any(is_own_altered) {
        return Err(Fault::OwnMessageAltered {
            what: "acknowledgement",
        });
    }
    if acknowledgements.iter().all(|other| other.set == own.set) {
        return Ok(());
    }
    check_signatures(proposal, params, acknowledgements)?;
    check_one_set(&own.set, acknowledgements)
}

/// Step 32: one acknowledgement of each new member, in index order, all signed and of one set. Returns the set, which whoever asks has not seen itself.
pub(crate) fn acknowledged_set(
    proposal: &Proposal,
    params: &[u8; 64],
    acknowledgements: &[Acknowledgement],
) -> Result<[u8; 64], Fault> {
    check_order(proposal, acknowledgements)?;
    check_signatures(proposal, params, acknowledgements)?;
    let first = acknowledgements.first().ok_or(Fault::UnusableResult)?;
    check_one_set(&first.set, acknowledgements)?;
    Ok(first.set)
}

fn check_order(proposal: &Proposal, acknowledgements: &[Acknowledgement]) -> Result<(), Fault> {
    let expected = proposal.members().len();
    let in_order = (1..)
        .zip(acknowledgements)
        .all(|(index, acknowledgement)| acknowledgement.index == index);
    if acknowledgements.len() != expected || !in_order {
        return Err(Fault::Count {
            what: "acknowledgement",
            expected,
            got: acknowledgements.len(),
        });
    }
    Ok(())
}

fn check_signatures(
    proposal: &Proposal,
    params: &[u8; 64],
    acknowledgements: &[Acknowledgement],
) -> Result<(), Fault> {
    let mut signatures = Batch::default();
    for (acknowledgement, identity) in acknowledgements.iter().zip(proposal.identities()) {
        let index = acknowledgement.index.to_le_bytes();
        let items: [&[u8]; 3] = [params, &index, &acknowledgement.set];
        let signature = &acknowledgement.signature;
        signatures.push(identity, tags::ACKNOWLEDGE, &items, signature);
    }
    signatures
        .verify()
        .map_err(|places| altered(&places, "acknowledgement"))
}

fn check_one_set(set: &[u8; 64], acknowledgements: &[Acknowledgement]) -> Result<(), Fault> {
    match acknowledgements.iter().find(|other| other.set != *set) {
        Some(other) => Err(Fault::OtherDeals {
            member: other.index,
        }),
        None => Ok(()),
    }
}

/// The statement of a complaint's proof.
fn prove_or_check<T>(
    pad: &Pad<'_>,
    digest: &[u8; 64],
    opening: &Point,
    then: impl FnOnce(&equality::Statement<'_>) -> T,
) -> T {
    let (dealer, member) = (pad.dealer.to_le_bytes(), pad.to.to_le_bytes());
    then(&equality::Statement {
        purpose: tags::COMPLAINT,
        context: &[pad.params, &dealer, &member, digest],
        bases: (Point::generator(), *pad.dealer_key),
        points: (*pad.key, *opening),
    })
}

impl Complaint {
    /// Opens this member's ciphertext of a deal. `secret` is n_j.
    pub(crate) fn new<R: CryptoRng>(
        attempt: &Attempt,
        from: u16,
        secret: &SecretScalar,
        accused: &OpenHeader,
        relayed: &RelayedDeal,
        rng: &mut R,
    ) -> Option<Self> {
        let pad = Pad::of(attempt, &relayed.header, from)?;
        // Everybody is shown it.
        let shared = known(*secret.diffie_hellman(pad.dealer_key));
        let opening = Point::from_bytes(&shared).ok()?;
        let proof = prove_or_check(&pad, &accused.digest, &opening, |statement| {
            equality::EqualityProof::prove(statement, secret, rng)
        });
        Some(Self {
            dealer: accused.index,
            ciphertext: relayed.ciphertext,
            path: relayed.path.clone(),
            opening: *opening.as_bytes(),
            proof: proof.to_bytes(),
        })
    }

    /// Step 11, who is to blame: the dealer if the opened share does not fit, the author if the evidence is false.
    pub(crate) fn judge_vartime(
        &self,
        attempt: &Attempt,
        from: u16,
        header: &DealHeader,
        accused: &OpenHeader,
    ) -> Fault {
        let dealer = attempt.seat_of_dealer(accused.index);
        let refuted = Fault::FalseComplaint {
            member: from,
            dealer,
        };
        let Some(pad) = Pad::of(attempt, header, from) else {
            return refuted;
        };
        if !deal::verify_ciphertext(
            header,
            &self.ciphertext,
            &self.path,
            from,
            attempt.members(),
        ) {
            return refuted;
        }
        let Ok(opening) = Point::from_bytes(&self.opening) else {
            return refuted;
        };
        let Ok(proof) = equality::EqualityProof::from_bytes(&self.proof) else {
            return refuted;
        };
        let proved = prove_or_check(&pad, &accused.digest, &opening, |statement| {
            proof.verify_vartime(statement).is_ok()
        });
        if !proved {
            return refuted;
        }
        // The share is no secret any more: this attempt comes to nothing, or goes on without its dealer.
        let pad = pad.with(opening.as_bytes());
        match decode_scalar(&self.ciphertext) {
            Ok(ciphertext) if share_fits(&(ciphertext - pad), &accused.commitments, from) => {
                refuted
            }
            _ => Fault::BadDeal {
                dealer,
                reason: DealFault::Share { to: from },
            },
        }
    }
}

impl Complaints {
    pub(crate) fn new(
        params: &[u8; 64],
        index: u16,
        set: [u8; 64],
        complaints: Vec<Complaint>,
        identity: &SigningKey,
    ) -> Self {
        let mut complaints = Self {
            index,
            set,
            complaints,
            signature: [0; 64],
        };
        complaints.signature = complaints.with_items(params, |items| {
            signature::sign(identity, tags::COMPLAIN, items)
        });
        complaints
    }

    fn with_items<T>(&self, params: &[u8; 64], then: impl FnOnce(&[&[u8]]) -> T) -> T {
        let index = self.index.to_le_bytes();
        let dealers: Vec<[u8; 2]> = self
            .complaints
            .iter()
            .map(|complaint| complaint.dealer.to_le_bytes())
            .collect();
        let mut items: Vec<&[u8]> = vec![params, &index, &self.set];
        for (complaint, dealer) in self.complaints.iter().zip(&dealers) {
            let parts: [&[u8]; 5] = [
                dealer,
                &complaint.ciphertext,
                &complaint.path,
                &complaint.opening,
                &complaint.proof,
            ];
            items.extend(parts);
        }
        then(&items)
    }

    /// Whether it holds no more than one complaint of each dealer, and paths of no tree with more leaves than a deal can have.
    /// More would be of no use, and would travel with the evidence.
    pub(crate) fn is_bounded(&self, attempt: &Attempt) -> bool {
        let short = |complaint: &Complaint| complaint.path.len() <= MAX_PATH;
        self.complaints.len() <= attempt.dealers.len() && self.complaints.iter().all(short)
    }

    /// Whether the member of its index signed it.
    pub(crate) fn is_signed(&self, roster: &Proposal, params: &[u8; 64]) -> bool {
        roster.identity(self.index).is_some_and(|author| {
            self.with_items(params, |items| {
                signature::verify(author, tags::COMPLAIN, items, &self.signature)
            })
        })
    }

    /// The verdict on each complaint, by its own evidence. `headers` and `opened` are all deals of the attempt in index
    /// order, verified. An empty, unbounded or unsigned list, or one about other deals, is its author's fault.
    pub(crate) fn judge_vartime(
        &self,
        proposal: &Proposal,
        attempt: &Attempt,
        set: &[u8; 64],
        deals: &[(&DealHeader, &OpenHeader)],
    ) -> Vec<Fault> {
        let member = self.index;
        if !self.is_signed(proposal, &attempt.params) {
            return vec![Fault::Unsigned {
                what: "complaint",
                member,
            }];
        }
        if self.set != *set {
            return vec![Fault::OtherDeals { member }];
        }
        if self.complaints.is_empty() || !self.is_bounded(attempt) {
            return vec![Fault::WrongAnswer {
                member,
                message: "complained",
            }];
        }
        let judge = |complaint: &Complaint| {
            deals
                .iter()
                .find(|(header, _)| header.index == complaint.dealer)
                .map_or(
                    Fault::FalseComplaint {
                        member,
                        dealer: attempt.seat_of_dealer(complaint.dealer),
                    },
                    |(header, open)| complaint.judge_vartime(attempt, member, header, open),
                )
        };
        self.complaints.iter().map(judge).collect()
    }
}
