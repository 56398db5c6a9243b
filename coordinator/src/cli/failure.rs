//! Why a command failed: a stable code and an exit status for programs, a sentence for people.

use crate::api::auth::AuthError;
use crate::client::ClientError;
use crate::config::ConfigError;
use crate::daemon::DaemonError;
use crate::folder::FolderError;
use crate::master_key::MasterKeyError;
use crate::organisations::OrganisationError;
use crate::peer::PeerProcessError;
use crate::platform::ClusterAddError;
use crate::setup::SetupError;

use super::exit;

/// Why a command failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: u8,
    pub(super) code: String,
    pub(super) message: String,
    /// What organisations or nodes said.
    pub(super) more: Option<serde_json::Value>,
    /// By which the platform's log has more, if the platform said so.
    pub(super) request_id: Option<String>,
    /// Whether the platform itself failed, so that its operator must look there.
    pub(super) is_internal: bool,
}

impl Failure {
    pub(super) fn new(exit: u8, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.into(),
            message: message.into(),
            more: None,
            request_id: None,
            is_internal: false,
        }
    }

    fn coded(code: &str, message: String) -> Self {
        Self::new(status(code), code, message)
    }
}

fn status(code: &str) -> u8 {
    match code {
        "passphrase-wrong" | "passphrase-empty" => exit::PASSPHRASE,
        "folder-in-use" => exit::IN_USE,
        "platform-unreachable"
        | "busy"
        | "record-busy"
        | "record-catching-up"
        | "record-halted"
        | "record-closing" => exit::UNREACHABLE,
        "folder-not-initialised"
        | "folder-not-empty"
        | "file-too-open"
        | "folder-other"
        | "record-engine"
        | "profile"
        | "key-file"
        | "no-user"
        | "verifier-keys"
        | "no-key"
        | "peer-file"
        | "peer-not-joined"
        | "peer-token"
        | "peer-client" => exit::CONFIGURATION,
        "master-key-damaged"
        | "master-key-refused"
        | "genesis-damaged"
        | "organisation-key-damaged"
        | "peer-key-differs"
        | "peer-client-certificate"
        | "body-missing"
        | "document-altered"
        | "shares" => exit::DAMAGED,
        "peer-removed" | "peer-certificate" | "not-permitted" | "not-approved"
        | "too-few-answers" | "signature" | "user-suspended" | "user-expired"
        | "not-administrator" | "not-what-was-meant" | "not-end-to-end" => exit::REFUSED,
        code if code.starts_with("config-")
            || code.starts_with("descriptor-")
            || code.starts_with("api-key-") && code != "api-key-scope" =>
        {
            exit::CONFIGURATION
        }
        "request" => exit::USAGE,
        code if code.starts_with("envelope-") || code.starts_with("proof-") => exit::DAMAGED,
        _ => exit::FAILED,
    }
}

impl From<ClientError> for Failure {
    fn from(e: ClientError) -> Self {
        let mut failure = Self::coded(e.code(), e.to_string());
        if let ClientError::Problem {
            status,
            more,
            request_id,
            ..
        } = e
        {
            // Codes that say more than the HTTP status go first.
            if failure.exit == exit::FAILED {
                failure.exit = match status {
                    403 | 409 | 410 | 422 => exit::REFUSED,
                    404 if failure.code.starts_with("unknown-") => exit::REFUSED,
                    429 | 503 => exit::UNREACHABLE,
                    _ => exit::FAILED,
                };
            }
            failure.more = more;
            failure.is_internal = matches!(status, 500 | 502);
            failure.request_id = request_id;
        }
        failure
    }
}

macro_rules! from {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(e: $error) -> Self {
                Self::coded(e.code().as_ref(), e.to_string())
            }
        })*
    };
}

from!(
    AuthError,
    ClusterAddError,
    ConfigError,
    DaemonError,
    FolderError,
    MasterKeyError,
    OrganisationError,
    PeerProcessError,
    SetupError
);

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::new(exit::FAILED, "io", format!("the system refused: {e}"))
    }
}
