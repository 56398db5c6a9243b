//! Approvals, policies, notes, checkpoints, proofs: protocol section 7 and the logs.
//!
//! Approvals are also made structurally: a valid one is taken apart into its DER elements, changed field by field, and signed
//! again by its real authority, so that nothing but the profile itself stands between it and being counted. A general X.509
//! parser is the second opinion: whatever is counted, it must read, and see the same in.

use std::sync::LazyLock;

use certs::checkpoint::{Checkpoint, NoteKey, SignedCheckpoint};
use certs::merkle::{self, Tree};
use certs::note::SignedNote;
use certs::{Algorithm, Approval, Binding, Issuer, Organisation, Policy, PolicyConfig};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::der::changed_and_signed_again;
use crate::{Target, Verdict, refused, text};

pub(crate) const NOW: u64 = 1_800_000_000;
const WRITE_ID: [u8; 32] = [0x11; 32];
const POINT: [u8; 32] = [0x22; 32];
const ARC: &str = "1.3.6.1.4.1.32473.1";

pub(crate) struct Authority {
    pub(crate) issuer: Issuer,
    pub(crate) key: SigningKey,
    policy: Policy,
    pub(crate) spki: Vec<u8>,
    pub(crate) approval: Vec<u8>,
}

pub(crate) static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let issuer = Issuer::from_pem(
        include_str!("../fixtures/authority.pem"),
        include_str!("../fixtures/authority.key"),
    )
    .unwrap();
    let key = SigningKey::from_pkcs8_pem(&issuer.key_pem()).unwrap();
    let spki = ed25519_dalek::pkcs8::EncodePublicKey::to_public_key_der(
        &SigningKey::from_bytes(&[5; 32]).verifying_key(),
    )
    .unwrap()
    .into_vec();
    let policy = Policy::new(PolicyConfig {
        approvals_needed: 1,
        organisations: vec![Organisation {
            name: "oak".to_owned(),
            issuers: vec![issuer.certificate_der().to_vec()],
        }],
        max_lifetime_s: 300,
        tolerance_s: 30,
    })
    .unwrap();
    let approval = include_bytes!("../fixtures/approval.der").to_vec();
    Authority {
        issuer,
        key,
        policy,
        spki,
        approval,
    }
});

/// Makes the fixtures anew: certificates have random serial numbers, and inputs must be the same in every run.
pub fn make_fixtures(folder: &std::path::Path) -> std::io::Result<()> {
    let issuer = Issuer::generate("oak", Algorithm::Ed25519, NOW - 86_400, NOW + 86_400).unwrap();
    let spki = ed25519_dalek::pkcs8::EncodePublicKey::to_public_key_der(
        &SigningKey::from_bytes(&[5; 32]).verifying_key(),
    );
    let approval = issuer.issue(&Approval {
        write_id: WRITE_ID,
        ephemeral_point: POINT,
        approval_id: "read/1".to_owned(),
        client_spki: spki.unwrap().into_vec(),
        not_before: NOW - 5,
        not_after: NOW + 200,
    });
    std::fs::write(folder.join("authority.pem"), issuer.certificate_pem())?;
    std::fs::write(folder.join("authority.key"), issuer.key_pem().as_bytes())?;
    std::fs::write(folder.join("approval.der"), approval.unwrap())
}

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "approval",
            run: approval,
            seeds: || vec![("ok".to_owned(), AUTHORITY.approval.clone())],
        },
        Target {
            name: "approval_counted",
            run: count,
            seeds: || vec![("ok".to_owned(), AUTHORITY.approval.clone())],
        },
        Target {
            name: "approval_fields",
            run: approval_fields,
            seeds: || {
                let mut seeds = vec![("ok".to_owned(), Vec::new())];
                for what in 0..9 {
                    let edits = vec![what, 20 + what * 5, 7];
                    seeds.push((format!("change-{what}"), edits));
                }
                seeds
            },
        },
        Target {
            name: "policy",
            run: policy,
            seeds: || vec![("ok".to_owned(), AUTHORITY.policy.to_bytes())],
        },
        Target {
            name: "issuer",
            run: issuer,
            seeds: || vec![("ok".to_owned(), AUTHORITY.issuer.certificate_der().to_vec())],
        },
        Target {
            name: "note",
            run: note,
            seeds: notes,
        },
        Target {
            name: "note_key",
            run: note_key,
            seeds: || vec![("ok".to_owned(), log_key().to_string().into_bytes())],
        },
        Target {
            name: "merkle_proof",
            run: merkle_proof,
            seeds: || {
                let seed = |size: u8, at: u8| (format!("ok-{size}-{at}"), vec![size, at, 0]);
                vec![seed(1, 0), seed(7, 3), seed(64, 63), seed(200, 17)]
            },
        },
    ]
}

/// Counts one certificate, and holds what is counted against the general parser's reading.
fn count(bytes: &[u8]) -> Verdict {
    let authority = &*AUTHORITY;
    let binding = Binding {
        write_id: WRITE_ID,
        ephemeral_point: POINT,
        client_spki: &authority.spki,
    };
    match authority.policy.verify(&[bytes], &binding, NOW) {
        Err(refused) => Err(refused.reasons.first().map_or_else(
            || refused.code().to_owned(),
            |(_, reason)| reason.code().to_owned(),
        )),
        Ok(approved) => {
            let counted = &approved.counted[0];
            let (rest, read) = X509Certificate::from_der(bytes).expect("x509-parser reads it");
            assert!(rest.is_empty());
            assert_eq!(read.public_key().raw, authority.spki);
            assert!(!read.is_ca());
            let extension = |oid: &str| {
                let wanted = format!("{ARC}.{oid}");
                let mut found = read
                    .extensions()
                    .iter()
                    .filter(|extension| extension.oid.to_id_string() == wanted);
                let only = found.next().expect("it has the extension");
                assert!(found.next().is_none() && only.critical);
                only.value
            };
            assert_eq!(extension("1.1")[2..], WRITE_ID);
            assert_eq!(extension("1.2")[2..], POINT);
            assert_eq!(&extension("1.3")[2..], counted.approval_id.as_bytes());
            let validity = read.validity();
            let (from, to) = (
                validity.not_before.timestamp(),
                validity.not_after.timestamp(),
            );
            assert!(to - from <= 300 && from <= NOW as i64 + 30 && to >= NOW as i64 - 30);
            Ok(())
        }
    }
}

/// Any bytes as an approval.
fn approval(bytes: &[u8]) -> Verdict {
    let verdict = count(bytes);
    // The signature covers all that is not refused for its form: only the very bytes are counted.
    assert_eq!(verdict.is_ok(), bytes == AUTHORITY.approval);
    verdict
}

/// A valid approval with some of its fields changed, signed again by its authority.
fn approval_fields(changes: &[u8]) -> Verdict {
    count(&changed_and_signed_again(
        &AUTHORITY.approval,
        changes,
        &AUTHORITY.key,
    ))
}

/// Any bytes as a policy.
fn policy(bytes: &[u8]) -> Verdict {
    let policy = Policy::from_bytes(bytes).map_err(|error| error.code().to_owned())?;
    assert_eq!(policy.to_bytes(), bytes, "one encoding");
    assert!(policy.approvals_needed() >= 1);
    assert!(usize::from(policy.approvals_needed()) <= policy.organisations().len());
    Ok(())
}

/// Any bytes as an authority's certificate in a policy.
fn issuer(bytes: &[u8]) -> Verdict {
    let config = PolicyConfig {
        approvals_needed: 1,
        organisations: vec![Organisation {
            name: "oak".to_owned(),
            issuers: vec![bytes.to_vec()],
        }],
        max_lifetime_s: 300,
        tolerance_s: 30,
    };
    let policy = Policy::new(config).map_err(|error| error.code().to_owned())?;
    let (rest, read) = X509Certificate::from_der(bytes).expect("x509-parser reads it");
    assert!(rest.is_empty() && read.is_ca());
    assert_eq!(Policy::from_bytes(&policy.to_bytes()).as_ref(), Ok(&policy));
    Ok(())
}

const LOG: &str = "log.example/1";

fn log_signing_key() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

fn log_key() -> NoteKey {
    NoteKey::new(LOG, log_signing_key().verifying_key()).unwrap()
}

/// Any text as a signed note and as a checkpoint.
fn note(bytes: &[u8]) -> Verdict {
    let note = text(bytes)?;
    let parsed = SignedNote::parse(note).map_err(|error| error.code().to_owned())?;
    assert_eq!(parsed.to_string(), note, "one encoding");
    let checkpoint = SignedCheckpoint::parse(note).map_err(|error| error.code().to_owned())?;
    let claimed = checkpoint.claimed().clone();
    assert!(parsed.text().starts_with(&claimed.to_text().unwrap()));
    let verified = checkpoint
        .verify(&[log_key()], 1)
        .map_err(|error| error.code().to_owned())?;
    assert_eq!(verified, claimed);
    Ok(())
}

fn note_key(bytes: &[u8]) -> Verdict {
    let text = text(bytes)?;
    let key: NoteKey = text
        .parse()
        .map_err(|error: certs::note::NoteError| error.code().to_owned())?;
    assert_eq!(key.to_string(), text, "one encoding");
    Ok(())
}

fn notes() -> Vec<(String, Vec<u8>)> {
    let note = |size: u64| {
        let checkpoint = Checkpoint {
            origin: LOG.to_owned(),
            size,
            root: [size as u8; 32],
        };
        certs::checkpoint::sign(&checkpoint, LOG, &log_signing_key())
            .unwrap()
            .to_string()
            .into_bytes()
    };
    vec![
        ("ok-empty".to_owned(), note(0)),
        ("ok-large".to_owned(), note(u64::MAX)),
        (
            "no-signature".to_owned(),
            b"log.example/1\n1\nAAAA\n\n".to_vec(),
        ),
    ]
}

/// A tree of some size, one leaf's proof and one consistency proof, with an edit: only true ones hold.
fn merkle_proof(bytes: &[u8]) -> Verdict {
    let [size, at, edit, rest @ ..] = bytes else {
        return refused("short");
    };
    let (size, at) = (u64::from(*size) + 1, u64::from(*at));
    let mut tree = Tree::new();
    for leaf in 0..size {
        tree.push(merkle::leaf_hash(&leaf.to_le_bytes()));
    }
    let index = at % size;
    let leaf = tree.leaf(index).unwrap();
    let mut proof = tree.inclusion_proof(index, size).unwrap();
    let mut consistency = tree.consistency_proof(index + 1, size).unwrap();
    let (honest, honest_consistency) = (proof.clone(), consistency.clone());
    let extra: Vec<[u8; 32]> = rest.as_chunks::<32>().0.to_vec();
    for proof in [&mut proof, &mut consistency] {
        match edit % 5 {
            1 => drop(proof.pop()),
            2 => proof.extend(&extra),
            3 => proof.extend(extra.first().copied().or(proof.last().copied())),
            4 => {
                if let Some(hash) = proof.get_mut(usize::from(*edit) % 8) {
                    hash[usize::from(*edit >> 3)] ^= 1;
                }
            }
            _ => {}
        }
    }
    let included = merkle::verify_inclusion(&leaf, index, size, &proof, &tree.root());
    assert_eq!(included.is_ok(), proof == honest);
    let other = merkle::verify_inclusion(&leaf, (index + 1) % size, size, &proof, &tree.root());
    assert!(other.is_err() || size == 1);
    let old = tree.root_at(index + 1).unwrap();
    let consistent = merkle::verify_consistency(index + 1, size, &consistency, &old, &tree.root());
    assert_eq!(consistent.is_ok(), consistency == honest_consistency);
    included
        .and(consistent)
        .map_err(|error| format!("{error:?}"))
}
