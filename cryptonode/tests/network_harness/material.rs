//! A key, who may approve, and reads of it.

use super::*;

/// The secrets of a cluster key, and who may approve.
pub struct Material {
    pub secret: Scalar,
    pub result: ResultName,
    pub public_key: Point,
    pub shares: Vec<Scalar>,
    pub package: PublicKeyPackage,
    pub issuers: Arc<Vec<Issuer>>,
    pub policy: Policy,
    pub identities: Vec<SigningKey>,
}

impl Material {
    pub fn new(threshold: u16, members: u16, approvals_needed: u16) -> Self {
        let mut rng = rand::rng();
        let secret = *SecretScalar::random(&mut rng).expose();
        let result = ResultName {
            epoch: 0,
            attempt: 1,
            hash: [0; 64],
        };
        let (shares, package) = share_out(secret, result.epoch, threshold, members);
        let public_key = package.public_key();
        let (from, to) = (now() - 86_400, now() + 86_400 * 365);
        let names = ["Hospital A", "Hospital B", "Ministry", "University"];
        let algorithms = [
            Algorithm::Ed25519,
            Algorithm::EcdsaP256,
            Algorithm::Ed25519,
            Algorithm::Ed25519,
        ];
        let issuers: Arc<Vec<Issuer>> = Arc::new(
            names
                .iter()
                .zip(algorithms)
                .map(|(name, algorithm)| Issuer::generate(name, algorithm, from, to).unwrap())
                .collect(),
        );
        let policy = Policy::new(PolicyConfig {
            approvals_needed,
            organisations: names
                .iter()
                .zip(issuers.iter())
                .map(|(name, issuer)| Organisation {
                    name: (*name).to_owned(),
                    issuers: vec![issuer.certificate_der().to_vec()],
                })
                .collect(),
            max_lifetime_s: 300,
            tolerance_s: 30,
        })
        .unwrap();
        let identities = (0..members)
            .map(|_| SigningKey::from_bytes(&rand::random()))
            .collect();
        Self {
            secret,
            result,
            public_key,
            shares,
            package,
            issuers,
            policy,
            identities,
        }
    }

    pub fn key_share(&self, index: u16) -> KeyShare {
        let secret = SecretScalar::from_scalar(self.shares[usize::from(index) - 1]).unwrap();
        KeyShare::new(index, self.result.epoch, self.public_key, secret).unwrap()
    }

    /// The same key shared out again to these members.
    pub fn reshared(&self, threshold: u16, identities: Vec<SigningKey>, attempt: u32) -> Self {
        let epoch = self.result.epoch + 1;
        let (shares, package) = share_out(self.secret, epoch, threshold, identities.len() as u16);
        Self {
            secret: self.secret,
            result: ResultName {
                epoch,
                attempt,
                hash: rand::random(),
            },
            public_key: self.public_key,
            shares,
            package,
            issuers: Arc::clone(&self.issuers),
            policy: self.policy.clone(),
            identities,
        }
    }

    /// The certificate of the key, signed under Y: x is known here.
    pub fn key_certificate(&self) -> KeyCertificate {
        let members = self
            .identities
            .iter()
            .zip(self.package.public_shares())
            .zip(1..)
            .map(|((identity, share), index)| CertifiedMember {
                name: format!("node{index}"),
                identity: identity.verifying_key().to_bytes(),
                public_share: *share.as_bytes(),
                recovery_public: *Point::generator().as_bytes(),
            })
            .collect();
        let statement = KeyStatement {
            result: self.result,
            members,
            threshold: self.package.threshold(),
            public_key: *self.public_key.as_bytes(),
            policy_hash: self.policy.hash(),
        }
        .to_bytes();
        let signature = sign_under(&self.secret, &KeyStatement::message(&statement));
        let bytes = KeyStatement::with_signature(&statement, signature);
        KeyCertificate::verify(&bytes, self.public_key.as_bytes()).unwrap()
    }

    /// A share that is not the member's: it answers with true proofs of a false statement's neighbour.
    pub fn wrong_share(&self, index: u16) -> KeyShare {
        KeyShare::new(
            index,
            0,
            self.public_key,
            SecretScalar::random(&mut rand::rng()),
        )
        .unwrap()
    }

    pub fn active_key(&self, index: u16, addresses: &[String]) -> ActiveKey {
        ActiveKey {
            share: self.key_share(index),
            package: self.package.clone(),
            result: self.result,
            policy: self.policy.clone(),
            members: self
                .identities
                .iter()
                .zip(addresses)
                .enumerate()
                .map(|(position, (identity, address))| dkg::MemberIdentity {
                    name: format!("node{}", position + 1),
                    identity: identity.verifying_key().to_bytes(),
                    recovery_public: *Point::generator().as_bytes(),
                    address: address.clone(),
                })
                .collect(),
            certificate: b"certificate of the ceremony".to_vec(),
        }
    }

    pub fn approve(&self, read: &Read, spki: &[u8], organisations: &[usize]) -> Vec<Vec<u8>> {
        self.approve_within(read, spki, organisations, now() - 5, now() + 200)
    }

    pub fn approve_within(
        &self,
        read: &Read,
        spki: &[u8],
        organisations: &[usize],
        not_before: u64,
        not_after: u64,
    ) -> Vec<Vec<u8>> {
        organisations
            .iter()
            .map(|&organisation| {
                self.issuers[organisation]
                    .issue(&Approval {
                        write_id: read.wrapped.write_id(),
                        ephemeral_point: *read.ephemeral.public().point().as_bytes(),
                        approval_id: format!("read-1/{organisation}"),
                        client_spki: spki.to_vec(),
                        not_before,
                        not_after,
                    })
                    .unwrap()
            })
            .collect()
    }
}

/// A t-of-n sharing of x.
fn share_out(
    secret: Scalar,
    epoch: u64,
    threshold: u16,
    members: u16,
) -> (Vec<Scalar>, PublicKeyPackage) {
    let mut coefficients = vec![secret];
    coefficients.extend((1..threshold).map(|_| *SecretScalar::random(&mut rand::rng()).expose()));
    let share = |index: u16| {
        coefficients
            .iter()
            .rev()
            .fold(Scalar::ZERO, |sum, a| sum * Scalar::from(index) + a)
    };
    let shares: Vec<Scalar> = (1..=members).map(share).collect();
    let public = |scalar: &Scalar| SecretScalar::from_scalar(*scalar).unwrap().public();
    let public_shares = shares.iter().map(public).collect();
    let package = PublicKeyPackage::new(public(&secret), epoch, threshold, public_shares).unwrap();
    (shares, package)
}

/// A signature as t members make it together (RFC 9591), by whoever has the whole x.
pub fn sign_under(secret: &Scalar, message: &[u8]) -> [u8; 64] {
    let nonce = SecretScalar::random(&mut rand::rng());
    let public_key = SecretScalar::from_scalar(*secret).unwrap().public();
    let challenge = Scalar::from_bytes_mod_order_wide(
        &sha2::Sha512::new()
            .chain_update("FROST-RISTRETTO255-SHA512-v1chal")
            .chain_update(nonce.public().as_bytes())
            .chain_update(public_key.as_bytes())
            .chain_update(message)
            .finalize()
            .into(),
    );
    let z = nonce.expose() + challenge * secret;
    [*nonce.public().as_bytes(), z.to_bytes()]
        .concat()
        .try_into()
        .unwrap()
}

/// One read: a wrapped key and the ephemeral secret made for it.
pub struct Read {
    pub wrapped: VerifiedWrappedKey,
    pub ephemeral: EphemeralSecret,
}

impl Read {
    pub fn new(public_key: &Point) -> Self {
        let mut rng = rand::rng();
        let wrapped = wrap(public_key, b"tenant/dataset/document", SECRET, &mut rng).unwrap();
        let ephemeral = EphemeralSecret::new(&wrapped, &mut rng);
        Self { wrapped, ephemeral }
    }

    pub fn request(&self, approvals: &[Vec<u8>]) -> Request {
        reencrypt_request(
            self.wrapped.as_bytes(),
            self.ephemeral.public().as_bytes(),
            approvals,
        )
    }
}

pub fn reencrypt_request(wrapped: &[u8], ephemeral: &[u8], approvals: &[Vec<u8>]) -> Request {
    Request::Reencrypt {
        result: None,
        approvals: approvals
            .iter()
            .map(|approval| ByteBuf::from(approval.as_slice()))
            .collect(),
        traceparent: None,
        wrapped_key: ByteBuf::from(wrapped),
        ephemeral_key: ByteBuf::from(ephemeral),
    }
}
