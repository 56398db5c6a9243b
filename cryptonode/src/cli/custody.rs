//! `cryptonode custody`: a recovery phrase among custodians. Needs no node and no network.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use dkg::RecoveryPhrase;
use dkg::custody::{self, CustodyError, CustodyPiece};
use serde_json::json;
use zeroize::Zeroizing;

use super::output::field;
use super::{Failure, Output, exit};
use crate::store::{write_private, write_private_folder};

/// `cryptonode custody`.
#[derive(Debug, Subcommand)]
pub(super) enum CustodyCommand {
    /// Split a recovery phrase into pieces, of which some give it back.
    #[command(after_help = "\
Fewer pieces than are needed say nothing of the phrase. Hand each piece to another custodian, and destroy what is left here.

All pieces of one split show the same six words, here and in `custody verify`: custodians read them to one another by telephone, and know that their \
pieces belong together without showing them.

Example:
  cryptonode custody split --phrase-file words --needed 3 --pieces 5 --out-dir pieces")]
    Split {
        /// File with the 24 words.
        #[arg(long, value_name = "FILE")]
        phrase_file: PathBuf,
        /// How many pieces give the phrase back, at least 2.
        #[arg(long, value_name = "COUNT")]
        needed: u16,
        /// How many pieces to make.
        #[arg(long, value_name = "COUNT")]
        pieces: u16,
        /// Folder for the pieces, one file each (modes 0700 and 0600). It must not exist yet, or be empty; it is there with all pieces or not at all.
        #[arg(long, value_name = "DIR")]
        out_dir: PathBuf,
    },
    /// Check a piece without the others: that it is whole and fits what all pieces of its split have in common.
    #[command(after_help = "\
The words are the same for all pieces of one split. Custodians whose words differ have pieces of two splits, which do not go together.

Example:
  cryptonode custody verify piece-2-of-5")]
    Verify {
        /// The pieces' files.
        #[arg(required = true, value_name = "PIECE")]
        files: Vec<PathBuf>,
    },
    /// Give the phrase back from enough pieces.
    Join {
        /// The pieces' files.
        #[arg(required = true, value_name = "PIECE")]
        files: Vec<PathBuf>,
        /// File for the 24 words (mode 0600, must not exist).
        #[arg(long, value_name = "FILE")]
        phrase_out: PathBuf,
    },
}

impl From<CustodyError> for Failure {
    fn from(error: CustodyError) -> Self {
        Self::new(exit::FAILED, error.code(), error.to_string())
    }
}

pub(super) fn run(command: &CustodyCommand, output: &mut Output) -> Result<(), Failure> {
    crate::process::forbid_core_dumps();
    match command {
        CustodyCommand::Split {
            phrase_file,
            needed,
            pieces,
            out_dir,
        } => split(phrase_file, *needed, *pieces, out_dir, output),
        CustodyCommand::Verify { files } => verify(files, output),
        CustodyCommand::Join { files, phrase_out } => join(files, phrase_out, output),
    }
}

/// The phrase in a file, its words in any case and with any white space between them.
pub(super) fn read_phrase(path: &Path) -> Result<RecoveryPhrase, Failure> {
    let words = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        Failure::new(exit::FAILED, "phrase-file", message)
    })?);
    RecoveryPhrase::parse(&words)
        .map_err(|error| Failure::new(exit::FAILED, error.code(), error.to_string()))
}

fn split(
    phrase_file: &Path,
    needed: u16,
    pieces: u16,
    out_dir: &Path,
    output: &mut Output,
) -> Result<(), Failure> {
    let phrase = read_phrase(phrase_file)?;
    let made = custody::split(&phrase, needed, pieces, &mut crate::randomness::system())?;
    let files: Vec<(String, Zeroizing<Vec<u8>>)> = made
        .iter()
        .map(|piece| {
            let name = format!("piece-{}-of-{pieces}", piece.index());
            let bytes = piece.to_bytes();
            // Large enough from the start: growing would leave copies behind.
            let mut text = Zeroizing::new(vec![b'\n'; 2 * bytes.len() + 1]);
            let digits = text.get_mut(..2 * bytes.len()).unwrap_or_default();
            hex::encode_to_slice(bytes.as_slice(), digits)
                .map_err(|error| Failure::new(exit::FAILED, "output", error.to_string()))?;
            Ok((name, text))
        })
        .collect::<Result<_, Failure>>()?;
    write_private_folder(out_dir, &files)?;
    let files: Vec<PathBuf> = files.iter().map(|(name, _)| out_dir.join(name)).collect();
    let identity = hex::encode(phrase.node_keys().identity.verifying_key().to_bytes());
    let words = made.first().map(CustodyPiece::words).unwrap_or_default();
    let value = json!({ "identity": identity, "needed": needed, "words": words, "pieces": files });
    let mut lines = vec![
        field("node", identity),
        field("needed", format!("{needed} of {pieces}")),
        field("words", words),
    ];
    lines.extend(files.iter().map(|path| field("piece", path.display())));
    output.result(&value, &lines)
}

fn read(path: &Path) -> Result<CustodyPiece, Failure> {
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| {
        let message = format!("cannot read {}: {error}", path.display());
        Failure::new(exit::FAILED, "custody-file", message)
    })?);
    let bytes = Zeroizing::new(hex::decode(text.trim()).unwrap_or_default());
    CustodyPiece::from_bytes(&bytes).map_err(|error| {
        let message = format!("{}: {error}", path.display());
        Failure::new(exit::FAILED, error.code(), message)
    })
}

fn verify(files: &[PathBuf], output: &mut Output) -> Result<(), Failure> {
    let (mut values, mut lines) = (Vec::new(), Vec::new());
    for path in files {
        let piece = read(path)?;
        let identity = hex::encode(piece.identity());
        values.push(json!({
            "file": path, "index": piece.index(), "needed": piece.threshold(), "pieces": piece.pieces(),
            "identity": identity, "words": piece.words(),
        }));
        lines.push(field(
            "good",
            format!(
                "{}: piece {} of {}, {} are needed, node {identity}, words {}",
                path.display(),
                piece.index(),
                piece.pieces(),
                piece.threshold(),
                piece.words()
            ),
        ));
    }
    output.result(&values, &lines)
}

fn join(files: &[PathBuf], phrase_out: &Path, output: &mut Output) -> Result<(), Failure> {
    let pieces = files
        .iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let phrase = custody::join(&pieces)?;
    let mut words = phrase.words();
    words.push('\n');
    write_private(phrase_out, words.as_bytes(), false)?;
    let identity = hex::encode(phrase.node_keys().identity.verifying_key().to_bytes());
    let piece_words = pieces.first().map(CustodyPiece::words).unwrap_or_default();
    let value = json!({ "identity": identity, "words": piece_words, "phrase_out": phrase_out });
    output.result(
        &value,
        &[
            field("node", identity),
            field("words", piece_words),
            field("written", phrase_out.display()),
        ],
    )
}
