//! A ledger for tests: organisations, users and keys that are the same in every run, and one block for each transaction.

use certs::{Algorithm, Issuer, Organisation as PolicyOrganisation, Policy, PolicyConfig};
use coordinator::record::{
    self, Author, BlockContext, Body, DatasetCreate, DatasetName, Encryption, Event, Genesis,
    Identifier, KeyWrapping, Organisation, PeerKeys, PermissionEntry, Read, Reencryption,
    Rejection, Role, SignedTransaction, State, Storage, TenantRegister, Transaction,
    UnsignedTransaction, UserName, UserRegister, UserRole, VersionName, Write,
};
use ed25519_dalek::SigningKey;
use reencrypt::{EphemeralSecret, Point, SecretScalar, VerifiedWrappedKey};
use sha2::{Digest as _, Sha256};

pub const GENESIS_MS: u64 = 1_800_000_000_000;
pub const ORGANISATIONS: [&str; 4] = ["alpha", "beta", "gamma", "delta"];

pub fn id(name: &str) -> Identifier {
    Identifier::new(name).unwrap()
}

pub fn user(name: &str) -> UserName {
    let (tenant, user) = name.split_once('/').unwrap();
    UserName {
        tenant: id(tenant),
        user: id(user),
    }
}

pub fn dataset(name: &str) -> DatasetName {
    let (tenant, dataset) = name.split_once('/').unwrap();
    DatasetName {
        tenant: id(tenant),
        dataset: id(dataset),
    }
}

/// The key of anybody, by name.
pub fn key(name: &str) -> SigningKey {
    SigningKey::from_bytes(&Sha256::digest(name).into())
}

pub fn public(name: &str) -> [u8; 32] {
    key(name).verifying_key().to_bytes()
}

/// `Y` of a cluster, by name.
pub fn cluster(name: &str) -> Point {
    let seed: [u8; 32] = Sha256::digest(name).into();
    let mut seed = seed;
    seed[31] &= 0x0f;
    SecretScalar::from_canonical_bytes(&seed).unwrap().public()
}

pub fn threshold(name: &str) -> Encryption {
    Encryption::Threshold {
        public_key: *cluster(name).as_bytes(),
    }
}

/// An organisation's certificate authority, made once and kept as PEM.
pub struct Authority {
    certificate: String,
    key: String,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let now = GENESIS_MS / 1000;
        let issuer = Issuer::generate(
            name,
            Algorithm::Ed25519,
            now - 86_400,
            now + 10 * 365 * 86_400,
        )
        .unwrap();
        Self {
            certificate: issuer.certificate_pem(),
            key: issuer.key_pem().to_string(),
        }
    }

    pub fn issuer(&self) -> Issuer {
        Issuer::from_pem(&self.certificate, &self.key).unwrap()
    }
}

pub fn organisation(name: &str, authority: &Authority) -> Organisation {
    Organisation {
        name: id(name),
        operator_key: public(&format!("operator {name}")),
        head_key: public(&format!("head {name}")),
        issuers: vec![serde_bytes::ByteBuf::from(
            authority.issuer().certificate_der().to_vec(),
        )],
    }
}

/// The organisations of a ledger with all their keys.
pub struct Founders {
    pub genesis: Genesis,
    authorities: Vec<(String, Authority)>,
}

impl Founders {
    pub fn new(names: &[&str]) -> Self {
        let mut names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        names.sort();
        let authorities: Vec<_> = names
            .into_iter()
            .map(|name| (name.clone(), Authority::new(&name)))
            .collect();
        let organisations = authorities
            .iter()
            .map(|(name, authority)| organisation(name, authority))
            .collect();
        let genesis = Genesis {
            name: id("test"),
            nonce: [7; 32],
            time_ms: GENESIS_MS,
            organisations,
            epoch_batches: None,
        };
        Self {
            genesis,
            authorities,
        }
    }

    pub fn four() -> Self {
        Self::new(&ORGANISATIONS)
    }

    pub fn peer(&self, name: &str) -> PeerKeys {
        let (_, authority) = self
            .authorities
            .iter()
            .find(|(known, _)| known == name)
            .unwrap();
        PeerKeys {
            organisation: id(name),
            head_key: key(&format!("head {name}")),
            issuer: authority.issuer(),
        }
    }

    pub fn peers(&self) -> Vec<PeerKeys> {
        self.authorities
            .iter()
            .map(|(name, _)| self.peer(name))
            .collect()
    }

    /// The public keys that an auditor pins.
    pub fn head_keys(&self) -> Vec<certs::note::NoteKey> {
        let key = |name: &str| key(&format!("head {name}")).verifying_key();
        self.authorities
            .iter()
            .map(|(name, _)| certs::note::NoteKey::new(name, key(name)).unwrap())
            .collect()
    }

    /// The policy by which crypto nodes judge approvals.
    pub fn policy(&self, approvals_needed: u16) -> Policy {
        let organisations = self
            .authorities
            .iter()
            .map(|(name, authority)| PolicyOrganisation {
                name: name.clone(),
                issuers: vec![authority.issuer().certificate_der().to_vec()],
            });
        let organisations = organisations.collect();
        Policy::new(PolicyConfig {
            approvals_needed,
            organisations,
            max_lifetime_s: 300,
            tolerance_s: 30,
        })
        .unwrap()
    }
}

/// A transaction by a user (`tenant/user`) or an organisation, signed with the key of that name.
pub fn signed(
    ledger: &[u8; 32],
    author: &str,
    transaction: Transaction,
    now_ms: u64,
) -> SignedTransaction {
    let (author, key) = if author.contains('/') {
        (Author::User(user(author)), key(author))
    } else {
        (
            Author::Organisation(id(author)),
            key(&format!("operator {author}")),
        )
    };
    let nonce = rand::random();
    UnsignedTransaction {
        ledger: *ledger,
        author,
        nonce,
        expires_ms: now_ms + 60_000,
        transaction,
    }
    .sign(&key)
}

/// A state machine with nothing around it.
pub struct Ledger {
    pub id: [u8; 32],
    pub state: State,
    pub block: BlockContext,
}

impl Ledger {
    pub fn new() -> Self {
        Self::of(&ORGANISATIONS)
    }

    pub fn of(organisations: &[&str]) -> Self {
        let genesis = Founders::new(organisations).genesis;
        let block = BlockContext {
            height: 0,
            time_ms: GENESIS_MS,
        };
        Self {
            id: genesis.id(),
            state: genesis.state().unwrap(),
            block,
        }
    }

    /// With the tenants `acme` and `rival`, their administrators `root`, members `ann`, `bob`, `eve`, and `rival/mallory`.
    pub fn with_users() -> Self {
        let mut ledger = Self::new();
        for (transaction, author) in founding() {
            ledger.accept(author, transaction);
        }
        ledger
    }

    /// With the dataset `acme/data`, owned by ann, with this configuration; bob writes and eve reads.
    pub fn with_dataset(encryption: Encryption, storage: Storage) -> Self {
        let mut ledger = Self::with_users();
        ledger.accept("acme/ann", dataset_create("acme/data", encryption, storage));
        ledger.accept("acme/ann", grant("acme/data", Role::Writer, "acme/bob"));
        ledger.accept("acme/ann", grant("acme/data", Role::Reader, "acme/eve"));
        ledger
    }

    pub fn sign(&self, author: &str, transaction: Transaction) -> SignedTransaction {
        signed(&self.id, author, transaction, self.block.time_ms)
    }

    pub fn apply(
        &mut self,
        author: &str,
        transaction: Transaction,
    ) -> Result<Vec<Event>, Rejection> {
        let signed = self.sign(author, transaction);
        self.apply_signed(&signed)
    }

    pub fn apply_signed(&mut self, signed: &SignedTransaction) -> Result<Vec<Event>, Rejection> {
        self.block.height += 1;
        self.block.time_ms += 1000;
        let root = self.state.root();
        let outcome = record::apply(&mut self.state, &self.block, signed);
        assert_eq!(
            outcome.is_err(),
            self.state.root() == root,
            "refused means unchanged, and accepted the opposite"
        );
        outcome
    }

    pub fn accept(&mut self, author: &str, transaction: Transaction) -> Vec<Event> {
        self.apply(author, transaction)
            .unwrap_or_else(|rejection| panic!("{}: {rejection}", rejection.code()))
    }

    /// Applies what must be refused, and returns the code.
    pub fn refuse(&mut self, author: &str, transaction: Transaction) -> &'static str {
        let rejection = self.apply(author, transaction).unwrap_err();
        assert!(!rejection.to_string().is_empty());
        rejection.code()
    }
}

/// Tenants and users of [`Ledger::with_users`].
pub fn founding() -> Vec<(Transaction, &'static str)> {
    let mut all = vec![
        (tenant_register("acme"), "alpha"),
        (tenant_register("rival"), "beta"),
    ];
    for member in ["acme/ann", "acme/bob", "acme/eve"] {
        all.push((user_register(member, UserRole::Member), "acme/root"));
    }
    all.push((
        user_register("rival/mallory", UserRole::Member),
        "rival/root",
    ));
    all
}

pub fn tenant_register(tenant: &str) -> Transaction {
    Transaction::TenantRegister(TenantRegister {
        tenant: id(tenant),
        administrator: id("root"),
        public_key: public(&format!("{tenant}/root")),
    })
}

pub fn user_register(name: &str, role: UserRole) -> Transaction {
    let UserName { tenant, user } = user(name);
    Transaction::UserRegister(UserRegister {
        tenant,
        user,
        public_key: public(name),
        role,
        expires_ms: None,
        managed: false,
    })
}

pub fn dataset_create(name: &str, encryption: Encryption, storage: Storage) -> Transaction {
    let DatasetName { tenant, dataset } = dataset(name);
    Transaction::DatasetCreate(DatasetCreate {
        tenant,
        dataset,
        encryption,
        storage,
    })
}

pub fn entry(name: &str, role: Role, who: &str) -> PermissionEntry {
    let DatasetName { tenant, dataset } = dataset(name);
    PermissionEntry {
        tenant,
        dataset,
        role,
        user: user(who),
    }
}

pub fn grant(name: &str, role: Role, who: &str) -> Transaction {
    Transaction::PermissionAdd(entry(name, role, who))
}

pub fn revoke(name: &str, role: Role, who: &str) -> Transaction {
    Transaction::PermissionRemove(entry(name, role, who))
}

pub fn version(document: &str, version: u64) -> VersionName {
    let mut parts = document.split('/');
    let mut next = || id(parts.next().unwrap());
    VersionName {
        tenant: next(),
        dataset: next(),
        document: next(),
        version,
    }
}

/// A key wrapped for this write.
pub fn wrapped(y: &Point, name: &VersionName, writer: &str) -> VerifiedWrappedKey {
    let label = record::label::wrapped_key_label(name, &user(writer));
    reencrypt::wrap(y, &label, &[42; 32], &mut rand::rng()).unwrap()
}

/// A write of version `number` that fits a dataset of threshold encryption and storage off the ledger.
pub fn threshold_write(document: &str, number: u64, writer: &str, y: &Point) -> Write {
    let name = version(document, number);
    let wrapped_key = wrapped(y, &name, writer).as_bytes().to_vec();
    Write {
        key: KeyWrapping::Threshold { wrapped_key },
        wrapped_dek1: vec![1; 60],
        ..plain_write(document, number)
    }
}

/// A write that fits a dataset without encryption and storage off the ledger.
pub fn plain_write(document: &str, number: u64) -> Write {
    let VersionName {
        tenant,
        dataset,
        document,
        version,
    } = version(document, number);
    Write {
        tenant,
        dataset,
        document,
        version,
        content_type: Some("text/plain".into()),
        length: 5,
        checksum: [3; 32],
        wrapped_dek1: vec![],
        key: KeyWrapping::None,
        body: Body::OffChain {
            pointer: b"somewhere".to_vec(),
        },
    }
}

/// A read of what `state` has under this name, by a client whose key is `client`.
pub fn threshold_read(state: &State, name: &VersionName, client: &[u8]) -> (Read, EphemeralSecret) {
    let key = state
        .version(name)
        .unwrap()
        .content
        .as_ref()
        .unwrap()
        .threshold
        .unwrap();
    let y = Point::from_bytes(&key.public_key).unwrap();
    let secret = EphemeralSecret::for_write(&y, &key.write_id, &mut rand::rng());
    let reencryption = Reencryption {
        write_id: key.write_id,
        ephemeral_key: secret.public().as_bytes().to_vec(),
        client_spki: client.to_vec(),
    };
    (
        Read {
            reencryption: Some(reencryption),
            ..plain_read(name)
        },
        secret,
    )
}

pub fn plain_read(name: &VersionName) -> Read {
    let VersionName {
        tenant,
        dataset,
        document,
        version,
    } = name.clone();
    Read {
        tenant,
        dataset,
        document,
        version,
        reencryption: None,
    }
}

/// SubjectPublicKeyInfo of an Ed25519 key (RFC 8410).
pub fn spki(name: &str) -> Vec<u8> {
    let mut der = vec![
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    der.extend(public(name));
    der
}
