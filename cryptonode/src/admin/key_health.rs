//! A key's health, as the node checks it when it is asked.

use serde::{Deserialize, Serialize};

use crate::keyring::ActiveKey;

/// Whether a share can be used, and until when approvals for its key can come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyHealth {
    /// Y in hexadecimal.
    pub public_key: String,
    /// Its epoch.
    pub epoch: u64,
    /// SHA-256 of its approval policy, in hexadecimal.
    pub policy_hash: String,
    /// Why the share cannot be used, if so.
    pub failure: Option<String>,
    /// The issuers of its policy.
    pub issuers: Vec<IssuerHealth>,
}

/// An issuer of approvals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerHealth {
    /// Its organisation.
    pub organisation: String,
    /// SHA-256 of its certificate, in hexadecimal.
    pub fingerprint: String,
    /// When the certificate expires, in seconds since the Unix epoch.
    pub not_after: u64,
}

impl KeyHealth {
    /// Checks the share anew.
    #[must_use]
    pub fn of(key: &ActiveKey) -> Self {
        Self {
            public_key: hex::encode(key.package.public_key().as_bytes()),
            epoch: key.package.epoch(),
            policy_hash: hex::encode(key.policy.hash()),
            failure: key.check().err().map(|error| error.to_string()),
            issuers: IssuerHealth::of_policy(&key.policy),
        }
    }
}

impl IssuerHealth {
    /// All issuers of a policy.
    #[must_use]
    pub fn of_policy(policy: &certs::Policy) -> Vec<Self> {
        policy
            .issuers()
            .map(|issuer| Self {
                organisation: issuer.organisation.to_owned(),
                fingerprint: hex::encode(issuer.fingerprint),
                not_after: issuer.not_after,
            })
            .collect()
    }
}
