//! Messages of `cryptonode/1`.
//!
//! The client opens a bidirectional stream, sends one [`Request`] and finishes; the node answers with one [`Answer`]
//! and finishes. A message is one CBOR item (RFC 8949) in core deterministic encoding (its section 4.2.1): shortest
//! lengths, definite lengths, map keys sorted. The outer map has one entry, whose key names the message and whose value
//! is the map of its fields:
//!
//! ```text
//! {"reencrypt": {"approvals": [h'30…', …], "wrapped_key": h'01…', "ephemeral_key": h'…'}}
//! ```
//!
//! **One encoding.** A decoder checks the length first, then decodes, checks the bounds of the fields, encodes what it
//! decoded and compares. Unknown or missing fields, trailing bytes, longer-than-needed lengths, `null` for an absent field
//! and every other variation are refused. So two parties never disagree on what a message says, and bytes that were
//! hashed or logged are the bytes that were acted on.
//!
//! **Bounds.** Nothing is allocated by a length that a peer merely claims: byte strings grow as their bytes arrive, and
//! lists stop at their maximum ([`MAX_APPROVALS`], [`MAX_RECORDS`], [`MAX_KEYS`]) while they are being decoded.

mod encoding;
mod error;
mod traceparent;

use serde::{Deserialize, Serialize};
pub use serde_bytes::ByteBuf;

pub use self::encoding::presentable;
use self::encoding::{
    at_most, decode, encode, field_at_most, field_exactly, is_code, printable, within,
};
pub use self::error::WireError;
pub use self::traceparent::{TRACEPARENT, TraceParent};

/// The application protocol that both sides name in the TLS handshake (RFC 7301).
pub const ALPN: &[u8] = b"cryptonode/1";

/// Most approvals in one request.
pub const MAX_APPROVALS: usize = 64;
/// Longest wrapped key in bytes (protocol section 3: label and body at their longest).
pub const MAX_WRAPPED_KEY: usize = 2_293;
/// Length of an ephemeral key in bytes (protocol section 4).
pub const EPHEMERAL_KEY: usize = 160;
/// Length of a share in bytes (protocol section 5).
pub const SHARE: usize = 138;
/// Longest request of a client that is no member of a ceremony: a `reencrypt` request with every field at its longest.
pub const MAX_REQUEST: usize = 272 * 1024;
/// Longest message of a ceremony, in either direction: what the ceremony format itself allows.
pub const MAX_CEREMONY_MESSAGE: usize = 40 * 1024 * 1024;
/// Longest request of a member: a ceremony's message and its frame.
pub const MAX_MEMBER_REQUEST: usize = MAX_CEREMONY_MESSAGE + 64;
/// Longest answer of any kind.
pub const MAX_ANSWER: usize = MAX_CEREMONY_MESSAGE + 64;
/// Longest answer to a `reencrypt` request: a share or a refusal.
pub const MAX_SHARE_ANSWER: usize = 4 * 1024;
/// Longest answer that carries documents: a certificate with its descriptor, a page of audit records.
pub const MAX_DOCUMENT_ANSWER: usize = 4 * 1024 * 1024;
/// Most audit records in one answer.
pub const MAX_RECORDS: usize = 4_096;
/// Most bytes of audit records in one answer.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;
/// Most members of a key.
pub const MAX_MEMBERS: usize = 1_024;
/// Longest address of a member in bytes.
pub const MAX_ADDRESS: usize = 255;
/// Most keys in one `status` answer.
pub const MAX_KEYS: usize = 1_024;
/// Longest refusal code in bytes: lower-case letters, digits and hyphens.
pub const MAX_CODE: usize = 64;
/// Longest refusal message in bytes: text without control characters.
pub const MAX_MESSAGE: usize = 2_048;
/// Longest signed checkpoint in bytes.
pub const MAX_CHECKPOINT: usize = 64 * 1024;
/// Longest offer of a checkpoint to a witness in bytes: a proof and a checkpoint with its log's signature.
pub const MAX_OFFER: usize = 8 * 1024;
/// Longest answer of a witness in bytes: signature lines, or a checkpoint with its log's signature.
pub const MAX_COSIGNATURES: usize = 4 * 1024;
/// Most findings in one answer.
pub const MAX_FINDINGS: usize = 32;
/// Most hashes of a consistency proof.
pub const MAX_HASHES: usize = certs::log_proof::MAX_HASHES;

/// What a client asks of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Re-encrypt a wrapped key to an ephemeral key; answered with [`Answer::Share`].
    Reencrypt {
        /// The result of the key whose share is wanted; the node's newest if absent. Shares of two results never combine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<ResultVersion>,
        /// Approval certificates, DER, at most [`MAX_APPROVALS`] of at most [`certs::MAX_CERTIFICATE`] bytes.
        #[serde(deserialize_with = "at_most::<_, _, MAX_APPROVALS>")]
        approvals: Vec<ByteBuf>,
        /// The span that the client records this request in; absent if it records none. It decides nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceparent: Option<TraceParent>,
        /// The wrapped key (protocol section 3), at most [`MAX_WRAPPED_KEY`] bytes.
        wrapped_key: ByteBuf,
        /// The ephemeral key (protocol section 4), [`EPHEMERAL_KEY`] bytes.
        ephemeral_key: ByteBuf,
    },
    /// The public description of a key; answered with [`Answer::Key`].
    Key {
        /// Y.
        #[serde(with = "serde_bytes")]
        public_key: [u8; 32],
    },
    /// The newest certificate of a key that the node knows of, whether or not it holds a share; answered with
    /// [`Answer::KeyCertificate`].
    KeyCertificate {
        /// Y.
        #[serde(with = "serde_bytes")]
        public_key: [u8; 32],
    },
    /// A message of a ceremony, from a member only; answered with [`Answer::Ceremony`].
    Ceremony {
        /// The message as the ceremony's own format has it, at most [`MAX_CEREMONY_MESSAGE`] bytes.
        message: ByteBuf,
    },
    /// The approval policy of a key or of a ceremony, by its hash, for a member only; answered with [`Answer::Policy`].
    Policy {
        /// SHA-256 of its canonical encoding.
        #[serde(with = "serde_bytes")]
        policy_hash: [u8; 32],
    },
    /// What the node is and serves; answered with [`Answer::Status`].
    Status {},
    /// The signed head of the node's audit log; answered with [`Answer::Checkpoint`].
    Checkpoint {},
    /// A page of the node's audit log; answered with [`Answer::Audit`].
    Audit {
        /// Index of the first record.
        from: u64,
        /// Most records wanted, at most [`MAX_RECORDS`]; the node may send fewer.
        limit: u32,
    },
    /// The newest checkpoint of the node's audit log that its witnesses have cosigned; answered with [`Answer::Checkpoint`].
    CosignedCheckpoint {},
    /// A proof that one head of the node's audit log continues another; answered with [`Answer::Consistency`].
    Consistency {
        /// Records under the later head.
        new: u64,
        /// Records under the earlier head.
        old: u64,
    },
    /// The newest checkpoint of the caller's own audit log, from a member only, to be cosigned; answered with [`Answer::Cosigned`]
    /// or [`Answer::Seen`].
    Witness {
        /// The body of tlog-witness's `add-checkpoint` ([`certs::log_proof::ConsistencyFile`]), at most [`MAX_OFFER`] bytes.
        offer: String,
    },
    /// What the node, as a witness, holds against others' logs; answered with [`Answer::Evidence`].
    Evidence {},
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Answer {
    /// A share of the re-encryption.
    Share {
        /// The share (protocol section 5), [`SHARE`] bytes.
        share: ByteBuf,
        /// There if the node knows of a newer result of this key, which as many members serve as it needs: ask for the
        /// key's certificate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<ResultVersion>,
    },
    /// The public description of a key.
    Key {
        /// The cluster descriptor, JSON text, the same that operators hand out as `cluster.json`.
        descriptor: String,
        /// The certificate of the ceremony that made the key or last reshared it.
        certificate: ByteBuf,
    },
    /// The newest certificate of a key that the node knows of.
    KeyCertificate {
        /// Where each member is, `host:port`, in index order, as far as the node knows; empty for one that it does not
        /// know. Hints: nobody signed them, and a member's identity is what TLS proves.
        #[serde(deserialize_with = "at_most::<_, _, MAX_MEMBERS>")]
        addresses: Vec<String>,
        /// The certificate, signed under Y ([`reencrypt::KeyCertificate`]).
        certificate: ByteBuf,
    },
    /// The member's reply in a ceremony.
    Ceremony {
        /// The reply as the ceremony's own format has it.
        message: ByteBuf,
    },
    /// An approval policy.
    Policy {
        /// Its canonical encoding, at most [`MAX_DOCUMENT_ANSWER`] bytes less its frame.
        policy: ByteBuf,
    },
    /// What the node is and serves.
    Status {
        /// The keys that it answers for, at most [`MAX_KEYS`].
        #[serde(deserialize_with = "at_most::<_, _, MAX_KEYS>")]
        keys: Vec<KeyStatus>,
        /// The node's clock in milliseconds since the Unix epoch.
        time_ms: u64,
        /// The node's Ed25519 identity.
        #[serde(with = "serde_bytes")]
        identity: [u8; 32],
        /// Name and version of the software.
        software: String,
    },
    /// The signed head of the audit log.
    Checkpoint {
        /// A C2SP signed note whose text is a tlog-checkpoint.
        note: String,
    },
    /// A page of the audit log.
    Audit {
        /// Index of the first record.
        from: u64,
        /// Records in the log when the page was read.
        size: u64,
        /// The records: each the canonical bytes whose hash is a leaf of the log's tree.
        #[serde(deserialize_with = "at_most::<_, _, MAX_RECORDS>")]
        records: Vec<ByteBuf>,
    },
    /// A proof that one head of the audit log continues another (RFC 9162, section 2.1.4.1).
    Consistency {
        /// The hashes, 32 bytes each, at most [`MAX_HASHES`].
        #[serde(deserialize_with = "at_most::<_, _, MAX_HASHES>")]
        proof: Vec<ByteBuf>,
    },
    /// The witness has cosigned.
    Cosigned {
        /// Signature lines, each with its line break (C2SP tlog-cosignature).
        signatures: String,
    },
    /// The witness has not cosigned, because the offer does not continue what it has seen.
    Seen {
        /// The newest checkpoint that it has seen of this log, with the log's signature; empty if it has seen none.
        note: String,
    },
    /// What the node holds against others' logs.
    Evidence {
        /// At most [`MAX_FINDINGS`].
        #[serde(deserialize_with = "at_most::<_, _, MAX_FINDINGS>")]
        findings: Vec<EvidenceItem>,
    },
    /// The request was not carried out.
    Refused {
        /// A stable code: lower-case letters, digits, hyphens; at most [`MAX_CODE`] bytes.
        code: String,
        /// A sentence that says why and, where it can, what to do; at most [`MAX_MESSAGE`] bytes. Untrusted text.
        message: String,
        /// When it may succeed if tried again, in milliseconds from now; absent if trying again is of no use.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
}

/// Two checkpoints of one log, each with the log's signature, of which the second does not continue the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvidenceItem {
    /// What they say together: a code as of a refusal.
    pub kind: String,
    /// The checkpoint that was seen first, at most [`MAX_COSIGNATURES`] bytes.
    pub seen: String,
    /// The one that was shown then, likewise.
    pub shown: String,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// Names a result of a key: of two, the greater counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultVersion {
    /// 0 at the key's creation, one more with each reshare.
    pub epoch: u64,
    /// The attempt of the ceremony that made it.
    pub attempt: u32,
}

impl std::fmt::Display for ResultVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "epoch {}, attempt {}", self.epoch, self.attempt)
    }
}

impl From<&reencrypt::ResultName> for ResultVersion {
    fn from(name: &reencrypt::ResultName) -> Self {
        Self {
            epoch: name.epoch,
            attempt: name.attempt,
        }
    }
}

/// A key that a node answers for; one with two results while their overlap lasts, twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyStatus {
    /// The key's epoch.
    pub epoch: u64,
    /// The node's index in it, from 1.
    pub index: u16,
    /// The attempt of the ceremony that made it.
    pub attempt: u32,
    /// n, the number of members.
    pub members: u16,
    /// t, the shares needed.
    pub threshold: u16,
    /// Y.
    #[serde(with = "serde_bytes")]
    pub public_key: [u8; 32],
}

impl Request {
    /// The message's bytes.
    ///
    /// # Errors
    /// [`WireError::FieldLength`] or [`WireError::TooLong`] if a field is longer than the protocol allows.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        self.check()?;
        let bytes = encode(self)?;
        within(bytes.len(), self.longest())?;
        Ok(bytes)
    }

    /// Reads the one encoding of a message.
    ///
    /// # Errors
    /// [`WireError`] for any other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        within(bytes.len(), MAX_MEMBER_REQUEST)?;
        let request: Self = decode(bytes)?;
        within(bytes.len(), request.longest())?;
        request.check()?;
        Ok(request)
    }

    /// Longest answer to this request that a client reads, in bytes.
    #[must_use]
    pub fn longest_answer(&self) -> usize {
        match self {
            Self::Reencrypt { .. } => MAX_SHARE_ANSWER,
            Self::Key { .. }
            | Self::KeyCertificate { .. }
            | Self::Policy { .. }
            | Self::Audit { .. } => MAX_DOCUMENT_ANSWER,
            Self::Status {}
            | Self::Checkpoint {}
            | Self::CosignedCheckpoint {}
            | Self::Evidence {} => MAX_REQUEST,
            Self::Consistency { .. } | Self::Witness { .. } => 2 * MAX_OFFER,
            Self::Ceremony { .. } => MAX_ANSWER,
        }
    }

    fn longest(&self) -> usize {
        match self {
            Self::Ceremony { .. } => MAX_MEMBER_REQUEST,
            _ => MAX_REQUEST,
        }
    }

    fn check(&self) -> Result<(), WireError> {
        match self {
            Self::Reencrypt {
                result: _,
                approvals,
                // Its form is its type's.
                traceparent: _,
                wrapped_key,
                ephemeral_key,
            } => {
                if approvals.len() > MAX_APPROVALS {
                    return Err(WireError::Shape {
                        reason: format!("more than {MAX_APPROVALS} approvals"),
                    });
                }
                for approval in approvals {
                    field_at_most("approvals", approval.len(), certs::MAX_CERTIFICATE)?;
                }
                field_at_most("wrapped_key", wrapped_key.len(), MAX_WRAPPED_KEY)?;
                field_exactly("ephemeral_key", ephemeral_key.len(), EPHEMERAL_KEY)
            }
            Self::Ceremony { message } => {
                field_at_most("message", message.len(), MAX_CEREMONY_MESSAGE)
            }
            Self::Key { .. }
            | Self::KeyCertificate { .. }
            | Self::Policy { .. }
            | Self::Status {}
            | Self::Checkpoint {}
            | Self::CosignedCheckpoint {}
            | Self::Consistency { .. }
            | Self::Evidence {}
            | Self::Audit { .. } => Ok(()),
            Self::Witness { offer } => field_at_most("offer", offer.len(), MAX_OFFER),
        }
    }
}

impl Answer {
    /// The message's bytes.
    ///
    /// # Errors
    /// [`WireError`] if a field is not as the protocol has it.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WireError> {
        self.check()?;
        let bytes = encode(self)?;
        within(bytes.len(), MAX_ANSWER)?;
        Ok(bytes)
    }

    /// Reads the one encoding of a message.
    ///
    /// # Errors
    /// [`WireError`] for any other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, WireError> {
        within(bytes.len(), MAX_ANSWER)?;
        let answer: Self = decode(bytes)?;
        answer.check()?;
        Ok(answer)
    }

    /// The answer's name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Share { .. } => "share",
            Self::Key { .. } => "key",
            Self::KeyCertificate { .. } => "key_certificate",
            Self::Ceremony { .. } => "ceremony",
            Self::Policy { .. } => "policy",
            Self::Status { .. } => "status",
            Self::Checkpoint { .. } => "checkpoint",
            Self::Audit { .. } => "audit",
            Self::Consistency { .. } => "consistency",
            Self::Cosigned { .. } => "cosigned",
            Self::Seen { .. } => "seen",
            Self::Evidence { .. } => "evidence",
            Self::Refused { .. } => "refused",
        }
    }

    fn check(&self) -> Result<(), WireError> {
        match self {
            Self::Share { share, .. } => field_exactly("share", share.len(), SHARE),
            Self::KeyCertificate {
                addresses,
                certificate,
            } => {
                for address in addresses {
                    field_at_most("addresses", address.len(), MAX_ADDRESS)?;
                    printable("addresses", address)?;
                }
                field_at_most(
                    "certificate",
                    certificate.len(),
                    reencrypt::MAX_KEY_CERTIFICATE,
                )
            }
            Self::Key {
                descriptor,
                certificate,
            } => {
                field_at_most("descriptor", descriptor.len(), MAX_DOCUMENT_ANSWER)?;
                field_at_most("certificate", certificate.len(), MAX_DOCUMENT_ANSWER)
            }
            Self::Ceremony { message } => {
                field_at_most("message", message.len(), MAX_CEREMONY_MESSAGE)
            }
            Self::Policy { policy } => field_at_most("policy", policy.len(), MAX_DOCUMENT_ANSWER),
            Self::Status { software, .. } => {
                field_at_most("software", software.len(), MAX_CODE)?;
                printable("software", software)
            }
            Self::Checkpoint { note } => field_at_most("note", note.len(), MAX_CHECKPOINT),
            Self::Audit { records, .. } => field_at_most(
                "records",
                records.iter().map(|record| record.len()).sum(),
                MAX_RECORD_BYTES,
            ),
            Self::Consistency { proof } => {
                if proof.len() > MAX_HASHES {
                    return Err(WireError::Shape {
                        reason: format!("more than {MAX_HASHES} hashes"),
                    });
                }
                let mut hashes = proof.iter();
                hashes.try_for_each(|hash| field_exactly("proof", hash.len(), 32))
            }
            Self::Cosigned { signatures } => {
                field_at_most("signatures", signatures.len(), MAX_COSIGNATURES)
            }
            Self::Seen { note } => field_at_most("note", note.len(), MAX_COSIGNATURES),
            Self::Evidence { findings } => {
                if findings.len() > MAX_FINDINGS {
                    return Err(WireError::Shape {
                        reason: format!("more than {MAX_FINDINGS} findings"),
                    });
                }
                findings.iter().try_for_each(|finding| {
                    is_code("kind", &finding.kind)?;
                    field_at_most("seen", finding.seen.len(), MAX_COSIGNATURES)?;
                    field_at_most("shown", finding.shown.len(), MAX_COSIGNATURES)
                })
            }
            Self::Refused { code, message, .. } => {
                is_code("code", code)?;
                field_at_most("message", message.len(), MAX_MESSAGE)?;
                printable("message", message)
            }
        }
    }
}
