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
mod material;
mod node;

pub use impostor::*;
pub use material::*;
pub use node::*;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use certs::{Algorithm, Approval, Issuer, Organisation, Policy, PolicyConfig};
use cryptonode::audit::{AuditError, AuditRecord, Committed};
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

/// Far longer than any machine needs for what these tests do.
pub const AGES: Duration = Duration::from_secs(40);

/// Options under which a node that only takes its time, on a busy machine say, is waited for: what was asked says what became of it.
pub fn patient() -> ClientOptions {
    ClientOptions {
        connect_timeout: AGES,
        request_timeout: AGES,
        hedge_after: AGES,
        deadline: 2 * AGES,
        ..ClientOptions::default()
    }
}

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
    fn append(&self, record: AuditRecord) -> BoxFuture<'_, Result<Committed, AuditError>> {
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
            Ok(Committed::now(records.len() as u64 - 1))
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

/// Waits for something that comes by itself, however busy the machine is.
pub async fn until(what: &str, happened: impl Fn() -> bool) {
    let waited = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited)
        .await
        .unwrap_or_else(|_| panic!("it did not happen: {what}"));
}

/// Requests that the node has taken on and not answered.
pub fn open_requests(node: &Node) -> u64 {
    node.serving.counters.snapshot().requests_open
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
    let minute = Duration::from_secs(60);
    let options = PeerOptions {
        connect_timeout: minute,
        request_timeout: minute,
        ..PeerOptions::default()
    };
    let dialer = Dialer::new(identity, options);
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
