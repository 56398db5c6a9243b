//! `coordinator init`: makes a folder with everything that a platform of its own needs.
//!
//! Everything is made in a folder beside the wished one, which gets its name at the very end: an `init` that fails leaves nothing
//! behind, and one that succeeded is complete.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cryptonode::randomness;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::api::{OPERATOR, auth};
use crate::client::profile::{ApiKey, Profile};
use crate::client::{ClientError, user_key};
use crate::config::{Config, ConfigError, EngineName, PeerConfig, RecordConfig};
use crate::folder::{self, Folder, FolderError};
use crate::master_key::{MasterKeyError, Passphrase, SealedMasterKey};
use crate::organisations::{self, OrganisationError};
use crate::peer::run::read_token_file;
use crate::platform::now_ms;
use crate::record::{
    Author, FollowOptions, Followed, Genesis, Identifier, PeerAddress, RecordError, RecordHandle,
    Solo, SoloOptions, TenantRegister, Transaction, UnsignedTransaction,
};

/// Name of the sealed file with the API's secret.
pub const API_SECRET: &str = "api-keys";
/// Name of the sealed file with the private key towards the crypto nodes.
pub const CLUSTER_CLIENT: &str = "cluster-client";
const REGISTRATION_LIFETIME_MS: u64 = 60_000;
const MAX_PUBLIC_FILE: u64 = 4 * 1024 * 1024;
const MAX_GENESIS_FILE: u64 = crate::record::MAX_GENESIS as u64;

/// What is to be made.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// The folder; it must not exist, or be empty.
    pub dir: PathBuf,
    /// The organisations that run the record.
    pub organisations: Vec<Identifier>,
    /// How many of them must approve a read.
    pub approvals: u16,
    /// The first tenant, which the first organisation registers.
    pub tenant: Identifier,
    /// The tenant's first administrator, whose key is made.
    pub administrator: Identifier,
    /// Where the API will listen.
    pub listen: SocketAddr,
    /// A record that exists already, or will, between peers elsewhere; then no organisations are made here.
    pub exchange: Option<Exchange>,
}

/// A record between organisations' peers that are processes of their own.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The folder that `peer found` made.
    pub dir: PathBuf,
    /// Where the peers answer.
    pub peers: Vec<PeerConfig>,
}

/// Where everything is.
#[derive(Debug, Clone, Serialize)]
pub struct InitOutcome {
    /// The folder.
    pub dir: PathBuf,
    /// The settings.
    pub config: PathBuf,
    /// The approval policy, for the crypto nodes' operators.
    pub policy: PathBuf,
    /// The record's beginning.
    pub genesis: PathBuf,
    /// The keys by which peers sign the record's heads, for `audit verify`.
    pub verifiers: PathBuf,
    /// The ledger's id, hexadecimal.
    pub ledger: String,
    /// The sealed master key.
    pub master_key: PathBuf,
    /// Each organisation with its certificate and the verifier key of its peer's signed heads.
    pub organisations: Vec<OrganisationOutcome>,
    /// How many organisations must approve a read.
    pub approvals_needed: u16,
    /// The first tenant.
    pub tenant: Identifier,
    /// Its administrator.
    pub administrator: Identifier,
    /// The administrator's key.
    pub administrator_key: PathBuf,
    /// Its public part, hexadecimal.
    pub administrator_public_key: String,
    /// A profile for the command line, as that administrator.
    pub profile: PathBuf,
}

/// One organisation's public files.
#[derive(Debug, Clone, Serialize)]
pub struct OrganisationOutcome {
    /// Its name.
    pub name: Identifier,
    /// The certificate of its approval authority.
    pub certificate: PathBuf,
    /// The key by which its peer signs heads, hexadecimal.
    pub head_key: String,
}

/// A reason for which there is no new folder, or a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An impossible number of approvals.
    #[error(
        "{approvals} approvals cannot be had from {organisations} organisations: choose between 1 and {organisations}"
    )]
    Approvals {
        /// How many were asked for.
        approvals: u16,
        /// How many organisations there are.
        organisations: usize,
    },
    /// An organisation named twice.
    #[error("the organisation {0} is named twice: give each a name of its own")]
    Twice(Identifier),
    /// The folder cannot get its name.
    #[error("cannot make {}: {source}", path.display())]
    Place {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The genesis is damaged.
    #[error("{} is damaged: restore it from a backup", .0.display())]
    Genesis(PathBuf),
    /// The key towards the crypto nodes cannot be made.
    #[error("the key towards the crypto nodes: {0}")]
    ClusterClient(String),
    /// The record cannot be opened.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The peers' stores cannot be opened.
    #[error("{message}")]
    Open {
        /// The record's code.
        code: String,
        /// The record's sentence.
        message: String,
    },
    /// Keys of an organisation.
    #[error(transparent)]
    Organisation(#[from] OrganisationError),
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The administrator's key, or the profile.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The API keys.
    #[error(transparent)]
    ApiKeys(#[from] auth::AuthError),
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl SetupError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> String {
        match self {
            Self::Approvals { .. } => "approvals-impossible",
            Self::Twice(_) => "organisation-twice",
            Self::Place { .. } => "file-io",
            Self::Genesis(_) => "genesis-damaged",
            Self::ClusterClient(_) => "cluster-client-key",
            Self::Record(e) => e.code(),
            Self::Open { code, .. } => code,
            Self::Organisation(e) => e.code(),
            Self::MasterKey(e) => e.code(),
            Self::Client(e) => e.code(),
            Self::ApiKeys(e) => e.code(),
            Self::Config(e) => e.code(),
            Self::Folder(e) => e.code(),
        }
        .to_owned()
    }
}

/// Makes the folder.
pub async fn init(
    options: InitOptions,
    passphrase: &Passphrase,
) -> Result<InitOutcome, SetupError> {
    check(&options)?;
    let place = |path: &Path| {
        let path = path.to_owned();
        move |source| SetupError::Place { path, source }
    };
    let dir = std::path::absolute(&options.dir).map_err(place(&options.dir))?;
    // An empty folder is taken; anything else is left alone.
    if dir.exists() {
        Folder::create(&dir)?;
    }
    let parent = dir.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).map_err(place(parent))?;
    let partial = tempfile::Builder::new()
        .prefix(".coordinator-init-")
        .tempdir_in(parent)
        .map_err(place(parent))?;
    fill(&Folder::create(partial.path())?, &options, passphrase).await?;
    let partial = partial.keep();
    if let Err(source) = std::fs::rename(&partial, &dir) {
        let _ = std::fs::remove_dir_all(&partial);
        return Err(SetupError::Place { path: dir, source });
    }
    let folder = Folder::open(&dir)?;
    outcome(&folder, &options)
}

fn check(options: &InitOptions) -> Result<(), SetupError> {
    if options.exchange.is_some() {
        return Ok(());
    }
    let organisations = options.organisations.len();
    if options.approvals == 0 || usize::from(options.approvals) > organisations {
        return Err(SetupError::Approvals {
            approvals: options.approvals,
            organisations,
        });
    }
    let mut seen = std::collections::BTreeSet::new();
    match options
        .organisations
        .iter()
        .find(|name| !seen.insert(*name))
    {
        Some(name) => Err(SetupError::Twice(name.clone())),
        None => Ok(()),
    }
}

async fn fill(
    folder: &Folder,
    options: &InitOptions,
    passphrase: &Passphrase,
) -> Result<(), SetupError> {
    for dir in [
        folder.secrets(),
        folder.organisations(),
        folder.clusters(),
        folder.users(),
        folder.record(),
    ] {
        folder::create_private_dir(&dir)?;
    }
    let master = SealedMasterKey::create(&folder.master_key(), passphrase)?;
    let genesis = match &options.exchange {
        Some(exchange) => take_exchange(folder, exchange)?,
        None => found(folder, &master, options)?,
    };

    let secret = randomness::secret::<{ auth::SECRET_SIZE }>();
    master.write_sealed(&folder.secret(API_SECRET), API_SECRET, secret.as_slice())?;
    let identity = cryptonode::client::ClientIdentity::generate();
    let identity = identity.map_err(|e| SetupError::ClusterClient(e.to_string()))?;
    master.write_sealed(
        &folder.secret(CLUSTER_CLIENT),
        CLUSTER_CLIENT,
        identity.to_pem().as_bytes(),
    )?;

    let key_name = format!("{}.pem", options.administrator);
    let administrator = user_key::create(&folder.users().join(&key_name))?;
    let keys = auth::ApiKeys::open(Zeroizing::new(secret.to_vec()), &folder.api_keys())
        .map_err(auth::AuthError::from)?;
    let first_key = |tenant: &str| -> Result<ApiKey, SetupError> {
        let terms = auth::KeyTerms {
            tenant: tenant.to_owned(),
            name: "init".to_owned(),
            scopes: auth::Scopes::all(),
            expires_ms: None,
        };
        Ok(ApiKey::new(keys.issue(terms, now_ms())?.key))
    };
    let profile = Profile {
        url: Some(format!("http://{}", options.listen)),
        tenant: Some(options.tenant.clone()),
        api_key: Some(first_key(options.tenant.as_str())?),
        operator_key: Some(first_key(OPERATOR)?),
        user: Some(options.administrator.clone()),
        key: Some(Path::new("users").join(key_name)),
        ledger: Some(hex::encode(genesis.id())),
        verifiers: Some("verifiers.txt".into()),
    };
    profile.write(&folder.client_profile())?;

    let text = match &options.exchange {
        // The tenant is registered by one of the organisations, at its own peer.
        Some(exchange) => Config::text_with_peers(options.listen, &exchange.peers),
        None => {
            let public_key = administrator.verifying_key().to_bytes();
            register(folder, &master, genesis, options, public_key).await?;
            Config::text(options.listen)
        }
    };
    folder::write_private(&folder.config(), text.as_bytes())?;
    Config::read(&folder.config())?;
    Ok(())
}

/// Makes the organisations' keys and the record's beginning.
fn found(
    folder: &Folder,
    master: &SealedMasterKey,
    options: &InitOptions,
) -> Result<Genesis, SetupError> {
    let now_s = now_ms() / 1000;
    let mut organisations = Vec::new();
    for name in &options.organisations {
        organisations.push(organisations::create(folder, master, name, now_s)?);
    }
    organisations.sort_by(|a, b| a.name.cmp(&b.name));
    let policy = organisations::policy_text(folder, &organisations, options.approvals)?;
    folder::write_private(&folder.policy(), policy.as_bytes())?;
    let verifiers = organisations::verifiers_text(&organisations)?;
    folder::write_private(&folder.verifiers(), verifiers.as_bytes())?;
    let name = options.tenant.clone();
    let genesis = Genesis {
        name,
        nonce: randomness::public(),
        time_ms: now_ms(),
        organisations,
        epoch_batches: None,
    };
    folder::write_private(&folder.genesis(), &genesis.to_bytes())?;
    Ok(genesis)
}

/// Takes over what the organisations have agreed on: all of it public.
fn take_exchange(folder: &Folder, exchange: &Exchange) -> Result<Genesis, SetupError> {
    let from = Folder::at(&exchange.dir);
    let genesis = read_genesis(&from)?;
    let mut files = vec![
        (from.policy(), folder.policy()),
        (from.verifiers(), folder.verifiers()),
    ];
    for organisation in &genesis.organisations {
        let file = |folder| organisations::certificate_file(folder, &organisation.name);
        files.push((file(&from), file(folder)));
    }
    for (from, to) in files {
        folder::write_private(&to, &folder::read_limited(&from, MAX_PUBLIC_FILE)?)?;
    }
    folder::write_private(&folder.genesis(), &genesis.to_bytes())?;
    Ok(genesis)
}

/// The record's first transaction: the first organisation registers the tenant.
async fn register(
    folder: &Folder,
    master: &SealedMasterKey,
    genesis: Genesis,
    options: &InitOptions,
    public_key: [u8; 32],
) -> Result<(), SetupError> {
    let Some(organisation) = options.organisations.first() else {
        return Ok(());
    };
    let operator = organisations::signing_key(folder, master, organisation, "operator")?;
    let record = open_record(folder, master, genesis, &RecordConfig::default()).await?;
    let unsigned = UnsignedTransaction {
        ledger: record.ledger(),
        author: Author::Organisation(organisation.clone()),
        nonce: randomness::public(),
        expires_ms: now_ms().saturating_add(REGISTRATION_LIFETIME_MS),
        transaction: Transaction::TenantRegister(TenantRegister {
            tenant: options.tenant.clone(),
            administrator: options.administrator.clone(),
            public_key,
        }),
    };
    let registered = record.submit(unsigned.sign(&operator)).await;
    record.close().await;
    registered?;
    Ok(())
}

/// Reads the genesis of a folder.
pub fn read_genesis(folder: &Folder) -> Result<Genesis, SetupError> {
    let bytes = folder::read_limited(&folder.genesis(), MAX_GENESIS_FILE)?;
    Genesis::from_bytes(&bytes).map_err(|_| SetupError::Genesis(folder.genesis()))
}

/// Opens the record of a folder: with the peers of all its organisations in this process, or following those that are elsewhere.
pub async fn open_record(
    folder: &Folder,
    master: &SealedMasterKey,
    genesis: Genesis,
    config: &RecordConfig,
) -> Result<RecordHandle, SetupError> {
    let failed = |code: &str, message: String| SetupError::Open {
        code: code.to_owned(),
        message,
    };
    if config.engine == EngineName::Solo {
        let peers = organisations::peers(folder, master, &genesis)?;
        let opened = Solo::open(&folder.record(), genesis, peers, SoloOptions::default()).await;
        return opened.map_err(|e| failed(e.code(), e.to_string()));
    }
    let mut peers = Vec::new();
    for peer in &config.peers {
        let token = read_token_file(&peer.token_file);
        peers.push(PeerAddress {
            organisation: peer.organisation.clone(),
            url: peer.url.clone(),
            token: token.map_err(|e| failed(e.code(), e.to_string()))?,
        });
    }
    let followed = Followed::open(&folder.record(), genesis, peers, FollowOptions::default()).await;
    followed.map_err(|e| failed(e.code(), e.to_string()))
}

/// The API keys of a folder.
pub fn api_keys(folder: &Folder, master: &SealedMasterKey) -> Result<auth::ApiKeys, SetupError> {
    let secret = master.read_sealed(&folder.secret(API_SECRET), API_SECRET)?;
    Ok(auth::ApiKeys::open(secret, &folder.api_keys()).map_err(auth::AuthError::from)?)
}

fn outcome(folder: &Folder, options: &InitOptions) -> Result<InitOutcome, SetupError> {
    let genesis = read_genesis(folder)?;
    let administrator_key = folder
        .users()
        .join(format!("{}.pem", options.administrator));
    let public_key = user_key::read(&administrator_key)?.verifying_key();
    let organisations = genesis
        .organisations
        .iter()
        .map(|organisation| OrganisationOutcome {
            name: organisation.name.clone(),
            certificate: folder
                .organisations()
                .join(format!("{}.pem", organisation.name)),
            head_key: hex::encode(organisation.head_key),
        });
    Ok(InitOutcome {
        dir: folder.root().to_owned(),
        config: folder.config(),
        policy: folder.policy(),
        genesis: folder.genesis(),
        verifiers: folder.verifiers(),
        ledger: hex::encode(genesis.id()),
        master_key: folder.master_key(),
        organisations: organisations.collect(),
        approvals_needed: organisations::approvals_needed(folder)?,
        tenant: options.tenant.clone(),
        administrator: options.administrator.clone(),
        administrator_key,
        administrator_public_key: hex::encode(public_key.as_bytes()),
        profile: folder.client_profile(),
    })
}
