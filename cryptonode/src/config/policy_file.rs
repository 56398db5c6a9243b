//! The policy file: the approval policy as the organisations' administrators hand it to the operators, in TOML.
//!
//! ```toml
//! approvals_needed = 2
//! max_lifetime_s = 300
//! tolerance_s = 30
//!
//! [[organisations]]
//! name = "Hospital"
//! issuers = ["""-----BEGIN CERTIFICATE-----…"""]
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use certs::{Organisation, Policy, PolicyConfig};
use serde::Deserialize;

/// The largest policy file that is read, in bytes.
const MAX_POLICY: u64 = 4 * 1024 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    approvals_needed: u16,
    #[serde(default = "default_lifetime")]
    max_lifetime_s: u32,
    #[serde(default = "default_tolerance")]
    tolerance_s: u32,
    #[serde(default)]
    organisations: Vec<RawOrganisation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOrganisation {
    name: String,
    issuers: Vec<String>,
}

fn default_lifetime() -> u32 {
    300
}

fn default_tolerance() -> u32 {
    30
}

/// Why a policy file is not used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    /// It is not there.
    #[error("the policy {path} is missing: set it with `cryptonode policy set --dir DIR FILE`")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read the policy {path}: {reason}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Not TOML of a policy's shape.
    #[error("{path}, line {line}: {reason}; ask for the policy file again, or correct that line")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A policy that cannot be meant.
    #[error("the policy {path} cannot be used: {reason}")]
    Policy {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        reason: String,
    },
}

/// The text of a policy file that says this policy.
#[must_use]
pub fn policy_text(policy: &Policy) -> String {
    let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let mut text = format!(
        "approvals_needed = {}\nmax_lifetime_s = {}\ntolerance_s = {}\n",
        policy.approvals_needed(),
        policy.max_lifetime_s(),
        policy.tolerance_s()
    );
    for organisation in policy.organisations() {
        let issuers = organisation.to_pem().join("");
        // Neither base64 nor the frame around it has a quotation mark or a backslash.
        text.push_str(&format!(
            "\n[[organisations]]\nname = {}\nissuers = [\"\"\"\n{issuers}\"\"\"]\n",
            quote(&organisation.name)
        ));
    }
    text
}

/// Reads and checks a policy file.
///
/// # Errors
/// [`PolicyFileError`]: one sentence for the first thing that is wrong.
pub fn read_policy(path: &Path) -> Result<Policy, PolicyFileError> {
    let io = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => PolicyFileError::Missing {
            path: path.to_owned(),
        },
        _ => PolicyFileError::Io {
            path: path.to_owned(),
            reason: error.to_string(),
        },
    };
    if fs::metadata(path).map_err(io)?.len() > MAX_POLICY {
        return Err(io(std::io::ErrorKind::FileTooLarge.into()));
    }
    let text = fs::read_to_string(path).map_err(io)?;
    let raw: RawPolicy = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.get(..at).unwrap_or_default().matches('\n').count() + 1;
        PolicyFileError::Syntax {
            path: path.to_owned(),
            line,
            reason: error.message().replace('\n', " "),
        }
    })?;
    let unusable = |reason: String| PolicyFileError::Policy {
        path: path.to_owned(),
        reason,
    };
    let organisations = raw
        .organisations
        .iter()
        .map(|organisation| Organisation::from_pem(&organisation.name, &organisation.issuers))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    Policy::new(PolicyConfig {
        approvals_needed: raw.approvals_needed,
        organisations,
        max_lifetime_s: raw.max_lifetime_s,
        tolerance_s: raw.tolerance_s,
    })
    .map_err(|error| unusable(error.to_string()))
}
