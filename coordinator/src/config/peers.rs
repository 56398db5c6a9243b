//! `[record]`: who orders, and where the organisations' peers answer.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::is_protected;
use crate::record::Identifier;

/// What orders the record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EngineName {
    /// This process, with the peers of all organisations in it.
    #[default]
    Solo,
    /// The organisations' peers among themselves, each a process of its own.
    Simplex,
}

/// Who orders the record, and where its peers are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordConfig {
    /// What orders.
    pub engine: EngineName,
    /// Where the organisations' peers answer; for `simplex` alone.
    pub peers: Vec<PeerConfig>,
}

/// Where an organisation's peer answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// The organisation.
    pub organisation: Identifier,
    /// URL of its API: `http://` on this machine, `https://` elsewhere.
    pub url: String,
    /// File with the token that it wants to be shown; over `http://` alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// A key that it may have besides the one that the record has for the organisation; over `https://` alone, where it knows this platform by its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PeerKey>,
}

/// The public key of an organisation's peer, by which it signs heads; hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PeerKey(#[serde(with = "hex")] pub [u8; 32]);

impl std::str::FromStr for PeerKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bytes = hex::decode(text).ok().and_then(|it| it.try_into().ok());
        let bytes = bytes.ok_or("a peer's key has 64 hexadecimal digits");
        Ok(Self(bytes?))
    }
}

impl PeerConfig {
    /// Whether it is reached over TLS.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// What is wrong with it, if anything is.
    #[must_use]
    pub fn mistake(&self) -> Option<&'static str> {
        if !is_protected(&self.url) || self.url.ends_with('/') {
            return Some(
                "must be an https:// URL without a slash at its end; http:// is allowed on 127.0.0.1, [::1] and localhost alone",
            );
        }
        match (self.is_remote(), &self.token_file, self.key) {
            (true, Some(_), _) => Some(
                "is https://, where the peer knows who asks by their key: leave out token_file",
            ),
            (false, None, _) => Some("is http://, where the peer wants its token: give token_file"),
            (false, _, Some(_)) => {
                Some("is http://, where no peer shows a key: leave out key, or use https://")
            }
            _ => None,
        }
    }
}
