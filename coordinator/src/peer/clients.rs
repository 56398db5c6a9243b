//! Who may ask a peer from elsewhere: the keys under `[[clients]]` in peer.toml, as they stand there now. Who is taken out is refused from its next request on.

use super::settings::{ClientSettings, PeerSettings};
use crate::folder::Folder;
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

/// How old what is known of the file may be.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// The clients.
#[derive(Debug)]
pub struct Clients {
    folder: Folder,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    looked: Instant,
    /// When the file was changed, and how long it was then.
    version: Option<(SystemTime, u64)>,
    names: BTreeMap<[u8; 32], String>,
}

fn names(clients: &[ClientSettings]) -> BTreeMap<[u8; 32], String> {
    let named = |it: &ClientSettings| (it.key, it.name.clone());
    clients.iter().map(named).collect()
}

impl Clients {
    /// Those of a folder, whose settings were read just now.
    #[must_use]
    pub fn new(folder: Folder, settings: &PeerSettings) -> Self {
        let known = Known {
            looked: Instant::now(),
            version: None,
            names: names(&settings.clients),
        };
        Self {
            folder,
            known: Mutex::new(known),
        }
    }

    /// Under which name a key may ask; none if it may not.
    #[must_use]
    pub fn name_of(&self, key: &[u8; 32]) -> Option<String> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked.elapsed() >= LOOK_AFTER {
            known.looked = Instant::now();
            let file = std::fs::metadata(self.folder.peer_settings());
            let version = file.and_then(|it| Ok((it.modified()?, it.len()))).ok();
            if version.is_none() || version != known.version {
                match PeerSettings::read(&self.folder) {
                    Ok(settings) => {
                        known.names = names(&settings.clients);
                        known.version = version;
                    }
                    Err(error) => {
                        tracing::error!(%error, "who may ask stays as it was; correct peer.toml");
                    }
                }
            }
        }
        known.names.get(key).cloned()
    }
}
