//! The record as one file: lines of JSON, from the genesis to the signed head.
//!
//! ```text
//! {"format":"coordinator-record-export/1","genesis":HEX}
//! {"header":HEX,"transactions":[HEX,…]}                        one line a block, in order
//! {"signed_head":"C2SP signed note"}
//! ```
//!
//! The hexadecimal is that of the canonical encodings, lower-case; each line is exactly what the writer below makes of its values, so
//! that an export has one form.

use crate::record::{engine::RecordError, genesis::Genesis, head::SignedHead, peer::Replica};
use serde::{Deserialize, Serialize};
use std::{io::Write as _, path::Path};

/// The format's name and version.
pub(super) const FORMAT: &str = "coordinator-record-export/1";

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

/// The last line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Closing {
    pub(super) signed_head: String,
}

/// Bytes in lower-case hexadecimal.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct HexBytes(#[serde(with = "hex")] pub(super) Vec<u8>);

/// Writes the record up to a signed head. The file has its name only when it is complete and on the disk.
pub(in crate::record) fn export(
    replica: &Replica,
    genesis: &Genesis,
    signed_head: &str,
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
        let transactions = block
            .transactions
            .iter()
            .map(|it| HexBytes(it.as_bytes().to_vec()))
            .collect();
        line(&BlockLine {
            header: block.header.to_bytes(),
            transactions,
        })?;
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
