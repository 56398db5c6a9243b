//! A cluster of crypto nodes in this process: real QUIC, real policy, real shares; the key is dealt, not generated.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use certs::{Binding, Organisation, Policy, PolicyConfig};
use cryptonode::client::{ClientIdentity, ClusterDescriptor, MemberDescriptor};
use cryptonode::tls;
use cryptonode::wire::v1::{Answer, MAX_REQUEST, Request};
use ed25519_dalek::SigningKey;
use quinn::{Connection, Endpoint, ServerConfig};
use reencrypt::{EphemeralKey, KeyShare, Point, Scalar, SecretScalar, WrappedKey, verify_request};
use serde::Deserialize;
use serde_bytes::ByteBuf;

/// Some nodes; they stop when this is dropped.
pub(crate) struct Cluster {
    pub(crate) descriptor: ClusterDescriptor,
    nodes: Vec<Endpoint>,
}

struct Node {
    share: KeyShare,
    policy: Policy,
}

#[derive(Deserialize)]
struct PolicyFile {
    approvals_needed: u16,
    max_lifetime_s: u32,
    tolerance_s: u32,
    organisations: Vec<PolicyOrganisation>,
}

#[derive(Deserialize)]
struct PolicyOrganisation {
    name: String,
    issuers: Vec<String>,
}

/// The policy that `coordinator init` wrote, as a node reads it.
fn read_policy(path: &Path) -> Policy {
    let file: PolicyFile = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let organisations = file.organisations.iter();
    Policy::new(PolicyConfig {
        approvals_needed: file.approvals_needed,
        organisations: organisations
            .map(|it| Organisation::from_pem(&it.name, &it.issuers).unwrap())
            .collect(),
        max_lifetime_s: file.max_lifetime_s,
        tolerance_s: file.tolerance_s,
    })
    .unwrap()
}

impl Cluster {
    /// `threshold` of `members` nodes with the policy in the file.
    pub(crate) fn start(threshold: u16, members: u16, policy: &Path) -> Self {
        let rng = &mut rand::rng();
        let coefficients: Vec<Scalar> = (0..threshold)
            .map(|_| *SecretScalar::random(rng).expose())
            .collect();
        let at = |x: u16| {
            coefficients
                .iter()
                .rev()
                .fold(Scalar::ZERO, |sum, c| sum * Scalar::from(x) + c)
        };
        let secret = |x: u16| SecretScalar::from_scalar(at(x)).unwrap();
        let public_key = secret(0).public();
        let (mut descriptors, mut nodes) = (Vec::new(), Vec::new());
        for index in 1..=members {
            let identity = SigningKey::from_bytes(&rand::random());
            let tls = ClientIdentity::from_signing_key(&identity).unwrap();
            let config = ServerConfig::with_crypto(Arc::new(tls::server_config(&tls).unwrap()));
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let endpoint = Endpoint::server(config, any).unwrap();
            let share = KeyShare::new(index, 0, public_key, secret(index)).unwrap();
            let public_share: Point = secret(index).public();
            descriptors.push(MemberDescriptor {
                index,
                name: format!("node-{index}"),
                identity: identity.verifying_key().to_bytes(),
                address: endpoint.local_addr().unwrap().to_string(),
                public_share: *public_share.as_bytes(),
            });
            let node = Arc::new(Node {
                share,
                policy: read_policy(policy),
            });
            tokio::spawn(serve(endpoint.clone(), node));
            nodes.push(endpoint);
        }
        let policy_hash = read_policy(policy).hash();
        let public_key = *public_key.as_bytes();
        let descriptor = ClusterDescriptor {
            version: 1,
            public_key,
            epoch: 0,
            attempt: 1,
            threshold,
            members: descriptors,
            policy_hash,
        };
        Self { descriptor, nodes }
    }

    /// Stops a node, by its index from 1.
    pub(crate) fn stop(&self, index: usize) {
        self.nodes[index - 1].close(0u32.into(), b"stopped");
    }
}

async fn serve(endpoint: Endpoint, node: Arc<Node>) {
    while let Some(incoming) = endpoint.accept().await {
        let node = node.clone();
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else {
                return;
            };
            while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                let request =
                    Request::from_bytes(&receive.read_to_end(MAX_REQUEST).await.unwrap()).unwrap();
                let answer = answer(&node, &connection, request);
                send.write_all(&answer.to_bytes().unwrap()).await.unwrap();
                send.finish().unwrap();
            }
        });
    }
}

fn answer(node: &Node, connection: &Connection, request: Request) -> Answer {
    let Request::Reencrypt {
        wrapped_key,
        ephemeral_key,
        approvals,
        ..
    } = request
    else {
        return Answer::Refused {
            code: "no-key-certificate".into(),
            message: "This node gives shares and nothing else.".into(),
            retry_after_ms: None,
        };
    };
    let rng = &mut rand::rng();
    let wrapped = WrappedKey::parse(&wrapped_key).unwrap();
    let ephemeral = EphemeralKey::parse(&ephemeral_key).unwrap();
    let binding = Binding {
        write_id: wrapped.write_id(),
        ephemeral_point: *ephemeral.point().as_bytes(),
        client_spki: &tls::peer_key(connection).unwrap(),
    };
    let approvals: Vec<&[u8]> = approvals
        .iter()
        .map(|approval| approval.as_slice())
        .collect();
    let now = coordinator::platform::now_ms() / 1000;
    if let Err(refused) = node.policy.verify(&approvals, &binding, now) {
        let message = format!("{} of {} approvals", refused.counted, refused.needed);
        return Answer::Refused {
            code: "approvals".into(),
            message,
            retry_after_ms: None,
        };
    }
    let (wrapped, ephemeral) = verify_request(&wrapped, &ephemeral, rng).unwrap();
    let share = node.share.reencrypt(&wrapped, &ephemeral, rng).unwrap();
    Answer::Share {
        share: ByteBuf::from(share.to_bytes().as_slice()),
        newest: None,
    }
}
