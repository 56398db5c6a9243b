//! The statement that the members of a key sign, made from a ceremony's certificate.
//!
//! The ceremony's certificate ([`CertifiedKey`]) convinces whoever knows the members. A client knows only Y. So t of the
//! members sign, under Y itself ([`crate::frost`]), what the key is now; the format and its verification are in
//! [`reencrypt::KeyCertificate`], where clients have them too.

use reencrypt::{CertifiedMember, KeyCertificate, KeyStatement};

use crate::certificate::CertifiedKey;

/// What the members of a certified key sign: the bytes of the statement, and their hash.
pub(crate) struct ToSign {
    statement: Vec<u8>,
    pub(crate) message: [u8; 64],
}

impl ToSign {
    pub(crate) fn of(key: &CertifiedKey) -> Self {
        let members = key
            .members()
            .iter()
            .zip(key.package().public_shares())
            .map(|(member, share)| CertifiedMember {
                name: member.name.clone(),
                identity: member.identity,
                public_share: *share.as_bytes(),
                recovery_public: member.recovery_public,
            })
            .collect();
        let statement = KeyStatement {
            result: key.name(),
            members,
            threshold: key.package().threshold(),
            public_key: *key.public_key().as_bytes(),
            policy_hash: *key.policy_hash(),
        }
        .to_bytes();
        Self {
            message: KeyStatement::message(&statement),
            statement,
        }
    }

    /// The certificate's bytes.
    pub(crate) fn with_signature(&self, signature: [u8; 64]) -> Vec<u8> {
        KeyStatement::with_signature(&self.statement, signature)
    }

    /// Whether a certificate states exactly this.
    pub(crate) fn is_stated_by(&self, certificate: &KeyCertificate) -> bool {
        certificate.statement().to_bytes() == self.statement
    }
}
