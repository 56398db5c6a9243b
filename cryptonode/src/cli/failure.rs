//! Errors on their way to the operator: a stable code, a sentence, an exit status.

use super::exit;
use crate::admin::AdminError;
use crate::audit::AuditError;
use crate::config::{CardError, ConfigError, PolicyFileError};
use crate::daemon::StartError;
use crate::set_back::SetBackError;
use crate::store::{FolderError, PassphraseError, RecordsError, StoreError};

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) exit: u8,
    pub(super) told: bool,
}

impl Failure {
    pub(super) fn new(exit: u8, code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            message: message.into(),
            exit,
            told: false,
        }
    }

    /// Standard output has said it already, as one document.
    pub(super) fn told(mut self) -> Self {
        self.told = true;
        self
    }
}

impl From<FolderError> for Failure {
    fn from(error: FolderError) -> Self {
        let (exit, code) = match &error {
            FolderError::InUse { .. } => (exit::IN_USE, "folder-in-use"),
            FolderError::NoNode { .. } => (exit::NO_NODE, "no-node"),
            FolderError::Occupied { .. } => (exit::FAILED, "folder-occupied"),
            FolderError::NotEmpty { .. } => (exit::FAILED, "folder-not-empty"),
            FolderError::Open { .. } => (exit::FAILED, "folder-open"),
            FolderError::Io { .. } => (exit::FAILED, "disk"),
        };
        Self::new(exit, code, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (exit, code) = match &error {
            StoreError::WrongPassphrase { .. } => (exit::PASSPHRASE, "wrong-passphrase"),
            StoreError::Missing { .. } => (exit::DAMAGED, "store-missing"),
            StoreError::Corrupt { .. } => (exit::DAMAGED, "store-corrupt"),
            StoreError::OtherVersion { .. } => (exit::DAMAGED, "store-version"),
            StoreError::Exists { .. } => (exit::FAILED, "store-exists"),
            StoreError::Disk { .. } => (exit::FAILED, "disk"),
            StoreError::OutOfMemory => (exit::FAILED, "out-of-memory"),
        };
        Self::new(exit, code, error.to_string())
    }
}

impl From<RecordsError> for Failure {
    fn from(error: RecordsError) -> Self {
        match error {
            RecordsError::Store(error) => error.into(),
            RecordsError::Unreadable { .. } => {
                Self::new(exit::DAMAGED, "store-record", error.to_string())
            }
            RecordsError::Share(_) => Self::new(exit::DAMAGED, "unusable-share", error.to_string()),
        }
    }
}

impl From<PassphraseError> for Failure {
    fn from(error: PassphraseError) -> Self {
        Self::new(exit::PASSPHRASE, "passphrase", error.to_string())
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(exit::CONFIGURATION, "configuration", error.to_string())
    }
}

impl From<PolicyFileError> for Failure {
    fn from(error: PolicyFileError) -> Self {
        Self::new(exit::CONFIGURATION, "policy", error.to_string())
    }
}

impl From<CardError> for Failure {
    fn from(error: CardError) -> Self {
        Self::new(exit::CONFIGURATION, "card", error.to_string())
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        let exit = match &error {
            AuditError::Corrupt { .. }
            | AuditError::RolledBack { .. }
            | AuditError::BadCheckpoint { .. } => exit::DAMAGED,
            _ => exit::FAILED,
        };
        Self::new(exit, error.code(), error.to_string())
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let exit = match &error {
            AdminError::NotRunning { .. } => exit::NO_NODE,
            _ => exit::FAILED,
        };
        Self::new(exit, error.code(), error.to_string())
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Folder(error) => error.into(),
            StartError::Config(error) => error.into(),
            StartError::Policy(error) => error.into(),
            StartError::Store(error) => error.into(),
            StartError::Records(error) => error.into(),
            StartError::Audit(error) => error.into(),
            StartError::PublicIdentity(error) => error.into(),
            StartError::SetBack(SetBackError::Records(error)) => error.into(),
            StartError::SetBack(error @ SetBackError::Older { .. }) => {
                Self::new(exit::DAMAGED, "store-set-back", error.to_string())
            }
            other => {
                let exit = if other.code() == "other-identity" {
                    exit::CONFIGURATION
                } else {
                    exit::FAILED
                };
                Self::new(exit, other.code(), other.to_string())
            }
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(
            exit::FAILED,
            "output",
            format!("cannot write the output: {error}"),
        )
    }
}
