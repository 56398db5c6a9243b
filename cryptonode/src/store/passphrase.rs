//! Where the passphrase comes from, and how long it stays in memory: until the store is open.

use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::unsealing::{PassphraseFile, PassphraseSource, SystemdCredential, Terminal, first_of};

/// Longest passphrase file, in bytes.
pub(super) const MAX_PASSPHRASE: u64 = 4096;

/// The operator's passphrase. Zeroized on drop; its Debug shows nothing.
pub struct Passphrase(Zeroizing<String>);

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

/// Why there is no passphrase.
#[derive(Debug, thiserror::Error)]
pub enum PassphraseError {
    /// The file cannot be read.
    #[error("cannot read the passphrase file {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
    /// The file is longer than any passphrase.
    #[error("{path} is not a passphrase file: it is longer than {MAX_PASSPHRASE} bytes")]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Others may read it.
    #[error(
        "others may read the passphrase file {path} (mode {mode:o}): run `chmod 600 {path}`, and change the passphrase if they have"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Empty.
    #[error("the passphrase is empty: put one line into the file given with --passphrase-file")]
    Empty,
    /// The program did not give it.
    #[error(
        "the passphrase command {command:?} gave no passphrase: {reason}; run it by itself to see why"
    )]
    Command {
        /// The command line.
        command: String,
        /// What was wrong.
        reason: String,
    },
    /// Nobody to ask.
    #[error(
        "no passphrase: give --passphrase-file FILE or --passphrase-command COMMAND, or the systemd credential `passphrase`, or start in a terminal"
    )]
    NoSource,
    /// The prompt failed.
    #[error("cannot ask for the passphrase: {0}")]
    Prompt(io::Error),
    /// Typed differently the second time.
    #[error("the two passphrases differ: start again")]
    Differs,
}

impl Passphrase {
    /// Takes a passphrase as it is, without a line's end.
    ///
    /// # Errors
    /// [`PassphraseError::Empty`] if nothing is left.
    pub fn new(text: &str) -> Result<Self, PassphraseError> {
        let line = text.strip_suffix('\n').unwrap_or(text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Err(PassphraseError::Empty);
        }
        Ok(Self(Zeroizing::new(line.to_owned())))
    }

    /// Reads it from `file`, or else from the systemd credential `passphrase`, or else asks at the terminal; twice if
    /// `new`.
    ///
    /// # Errors
    /// [`PassphraseError`] says which source was tried and what to do.
    pub fn obtain(file: Option<&Path>, new: bool) -> Result<Self, PassphraseError> {
        Self::find(file, new)?.ok_or(PassphraseError::NoSource)
    }

    /// The same; `None` if there is no source at all.
    ///
    /// # Errors
    /// [`PassphraseError`] if a source is there and cannot give it.
    pub fn find(file: Option<&Path>, new: bool) -> Result<Option<Self>, PassphraseError> {
        if let Some(path) = file {
            return PassphraseFile(path.to_owned()).obtain();
        }
        first_of(&[&SystemdCredential, &Terminal { new }])
    }

    pub(crate) fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}
