//! What outsiders check: proofs, queries, exports, and the record held against the crypto nodes' logs.
//!
//! Every transaction is a leaf of one Merkle tree (RFC 9162) whose head all organisations' peers sign. So
//!
//! - a row of a [`Query`] proves by its path that it is on the record, offline and by itself ([`verify_proof`]); that no row was left out is proven by an
//!   export alone;
//! - an export ([`super::RecordHandle::export`]) is verified by [`verify_export`] with the organisations' public keys and nothing else: it replays everything
//!   from the genesis, every signature and proof included, and compares with the signed head;
//! - [`reconcile()`] says of each share that a node logged whether the record has the read it was given for, and of each approval that an organisation says it issued
//!   ([`verify_approvals`]) what became of it.

mod answer;
mod approvals;
mod export;
mod lines;
mod matching;
mod proof;
mod query;
mod reconcile;
mod standing;
mod subject;
mod succession;
mod verify;

pub use answer::{
    AnswerError, AuditAnswer, AuditQuery, AuditRowView, AuditView, PathHash, whole_answer,
};
pub use approvals::{
    ApprovalFault, ApprovalsError, IssuedApproval, IssuedApprovals, verify_approvals,
};
pub use proof::{MAX_PROOF_FILE, ProofFileError, ProvenHead, ProvenRow, verify_proof};
pub use query::{AuditRow, InclusionProof, MAX_ROWS, Query};
pub use reconcile::{
    AccountedApproval, Discrepancy, DiscrepancyKind, FalseApproval, Outcome, Reconciliation,
    Release, reconcile,
};
pub use standing::{DocumentProof, Standing};
pub use subject::{Subject, SubjectError, subjects_of, subjects_with};
pub use succession::Handover;
pub use verify::{AuditError, AuditReport, VerifiedRecord, verify_export};

pub(super) use approvals::{
    ApprovalLine, Closing as ApprovalsClosing, Opening as ApprovalsOpening, Statement,
};
pub(super) use export::{HexBytes, export};
