//! `peer backup` and `peer restore`.
//!
//! A backup is a folder: the peer's folder without what must not come back. While the peer runs, its store is copied as it is between two blocks; the rest never
//! changes while it runs.
//!
//! | | in the backup |
//! |---|---|
//! | `record/ORGANISATION.sqlite` | blocks, approvals: one state |
//! | `secrets/`, `master.key` | sealed as they are: whoever has the backup needs the passphrase |
//! | `organisations/`, `organisation.json`, `genesis.cbor`, `peer.toml` | as they are |
//! | `record/order/` | no: how it voted. A vote that is forgotten can be given twice; without all of it the peer is one that lost its disk, and votes again when its votes are over |
//! | `never-voted` | no: by the time of a restore its key may have voted |
//! | `token` | no: a restored peer gets another one |
//! | `backup.json` | what it is of, and SHA-256 of every file |
//!
//! A restored peer gets what it lacks from the others, and issues no approval for reads of the time before the restore: it may have issued one already, and
//! an approval is issued once.

use super::{PeerProcessError, settings::PeerSettings, setup};
use crate::{
    folder::{self, Folder},
    record::{
        Identifier,
        peer::{copy_store, examine_store, mark_taken_back},
    },
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const FORMAT: &str = "coordinator-peer-backup/1";
const MANIFEST: &str = "backup.json";
const MAX_SMALL: u64 = 4 * 1024 * 1024;

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupManifest {
    /// The format's name and version.
    pub format: String,
    /// Whose peer.
    pub organisation: Identifier,
    /// The ledger's id, hexadecimal.
    pub ledger: String,
    /// The last block in it.
    pub height: u64,
    /// Transactions in it.
    pub transactions: u64,
    /// Time of that block, milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// When it was made, milliseconds since the Unix epoch.
    pub made_ms: u64,
    /// SHA-256 of each file, by its path in the backup.
    pub files: BTreeMap<String, String>,
}

/// What `peer restore` did.
#[derive(Debug, Clone, Serialize)]
pub struct RestoreOutcome {
    /// The peer's folder.
    pub dir: PathBuf,
    /// Whose peer.
    pub organisation: Identifier,
    /// The last block that it begins with.
    pub height: u64,
    /// Up to which time of a read it issues no approval that it does not remember, milliseconds since the Unix epoch.
    pub no_approvals_until_ms: u64,
}

/// Makes a backup of a peer that may be running.
///
/// # Errors
/// [`PeerProcessError`]
pub fn backup(dir: &Path, out: &Path, now_ms: u64) -> Result<BackupManifest, PeerProcessError> {
    let folder = Folder::open_peer(dir)?;
    let settings = PeerSettings::read(&folder)?;
    if !folder.genesis().exists() {
        return Err(PeerProcessError::NotJoined);
    }
    let genesis = setup::read_genesis(&folder.genesis())?;
    let copy = Folder::create(out)?;
    folder::create_private_dir(&copy.record())?;
    let store = store_name(&settings.organisation);
    let copied = copy_store(
        &folder.root().join(&store),
        &copy.root().join(&store),
        &genesis,
        &settings.organisation,
    )
    .map_err(PeerProcessError::store)?;
    for name in small_files(&folder)? {
        let bytes = folder::read_limited(&folder.root().join(&name), MAX_SMALL)?;
        write_at(&copy, &name, &bytes)?;
    }
    let mut files = BTreeMap::from([(store.clone(), digest(&copy.root().join(&store))?)]);
    for name in small_files(&copy)? {
        let digest = digest(&copy.root().join(&name))?;
        files.insert(name, digest);
    }
    let manifest = BackupManifest {
        format: FORMAT.to_owned(),
        organisation: settings.organisation,
        ledger: hex::encode(genesis.id()),
        height: copied.height,
        transactions: copied.transactions,
        time_ms: copied.time_ms,
        made_ms: now_ms,
        files,
    };
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| wrong(&copy.root().join(MANIFEST), error))?;
    // The last file: without it the folder is no backup.
    folder::write_private(&copy.root().join(MANIFEST), &text)?;
    Ok(manifest)
}

/// Looks whether a backup is whole.
///
/// # Errors
/// [`PeerProcessError`]
pub fn examine(backup: &Path) -> Result<BackupManifest, PeerProcessError> {
    let path = backup.join(MANIFEST);
    let bytes = folder::read_limited(&path, MAX_SMALL)?;
    let manifest: BackupManifest =
        serde_json::from_slice(&bytes).map_err(|error| wrong(&path, error))?;
    if manifest.format != FORMAT {
        return Err(wrong(&path, format!("its format is {}", manifest.format)));
    }
    for (name, expected) in &manifest.files {
        let file = backup.join(plain(name).ok_or_else(|| {
            wrong(
                &path,
                format!("it names the file {name}, which is no place of a peer's folder"),
            )
        })?);
        if digest(&file)? != *expected {
            return Err(wrong(&file, "it is not what was backed up"));
        }
    }
    let genesis = setup::read_genesis(&Folder::at(backup).genesis())?;
    if hex::encode(genesis.id()) != manifest.ledger {
        return Err(wrong(&path, "its genesis is of another ledger"));
    }
    let store = backup.join(store_name(&manifest.organisation));
    let found =
        examine_store(&store, &genesis, &manifest.organisation).map_err(PeerProcessError::store)?;
    if (found.height, found.transactions) != (manifest.height, manifest.transactions) {
        return Err(wrong(&store, "it ends at another block than was backed up"));
    }
    Ok(manifest)
}

/// Makes a peer's folder of a backup.
///
/// # Errors
/// [`PeerProcessError`]
pub fn restore(backup: &Path, dir: &Path, now_ms: u64) -> Result<RestoreOutcome, PeerProcessError> {
    let manifest = examine(backup)?;
    let folder = Folder::create(dir)?;
    let _lock = folder.lock()?;
    folder::create_private_dir(&folder.record())?;
    let settings = "peer.toml";
    for name in manifest.files.keys().filter(|name| *name != settings) {
        let Some(place) = plain(name) else { continue };
        copy(&backup.join(place), &folder.root().join(place))?;
    }
    let genesis = setup::read_genesis(&folder.genesis())?;
    let store = folder.root().join(store_name(&manifest.organisation));
    let until = mark_taken_back(&store, &genesis, &manifest.organisation, now_ms)
        .map_err(PeerProcessError::store)?;
    let token = cryptonode::randomness::secret::<32>();
    let token = Zeroizing::new(hex::encode(token.as_slice()));
    folder::write_private(&folder.peer_token(), token.as_bytes())?;
    // The last file: without it the folder is none.
    copy(&backup.join(settings), &folder.peer_settings())?;
    Ok(RestoreOutcome {
        dir: folder.root().to_owned(),
        organisation: manifest.organisation,
        height: manifest.height,
        no_approvals_until_ms: until,
    })
}

fn store_name(organisation: &Identifier) -> String {
    format!("record/{organisation}.sqlite")
}

fn wrong(path: &Path, reason: impl ToString) -> PeerProcessError {
    PeerProcessError::File {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// The files of a peer's folder that a backup has, besides the store.
fn small_files(folder: &Folder) -> Result<Vec<String>, PeerProcessError> {
    let mut names: Vec<String> = [
        "master.key",
        "genesis.cbor",
        "organisation.json",
        "peer.toml",
    ]
    .into_iter()
    .filter(|name| folder.root().join(name).is_file())
    .map(str::to_owned)
    .collect();
    for below in ["secrets", "organisations"] {
        let path = folder.root().join(below);
        if !path.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&path)? {
            let name = entry?.file_name();
            let name = name
                .to_str()
                .ok_or_else(|| wrong(&path, "a name in it is not text"))?;
            names.push(format!("{below}/{name}"));
        }
    }
    names.sort();
    Ok(names)
}

/// A path below the folder, of the places that a backup has.
fn plain(name: &str) -> Option<&Path> {
    let parts: Vec<&str> = name.split('/').collect();
    let part = |part: &&str| !part.is_empty() && *part != "." && *part != "..";
    let places = ["secrets", "organisations", "record"];
    let known = match parts.as_slice() {
        [_] => true,
        [folder, _] => places.contains(folder),
        _ => false,
    };
    (known && parts.iter().all(part)).then(|| Path::new(name))
}

fn write_at(folder: &Folder, name: &str, bytes: &[u8]) -> Result<(), PeerProcessError> {
    let path = folder.root().join(name);
    if let Some(parent) = path.parent() {
        folder::create_private_dir(parent)?;
    }
    Ok(folder::write_private(&path, bytes)?)
}

/// Copies a file of any size; it has its name when it is complete and on the disk.
fn copy(from: &Path, to: &Path) -> Result<(), PeerProcessError> {
    let parent = to.parent().unwrap_or(Path::new("."));
    folder::create_private_dir(parent)?;
    let mut new = tempfile::NamedTempFile::new_in(parent)?;
    std::io::copy(&mut File::open(from)?, &mut new)?;
    new.as_file().sync_all()?;
    new.persist(to).map_err(|error| error.error)?;
    Ok(File::open(parent)?.sync_all()?)
}

fn digest(path: &Path) -> Result<String, PeerProcessError> {
    struct Hashed(Sha256);
    impl std::io::Write for Hashed {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut hashed = Hashed(Sha256::new());
    let mut file = File::open(path).map_err(|error| wrong(path, error))?;
    std::io::copy(&mut file, &mut hashed)?;
    Ok(hex::encode(hashed.0.finalize()))
}
