//! `peer.toml`: the settings of a peer's process.

use super::PeerProcessError;
use crate::{
    config::PeerKey,
    folder::{self, Folder},
    record::Identifier,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

const MAX_FILE: u64 = 64 * 1024;

/// The settings. Unknown names are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerSettings {
    /// Whose peer it is.
    pub organisation: Identifier,
    /// Where the other organisations' peers connect.
    pub listen: SocketAddr,
    /// Where this organisation's software asks, over plain HTTP: a loopback address. Port 0 takes a free one.
    pub api: SocketAddr,
    /// Where software on other machines asks, over TLS with keys on both sides; without it, nobody does. Port 0 takes a free one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_tls: Option<SocketAddr>,
    /// Who may ask there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientSettings>,
    /// Revocation lists of companies' authorities that this peer looks at besides those on the record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocation: Vec<RevocationSettings>,
    /// How long the peers wait for each other; the same for all.
    #[serde(default)]
    pub timing: TimingSettings,
    /// Where the peers of all organisations listen, this one's too.
    #[serde(default)]
    pub members: BTreeMap<Identifier, SocketAddr>,
    /// Where they answer over TLS, as far as it is known: asked when the order stands still.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub apis: BTreeMap<Identifier, SocketAddr>,
    /// Keys of peers that helped this one to begin, when those of the genesis had left: called until it votes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub helpers: BTreeMap<Identifier, PeerKey>,
}

/// Software elsewhere that may ask: a platform, an auditor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientSettings {
    /// Its name, for people.
    pub name: String,
    /// Its Ed25519 key, hexadecimal.
    #[serde(with = "hex")]
    pub key: [u8; 32],
}

/// An authority, and where its newest revocation list is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationSettings {
    /// PEM file with its certificate, below the peer's folder if it is no absolute path.
    pub authority: String,
    /// The list: a file, looked at every second, or an http(s) URL, asked every minute; PEM or DER.
    pub list: String,
}

/// How long the peers wait for each other, milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimingSettings {
    /// For a leader's batch.
    pub leader_ms: u64,
    /// For the votes on it.
    pub certification_ms: u64,
    /// By a leader with nothing to propose.
    pub idle_ms: u64,
    /// How far a batch's time may be ahead of this peer's clock.
    pub ahead_ms: u64,
}

impl Default for TimingSettings {
    fn default() -> Self {
        let timing = ordering::Timing::default();
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            leader_ms: ms(timing.leader),
            certification_ms: ms(timing.certification),
            idle_ms: ms(timing.idle),
            ahead_ms: ms(timing.ahead),
        }
    }
}

impl From<&TimingSettings> for ordering::Timing {
    fn from(it: &TimingSettings) -> Self {
        use std::time::Duration;
        Self {
            leader: Duration::from_millis(it.leader_ms),
            certification: Duration::from_millis(it.certification_ms),
            idle: Duration::from_millis(it.idle_ms),
            ahead: Duration::from_millis(it.ahead_ms),
        }
    }
}

impl PeerSettings {
    /// Reads and checks the settings of a folder.
    ///
    /// # Errors
    /// [`PeerProcessError::Settings`]
    pub fn read(folder: &Folder) -> Result<Self, PeerProcessError> {
        let path = folder.peer_settings();
        let bytes = folder::read_limited(&path, MAX_FILE)?;
        let wrong = |reason: String| PeerProcessError::Settings {
            path: path.clone(),
            reason,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not UTF-8 text".into()))?;
        let settings: Self = toml::from_str(text)
            .map_err(|error| wrong(error.to_string().trim().replace('\n', " ")))?;
        if !settings.api.ip().is_loopback() {
            return Err(wrong(
                "api must be a loopback address such as 127.0.0.1:7730, because it is plain HTTP; software elsewhere asks at api_tls".into(),
            ));
        }
        let mut seen = BTreeSet::new();
        let twice = |it: &&ClientSettings| !seen.insert(it.key);
        if let Some(client) = settings.clients.iter().find(twice) {
            return Err(wrong(format!(
                "[[clients]] has the key of {} twice; leave one",
                client.name
            )));
        }
        let timing = &settings.timing;
        let rising = 0 < timing.idle_ms
            && timing.idle_ms < timing.leader_ms
            && timing.leader_ms < timing.certification_ms
            && timing.certification_ms <= 600_000;
        if !rising || timing.ahead_ms > 600_000 {
            return Err(wrong(
                "[timing] needs idle_ms < leader_ms < certification_ms, and none above 600000"
                    .into(),
            ));
        }
        Ok(settings)
    }

    /// Writes the settings.
    ///
    /// # Errors
    /// [`PeerProcessError::Folder`]
    pub fn write(&self, folder: &Folder) -> Result<(), PeerProcessError> {
        let text = toml::to_string(self).map_err(|error| PeerProcessError::Settings {
            path: folder.peer_settings(),
            reason: error.to_string(),
        })?;
        let head = "# Settings of this organisation's peer of the record; they count from the next start.\n\
                    # listen: where the other organisations' peers connect. api: where this organisation's software asks, on loopback.\n\
                    # api_tls: where software elsewhere asks, over TLS; who may, says [[clients]] (name, key), which counts at once.\n\
                    # [[revocation]]: authority = FILE, list = FILE or URL; certificates that get no approval from this peer.\n\
                    # [timing]: how long the peers wait for each other, in milliseconds; the same for all. [members]: where all of them listen; [apis]: where they answer over TLS.\n\n";
        let text = format!("{head}{text}");
        Ok(folder::write_private(
            &folder.peer_settings(),
            text.as_bytes(),
        )?)
    }
}
