//! `[[revocation]]`: where an authority's revocation list is.

use std::fs;
use std::path::{Path, PathBuf};

use certs::Authority;
use serde::Deserialize;

/// The largest authority's certificate that is read, in bytes.
const MAX_AUTHORITY: u64 = 64 * 1024;

/// `[[revocation]]` as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRevocation {
    authority: PathBuf,
    source: String,
    #[serde(default = "default_refresh")]
    refresh_s: u64,
    #[serde(default = "default_stale")]
    max_stale_s: u64,
}

fn default_refresh() -> u64 {
    300
}

fn default_stale() -> u64 {
    3_600
}

/// Where a list comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListSource {
    /// A file, looked at every second.
    File(PathBuf),
    /// An address, asked again and again.
    Url(String),
}

/// `[[revocation]]`.
#[derive(Debug, Clone)]
pub struct RevocationSettings {
    /// Who signs the list.
    pub authority: Authority,
    /// Where the list comes from.
    pub source: ListSource,
    /// How often an address is asked, in seconds.
    pub refresh_s: u64,
    /// How long after its nextUpdate a list is still good, in seconds.
    pub max_stale_s: u64,
}

impl PartialEq for RevocationSettings {
    fn eq(&self, other: &Self) -> bool {
        self.authority.spki() == other.authority.spki()
            && self.source == other.source
            && self.refresh_s == other.refresh_s
            && self.max_stale_s == other.max_stale_s
    }
}

impl RawRevocation {
    /// The checked settings of entry number `position` in `folder`, or the key that is wrong and why.
    pub(super) fn check(
        &self,
        folder: &Path,
        position: usize,
    ) -> Result<RevocationSettings, (String, String)> {
        let key = |name: &str| format!("revocation[{position}].{name}");
        let path = folder.join(&self.authority);
        let unreadable =
            |reason: String| (key("authority"), format!("{}: {reason}", path.display()));
        let length = fs::metadata(&path)
            .map_err(|error| unreadable(error.to_string()))?
            .len();
        if length > MAX_AUTHORITY {
            return Err(unreadable(
                "it is no certificate: it is too long".to_owned(),
            ));
        }
        let text = fs::read_to_string(&path).map_err(|error| unreadable(error.to_string()))?;
        let authority =
            Authority::from_pem(&text).map_err(|error| unreadable(error.to_string()))?;
        let source = match self.source.split_once("://") {
            Some(("http" | "https", _)) => ListSource::Url(self.source.clone()),
            Some(("file", path)) if path.starts_with('/') => ListSource::File(PathBuf::from(path)),
            Some((scheme, _)) => {
                let reason = format!(
                    "{scheme}:// is not read; write a file, or an address with http:// or https://"
                );
                return Err((key("source"), reason));
            }
            None => ListSource::File(folder.join(&self.source)),
        };
        for (name, least, most, found) in [
            ("refresh_s", 1, 86_400, self.refresh_s),
            ("max_stale_s", 0, 31 * 86_400, self.max_stale_s),
        ] {
            if !(least..=most).contains(&found) {
                let reason =
                    format!("{found} is out of bounds; write a number from {least} to {most}");
                return Err((key(name), reason));
            }
        }
        Ok(RevocationSettings {
            authority,
            source,
            refresh_s: self.refresh_s,
            max_stale_s: self.max_stale_s,
        })
    }
}
