//! Where the files of a site are.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use cryptonode::randomness;
use zeroize::Zeroizing;

use super::SiteError;

/// The paths below a site's folder.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes the folder of a new site, readable by its owner alone.
    ///
    /// # Errors
    /// [`SiteError::FolderInUse`] if it exists and holds anything; [`SiteError::Io`] if it cannot be made.
    pub fn create(root: &Path) -> Result<Self, SiteError> {
        private_folder(root)?;
        let mut entries =
            std::fs::read_dir(root).map_err(SiteError::io(format!("read {}", root.display())))?;
        if entries.next().is_some() {
            return Err(SiteError::FolderInUse(root.to_owned()));
        }
        // Children get absolute paths, whatever folder they run in.
        let root = root
            .canonicalize()
            .map_err(SiteError::io(format!("find {}", root.display())))?;
        let layout = Self { root };
        for folder in [
            layout.nodes(),
            layout.users(),
            layout.secrets(),
            layout.logs(),
            layout.read_back(),
        ] {
            private_folder(&folder)?;
        }
        Ok(layout)
    }

    /// The site's own folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of all nodes' folders.
    pub fn nodes(&self) -> PathBuf {
        self.root.join("nodes")
    }

    /// One node's folder.
    pub fn node(&self, name: &str) -> PathBuf {
        self.nodes().join(name)
    }

    /// The folder of one organisation's peer, where it is a process of its own.
    pub fn peer(&self, organisation: &str) -> PathBuf {
        self.root.join("peers").join(organisation)
    }

    /// What the organisations agreed on, where their peers are processes of their own: all of it public.
    pub fn exchange(&self) -> PathBuf {
        self.root.join("exchange")
    }

    /// The platform's folder.
    pub fn platform(&self) -> PathBuf {
        self.root.join("platform")
    }

    /// The administrator's profile: which platform, which tenant, whose key.
    pub fn client_profile(&self) -> PathBuf {
        self.platform().join("client.toml")
    }

    /// What readers read.
    pub fn read_back(&self) -> PathBuf {
        self.root.join("read")
    }

    /// The record as it was exported.
    pub fn record_export(&self) -> PathBuf {
        self.root.join("record.jsonl")
    }

    /// The organisations' public keys, by which the record's head is verified.
    pub fn verifiers(&self) -> PathBuf {
        self.platform().join("verifiers.txt")
    }

    /// A node's exported audit log.
    pub fn node_log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.audit.jsonl"))
    }

    /// The users' keys.
    pub fn users(&self) -> PathBuf {
        self.root.join("users")
    }

    /// Passphrases and recovery phrases.
    pub fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// The cluster's public description.
    pub fn cluster(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// The folder of all logs.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// The log of one process.
    pub fn log(&self, process: &str) -> PathBuf {
        self.logs().join(format!("{process}.log"))
    }

    /// The file of the passphrase of a node or of the platform.
    pub fn passphrase(&self, of: &str) -> PathBuf {
        self.secrets().join(format!("{of}.passphrase"))
    }

    /// Makes a random passphrase (256 bits, in hexadecimal) and writes it to its file.
    ///
    /// # Errors
    /// [`SiteError::Io`] if it cannot be written.
    pub fn make_passphrase(&self, of: &str) -> Result<PathBuf, SiteError> {
        let random = randomness::secret::<32>();
        let path = self.passphrase(of);
        let text = Zeroizing::new(hex::encode(random.as_slice()));
        private_file(&path, text.as_bytes())?;
        Ok(path)
    }
}

fn private_folder(path: &Path) -> Result<(), SiteError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(SiteError::io(format!("make the folder {}", path.display())))
}

fn private_file(path: &Path, content: &[u8]) -> Result<(), SiteError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(content))
        .map_err(SiteError::io(format!("write {}", path.display())))
}
