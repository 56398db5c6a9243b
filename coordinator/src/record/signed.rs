//! A transaction with its author and signature, and its one encoding.
//!
//! The author signs the canonical encoding of `["coordinator/v1/transaction", content]` with Ed25519 (RFC 8032). The content names the
//! ledger by the hash of its genesis, so a transaction of another ledger cannot be replayed here; it carries a random
//! nonce and a time at which it expires, and the record remembers every id until then, so it cannot be replayed at all.
//! There are no sequence numbers: one user's requests from several places need no coordination, and none waits for
//! another.
//!
//! The *id* is SHA-256 over what is signed. It does not cover the signature, so nobody can make a second transaction of
//! the first by altering that.

use super::{
    canonical::{self, DecodeError},
    hash,
    identifier::{ClientName, Identifier, UserName},
    transaction::Transaction,
};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{fmt, sync::Arc};

/// Bytes of the longest signed transaction.
pub const MAX_TRANSACTION: usize = 96 * 1024;
/// How far in the future a transaction may expire, milliseconds: one hour.
pub const MAX_TRANSACTION_LIFETIME_MS: u64 = 3_600_000;

/// SHA-256 over what the author signed.
pub type TransactionId = [u8; 32];
/// SHA-256 over the genesis: which ledger.
pub type LedgerId = [u8; 32];

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Author {
    /// An organisation, by its operator's key.
    Organisation(Identifier),
    /// A user, by a key that it holds itself.
    User(UserName),
    /// A user, by a key that its platform keeps and signs with on the user's behalf.
    Managed(UserName),
}

impl Author {
    /// The user, whoever keeps its key.
    #[must_use]
    pub fn user(&self) -> Option<&UserName> {
        match self {
            Self::Organisation(_) => None,
            Self::User(name) | Self::Managed(name) => Some(name),
        }
    }
}

impl fmt::Display for Author {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organisation(name) => write!(f, "organisation {name}"),
            Self::User(name) => write!(f, "user {name}"),
            Self::Managed(name) => write!(f, "managed user {name}"),
        }
    }
}

/// A transaction before it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsignedTransaction {
    /// The ledger that it is for.
    #[serde(with = "serde_bytes")]
    pub ledger: LedgerId,
    /// Who will sign it.
    pub author: Author,
    /// Random, so that equal requests are different transactions.
    #[serde(with = "serde_bytes")]
    pub nonce: [u8; 16],
    /// Milliseconds since the Unix epoch after which it is refused; at most [`MAX_TRANSACTION_LIFETIME_MS`] ahead.
    pub expires_ms: u64,
    /// What is asked.
    pub transaction: Transaction,
}

impl UnsignedTransaction {
    /// Decodes the canonical encoding, at most [`MAX_TRANSACTION`] bytes.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        canonical::from_bytes(bytes, MAX_TRANSACTION)
    }

    /// The canonical encoding.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::to_bytes(self)
    }

    /// What the author signs.
    #[must_use]
    pub fn statement(&self) -> Vec<u8> {
        hash::statement(hash::TRANSACTION, self)
    }

    /// The id that it will have.
    #[must_use]
    pub fn id(&self) -> TransactionId {
        Sha256::digest(self.statement()).into()
    }

    /// Signs it.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> SignedTransaction {
        let signature = key.sign(&self.statement()).to_bytes();
        SignedTransaction::new(Content {
            content: self,
            signature,
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    content: UnsignedTransaction,
    #[serde(with = "serde_bytes")]
    signature: [u8; 64],
}

/// A transaction with a signature, well-formed but not yet judged. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedTransaction(Arc<Encoded>);

#[derive(PartialEq, Eq)]
struct Encoded {
    signed: Content,
    bytes: Vec<u8>,
    id: TransactionId,
}

impl SignedTransaction {
    fn new(signed: Content) -> Self {
        Self(Arc::new(Encoded {
            bytes: canonical::to_bytes(&signed),
            id: signed.content.id(),
            signed,
        }))
    }

    /// Puts a signature that was made elsewhere to its transaction. Whether it holds is checked by the record.
    #[must_use]
    pub fn from_parts(content: UnsignedTransaction, signature: [u8; 64]) -> Self {
        Self::new(Content { content, signature })
    }

    /// Decodes the canonical encoding, at most [`MAX_TRANSACTION`] bytes.
    ///
    /// # Errors
    /// [`DecodeError`] for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let signed: Content = canonical::from_bytes(bytes, MAX_TRANSACTION)?;
        Ok(Self(Arc::new(Encoded {
            bytes: bytes.to_vec(),
            id: signed.content.id(),
            signed,
        })))
    }

    /// The canonical encoding: the leaf of the record's Merkle tree.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// SHA-256 over what the author signed.
    #[must_use]
    pub fn id(&self) -> TransactionId {
        self.0.id
    }

    /// What was signed.
    #[must_use]
    pub fn content(&self) -> &UnsignedTransaction {
        &self.0.signed.content
    }

    /// Who signed.
    #[must_use]
    pub fn author(&self) -> &Author {
        &self.content().author
    }

    /// What is asked.
    #[must_use]
    pub fn transaction(&self) -> &Transaction {
        &self.content().transaction
    }

    /// The signature.
    #[must_use]
    pub fn signature(&self) -> &[u8; 64] {
        &self.0.signed.signature
    }

    /// Whether the signature is `key`'s, by the strict rules: canonical, and no point of small order.
    #[must_use]
    pub fn is_signed_by(&self, key: &VerifyingKey) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(self.signature());
        key.verify_strict(&self.content().statement(), &signature)
            .is_ok()
    }
}

impl fmt::Debug for SignedTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, kind) = (hex::encode(self.id()), self.transaction().kind());
        write!(f, "SignedTransaction({id}, {kind} by {})", self.author())
    }
}

/// What a new key signs when `user` rotates to it: `["coordinator/v1/key-rotation", [ledger, tenant, user, new key]]`.
#[must_use]
pub fn rotation_statement(ledger: &LedgerId, user: &UserName, public_key: &[u8; 32]) -> Vec<u8> {
    let content = (
        serde_bytes::Bytes::new(ledger),
        &user.tenant,
        &user.user,
        serde_bytes::Bytes::new(public_key),
    );
    hash::statement(hash::ROTATION, &content)
}

/// What the key of a company's certificate signs when `user`, whose key is this, is bound to it:
/// `["coordinator/v1/certificate-binding", [ledger, tenant, user, key]]`.
#[must_use]
pub fn certificate_statement(ledger: &LedgerId, user: &UserName, public_key: &[u8; 32]) -> Vec<u8> {
    let content = (
        serde_bytes::Bytes::new(ledger),
        &user.tenant,
        &user.user,
        serde_bytes::Bytes::new(public_key),
    );
    hash::statement(hash::CERTIFICATE, &content)
}

/// What the key of a company's certificate signs when a client of the tenant, whose TLS key has this SHA-256, is bound to it:
/// `["coordinator/v1/client-binding", [ledger, tenant, client]]`.
#[must_use]
pub fn client_statement(ledger: &LedgerId, client: &ClientName) -> Vec<u8> {
    let content = (
        serde_bytes::Bytes::new(ledger),
        &client.tenant,
        serde_bytes::Bytes::new(&client.client),
    );
    hash::statement(hash::CLIENT, &content)
}

/// The key rotation that the holder of `new_key`, the user itself, asks for, to be signed with the old key.
#[must_use]
pub fn rotate_key(ledger: &LedgerId, user: &UserName, new_key: &SigningKey) -> Transaction {
    let public_key = new_key.verifying_key().to_bytes();
    let proof = new_key
        .sign(&rotation_statement(ledger, user, &public_key))
        .to_bytes();
    Transaction::UserRotateKey(super::transaction::UserRotateKey {
        public_key,
        proof,
        managed: false,
    })
}
