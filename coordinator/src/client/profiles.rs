//! Named profiles in one file: which platform, tenant, API key and user key, by a name of the user's choice.
//!
//! ```toml
//! default = "acme"
//!
//! [profiles.acme]
//! url = "http://127.0.0.1:7710"
//! tenant = "acme"
//! api_key_file = "acme.key"
//! user = "alice"
//! key = "alice.pem"
//! ```
//!
//! The file is `profiles.toml` in the folder `coordinator` of the user's settings, or what `COORDINATOR_PROFILES` names. It can hold API keys, so it has mode 0600, and is
//! refused otherwise; so are the files of keys that it names. Names of files are relative to its own folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::ClientError;
use super::profile::Profile;
use crate::folder;

const MAX_FILE: u64 = 256 * 1024;
const HEAD: &str = "# Profiles of the coordinator's command line: --profile NAME, or COORDINATOR_PROFILE. `coordinator profile` edits them.\n\
                    # They can hold API keys: keep this file to yourself.\n";

/// All profiles of a person.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    /// The one that is used when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// They, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub profiles: BTreeMap<String, Profile>,
}

impl Profiles {
    /// Where they are, if the environment tells.
    #[must_use]
    pub fn path() -> Option<PathBuf> {
        let named = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty());
        if let Some(path) = named("COORDINATOR_PROFILES") {
            return Some(path.into());
        }
        let settings = named("XDG_CONFIG_HOME").map(PathBuf::from);
        let settings = settings.or_else(|| Some(Path::new(&named("HOME")?).join(".config")));
        Some(settings?.join("coordinator/profiles.toml"))
    }

    /// Reads them as they stand in their file; none, if there is no such file.
    ///
    /// # Errors
    ///
    /// [`ClientError::Folder`] if it cannot be read or others may read it, [`ClientError::Profile`] if it is no such file.
    pub fn read(path: &Path) -> Result<Self, ClientError> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let bytes = folder::read_secret(path, MAX_FILE)?;
        let wrong = |reason: &str| ClientError::Profile {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not text"))?;
        // Only the parser's message: its excerpt could show a key.
        toml::from_str(text).map_err(|e| wrong(&e.message().replace('\n', " ")))
    }

    /// Writes them; the folder is made if it is not there.
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
        if let Some(parent) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
            folder::create_private_dir(parent)?;
        }
        let whole = Zeroizing::new(format!("{HEAD}{}", text.as_str()));
        Ok(folder::write_private(path, whole.as_bytes())?)
    }

    /// The profile with this name, or the default one: with absolute names of files. None, if none is named and there is no default.
    ///
    /// # Errors
    ///
    /// [`ClientError::NoProfile`] with the names that there are.
    pub fn find(&self, name: Option<&str>, path: &Path) -> Result<Option<Profile>, ClientError> {
        let Some(name) = name.or(self.default.as_deref()) else {
            return Ok(None);
        };
        let missing = || ClientError::NoProfile {
            name: name.to_owned(),
            path: path.to_owned(),
            known: self.profiles.keys().cloned().collect(),
        };
        let mut profile = self.profiles.get(name).cloned().ok_or_else(missing)?;
        profile.lie_in(path.parent().unwrap_or(Path::new(".")));
        Ok(Some(profile))
    }
}

/// Whether a person means a profile's name, and not a file.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !text.is_empty()
        && text.chars().all(plain)
        && !text.ends_with(".toml")
        && !text.starts_with('.')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn names_are_told_from_files() {
        for name in ["acme", "acme-prod", "a.b_c"] {
            assert!(is_name(name), "{name}");
        }
        for file in ["", "./acme", "/etc/x", "acme.toml", "a/b", ".hidden", ".."] {
            assert!(!is_name(file), "{file}");
        }
    }

    #[test]
    fn kept_by_name_and_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/profiles.toml");
        let none = Profiles::read(&path).unwrap();
        assert!(none.find(None, &path).unwrap().is_none());
        let acme = Profile {
            url: Some("http://127.0.0.1:1".into()),
            api_key_file: Some("acme.key".into()),
            ..Profile::default()
        };
        let mut profiles = none;
        profiles.profiles.insert("acme".into(), acme);
        profiles.write(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let mut read = Profiles::read(&path).unwrap();
        assert!(read.find(None, &path).unwrap().is_none(), "no default");
        let found = read.find(Some("acme"), &path).unwrap().unwrap();
        let key = dir.path().join("new/acme.key");
        assert_eq!(found.api_key_file.as_ref(), Some(&key));
        let missing = read.find(Some("umbra"), &path).err().unwrap().to_string();
        assert!(
            missing.contains("umbra") && missing.contains("acme"),
            "{missing}"
        );
        read.default = Some("acme".into());
        assert!(read.find(None, &path).unwrap().is_some());

        // The key comes from its file, which must be its owner's alone as well.
        folder::write_private(&key, b"acme.1.2\n").unwrap();
        let mut profile = found;
        profile.load_keys().unwrap();
        assert_eq!(profile.api_key.unwrap().expose(), "acme.1.2");
        for file in [&key, &path] {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
        }
        let mut profile = read.find(None, &path).unwrap().unwrap();
        assert_eq!(profile.load_keys().unwrap_err().code(), "file-too-open");
        assert_eq!(Profiles::read(&path).err().unwrap().code(), "file-too-open");
    }
}
