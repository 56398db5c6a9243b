//! Step 1, deal: a polynomial shared among all members, with commitments, and each share encrypted to its member.
//!
//! Dealer i picks a polynomial f of degree t − 1 with random coefficients and publishes A_k = f_k·G. Member j's share is
//! s_ij = f(j). It is encrypted by a pad that only j and the dealer can compute, from the secret that the two share by their
//! encryption keys ([`crate::pairs`]):
//!
//! ```text
//! commitments_hash = H("cryptonode/v1/dkg-commitments", A_1, …, A_t−1)
//! pad_ij   = Hs("cryptonode/v1/dkg-pad", params, LE16(i), LE16(j), A_0, commitments_hash, N_i, N_j, n_i·N_j)
//! c_ij     = s_ij + pad_ij mod ℓ
//! digest_i = H("cryptonode/v1/dkg-deal", params, LE16(i), A_0, commitments_hash, MerkleRoot(c_i1 … c_in))
//! ```
//!
//! The pad hashes what determines the polynomial, so that no two polynomials are ever dealt under one pad, not even by a dealer that
//! was set back to an older state and deals once more.
//!
//! The dealer proves that it knows f_0 and n_i (see [`crate::knowledge`]) and signs the digest with the proof. The polynomial is gone
//! when [`deal`] returns: after a crash the stored bytes of the deal are sent again, and nothing else can be.
//!
//! A deal travels whole from the dealer to the leader ([`Deal`]). From there each member gets the signed [`DealHeader`] with its own
//! ciphertext and its Merkle path ([`DealExcerpt`]), beside the sums of all commitments; and the commitments too
//! ([`RelayedDeal`]) only when it asks for them.

use curve25519_dalek::Scalar;
use ed25519_dalek::SigningKey;
use rand_core::CryptoRng;
use reencrypt::polynomial::evaluate_each;
use reencrypt::{Hasher, Point, SecretScalar, hash, hash_to_scalar};
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use zeroize::Zeroize;

use crate::attempt::Attempt;
use crate::fault::DealFault;
use crate::knowledge::{Proof, Statement};
use crate::merkle::{self, Tree};
use crate::pairs::Pairs;
use crate::{signature, tags};

/// The signed part of a deal, from which its digest follows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DealHeader {
    /// The dealer's index: 1…n, in a reshare the one in the base.
    pub index: u16,
    /// Proof of knowledge of the constant term and of n_i, 64 bytes.
    #[serde(with = "serde_bytes")]
    pub proof: [u8; 64],
    /// A_0, the commitment to the constant term, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub constant: [u8; 32],
    /// The dealer's signature over `H("cryptonode/v1/dkg-deal-signature", params, LE16(i), digest, proof)`.
    #[serde(with = "serde_bytes")]
    pub signature: [u8; 64],
    /// RFC 9162 root over the n ciphertexts, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub ciphertexts_root: [u8; 32],
    /// `H("cryptonode/v1/dkg-commitments", A_1, …, A_t−1)`, 64 bytes.
    #[serde(with = "serde_bytes")]
    pub commitments_hash: [u8; 64],
}

/// A whole deal, as its dealer gives it to the leader. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deal {
    /// The signed part.
    pub header: DealHeader,
    /// c_i1 ‖ … ‖ c_in.
    pub ciphertexts: ByteBuf,
    /// A_1 ‖ … ‖ A_t−1.
    pub commitments: ByteBuf,
}

/// What one member needs of a deal when it is given the sums of all commitments. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DealExcerpt {
    /// The Merkle path from the ciphertext to the root, ⌈log2 n⌉ hashes of 32 bytes at most.
    pub path: ByteBuf,
    /// The signed part.
    pub header: DealHeader,
    /// The member's own c_ij, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub ciphertext: [u8; 32],
}

/// A deal as the leader relays it to one member that wants it whole. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayedDeal {
    /// The Merkle path from the ciphertext to the root, ⌈log2 n⌉ hashes of 32 bytes at most.
    pub path: ByteBuf,
    /// The signed part.
    pub header: DealHeader,
    /// The member's own c_ij, 32 bytes.
    #[serde(with = "serde_bytes")]
    pub ciphertext: [u8; 32],
    /// A_1 ‖ … ‖ A_t−1.
    pub commitments: ByteBuf,
}

/// A header whose signature was verified and whose points were decoded.
#[derive(Clone)]
pub(crate) struct OpenHeader {
    pub(crate) index: u16,
    pub(crate) digest: [u8; 64],
    /// N_i.
    pub(crate) key: Point,
    /// A_0 … A_t−1; of an excerpt, A_0 alone.
    pub(crate) commitments: Vec<Point>,
}

/// What was relayed of a deal in either form, as far as the check of what the leader relayed needs it.
#[derive(Clone, Copy)]
pub(crate) struct Relayed<'a> {
    pub(crate) header: &'a DealHeader,
    pub(crate) ciphertext: &'a [u8; 32],
    pub(crate) path: &'a [u8],
}

/// What the pad of one share depends on, beside the secret that its dealer and its member share.
pub(crate) struct Pad<'a> {
    pub(crate) params: &'a [u8; 64],
    /// i.
    pub(crate) dealer: u16,
    /// j.
    pub(crate) to: u16,
    /// A_0.
    pub(crate) constant: &'a [u8; 32],
    pub(crate) commitments_hash: &'a [u8; 64],
    /// N_i.
    pub(crate) dealer_key: &'a Point,
    /// N_j.
    pub(crate) key: &'a Point,
}

impl DealHeader {
    /// digest_i.
    pub(crate) fn digest(&self, params: &[u8; 64]) -> [u8; 64] {
        hash(
            tags::DEAL,
            &[
                params,
                &self.index.to_le_bytes(),
                &self.constant,
                &self.commitments_hash,
                &self.ciphertexts_root,
            ],
        )
    }

    /// Whether the dealer of the header's index signed it in this attempt.
    pub(crate) fn is_signed(&self, attempt: &Attempt, digest: &[u8; 64]) -> bool {
        let index = self.index.to_le_bytes();
        let items = self.signed_items(&attempt.params, &index, digest);
        attempt
            .dealer(self.index)
            .and_then(|dealer| attempt.roster.identity(dealer.seat))
            .is_some_and(|dealer| {
                signature::verify(dealer, tags::DEAL_SIGNATURE, &items, &self.signature)
            })
    }

    /// What the dealer signs under its tag.
    pub(crate) fn signed_items<'a>(
        &'a self,
        params: &'a [u8; 64],
        index: &'a [u8; 2],
        digest: &'a [u8; 64],
    ) -> [&'a [u8]; 4] {
        [params, index, digest, &self.proof]
    }

    /// Decodes what the dealer signed: exactly t commitments, none of them the identity, and in a reshare the dealer's
    /// public share of the base as the first.
    pub(crate) fn open(
        &self,
        attempt: &Attempt,
        digest: [u8; 64],
        commitments: &[u8],
    ) -> Result<OpenHeader, DealFault> {
        self.base_share(attempt)?;
        let (rest, remainder) = commitments.as_chunks::<32>();
        let expected = usize::from(attempt.roster.threshold());
        let got = rest.len() + usize::from(!remainder.is_empty()) + 1;
        if got != expected || !remainder.is_empty() {
            return Err(DealFault::CommitmentCount { expected, got });
        }
        let points = std::iter::once(&self.constant)
            .chain(rest)
            .enumerate()
            .map(|(place, bytes)| {
                Point::from_bytes(bytes).map_err(|_| DealFault::Commitment(place))
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.with_points(attempt, digest, points)
    }

    /// In a reshare A_0 must be the dealer's public share of the base, which has been decoded.
    fn base_share(&self, attempt: &Attempt) -> Result<Option<Point>, DealFault> {
        let dealer = attempt
            .dealer(self.index)
            .ok_or(DealFault::Index(self.index))?;
        match dealer.constant {
            Some(constant) if *constant.as_bytes() != self.constant => Err(DealFault::BaseShare),
            constant => Ok(constant),
        }
    }

    /// Decodes what stands in the header itself: A_0, which is not the identity, and in a reshare the dealer's public share of the base.
    pub(crate) fn open_excerpt(
        &self,
        attempt: &Attempt,
        digest: [u8; 64],
    ) -> Result<OpenHeader, DealFault> {
        let constant = match self.base_share(attempt)? {
            Some(constant) => constant,
            None => Point::from_bytes(&self.constant).map_err(|_| DealFault::Commitment(0))?,
        };
        self.with_points(attempt, digest, vec![constant])
    }

    fn with_points(
        &self,
        attempt: &Attempt,
        digest: [u8; 64],
        commitments: Vec<Point>,
    ) -> Result<OpenHeader, DealFault> {
        let key = attempt.dealer_key(self.index);
        Ok(OpenHeader {
            index: self.index,
            digest,
            key: *key.ok_or(DealFault::Index(self.index))?,
            commitments,
        })
    }

    /// Decodes the proof and computes its challenge.
    pub(crate) fn open_proof(
        &self,
        params: &[u8; 64],
        open: &OpenHeader,
    ) -> Result<Proof, DealFault> {
        let statement = Statement {
            params,
            dealer: self.index,
            digest: &open.digest,
            constant: open.commitments.first().ok_or(DealFault::Proof)?,
            key: &open.key,
        };
        statement.decode(&self.proof).ok_or(DealFault::Proof)
    }
}

impl OpenHeader {
    /// Verifies the proof by itself.
    pub(crate) fn verify_vartime(&self, proof: &Proof) -> Result<(), DealFault> {
        let constant = self.commitments.first();
        if constant.is_some_and(|constant| proof.verify_vartime(constant, &self.key)) {
            Ok(())
        } else {
            Err(DealFault::Proof)
        }
    }
}

impl Deal {
    /// The leader's check of a deal that it got from the dealer of this index itself: everything but the encrypted shares.
    /// Whatever is wrong is the dealer's fault.
    pub(crate) fn verify_vartime(
        &self,
        attempt: &Attempt,
        dealer: u16,
    ) -> Result<OpenHeader, DealFault> {
        let header = &self.header;
        if header.index != dealer {
            return Err(DealFault::Index(header.index));
        }
        let digest = header.digest(&attempt.params);
        if !header.is_signed(attempt, &digest) {
            return Err(DealFault::Signature);
        }
        let (ciphertexts, remainder) = self.ciphertexts.as_chunks::<32>();
        if ciphertexts.len() != attempt.members() || !remainder.is_empty() {
            return Err(DealFault::CiphertextCount {
                expected: attempt.members(),
                got: ciphertexts.len(),
            });
        }
        if commitments_hash(&self.commitments) != header.commitments_hash {
            return Err(DealFault::CommitmentsHash);
        }
        if Tree::new(ciphertexts).root() != header.ciphertexts_root {
            return Err(DealFault::CiphertextsRoot);
        }
        let open = header.open(attempt, digest, &self.commitments)?;
        open.verify_vartime(&header.open_proof(&attempt.params, &open)?)?;
        Ok(open)
    }

    /// The Merkle tree over the ciphertexts.
    pub(crate) fn tree(&self) -> Tree {
        Tree::new(self.ciphertexts.as_chunks::<32>().0)
    }

    /// What member `to` gets of the deal beside the sums. `None` if there is no such member.
    pub(crate) fn excerpt_with(&self, tree: &Tree, to: u16) -> Option<DealExcerpt> {
        let place = usize::from(to).checked_sub(1)?;
        Some(DealExcerpt {
            header: self.header.clone(),
            ciphertext: *self.ciphertexts.as_chunks::<32>().0.get(place)?,
            path: ByteBuf::from(tree.path(place).concat()),
        })
    }

    /// The deal as member `to` gets it when it wants it whole. `None` if there is no such member.
    pub(crate) fn relay_with(&self, tree: &Tree, to: u16) -> Option<RelayedDeal> {
        let DealExcerpt {
            path,
            header,
            ciphertext,
        } = self.excerpt_with(tree, to)?;
        Some(RelayedDeal {
            path,
            header,
            ciphertext,
            commitments: self.commitments.clone(),
        })
    }
}

impl DealExcerpt {
    pub(crate) fn relayed(&self) -> Relayed<'_> {
        Relayed {
            header: &self.header,
            ciphertext: &self.ciphertext,
            path: &self.path,
        }
    }
}

impl RelayedDeal {
    pub(crate) fn relayed(&self) -> Relayed<'_> {
        Relayed {
            header: &self.header,
            ciphertext: &self.ciphertext,
            path: &self.path,
        }
    }
}

impl Relayed<'_> {
    /// Whether the ciphertext is the one that the dealer signed for member `to` of `members`.
    pub(crate) fn has_true_ciphertext(&self, to: u16, members: usize) -> bool {
        verify_ciphertext(self.header, self.ciphertext, self.path, to, members)
    }
}

/// Whether `path` shows that `ciphertext` is the one that the header's dealer signed for member `to` of `members`.
pub(crate) fn verify_ciphertext(
    header: &DealHeader,
    ciphertext: &[u8; 32],
    path: &[u8],
    to: u16,
    members: usize,
) -> bool {
    let (path, remainder) = path.as_chunks::<32>();
    usize::from(to).checked_sub(1).is_some_and(|place| {
        remainder.is_empty()
            && merkle::verify_path(&header.ciphertexts_root, ciphertext, place, members, path)
    })
}

/// The hash of A_1 … A_t−1, given one after the other.
pub(crate) fn commitments_hash(commitments: &[u8]) -> [u8; 64] {
    let mut hasher = Hasher::new(tags::COMMITMENTS);
    for commitment in commitments.chunks(32) {
        hasher = hasher.item(commitment);
    }
    hasher.finalize()
}

impl<'a> Pad<'a> {
    /// That of the share which the header's dealer dealt to member `to`. `None` if one of the two takes no part.
    pub(crate) fn of(attempt: &'a Attempt, header: &'a DealHeader, to: u16) -> Option<Self> {
        Some(Self {
            params: &attempt.params,
            dealer: header.index,
            to,
            constant: &header.constant,
            commitments_hash: &header.commitments_hash,
            dealer_key: attempt.dealer_key(header.index)?,
            key: attempt.encryption_key(to)?,
        })
    }

    /// pad_ij. `shared` is the encoding of n_i·N_j = n_j·N_i.
    pub(crate) fn with(&self, shared: &[u8; 32]) -> Scalar {
        hash_to_scalar(
            tags::PAD,
            &[
                self.params,
                &self.dealer.to_le_bytes(),
                &self.to.to_le_bytes(),
                self.constant,
                self.commitments_hash,
                self.dealer_key.as_bytes(),
                self.key.as_bytes(),
                shared,
            ],
        )
    }
}

/// What a dealer deals with.
#[derive(Clone, Copy)]
pub(crate) struct Sealing<'a> {
    pub(crate) identity: &'a SigningKey,
    /// n_i.
    pub(crate) secret: &'a SecretScalar,
    pub(crate) pairs: &'a Pairs,
}

/// Makes the deal of the dealer of this index. Called once for an attempt: its bytes are stored, and sent again when asked for.
/// `constant` is the constant term of a reshare, random in a create. `None` if there is no such dealer.
pub(crate) fn deal<R: CryptoRng>(
    attempt: &Attempt,
    index: u16,
    constant: Option<SecretScalar>,
    sealing: Sealing<'_>,
    rng: &mut R,
) -> Option<Deal> {
    let constant = constant.unwrap_or_else(|| SecretScalar::random(rng));
    let others = (1..attempt.roster.threshold()).map(|_| SecretScalar::random(rng));
    let polynomial: Vec<SecretScalar> = std::iter::once(constant).chain(others).collect();
    deal_polynomial(attempt, index, sealing, &polynomial, rng)
}

/// The deal of a given polynomial, constant term first.
pub(crate) fn deal_polynomial<R: CryptoRng>(
    attempt: &Attempt,
    index: u16,
    sealing: Sealing<'_>,
    polynomial: &[SecretScalar],
    rng: &mut R,
) -> Option<Deal> {
    let points = SecretScalar::public_of_each(polynomial);
    let (constant, others) = points.split_first()?;
    let commitments: Vec<u8> = others.iter().flat_map(|point| *point.as_bytes()).collect();
    let mut header = DealHeader {
        index,
        constant: *constant.as_bytes(),
        commitments_hash: commitments_hash(&commitments),
        ciphertexts_root: [0; 32],
        proof: [0; 64],
        signature: [0; 64],
    };
    let mut ciphertexts = Vec::with_capacity(32 * attempt.members());
    let shares = evaluate_each(polynomial, u16::try_from(attempt.members()).ok()?);
    for (place, (to, share)) in (1u16..).zip(shares.iter()).enumerate() {
        let pad = Pad::of(attempt, &header, to)?;
        let shared = sealing.pairs.with(sealing.secret, place, pad.key);
        let mut pad = pad.with(&shared);
        ciphertexts.extend_from_slice((share + pad).as_bytes());
        pad.zeroize();
    }
    header.ciphertexts_root = Tree::new(ciphertexts.as_chunks::<32>().0).root();
    let digest = header.digest(&attempt.params);
    let statement = Statement {
        params: &attempt.params,
        dealer: index,
        digest: &digest,
        constant,
        key: attempt.dealer_key(index)?,
    };
    header.proof = statement.prove(polynomial.first()?, sealing.secret, rng);
    header.sign(&attempt.params, sealing.identity);
    Some(Deal {
        header,
        commitments: ByteBuf::from(commitments),
        ciphertexts: ByteBuf::from(ciphertexts),
    })
}

impl DealHeader {
    /// Signs the header's digest with the proof.
    pub(crate) fn sign(&mut self, params: &[u8; 64], identity: &SigningKey) {
        let (digest, index) = (self.digest(params), self.index.to_le_bytes());
        let items = self.signed_items(params, &index, &digest);
        self.signature = signature::sign(identity, tags::DEAL_SIGNATURE, &items);
    }
}
