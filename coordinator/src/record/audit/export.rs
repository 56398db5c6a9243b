//! The record as one file: lines of JSON, from the genesis to the signed head.
//!
//! ```text
//! {"format":"coordinator-record-export/2","genesis":HEX}
//! {"header":HEX,"transactions":[HEX,…]}                        one line a block, in order
//! {"handover":"C2SP signed note"}                              after a block with an endorsement of a change of the organisations
//! {"signed_head":"C2SP signed note"}
//! ```
//!
//! A *handover* is the head after that block as the peers signed it there and then: those who were on the record before the change vouch for those who are on it
//! afterwards. Format 1 had none.
//!
//! The hexadecimal is that of the canonical encodings, lower-case; each line is exactly what the writer below makes of its values, so
//! that an export has one form.

use crate::record::{
    engine::RecordError,
    genesis::Genesis,
    head::{self, Head, SignedHead},
    peer::{Replica, StoreError},
    signed::SignedTransaction,
};
use serde::{Deserialize, Serialize};
use std::{io::Write as _, path::Path};

/// The format's name and version.
pub(super) const FORMAT: &str = "coordinator-record-export/2";
/// The one before: without handovers.
pub(super) const FORMAT_1: &str = "coordinator-record-export/1";

/// The first line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Opening {
    pub(super) format: String,
    #[serde(with = "hex")]
    pub(super) genesis: Vec<u8>,
}

/// One block.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlockLine {
    #[serde(with = "hex")]
    pub(super) header: Vec<u8>,
    pub(super) transactions: Vec<HexBytes>,
}

/// The head after the block in front, signed by those who were on the record before it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HandoverLine {
    pub(super) handover: String,
}

/// Whether the organisations may change with a block of these.
pub(super) fn may_hand_over(transactions: &[SignedTransaction]) -> bool {
    let endorse = |it: &SignedTransaction| it.transaction().kind() == "organisation-endorse";
    transactions.iter().any(endorse)
}

/// The last line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Closing {
    pub(super) signed_head: String,
}

/// Bytes in lower-case hexadecimal.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::record) struct HexBytes(#[serde(with = "hex")] pub(in crate::record) Vec<u8>);

/// Writes the record up to a signed head; `heads_at` says what the peers signed after a block. The file has its name only when it is complete and on the disk.
pub(in crate::record) fn export(
    replica: &Replica,
    genesis: &Genesis,
    signed_head: &str,
    heads_at: impl Fn(u64) -> Result<Vec<String>, StoreError>,
    path: &Path,
) -> Result<(), RecordError> {
    let io = |error: std::io::Error| RecordError::Export(format!("{}: {error}", path.display()));
    let head =
        SignedHead::parse(signed_head).map_err(|error| RecordError::Export(error.to_string()))?;
    let size = head.claimed().checkpoint.size;

    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = std::io::BufWriter::new(tempfile::NamedTempFile::new_in(folder).map_err(io)?);
    let mut line = |value: &dyn erased::Line| -> Result<(), RecordError> {
        let mut text = value
            .to_json()
            .map_err(|error| RecordError::Export(error.to_string()))?;
        text.push('\n');
        file.write_all(text.as_bytes()).map_err(io)
    };
    line(&Opening {
        format: FORMAT.to_owned(),
        genesis: genesis.to_bytes(),
    })?;
    let origin = genesis.origin();
    let mut written = 0;
    for height in 1.. {
        if written >= size {
            break;
        }
        let block = replica.block(height)?.ok_or_else(|| {
            RecordError::Export(format!(
                "this peer has {written} of the {size} transactions of the signed head"
            ))
        })?;
        let transactions = block.transactions.iter();
        let transactions = transactions.map(|it| HexBytes(it.as_bytes().to_vec()));
        line(&BlockLine {
            header: block.header.to_bytes(),
            transactions: transactions.collect(),
        })?;
        if may_hand_over(&block.transactions) {
            let head = Head::new(&origin, &block.header);
            let notes = heads_at(height)?;
            let handover = head::gather(&head, notes.iter().map(String::as_str));
            line(&HandoverLine {
                handover: handover.ok_or_else(|| {
                    RecordError::Export(format!("nobody here signed the head after block {height}"))
                })?,
            })?;
        }
        written = block.header.size;
    }
    line(&Closing {
        signed_head: signed_head.to_owned(),
    })?;
    let file = file.into_inner().map_err(|error| io(error.into_error()))?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|error| io(error.error))?;
    Ok(())
}

/// Lines of several types through one writer.
mod erased {
    pub(super) trait Line {
        fn to_json(&self) -> serde_json::Result<String>;
    }

    impl<T: serde::Serialize> Line for T {
        fn to_json(&self) -> serde_json::Result<String> {
            serde_json::to_string(self)
        }
    }
}
