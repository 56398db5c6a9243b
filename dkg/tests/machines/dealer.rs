//! A dealer written anew from `docs/protocol/key-generation.md`, with every part open to be made wrong.
//!
//! It shares no code with the machines, so an honest deal of it that is accepted shows that the pages say enough.

use curve25519_dalek::{RistrettoPoint, Scalar};
use dkg::{Acceptance, Deal, DealExcerpt, DealHeader, Proposal, RelayedDeal};
use ed25519_dalek::{Signer, SigningKey};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use reencrypt::{hash, hash_to_scalar};
use serde_bytes::ByteBuf;
use sha2::{Digest, Sha256};

pub struct Dealer {
    pub params: Vec<u8>,
    pub index: u16,
    pub polynomial: Vec<Scalar>,
    /// n_i, and N_i as everybody knows it.
    pub secret: Scalar,
    pub encryption_key: [u8; 32],
    pub commitments: Vec<[u8; 32]>,
    pub ciphertexts: Vec<[u8; 32]>,
    rng: StdRng,
}

pub fn params(proposal: &Proposal, attempt: u32, acceptances: &[Acceptance]) -> Vec<u8> {
    let count = |length: usize| u16::try_from(length).unwrap().to_le_bytes().to_vec();
    let takes_part = |seat: u16| acceptances.iter().any(|one| one.index == seat);
    let mut items: Vec<Vec<u8>> = vec![
        hash("cryptonode/v1/dkg-proposal", &[&proposal.to_bytes()]).to_vec(),
        attempt.to_le_bytes().to_vec(),
    ];
    match proposal.base() {
        None => items.extend([vec![], vec![0, 0], vec![0, 0]]),
        Some(base) => {
            let certificate = base.certificate();
            let old: Vec<_> = proposal
                .old_seats()
                .iter()
                .filter(|old| takes_part(old.seat))
                .collect();
            items.push(certificate.result_hash().to_vec());
            items.push(count(old.len()));
            items.push(certificate.package().threshold().to_le_bytes().to_vec());
            for old in old {
                items.push(old.index.to_le_bytes().to_vec());
                items.push(
                    certificate.members()[usize::from(old.index) - 1]
                        .identity
                        .to_vec(),
                );
                let accepted = acceptances.iter().find(|one| one.index == old.seat);
                items.push(accepted.unwrap().encryption_key.to_vec());
            }
        }
    }
    let members: Vec<_> = acceptances
        .iter()
        .filter(|one| usize::from(one.index) <= proposal.members().len())
        .collect();
    items.push(count(members.len()));
    items.push(proposal.threshold().to_le_bytes().to_vec());
    for acceptance in members {
        let member = &proposal.members()[usize::from(acceptance.index) - 1];
        items.push(member.identity.to_vec());
        items.push(member.recovery_public.to_vec());
        items.push(acceptance.encryption_key.to_vec());
    }
    let items: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
    hash("cryptonode/v1/dkg-params", &items).to_vec()
}

fn random_scalar(rng: &mut StdRng) -> Scalar {
    let mut wide = [0; 64];
    rng.fill_bytes(&mut wide);
    Scalar::from_bytes_mod_order_wide(&wide)
}

fn base(scalar: Scalar) -> [u8; 32] {
    RistrettoPoint::mul_base(&scalar).compress().to_bytes()
}

fn decompress(bytes: &[u8; 32]) -> RistrettoPoint {
    curve25519_dalek::ristretto::CompressedRistretto(*bytes)
        .decompress()
        .unwrap()
}

fn root(leaves: &[[u8; 32]]) -> [u8; 32] {
    match leaves {
        [one] => Sha256::new()
            .chain_update([0])
            .chain_update(one)
            .finalize()
            .into(),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            Sha256::new()
                .chain_update([1])
                .chain_update(root(left))
                .chain_update(root(right))
                .finalize()
                .into()
        }
    }
}

/// n_j, from the state that a machine has written: 0x01 ‖ which secrets follow ‖ n_j ‖ ….
pub fn encryption_secret(state: &[u8]) -> Scalar {
    assert_eq!(state[1] & 1, 1, "it holds an encryption key");
    Scalar::from_canonical_bytes(state[2..34].try_into().unwrap()).unwrap()
}

/// Member j's acceptance with this N.
pub fn acceptance(
    proposal: &Proposal,
    index: u16,
    encryption_key: [u8; 32],
    identity: &SigningKey,
) -> Acceptance {
    let proposed = hash("cryptonode/v1/dkg-proposal", &[&proposal.to_bytes()]);
    let items: [&[u8]; 3] = [&proposed, &index.to_le_bytes(), &encryption_key];
    let signed = hash("cryptonode/v1/dkg-accept", &items);
    Acceptance {
        index,
        signature: identity.sign(&signed).to_bytes(),
        encryption_key,
    }
}

/// pad_ij, from params, (i, j), (A_i0, commitments_hash), (N_i, N_j) and n_i·N_j.
pub fn pad(
    params: &[u8],
    (from, to): (u16, u16),
    (constant, commitments_hash): (&[u8; 32], &[u8; 64]),
    keys: (&[u8; 32], &[u8; 32]),
    shared: &[u8; 32],
) -> Scalar {
    let (from, to) = (from.to_le_bytes(), to.to_le_bytes());
    let items: [&[u8]; 8] = [
        params,
        &from,
        &to,
        constant,
        commitments_hash,
        keys.0,
        keys.1,
        shared,
    ];
    hash_to_scalar("cryptonode/v1/dkg-pad", &items)
}

impl Dealer {
    /// The dealer of this index in the first attempt of a create, whose acceptance was made with `secret`.
    pub fn new(
        proposal: &Proposal,
        acceptances: &[Acceptance],
        index: u16,
        secret: Scalar,
        seed: u64,
    ) -> Self {
        Self::with_constant(proposal, 1, acceptances, index, secret, None, seed)
    }

    /// The same in an attempt of this number, in a reshare if there is a constant.
    pub fn with_constant(
        proposal: &Proposal,
        attempt: u32,
        acceptances: &[Acceptance],
        index: u16,
        secret: Scalar,
        constant: Option<Scalar>,
        seed: u64,
    ) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut polynomial: Vec<Scalar> = (0..proposal.threshold())
            .map(|_| random_scalar(&mut rng))
            .collect();
        polynomial[0] = constant.unwrap_or(polynomial[0]);
        let params = params(proposal, attempt, acceptances);
        let acceptances: Vec<&Acceptance> = acceptances
            .iter()
            .filter(|one| usize::from(one.index) <= proposal.members().len())
            .collect();
        let mut dealer = Self {
            params,
            index,
            commitments: polynomial
                .iter()
                .map(|coefficient| base(*coefficient))
                .collect(),
            polynomial,
            secret,
            encryption_key: base(secret),
            ciphertexts: vec![[0; 32]; acceptances.len()],
            rng,
        };
        for (to, acceptance) in (1..).zip(acceptances) {
            let share = dealer.share(to);
            dealer.encrypt(to, share, &acceptance.encryption_key);
        }
        dealer
    }

    pub fn share(&self, to: u16) -> Scalar {
        self.polynomial
            .iter()
            .rev()
            .fold(Scalar::ZERO, |value, c| value * Scalar::from(to) + c)
    }

    pub fn commitments_hash(&self) -> [u8; 64] {
        let rest = self.commitments[1..].iter();
        let rest: Vec<&[u8]> = rest.map(<[u8; 32]>::as_slice).collect();
        hash("cryptonode/v1/dkg-commitments", &rest)
    }

    pub fn pad(&self, to: u16, encryption_key: &[u8; 32]) -> Scalar {
        let shared = self.secret * decompress(encryption_key);
        pad(
            &self.params,
            (self.index, to),
            (&self.commitments[0], &self.commitments_hash()),
            (&self.encryption_key, encryption_key),
            shared.compress().as_bytes(),
        )
    }

    pub fn encrypt(&mut self, to: u16, share: Scalar, encryption_key: &[u8; 32]) {
        let pad = self.pad(to, encryption_key);
        self.ciphertexts[usize::from(to) - 1] = (share + pad).to_bytes();
    }

    pub fn digest(&self) -> [u8; 64] {
        hash(
            "cryptonode/v1/dkg-deal",
            &[
                &self.params,
                &self.index.to_le_bytes(),
                &self.commitments[0],
                &self.commitments_hash(),
                &root(&self.ciphertexts),
            ],
        )
    }

    /// A proof by these secrets, which is true if they are those of A_0 and N.
    pub fn proof(&mut self, constant: Scalar, secret: Scalar) -> [u8; 64] {
        let nonce = random_scalar(&mut self.rng);
        let commitment = base(nonce);
        let c = hash_to_scalar(
            "cryptonode/v1/dkg-proof",
            &[
                &self.params,
                &self.index.to_le_bytes(),
                &self.digest(),
                &self.commitments[0],
                &self.encryption_key,
                &commitment,
            ],
        );
        let mut proof = [0; 64];
        proof[..32].copy_from_slice(&commitment);
        proof[32..].copy_from_slice((nonce + c * constant + c * c * secret).as_bytes());
        proof
    }

    /// The deal with a proof by the polynomial's constant term and the secret, as far as they fit the points.
    pub fn finish(&mut self, identity: &SigningKey) -> Deal {
        let proof = self.proof(self.polynomial[0], self.secret);
        self.finish_with(identity, proof)
    }

    pub fn finish_with(&self, identity: &SigningKey, proof: [u8; 64]) -> Deal {
        let signed = hash(
            "cryptonode/v1/dkg-deal-signature",
            &[
                &self.params,
                &self.index.to_le_bytes(),
                &self.digest(),
                &proof,
            ],
        );
        Deal {
            header: DealHeader {
                index: self.index,
                constant: self.commitments[0],
                commitments_hash: self.commitments_hash(),
                ciphertexts_root: root(&self.ciphertexts),
                proof,
                signature: identity.sign(&signed).to_bytes(),
            },
            commitments: ByteBuf::from(self.commitments[1..].concat()),
            ciphertexts: ByteBuf::from(self.ciphertexts.concat()),
        }
    }
}

/// The Merkle path of leaf `place`, as RFC 9162 section 2.1.3.1 defines it.
fn path(leaves: &[[u8; 32]], place: usize) -> Vec<u8> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let split = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(split);
    if place < split {
        [path(left, place), root(right).to_vec()].concat()
    } else {
        [path(right, place - split), root(left).to_vec()].concat()
    }
}

/// A deal as a leader relays it to member `to` beside the sums.
pub fn excerpt(deal: &Deal, to: u16) -> DealExcerpt {
    let ciphertexts = deal.ciphertexts.as_chunks::<32>().0;
    let place = usize::from(to) - 1;
    DealExcerpt {
        header: deal.header.clone(),
        ciphertext: ciphertexts[place],
        path: ByteBuf::from(path(ciphertexts, place)),
    }
}

/// A deal as a leader relays it whole to member `to`.
pub fn relay(deal: &Deal, to: u16) -> RelayedDeal {
    let DealExcerpt {
        path,
        header,
        ciphertext,
    } = excerpt(deal, to);
    RelayedDeal {
        path,
        header,
        ciphertext,
        commitments: deal.commitments.clone(),
    }
}

/// S_0 ‖ … ‖ S_t−1 of plain sums.
pub fn sums(deals: &[Deal]) -> ByteBuf {
    let points = |deal: &Deal| -> Vec<RistrettoPoint> {
        std::iter::once(&deal.header.constant)
            .chain(deal.commitments.as_chunks::<32>().0)
            .map(decompress)
            .collect()
    };
    let all: Vec<Vec<RistrettoPoint>> = deals.iter().map(points).collect();
    let sums = (0..all[0].len()).flat_map(|k| {
        let sum: RistrettoPoint = all.iter().map(|points| points[k]).sum();
        sum.compress().to_bytes()
    });
    ByteBuf::from(sums.collect::<Vec<u8>>())
}

/// S_0 ‖ … ‖ S_t−1 of the deals of a reshare, under the Lagrange coefficients of their dealers.
pub fn weighted_sums(deals: &[Deal]) -> ByteBuf {
    let weight = |deal: &Deal| -> Scalar {
        let others = deals
            .iter()
            .filter(|other| other.header.index != deal.header.index);
        others
            .map(|other| {
                let (i, k) = (deal.header.index, other.header.index);
                Scalar::from(k) * (Scalar::from(k) - Scalar::from(i)).invert()
            })
            .product()
    };
    let count = 1 + deals[0].commitments.len() / 32;
    let sums = (0..count).flat_map(|k| {
        let sum: RistrettoPoint = deals
            .iter()
            .map(|deal| {
                let point = match k {
                    0 => &deal.header.constant,
                    _ => &deal.commitments.as_chunks::<32>().0[k - 1],
                };
                weight(deal) * decompress(point)
            })
            .sum();
        sum.compress().to_bytes()
    });
    ByteBuf::from(sums.collect::<Vec<u8>>())
}
