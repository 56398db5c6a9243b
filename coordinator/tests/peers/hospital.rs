//! A tenant of a federation, with a document under a cluster key that its administrator writes and reads.

use crate::federation::{Federation, id};
use coordinator::platform::now_ms;
use coordinator::record::label::wrapped_key_label;
use coordinator::record::wire::Submitted;
use coordinator::record::{
    Author, Body, DatasetCreate, Encryption, KeyWrapping, PermissionEntry, Read, Reencryption,
    Role, SignedTransaction, Storage, TenantRegister, Transaction, TransactionId,
    UnsignedTransaction, UserName, UserRegister, UserRole, VersionName, Write,
};
use ed25519_dalek::SigningKey;
use reencrypt::{EphemeralSecret, Point, SecretScalar};

pub(crate) struct Hospital {
    admin: SigningKey,
    cluster: Point,
    write_id: [u8; 32],
}

fn admin() -> UserName {
    UserName {
        tenant: id("hospital"),
        user: id("admin"),
    }
}

fn version() -> VersionName {
    VersionName {
        tenant: id("hospital"),
        dataset: id("scans"),
        document: id("scan"),
        version: 1,
    }
}

impl Hospital {
    /// Registers the tenant at the first peer, and writes the document at each of the others in turn.
    pub(crate) async fn open(federation: &Federation) -> Self {
        let admin_key = SigningKey::from_bytes(&[5; 32]);
        let cluster = SecretScalar::from_canonical_bytes(&[3; 32].map(|byte| byte & 0x0f))
            .unwrap()
            .public();
        let mut hospital = Self {
            admin: admin_key,
            cluster,
            write_id: [0; 32],
        };
        let register = UnsignedTransaction {
            author: Author::Organisation(federation.peers[0].name.clone()),
            ..hospital.unsigned(
                federation,
                Transaction::TenantRegister(TenantRegister {
                    tenant: id("hospital"),
                    administrator: id("admin"),
                    public_key: hospital.admin.verifying_key().to_bytes(),
                }),
            )
        };
        record(
            federation,
            0,
            &register.sign(&federation.peers[0].key("operator")),
        )
        .await;
        let create = Transaction::DatasetCreate(DatasetCreate {
            tenant: id("hospital"),
            dataset: id("scans"),
            encryption: Encryption::Threshold {
                public_key: *hospital.cluster.as_bytes(),
            },
            storage: Storage::OffChain,
        });
        hospital.record(federation, 1, create).await;
        let name = version();
        let label = wrapped_key_label(&name, &admin());
        let wrapped =
            reencrypt::wrap(&hospital.cluster, &label, &[42; 32], &mut rand::rng()).unwrap();
        hospital.write_id = wrapped.write_id();
        let write = Transaction::Write(Write {
            tenant: name.tenant,
            dataset: name.dataset,
            document: name.document,
            version: 1,
            content_type: None,
            length: 5,
            checksum: [3; 32],
            wrapped_dek1: vec![1; 60],
            key: KeyWrapping::Threshold {
                wrapped_key: wrapped.as_bytes().to_vec(),
            },
            body: Body::OffChain {
                pointer: b"somewhere".to_vec(),
            },
        });
        hospital.record(federation, 2, write).await;
        hospital
    }

    fn unsigned(&self, federation: &Federation, transaction: Transaction) -> UnsignedTransaction {
        UnsignedTransaction {
            ledger: federation.genesis.id(),
            author: Author::User(admin()),
            nonce: rand::random(),
            expires_ms: now_ms() + 600_000,
            transaction,
        }
    }

    async fn record(
        &self,
        federation: &Federation,
        peer: usize,
        transaction: Transaction,
    ) -> TransactionId {
        let signed = self.unsigned(federation, transaction).sign(&self.admin);
        record(federation, peer, &signed).await;
        signed.id()
    }

    /// Registers eve and lets her read.
    pub(crate) async fn let_in_eve(&self, federation: &Federation) -> SigningKey {
        let key = SigningKey::from_bytes(&[6; 32]);
        let register = Transaction::UserRegister(UserRegister {
            tenant: id("hospital"),
            user: id("eve"),
            public_key: key.verifying_key().to_bytes(),
            role: UserRole::Member,
            expires_ms: None,
            managed: false,
        });
        self.record(federation, 0, register).await;
        let entry = Transaction::PermissionAdd(eves_entry());
        self.record(federation, 1, entry).await;
        key
    }

    /// Takes her out again, by way of a peer.
    pub(crate) async fn put_eve_out(&self, federation: &Federation, peer: usize) {
        let entry = Transaction::PermissionRemove(eves_entry());
        self.record(federation, peer, entry).await;
    }

    /// Reads the document by way of a peer.
    pub(crate) async fn read(&self, federation: &Federation, peer: usize) -> TransactionId {
        let read = self.reading();
        self.record(federation, peer, read).await
    }

    /// A read of eve's, signed and not submitted.
    pub(crate) fn eves_read(&self, federation: &Federation, key: &SigningKey) -> SignedTransaction {
        let unsigned = UnsignedTransaction {
            author: Author::User(eve()),
            ..self.unsigned(federation, self.reading())
        };
        unsigned.sign(key)
    }

    fn reading(&self) -> Transaction {
        let secret = EphemeralSecret::for_write(&self.cluster, &self.write_id, &mut rand::rng());
        let name = version();
        // SubjectPublicKeyInfo of an Ed25519 key (RFC 8410).
        let mut client_spki = vec![
            0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
        ];
        client_spki.extend(self.admin.verifying_key().to_bytes());
        Transaction::Read(Read {
            tenant: name.tenant,
            dataset: name.dataset,
            document: name.document,
            version: 1,
            reencryption: Some(Reencryption {
                write_id: self.write_id,
                ephemeral_key: secret.public().as_bytes().to_vec(),
                client_spki,
            }),
        })
    }
}

fn eve() -> UserName {
    UserName {
        tenant: id("hospital"),
        user: id("eve"),
    }
}

fn eves_entry() -> PermissionEntry {
    PermissionEntry {
        tenant: id("hospital"),
        dataset: id("scans"),
        role: Role::Reader,
        user: eve(),
    }
}

async fn record(federation: &Federation, peer: usize, signed: &SignedTransaction) {
    let submitted = federation.submit(peer, signed).await;
    assert!(
        matches!(submitted, Submitted::Recorded { .. }),
        "{submitted:?}"
    );
}
