//! An approval policy, and what changes from one to another, in words that operators can weigh before they agree.

use std::collections::BTreeMap;

use certs::Policy;
use serde::{Deserialize, Serialize};

/// A policy as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// SHA-256 of its canonical encoding, in hexadecimal.
    pub policy_hash: String,
    /// How many distinct organisations must approve a read.
    pub approvals_needed: u16,
    /// Who may approve, by name.
    pub organisations: Vec<String>,
    /// Their issuers' certificates.
    pub issuers: Vec<IssuerView>,
    /// The longest time that an approval is valid, in seconds.
    pub max_lifetime_s: u32,
    /// By how much clocks may differ, in seconds.
    pub tolerance_s: u32,
}

/// An issuer's certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IssuerView {
    /// Whose it is.
    pub organisation: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub fingerprint: String,
    /// Until when it is valid, seconds since the Unix epoch.
    pub not_after: u64,
}

/// One difference between two policies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "kebab-case")]
pub enum PolicyChange {
    /// Another number of organisations must approve.
    ApprovalsNeeded {
        /// How many now, and of how many.
        from: (u16, usize),
        /// How many then, and of how many.
        to: (u16, usize),
    },
    /// An organisation that may approve from then on.
    OrganisationAdded {
        /// Its name.
        organisation: String,
        /// Its issuers.
        issuers: Vec<IssuerView>,
    },
    /// An organisation that may approve no more.
    OrganisationRemoved {
        /// Its name.
        organisation: String,
    },
    /// An issuer of an organisation that is in both.
    IssuerAdded {
        /// The issuer.
        issuer: IssuerView,
    },
    /// An issuer that counts no more, of an organisation that is in both.
    IssuerRemoved {
        /// The issuer.
        issuer: IssuerView,
    },
    /// Another longest time of an approval, in seconds.
    MaxLifetime {
        /// Now.
        from: u32,
        /// Then.
        to: u32,
    },
    /// Another tolerance of clocks, in seconds.
    Tolerance {
        /// Now.
        from: u32,
        /// Then.
        to: u32,
    },
}

impl PolicyView {
    /// The view of a policy.
    #[must_use]
    pub fn of(policy: &Policy) -> Self {
        let mut issuers: Vec<IssuerView> = policy
            .issuers()
            .map(|issuer| IssuerView {
                organisation: issuer.organisation.to_owned(),
                fingerprint: hex::encode(issuer.fingerprint),
                not_after: issuer.not_after,
            })
            .collect();
        issuers.sort();
        let organisations = policy.organisations().iter();
        Self {
            policy_hash: hex::encode(policy.hash()),
            approvals_needed: policy.approvals_needed(),
            organisations: organisations.map(|one| one.name.clone()).collect(),
            issuers,
            max_lifetime_s: policy.max_lifetime_s(),
            tolerance_s: policy.tolerance_s(),
        }
    }

    fn by_organisation(&self) -> BTreeMap<&str, Vec<&IssuerView>> {
        let mut all: BTreeMap<&str, Vec<&IssuerView>> = BTreeMap::new();
        for issuer in &self.issuers {
            all.entry(&issuer.organisation).or_default().push(issuer);
        }
        all
    }

    /// What changes from this policy to another. Nothing, only if they are the same.
    #[must_use]
    pub fn changes_to(&self, to: &Self) -> Vec<PolicyChange> {
        let mut changes = Vec::new();
        let count = |view: &Self| (view.approvals_needed, view.organisations.len());
        if count(self) != count(to) {
            changes.push(PolicyChange::ApprovalsNeeded {
                from: count(self),
                to: count(to),
            });
        }
        let (before, after) = (self.by_organisation(), to.by_organisation());
        for (organisation, issuers) in &after {
            match before.get(organisation) {
                None => changes.push(PolicyChange::OrganisationAdded {
                    organisation: (*organisation).to_owned(),
                    issuers: issuers.iter().map(|issuer| (*issuer).clone()).collect(),
                }),
                Some(known) => {
                    let new = issuers.iter().filter(|issuer| !known.contains(issuer));
                    changes.extend(new.map(|issuer| PolicyChange::IssuerAdded {
                        issuer: (*issuer).clone(),
                    }));
                }
            }
        }
        for (organisation, issuers) in &before {
            match after.get(organisation) {
                None => changes.push(PolicyChange::OrganisationRemoved {
                    organisation: (*organisation).to_owned(),
                }),
                Some(kept) => {
                    let gone = issuers.iter().filter(|issuer| !kept.contains(issuer));
                    changes.extend(gone.map(|issuer| PolicyChange::IssuerRemoved {
                        issuer: (*issuer).clone(),
                    }));
                }
            }
        }
        if self.max_lifetime_s != to.max_lifetime_s {
            changes.push(PolicyChange::MaxLifetime {
                from: self.max_lifetime_s,
                to: to.max_lifetime_s,
            });
        }
        if self.tolerance_s != to.tolerance_s {
            changes.push(PolicyChange::Tolerance {
                from: self.tolerance_s,
                to: to.tolerance_s,
            });
        }
        changes
    }
}

impl std::fmt::Display for IssuerView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let until = i64::try_from(self.not_after)
            .ok()
            .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
            .map_or_else(|| self.not_after.to_string(), |at| at.date().to_string());
        write!(f, "SHA-256 {}, valid until {until}", self.fingerprint)
    }
}

impl std::fmt::Display for PolicyChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ApprovalsNeeded { from, to } => write!(
                f,
                "a read needs approvals of {} of {} organisations, and needed {} of {}",
                to.0, to.1, from.0, from.1
            ),
            Self::OrganisationAdded {
                organisation,
                issuers,
            } => {
                let issuers: Vec<String> = issuers.iter().map(ToString::to_string).collect();
                let issuers = issuers.join("; ");
                write!(
                    f,
                    "{organisation} comes in and may approve, with the issuer {issuers}"
                )
            }
            Self::OrganisationRemoved { organisation } => {
                write!(f, "{organisation} goes and may approve no more")
            }
            Self::IssuerAdded { issuer } => {
                write!(f, "{} gets another issuer: {issuer}", issuer.organisation)
            }
            Self::IssuerRemoved { issuer } => write!(
                f,
                "{} loses an issuer, whose approvals count no more: {issuer}",
                issuer.organisation
            ),
            Self::MaxLifetime { from, to } => {
                write!(
                    f,
                    "an approval is valid for {to} s at most, and was for {from} s"
                )
            }
            Self::Tolerance { from, to } => {
                write!(f, "clocks may differ by {to} s, and might by {from} s")
            }
        }
    }
}

#[cfg(test)]
#[path = "policy_words_tests.rs"]
mod tests;
