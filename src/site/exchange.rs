//! The people of a site: a writer who owns a dataset, a reader whom she lets in, a stranger of the same tenant, and
//! whoever else is registered.
//!
//! Each has a signing key of their own in `DIR/users/`, made here as `coordinator user new` would, and each signs what
//! must be provable. The platform's administrator registers them and has no access to what they write.

use std::path::PathBuf;

use coordinator::client::profile::{ApiKey, Profile};
use coordinator::client::{
    Client, ClientError, GetOptions, Got, PutOptions, Signer, Written, user_key,
};
use coordinator::record::{
    DatasetCreate, Encryption, Identifier, PermissionEntry, Role, Storage, Transaction,
    UserRegister, UserRole,
};

use super::{Site, SiteError};

/// The dataset's name.
pub const DATASET: &str = "demo";
/// Who owns the dataset and writes.
pub const WRITER: &str = "alice";
/// Who may read.
pub const READER: &str = "bob";
/// Who may not.
pub const STRANGER: &str = "mallory";

/// Clients of the platform, one for each of the people.
pub struct Exchange {
    desk: Desk,
    writer: Client,
    reader: Client,
    stranger: Client,
    dataset: Identifier,
}

/// Where people are registered, by the administrator.
struct Desk {
    administrator: Client,
    operator_key: ApiKey,
    api_key: ApiKey,
    tenant: Identifier,
    url: String,
    /// The folder of the users' keys.
    users: PathBuf,
}

fn refused(what: impl Into<String>) -> impl FnOnce(ClientError) -> SiteError {
    let what = what.into();
    move |error| SiteError::Platform {
        what,
        code: error.code().to_owned(),
        reason: error.to_string(),
    }
}

fn name(text: &str) -> Result<Identifier, SiteError> {
    text.parse().map_err(
        |error: coordinator::record::IdentifierError| SiteError::Platform {
            what: format!("take {text:?} as a name"),
            code: "name".to_owned(),
            reason: error.to_string(),
        },
    )
}

impl Desk {
    fn open(site: &Site) -> Result<Self, SiteError> {
        let path = site.layout().client_profile();
        let profile = Profile::read(&path).map_err(refused("read the administrator's profile"))?;
        let missing = |field: &str| SiteError::Platform {
            what: format!("read {}", path.display()),
            code: "profile".to_owned(),
            reason: format!("it names no {field}"),
        };
        let tenant = profile.tenant.clone().ok_or_else(|| missing("tenant"))?;
        let user = profile.user.clone().ok_or_else(|| missing("user"))?;
        let key = profile.key.clone().ok_or_else(|| missing("key"))?;
        let api_key = profile.api_key.clone().ok_or_else(|| missing("api_key"))?;
        let operator_key = profile.operator_key.clone();
        let operator_key = operator_key.ok_or_else(|| missing("operator_key"))?;
        let url = site.url().to_owned();
        let mut administrator = client(&url, &tenant, &api_key)?;
        let key = user_key::read(&key).map_err(refused("read the administrator's key"))?;
        administrator.sign_as(Signer::new(user, key));
        Ok(Self {
            administrator,
            operator_key,
            api_key,
            tenant,
            url,
            users: site.layout().users(),
        })
    }

    async fn register(&self, person: &str) -> Result<Client, SiteError> {
        let path = self.users.join(format!("{person}.pem"));
        let key = user_key::create(&path).map_err(refused(format!("make {person}'s key")))?;
        let user = name(person)?;
        let register = Transaction::UserRegister(UserRegister {
            tenant: self.tenant.clone(),
            user: user.clone(),
            public_key: key.verifying_key().to_bytes(),
            role: UserRole::Member,
            expires_ms: None,
            managed: false,
        });
        self.administrator
            .submit(register)
            .await
            .map_err(refused(format!("register {person}")))?;
        let mut client = client(&self.url, &self.tenant, &self.api_key)?;
        client.sign_as(Signer::new(user, key));
        Ok(client)
    }
}

fn client(url: &str, tenant: &Identifier, api_key: &ApiKey) -> Result<Client, SiteError> {
    let made = Client::new(url, tenant.clone(), api_key.expose().to_owned());
    let mut client = made.map_err(refused("make an HTTP client"))?;
    if let Some(trace) = cryptonode::telemetry::of_process() {
        client.in_trace(trace);
    }
    Ok(client)
}

impl Exchange {
    /// Registers the three with the running platform, and has the writer make the dataset under the cluster's key and let
    /// the reader in.
    ///
    /// # Errors
    /// [`SiteError::Platform`] with the platform's reason.
    pub async fn enrol(site: &Site, public_key: [u8; 32]) -> Result<Self, SiteError> {
        let desk = Desk::open(site)?;
        let mut people = Vec::new();
        for person in [WRITER, READER, STRANGER] {
            people.push(desk.register(person).await?);
        }
        let (Some(stranger), Some(reader), Some(writer)) =
            (people.pop(), people.pop(), people.pop())
        else {
            return Err(SiteError::Unexpected("nobody was registered".to_owned()));
        };
        let tenant = desk.tenant.clone();

        let dataset = name(DATASET)?;
        let create = Transaction::DatasetCreate(DatasetCreate {
            tenant: tenant.clone(),
            dataset: dataset.clone(),
            encryption: Encryption::Threshold { public_key },
            storage: Storage::OffChain,
        });
        writer
            .submit(create)
            .await
            .map_err(refused("create the dataset"))?;
        let grant = Transaction::PermissionAdd(PermissionEntry {
            tenant,
            dataset: dataset.clone(),
            role: Role::Reader,
            user: reader.user().map_err(refused("name the reader"))?,
        });
        writer
            .submit(grant)
            .await
            .map_err(refused("let the reader in"))?;
        Ok(Self {
            desk,
            writer,
            reader,
            stranger,
            dataset,
        })
    }

    /// Registers one more person, to whom nothing is granted, and gives a client that signs as them.
    ///
    /// # Errors
    /// [`SiteError::Platform`] with the platform's reason.
    pub async fn register(&self, person: &str) -> Result<Client, SiteError> {
        self.desk.register(person).await
    }

    /// The client of the one who owns the dataset.
    pub fn writer(&self) -> &Client {
        &self.writer
    }

    /// The client of the one who may read.
    pub fn reader(&self) -> &Client {
        &self.reader
    }

    /// The client of the one who may not.
    pub fn stranger(&self) -> &Client {
        &self.stranger
    }

    /// The dataset.
    pub fn dataset(&self) -> &Identifier {
        &self.dataset
    }

    /// Fetches the whole record with its signed head into a file, as the platform's operator.
    ///
    /// # Errors
    /// [`SiteError::Platform`].
    pub async fn export(&self, file: &std::path::Path) -> Result<(), SiteError> {
        let Desk {
            administrator,
            operator_key,
            ..
        } = &self.desk;
        let exported = administrator
            .export(operator_key.expose(), file, None, None)
            .await;
        exported.map(drop).map_err(refused("export the record"))
    }

    /// Writes a file as the writer.
    ///
    /// # Errors
    /// [`SiteError::Io`] for the file, [`SiteError::Platform`] for the rest.
    pub async fn write(
        &self,
        document: &str,
        file: &std::path::Path,
    ) -> Result<Written, SiteError> {
        let source = tokio::fs::File::open(file)
            .await
            .map_err(SiteError::io(format!("read {}", file.display())))?;
        self.writer
            .put(
                &self.dataset,
                &name(document)?,
                source,
                PutOptions::default(),
            )
            .await
            .map_err(refused(format!("write {document}")))
    }

    /// Reads a document's latest version into a file as the reader.
    ///
    /// # Errors
    /// [`SiteError::Platform`] with the reason of the platform, the record or the cluster.
    pub async fn read(&self, document: &str, into: &std::path::Path) -> Result<Got, SiteError> {
        self.read_as(&self.reader, document, into).await
    }

    /// Tries the same as the stranger.
    ///
    /// # Errors
    /// As [`Exchange::read`]: an error is what should come.
    pub async fn read_as_stranger(
        &self,
        document: &str,
        into: &std::path::Path,
    ) -> Result<Got, SiteError> {
        self.read_as(&self.stranger, document, into).await
    }

    async fn read_as(
        &self,
        client: &Client,
        document: &str,
        into: &std::path::Path,
    ) -> Result<Got, SiteError> {
        client
            .get_to_file(&self.dataset, &name(document)?, GetOptions::default(), into)
            .await
            .map_err(refused(format!("read {document}")))
    }
}
