//! A cluster as its clients know it: the key, its members, where they are and by which key each is known.
//!
//! Operators hand out `cluster.json` ([`ClusterDescriptor`]); [`ClusterDescriptor::check`] makes a [`Cluster`] of it,
//! which is the only thing that a client is made from. The check covers everything that can be checked without asking
//! anybody: that the public shares lie on one polynomial under Y, that no member stands in it twice, that addresses
//! can be read. That the descriptor is the right one is for its reader to know: it is configuration, to be got from
//! the operators like any other trust anchor.

use std::collections::HashSet;

use reencrypt::{Point, PublicKeyPackage};
use serde::{Deserialize, Serialize};

use crate::wire::v1::ResultVersion;

/// Most members in a descriptor.
pub const MAX_MEMBERS: usize = 1_024;

/// The file `cluster.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterDescriptor {
    /// Version of this format: 1.
    pub version: u32,
    /// Y, hexadecimal.
    #[serde(with = "hex::serde")]
    pub public_key: [u8; 32],
    /// The key's epoch.
    pub epoch: u64,
    /// The attempt of the ceremony that made this epoch of it.
    pub attempt: u32,
    /// t: how many shares open a wrapped key.
    pub threshold: u16,
    /// The members, in index order.
    pub members: Vec<MemberDescriptor>,
    /// SHA-256 of the approval policy's canonical encoding, hexadecimal.
    #[serde(with = "hex::serde")]
    pub policy_hash: [u8; 32],
}

/// One member in `cluster.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberDescriptor {
    /// Its index, from 1.
    pub index: u16,
    /// Its name, for people.
    pub name: String,
    /// Its Ed25519 identity, hexadecimal: the key of its TLS certificate.
    #[serde(with = "hex::serde")]
    pub identity: [u8; 32],
    /// Where it listens: `host:port`, UDP.
    pub address: String,
    /// Y_i, hexadecimal.
    #[serde(with = "hex::serde")]
    pub public_share: [u8; 32],
}

/// A descriptor that was checked.
#[derive(Debug, Clone)]
pub struct Cluster {
    descriptor: ClusterDescriptor,
    package: PublicKeyPackage,
}

/// Why a descriptor cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptorError {
    /// Not the JSON of a descriptor.
    #[error(
        "the cluster descriptor cannot be read: {reason}; ask the operators for the file cluster.json again"
    )]
    Unreadable {
        /// The reader's reason.
        reason: String,
    },
    /// Made by another version of this software.
    #[error(
        "the cluster descriptor has version {version}, and this software reads version 1: use the software that fits it"
    )]
    Version {
        /// The version it states.
        version: u32,
    },
    /// No members, or more than are possible.
    #[error("the cluster descriptor has {members} members; 1 to {MAX_MEMBERS} are possible")]
    Members {
        /// How many it has.
        members: usize,
    },
    /// Members are not in the order of their indices 1, 2, …
    #[error(
        "the cluster descriptor has index {found} where {expected} belongs: its members must stand in index order"
    )]
    Order {
        /// The index that belongs there.
        expected: usize,
        /// The index found.
        found: u16,
    },
    /// Two members have one identity or one name.
    #[error("the cluster descriptor has member {name:?} twice, by name or by identity")]
    Twice {
        /// The second one's name.
        name: String,
    },
    /// A member's name is empty, too long or has control characters.
    #[error(
        "the name of member {index} in the cluster descriptor is empty, over 64 bytes, or has characters that cannot be shown"
    )]
    Name {
        /// The member.
        index: u16,
    },
    /// A member's address is not `host:port`.
    #[error(
        "member {name} has the address {address:?} in the cluster descriptor, which is not host:port"
    )]
    Address {
        /// The member's name.
        name: String,
        /// The address found.
        address: String,
    },
    /// A point is not a canonical encoding of a group element other than the identity.
    #[error("the cluster descriptor's {what} is not a valid point")]
    Point {
        /// Which point.
        what: String,
    },
    /// The public shares do not belong together.
    #[error("the keys in the cluster descriptor do not belong together: {reason}")]
    Inconsistent {
        /// What does not hold.
        reason: String,
    },
}

impl DescriptorError {
    /// A stable code for operators and scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "descriptor-unreadable",
            Self::Version { .. } => "descriptor-version",
            Self::Members { .. } => "descriptor-members",
            Self::Order { .. } => "descriptor-order",
            Self::Twice { .. } => "descriptor-twice",
            Self::Name { .. } => "descriptor-name",
            Self::Address { .. } => "descriptor-address",
            Self::Point { .. } => "descriptor-point",
            Self::Inconsistent { .. } => "descriptor-inconsistent",
        }
    }
}

impl ClusterDescriptor {
    /// Reads `cluster.json`.
    ///
    /// # Errors
    /// [`DescriptorError::Unreadable`] for text of another form.
    pub fn from_json(text: &str) -> Result<Self, DescriptorError> {
        serde_json::from_str(text).map_err(|error| DescriptorError::Unreadable {
            reason: error.to_string(),
        })
    }

    /// The text of `cluster.json`, indented, with a newline at the end.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings, numbers and a list of the same: there is nothing in it that JSON cannot say.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// The result of the key that it describes.
    #[must_use]
    pub fn version_of_result(&self) -> ResultVersion {
        ResultVersion {
            epoch: self.epoch,
            attempt: self.attempt,
        }
    }

    /// Checks everything that can be checked without asking anybody.
    ///
    /// # Errors
    /// [`DescriptorError`] for the first thing that is wrong.
    pub fn check(self) -> Result<Cluster, DescriptorError> {
        if self.version != 1 {
            return Err(DescriptorError::Version {
                version: self.version,
            });
        }
        if self.members.is_empty() || self.members.len() > MAX_MEMBERS {
            return Err(DescriptorError::Members {
                members: self.members.len(),
            });
        }
        let (mut names, mut identities) = (HashSet::new(), HashSet::new());
        for (position, member) in self.members.iter().enumerate() {
            member.check(position + 1)?;
            if !names.insert(member.name.as_str()) || !identities.insert(member.identity) {
                return Err(DescriptorError::Twice {
                    name: member.name.clone(),
                });
            }
        }
        let point = |bytes: &[u8; 32], what: &str| {
            Point::from_bytes(bytes).map_err(|_| DescriptorError::Point {
                what: what.to_owned(),
            })
        };
        let public_key = point(&self.public_key, "public key")?;
        let shares = self
            .members
            .iter()
            .map(|member| {
                point(
                    &member.public_share,
                    &format!("public share of {}", member.name),
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        let package = PublicKeyPackage::new(public_key, self.epoch, self.threshold, shares)
            .map_err(|error| DescriptorError::Inconsistent {
                reason: error.to_string(),
            })?;
        Ok(Cluster {
            descriptor: self,
            package,
        })
    }
}

impl MemberDescriptor {
    fn check(&self, expected: usize) -> Result<(), DescriptorError> {
        if usize::from(self.index) != expected {
            return Err(DescriptorError::Order {
                expected,
                found: self.index,
            });
        }
        if self.name.is_empty() || self.name.len() > 64 || self.name.chars().any(char::is_control) {
            return Err(DescriptorError::Name { index: self.index });
        }
        if is_address(&self.address) {
            Ok(())
        } else {
            Err(DescriptorError::Address {
                name: self.name.clone(),
                address: self.address.clone(),
            })
        }
    }
}

/// Whether a text is `host:port`.
pub(super) fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0)
    })
}

impl Cluster {
    /// The descriptor, as it was checked.
    #[must_use]
    pub fn descriptor(&self) -> &ClusterDescriptor {
        &self.descriptor
    }

    /// Y, epoch, t and the public shares.
    #[must_use]
    pub fn package(&self) -> &PublicKeyPackage {
        &self.package
    }

    /// The members in index order.
    #[must_use]
    pub fn members(&self) -> &[MemberDescriptor] {
        &self.descriptor.members
    }
}
