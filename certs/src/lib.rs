//! Approval certificates, Merkle trees and signed checkpoints: what binds the ledger to the cluster, and both to their
//! own past.
//!
//! # Approvals
//!
//! A node of the cluster re-encrypts a data key only for a request that carries approvals of at least m distinct
//! organisations: X.509 certificates, each bound to one wrapped key, one ephemeral key and one client, for a few minutes.
//! Ledger peers issue them with their own authority ([`Issuer`]), the client carries them, and every node by itself holds
//! them against the key's [`Policy`]. The node trusts its policy and its clock within the tolerance; nothing in a
//! certificate is believed before a listed issuer's signature over it was verified, names least of all.
//!
//! ```
//! use certs::{Algorithm, Approval, Binding, Issuer, Organisation, Policy, PolicyConfig};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let now = 1_800_000_000;
//! let a = Issuer::generate("Hospital A", Algorithm::Ed25519, now - 60, now + 86_400)?;
//! let b = Issuer::generate("Hospital B", Algorithm::EcdsaP256, now - 60, now + 86_400)?;
//! let organisation = |name: &str, issuer: &Issuer| Organisation {
//!     name: name.to_owned(),
//!     issuers: vec![issuer.certificate_der().to_vec()],
//! };
//! let policy = Policy::new(PolicyConfig {
//!     approvals_needed: 2,
//!     organisations: vec![organisation("Hospital A", &a), organisation("Hospital B", &b)],
//!     max_lifetime_s: certs::DEFAULT_LIFETIME_S,
//!     tolerance_s: certs::DEFAULT_TOLERANCE_S,
//! })?;
//!
//! // The client's TLS key; an authority's will do for the example.
//! let client_spki = certs::subject_public_key_info(a.certificate_der())?.to_vec();
//! let approval = Approval {
//!     write_id: [1; 32],
//!     ephemeral_point: [2; 32],
//!     approval_id: "read-7".to_owned(),
//!     client_spki: client_spki.clone(),
//!     not_before: now,
//!     not_after: now + 120,
//! };
//! let (first, second) = (a.issue(&approval)?, b.issue(&approval)?);
//!
//! let binding = Binding { write_id: [1; 32], ephemeral_point: [2; 32], client_spki: &client_spki };
//! let approved = policy.verify(&[&first, &second], &binding, now + 5)?;
//! assert_eq!(approved.counted[1].organisation, "Hospital B");
//!
//! let refused = policy.verify(&[&first, &first], &binding, now + 5).unwrap_err();
//! assert_eq!((refused.counted, refused.reasons[0].1.code()), (1, "duplicate-approval"));
//! # Ok(())
//! # }
//! ```
//!
//! # Companies' own certificates
//!
//! [`chain`] holds the certificate of a person or a machine of a company against the authorities that the company has registered.
//!
//! # Logs
//!
//! [`merkle`] and [`checkpoint`] serve the record's head and the nodes' audit logs alike: trees of RFC 9162, heads in the
//! format of C2SP's tlog-checkpoint, so that tools which exist can check them. [`cosignature`] is what others say of a head,
//! [`log_proof`] the files by which a record or a later head is proved without the log.
//!
//! Nothing here does I/O, and time is an argument.

mod approval;
mod certificate;
mod issuer;
mod policy;
mod printable;
mod refusal;
mod revocation;
mod revocations;
mod signature;
mod verify;

pub mod chain;
pub mod checkpoint;
pub mod cosignature;
pub mod log_proof;
pub mod merkle;
pub mod note;
pub mod oid;

pub use approval::{MAX_APPROVAL_ID, UnverifiedApproval};
pub use certificate::{CertificateError, MAX_CERTIFICATE, MAX_EXTENSIONS, subject_public_key_info};
pub use issuer::{Approval, Issuer, IssuerError};
pub use policy::{
    DEFAULT_LIFETIME_S, DEFAULT_TOLERANCE_S, IssuerDefect, IssuerSummary, LIFETIME_RANGE_S,
    MAX_APPROVALS, MAX_ISSUERS, MAX_NAME, MAX_ORGANISATIONS, MAX_TOLERANCE_S, Organisation, Policy,
    PolicyConfig, PolicyError,
};
pub use refusal::{Refusal, Refused};
pub use revocation::{
    Authority, MAX_REVOCATION_LIST, MAX_REVOKED, RevocationError, RevocationList,
    revocation_list_from_pem, serial_number,
};
pub use revocations::{MAX_AUTHORITIES, Revocations};
pub use signature::{Algorithm, KeyDefect};
pub use verify::{Approved, Binding, Counted};
