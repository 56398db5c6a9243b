//! Step 3, confirm: everybody computes the same result, and each member that holds its share of it says so.
//!
//! ```text
//! result = H("cryptonode/v1/dkg-result", params, LE64(epoch), set, complaints, LE16(i) of each qualified dealer…,
//!            S_0, …, S_t−1)
//! complaints = H("cryptonode/v1/dkg-complaint-set", params)      while results with complaints are not made
//! ```
//!
//! S_k is the sum of the qualified dealers' commitments A_ik, so Y = S_0 and Y_j = Σ_k j^k·S_k. With the qualified set
//! fixed, a member checks x_j·G = Y_j once more before it confirms: each dealer's part fitting is not the same as the sum
//! over a set fitting. Then it writes x_j durably as pending, and signs.

use ed25519_dalek::SigningKey;
use rand_core::CryptoRng;
use reencrypt::{Hasher, Point, SecretScalar, hash};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::attempt::Attempt;
use crate::fault::Fault;
use crate::proposal::Proposal;
use crate::sealed_share::{Binding, SEALED_SHARE};
use crate::shares::share_fits;
use crate::{signature, tags};

/// Member j's word that it holds its share of the result, durably; from an old member that leaves, that it knows the result and
/// will confirm no lower attempt on the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The member's seat in the attempt: a new member's is its index, 1…n.
    pub index: u16,
    /// The member's signature over `H("cryptonode/v1/dkg-confirm", params, LE16(index), result, sealed share)`.
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
    /// x_j sealed to the member's recovery key, 80 bytes. Empty from an old member that leaves.
    pub sealed_share: ByteBuf,
}

/// The result of an attempt, the same for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AttemptResult {
    pub(crate) params: [u8; 64],
    pub(crate) epoch: u64,
    pub(crate) set: [u8; 64],
    /// The dealers that count, by the indices in their headers, ascending. In a create all, in a reshare t_old old members.
    pub(crate) qualified: Vec<u16>,
    /// S_0 … S_t−1.
    pub(crate) sums: Vec<Point>,
}

impl AttemptResult {
    /// The result of an attempt whose deals are the set and add up to the sums. In a reshare it is one of the same key.
    pub(crate) fn new(attempt: &Attempt, set: [u8; 64], sums: Vec<Point>) -> Result<Self, Fault> {
        if let Some(base) = attempt.roster.base()
            && sums.first() != Some(&base.certificate().package().public_key())
        {
            return Err(Fault::OtherKey);
        }
        Ok(Self {
            params: attempt.params,
            epoch: attempt.roster.epoch(),
            set,
            qualified: attempt.dealers.iter().map(|dealer| dealer.index).collect(),
            sums,
        })
    }

    /// The hash that confirmations sign.
    pub(crate) fn hash(&self) -> [u8; 64] {
        let qualified: Vec<u8> = self
            .qualified
            .iter()
            .flat_map(|index| index.to_le_bytes())
            .collect();
        let hasher = Hasher::new(tags::RESULT)
            .item(&self.params)
            .item(&self.epoch.to_le_bytes())
            .item(&self.set)
            .item(&hash(tags::COMPLAINT_SET, &[&self.params]))
            .item(&qualified);
        self.sums
            .iter()
            .fold(hasher, |hasher, sum| hasher.item(sum.as_bytes()))
            .finalize()
    }

    /// Steps 14 to 16: the second check, and then the confirmation of member `index`.
    pub(crate) fn confirm<R: CryptoRng>(
        &self,
        proposal: &Proposal,
        index: u16,
        share: &SecretScalar,
        identity: &SigningKey,
        rng: &mut R,
    ) -> Result<Confirmation, Fault> {
        if !share_fits(share.expose(), &self.sums, index) {
            return Err(Fault::ShareMismatch);
        }
        let member = proposal.member(index).ok_or(Fault::NotListed)?;
        let binding = Binding {
            params: &self.params,
            index,
            member,
            set: &self.set,
        };
        let sealed_share = binding.seal(share, rng).ok_or(Fault::NotListed)?;
        Ok(self.sign(index, &sealed_share, identity))
    }

    /// The confirmation of an old member that leaves. It has checked whose result it is.
    pub(crate) fn confirm_leaving(&self, seat: u16, identity: &SigningKey) -> Confirmation {
        self.sign(seat, &[], identity)
    }

    fn sign(&self, index: u16, sealed_share: &[u8], identity: &SigningKey) -> Confirmation {
        let items: [&[u8]; 4] = [
            &self.params,
            &index.to_le_bytes(),
            &self.hash(),
            sealed_share,
        ];
        Confirmation {
            index,
            signature: signature::sign(identity, tags::CONFIRM, &items),
            sealed_share: ByteBuf::from(sealed_share.to_vec()),
        }
    }
}

impl Confirmation {
    /// Whether the member in its seat signed it for this result, with a sealed share if it is to have one.
    pub(crate) fn is_signed(
        &self,
        proposal: &Proposal,
        params: &[u8; 64],
        result: &[u8; 64],
    ) -> bool {
        let index = self.index.to_le_bytes();
        let items = self.signed_items(params, &index, result);
        self.is_complete(proposal)
            && proposal.identity(self.index).is_some_and(|identity| {
                signature::verify(identity, tags::CONFIRM, &items, &self.signature)
            })
    }

    /// Whether there is a sealed share if the member is to have one, and none if not.
    pub(crate) fn is_complete(&self, proposal: &Proposal) -> bool {
        let length = if proposal.is_leaving(self.index) {
            0
        } else {
            SEALED_SHARE
        };
        self.sealed_share.len() == length
    }

    /// What the member signs under its tag.
    pub(crate) fn signed_items<'a>(
        &'a self,
        params: &'a [u8; 64],
        index: &'a [u8; 2],
        result: &'a [u8; 64],
    ) -> [&'a [u8]; 4] {
        [params, index, result, &self.sealed_share]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        missing_docs
    )]
    use curve25519_dalek::Scalar;

    use reencrypt::polynomial::evaluate;

    use super::*;
    use crate::sums::{equal_weights, sum_commitments_vartime};
    use crate::{MemberIdentity, NodeKeys, RecoveryPhrase, Terms};

    /// The proposal of a node that makes a key for itself.
    pub(crate) fn alone() -> (Proposal, NodeKeys) {
        let rng = &mut rand::rng();
        let keys = RecoveryPhrase::generate(rng).node_keys();
        let identity = keys.identity.verifying_key().to_bytes();
        let terms = Terms {
            threshold: 1,
            policy_hash: [0; 32],
            members: vec![MemberIdentity {
                name: "a".to_owned(),
                identity,
                recovery_public: *keys.recovery_public.as_bytes(),
                address: "a:1".to_owned(),
            }],
            base: None,
            leader: identity,
            created: 0,
            expires: 1,
            may_be_absent: 0,
            allow_few_members: false,
            software: "test".to_owned(),
        };
        (Proposal::new(terms, rng).unwrap(), keys)
    }

    /// Dealers 1 and 2 give member 3 errors that cancel when both count. A check of the plain sum over all dealers does
    /// not see them; with dealer 2 out, the second check does.
    #[test]
    fn the_second_check_sees_what_cancelled_in_another_sum() {
        let rng = &mut rand::rng();
        let (proposal, keys) = alone();
        let member = 1;
        let polynomials: Vec<Vec<SecretScalar>> = (0..3)
            .map(|_| (0..2).map(|_| SecretScalar::random(rng)).collect())
            .collect();
        let commitments: Vec<Vec<Point>> = polynomials
            .iter()
            .map(|polynomial| polynomial.iter().map(SecretScalar::public).collect())
            .collect();
        let errors = [Scalar::ONE, -Scalar::ONE, Scalar::ZERO];
        let confirm = |qualified: &[usize]| {
            let sum: Scalar = qualified
                .iter()
                .map(|&dealer| evaluate(&polynomials[dealer], member) + errors[dealer])
                .sum();
            let result = AttemptResult {
                params: [0; 64],
                epoch: 0,
                set: [0; 64],
                qualified: qualified.iter().map(|&dealer| dealer as u16 + 1).collect(),
                sums: sum_commitments_vartime(
                    qualified
                        .iter()
                        .map(|&dealer| commitments[dealer].as_slice()),
                    &equal_weights(qualified.len()),
                )
                .unwrap(),
            };
            let share = SecretScalar::from_scalar(sum).unwrap();
            result.confirm(&proposal, member, &share, &keys.identity, &mut rand::rng())
        };
        assert!(confirm(&[0, 1, 2]).is_ok());
        assert_eq!(confirm(&[0, 2]).unwrap_err(), Fault::ShareMismatch);
        assert_eq!(confirm(&[1, 2]).unwrap_err(), Fault::ShareMismatch);
        assert!(confirm(&[2]).is_ok());
    }
}
