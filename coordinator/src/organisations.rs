//! The organisations whose peers run in this process: their keys, made once, sealed under the master key.
//!
//! Each organisation has three keys: its *operator's* (registers tenants, consents to changes), its peer's *head* key (signs the
//! record's heads), and its *approval authority* (issues approvals of reads, protocol.md 7). In a real exchange each lies with its
//! organisation; on one machine they lie side by side, each in a file of its own, and none is used for another.

use std::path::PathBuf;

use certs::checkpoint::NoteKey;
use certs::{Algorithm, Issuer};
use cryptonode::randomness;
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::Serialize;

use crate::folder::{self, Folder, FolderError};
use crate::master_key::{MasterKeyError, SealedMasterKey};
use crate::record::{Genesis, Identifier, Organisation, PeerKeys};

/// Seconds that an approval authority is valid: ten years. It is exchanged by a change of the organisations.
const AUTHORITY_LIFETIME_S: u64 = 10 * 365 * 86_400;
/// Seconds before now from which on it is valid, for clocks that are behind.
const AUTHORITY_GRACE_S: u64 = 3_600;
const MAX_PEM: u64 = 64 * 1024;
const MAX_POLICY: u64 = 4 * 1024 * 1024;

/// A reason for which an organisation's keys cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum OrganisationError {
    /// The approval authority cannot be made or used.
    #[error("the approval authority of {organisation}: {source}")]
    Issuer {
        /// Whose.
        organisation: Identifier,
        /// Why.
        source: certs::IssuerError,
    },
    /// A sealed key is no key.
    #[error("the {what} key of {organisation} is damaged: restore the folder from a backup")]
    Damaged {
        /// Whose.
        organisation: Identifier,
        /// Which.
        what: &'static str,
    },
    /// A key does not open.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl OrganisationError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Issuer { source, .. } => source.code(),
            Self::Damaged { .. } => "organisation-key-damaged",
            Self::MasterKey(e) => e.code(),
            Self::Folder(e) => e.code(),
        }
    }
}

/// Where the certificate of an organisation's approval authority lies.
pub fn certificate_file(folder: &Folder, organisation: &Identifier) -> PathBuf {
    folder.organisations().join(format!("{organisation}.pem"))
}

fn secret_name(organisation: &Identifier, what: &str) -> String {
    format!("{organisation}.{what}")
}

/// Makes an organisation's keys, seals them into the folder, and says what of them is public. The algorithm is that of its approval authority.
pub fn create(
    folder: &Folder,
    master: &SealedMasterKey,
    name: &Identifier,
    algorithm: Algorithm,
    now_s: u64,
) -> Result<Organisation, OrganisationError> {
    let issuer = |source| OrganisationError::Issuer {
        organisation: name.clone(),
        source,
    };
    let (from, to) = (
        now_s.saturating_sub(AUTHORITY_GRACE_S),
        now_s.saturating_add(AUTHORITY_LIFETIME_S),
    );
    let authority = Issuer::generate(name.as_str(), algorithm, from, to).map_err(issuer)?;
    folder::write_private(
        &certificate_file(folder, name),
        authority.certificate_pem().as_bytes(),
    )?;
    seal(
        folder,
        master,
        name,
        "approvals",
        authority.key_pem().as_bytes(),
    )?;
    let operator_key = create_key(folder, master, name, "operator")?;
    let head_key = create_key(folder, master, name, "head")?;
    let issuers = vec![serde_bytes::ByteBuf::from(authority.certificate_der())];
    Ok(Organisation {
        name: name.clone(),
        operator_key,
        head_key,
        issuers,
    })
}

fn create_key(
    folder: &Folder,
    master: &SealedMasterKey,
    name: &Identifier,
    what: &'static str,
) -> Result<[u8; 32], OrganisationError> {
    let seed = randomness::secret::<32>();
    seal(folder, master, name, what, seed.as_slice())?;
    Ok(SigningKey::from_bytes(&seed).verifying_key().to_bytes())
}

fn seal(
    folder: &Folder,
    master: &SealedMasterKey,
    name: &Identifier,
    what: &str,
    secret: &[u8],
) -> Result<(), OrganisationError> {
    let secret_name = secret_name(name, what);
    Ok(master.write_sealed(&folder.secret(&secret_name), &secret_name, secret)?)
}

/// A signing key of an organisation: `operator` or `head`.
pub fn signing_key(
    folder: &Folder,
    master: &SealedMasterKey,
    organisation: &Identifier,
    what: &'static str,
) -> Result<SigningKey, OrganisationError> {
    let secret_name = secret_name(organisation, what);
    let seed = master.read_sealed(&folder.secret(&secret_name), &secret_name)?;
    let damaged = |_| OrganisationError::Damaged {
        organisation: organisation.clone(),
        what,
    };
    Ok(SigningKey::from_bytes(
        seed.as_slice().try_into().map_err(damaged)?,
    ))
}

/// The keys of all peers that run in this process: those of the genesis.
pub fn peers(
    folder: &Folder,
    master: &SealedMasterKey,
    genesis: &Genesis,
) -> Result<Vec<PeerKeys>, OrganisationError> {
    genesis
        .organisations
        .iter()
        .map(|organisation| peer(folder, master, &organisation.name))
        .collect()
}

/// Whether the keys of the founding organisations' peers lie in a folder, of one of them at least.
pub fn are_here(folder: &Folder, genesis: &Genesis) -> bool {
    let mut names = genesis.organisations.iter().map(|it| &it.name);
    names.any(|name| folder.secret(&secret_name(name, "head")).exists())
}

/// The keys of one organisation's peer.
pub fn peer(
    folder: &Folder,
    master: &SealedMasterKey,
    name: &Identifier,
) -> Result<PeerKeys, OrganisationError> {
    let damaged = || OrganisationError::Damaged {
        organisation: name.clone(),
        what: "approvals",
    };
    let secret_name = secret_name(name, "approvals");
    let key = master.read_sealed(&folder.secret(&secret_name), &secret_name)?;
    let key = std::str::from_utf8(&key).map_err(|_| damaged())?;
    let certificate = folder::read_limited(&certificate_file(folder, name), MAX_PEM)?;
    let certificate = std::str::from_utf8(&certificate).map_err(|_| damaged())?;
    let issuer = |source| OrganisationError::Issuer {
        organisation: name.clone(),
        source,
    };
    let issuer = Issuer::from_pem(certificate, key).map_err(issuer)?;
    Ok(PeerKeys {
        organisation: name.clone(),
        head_key: signing_key(folder, master, name, "head")?,
        issuer,
    })
}

/// The text of `verifiers.txt`: a verifier key of C2SP's signed-note for each organisation, a line each.
pub fn verifiers_text(organisations: &[Organisation]) -> Result<String, OrganisationError> {
    let mut text = String::new();
    for organisation in organisations {
        let damaged = || OrganisationError::Damaged {
            organisation: organisation.name.clone(),
            what: "head",
        };
        let key = VerifyingKey::from_bytes(&organisation.head_key).map_err(|_| damaged())?;
        let key = NoteKey::new(organisation.name.as_str(), key).map_err(|_| damaged())?;
        text.push_str(&format!("{key}\n"));
    }
    Ok(text)
}

/// How many organisations must approve a read, by the policy in a folder.
pub fn approvals_needed(folder: &Folder) -> Result<u16, OrganisationError> {
    let damaged = || FolderError::Io {
        action: "understand",
        path: folder.policy(),
        source: std::io::ErrorKind::InvalidData.into(),
    };
    let bytes = folder::read_limited(&folder.policy(), MAX_POLICY)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
    let policy: toml::Table = toml::from_str(text).map_err(|_| damaged())?;
    let needed = policy
        .get("approvals_needed")
        .and_then(toml::Value::as_integer);
    let needed = needed.and_then(|it| u16::try_from(it).ok());
    Ok(needed.ok_or_else(damaged)?)
}

/// The approval policy, as crypto nodes' operators are given it.
#[derive(Serialize)]
struct PolicyFile {
    approvals_needed: u16,
    max_lifetime_s: u32,
    tolerance_s: u32,
    organisations: Vec<PolicyOrganisation>,
}

#[derive(Serialize)]
struct PolicyOrganisation {
    name: String,
    issuers: Vec<String>,
}

/// The text of `policy.toml`: reads need approvals of `approvals_needed` of these organisations.
pub fn policy_text(
    folder: &Folder,
    organisations: &[Organisation],
    approvals_needed: u16,
) -> Result<String, OrganisationError> {
    let mut listed = Vec::new();
    for organisation in organisations {
        let name = &organisation.name;
        let pem = folder::read_limited(&certificate_file(folder, name), MAX_PEM)?;
        let damaged = |_| OrganisationError::Damaged {
            organisation: name.clone(),
            what: "approvals",
        };
        let pem = std::str::from_utf8(&pem).map_err(damaged)?.to_owned();
        listed.push(PolicyOrganisation {
            name: name.to_string(),
            issuers: vec![pem],
        });
    }
    let file = PolicyFile {
        approvals_needed,
        max_lifetime_s: 300,
        tolerance_s: 30,
        organisations: listed,
    };
    let head = "# The approval policy of the cluster's key, for each crypto node's operator: `cryptonode policy set`.\n\
                # Nodes make a key together only if all of them have this very policy.\n\n";
    Ok(format!(
        "{head}{}",
        toml::to_string(&file).unwrap_or_default()
    ))
}
