//! Sealing: passphrase → master key → data key → records.
//!
//! The master key is Argon2id (RFC 9106) of the passphrase, with salt and cost in the store's header. It opens one thing:
//! the random data key. Records are sealed under the data key with XChaCha20-Poly1305, whose nonces are long enough to
//! be drawn at random, and with their table and key as associated data, so that no record can be put in another's
//! place. A new passphrase would need only the header to be written again.

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::Passphrase;
use crate::randomness;

const NONCE: usize = 24;
/// Bounds on the cost that a header may ask for: a damaged one must not take all memory.
const MAX_MEMORY_KIB: u32 = 4 * 1024 * 1024;
const MAX_PASSES: u32 = 64;

/// What a guess at the passphrase costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Cost {
    /// 64 MiB, three passes, one lane: well under a fifth of a second of one core, once at every start.
    fn default() -> Self {
        Self {
            memory_kib: 64 * 1024,
            passes: 3,
            lanes: 1,
        }
    }
}

/// The store's header, in the clear: how to get from the passphrase to the data key.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    version: u16,
    unsealer: UnsealerHeader,
    /// Data key sealed under the master key, in hexadecimal.
    sealed_data_key: String,
    /// SHA-256 over the fields above: tells a damaged header from a wrong passphrase.
    checksum: String,
}

/// Where the master key comes from. Other sources (a KMS, a PKCS#11 token) become variants.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum UnsealerHeader {
    Argon2id { cost: Cost, salt: String },
}

/// Why a header did not give the data key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    Damaged(&'static str),
    OtherVersion(u16),
    WrongPassphrase,
    OutOfMemory,
}

/// The key of all records. Zeroized on drop, never printed.
pub(super) struct DataKey(Box<Zeroizing<[u8; 32]>>);

impl Header {
    /// A new data key, and the header that opens it again.
    pub(super) fn create(
        passphrase: &Passphrase,
        cost: Cost,
    ) -> Result<(Self, DataKey), HeaderError> {
        let salt: [u8; 16] = randomness::public();
        let master = master_key(passphrase, cost, &salt)?;
        let data = DataKey::random();
        let sealed = seal(&master, &HEADER_PLACE, data.0.as_slice())
            .ok_or(HeaderError::Damaged("the cost is impossible"))?;
        let mut header = Self {
            version: 1,
            unsealer: UnsealerHeader::Argon2id {
                cost,
                salt: hex::encode(salt),
            },
            sealed_data_key: hex::encode(sealed),
            checksum: String::new(),
        };
        header.checksum = header.sum();
        Ok((header, data))
    }

    /// The data key.
    pub(super) fn open(&self, passphrase: &Passphrase) -> Result<DataKey, HeaderError> {
        if self.version != 1 {
            return Err(HeaderError::OtherVersion(self.version));
        }
        if self.checksum != self.sum() {
            return Err(HeaderError::Damaged("the header's checksum is wrong"));
        }
        let UnsealerHeader::Argon2id { cost, salt } = &self.unsealer;
        let salt =
            hex::decode(salt).map_err(|_| HeaderError::Damaged("the salt is not hexadecimal"))?;
        let sealed = hex::decode(&self.sealed_data_key)
            .map_err(|_| HeaderError::Damaged("the sealed data key is not hexadecimal"))?;
        let master = master_key(passphrase, *cost, &salt)?;
        let data = open(&master, &HEADER_PLACE, &sealed).ok_or(HeaderError::WrongPassphrase)?;
        DataKey::from_bytes(&data).ok_or(HeaderError::Damaged("the data key's length"))
    }

    fn sum(&self) -> String {
        let UnsealerHeader::Argon2id { cost, salt } = &self.unsealer;
        let digest = Sha256::new()
            .chain_update(self.version.to_le_bytes())
            .chain_update(cost.memory_kib.to_le_bytes())
            .chain_update(cost.passes.to_le_bytes())
            .chain_update(cost.lanes.to_le_bytes())
            .chain_update(salt.as_bytes())
            .chain_update(self.sealed_data_key.as_bytes())
            .finalize();
        hex::encode(digest)
    }
}

fn master_key(
    passphrase: &Passphrase,
    cost: Cost,
    salt: &[u8],
) -> Result<Zeroizing<[u8; 32]>, HeaderError> {
    if cost.memory_kib > MAX_MEMORY_KIB || cost.passes > MAX_PASSES || cost.lanes > 64 {
        return Err(HeaderError::Damaged(
            "the cost of the passphrase is out of bounds",
        ));
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32))
        .map_err(|_| HeaderError::Damaged("the cost of the passphrase is out of bounds"))?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose(), salt, key.as_mut_slice())
        .map_err(|_| HeaderError::OutOfMemory)?;
    Ok(key)
}

/// Where a record stands: part of what is authenticated.
pub(super) struct Place<'a> {
    pub(super) table: &'a str,
    pub(super) key: &'a [u8],
}

const HEADER_PLACE: Place<'static> = Place {
    table: "header",
    key: b"data-key",
};

impl Place<'_> {
    fn associated_data(&self) -> Vec<u8> {
        let mut data = b"cryptonode/store/1".to_vec();
        for part in [self.table.as_bytes(), self.key] {
            data.extend_from_slice(&(part.len() as u64).to_le_bytes());
            data.extend_from_slice(part);
        }
        data
    }
}

fn seal(key: &[u8; 32], place: &Place<'_>, plain: &[u8]) -> Option<Vec<u8>> {
    let nonce: [u8; NONCE] = randomness::public();
    let aad = place.associated_data();
    let cipher = XChaCha20Poly1305::new(key.into());
    let sealed = cipher
        .encrypt(
            &XNonce::from(nonce),
            Payload {
                msg: plain,
                aad: &aad,
            },
        )
        .ok()?;
    let mut out = nonce.to_vec();
    out.extend_from_slice(&sealed);
    Some(out)
}

fn open(key: &[u8; 32], place: &Place<'_>, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, body) = sealed.split_at_checked(NONCE)?;
    let nonce: [u8; NONCE] = nonce.try_into().ok()?;
    let aad = place.associated_data();
    let cipher = XChaCha20Poly1305::new(key.into());
    cipher
        .decrypt(
            &XNonce::from(nonce),
            Payload {
                msg: body,
                aad: &aad,
            },
        )
        .ok()
        .map(Zeroizing::new)
}

impl DataKey {
    /// A fresh random key.
    pub(super) fn random() -> Self {
        Self(randomness::secret())
    }

    /// A key read back from where it was sealed.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        let mut key = Box::new(Zeroizing::new([0; 32]));
        key.copy_from_slice(bytes);
        Some(Self(key))
    }

    pub(super) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Seals a record for its place. `None` only for more plaintext than the cipher takes (256 GiB).
    pub(super) fn seal(&self, place: &Place<'_>, plain: &[u8]) -> Option<Vec<u8>> {
        seal(&self.0, place, plain)
    }

    /// Opens a record that was sealed for this place; `None` if it was not, or was altered.
    pub(super) fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        open(&self.0, place, sealed)
    }
}
