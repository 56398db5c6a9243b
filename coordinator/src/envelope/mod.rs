//! Envelope encryption of one version of one document (`docs/protocol/envelope.md`).
//!
//! Steps of a write, with the parts of this module that carry them out:
//!
//! 1. A random *body key* (DEK1, [`BodyKey`]) encrypts the body in blocks of 64 KiB ([`BodySealer`]), and SHA-256 over the
//!    encrypted body is computed in the same pass: that is the checksum on the record.
//! 2. A random *document key* (DEK2, [`DocumentKey`]) wraps the body key together with the metadata, and encrypts the
//!    pointer to where the body lies.
//! 3. The document key itself is wrapped under the cluster's public key, outside of this module, or under a *version key*
//!    ([`VersionKey`]) that the platform keeps wrapped under its master key and destroys with an erasure.
//!
//! A read goes the other way: [`DocumentKey::unwrap_body_key`], [`DocumentKey::open_pointer`], [`BodyOpener`].
//!
//! # Assumptions
//!
//! Every body has a body key of its own. The name of the version, its length and the checksum come from the record;
//! the encrypted body and the pointer come from a store that may be hostile.
//!
//! # What goes wrong, and what happens then
//!
//! Each block is bound by its associated data to the header and to tenant, dataset, document and version, by its nonce to its
//! position and to whether it is the last. A block that was altered, moved, repeated or taken from another body fails alone
//! and none of its bytes is released; a body that ends early or goes on too long is refused by its length, which is
//! known beforehand. The wrapped body key is bound to name, length and checksum, so none of them can be exchanged
//! without the unwrapping failing before anything is fetched.

mod body;
mod error;
mod keys;
mod name;

pub use body::{
    BLOCK_SIZE, BodyOpener, BodyReader, BodySealer, HEADER_SIZE, MAX_BODY, SealedBody, TAG_SIZE,
    block_count, block_range, encrypted_length,
};
pub use error::EnvelopeError;
pub use keys::{
    BodyKey, DocumentKey, KEY_SIZE, MAX_METADATA, MAX_POINTER, MAX_WRAPPED_BODY_KEY,
    UnwrappedBodyKey, VERSION_KEY_ID_SIZE, VersionKey, version_key_of,
};
pub use name::{document_key_context, hash_items, version_key_context};

#[cfg(test)]
mod tests;
