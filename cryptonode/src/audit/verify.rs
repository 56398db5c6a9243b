//! Offline: verify and read an audit folder with nothing but the node's public identity. Changes nothing.

use std::io::Write;
use std::path::Path;

use certs::merkle::{self, Tree};
use serde_json::json;

use super::head::{CHECKPOINT_FILE, COSIGNED_FILE, hold_against, node_key, read_kept};
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
    /// The signed checkpoint.
    pub note: Option<String>,
    /// Records under the newest checkpoint that witnesses cosigned, if there is one.
    pub cosigned: Option<u64>,
    /// That checkpoint.
    pub cosigned_note: Option<String>,
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
    // The checkpoints are read first: what they cover is on the disk by now, whatever a running node adds meanwhile.
    let key = node_key(name, identity)?;
    let (cosigned_note, cosigned) = read_kept(files, folder, COSIGNED_FILE, &key)?;
    let (note, signed) = read_kept(files, folder, CHECKPOINT_FILE, &key)?;
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
    for head in signed.iter().chain(&cosigned) {
        hold_against(folder, &tree, head)?;
    }
    Ok(Verified {
        origin,
        records: scanned.records,
        root: tree.root(),
        signed: signed.map(|head| head.size),
        note,
        cosigned: cosigned.map(|head| head.size),
        cosigned_note,
        unfinished: scanned.torn,
    })
}

/// Writes all verified records as lines of JSON, each with the hexadecimal bytes that are the leaf, and as the last line the signed
/// checkpoint and the newest one that witnesses cosigned: what an outsider needs to verify the log without the folder.
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
    let line = json!({ "checkpoint": verified.note, "cosigned": verified.cosigned_note, "origin": verified.origin, "records": verified.records, "root": hex::encode(verified.root) });
    writeln!(out, "{line}").map_err(|error| disk("export", folder, &error))?;
    Ok(verified)
}
