//! How organisations that each have their own keys found a ledger together, and how others join it later.

use super::{
    PeerProcessError,
    settings::{ClientSettings, PeerSettings, TimingSettings},
};
use crate::{
    config::PeerKey,
    folder::{self, Folder},
    master_key::{Passphrase, SealedMasterKey},
    organisations,
    platform::now_ms,
    record::{
        Genesis, Identifier, MAX_GENESIS, MAX_ORGANISATIONS, Organisation, OrganisationChange,
        wire::MemberView,
    },
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
const APIS: &str = "apis.json";
/// Port of the API over TLS, if none is chosen.
const API_TLS_PORT: u16 = 7731;

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
    /// Where it will answer over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_tls: Option<SocketAddr>,
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
    /// Where it will answer software elsewhere.
    pub api_tls: Option<SocketAddr>,
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

/// How many organisations must approve a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApprovalsNeeded {
    /// So many.
    pub number: u16,
    /// Also if they are fewer than a majority: whoever founds the ledger has said that it is meant.
    pub minority: bool,
}

impl ApprovalsNeeded {
    fn of(self, organisations: usize) -> Result<u16, PeerProcessError> {
        let (approvals, majority) = (self.number, organisations / 2 + 1);
        if approvals == 0 || usize::from(approvals) > organisations {
            return Err(PeerProcessError::Approvals {
                approvals,
                organisations,
            });
        }
        if usize::from(approvals) < majority && !self.minority {
            return Err(PeerProcessError::Minority {
                approvals,
                organisations,
                majority,
            });
        }
        Ok(approvals)
    }
}

/// Has a peer that lost its votes vote at its next start. No process may use the folder.
///
/// # Errors
/// [`PeerProcessError`]
pub fn vote_anew(folder: &Folder) -> Result<(), PeerProcessError> {
    let _lock = folder.lock()?;
    Ok(folder::write_private(&folder.never_voted(), b"")?)
}

/// Makes a peer's folder with its organisation's keys. If the other peers reach it from elsewhere, so does software that may ask it, unless `api_tls` says where. The algorithm
/// is that of the organisation's approval authority.
///
/// # Errors
/// [`PeerProcessError`]
pub fn init(
    dir: &Path,
    organisation: &Identifier,
    listen: SocketAddr,
    api: SocketAddr,
    api_tls: Option<SocketAddr>,
    algorithm: certs::Algorithm,
    passphrase: &Passphrase,
) -> Result<PeerInitOutcome, PeerProcessError> {
    let folder = Folder::create(dir)?;
    for dir in [folder.secrets(), folder.organisations(), folder.record()] {
        folder::create_private_dir(&dir)?;
    }
    let master = SealedMasterKey::create(&folder.master_key(), passphrase)?;
    let now_s = now_ms() / 1000;
    let made = organisations::create(&folder, &master, organisation, algorithm, now_s)?;
    let token = randomness::secret::<32>();
    let token = Zeroizing::new(hex::encode(token.as_slice()));
    folder::write_private(&folder.peer_token(), token.as_bytes())?;
    let certificate = folder::read_limited(
        &organisations::certificate_file(&folder, organisation),
        MAX_JSON,
    )?;
    let elsewhere = !listen.ip().is_loopback();
    let api_tls = api_tls.or_else(|| elsewhere.then(|| SocketAddr::new(listen.ip(), API_TLS_PORT)));
    let file = OrganisationFile {
        name: made.name,
        operator_key: made.operator_key,
        head_key: made.head_key,
        certificate: String::from_utf8_lossy(&certificate).into_owned(),
        address: listen,
        api_tls,
    };
    let organisation_file = folder.root().join(ORGANISATION);
    write_json(&organisation_file, &file)?;
    let settings = PeerSettings {
        organisation: organisation.clone(),
        listen,
        api,
        api_tls,
        clients: Vec::new(),
        revocation: Vec::new(),
        timing: TimingSettings::default(),
        members: BTreeMap::new(),
        apis: BTreeMap::new(),
        helpers: BTreeMap::new(),
    };
    folder::write_private(&folder.never_voted(), b"")?;
    // The last file: without it the folder is none.
    settings.write(&folder)?;
    PeerSettings::read(&folder)?;
    Ok(PeerInitOutcome {
        dir: folder.root().to_owned(),
        organisation_file,
        organisation: organisation.clone(),
        head_key: hex::encode(made.head_key),
        api_tls,
    })
}

/// Lets software elsewhere ask this peer, by its key. A key that is there already gets the name.
///
/// # Errors
/// [`PeerProcessError`]
pub fn allow(folder: &Folder, name: &str, key: [u8; 32]) -> Result<(), PeerProcessError> {
    let mut settings = PeerSettings::read(folder)?;
    settings.clients.retain(|client| client.key != key);
    let name = name.to_owned();
    settings.clients.push(ClientSettings { name, key });
    settings.write(folder)
}

/// Lets it ask no more; says how many keys had the name.
///
/// # Errors
/// [`PeerProcessError`]
pub fn disallow(folder: &Folder, name: &str) -> Result<usize, PeerProcessError> {
    let mut settings = PeerSettings::read(folder)?;
    let before = settings.clients.len();
    settings.clients.retain(|client| client.name != name);
    let removed = before - settings.clients.len();
    if removed > 0 {
        settings.write(folder)?;
    }
    Ok(removed)
}

/// Where a peer's folder has what the others were told.
#[must_use]
pub fn organisation_file(folder: &Folder) -> PathBuf {
    folder.root().join(ORGANISATION)
}

/// What the others were told.
///
/// # Errors
/// [`PeerProcessError`]
pub fn own_organisation(folder: &Folder) -> Result<OrganisationFile, PeerProcessError> {
    read_json(&organisation_file(folder))
}

/// Makes the ledger's beginning of what the organisations told: genesis, approval policy, verifier keys, addresses. All of it is public, and every
/// organisation checks that what it joins is what was agreed.
///
/// # Errors
/// [`PeerProcessError`]
pub fn found(
    out: &Path,
    name: &Identifier,
    approvals: ApprovalsNeeded,
    epoch_batches: u32,
    files: &[PathBuf],
) -> Result<FoundOutcome, PeerProcessError> {
    let mut told: Vec<OrganisationFile> = files
        .iter()
        .map(|path| read_json(path))
        .collect::<Result<_, _>>()?;
    told.sort_by(|a, b| a.name.cmp(&b.name));
    let approvals = approvals.of(told.len())?;
    let folder = Folder::create(out)?;
    folder::create_private_dir(&folder.organisations())?;
    let mut organisations = Vec::new();
    let (mut members, mut apis) = (BTreeMap::new(), BTreeMap::new());
    for file in told {
        let path = organisations::certificate_file(&folder, &file.name);
        folder::write_private(&path, file.certificate.as_bytes())?;
        organisations.push(file.organisation(&path)?);
        apis.extend(file.api_tls.map(|api| (file.name.clone(), api)));
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
    write_json(&folder.root().join(APIS), &apis)?;
    folder::write_private(&folder.genesis(), &genesis.to_bytes())?;
    Ok(FoundOutcome {
        exchange: folder.root().to_owned(),
        ledger: hex::encode(genesis.id()),
        organisations: members.into_keys().collect(),
    })
}

/// How a peer comes to a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coming {
    /// Its organisation is in the genesis.
    Founder,
    /// It is not, or has new keys.
    Newcomer,
    /// Nor may those who are there be called any more: this file, of a peer that takes part now, has whom to call.
    Helped(PathBuf),
}

/// Who orders now: what a peer's operator gives to a newcomer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MembersFile {
    /// The ledger's id, hexadecimal.
    pub ledger: String,
    /// The organisations on the record.
    pub members: Vec<MemberEntry>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberEntry {
    /// Its name.
    pub organisation: Identifier,
    /// The key of its peer.
    pub key: PeerKey,
    /// Where its peer listens, if whoever wrote this knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// Where it answers over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_tls: Option<SocketAddr>,
}

impl MembersFile {
    /// Who is on the record, with the addresses in a peer's settings.
    #[must_use]
    pub fn of(ledger: String, on_record: Vec<MemberView>, settings: &PeerSettings) -> Self {
        let entry = |member: MemberView| {
            let own = member.organisation == settings.organisation;
            let address = settings.members.get(&member.organisation).copied();
            let api = settings.apis.get(&member.organisation).copied();
            MemberEntry {
                key: PeerKey(member.key),
                address: if own { Some(settings.listen) } else { address },
                api_tls: if own { settings.api_tls } else { api },
                organisation: member.organisation,
            }
        };
        let members = on_record.into_iter().map(entry).collect();
        Self { ledger, members }
    }

    fn note_in(self, settings: &mut PeerSettings, own: &Identifier) {
        let others = self
            .members
            .into_iter()
            .filter(|it| it.organisation != *own);
        for member in others.take(MAX_ORGANISATIONS) {
            let name = member.organisation;
            let address = member.address.map(|it| (name.clone(), it));
            settings.members.extend(address);
            let api = member.api_tls.map(|it| (name.clone(), it));
            settings.apis.extend(api);
            settings.helpers.insert(name, member.key);
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`PeerProcessError::Folder`]
    pub fn write(&self, path: &Path) -> Result<(), PeerProcessError> {
        write_json(path, self)
    }
}

/// Takes a ledger's beginning into a peer's folder. A newcomer's organisation, or its new keys, need not be in it: the others admit it on the record.
///
/// # Errors
/// [`PeerProcessError`]
pub fn join(dir: &Path, exchange: &Path, coming: Coming) -> Result<FoundOutcome, PeerProcessError> {
    let folder = Folder::open_peer(dir)?;
    let _lock = folder.lock()?;
    let mut settings = PeerSettings::read(&folder)?;
    let genesis = read_genesis(&exchange.join("genesis.cbor"))?;
    let mut members: BTreeMap<Identifier, SocketAddr> = read_json(&exchange.join(MEMBERS))?;
    let own = own_organisation(&folder)?;
    let here = genesis.organisations.iter().any(|it| {
        it.name == own.name && it.head_key == own.head_key && it.operator_key == own.operator_key
    });
    if !here && coming == Coming::Founder {
        return Err(PeerProcessError::NotFounding(own.name));
    }
    if folder.genesis().exists() && read_genesis(&folder.genesis())? != genesis {
        return Err(PeerProcessError::Joined(folder.genesis()));
    }
    members.insert(own.name.clone(), own.address);
    settings.members.append(&mut members);
    let apis = exchange.join(APIS);
    if apis.exists() {
        settings
            .apis
            .append(&mut read_json::<BTreeMap<Identifier, SocketAddr>>(&apis)?);
    }
    if let Coming::Helped(path) = coming {
        let now: MembersFile = read_json(&path)?;
        if now.ledger != hex::encode(genesis.id()) {
            let reason = format!("it is of the ledger {}", now.ledger);
            return Err(PeerProcessError::File { path, reason });
        }
        now.note_in(&mut settings, &own.name);
    }
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
    let before = settings.clone();
    let api = file.api_tls.map(|api| (file.name.clone(), api));
    settings.apis.extend(api);
    settings.members.insert(file.name, file.address);
    if settings != before {
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
