//! Where a passphrase can come from.
//!
//! A [`PassphraseSource`] gives the passphrase, or says that it has none, or that it should have one and cannot give it. What is here
//! reads files, systemd's credentials, the terminal, and what a program prints: by that, a key management service or a PKCS #11 token
//! unwraps it with its own command-line tool. One that speaks to such a service itself is another implementation of the trait,
//! and nothing else changes: the store is sealed under a passphrase either way, and the recovery phrase stays the way back.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

/// A program that prints the passphrase, run by the shell: the tool of a key management service, of a token, of a secrets manager.
#[derive(Debug)]
pub struct PassphraseCommand(pub String);

impl PassphraseSource for PassphraseCommand {
    fn obtain(&self) -> Result<Option<Passphrase>, PassphraseError> {
        let failed = |reason: String| PassphraseError::Command {
            command: self.0.clone(),
            reason,
        };
        let mut child = Command::new("/bin/sh")
            .args(["-c", &self.0])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(error.to_string()))?;
        // Room for all of it from the start: what grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(2 * MAX_PASSPHRASE as usize));
        // Closed at the end of this block: a program that says more is not waited for.
        let read = match child.stdout.take() {
            Some(out) => out.take(MAX_PASSPHRASE + 1).read_to_string(&mut text),
            None => Ok(0),
        };
        let status = child.wait().map_err(|error| failed(error.to_string()))?;
        match read {
            Ok(length) if length as u64 > MAX_PASSPHRASE => Err(failed(format!(
                "it printed more than {MAX_PASSPHRASE} bytes"
            ))),
            _ if !status.success() => Err(failed(format!("it ended with {status}"))),
            Ok(_) if text.trim_end().is_empty() => Err(failed("it printed nothing".to_owned())),
            Ok(_) => Passphrase::new(&text).map(Some),
            Err(error) => Err(failed(error.to_string())),
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
