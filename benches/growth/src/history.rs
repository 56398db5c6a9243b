//! The transactions: one organisation's tenants, their users and datasets, and documents that are written and read.

use crate::measure::Failure;
use certs::{Algorithm, Issuer};
use coordinator::record::{
    Author, Body, DatasetCreate, Encryption, Genesis, Identifier, KeyWrapping, Organisation,
    PeerKeys, PermissionSet, Read, Reencryption, Role, SignedTransaction, Storage, TenantRegister,
    Transaction, UnsignedTransaction, UserName, UserRegister, UserRole, VersionName, Write,
    label::wrapped_key_label,
};
use ed25519_dalek::SigningKey;
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::StdRng};
use reencrypt::{EphemeralSecret, Point, SecretScalar};
use std::path::Path;

/// The time of the genesis: any would do.
pub(crate) const GENESIS_MS: u64 = 1_800_000_000_000;
const GENESIS: &str = "genesis.cbor";
const HEAD: &str = "head.key";
const CERTIFICATE: &str = "org.pem";
const KEY: &str = "org.key";
/// All that lies beside the store.
pub(crate) const KEPT: [&str; 4] = [GENESIS, HEAD, CERTIFICATE, KEY];
const USERS: usize = 100;
const DATASETS: usize = 20;
/// Documents that are read: the latest ones.
const RECENT: usize = 4096;

fn id(name: &str) -> Result<Identifier, Failure> {
    Identifier::new(name).map_err(Failure::of)
}

/// Makes one transaction after the other.
pub(crate) struct History {
    rng: StdRng,
    pub(crate) genesis: Genesis,
    operator: SigningKey,
    head: SigningKey,
    authority: (String, String),
    users: Vec<(UserName, SigningKey)>,
    cluster: Point,
    recent: Vec<(VersionName, [u8; 32])>,
    written: u64,
    reads: u8,
}

impl History {
    pub(crate) fn new(seed: u64, reads: u8) -> Result<Self, Failure> {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut key = || SigningKey::from_bytes(&rng.random());
        let (operator, head) = (key(), key());
        let tenant = id("tenant")?;
        let users = (0..USERS)
            .map(|number| {
                let user = id(&format!("user-{number}"))?;
                let tenant = tenant.clone();
                Ok((UserName { tenant, user }, key()))
            })
            .collect::<Result<_, Failure>>()?;
        let now = GENESIS_MS / 1000;
        let issuer = Issuer::generate("org", Algorithm::Ed25519, now - 60, now + 86_400 * 3650)
            .map_err(Failure::of)?;
        let organisation = Organisation {
            name: id("org")?,
            operator_key: operator.verifying_key().to_bytes(),
            head_key: head.verifying_key().to_bytes(),
            issuers: vec![serde_bytes::ByteBuf::from(issuer.certificate_der())],
        };
        let genesis = Genesis {
            name: id("growth")?,
            nonce: rng.random(),
            time_ms: GENESIS_MS,
            organisations: vec![organisation],
            epoch_batches: None,
        };
        let cluster = SecretScalar::random(&mut rng).public();
        Ok(Self {
            rng,
            genesis,
            operator,
            head,
            authority: (issuer.certificate_pem(), issuer.key_pem().to_string()),
            users,
            cluster,
            recent: Vec::new(),
            written: 0,
            reads,
        })
    }

    pub(crate) fn keys(&self) -> Result<PeerKeys, Failure> {
        Ok(PeerKeys {
            organisation: id("org")?,
            head_key: self.head.clone(),
            issuer: Issuer::from_pem(&self.authority.0, &self.authority.1).map_err(Failure::of)?,
        })
    }

    /// Writes down what whoever opens the store needs: keys that are good for this and nothing else.
    pub(crate) fn keep(&self, dir: &Path) -> Result<(), Failure> {
        std::fs::write(dir.join(GENESIS), self.genesis.to_bytes())?;
        std::fs::write(dir.join(HEAD), self.head.to_bytes())?;
        std::fs::write(dir.join(CERTIFICATE), &self.authority.0)?;
        Ok(std::fs::write(dir.join(KEY), &self.authority.1)?)
    }

    /// What was kept: the genesis, and the peer's keys.
    pub(crate) fn kept(dir: &Path) -> Result<(Genesis, PeerKeys), Failure> {
        let genesis =
            Genesis::from_bytes(&std::fs::read(dir.join(GENESIS))?).map_err(Failure::of)?;
        let head: [u8; 32] = std::fs::read(dir.join(HEAD))?
            .try_into()
            .map_err(|_| Failure::Empty)?;
        let certificate = std::fs::read_to_string(dir.join(CERTIFICATE))?;
        let key = std::fs::read_to_string(dir.join(KEY))?;
        let keys = PeerKeys {
            organisation: id("org")?,
            head_key: SigningKey::from_bytes(&head),
            issuer: Issuer::from_pem(&certificate, &key).map_err(Failure::of)?,
        };
        Ok((genesis, keys))
    }

    /// The tenant, its users, and its datasets, in which all of them may write and read.
    pub(crate) fn founding(&mut self) -> Result<Vec<SignedTransaction>, Failure> {
        let tenant = id("tenant")?;
        let (first, key) = self.user(0)?;
        let register = Transaction::TenantRegister(TenantRegister {
            tenant: tenant.clone(),
            administrator: first.user.clone(),
            public_key: key.verifying_key().to_bytes(),
        });
        let operator = self.operator.clone();
        let author = Author::Organisation(id("org")?);
        let mut all = vec![self.sign(author, &operator, register, GENESIS_MS)];
        for number in 1..self.users.len() {
            let (name, key) = self.user(number)?;
            let member = Transaction::UserRegister(UserRegister {
                tenant: tenant.clone(),
                user: name.user,
                public_key: key.verifying_key().to_bytes(),
                role: UserRole::Member,
                expires_ms: None,
                managed: false,
            });
            all.push(self.by(0, member, GENESIS_MS)?);
        }
        let mut names: Vec<UserName> = self.users.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        for number in 0..DATASETS {
            let dataset = id(&format!("dataset-{number}"))?;
            let create = Transaction::DatasetCreate(DatasetCreate {
                tenant: tenant.clone(),
                dataset: dataset.clone(),
                encryption: Encryption::Threshold {
                    public_key: *self.cluster.as_bytes(),
                },
                storage: Storage::OffChain,
            });
            let owners = Transaction::PermissionSet(PermissionSet {
                tenant: tenant.clone(),
                dataset,
                version: 2,
                role: Role::Owner,
                users: names.clone(),
            });
            all.push(self.by(0, create, GENESIS_MS)?);
            all.push(self.by(0, owners, GENESIS_MS)?);
        }
        Ok(all)
    }

    /// A write of a new document, or a read of one that was written lately.
    pub(crate) fn next(&mut self, now_ms: u64) -> Result<SignedTransaction, Failure> {
        let reads = self.rng.random_range(0..10) < self.reads;
        let who = self.rng.random_range(0..self.users.len());
        let transaction = if reads && !self.recent.is_empty() {
            self.read()?
        } else {
            self.write(who)?
        };
        self.by(who, transaction, now_ms)
    }

    fn write(&mut self, who: usize) -> Result<Transaction, Failure> {
        let number = self.written;
        self.written += 1;
        let name = VersionName {
            tenant: id("tenant")?,
            dataset: id(&format!("dataset-{}", number % DATASETS as u64))?,
            document: id(&format!("document-{number}"))?,
            version: 1,
        };
        let label = wrapped_key_label(&name, &self.user(who)?.0);
        let wrapped =
            reencrypt::wrap(&self.cluster, &label, &[7; 32], &mut self.rng).map_err(Failure::of)?;
        let at = usize::try_from(number).unwrap_or(0) % RECENT;
        match self.recent.get_mut(at) {
            Some(old) => *old = (name.clone(), wrapped.write_id()),
            None => self.recent.push((name.clone(), wrapped.write_id())),
        }
        let mut bytes = [0; 124];
        self.rng.fill_bytes(&mut bytes);
        let (pointer, wrapped_dek1) = bytes.split_at(64);
        Ok(Transaction::Write(Write {
            tenant: name.tenant,
            dataset: name.dataset,
            document: name.document,
            version: 1,
            content_type: Some("application/pdf".to_owned()),
            length: self.rng.random_range(1_000..10_000_000),
            checksum: self.rng.random(),
            wrapped_dek1: wrapped_dek1.to_vec(),
            key: KeyWrapping::Threshold {
                wrapped_key: wrapped.as_bytes().to_vec(),
            },
            body: Body::OffChain {
                pointer: pointer.to_vec(),
            },
        }))
    }

    fn read(&mut self) -> Result<Transaction, Failure> {
        let which = self.rng.random_range(0..self.recent.len());
        let (name, write_id) = self.recent.get(which).cloned().ok_or(Failure::Empty)?;
        let secret = EphemeralSecret::for_write(&self.cluster, &write_id, &mut self.rng);
        // SubjectPublicKeyInfo of an Ed25519 key (RFC 8410): any client's.
        let mut client_spki = vec![
            0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
        ];
        client_spki.extend(self.rng.random::<[u8; 32]>());
        Ok(Transaction::Read(Read {
            tenant: name.tenant,
            dataset: name.dataset,
            document: name.document,
            version: name.version,
            reencryption: Some(Reencryption {
                write_id,
                ephemeral_key: secret.public().as_bytes().to_vec(),
                client_spki,
            }),
        }))
    }

    fn user(&self, number: usize) -> Result<(UserName, SigningKey), Failure> {
        self.users.get(number).cloned().ok_or(Failure::Empty)
    }

    fn by(
        &mut self,
        who: usize,
        transaction: Transaction,
        now_ms: u64,
    ) -> Result<SignedTransaction, Failure> {
        let (name, key) = self.user(who)?;
        Ok(self.sign(Author::User(name), &key, transaction, now_ms))
    }

    fn sign(
        &mut self,
        author: Author,
        key: &SigningKey,
        transaction: Transaction,
        now_ms: u64,
    ) -> SignedTransaction {
        UnsignedTransaction {
            ledger: self.genesis.id(),
            author,
            nonce: self.rng.random(),
            expires_ms: now_ms + 60_000,
            transaction,
        }
        .sign(key)
    }
}
