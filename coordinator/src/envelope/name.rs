//! How everything in an envelope is bound to the version that it belongs to.

use sha2::{Digest as _, Sha256};

use crate::record::VersionName;

const DOCUMENT_KEY_TAG: &str = "coordinator/v1/document-key";
const VERSION_KEY_TAG: &str = "coordinator/v1/version-key";

/// The canonical encoding of a name with further items: for `tag`, tenant, dataset, document, version and each further
/// item its length as 8 bytes little-endian and its bytes. The version is 8 bytes little-endian.
pub(super) fn bind(name: &VersionName, tag: &str, further: &[&[u8]]) -> Vec<u8> {
    let version = name.version.to_le_bytes();
    let own: [&[u8]; 5] = [
        tag.as_bytes(),
        name.tenant.as_str().as_bytes(),
        name.dataset.as_str().as_bytes(),
        name.document.as_str().as_bytes(),
        &version,
    ];
    let mut out = Vec::new();
    for item in own.iter().chain(further) {
        out.extend_from_slice(&(item.len() as u64).to_le_bytes());
        out.extend_from_slice(item);
    }
    out
}

/// SHA-256 of the canonical encoding under `tag`.
pub(super) fn digest(name: &VersionName, tag: &str) -> [u8; 32] {
    Sha256::digest(bind(name, tag, &[])).into()
}

/// What a document key is bound to when the platform's master key wraps it.
pub fn document_key_context(name: &VersionName) -> Vec<u8> {
    bind(name, DOCUMENT_KEY_TAG, &[])
}

/// What a version key of this name is bound to when the platform's master key wraps it.
pub fn version_key_context(name: &VersionName, id: &[u8]) -> Vec<u8> {
    bind(name, VERSION_KEY_TAG, &[id])
}

/// SHA-256 over `tag` and the items, each preceded by its length as 8 bytes little-endian.
pub fn hash_items(tag: &str, items: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for item in std::iter::once(&tag.as_bytes()).chain(items) {
        digest.update((item.len() as u64).to_le_bytes());
        digest.update(item);
    }
    digest.finalize().into()
}
