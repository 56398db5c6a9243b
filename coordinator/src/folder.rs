//! The platform's folder: what lies where, who may read it, and that one process has it at a time.
//!
//! ```text
//! coordinator.toml       settings, with comments
//! master.key             the platform's master keys, sealed under the passphrase
//! genesis.cbor           what the record starts from: public
//! verifiers.txt          the keys by which peers sign the record's heads, for auditors: public
//! policy.toml            the approval policy, for the crypto nodes' operators: public
//! organisations/         NAME.pem, each organisation's certificate authority: public
//! secrets/               what the master key seals: organisations' keys, the API's secret, the key towards the nodes
//! clusters/              KEY.json, the clusters that datasets may use
//! record/                the organisations' peers, each with its own store
//! bodies/, uploads/      encrypted bodies, and notes about those not yet committed
//! keys.sqlite            the platform's half of the keys of versions under platform encryption; without it they open for nobody
//! bodies.sqlite          which body belongs to which version; without it bodies of erased versions stay
//! parts.sqlite           uploads in parts that are not complete; without it they begin again
//! api-keys.sqlite        which API keys there are, without the keys
//! managed-keys.sqlite    the keys of managed users, sealed; without it nobody can sign for them any more
//! idempotency.sqlite     answers to requests that must not happen twice, sealed; without it they may
//! users/, client.toml    the first administrator's key and a profile for the command line
//! peer-client.pem        the platform's certificate, for the operators of organisations' peers elsewhere: public
//! lock                   held by the process that uses the folder
//! ```
//!
//! Folders have mode 0700 and files 0600; files are complete before they have their name, and on disk before anything
//! depends on them.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

/// A reason for which the folder, or a file in it, cannot be used. The sentences say what to do next.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// There is no such folder, or it was never initialised.
    #[error("{dir} is not a coordinator's folder: make one with `coordinator init --dir {dir}`", dir = .0.display())]
    NotInitialised(PathBuf),
    /// There is no such folder, or it is no peer's.
    #[error("{dir} is not a peer's folder: make one with `coordinator peer init --dir {dir}`", dir = .0.display())]
    NotInitialisedPeer(PathBuf),
    /// A peer's folder where a platform's is wanted.
    #[error("{dir} is the folder of a peer that is a process of its own (engine simplex): use `coordinator peer run --dir {dir}` and the other `coordinator peer` commands; a platform has a folder of its own", dir = .0.display())]
    PeersFolder(PathBuf),
    /// A platform's folder where a peer's is wanted.
    #[error("{dir} is the folder of a platform: with engine = \"solo\" the organisations' peers run in it, by `coordinator run --dir {dir}`; with engine = \"simplex\" each has a folder of its own, with a peer.toml", dir = .0.display())]
    PlatformsFolder(PathBuf),
    /// `init` found a folder that has something in it.
    #[error("{} is not empty: choose another folder, or remove it if you do not need it", .0.display())]
    NotEmpty(PathBuf),
    /// Another process holds the lock.
    #[error("another coordinator is using {}: stop it first, or choose another folder", .0.display())]
    InUse(PathBuf),
    /// A file is missing, unreadable or cannot be written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file is larger than such a file can be.
    #[error("{} is larger than {limit} bytes, so it is not what it should be: check that it is the right file", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A secret that others may read.
    #[error("{file} may be read by others (mode {mode:o}): run `chmod 600 {file}`", file = path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl FolderError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotInitialised(_) | Self::NotInitialisedPeer(_) => "folder-not-initialised",
            Self::PeersFolder(_) | Self::PlatformsFolder(_) => "folder-other",
            Self::NotEmpty(_) => "folder-not-empty",
            Self::InUse(_) => "folder-in-use",
            Self::Io { .. } => "file-io",
            Self::TooLarge { .. } => "file-too-large",
            Self::TooOpen { .. } => "file-too-open",
        }
    }
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    move |source| FolderError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// A folder of a coordinator.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
}

macro_rules! places {
    ($($(#[$doc:meta])* $method:ident => $name:literal),* $(,)?) => {
        $($(#[$doc])* pub fn $method(&self) -> PathBuf { self.root.join($name) })*
    };
}

impl Folder {
    /// Makes a new folder, or takes an empty one.
    pub fn create(root: &Path) -> Result<Self, FolderError> {
        create_private_dir(root)?;
        let mut entries = fs::read_dir(root).map_err(io_error("read", root))?;
        if entries.next().is_some() {
            return Err(FolderError::NotEmpty(root.to_owned()));
        }
        let root = root.canonicalize().map_err(io_error("find", root))?;
        Ok(Self { root })
    }

    /// Names the places in a folder that was made for others: nothing is checked.
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Takes a folder that `init` has completed.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let folder = Self {
            root: root
                .canonicalize()
                .map_err(|_| FolderError::NotInitialised(root.to_owned()))?,
        };
        // `coordinator.toml` is the last file that `init` writes.
        if folder.peer_settings().is_file() {
            return Err(FolderError::PeersFolder(root.to_owned()));
        }
        if !folder.config().is_file() {
            return Err(FolderError::NotInitialised(root.to_owned()));
        }
        Ok(folder)
    }

    /// Takes a folder of a peer that `peer init` has completed.
    pub fn open_peer(root: &Path) -> Result<Self, FolderError> {
        let missing = || FolderError::NotInitialisedPeer(root.to_owned());
        let folder = Self {
            root: root.canonicalize().map_err(|_| missing())?,
        };
        if folder.config().is_file() {
            return Err(FolderError::PlatformsFolder(root.to_owned()));
        }
        if !folder.peer_settings().is_file() {
            return Err(missing());
        }
        Ok(folder)
    }

    /// Takes the lock; it is held until the value is dropped.
    pub fn lock(&self) -> Result<FolderLock, FolderError> {
        let path = self.root.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| FolderError::InUse(self.root.clone()))?;
        Ok(FolderLock { _file: file })
    }

    /// The folder itself, as an absolute path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    places! {
        /// The settings.
        config => "coordinator.toml",
        /// The settings of a peer's process.
        peer_settings => "peer.toml",
        /// There until a peer's key has voted for the first time.
        never_voted => "never-voted",
        /// What a peer's process wants to be shown.
        peer_token => "token",
        /// The sealed master key.
        master_key => "master.key",
        /// The record's genesis.
        genesis => "genesis.cbor",
        /// The keys by which peers sign the record's heads: what auditors need.
        verifiers => "verifiers.txt",
        /// The approval policy for the crypto nodes.
        policy => "policy.toml",
        /// Organisations' certificates.
        organisations => "organisations",
        /// What the master key seals.
        secrets => "secrets",
        /// Clusters' descriptors.
        clusters => "clusters",
        /// The record's peers.
        record => "record",
        /// Stored bodies.
        bodies => "bodies",
        /// Notes about bodies that are not committed.
        uploads => "uploads",
        /// Which body belongs to which version.
        body_index => "bodies.sqlite",
        /// The version keys, wrapped under the master key.
        key_store => "keys.sqlite",
        /// Uploads in parts.
        parts => "parts.sqlite",
        /// The list of API keys, without the keys.
        api_keys => "api-keys.sqlite",
        /// The keys of managed users, sealed.
        managed_keys => "managed-keys.sqlite",
        /// Answers to requests that must not happen twice, sealed.
        answers => "idempotency.sqlite",
        /// The certificate of the platform's key towards organisations' peers.
        peer_client => "peer-client.pem",
        /// Keys of users that `init` made.
        users => "users",
        /// The profile that `init` made for the command line.
        client_profile => "client.toml",
    }

    /// The file of a sealed secret.
    pub fn secret(&self, name: &str) -> PathBuf {
        self.secrets().join(format!("{name}.sealed"))
    }
}

/// Holds a folder for this process.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

/// Makes a folder, and those above it, that only this user can enter.
pub fn create_private_dir(path: &Path) -> Result<(), FolderError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("create", path))?;
    // A file in it is not safe before its own name is.
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("write into", path))
}

/// Writes a file that only this user can read: under another name first, then to disk, then renamed. An older file of
/// that name is replaced at once or not at all.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    write(path, bytes, true)
}

/// The same, but refuses to replace a file.
pub fn write_private_new(path: &Path, bytes: &[u8]) -> Result<(), FolderError> {
    write(path, bytes, false)
}

fn write(path: &Path, bytes: &[u8], replace: bool) -> Result<(), FolderError> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // The temporary file is made with mode 0600.
    let mut file =
        tempfile::NamedTempFile::new_in(parent).map_err(io_error("write into", parent))?;
    file.write_all(bytes).map_err(io_error("write", path))?;
    file.as_file().sync_all().map_err(io_error("write", path))?;
    let named = if replace {
        file.persist(path)
    } else {
        file.persist_noclobber(path)
    };
    named.map_err(|e| FolderError::Io {
        action: "write",
        path: path.to_owned(),
        source: e.error,
    })?;
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("write into", parent))
}

/// Reads a file of at most `limit` bytes.
pub fn read_limited(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FolderError> {
    read_open(
        File::open(path).map_err(io_error("read", path))?,
        path,
        limit,
    )
}

fn read_open(file: File, path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FolderError> {
    // Room for the whole file at once: a buffer that grows leaves copies of a secret behind.
    let length = file.metadata().map_or(0, |found| found.len()).min(limit);
    let room = usize::try_from(length).unwrap_or(0).saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error("read", path))?;
    if bytes.len() as u64 > limit {
        return Err(FolderError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

/// Reads a secret of at most `limit` bytes, and refuses a file that others may read.
pub fn read_secret(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FolderError> {
    let file = File::open(path).map_err(io_error("read", path))?;
    let mode = file
        .metadata()
        .map_err(io_error("read", path))?
        .permissions()
        .mode()
        & 0o777;
    if mode & 0o077 != 0 {
        return Err(FolderError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    read_open(file, path, limit)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_process_at_a_time_and_nobody_else_reads() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("new");
        let folder = Folder::create(&root).unwrap();
        assert!(matches!(
            Folder::open(&root),
            Err(FolderError::NotInitialised(_))
        ));
        write_private(&folder.config(), b"").unwrap();
        assert!(matches!(
            Folder::create(&root),
            Err(FolderError::NotEmpty(_))
        ));
        let folder = Folder::open(&root).unwrap();
        let lock = folder.lock().unwrap();
        assert!(matches!(folder.lock(), Err(FolderError::InUse(_))));
        drop(lock);
        folder.lock().unwrap();
        assert_eq!(
            fs::metadata(&root).unwrap().permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(
            fs::metadata(folder.config()).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(write_private_new(&folder.config(), b"x").is_err());
        assert!(matches!(
            read_limited(&folder.config(), 0).map(|b| b.len()),
            Ok(0)
        ));
        write_private(&folder.config(), b"four").unwrap();
        assert!(matches!(
            read_limited(&folder.config(), 3),
            Err(FolderError::TooLarge { limit: 3, .. })
        ));
        fs::set_permissions(folder.config(), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(
            read_secret(&folder.config(), 10),
            Err(FolderError::TooOpen { mode: 0o640, .. })
        ));
    }
}
