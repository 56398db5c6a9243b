//! A cluster in one process, over real QUIC on loopback: honest nodes, and impostors that do what they are told.
#![allow(
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

mod impostor;

pub use impostor::*;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use certs::{Algorithm, Approval, Issuer, Organisation, Policy, PolicyConfig};
use cryptonode::audit::{AuditError, AuditRecord};
use cryptonode::client::{
    Client, ClientIdentity, ClientOptions, Cluster, ClusterDescriptor, Dialer, MemberDescriptor,
    Peer, PeerOptions,
};
use cryptonode::keyring::{ActiveKey, KeyEntry, Keyring};
use cryptonode::server::{
    AuditSink, CeremonyHandler, Counters, Limits, Refusal, Serving, Witnessing, bind, serve,
};
use cryptonode::telemetry::Telemetry;
use cryptonode::wire::v1::{Answer, ByteBuf, EvidenceItem, Request};
use cryptonode::witness::Reply;
use ed25519_dalek::SigningKey;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reencrypt::{
    CertifiedMember, EphemeralSecret, KeyCertificate, KeyShare, KeyStatement, Point,
    PublicKeyPackage, ResultName, Scalar, SecretScalar, VerifiedWrappedKey, wrap,
};
use sha2::Digest;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const SECRET: &[u8] = b"the data encryption key of a document";

pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as u64
}

pub fn now() -> u64 {
    now_ms() / 1000
}

/// An audit log in memory that can fail, be slow, or count.
#[derive(Default)]
pub struct MemoryAudit {
    pub records: Mutex<Vec<AuditRecord>>,
    pub fails: AtomicBool,
    /// More waits for the disk than is taken on.
    pub full: AtomicBool,
    pub delay_ms: AtomicU64,
}

impl AuditSink for MemoryAudit {
    fn append(&self, record: AuditRecord) -> BoxFuture<'_, Result<u64, AuditError>> {
        async move {
            tokio::time::sleep(Duration::from_millis(self.delay_ms.load(Ordering::Relaxed))).await;
            if self.full.load(Ordering::Relaxed) {
                return Err(AuditError::Busy);
            }
            if self.fails.load(Ordering::Relaxed) {
                return Err(AuditError::Closed);
            }
            let mut records = self.records.lock().unwrap();
            records.push(record);
            Ok(records.len() as u64 - 1)
        }
        .boxed()
    }

    fn checkpoint(&self) -> BoxFuture<'_, Result<String, AuditError>> {
        async { Ok(format!("test/log\n{}\nAAAA\n", self.size())) }.boxed()
    }

    fn read(&self, from: u64, limit: u32, _max_bytes: usize) -> Result<Vec<Vec<u8>>, AuditError> {
        let records = self.records.lock().unwrap();
        records
            .iter()
            .skip(from as usize)
            .take(limit as usize)
            .map(|record| Ok(record.to_bytes()?))
            .collect()
    }

    fn size(&self) -> u64 {
        self.records.lock().unwrap().len() as u64
    }
}

/// Echoes the messages of the members it knows.
pub struct Echo(pub Vec<[u8; 32]>);

impl CeremonyHandler for Echo {
    fn is_member(&self, identity: &[u8; 32]) -> bool {
        self.0.contains(identity)
    }

    fn handle(&self, from: [u8; 32], message: Vec<u8>) -> BoxFuture<'_, Result<Vec<u8>, Refusal>> {
        async move {
            match message.as_slice() {
                b"refuse" => Err(Refusal::Ceremony {
                    code: "no-ceremony",
                    message: "There is none.".into(),
                }),
                _ => Ok([from.as_slice(), &message].concat()),
            }
        }
        .boxed()
    }

    fn policy(&self, hash: [u8; 32]) -> BoxFuture<'_, Option<Vec<u8>>> {
        async move { (hash == [7; 32]).then(|| b"a policy".to_vec()) }.boxed()
    }
}

/// A node without witnesses.
pub struct Alone;

impl Witnessing for Alone {
    fn offered(&self, _: [u8; 32], _: String) -> BoxFuture<'_, Result<Reply, Refusal>> {
        async { Ok(Reply::Seen(String::new())) }.boxed()
    }

    fn cosigned(&self) -> Option<String> {
        None
    }

    fn consistency(&self, _: u64, _: u64) -> Result<Vec<[u8; 32]>, Refusal> {
        Ok(Vec::new())
    }

    fn evidence(&self) -> Vec<EvidenceItem> {
        Vec::new()
    }
}

/// The secrets of a cluster key, and who may approve.
pub struct Material {
    pub secret: Scalar,
    pub result: ResultName,
    pub public_key: Point,
    pub shares: Vec<Scalar>,
    pub package: PublicKeyPackage,
    pub issuers: Arc<Vec<Issuer>>,
    pub policy: Policy,
    pub identities: Vec<SigningKey>,
}

impl Material {
    pub fn new(threshold: u16, members: u16, approvals_needed: u16) -> Self {
        let mut rng = rand::rng();
        let secret = *SecretScalar::random(&mut rng).expose();
        let result = ResultName {
            epoch: 0,
            attempt: 1,
            hash: [0; 64],
        };
        let (shares, package) = share_out(secret, result.epoch, threshold, members);
        let public_key = package.public_key();
        let (from, to) = (now() - 86_400, now() + 86_400 * 365);
        let names = ["Hospital A", "Hospital B", "Ministry", "University"];
        let algorithms = [
            Algorithm::Ed25519,
            Algorithm::EcdsaP256,
            Algorithm::Ed25519,
            Algorithm::Ed25519,
        ];
        let issuers: Arc<Vec<Issuer>> = Arc::new(
            names
                .iter()
                .zip(algorithms)
                .map(|(name, algorithm)| Issuer::generate(name, algorithm, from, to).unwrap())
                .collect(),
        );
        let policy = Policy::new(PolicyConfig {
            approvals_needed,
            organisations: names
                .iter()
                .zip(issuers.iter())
                .map(|(name, issuer)| Organisation {
                    name: (*name).to_owned(),
                    issuers: vec![issuer.certificate_der().to_vec()],
                })
                .collect(),
            max_lifetime_s: 300,
            tolerance_s: 30,
        })
        .unwrap();
        let identities = (0..members)
            .map(|_| SigningKey::from_bytes(&rand::random()))
            .collect();
        Self {
            secret,
            result,
            public_key,
            shares,
            package,
            issuers,
            policy,
            identities,
        }
    }

    pub fn key_share(&self, index: u16) -> KeyShare {
        let secret = SecretScalar::from_scalar(self.shares[usize::from(index) - 1]).unwrap();
        KeyShare::new(index, self.result.epoch, self.public_key, secret).unwrap()
    }

    /// The same key shared out again to these members.
    pub fn reshared(&self, threshold: u16, identities: Vec<SigningKey>, attempt: u32) -> Self {
        let epoch = self.result.epoch + 1;
        let (shares, package) = share_out(self.secret, epoch, threshold, identities.len() as u16);
        Self {
            secret: self.secret,
            result: ResultName {
                epoch,
                attempt,
                hash: rand::random(),
            },
            public_key: self.public_key,
            shares,
            package,
            issuers: Arc::clone(&self.issuers),
            policy: self.policy.clone(),
            identities,
        }
    }

    /// The certificate of the key, signed under Y: x is known here.
    pub fn key_certificate(&self) -> KeyCertificate {
        let members = self
            .identities
            .iter()
            .zip(self.package.public_shares())
            .zip(1..)
            .map(|((identity, share), index)| CertifiedMember {
                name: format!("node{index}"),
                identity: identity.verifying_key().to_bytes(),
                public_share: *share.as_bytes(),
                recovery_public: *Point::generator().as_bytes(),
            })
            .collect();
        let statement = KeyStatement {
            result: self.result,
            members,
            threshold: self.package.threshold(),
            public_key: *self.public_key.as_bytes(),
            policy_hash: self.policy.hash(),
        }
        .to_bytes();
        let signature = sign_under(&self.secret, &KeyStatement::message(&statement));
        let bytes = KeyStatement::with_signature(&statement, signature);
        KeyCertificate::verify(&bytes, self.public_key.as_bytes()).unwrap()
    }

    /// A share that is not the member's: it answers with true proofs of a false statement's neighbour.
    pub fn wrong_share(&self, index: u16) -> KeyShare {
        KeyShare::new(
            index,
            0,
            self.public_key,
            SecretScalar::random(&mut rand::rng()),
        )
        .unwrap()
    }

    pub fn active_key(&self, index: u16, addresses: &[String]) -> ActiveKey {
        ActiveKey {
            share: self.key_share(index),
            package: self.package.clone(),
            result: self.result,
            policy: self.policy.clone(),
            members: self
                .identities
                .iter()
                .zip(addresses)
                .enumerate()
                .map(|(position, (identity, address))| dkg::MemberIdentity {
                    name: format!("node{}", position + 1),
                    identity: identity.verifying_key().to_bytes(),
                    recovery_public: *Point::generator().as_bytes(),
                    address: address.clone(),
                })
                .collect(),
            certificate: b"certificate of the ceremony".to_vec(),
        }
    }

    pub fn approve(&self, read: &Read, spki: &[u8], organisations: &[usize]) -> Vec<Vec<u8>> {
        self.approve_within(read, spki, organisations, now() - 5, now() + 200)
    }

    pub fn approve_within(
        &self,
        read: &Read,
        spki: &[u8],
        organisations: &[usize],
        not_before: u64,
        not_after: u64,
    ) -> Vec<Vec<u8>> {
        organisations
            .iter()
            .map(|&organisation| {
                self.issuers[organisation]
                    .issue(&Approval {
                        write_id: read.wrapped.write_id(),
                        ephemeral_point: *read.ephemeral.public().point().as_bytes(),
                        approval_id: format!("read-1/{organisation}"),
                        client_spki: spki.to_vec(),
                        not_before,
                        not_after,
                    })
                    .unwrap()
            })
            .collect()
    }
}

/// A t-of-n sharing of x.
fn share_out(
    secret: Scalar,
    epoch: u64,
    threshold: u16,
    members: u16,
) -> (Vec<Scalar>, PublicKeyPackage) {
    let mut coefficients = vec![secret];
    coefficients.extend((1..threshold).map(|_| *SecretScalar::random(&mut rand::rng()).expose()));
    let share = |index: u16| {
        coefficients
            .iter()
            .rev()
            .fold(Scalar::ZERO, |sum, a| sum * Scalar::from(index) + a)
    };
    let shares: Vec<Scalar> = (1..=members).map(share).collect();
    let public = |scalar: &Scalar| SecretScalar::from_scalar(*scalar).unwrap().public();
    let public_shares = shares.iter().map(public).collect();
    let package = PublicKeyPackage::new(public(&secret), epoch, threshold, public_shares).unwrap();
    (shares, package)
}

/// A signature as t members make it together (RFC 9591), by whoever has the whole x.
pub fn sign_under(secret: &Scalar, message: &[u8]) -> [u8; 64] {
    let nonce = SecretScalar::random(&mut rand::rng());
    let public_key = SecretScalar::from_scalar(*secret).unwrap().public();
    let challenge = Scalar::from_bytes_mod_order_wide(
        &sha2::Sha512::new()
            .chain_update("FROST-RISTRETTO255-SHA512-v1chal")
            .chain_update(nonce.public().as_bytes())
            .chain_update(public_key.as_bytes())
            .chain_update(message)
            .finalize()
            .into(),
    );
    let z = nonce.expose() + challenge * secret;
    [*nonce.public().as_bytes(), z.to_bytes()]
        .concat()
        .try_into()
        .unwrap()
}

/// One read: a wrapped key and the ephemeral secret made for it.
pub struct Read {
    pub wrapped: VerifiedWrappedKey,
    pub ephemeral: EphemeralSecret,
}

impl Read {
    pub fn new(public_key: &Point) -> Self {
        let mut rng = rand::rng();
        let wrapped = wrap(public_key, b"tenant/dataset/document", SECRET, &mut rng).unwrap();
        let ephemeral = EphemeralSecret::new(&wrapped, &mut rng);
        Self { wrapped, ephemeral }
    }

    pub fn request(&self, approvals: &[Vec<u8>]) -> Request {
        reencrypt_request(
            self.wrapped.as_bytes(),
            self.ephemeral.public().as_bytes(),
            approvals,
        )
    }
}

pub fn reencrypt_request(wrapped: &[u8], ephemeral: &[u8], approvals: &[Vec<u8>]) -> Request {
    Request::Reencrypt {
        result: None,
        approvals: approvals
            .iter()
            .map(|approval| ByteBuf::from(approval.as_slice()))
            .collect(),
        traceparent: None,
        wrapped_key: ByteBuf::from(wrapped),
        ephemeral_key: ByteBuf::from(ephemeral),
    }
}

/// A node of this process.
pub struct Node {
    pub address: SocketAddr,
    pub serving: Arc<Serving>,
    pub audit: Arc<MemoryAudit>,
    pub identity: SigningKey,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Node {
    pub fn start(material: &Material, index: u16, address: SocketAddr, limits: Limits) -> Self {
        Self::start_with(material, index, address, limits, |_| {})
    }

    pub fn start_with(
        material: &Material,
        index: u16,
        address: SocketAddr,
        limits: Limits,
        change: impl FnOnce(&mut Serving),
    ) -> Self {
        let identity = material.identities[usize::from(index) - 1].clone();
        let endpoint = bind(address, &identity, &limits).unwrap();
        let address = endpoint.local_addr().unwrap();
        let keyring = Keyring::new();
        let addresses: Vec<String> = material
            .identities
            .iter()
            .map(|_| address.to_string())
            .collect();
        keyring
            .insert(material.active_key(index, &addresses))
            .unwrap();
        let audit = Arc::new(MemoryAudit::default());
        let mut serving = Serving {
            identity: identity.verifying_key().to_bytes(),
            software: cryptonode::server::SOFTWARE.to_owned(),
            keyring: Arc::new(keyring),
            audit: Arc::clone(&audit) as Arc<dyn AuditSink>,
            ceremony: Arc::new(Echo(
                material
                    .identities
                    .iter()
                    .map(|i| i.verifying_key().to_bytes())
                    .collect(),
            )),
            witness: Arc::new(Alone),
            gate: Arc::default(),
            clock_ms: now_ms,
            counters: Arc::new(Counters::default()),
            telemetry: Telemetry::default(),
        };
        change(&mut serving);
        let serving = Arc::new(serving);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(endpoint, Arc::clone(&serving), limits, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            serving,
            audit,
            identity,
            stop: Some(stop),
            task,
        }
    }

    /// Asks the node to stop; returns what resolves when it has.
    pub fn stop(mut self) -> impl Future<Output = ()> {
        let _ = self.stop.take().unwrap().send(());
        async move { self.task.await.unwrap() }
    }

    /// The node activates its share of another result, as a member with this index.
    pub fn activate(&self, material: &Material, index: u16, addresses: &[SocketAddr]) {
        let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let key = material.active_key(index, &addresses);
        self.serving.keyring.insert(key).unwrap();
    }

    /// The node is shown a certificate, with addresses.
    pub fn learn(&self, material: &Material, addresses: &[SocketAddr]) {
        let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let certificate = material.key_certificate();
        let own = self.identity.verifying_key().to_bytes();
        self.change(|entry| {
            entry.learn(&certificate, &addresses, &own, now(), now() + 60);
        });
    }

    pub fn change(&self, step: impl FnOnce(&mut KeyEntry)) {
        let keyring = &self.serving.keyring;
        let [entry] = &keyring.entries()[..] else {
            panic!("not one key")
        };
        let changed: Result<(), ()> = keyring.change(
            entry.public_key(),
            |entry| {
                step(entry);
                Ok(())
            },
            |_, _| Ok(()),
        );
        changed.unwrap();
    }

    pub fn refusals(&self, code: &str) -> u64 {
        self.serving
            .counters
            .snapshot()
            .refused
            .get(code)
            .copied()
            .unwrap_or_default()
    }
}

/// A socket that takes every datagram and answers none.
pub fn black_hole() -> (std::net::UdpSocket, SocketAddr) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

pub fn cluster(material: &Material, addresses: &[SocketAddr]) -> Cluster {
    ClusterDescriptor {
        version: 1,
        public_key: *material.public_key.as_bytes(),
        epoch: material.result.epoch,
        attempt: material.result.attempt,
        threshold: material.package.threshold(),
        members: addresses
            .iter()
            .zip(&material.identities)
            .enumerate()
            .map(|(position, (address, identity))| MemberDescriptor {
                index: position as u16 + 1,
                name: format!("node{}", position + 1),
                identity: identity.verifying_key().to_bytes(),
                address: address.to_string(),
                public_share: *material
                    .package
                    .public_share(position as u16 + 1)
                    .unwrap()
                    .as_bytes(),
            })
            .collect(),
        policy_hash: material.policy.hash(),
    }
    .check()
    .unwrap()
}

pub fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// All members honest.
pub fn honest(material: &Material) -> Vec<Node> {
    (1..=material.package.members())
        .map(|index| Node::start(material, index, loopback(), Limits::default()))
        .collect()
}

pub fn client(material: &Material, addresses: &[SocketAddr], options: ClientOptions) -> Client {
    Client::new(
        cluster(material, addresses),
        ClientIdentity::generate().unwrap(),
        options,
    )
    .unwrap()
}

pub fn addresses(nodes: &[Node]) -> Vec<SocketAddr> {
    nodes.iter().map(|node| node.address).collect()
}

/// A peer of one node, and the key that it presents.
pub fn peer(node: &Node) -> (Peer, Vec<u8>) {
    peer_as(node, ClientIdentity::generate().unwrap())
}

pub fn peer_as(node: &Node, identity: ClientIdentity) -> (Peer, Vec<u8>) {
    let spki = identity.spki().to_vec();
    let dialer = Dialer::new(identity, PeerOptions::default());
    let peer = dialer
        .peer(
            &node.address.to_string(),
            &node.identity.verifying_key().to_bytes(),
        )
        .unwrap();
    (peer, spki)
}

pub fn refusal(answer: Answer) -> (String, String, Option<u64>) {
    match answer {
        Answer::Refused {
            code,
            message,
            retry_after_ms,
        } => (code, message, retry_after_ms),
        other => panic!("not refused: {other:?}"),
    }
}

/// A node of three, and the secrets of its cluster.
pub fn one() -> (Material, Node) {
    one_with(Limits::default())
}

pub fn one_with(limits: Limits) -> (Material, Node) {
    let material = Material::new(2, 3, 3);
    let node = Node::start(&material, 1, loopback(), limits);
    (material, node)
}

/// A bare QUIC connection of a client with a certificate.
pub async fn raw(node: &Node) -> quinn::Connection {
    let identity = ClientIdentity::generate().unwrap();
    let config =
        cryptonode::tls::client_config(&identity, &node.identity.verifying_key().to_bytes())
            .unwrap();
    let endpoint = quinn::Endpoint::client(loopback()).unwrap();
    let config = quinn::ClientConfig::new(Arc::new(config));
    endpoint
        .connect_with(config, node.address, "any.name")
        .unwrap()
        .await
        .unwrap()
}

/// Sends bytes as they are, and reads what comes.
pub async fn send_raw(connection: &quinn::Connection, bytes: &[u8]) -> Answer {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    if send.write_all(bytes).await.is_ok() {
        let _ = send.finish();
    }
    Answer::from_bytes(&receive.read_to_end(1 << 20).await.unwrap()).unwrap()
}

pub async fn assert_alive(material: &Material, node: &Node) {
    let (peer, spki) = peer(node);
    let read = Read::new(&material.public_key);
    let answer = peer
        .call(&read.request(&material.approve(&read, &spki, &[0, 1, 2])))
        .await
        .unwrap();
    assert!(matches!(answer, Answer::Share { .. }), "{answer:?}");
}
