//! RFC 9591, appendix E.3: FROST(ristretto255, SHA-512), every value that it lists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use frost_core::Ciphersuite;
use frost_core::round1::Nonce;
use reencrypt::{SecretScalar, verify_signature_vartime};

use super::*;

const GROUP_SECRET: &str = "1b25a55e463cfd15cf14a5d3acc3d15053f08da49c8afcf3ab265f2ebc4f970b";
const GROUP_PUBLIC: &str = "e2a62f39eede11269e3bd5a7d97554f5ca384f9f6d3dd9c3c0d05083c7254f57";
const COEFFICIENT: &str = "410f8b744b19325891d73736923525a4f596c805d060dfb9c98009d34e3fec02";
const MESSAGE: &[u8] = b"test";
const SHARES: [&str; 3] = [
    "5c3430d391552f6e60ecdc093ff9f6f4488756aa6cebdbad75a768010b8f830e",
    "b06fc5eac20b4f6e1b271d9df2343d843e1e1fb03c4cbb673f2872d459ce6f01",
    "f17e505f0e2581c6acfe54d3846a622834b5e7b50cad9a2109a97ba7a80d5c04",
];
const SIGNATURE: &str = "fa954853693068803615803a06e2c23a6228f7d6d6b442b72b26696aa776fe75532350f49b27a123b0c811d54671f6c008e319741a59918baf3c5455a5ec2603";
/// The binding factor's input up to the identifier: the group's key, H4 of the message, H5 of the commitments.
const FACTOR_INPUT: &str = "e2a62f39eede11269e3bd5a7d97554f5ca384f9f6d3dd9c3c0d05083c7254f572889dde2854e26377a16caf77dfee5f6be8fe5b4c80318da84698a4161021b033911db5ef8205362701bc9ecd983027814abee94f46d094943a2f4b79a6e4d46d196080c9b1229edb902e05ee9b6c10209cf3383e5e7bea1830a098ae2140e209295e74231d5cc522ae076f77fe08efd92b98daf433517ee50596f12123314b0";

struct Signer {
    index: u16,
    hiding_randomness: &'static str,
    binding_randomness: &'static str,
    hiding_nonce: &'static str,
    binding_nonce: &'static str,
    hiding_commitment: &'static str,
    binding_commitment: &'static str,
    binding_factor: &'static str,
    share: &'static str,
}

const SIGNERS: [Signer; 2] = [
    Signer {
        index: 1,
        hiding_randomness: "4366eff4b4676f97822998ec3e5af1388131bffa3db76e54ee19805f0e778f33",
        binding_randomness: "173a02012818fbb58ed70b2dc620bb22e2d144d8c3953479e213ed7323f0270a",
        hiding_nonce: "b16f611649233ec528d20759e8cf828c12630a3b73996a643e59a5eda63c8b05",
        binding_nonce: "0cfb25a32975cc397e86509cdeb461d83d5021e4101c9554bd0b33b776645e09",
        hiding_commitment: "4818a19481eddc359c299dc101a84820423fcbe4b08badfa78c24b4de56c022e",
        binding_commitment: "f6df3b1ca00c88b7688a6ebffd6eb2d81a3d1305342ec69cc24cb4558bc2b41b",
        binding_factor: "812e62f8abce961bd9b3aabe36b6a00e7158611d6b5ccedec98119ae94a20d01",
        share: "1f5adbfd775a95ce4c95c7d81b3898d89bdce160adece3168b38dc9367a20502",
    },
    Signer {
        index: 3,
        hiding_randomness: "ca93286a68e79bd850839fd4fb4498fbee1bae3829f5dbd9e447860925e556cc",
        binding_randomness: "598dce485138d86ddecebb5c0cfa112ac114eb35fcded3cf69ad915c7abeb425",
        hiding_nonce: "4388f2f9912a8d2af3e9a655ce20c4eeb4a8c31df626cf628996f770b156b104",
        binding_nonce: "c680e9639176fd17747a915864299a3ad8fbd85883271d85726f311c94ed0604",
        hiding_commitment: "52554f07003db6c789b867872a762bbd5efc5fb699dc8213863369d66117142c",
        binding_commitment: "e0842fef27f9ccc38fbe93c73eb1f04d1de6c917b35aafffc8ffc7c02889cd70",
        binding_factor: "989e8cca0fbd75655f6eb77b010c45e4368c4fa912dbffb6c06798a42d91cd07",
        share: "34c974f623cd0b5563334afc2a395ee86c0638136d6cad74240478c13d4a2101",
    },
];

fn bytes<const N: usize>(text: &str) -> [u8; N] {
    ::hex::decode(text).unwrap().try_into().unwrap()
}

fn scalar(text: &str) -> SecretScalar {
    SecretScalar::from_canonical_bytes(&bytes(text)).unwrap()
}

fn key() -> PublicKeyPackage {
    let shares = SHARES.iter().map(|share| scalar(share).public()).collect();
    PublicKeyPackage::new(scalar(GROUP_SECRET).public(), 0, 2, shares).unwrap()
}

fn nonces(signer: &Signer) -> Nonces {
    let nonce = |text| Nonce::<Suite>::from_scalar(*scalar(text).expose());
    let nonces =
        SigningNonces::from_nonces(nonce(signer.hiding_nonce), nonce(signer.binding_nonce));
    Nonces::of(signer.index, nonces).unwrap()
}

#[test]
fn the_key_and_its_shares() {
    assert_eq!(::hex::encode(key().public_key().as_bytes()), GROUP_PUBLIC);
    let (constant, slope) = (scalar(GROUP_SECRET), scalar(COEFFICIENT));
    for (index, share) in (1u16..).zip(SHARES) {
        let value = constant.expose() + slope.expose() * curve25519_dalek::Scalar::from(index);
        assert_eq!(::hex::encode(value.to_bytes()), share);
    }
}

#[test]
fn nonces_come_from_the_share_and_the_randomness() {
    for signer in &SIGNERS {
        let share: [u8; 32] = bytes(SHARES[usize::from(signer.index) - 1]);
        for (randomness, nonce) in [
            (signer.hiding_randomness, signer.hiding_nonce),
            (signer.binding_randomness, signer.binding_nonce),
        ] {
            let input = [bytes::<32>(randomness), share].concat();
            assert_eq!(::hex::encode(Suite::H3(&input).to_bytes()), nonce);
        }
        let nonces = nonces(signer);
        assert_eq!(
            ::hex::encode(nonces.commitments().hiding),
            signer.hiding_commitment
        );
        assert_eq!(
            ::hex::encode(nonces.commitments().binding),
            signer.binding_commitment
        );
    }
}

#[test]
fn binding_factors() {
    let commitments: Vec<_> = SIGNERS
        .iter()
        .map(|signer| nonces(signer).commitments().clone())
        .collect();
    let package = package(&commitments, MESSAGE).unwrap();
    let verifying = VerifyingKey::new(*key().public_key().as_ristretto());
    let inputs = package.binding_factor_preimages(&verifying, &[]).unwrap();
    for ((signer, (_, input)), place) in SIGNERS.iter().zip(&inputs).zip(0..) {
        let suffix = format!("{:02x}{}", [1, 3][place], "00".repeat(31));
        assert_eq!(::hex::encode(input), format!("{FACTOR_INPUT}{suffix}"));
        assert_eq!(
            ::hex::encode(Suite::H1(input).to_bytes()),
            signer.binding_factor
        );
    }
}

#[test]
fn shares_and_signature() {
    let key = key();
    let commitments: Vec<_> = SIGNERS
        .iter()
        .map(|signer| nonces(signer).commitments().clone())
        .collect();
    let mut shares = BTreeMap::new();
    for signer in &SIGNERS {
        let secret = scalar(SHARES[usize::from(signer.index) - 1]);
        let own = KeyShare::new(signer.index, 0, key.public_key(), secret).unwrap();
        let share = sign(nonces(signer), &commitments, MESSAGE, &own, &key).unwrap();
        assert_eq!(::hex::encode(share), signer.share);
        shares.insert(signer.index, share);
    }
    let signature = aggregate(&commitments, &shares, MESSAGE, &key).unwrap();
    assert_eq!(::hex::encode(signature), SIGNATURE);
    assert!(verify_signature_vartime(
        &key.public_key(),
        MESSAGE,
        &signature
    ));
    assert!(!verify_signature_vartime(
        &key.public_key(),
        b"tess",
        &signature
    ));
    // A false share: its signer is named, and no signature comes of it.
    shares.insert(
        3,
        SecretScalar::random(&mut rand::rng())
            .to_bytes()
            .as_slice()
            .try_into()
            .unwrap(),
    );
    assert_eq!(
        aggregate(&commitments, &shares, MESSAGE, &key),
        Err(SigningError::FalseShares { signers: vec![3] })
    );
}

#[test]
fn a_signature_has_one_encoding() {
    let signature: [u8; 64] = bytes(SIGNATURE);
    let public_key = key().public_key();
    for place in 0..64 {
        let mut altered = signature;
        altered[place] ^= 1;
        assert!(!verify_signature_vartime(&public_key, MESSAGE, &altered));
    }
    // z + ℓ, which is the same number.
    let order: [u8; 32] = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let (mut carry, mut longer) = (0u16, signature);
    for place in 0..32 {
        let sum = u16::from(signature[32 + place]) + u16::from(order[place]) + carry;
        longer[32 + place] = sum as u8;
        carry = sum >> 8;
    }
    assert!(!verify_signature_vartime(&public_key, MESSAGE, &longer));
    assert!(!verify_signature_vartime(&public_key, MESSAGE, &[0; 64]));
}
