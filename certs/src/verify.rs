//! Verification: from certificates in a request to organisations that are counted (protocol.md section 7).
//!
//! The cheap checks come first. For every certificate: size and structure, the profile, what it is bound to (wrapped
//! key, ephemeral key, client), its lifetime and the time. Only what passes all of that costs signature checks.
//!
//! The issuer is found by trying signatures: names are chosen by whoever makes a certificate. They serve as a hint alone:
//! keys whose certificate bears the leaf's issuer name are tried first, for all certificates, then the others. A
//! request gets (m + 1) times as many signature checks as the policy has keys: what the least helpful honest request could need, and
//! one stray certificate besides. More buy an attacker nothing but their own refusal.
//!
//! Verification stops when m organisations are counted. [`Approved`] is made here and nowhere else.

use crate::approval::UnverifiedApproval;
use crate::policy::{IssuerCertificate, IssuerKey, MAX_APPROVALS, Policy};
use crate::refusal::{Refusal, Refused};
use crate::revocations::Revocations;

/// What every approval of a request must be bound to: this wrapped key, this ephemeral key, this client.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// SHA-256 of the wrapped key, computed by the verifier itself.
    pub write_id: [u8; 32],
    /// X, encoded, from the request's ephemeral key.
    pub ephemeral_point: [u8; 32],
    /// DER SubjectPublicKeyInfo of the client's TLS certificate on this connection.
    pub client_spki: &'a [u8],
}

/// Enough distinct organisations approved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Approved {
    /// The approvals that were counted, one for each organisation, in the order of the request.
    pub counted: Vec<Counted>,
    /// Index of each approval that was looked at and not counted, and why, in ascending order.
    pub not_counted: Vec<(usize, Refusal)>,
}

/// An approval that was counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counted {
    /// Its place in the request.
    pub index: usize,
    /// The organisation that signed it.
    pub organisation: String,
    /// The ledger's approval id.
    pub approval_id: String,
    /// SHA-256 of the issuer's DER certificate.
    pub issuer_fingerprint: [u8; 32],
    /// From when on it is valid, in seconds since the Unix epoch: by the issuer's clock, about when it was issued.
    pub not_before: u64,
}

impl Policy {
    /// Counts the distinct organisations that approve what `binding` says, at the moment `now` (seconds since the Unix
    /// epoch).
    ///
    /// # Errors
    /// [`Refused`] if fewer than [`Policy::approvals_needed`] organisations do, with the reason for each certificate that
    /// was not counted.
    pub fn verify(
        &self,
        approvals: &[&[u8]],
        binding: &Binding<'_>,
        now: u64,
    ) -> Result<Approved, Refused> {
        self.verify_unrevoked(approvals, binding, now, &Revocations::default())
    }

    /// [`Policy::verify`], with what was revoked held against each approval and its issuer too.
    ///
    /// # Errors
    /// As [`Policy::verify`].
    pub fn verify_unrevoked(
        &self,
        approvals: &[&[u8]],
        binding: &Binding<'_>,
        now: u64,
        revocations: &Revocations,
    ) -> Result<Approved, Refused> {
        if approvals.len() > MAX_APPROVALS {
            let reason = Refusal::TooManyApprovals {
                given: approvals.len(),
                most: MAX_APPROVALS,
            };
            return Err(Refused {
                needed: self.approvals_needed(),
                counted: 0,
                organisations: Vec::new(),
                reasons: vec![(MAX_APPROVALS, reason)],
            });
        }
        let mut count = Count::new(self, now, revocations);
        let mut candidates = Vec::with_capacity(approvals.len());
        for (index, bytes) in approvals.iter().enumerate() {
            match self.check_without_signature(approvals, index, bytes, binding, now) {
                Ok(approval) => candidates.push(Candidate {
                    index,
                    approval,
                    resolved: false,
                }),
                Err(reason) => count.refuse(index, reason),
            }
        }
        for attempt in [Attempt::KeysOfTheNamedIssuer, Attempt::OtherKeys] {
            for candidate in candidates
                .iter_mut()
                .filter(|candidate| !candidate.resolved)
            {
                if count.is_enough() {
                    return Ok(count.into_approved());
                }
                count.try_keys(candidate, attempt);
            }
        }
        if count.is_enough() {
            Ok(count.into_approved())
        } else {
            Err(count.into_refused())
        }
    }

    /// Everything that costs no signature check.
    fn check_without_signature<'a>(
        &self,
        approvals: &[&'a [u8]],
        index: usize,
        bytes: &'a [u8],
        binding: &Binding<'_>,
        now: u64,
    ) -> Result<UnverifiedApproval<'a>, Refusal> {
        if let Some(first) = approvals
            .iter()
            .take(index)
            .position(|earlier| *earlier == bytes)
        {
            return Err(Refusal::Duplicate { first });
        }
        let approval = UnverifiedApproval::parse(bytes)?;
        if *approval.write_id() != binding.write_id {
            return Err(Refusal::OtherWriteId {
                approved: *approval.write_id(),
            });
        }
        if *approval.ephemeral_point() != binding.ephemeral_point {
            return Err(Refusal::OtherEphemeralPoint {
                approved: *approval.ephemeral_point(),
            });
        }
        if approval.client_spki() != binding.client_spki {
            return Err(Refusal::OtherClient);
        }
        let (not_before, not_after) = (approval.not_before(), approval.not_after());
        let seconds = not_after
            .checked_sub(not_before)
            .ok_or(Refusal::ReversedValidity)?;
        if seconds > u64::from(self.max_lifetime_s()) {
            return Err(Refusal::LifetimeTooLong {
                seconds,
                most: self.max_lifetime_s(),
            });
        }
        let tolerance_s = self.tolerance_s();
        match Moment::of(not_before, not_after, now, tolerance_s) {
            Moment::Within => Ok(approval),
            Moment::Before => Err(Refusal::NotYetValid {
                not_before,
                now,
                tolerance_s,
            }),
            Moment::After => Err(Refusal::Expired {
                not_after,
                now,
                tolerance_s,
            }),
        }
    }
}

/// Where a moment lies against a validity, the clock tolerance given on either side.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Before,
    Within,
    After,
}

impl Moment {
    fn of(not_before: u64, not_after: u64, now: u64, tolerance_s: u32) -> Self {
        let tolerance = u64::from(tolerance_s);
        if now.saturating_add(tolerance) < not_before {
            Self::Before
        } else if now > not_after.saturating_add(tolerance) {
            Self::After
        } else {
            Self::Within
        }
    }
}

/// A certificate that only its signature still has to speak for.
struct Candidate<'a> {
    index: usize,
    approval: UnverifiedApproval<'a>,
    /// Its signer is known, for better or worse.
    resolved: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    KeysOfTheNamedIssuer,
    OtherKeys,
}

/// The state of counting.
struct Count<'p> {
    policy: &'p Policy,
    now: u64,
    revocations: &'p Revocations,
    /// Signature checks that are left, and how many there were.
    checks_left: usize,
    checks: usize,
    counted: Vec<(usize, Counted)>,
    reasons: Vec<(usize, Refusal)>,
}

impl<'p> Count<'p> {
    fn new(policy: &'p Policy, now: u64, revocations: &'p Revocations) -> Self {
        let checks = (usize::from(policy.approvals_needed()) + 1).saturating_mul(policy.keys.len());
        Self {
            policy,
            now,
            revocations,
            checks_left: checks,
            checks,
            counted: Vec::new(),
            reasons: Vec::new(),
        }
    }

    fn is_enough(&self) -> bool {
        self.counted.len() >= usize::from(self.policy.approvals_needed())
    }

    fn refuse(&mut self, index: usize, reason: Refusal) {
        self.reasons.push((index, reason));
    }

    fn try_keys(&mut self, candidate: &mut Candidate<'_>, attempt: Attempt) {
        let policy = self.policy;
        let certificate = &candidate.approval.certificate;
        let named = attempt == Attempt::KeysOfTheNamedIssuer;
        let keys = policy.keys.iter().filter(|key| {
            key.key.algorithm() == candidate.approval.algorithm
                && key.is_named(certificate.issuer) == named
        });
        for key in keys {
            let Some(left) = self.checks_left.checked_sub(1) else {
                candidate.resolved = true;
                return self.refuse(
                    candidate.index,
                    Refusal::SignatureChecksUsedUp { tries: self.checks },
                );
            };
            self.checks_left = left;
            if key
                .key
                .verifies_vartime(certificate.signed_part, certificate.signature)
            {
                candidate.resolved = true;
                return match self.count(candidate, key) {
                    Ok(counted) => self.counted.push((key.organisation, counted)),
                    Err(reason) => self.refuse(candidate.index, reason),
                };
            }
        }
        if attempt == Attempt::OtherKeys {
            self.refuse(candidate.index, Refusal::UnknownIssuer);
        }
    }

    /// A signature by `key` was found good; whether it counts.
    fn count(&self, candidate: &Candidate<'_>, key: &IssuerKey) -> Result<Counted, Refusal> {
        let organisation = self.policy.organisation_name(key.organisation);
        let serial = candidate.approval.certificate.serial;
        let unrevoked = |issuer: &IssuerCertificate| {
            self.revocations
                .check(organisation, key, issuer, serial, self.now)
        };
        let issuer = key
            .certificate_at(self.now, self.policy.tolerance_s(), unrevoked)
            .map_err(|reason| match reason {
                IssuerLapse::NotYetValid { not_before } => Refusal::IssuerNotYetValid {
                    organisation: organisation.to_owned(),
                    not_before,
                },
                IssuerLapse::Expired { not_after } => Refusal::IssuerExpired {
                    organisation: organisation.to_owned(),
                    not_after,
                },
                IssuerLapse::Revoked(reason) => reason,
            })?;
        if let Some((_, first)) = self
            .counted
            .iter()
            .find(|(counted, _)| *counted == key.organisation)
        {
            return Err(Refusal::OrganisationCounted {
                organisation: organisation.to_owned(),
                first: first.index,
            });
        }
        Ok(Counted {
            index: candidate.index,
            organisation: organisation.to_owned(),
            approval_id: candidate.approval.approval_id().to_owned(),
            issuer_fingerprint: issuer.fingerprint,
            not_before: candidate.approval.not_before(),
        })
    }

    fn into_approved(mut self) -> Approved {
        self.sort();
        Approved {
            counted: self
                .counted
                .into_iter()
                .map(|(_, counted)| counted)
                .collect(),
            not_counted: self.reasons,
        }
    }

    fn into_refused(mut self) -> Refused {
        self.sort();
        Refused {
            needed: self.policy.approvals_needed(),
            counted: u16::try_from(self.counted.len()).unwrap_or(u16::MAX),
            organisations: self
                .counted
                .into_iter()
                .map(|(_, counted)| counted.organisation)
                .collect(),
            reasons: self.reasons,
        }
    }

    fn sort(&mut self) {
        self.counted.sort_by_key(|(_, counted)| counted.index);
        self.reasons.sort_by_key(|(index, _)| *index);
    }
}

/// Why none of a key's certificates is valid now.
enum IssuerLapse {
    NotYetValid {
        not_before: u64,
    },
    Expired {
        not_after: u64,
    },
    /// One is within its time, and revoked.
    Revoked(Refusal),
}

impl IssuerKey {
    fn is_named(&self, issuer: &[u8]) -> bool {
        self.certificates
            .iter()
            .any(|certificate| certificate.subject == issuer)
    }

    /// One of the key's certificates that is valid now and not revoked; after a renewal one is enough.
    fn certificate_at(
        &self,
        now: u64,
        tolerance_s: u32,
        unrevoked: impl Fn(&IssuerCertificate) -> Result<(), Refusal>,
    ) -> Result<&IssuerCertificate, IssuerLapse> {
        let mut lapse = IssuerLapse::Expired { not_after: 0 };
        for certificate in &self.certificates {
            let IssuerCertificate {
                not_before,
                not_after,
                ..
            } = *certificate;
            lapse = match (Moment::of(not_before, not_after, now, tolerance_s), lapse) {
                (Moment::Within, _) => match unrevoked(certificate) {
                    Ok(()) => return Ok(certificate),
                    Err(reason) => IssuerLapse::Revoked(reason),
                },
                (_, revoked @ IssuerLapse::Revoked(_)) => revoked,
                // One that is still to come says more than one that is over, and the last to expire most of these.
                (Moment::Before, _) => IssuerLapse::NotYetValid { not_before },
                (Moment::After, IssuerLapse::Expired { not_after: other }) => {
                    IssuerLapse::Expired {
                        not_after: not_after.max(other),
                    }
                }
                (Moment::After, not_yet) => not_yet,
            };
        }
        Err(lapse)
    }
}
