//! The clusters of crypto nodes that datasets may use, and a client for each.
//!
//! A cluster is known by its descriptor in `clusters/KEY.json`, which an administrator put there (`cluster add`). The
//! folder is looked at again whenever a key is asked for, so a cluster can be added while the platform runs. When a cluster is
//! reshared, its client follows the key to the new members by the certificate that they signed under it, and writes them
//! into the file: nobody has to tell the platform.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use cryptonode::client::{Client, ClientIdentity, ClientOptions, ClusterDescriptor};
use cryptonode::wire::v1::ResultVersion;
use zeroize::Zeroizing;

use super::PlatformError;
use crate::folder::{self, FolderError};

const MAX_DESCRIPTOR: u64 = 1024 * 1024;

/// A reason for which a cluster cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum ClusterAddError {
    /// The descriptor is not right.
    #[error(transparent)]
    Descriptor(#[from] cryptonode::client::DescriptorError),
    /// The file is not text.
    #[error("{} is not a cluster.json: get the file from `cryptonode key export`", .0.display())]
    NotText(PathBuf),
    /// A later epoch of the same key is known already.
    #[error("the cluster is known with {known}, the file has {found}: get a current cluster.json")]
    Older {
        /// The result known.
        known: ResultVersion,
        /// The result in the file.
        found: ResultVersion,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl ClusterAddError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Descriptor(e) => e.code(),
            Self::NotText(_) => "descriptor-not-text",
            Self::Older { .. } => "cluster-older",
            Self::Folder(e) => e.code(),
        }
    }
}

fn read(path: &Path) -> Result<ClusterDescriptor, ClusterAddError> {
    let bytes = folder::read_limited(path, MAX_DESCRIPTOR)?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| ClusterAddError::NotText(path.to_owned()))?;
    let descriptor = ClusterDescriptor::from_json(text)?;
    descriptor.clone().check()?;
    Ok(descriptor)
}

/// Checks the descriptor in `file` and puts it into the folder of clusters.
pub fn add(clusters: &Path, file: &Path) -> Result<ClusterDescriptor, ClusterAddError> {
    let descriptor = read(file)?;
    folder::create_private_dir(clusters)?;
    let path = place(clusters, &descriptor.public_key);
    if path.exists() {
        let known = read(&path)?.version_of_result();
        let found = descriptor.version_of_result();
        if known > found {
            return Err(ClusterAddError::Older { known, found });
        }
    }
    folder::write_private(&path, descriptor.to_json().as_bytes())?;
    Ok(descriptor)
}

/// All clusters in the folder, in the order of their keys.
pub fn list(clusters: &Path) -> Result<Vec<ClusterDescriptor>, ClusterAddError> {
    let Ok(entries) = std::fs::read_dir(clusters) else {
        return Ok(Vec::new());
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "json"));
    paths.sort();
    paths.iter().map(|path| read(path)).collect()
}

fn place(clusters: &Path, key: &[u8; 32]) -> PathBuf {
    clusters.join(format!("{}.json", hex::encode(key)))
}

struct Known {
    modified: SystemTime,
    /// What the file says.
    written: ResultVersion,
    client: Arc<Client>,
}

impl Known {
    /// The client follows its key to newer members by itself. What it has found is written down, so that the next start begins
    /// there: the members of long ago may be gone by then.
    fn write_down(&mut self, path: &Path) {
        let cluster = self.client.cluster();
        let found = cluster.descriptor().version_of_result();
        if found <= self.written {
            return;
        }
        let written = folder::write_private(path, cluster.descriptor().to_json().as_bytes());
        match written.map(|()| std::fs::metadata(path).and_then(|m| m.modified())) {
            Ok(Ok(modified)) => {
                tracing::info!(key = %hex::encode(cluster.descriptor().public_key), %found, "the cluster was reshared; its members are written down");
                (self.modified, self.written) = (modified, found);
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the cluster's members cannot be written down")
            }
            Err(error) => tracing::warn!(%error, "the cluster's members cannot be written down"),
        }
    }
}

/// Clients of the clusters in the folder.
pub struct Clusters {
    folder: PathBuf,
    /// The private key towards the nodes, PEM.
    identity: Zeroizing<String>,
    spki: Vec<u8>,
    options: ClientOptions,
    clients: Mutex<HashMap<[u8; 32], Known>>,
}

impl Clusters {
    /// `identity` is the private key, PEM, that the platform presents to nodes and that approvals are bound to.
    pub fn new(
        folder: PathBuf,
        identity: Zeroizing<String>,
        options: ClientOptions,
    ) -> Result<Self, PlatformError> {
        let spki = load(&identity)?.spki().to_vec();
        Ok(Self {
            folder,
            identity,
            spki,
            options,
            clients: Mutex::default(),
        })
    }

    /// The platform's public key towards the nodes, DER SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The descriptors of all clusters.
    pub fn list(&self) -> Result<Vec<ClusterDescriptor>, PlatformError> {
        list(&self.folder).map_err(|e| PlatformError::Internal {
            reason: e.to_string(),
        })
    }

    /// A client of the cluster with this public key.
    ///
    /// # Errors
    ///
    /// [`PlatformError::NoCluster`] if the folder has no such cluster.
    pub fn get(&self, key: &[u8; 32]) -> Result<Arc<Client>, PlatformError> {
        let internal = |reason: String| PlatformError::Internal { reason };
        let unknown = || PlatformError::NoCluster {
            key: hex::encode(key),
        };
        let path = place(&self.folder, key);
        let modified = std::fs::metadata(&path)
            .and_then(|m| m.modified())
            .map_err(|_| unknown())?;
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = clients.get_mut(key)
            && known.modified == modified
        {
            known.write_down(&path);
            return Ok(known.client.clone());
        }
        let cluster = read(&path)
            .map_err(|e| internal(e.to_string()))?
            .check()
            .map_err(|e| internal(e.to_string()))?;
        let written = cluster.descriptor().version_of_result();
        let client = Client::new(cluster, load(&self.identity)?, self.options.clone());
        let client = Arc::new(client.map_err(|e| internal(e.to_string()))?);
        clients.insert(
            *key,
            Known {
                modified,
                written,
                client: client.clone(),
            },
        );
        Ok(client)
    }

    /// Closes all connections.
    pub async fn close(&self) {
        let clients: Vec<Known> = {
            let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
            clients.drain().map(|(_, known)| known).collect()
        };
        for known in clients {
            known.client.close().await;
        }
    }
}

fn load(identity: &str) -> Result<ClientIdentity, PlatformError> {
    ClientIdentity::from_pem(identity).map_err(|e| PlatformError::Internal {
        reason: e.to_string(),
    })
}
