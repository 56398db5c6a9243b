//! Offline: verify and read an audit folder with nothing but the node's public identity. Changes nothing.

use std::io::Write;
use std::path::Path;

use certs::merkle::{self, Tree};
use serde_json::json;

use super::head::{CHECKPOINT_FILE, MAX_NOTE, hold_against, node_key, read_note};
use super::segment::{self, disk};
use super::{AuditEntry, AuditError, origin_of};
use crate::disk::{Disk, SystemDisk};

/// What an audit folder holds, after all of it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The log's origin line.
    pub origin: String,
    /// Number of whole records.
    pub records: u64,
    /// The Merkle root over them.
    pub root: [u8; 32],
    /// Records under the signed checkpoint, if there is one yet.
    pub signed: Option<u64>,
    /// Bytes behind the last whole record: a write under way, or one that a crash tore. The next start cuts them off.
    pub unfinished: u64,
}

/// Verifies the folder of the node `name` with the public key `identity`: every frame, every record's canonical
/// encoding, the checkpoint's signature, and that the records are the ones that were signed. Gives each record to
/// `visit`. A running node may be writing meanwhile.
///
/// # Errors
/// As [`super::AuditLog::open`], and what `visit` returns.
pub fn verify_folder(
    folder: &Path,
    name: &str,
    identity: &[u8; 32],
    visit: impl FnMut(u64, &AuditEntry, &[u8]) -> Result<(), AuditError>,
) -> Result<Verified, AuditError> {
    verify_folder_on(&SystemDisk, folder, name, identity, visit)
}

/// [`verify_folder`], on any disk.
///
/// # Errors
/// As [`verify_folder`].
pub fn verify_folder_on(
    files: &dyn Disk,
    folder: &Path,
    name: &str,
    identity: &[u8; 32],
    mut visit: impl FnMut(u64, &AuditEntry, &[u8]) -> Result<(), AuditError>,
) -> Result<Verified, AuditError> {
    let origin = origin_of(name, identity);
    // The checkpoint is read first: what it covers is on the disk by now, whatever a running node adds meanwhile.
    let signed = match segment::read_small(files, &folder.join(CHECKPOINT_FILE), MAX_NOTE)? {
        Some(note) => {
            let key = node_key(name, identity)?;
            Some(read_note(folder, &note, &key)?)
        }
        None => None,
    };
    let mut tree = Tree::new();
    let scanned = segment::scan(files, folder, |index, location, bytes| {
        let record = AuditEntry::from_bytes(bytes).map_err(|error| AuditError::Corrupt {
            path: folder.to_owned(),
            index,
            offset: location.offset,
            reason: error.to_string(),
        })?;
        tree.push(merkle::leaf_hash(bytes));
        visit(index, &record, bytes)
    })?;
    if let Some(head) = &signed {
        hold_against(folder, &tree, head)?;
    }
    Ok(Verified {
        origin,
        records: scanned.records,
        root: tree.root(),
        signed: signed.map(|head| head.size),
        unfinished: scanned.torn,
    })
}

/// Writes all verified records as lines of JSON, each with the hexadecimal bytes that are the leaf, and the signed
/// checkpoint as the last line: what an outsider needs to verify the log without the folder.
///
/// # Errors
/// As [`verify_folder`]; [`AuditError::Disk`] if `out` does not take it.
pub fn export(
    folder: &Path,
    name: &str,
    identity: &[u8; 32],
    out: &mut dyn Write,
) -> Result<Verified, AuditError> {
    let verified = verify_folder(folder, name, identity, |index, record, bytes| {
        let line =
            json!({ "index": index, "record": record.as_json(), "leaf": hex::encode(bytes) });
        writeln!(out, "{line}").map_err(|error| disk("export", folder, &error))
    })?;
    let note = segment::read_small(&SystemDisk, &folder.join(CHECKPOINT_FILE), MAX_NOTE)?;
    let line = json!({ "checkpoint": note, "origin": verified.origin, "records": verified.records, "root": hex::encode(verified.root) });
    writeln!(out, "{line}").map_err(|error| disk("export", folder, &error))?;
    Ok(verified)
}
