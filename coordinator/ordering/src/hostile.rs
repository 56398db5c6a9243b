//! The decoders of what other members send, and of what lies in a member's folder, for those who feed them hostile bytes. No part of what this crate
//! promises.

use std::{fs, io, path::Path};

use bytes::Bytes;
use commonware_codec::{DecodeExt as _, Encode as _};
use commonware_consensus::types::Height;
use commonware_cryptography::{Hasher as _, Sha256};

use crate::{batch::Batch, gossip, votes::Votes};

/// A batch's encoding; its parent is named by a digest of `parent`.
#[must_use]
pub fn encode_batch(parent: [u8; 32], height: u64, time_ms: u64, items: &[&[u8]]) -> Vec<u8> {
    let items = items.iter().map(|item| Bytes::copy_from_slice(item));
    let batch = Batch {
        parent: Sha256::hash(&[&parent]),
        height: Height::new(height),
        time_ms,
        items: items.collect(),
    };
    batch.encode().to_vec()
}

/// Decodes a batch, and gives its encoding.
///
/// # Errors
/// The decoder's reason.
pub fn decode_batch(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let batch = Batch::decode(Bytes::copy_from_slice(bytes)).map_err(|error| error.to_string())?;
    Ok(batch.encode().to_vec())
}

/// The items of a message in which a member tells what was submitted to it.
#[must_use]
pub fn gossip(bytes: &[u8]) -> Vec<Bytes> {
    gossip::items(Bytes::copy_from_slice(bytes))
}

/// From which height on a member knows its votes whose file in this folder has these bytes.
///
/// # Errors
/// If the file cannot be written, or says nothing.
pub fn votes_kept_from(folder: &Path, bytes: &[u8]) -> io::Result<Option<u64>> {
    fs::write(folder.join(crate::votes::KEPT), bytes)?;
    let votes = Votes::open(folder, &folder.join("never-voted"))?;
    Ok(votes.kept_from())
}
