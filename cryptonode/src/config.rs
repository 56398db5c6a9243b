//! `config.toml`: what the operator of a node writes.
//!
//! The file is checked as a whole. Every error is one sentence that names the file, the key and what to do, and
//! nothing is taken from a file that has one.

mod card;
mod clients;
mod limits;
mod live;
mod operations;
mod policy_file;
mod revocation;
mod tls;

pub use card::{Card, CardError};
pub use limits::LimitSettings;
pub use live::LiveConfig;
pub use operations::{HealthSettings, LogSettings, TelemetrySettings, WitnessSettings};
pub use policy_file::{PolicyFileError, policy_text, read_policy};
pub use revocation::{ListSource, RevocationSettings};
pub use tls::IssuedCertificate;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use dkg::MemberIdentity;
use serde::Deserialize;

use crate::server::ClientRules;

/// The configuration's file in the node's folder.
pub const CONFIG_FILE: &str = "config.toml";
/// The largest configuration that is read, in bytes.
const MAX_CONFIG: u64 = 4 * 1024 * 1024;
const TEMPLATE: &str = include_str!("config/template.toml");

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// What people call the node.
    pub name: String,
    /// Where it listens (UDP).
    pub listen: SocketAddr,
    /// `host:port` by which others reach it.
    pub advertise: String,
    /// The policy file's path, already joined to the folder.
    pub policy: PathBuf,
    /// The other members, as their cards say; their keys were decoded once, here.
    pub members: Vec<MemberIdentity>,
    /// Their identities, decoded.
    pub identities: dkg::KnownIdentities,
    /// How ceremonies are entered.
    pub ceremony: CeremonySettings,
    /// Bounds on what the node takes on.
    pub limits: LimitSettings,
    /// Who may ask for shares, and how much one client may take.
    pub clients: ClientRules,
    /// Where health and metrics are shown.
    pub health: HealthSettings,
    /// What is logged.
    pub log: LogSettings,
    /// Where spans go.
    pub telemetry: TelemetrySettings,
    /// Where revocation lists come from.
    pub revocation: Vec<RevocationSettings>,
    /// How often the other members are shown this node's audit log.
    pub witness: WitnessSettings,
    /// What the node presents in place of the certificate that it makes itself.
    pub certificate: Option<IssuedCertificate>,
}

/// `[ceremony]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CeremonySettings {
    /// Identities whose proposals are accepted without asking.
    pub accept_from: Vec<[u8; 32]>,
    /// How long an own proposal stays open, in seconds.
    pub open_for_s: u64,
    /// How long the share of an earlier epoch is kept once all members have the new one, in seconds.
    pub overlap_s: u64,
    /// How often fellow members are asked for newer certificates of the keys, in seconds.
    pub ask_every_s: u64,
    /// How long a leader may keep silent before this node takes over, and a member before it is left out, in seconds.
    pub patience_s: u32,
    /// How long a decided ceremony is shown after its proposal expired, in seconds; then nothing of it is left.
    pub remember_s: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    name: String,
    listen: String,
    advertise: Option<String>,
    #[serde(default = "default_policy")]
    policy: PathBuf,
    #[serde(default)]
    ceremony: RawCeremony,
    #[serde(default)]
    limits: LimitSettings,
    #[serde(default)]
    clients: clients::RawClients,
    #[serde(default)]
    health: operations::RawHealth,
    #[serde(default)]
    log: LogSettings,
    #[serde(default)]
    telemetry: operations::RawTelemetry,
    #[serde(default)]
    revocation: Vec<revocation::RawRevocation>,
    #[serde(default)]
    witness: WitnessSettings,
    #[serde(default)]
    tls: tls::RawTls,
    #[serde(default)]
    members: Vec<Card>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawCeremony {
    accept_from: Vec<String>,
    open_for_s: u64,
    overlap_s: u64,
    ask_every_s: u64,
    patience_s: u32,
    remember_s: u64,
}

impl Default for RawCeremony {
    fn default() -> Self {
        Self {
            accept_from: Vec::new(),
            open_for_s: dkg::DEFAULT_LIFETIME_S,
            overlap_s: 600,
            ask_every_s: 60,
            patience_s: dkg::DEFAULT_PATIENCE_S,
            remember_s: 86_400,
        }
    }
}

fn default_policy() -> PathBuf {
    PathBuf::from("policy.toml")
}

/// Why a configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or written.
    #[error("cannot {what} {path}: {reason}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// Not TOML, or an unknown, missing or mistyped key.
    #[error("{path}, line {line}: {reason}; correct that line and run `cryptonode config check`")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, with the key.
        reason: String,
    },
    /// A key has a value that cannot be meant.
    #[error("{path}, key `{key}`: {reason}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong, and what to do.
        reason: String,
    },
}

impl Config {
    /// Reads and checks the configuration in `folder`.
    ///
    /// # Errors
    /// [`ConfigError`]: one sentence for the first thing that is wrong.
    pub fn load(folder: &Path) -> Result<Self, ConfigError> {
        let path = folder.join(CONFIG_FILE);
        let io = |reason: std::io::Error| ConfigError::Io {
            what: "read",
            path: path.clone(),
            reason: reason.to_string(),
        };
        if fs::metadata(&path).map_err(io)?.len() > MAX_CONFIG {
            return Err(io(std::io::ErrorKind::FileTooLarge.into()));
        }
        let text = fs::read_to_string(&path).map_err(io)?;
        Self::parse(folder, &text)
    }

    /// Checks the text of a configuration for a node in `folder`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(folder: &Path, text: &str) -> Result<Self, ConfigError> {
        let path = folder.join(CONFIG_FILE);
        let raw: RawConfig = toml::from_str(text).map_err(|error| syntax(&path, text, &error))?;
        let value = |key: &str, reason: String| ConfigError::Value {
            path: path.clone(),
            key: key.to_owned(),
            reason,
        };
        card::check_name(&raw.name).map_err(|reason| value("name", reason))?;
        let listen: SocketAddr = raw.listen.parse().map_err(|_| {
            value(
                "listen",
                format!(
                    "{:?} is not an address; write one such as \"0.0.0.0:7700\"",
                    raw.listen
                ),
            )
        })?;
        let advertise = raw.advertise.unwrap_or(raw.listen);
        card::check_address(&advertise).map_err(|reason| value("advertise", reason))?;
        let mut members: Vec<MemberIdentity> = Vec::with_capacity(raw.members.len());
        for (position, card) in raw.members.iter().enumerate() {
            let key = format!("members[{position}]");
            let member = card
                .member()
                .map_err(|error| value(&key, error.to_string()))?;
            let conflict = |other: &&MemberIdentity| {
                other.name == member.name
                    || other.identity == member.identity
                    || other.address == member.address
            };
            if let Some(other) = members.iter().find(conflict) {
                let reason = format!(
                    "{} has the name, identity or address of {}; remove one",
                    member.name, other.name
                );
                return Err(value(&key, reason));
            }
            members.push(member);
        }
        let mut accept_from = Vec::new();
        for identity in &raw.ceremony.accept_from {
            let bytes = card::decode_key(identity)
                .map_err(|reason| value("ceremony.accept_from", reason))?;
            accept_from.push(bytes);
        }
        let ceremony = [
            (
                "ceremony.open_for_s",
                1,
                dkg::MAX_LIFETIME_S,
                raw.ceremony.open_for_s,
            ),
            ("ceremony.overlap_s", 1, 604_800, raw.ceremony.overlap_s),
            ("ceremony.ask_every_s", 1, 86_400, raw.ceremony.ask_every_s),
            ("witness.every_s", 0, 86_400, raw.witness.every_s),
            (
                "witness.after_records",
                1,
                1_000_000_000,
                raw.witness.after_records,
            ),
            (
                "ceremony.patience_s",
                1,
                86_400,
                raw.ceremony.patience_s.into(),
            ),
            (
                "ceremony.remember_s",
                0,
                31_536_000,
                raw.ceremony.remember_s,
            ),
        ];
        for (key, least, most, found) in ceremony.into_iter().chain(raw.limits.bounds()) {
            if !(least..=most).contains(&found) {
                let reason =
                    format!("{found} is out of bounds; write a number from {least} to {most}");
                return Err(value(key, reason));
            }
        }
        let clients = raw
            .clients
            .check()
            .map_err(|(key, reason)| value(&key, reason))?;
        let health = raw
            .health
            .check(listen)
            .map_err(|(key, reason)| value(key, reason))?;
        raw.log
            .check()
            .map_err(|(key, reason)| value(key, reason))?;
        let telemetry = raw
            .telemetry
            .check()
            .map_err(|(key, reason)| value(key, reason))?;
        let certificate = raw
            .tls
            .check(folder)
            .map_err(|(key, reason)| value(key, reason))?;
        let mut lists: Vec<RevocationSettings> = Vec::new();
        for (position, list) in raw.revocation.iter().enumerate() {
            let list = list
                .check(folder, position)
                .map_err(|(key, reason)| value(&key, reason))?;
            let known =
                |other: &RevocationSettings| other.authority.spki() == list.authority.spki();
            if lists.iter().any(known) || position >= certs::MAX_AUTHORITIES {
                let key = format!("revocation[{position}].authority");
                let reason = "this authority has a list already; remove one".to_owned();
                return Err(value(&key, reason));
            }
            lists.push(list);
        }
        Ok(Self {
            name: raw.name,
            listen,
            advertise,
            policy: folder.join(raw.policy),
            identities: dkg::KnownIdentities::of(members.iter().map(|member| &member.identity)),
            members,
            ceremony: CeremonySettings {
                accept_from,
                open_for_s: raw.ceremony.open_for_s,
                overlap_s: raw.ceremony.overlap_s,
                ask_every_s: raw.ceremony.ask_every_s,
                patience_s: raw.ceremony.patience_s,
                remember_s: raw.ceremony.remember_s,
            },
            limits: raw.limits,
            clients,
            health,
            log: raw.log,
            telemetry,
            revocation: lists,
            witness: raw.witness,
            certificate,
        })
    }

    /// The text of a new node's configuration, with comments.
    #[must_use]
    pub fn template(name: &str, listen: SocketAddr, advertise: &str) -> String {
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        TEMPLATE
            .replace("@NAME@", &quote(name))
            .replace("@LISTEN@", &quote(&listen.to_string()))
            .replace("@ADVERTISE@", &quote(advertise))
            .replace(
                "@HEALTH@",
                &quote(&operations::default_health(listen).to_string()),
            )
    }

    /// The text of the configuration in `folder` with `card` added at its end, or `None` if that very card is there.
    ///
    /// # Errors
    /// [`ConfigError`] if the file has an error already, or if the card conflicts with a member that is there.
    pub fn with_member(
        folder: &Path,
        text: &str,
        card: &Card,
    ) -> Result<Option<String>, ConfigError> {
        let there = Self::parse(folder, text)?.members;
        if card.member().is_ok_and(|card| there.contains(&card)) {
            return Ok(None);
        }
        let mut text = text.to_owned();
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&card.as_toml());
        Self::parse(folder, &text)?;
        Ok(Some(text))
    }
}

impl Config {
    /// The text of the configuration in `folder` without the block of the member `name`; `None` if it has no such member.
    ///
    /// # Errors
    /// [`ConfigError`] if the file has an error already, or if the block is written so that it cannot be told from others.
    pub fn without_member(
        folder: &Path,
        text: &str,
        name: &str,
    ) -> Result<Option<String>, ConfigError> {
        let mut wanted = Self::parse(folder, text)?.members;
        let Some(at) = wanted.iter().position(|member| member.name == name) else {
            return Ok(None);
        };
        wanted.remove(at);
        let (mut rest, mut block, mut seen) = (String::new(), false, 0);
        for line in text.split_inclusive('\n') {
            if line.trim_start().starts_with('[') {
                let member = line.trim() == "[[members]]";
                block = member && seen == at;
                seen += usize::from(member);
            }
            // What stands between the block and the next is left: it may be the operator's words about what follows.
            if !block || line.trim_start().starts_with('#') {
                rest.push_str(line);
            }
        }
        if Self::parse(folder, &rest)?.members == wanted {
            return Ok(Some(rest));
        }
        Err(ConfigError::Value {
            path: folder.join(CONFIG_FILE),
            key: "members".to_owned(),
            reason: format!("the block of {name} cannot be told from others; remove it by hand"),
        })
    }
}

/// The one-line form of a TOML error: which line, which key, what.
fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let key = text
        .lines()
        .nth(line - 1)
        .and_then(|line| line.split_once('='))
        .map(|(key, _)| key.trim());
    let message = error.message().replace('\n', " ");
    let reason = match key {
        Some(key) if !key.is_empty() && !key.starts_with('#') && !message.contains(key) => {
            format!("key `{key}`: {message}")
        }
        _ => message,
    };
    ConfigError::Syntax {
        path: path.to_owned(),
        line,
        reason,
    }
}

#[cfg(test)]
#[path = "config/tests.rs"]
mod tests;
