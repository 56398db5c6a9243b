//! The golden record: what several organisations agree to have happened.
//!
//! One deterministic state machine, executed by a peer of every organisation; nobody's copy is the master. Its bytes are
//! in `docs/protocol/golden-record.md`.
//!
//! # How a transaction gets onto the record
//!
//! 1. Its author signs it ([`UnsignedTransaction::sign`]): for this ledger, for a while, once.
//! 2. An [`Engine`] brings it into an order with others and proposes them to every peer.
//! 3. Every [`peer`] applies them to its own state ([`apply()`]), drops what the rules refuse, makes a [`Block`] of the rest,
//!    makes it durable in its own store, and signs the new head. A peer that comes to another result than the quorum is
//!    faulty, by name, and the others go on without it.
//! 4. The block is final when a quorum, n − ⌊(n−1)/3⌋ of n peers, has made the same block durable. Only then is the author told.
//!
//! # How a read is approved
//!
//! A read is a transaction like any other; permission is checked when it is applied. After it is final each peer may be
//! asked for its approval: it looks at its own state *again*, so that a permission taken away in between stands in the
//! way, remembers the certificate durably, and gives it out. The crypto nodes believe these certificates and nothing else.
//!
//! # What is assumed, and what goes wrong
//!
//! Fewer than a third of the peers are faulty. The engine may be anything: it cannot forge a transaction, for it lacks
//! the authors' keys; it cannot replay one, for the record remembers ids until they expire; it can delay. The clock is
//! the block's and never runs backwards. Whoever holds m organisations' approval keys can approve what it likes: that is
//! what m is for.
//!
//! | file | what is in it |
//! |---|---|
//! | `transaction`, `signed`, `canonical`, `hash` | the vocabulary, and its one encoding |
//! | `state`, `table`, `root` | what the record knows, and the hash over it |
//! | `apply`, `permission`, `label`, `rejection`, `event` | the rules |
//! | `genesis`, `block`, `head` | the chain, and what peers sign |
//! | `peer`, `engine` | stores, approvals, order |
//! | `audit` | proofs, exports and what outsiders check |

pub mod apply;
pub mod audit;
mod block;
mod canonical;
mod engine;
mod event;
mod genesis;
mod hash;
pub mod head;
mod identifier;
pub mod label;
pub mod peer;
mod permission;
mod rejection;
mod root;
mod signed;
mod state;
mod table;
mod transaction;
mod verifier;

pub use apply::apply;
pub use block::{Block, BlockContext, Header, MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS, Receipt};
pub use canonical::DecodeError;
pub(crate) use engine::simplex::access::{PROTOCOL as PEER_PROTOCOL, another_answers};
pub use engine::simplex::standing::{Departure, Statements};
pub use engine::simplex::{
    Addresses, FollowError, FollowOptions, Followed, Member, MemberError, MemberOptions,
    MemberStatus, PeerAccess, PeerAddress, wire,
};
pub use engine::solo::{Clock, Solo, SoloOpenError, SoloOptions};
pub use engine::{
    ApprovalOutcome, Engine, PeerStatus, ProvenTransaction, RecordError, RecordHandle,
};
pub use event::Event;
pub use genesis::{
    EPOCH_BATCHES, Genesis, MAX_GENESIS, MAX_ORGANISATIONS, OrganisationsError, quorum,
};
pub use identifier::{
    ClientName, DatasetName, DocumentName, Identifier, IdentifierError, LinkName, UserName,
    UserNameError, VersionName,
};
pub use peer::{ApprovalRefusal, ApprovalTerms, FresherLists, PeerKeys};
pub use permission::Permissions;
pub use rejection::Rejection;
pub use root::Hash;
pub use signed::{
    Author, LedgerId, MAX_TRANSACTION, MAX_TRANSACTION_LIFETIME_MS, SignedTransaction,
    TransactionId, UnsignedTransaction, certificate_statement, client_statement, rotate_key,
    rotation_statement,
};
pub use state::{
    Access, AccessKey, AccessStatus, Authorities, BoundCertificate, CertificateLink, Content,
    Dataset, Document, DocumentVersion, Holder, LinkVersion, MAX_VERSIONS, PendingChange,
    RecordedRead, RegisteredAuthority, Revocations, RevocationsKey, State, Tenant, ThresholdKey,
    User,
};
pub use transaction::{
    AccessDecision, AccessRequest, Body, Certification, ClientCertify, DatasetConfigure,
    DatasetCreate, EPHEMERAL_KEY_LENGTH, Encryption, Erase, KeyWrapping, Link, MAX_AUTHORITIES,
    MAX_CHAIN, MAX_CLIENT_SPKI, MAX_CONTENT_TYPE, MAX_ISSUERS, MAX_LEDGER_BODY, MAX_PLATFORM_KEY,
    MAX_POINTER, MAX_REVOCATION_LIST, MAX_ROLE_USERS, MAX_WRAPPED_DEK1, MAX_WRAPPED_KEY,
    Organisation, OrganisationChange, OrganisationEndorse, OrganisationWithdraw, PermissionEntry,
    PermissionSet, Read, Reencryption, RevocationsPublish, Rewrap, Role, Storage,
    TenantAuthorities, TenantRegister, Transaction, UserCertify, UserExpire, UserRegister,
    UserRole, UserRotateKey, Write,
};
