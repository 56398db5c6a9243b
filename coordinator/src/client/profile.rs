//! A profile: which platform, which tenant, whose key. A small file, so that commands are short.
//!
//! Names of files in it are relative to the profile's own folder, so that a folder can be moved.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::ClientError;
use crate::folder;
use crate::record::Identifier;

const MAX_FILE: u64 = 64 * 1024;

/// An API key as it stands in a profile. Wiped when dropped, and never shown but in the profile itself.
#[derive(Clone)]
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// Takes a key's text.
    pub fn new(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// The key's text, to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Serialize for ApiKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ApiKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Zeroizing::new(String::deserialize(deserializer)?)))
    }
}

/// What a profile says. API keys are in it, so its file has mode 0600.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Where the platform answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Identifier>,
    /// The tenant's API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key: Option<ApiKey>,
    /// An operator's API key, for what concerns the whole platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_key: Option<ApiKey>,
    /// The user who signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Identifier>,
    /// The file of the user's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// The ledger's id, hexadecimal: nothing is signed for another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ledger: Option<String>,
    /// The file of the organisations' verifier keys, by which end-to-end reads are checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifiers: Option<PathBuf>,
}

impl Profile {
    /// Reads a profile and makes the names of files in it absolute.
    ///
    /// # Errors
    ///
    /// [`ClientError::Folder`] if it cannot be read or others may read it, [`ClientError::Profile`] if it is none.
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        let bytes = folder::read_secret(path, MAX_FILE)?;
        let wrong = |reason: &str| ClientError::Profile {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not text"))?;
        // Only the parser's message: its excerpt could show a key.
        let mut profile: Self =
            toml::from_str(text).map_err(|e| wrong(&e.message().replace('\n', " ")))?;
        let parent = path.parent().unwrap_or(Path::new("."));
        for file in [&mut profile.key, &mut profile.verifiers]
            .into_iter()
            .flatten()
        {
            *file = parent.join(&*file);
        }
        Ok(profile)
    }

    /// Writes a profile; names of files in it go as they are.
    ///
    /// # Errors
    ///
    /// [`ClientError::Folder`]
    pub fn write(&self, path: &Path) -> Result<(), ClientError> {
        let reason = |e: toml::ser::Error| ClientError::Profile {
            path: path.to_owned(),
            reason: e.to_string(),
        };
        let text = Zeroizing::new(toml::to_string(self).map_err(reason)?);
        let head = "# A profile of the coordinator's command line: use it with --profile, or COORDINATOR_PROFILE.\n\
                    # It holds API keys: keep it to yourself.\n";
        Ok(folder::write_private(
            path,
            Zeroizing::new(format!("{head}{}", text.as_str())).as_bytes(),
        )?)
    }

    /// Puts another URL into the profile at `path`, if there is one.
    ///
    /// # Errors
    ///
    /// As [`Profile::read`] and [`Profile::write`].
    pub fn set_url(path: &Path, url: &str) -> Result<(), ClientError> {
        if !path.exists() {
            return Ok(());
        }
        let mut profile = Self::read(path)?;
        if profile.url.as_deref() == Some(url) {
            return Ok(());
        }
        profile.url = Some(url.to_owned());
        let parent = path.parent().unwrap_or(Path::new("."));
        for file in [&mut profile.key, &mut profile.verifiers]
            .into_iter()
            .flatten()
        {
            if let Ok(relative) = file.strip_prefix(parent) {
                *file = relative.to_owned();
            }
        }
        profile.write(path)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn written_read_and_moved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.toml");
        Profile::set_url(&path, "http://nowhere").unwrap();
        let profile = Profile {
            tenant: Some("acme".parse().unwrap()),
            api_key: Some(ApiKey::new(Zeroizing::new("acme.1.2".into()))),
            key: Some("users/alice.pem".into()),
            verifiers: Some("verifiers.txt".into()),
            ..Profile::default()
        };
        profile.write(&path).unwrap();
        Profile::set_url(&path, "http://127.0.0.1:1").unwrap();
        let read = Profile::read(&path).unwrap();
        assert_eq!(read.url.as_deref(), Some("http://127.0.0.1:1"));
        assert_eq!(read.key.unwrap(), dir.path().join("users/alice.pem"));
        assert_eq!(read.verifiers.unwrap(), dir.path().join("verifiers.txt"));
        assert!(
            std::fs::read_to_string(&path)
                .unwrap()
                .contains("key = \"users/alice.pem\"")
        );
        folder::write_private(&path, b"api_keys = \"secret\"\n").unwrap();
        let error = Profile::read(&path).err().unwrap().to_string();
        assert!(
            error.contains("api_keys") && !error.contains("secret"),
            "{error}"
        );
    }
}
