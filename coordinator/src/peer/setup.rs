//! How organisations that each have their own keys found a ledger together, and how others join it later.

use super::{
    PeerProcessError,
    settings::{PeerSettings, TimingSettings},
};
use crate::{
    folder::{self, Folder},
    master_key::{Passphrase, SealedMasterKey},
    organisations,
    platform::now_ms,
    record::{Genesis, Identifier, MAX_GENESIS, Organisation, OrganisationChange},
};
use cryptonode::randomness;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const MAX_JSON: u64 = 64 * 1024;
/// Name of the file with what an organisation tells the others.
const ORGANISATION: &str = "organisation.json";
const MEMBERS: &str = "members.json";

/// What an organisation tells the others: public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganisationFile {
    /// Its name.
    pub name: Identifier,
    /// The key of its operator.
    #[serde(with = "hex")]
    pub operator_key: [u8; 32],
    /// The key of its peer.
    #[serde(with = "hex")]
    pub head_key: [u8; 32],
    /// The certificate of its approval authority, PEM.
    pub certificate: String,
    /// Where its peer will listen.
    pub address: SocketAddr,
}

impl OrganisationFile {
    /// What stands on the record of it.
    fn organisation(&self, path: &Path) -> Result<Organisation, PeerProcessError> {
        let issuers = certs::Organisation::from_pem(self.name.as_str(), &[&self.certificate]);
        let issuers = issuers.map_err(|error| PeerProcessError::File {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Organisation {
            name: self.name.clone(),
            operator_key: self.operator_key,
            head_key: self.head_key,
            issuers: issuers.issuers.into_iter().map(Into::into).collect(),
        })
    }
}

/// What `peer init` made.
#[derive(Debug, Clone, Serialize)]
pub struct PeerInitOutcome {
    /// The folder.
    pub dir: PathBuf,
    /// The file for the others.
    pub organisation_file: PathBuf,
    /// The organisation.
    pub organisation: Identifier,
    /// The key of its peer, hexadecimal.
    pub head_key: String,
}

/// What `peer found` made.
#[derive(Debug, Clone, Serialize)]
pub struct FoundOutcome {
    /// The folder.
    pub exchange: PathBuf,
    /// The ledger's id, hexadecimal.
    pub ledger: String,
    /// The organisations.
    pub organisations: Vec<Identifier>,
}

/// Makes a peer's folder with its organisation's keys.
///
/// # Errors
/// [`PeerProcessError`]
pub fn init(
    dir: &Path,
    organisation: &Identifier,
    listen: SocketAddr,
    api: SocketAddr,
    passphrase: &Passphrase,
) -> Result<PeerInitOutcome, PeerProcessError> {
    let folder = Folder::create(dir)?;
    for dir in [folder.secrets(), folder.organisations(), folder.record()] {
        folder::create_private_dir(&dir)?;
    }
    let master = SealedMasterKey::create(&folder.master_key(), passphrase)?;
    let made = organisations::create(&folder, &master, organisation, now_ms() / 1000)?;
    let token = randomness::secret::<32>();
    let token = Zeroizing::new(hex::encode(token.as_slice()));
    folder::write_private(&folder.peer_token(), token.as_bytes())?;
    let certificate = folder::read_limited(
        &organisations::certificate_file(&folder, organisation),
        MAX_JSON,
    )?;
    let file = OrganisationFile {
        name: made.name,
        operator_key: made.operator_key,
        head_key: made.head_key,
        certificate: String::from_utf8_lossy(&certificate).into_owned(),
        address: listen,
    };
    let organisation_file = folder.root().join(ORGANISATION);
    write_json(&organisation_file, &file)?;
    let settings = PeerSettings {
        organisation: organisation.clone(),
        listen,
        api,
        timing: TimingSettings::default(),
        members: BTreeMap::new(),
    };
    // The last file: without it the folder is none.
    settings.write(&folder)?;
    PeerSettings::read(&folder)?;
    Ok(PeerInitOutcome {
        dir: folder.root().to_owned(),
        organisation_file,
        organisation: organisation.clone(),
        head_key: hex::encode(made.head_key),
    })
}

/// Makes the ledger's beginning of what the organisations told: genesis, approval policy, verifier keys, addresses. All of it is public, and every
/// organisation checks that what it joins is what was agreed.
///
/// # Errors
/// [`PeerProcessError`]
pub fn found(
    out: &Path,
    name: &Identifier,
    approvals: u16,
    epoch_batches: u32,
    files: &[PathBuf],
) -> Result<FoundOutcome, PeerProcessError> {
    let mut told: Vec<OrganisationFile> = files
        .iter()
        .map(|path| read_json(path))
        .collect::<Result<_, _>>()?;
    told.sort_by(|a, b| a.name.cmp(&b.name));
    if approvals == 0 || usize::from(approvals) > told.len() {
        return Err(PeerProcessError::Approvals {
            approvals,
            organisations: told.len(),
        });
    }
    let folder = Folder::create(out)?;
    folder::create_private_dir(&folder.organisations())?;
    let mut organisations = Vec::new();
    let mut members = BTreeMap::new();
    for file in told {
        let path = organisations::certificate_file(&folder, &file.name);
        folder::write_private(&path, file.certificate.as_bytes())?;
        organisations.push(file.organisation(&path)?);
        members.insert(file.name, file.address);
    }
    let policy = organisations::policy_text(&folder, &organisations, approvals)?;
    folder::write_private(&folder.policy(), policy.as_bytes())?;
    let verifiers = organisations::verifiers_text(&organisations)?;
    folder::write_private(&folder.verifiers(), verifiers.as_bytes())?;
    let genesis = Genesis {
        name: name.clone(),
        nonce: randomness::public(),
        time_ms: now_ms(),
        organisations,
        epoch_batches: Some(epoch_batches),
    };
    genesis.state()?;
    write_json(&folder.root().join(MEMBERS), &members)?;
    folder::write_private(&folder.genesis(), &genesis.to_bytes())?;
    Ok(FoundOutcome {
        exchange: folder.root().to_owned(),
        ledger: hex::encode(genesis.id()),
        organisations: members.into_keys().collect(),
    })
}

/// Takes a ledger's beginning into a peer's folder. A newcomer's organisation, or its new keys, need not be in it: the others admit it on the record.
///
/// # Errors
/// [`PeerProcessError`]
pub fn join(dir: &Path, exchange: &Path, newcomer: bool) -> Result<FoundOutcome, PeerProcessError> {
    let folder = Folder::open_peer(dir)?;
    let _lock = folder.lock()?;
    let mut settings = PeerSettings::read(&folder)?;
    let genesis = read_genesis(&exchange.join("genesis.cbor"))?;
    let mut members: BTreeMap<Identifier, SocketAddr> = read_json(&exchange.join(MEMBERS))?;
    let own: OrganisationFile = read_json(&folder.root().join(ORGANISATION))?;
    let here = genesis.organisations.iter().any(|it| {
        it.name == own.name && it.head_key == own.head_key && it.operator_key == own.operator_key
    });
    if !here && !newcomer {
        return Err(PeerProcessError::NotFounding(own.name));
    }
    if folder.genesis().exists() && read_genesis(&folder.genesis())? != genesis {
        return Err(PeerProcessError::Joined(folder.genesis()));
    }
    members.insert(own.name, own.address);
    settings.members.append(&mut members);
    settings.write(&folder)?;
    folder::write_private(&folder.genesis(), &genesis.to_bytes())?;
    Ok(FoundOutcome {
        exchange: exchange.to_owned(),
        ledger: hex::encode(genesis.id()),
        organisations: settings.members.into_keys().collect(),
    })
}

/// A change of the organisations that one of them wants.
#[derive(Debug, Clone)]
pub enum WantedChange {
    /// The organisation of this file takes part.
    Admit(PathBuf),
    /// The organisation of this file gets the keys in it.
    Rekey(PathBuf),
    /// The organisation leaves.
    Remove(Identifier),
}

/// The change as it stands on the record. The address of who comes is noted in peer.toml, so that this peer can call it; every organisation does so for itself.
///
/// # Errors
/// [`PeerProcessError`]
pub fn change(
    folder: &Folder,
    wanted: &WantedChange,
) -> Result<OrganisationChange, PeerProcessError> {
    let (path, change): (_, fn(Organisation) -> OrganisationChange) = match wanted {
        WantedChange::Remove(name) => return Ok(OrganisationChange::Remove(name.clone())),
        WantedChange::Admit(path) => (path, OrganisationChange::Admit),
        WantedChange::Rekey(path) => (path, OrganisationChange::Rekey),
    };
    let file: OrganisationFile = read_json(path)?;
    let organisation = file.organisation(path)?;
    let mut settings = PeerSettings::read(folder)?;
    if settings.members.insert(file.name, file.address) != Some(file.address) {
        settings.write(folder)?;
    }
    Ok(change(organisation))
}

/// Reads a genesis.
///
/// # Errors
/// [`PeerProcessError::File`]
pub fn read_genesis(path: &Path) -> Result<Genesis, PeerProcessError> {
    let bytes = folder::read_limited(path, MAX_GENESIS as u64)?;
    Genesis::from_bytes(&bytes).map_err(|error| PeerProcessError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, PeerProcessError> {
    let bytes = folder::read_limited(path, MAX_JSON)?;
    serde_json::from_slice(&bytes).map_err(|error| PeerProcessError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), PeerProcessError> {
    let text = serde_json::to_vec_pretty(value).map_err(|error| PeerProcessError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    })?;
    Ok(folder::write_private(path, &text)?)
}
