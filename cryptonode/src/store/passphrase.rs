//! Where the passphrase comes from, and how long it stays in memory: until the store is open.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Longest passphrase file, in bytes.
const MAX_PASSPHRASE: u64 = 4096;

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
    /// Empty.
    #[error("the passphrase is empty: put one line into the file given with --passphrase-file")]
    Empty,
    /// Nobody to ask.
    #[error(
        "no passphrase: give --passphrase-file FILE, or the systemd credential `passphrase`, or start in a terminal"
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
        if let Some(path) = file {
            return Self::from_file(path);
        }
        if let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") {
            let path = Path::new(&folder).join("passphrase");
            if path.exists() {
                return Self::from_file(&path);
            }
        }
        if !io::stdin().is_terminal() {
            return Err(PassphraseError::NoSource);
        }
        let ask = |prompt: &str| {
            rpassword::prompt_password(prompt)
                .map(Zeroizing::new)
                .map_err(PassphraseError::Prompt)
        };
        let first = ask(if new {
            "New passphrase of this node's store: "
        } else {
            "Passphrase of this node's store: "
        })?;
        if new && *ask("The same again: ")? != *first {
            return Err(PassphraseError::Differs);
        }
        Self::new(&first)
    }

    fn from_file(path: &Path) -> Result<Self, PassphraseError> {
        let unreadable = |reason| PassphraseError::Unreadable {
            path: path.to_owned(),
            reason,
        };
        if fs::metadata(path).map_err(unreadable)?.len() > MAX_PASSPHRASE {
            return Err(PassphraseError::TooLong {
                path: path.to_owned(),
            });
        }
        Self::new(&Zeroizing::new(
            fs::read_to_string(path).map_err(unreadable)?,
        ))
    }

    pub(super) fn expose(&self) -> &[u8] {
        self.0.as_bytes()
    }
}
