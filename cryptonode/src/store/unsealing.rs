//! Where a passphrase can come from.
//!
//! A [`PassphraseSource`] gives the passphrase, or says that it has none, or that it should have one and cannot give it. What is here
//! reads files, systemd's credentials and the terminal. A source that unwraps the passphrase by a key management service or a
//! PKCS #11 token is another implementation of the trait, and nothing else changes: the store is sealed under a passphrase
//! either way, and the recovery phrase stays the way back.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::passphrase::{MAX_PASSPHRASE, Passphrase, PassphraseError};

/// The credential's name, as in `LoadCredential=passphrase:/path`.
const CREDENTIAL: &str = "passphrase";

/// Something that can give the passphrase.
pub trait PassphraseSource {
    /// The passphrase; `None` if this source has none and another one may be asked.
    ///
    /// # Errors
    /// [`PassphraseError`] if this source should have one and cannot give it: then no other is asked.
    fn obtain(&self) -> Result<Option<Passphrase>, PassphraseError>;
}

/// The first passphrase that one of the sources has.
///
/// # Errors
/// That of the first source which fails.
pub fn first_of(sources: &[&dyn PassphraseSource]) -> Result<Option<Passphrase>, PassphraseError> {
    for source in sources {
        if let Some(passphrase) = source.obtain()? {
            return Ok(Some(passphrase));
        }
    }
    Ok(None)
}

/// A file with the passphrase on one line, which nobody else may read.
#[derive(Debug)]
pub struct PassphraseFile(pub PathBuf);

impl PassphraseSource for PassphraseFile {
    fn obtain(&self) -> Result<Option<Passphrase>, PassphraseError> {
        read(&self.0).map(Some)
    }
}

/// The credential that systemd hands to the service, if it does.
#[derive(Debug)]
pub struct SystemdCredential;

impl PassphraseSource for SystemdCredential {
    fn obtain(&self) -> Result<Option<Passphrase>, PassphraseError> {
        let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else {
            return Ok(None);
        };
        let path = Path::new(&folder).join(CREDENTIAL);
        if path.exists() {
            read(&path).map(Some)
        } else {
            Ok(None)
        }
    }
}

/// The person at the terminal, if there is one; asked twice for a new passphrase.
#[derive(Debug)]
pub struct Terminal {
    /// Whether the passphrase is made now.
    pub new: bool,
}

impl PassphraseSource for Terminal {
    fn obtain(&self) -> Result<Option<Passphrase>, PassphraseError> {
        if !io::stdin().is_terminal() {
            return Ok(None);
        }
        let ask = |prompt: &str| {
            rpassword::prompt_password(prompt)
                .map(Zeroizing::new)
                .map_err(PassphraseError::Prompt)
        };
        let first = ask(if self.new {
            "New passphrase of this node's store: "
        } else {
            "Passphrase of this node's store: "
        })?;
        if self.new && *ask("The same again: ")? != *first {
            return Err(PassphraseError::Differs);
        }
        Passphrase::new(&first).map(Some)
    }
}

fn read(path: &Path) -> Result<Passphrase, PassphraseError> {
    let unreadable = |reason| PassphraseError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o7777;
    // Service managers and orchestrators hand secrets over as files of root that the service's group or an access list
    // opens to it: the group's bits then mean the service itself.
    let handed_over = metadata.uid() == 0 && !rustix::process::geteuid().is_root();
    let others = if handed_over { 0o027 } else { 0o077 };
    if metadata.is_file() && mode & others != 0 {
        return Err(PassphraseError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    if metadata.len() > MAX_PASSPHRASE {
        return Err(PassphraseError::TooLong {
            path: path.to_owned(),
        });
    }
    Passphrase::new(&Zeroizing::new(
        fs::read_to_string(path).map_err(unreadable)?,
    ))
}
