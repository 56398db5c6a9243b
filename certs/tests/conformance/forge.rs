//! Certificates assembled by hand, byte for byte, and signed with real keys: so that nothing but the check under test can
//! refuse them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use certs::{Approved, Binding, Organisation, Policy, PolicyConfig, Refusal, Refused};
use ed25519_dalek::{Signer, SigningKey};

pub(crate) const NOW: u64 = 1_800_000_000;
pub(crate) const WRITE_ID: [u8; 32] = [0x11; 32];
pub(crate) const EPHEMERAL_POINT: [u8; 32] = [0x22; 32];

pub(crate) const ED25519: &[u8] = &[0x30, 5, 0x06, 3, 0x2b, 0x65, 0x70];
pub(crate) const ECDSA_SHA256: &[u8] = &[0x30, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];

pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
pub(crate) const EXT_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
pub(crate) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];

/// `ARC.a.b`
pub(crate) fn arc(a: u8, b: u8) -> Vec<u8> {
    vec![0x2b, 6, 1, 4, 1, 0x81, 0xfd, 0x59, 1, a, b]
}

pub(crate) fn tlv(tag: u8, contents: impl AsRef<[u8]>) -> Vec<u8> {
    let contents = contents.as_ref();
    let mut out = vec![tag];
    match contents.len() {
        length @ 0..=0x7f => out.push(length as u8),
        length @ 0x80..=0xff => out.extend([0x81, length as u8]),
        length => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend(contents);
    out
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, parts.concat())
}

/// CN=`name`
pub(crate) fn name(name: &str) -> Vec<u8> {
    let attribute = sequence(&[&[0x06, 3, 0x55, 4, 3], &tlv(0x0c, name)]);
    tlv(0x30, tlv(0x31, attribute))
}

/// UTCTime through 2049, GeneralizedTime after.
pub(crate) fn time(seconds: u64) -> Vec<u8> {
    let at = der::DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).unwrap();
    let rest = format!(
        "{:02}{:02}{:02}{:02}{:02}Z",
        at.month(),
        at.day(),
        at.hour(),
        at.minutes(),
        at.seconds()
    );
    if at.year() < 2050 {
        tlv(0x17, format!("{:02}{rest}", at.year() % 100))
    } else {
        tlv(0x18, format!("{:04}{rest}", at.year()))
    }
}

pub(crate) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    tlv(0x03, [&[0], bytes].concat())
}

pub(crate) enum Key {
    Ed25519(SigningKey),
    P256(EcdsaKeyPair),
}

impl Key {
    pub(crate) fn ed25519(seed: u8) -> Self {
        Self::Ed25519(SigningKey::from_bytes(&[seed; 32]))
    }

    pub(crate) fn p256() -> Self {
        Self::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub(crate) fn identifier(&self) -> &'static [u8] {
        match self {
            Self::Ed25519(_) => ED25519,
            Self::P256(_) => ECDSA_SHA256,
        }
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => sequence(&[ED25519, &bit_string(key.verifying_key().as_bytes())]),
            Self::P256(key) => p256_spki(key.public_key().as_ref()),
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Self::P256(key) => key
                .sign(&SystemRandom::new(), message)
                .unwrap()
                .as_ref()
                .to_vec(),
        }
    }
}

pub(crate) fn p256_spki(point: &[u8]) -> Vec<u8> {
    let algorithm = sequence(&[
        &[0x06, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1],
        &[0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7],
    ]);
    sequence(&[&algorithm, &bit_string(point)])
}

/// An extension, encoded. `critical`: None leaves it out, as DER has it for FALSE.
pub(crate) fn extension(oid: &[u8], critical: Option<u8>, value: &[u8]) -> Vec<u8> {
    let boolean = critical.map(|byte| tlv(0x01, [byte])).unwrap_or_default();
    sequence(&[&tlv(0x06, oid), &boolean, &tlv(0x04, value)])
}

pub(crate) fn critical(oid: &[u8], value: &[u8]) -> Vec<u8> {
    extension(oid, Some(0xff), value)
}

/// All parts of a certificate, each encoded and open to change.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) version: Vec<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) inner_algorithm: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) not_before: Vec<u8>,
    pub(crate) not_after: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) spki: Vec<u8>,
    /// What stands between the key and the extensions.
    pub(crate) unique_identifiers: Vec<u8>,
    pub(crate) extensions: Vec<Vec<u8>>,
    /// What follows the extensions in the signed part.
    pub(crate) after_extensions: Vec<u8>,
    pub(crate) outer_algorithm: Vec<u8>,
    /// What follows the signature within the certificate.
    pub(crate) after_signature: Vec<u8>,
}

impl Parts {
    pub(crate) fn signed_by(&self, key: &Key) -> Vec<u8> {
        let signed_part = sequence(&[
            &self.version,
            &self.serial,
            &self.inner_algorithm,
            &self.issuer,
            &sequence(&[&self.not_before, &self.not_after]),
            &self.subject,
            &self.spki,
            &self.unique_identifiers,
            &tlv(0xa3, tlv(0x30, self.extensions.concat())),
            &self.after_extensions,
        ]);
        let signature = key.sign(&signed_part);
        sequence(&[
            &signed_part,
            &self.outer_algorithm,
            &bit_string(&signature),
            &self.after_signature,
        ])
    }

    /// Replaces the extension with this object identifier.
    pub(crate) fn with_extension(mut self, oid: &[u8], encoded: Vec<u8>) -> Self {
        let needle = tlv(0x06, oid);
        let place = self
            .extensions
            .iter()
            .position(|e| e[2..].starts_with(&needle))
            .unwrap();
        self.extensions[place] = encoded;
        self
    }

    pub(crate) fn without_extension(mut self, oid: &[u8]) -> Self {
        let needle = tlv(0x06, oid);
        self.extensions.retain(|e| !e[2..].starts_with(&needle));
        self
    }

    pub(crate) fn and_extension(mut self, encoded: Vec<u8>) -> Self {
        self.extensions.push(encoded);
        self
    }
}

/// An organisation's authority.
pub(crate) struct Authority {
    pub(crate) organisation: &'static str,
    pub(crate) key: Key,
    pub(crate) subject: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
}

/// Parts of an authority's certificate, good for a policy.
pub(crate) fn authority_parts(key: &Key, subject: &[u8]) -> Parts {
    Parts {
        version: vec![0xa0, 3, 2, 1, 2],
        serial: vec![2, 1, 7],
        inner_algorithm: key.identifier().to_vec(),
        issuer: subject.to_vec(),
        not_before: time(NOW - 1_000_000),
        not_after: time(NOW + 1_000_000),
        subject: subject.to_vec(),
        spki: key.spki(),
        unique_identifiers: Vec::new(),
        extensions: vec![
            critical(BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0xff]),
            critical(KEY_USAGE, &[0x03, 2, 2, 0x04]),
        ],
        after_extensions: Vec::new(),
        outer_algorithm: key.identifier().to_vec(),
        after_signature: Vec::new(),
    }
}

impl Authority {
    pub(crate) fn new(organisation: &'static str, key: Key) -> Self {
        let subject = name(organisation);
        let certificate = authority_parts(&key, &subject).signed_by(&key);
        Self {
            organisation,
            key,
            subject,
            certificate,
        }
    }

    pub(crate) fn organisation(&self) -> Organisation {
        Organisation {
            name: self.organisation.to_owned(),
            issuers: vec![self.certificate.clone()],
        }
    }

    /// Parts of an approval by this authority that every check passes.
    pub(crate) fn approval_parts(&self) -> Parts {
        Parts {
            version: vec![0xa0, 3, 2, 1, 2],
            serial: vec![2, 1, 9],
            inner_algorithm: self.key.identifier().to_vec(),
            issuer: self.subject.clone(),
            not_before: time(NOW - 10),
            not_after: time(NOW + 100),
            subject: name("approval"),
            spki: client().spki(),
            unique_identifiers: Vec::new(),
            extensions: vec![
                critical(BASIC_CONSTRAINTS, &[0x30, 0]),
                critical(KEY_USAGE, &[0x03, 2, 7, 0x80]),
                critical(EXT_KEY_USAGE, &sequence(&[&tlv(0x06, arc(2, 1))])),
                critical(&arc(1, 1), &tlv(0x04, WRITE_ID)),
                critical(&arc(1, 2), &tlv(0x04, EPHEMERAL_POINT)),
                critical(
                    &arc(1, 3),
                    &tlv(0x0c, format!("read-{}", self.organisation)),
                ),
            ],
            after_extensions: Vec::new(),
            outer_algorithm: self.key.identifier().to_vec(),
            after_signature: Vec::new(),
        }
    }

    pub(crate) fn approval(&self) -> Vec<u8> {
        self.sign(&self.approval_parts())
    }

    pub(crate) fn sign(&self, parts: &Parts) -> Vec<u8> {
        parts.signed_by(&self.key)
    }
}

pub(crate) fn client() -> Key {
    Key::ed25519(0xcc)
}

/// Organisations a (Ed25519), b (P-256) and c (Ed25519).
pub(crate) struct World {
    pub(crate) a: Authority,
    pub(crate) b: Authority,
    pub(crate) c: Authority,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            a: Authority::new("a", Key::ed25519(1)),
            b: Authority::new("b", Key::p256()),
            c: Authority::new("c", Key::ed25519(3)),
        }
    }

    pub(crate) fn config(&self, approvals_needed: u16) -> PolicyConfig {
        PolicyConfig {
            approvals_needed,
            organisations: [&self.a, &self.b, &self.c]
                .map(Authority::organisation)
                .to_vec(),
            max_lifetime_s: 300,
            tolerance_s: 30,
        }
    }

    pub(crate) fn policy(&self, approvals_needed: u16) -> Policy {
        Policy::new(self.config(approvals_needed)).unwrap()
    }

    pub(crate) fn verify(&self, needed: u16, approvals: &[&[u8]]) -> Result<Approved, Refused> {
        verify(&self.policy(needed), approvals, NOW)
    }

    /// Why a single certificate does not count.
    pub(crate) fn refusal(&self, approval: &[u8]) -> Refusal {
        self.refusal_at(approval, NOW)
    }

    pub(crate) fn refusal_at(&self, approval: &[u8], now: u64) -> Refusal {
        let refused = verify(&self.policy(1), &[approval], now).unwrap_err();
        assert_eq!(
            (refused.counted, refused.reasons.len()),
            (0, 1),
            "{refused}"
        );
        refused.reasons[0].1.clone()
    }
}

pub(crate) fn verify(policy: &Policy, approvals: &[&[u8]], now: u64) -> Result<Approved, Refused> {
    let spki = client().spki();
    let binding = Binding {
        write_id: WRITE_ID,
        ephemeral_point: EPHEMERAL_POINT,
        client_spki: &spki,
    };
    policy.verify(approvals, &binding, now)
}
