//! The node's folder: private, and one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

/// The folder of one node, held by this process until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process works in it.
    #[error(
        "the folder {path} is in use: another cryptonode works in it; stop that one, or use another --dir"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// There is no node in it.
    #[error(
        "there is no node in {path}: make one with `cryptonode init --dir {path}`, or correct --dir"
    )]
    NoNode {
        /// The folder.
        path: PathBuf,
    },
    /// A node is already there.
    #[error("there is a node in {path} already: nothing was changed; use another --dir")]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// Something is in it.
    #[error(
        "there is something at {path} already: nothing was written; name a folder that is not there yet, or an empty one"
    )]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// Others may read it.
    #[error(
        "others may enter {path} (mode {mode:o}): its secrets may have been seen; if not, run `chmod 700 {path}`"
    )]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refused.
    #[error("cannot {what} {path}: {reason}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        reason: io::Error,
    },
}

impl Folder {
    /// Makes the folder of a new node, readable by its owner only, and takes it.
    ///
    /// # Errors
    /// [`FolderError::Occupied`] if a node is in it, [`FolderError::InUse`] if another process is.
    pub fn create(path: &Path) -> Result<Self, FolderError> {
        if path.join(super::STORE_FILE).exists() || path.join(crate::config::CONFIG_FILE).exists() {
            return Err(FolderError::Occupied {
                path: path.to_owned(),
            });
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|reason| FolderError::Io {
                what: "make the folder",
                path: path.to_owned(),
                reason,
            })?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(|reason| {
            FolderError::Io {
                what: "close to others",
                path: path.to_owned(),
                reason,
            }
        })?;
        Self::lock(path)
    }

    /// Takes the folder of an existing node.
    ///
    /// # Errors
    /// [`FolderError`] if there is none, if others may enter it, or if another process works in it.
    pub fn open(path: &Path) -> Result<Self, FolderError> {
        if !path.join(super::STORE_FILE).exists() && !path.join(crate::config::CONFIG_FILE).exists()
        {
            return Err(FolderError::NoNode {
                path: path.to_owned(),
            });
        }
        let mode = fs::metadata(path)
            .map_err(|reason| FolderError::Io {
                what: "look at",
                path: path.to_owned(),
                reason,
            })?
            .permissions()
            .mode()
            & 0o7777;
        if mode & 0o077 != 0 {
            return Err(FolderError::Open {
                path: path.to_owned(),
                mode,
            });
        }
        Self::lock(path)
    }

    fn lock(path: &Path) -> Result<Self, FolderError> {
        let file = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&file)
            .map_err(|reason| FolderError::Io {
                what: "open",
                path: file.clone(),
                reason,
            })?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(FolderError::InUse {
                path: path.to_owned(),
            }),
            Err(errno) => Err(FolderError::Io {
                what: "lock",
                path: file,
                reason: errno.into(),
            }),
        }
    }

    /// The folder's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Writes a file of mode 0600 whole and durably, in place of an earlier one only if `replace`.
///
/// # Errors
/// [`FolderError::Io`]; the earlier file is then as it was.
pub fn write_private(path: &Path, contents: &[u8], replace: bool) -> Result<(), FolderError> {
    let folder = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let write = || -> io::Result<()> {
        // The temporary file has mode 0600 and gets its name only when it is complete.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(contents)?;
        file.as_file().sync_all()?;
        if replace {
            file.persist(path).map_err(|error| error.error)?;
        } else {
            file.persist_noclobber(path).map_err(|error| error.error)?;
        }
        File::open(folder)?.sync_all()
    };
    write().map_err(|reason| FolderError::Io {
        what: "write",
        path: path.to_owned(),
        reason,
    })
}

/// Makes a folder of mode 0700 with files of mode 0600, whole and durably: it gets its name when all of them are in it. Nothing but an empty folder is
/// replaced.
///
/// # Errors
/// [`FolderError::NotEmpty`] or [`FolderError::Io`]; nothing is at `path` then but what was there.
pub fn write_private_folder(
    path: &Path,
    files: &[(String, Zeroizing<Vec<u8>>)],
) -> Result<(), FolderError> {
    let failed = |what: &'static str| {
        move |reason: io::Error| FolderError::Io {
            what,
            path: path.to_owned(),
            reason,
        }
    };
    let occupied = || FolderError::NotEmpty {
        path: path.to_owned(),
    };
    match fs::read_dir(path).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Ok(false) => return Err(occupied()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Err(occupied()),
        Err(error) => return Err(failed("look into")(error)),
    }
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(failed("make the folder of"))?;
    // Beside its place, so that it only has to be named; removed with all that is in it if anything fails before.
    let making = tempfile::Builder::new()
        .prefix(".making-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(failed("make"))?;
    for (name, contents) in files {
        write_private(&making.path().join(name), contents, false)?;
    }
    fs::rename(making.path(), path).map_err(|error| match error.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => occupied(),
        _ => failed("name")(error),
    })?;
    // It is no temporary folder any more.
    let _ = making.keep();
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .map_err(failed("write"))
}
