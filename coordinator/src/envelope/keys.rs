//! The keys of an envelope: the body key (DEK1), the document key (DEK2) that wraps it, and with platform encryption the version key that
//! wraps the document key.
//!
//! All are AES-256 keys and used with AES-256-GCM (NIST SP 800-38D). A document key encrypts a handful of messages in its
//! life (the wrapped body key, the pointer, each again if the body moves), each with a random 96-bit nonce.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::name::bind;
use super::{EnvelopeError, SealedBody};
use crate::record::VersionName;

/// Bytes of either key.
pub const KEY_SIZE: usize = 32;
/// Bytes of metadata that a wrapped body key may carry.
pub const MAX_METADATA: usize = 4096;
/// Bytes of a pointer.
pub const MAX_POINTER: usize = 256;
/// Bytes of a wrapped body key at most.
pub const MAX_WRAPPED_BODY_KEY: usize =
    FORMAT_SIZE + NONCE_LEN + KEY_SIZE + MAX_METADATA + super::TAG_SIZE;

const FORMAT: u8 = 1;
const FORMAT_SIZE: usize = 1;
const WRAPPED_BODY_KEY_TAG: &str = "coordinator/v1/wrapped-body-key";
const POINTER_TAG: &str = "coordinator/v1/pointer";

macro_rules! key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// It lies on the heap: a key that is moved about, within an operation that waits for others too, leaves no copies
        /// behind that nobody wipes.
        pub struct $name(Box<Zeroizing<[u8; KEY_SIZE]>>);

        impl $name {
            /// A fresh random key.
            pub fn generate(rng: &mut impl CryptoRng) -> Self {
                let mut key = Self(Box::new(Zeroizing::new([0; KEY_SIZE])));
                rng.fill_bytes(key.0.as_mut_slice());
                key
            }

            /// Takes a key that was unwrapped; `None` unless it has [`KEY_SIZE`] bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                if bytes.len() != KEY_SIZE {
                    return None;
                }
                let mut key = Self(Box::new(Zeroizing::new([0; KEY_SIZE])));
                key.0.copy_from_slice(bytes);
                Some(key)
            }

            /// The bytes, to wrap them.
            pub fn expose(&self) -> &[u8; KEY_SIZE] {
                &self.0
            }

            /// The key, ready for AES-256-GCM.
            pub(super) fn cipher(&self) -> Result<LessSafeKey, EnvelopeError> {
                let key = UnboundKey::new(&AES_256_GCM, self.0.as_slice())
                    .map_err(|_| EnvelopeError::Cipher)?;
                Ok(LessSafeKey::new(key))
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(redacted)"))
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.0.as_slice().ct_eq(other.0.as_slice()).into()
            }
        }

        impl Eq for $name {}
    };
}

key! {
    /// DEK1: encrypts one body and nothing else.
    BodyKey
}
key! {
    /// DEK2: wraps one body key with its metadata, and the pointer to the body.
    DocumentKey
}
key! {
    /// With platform encryption: wraps one document key. The platform keeps it, and destroys it when the version is erased.
    VersionKey
}

/// Bytes of a version key's name.
pub const VERSION_KEY_ID_SIZE: usize = 16;
const UNDER_VERSION_KEY: u8 = 2;
const VERSION_KEY_TAG: &str = "coordinator/v1/document-key-under-version-key";

/// Names the version key that a document key is wrapped under; `None` if it is wrapped in another way.
#[must_use]
pub fn version_key_of(wrapped: &[u8]) -> Option<[u8; VERSION_KEY_ID_SIZE]> {
    let (format, rest) = wrapped.split_first()?;
    (*format == UNDER_VERSION_KEY).then(|| rest.first_chunk().copied())?
}

impl VersionKey {
    /// Wraps a document key, bound to the version's name and to the name of this key.
    ///
    /// Encoding: `0x02 ‖ name of the version key(16) ‖ 0x01 ‖ nonce(12) ‖ AES-256-GCM(DEK2(32)) ‖ tag(16)`.
    pub fn wrap_document_key(
        &self,
        id: &[u8; VERSION_KEY_ID_SIZE],
        key: &DocumentKey,
        name: &VersionName,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let context = bind(name, VERSION_KEY_TAG, &[id]);
        let sealed = seal(&self.cipher()?, key.expose(), &context, rng)?;
        Ok([&[UNDER_VERSION_KEY], id.as_slice(), &sealed].concat())
    }

    /// Opens a wrapped document key.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::DocumentKey`] if key, name or the bytes themselves are not those it was made with.
    pub fn unwrap_document_key(
        &self,
        wrapped: &[u8],
        name: &VersionName,
    ) -> Result<DocumentKey, EnvelopeError> {
        let id = version_key_of(wrapped).ok_or(EnvelopeError::DocumentKey)?;
        let sealed = wrapped.get(1 + id.len()..).unwrap_or_default();
        let context = bind(name, VERSION_KEY_TAG, &[&id]);
        let size = FORMAT_SIZE + NONCE_LEN + KEY_SIZE + super::TAG_SIZE;
        let opened = open(&self.cipher()?, sealed, size, &context);
        let opened = opened.ok_or(EnvelopeError::DocumentKey)?;
        DocumentKey::from_slice(&opened).ok_or(EnvelopeError::DocumentKey)
    }
}

/// What a wrapped body key holds.
pub struct UnwrappedBodyKey {
    /// DEK1.
    pub body_key: BodyKey,
    /// The metadata that the writer gave, at most [`MAX_METADATA`] bytes.
    pub metadata: Vec<u8>,
}

impl std::fmt::Debug for UnwrappedBodyKey {
    /// The metadata is as confidential as the body.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UnwrappedBodyKey(redacted)")
    }
}

impl DocumentKey {
    /// Wraps the body key and at most [`MAX_METADATA`] bytes of metadata, bound to the version's name and to the
    /// body's length and checksum.
    ///
    /// Encoding: `0x01 ‖ nonce(12) ‖ AES-256-GCM(DEK1(32) ‖ metadata) ‖ tag(16)`.
    pub fn wrap_body_key(
        &self,
        body_key: &BodyKey,
        name: &VersionName,
        body: &SealedBody,
        metadata: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, EnvelopeError> {
        limit("the metadata", metadata, MAX_METADATA)?;
        let mut plaintext = Zeroizing::new(Vec::with_capacity(KEY_SIZE + metadata.len()));
        plaintext.extend_from_slice(body_key.expose());
        plaintext.extend_from_slice(metadata);
        seal(
            &self.cipher()?,
            &plaintext,
            &wrapped_body_key_context(name, body),
            rng,
        )
    }

    /// Opens a wrapped body key.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::WrappedBodyKey`] if key, name, length, checksum or the bytes themselves are not those it was made with.
    pub fn unwrap_body_key(
        &self,
        wrapped: &[u8],
        name: &VersionName,
        body: &SealedBody,
    ) -> Result<UnwrappedBodyKey, EnvelopeError> {
        let context = wrapped_body_key_context(name, body);
        let plaintext = open(&self.cipher()?, wrapped, MAX_WRAPPED_BODY_KEY, &context)
            .ok_or(EnvelopeError::WrappedBodyKey)?;
        let (key, metadata) = plaintext
            .split_at_checked(KEY_SIZE)
            .ok_or(EnvelopeError::WrappedBodyKey)?;
        let body_key = BodyKey::from_slice(key).ok_or(EnvelopeError::WrappedBodyKey)?;
        Ok(UnwrappedBodyKey {
            body_key,
            metadata: metadata.to_vec(),
        })
    }

    /// Encrypts the pointer to where the body lies, bound to the version's name and the body's checksum. Encoding as
    /// that of the wrapped body key.
    pub fn seal_pointer(
        &self,
        pointer: &[u8],
        name: &VersionName,
        body: &SealedBody,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, EnvelopeError> {
        limit("the pointer", pointer, MAX_POINTER)?;
        let context = bind(name, POINTER_TAG, &[&body.checksum]);
        seal(&self.cipher()?, pointer, &context, rng)
    }

    /// Opens an encrypted pointer.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::Pointer`] if key, name, checksum or the bytes themselves are not those it was made with.
    pub fn open_pointer(
        &self,
        sealed: &[u8],
        name: &VersionName,
        body: &SealedBody,
    ) -> Result<Vec<u8>, EnvelopeError> {
        let size = FORMAT_SIZE + NONCE_LEN + MAX_POINTER + super::TAG_SIZE;
        let context = bind(name, POINTER_TAG, &[&body.checksum]);
        let pointer = open(&self.cipher()?, sealed, size, &context);
        Ok(pointer.ok_or(EnvelopeError::Pointer)?.to_vec())
    }
}

fn seal(
    cipher: &LessSafeKey,
    plaintext: &[u8],
    context: &[u8],
    rng: &mut impl CryptoRng,
) -> Result<Vec<u8>, EnvelopeError> {
    let mut nonce = [0; NONCE_LEN];
    rng.fill_bytes(&mut nonce);
    let mut secret = Zeroizing::new(plaintext.to_vec());
    let tag = cipher
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(context),
            &mut secret,
        )
        .map_err(|_| EnvelopeError::Cipher)?;
    let mut out = Vec::with_capacity(FORMAT_SIZE + NONCE_LEN + secret.len() + super::TAG_SIZE);
    out.push(FORMAT);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&secret);
    out.extend_from_slice(tag.as_ref());
    Ok(out)
}

fn open(
    cipher: &LessSafeKey,
    sealed: &[u8],
    max: usize,
    context: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    if sealed.len() > max {
        return None;
    }
    let (&format, rest) = sealed.split_first()?;
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>()?;
    if format != FORMAT {
        return None;
    }
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let length = cipher
        .open_in_place(nonce, Aad::from(context), &mut buffer)
        .ok()?
        .len();
    buffer.truncate(length);
    Some(buffer)
}

fn wrapped_body_key_context(name: &VersionName, body: &SealedBody) -> Vec<u8> {
    bind(
        name,
        WRAPPED_BODY_KEY_TAG,
        &[&body.checksum, &body.length.to_le_bytes()],
    )
}

fn limit(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), EnvelopeError> {
    if bytes.len() > limit {
        return Err(EnvelopeError::TooLarge {
            what,
            found: bytes.len(),
            limit,
        });
    }
    Ok(())
}
