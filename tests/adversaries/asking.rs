//! A client made by hand: it asks a node for a share with whatever it is given, and looks at the node's audit log.

use std::sync::Arc;
use std::time::Duration;

use certs::{Approval, Issuer};
use cryptonode::audit::AuditRecord;
use cryptonode::client::{ClientIdentity, Dialer, Peer, PeerOptions};
use cryptonode::wire::v1::{Answer, ByteBuf, Request};
use reencrypt::{EphemeralSecret, Opening, Point, Progress, VerifiedWrappedKey, wrap};
use sha2::{Digest, Sha256};

use crate::cluster::{Scene, now};

/// Generous: the machine may be busy with other tests.
const WITHIN: Duration = Duration::from_secs(30);

/// A client with a TLS key of its own.
pub(crate) struct Client {
    dialer: Arc<Dialer>,
}

/// What a node answered to a request for a share.
#[derive(Debug)]
pub(crate) enum Said {
    Share(Vec<u8>),
    Refused { code: String, message: String },
}

/// A request for a share, every part of it open to be made wrong.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) wrapped_key: Vec<u8>,
    pub(crate) ephemeral_key: Vec<u8>,
    pub(crate) approvals: Vec<Vec<u8>>,
}

pub(crate) fn patient() -> PeerOptions {
    PeerOptions {
        connect_timeout: WITHIN,
        request_timeout: WITHIN,
        ..PeerOptions::default()
    }
}

impl Client {
    pub(crate) fn new() -> Self {
        let identity = ClientIdentity::generate().unwrap();
        Self {
            dialer: Dialer::new(identity, patient()),
        }
    }

    pub(crate) fn spki(&self) -> &[u8] {
        self.dialer.identity().spki()
    }

    /// The node at this place of the description.
    pub(crate) fn peer(&self, scene: &Scene, place: usize) -> Peer {
        let member = &scene.cluster.members()[place];
        self.dialer.peer(&member.address, &member.identity).unwrap()
    }

    pub(crate) async fn ask(&self, scene: &Scene, place: usize, asked: &Asked) -> Said {
        let request = Request::Reencrypt {
            result: None,
            approvals: asked
                .approvals
                .iter()
                .map(|approval| ByteBuf::from(approval.as_slice()))
                .collect(),
            traceparent: None,
            wrapped_key: ByteBuf::from(asked.wrapped_key.as_slice()),
            ephemeral_key: ByteBuf::from(asked.ephemeral_key.as_slice()),
        };
        match self.peer(scene, place).call(&request).await.unwrap() {
            Answer::Share { share, .. } => Said::Share(share.into_vec()),
            Answer::Refused { code, message, .. } => Said::Refused { code, message },
            other => panic!("{other:?}"),
        }
    }

    /// Every node refuses with this code, says `why`, and has logged no share of this wrapped key to this point.
    pub(crate) async fn assert_refused(&self, scene: &Scene, asked: &Asked, code: &str, why: &str) {
        for place in 0..scene.cluster.members().len() {
            match self.ask(scene, place, asked).await {
                Said::Refused {
                    code: said,
                    message,
                } => {
                    assert_eq!(said, code, "{message}");
                    assert!(message.contains(why), "{message:?} does not say {why:?}");
                }
                Said::Share(_) => panic!("node {place} gave a share"),
            }
            assert_eq!(self.logged(scene, place, asked).await, None);
        }
    }

    /// The record of the last share of this wrapped key to this point, in a node's audit log.
    pub(crate) async fn logged(
        &self,
        scene: &Scene,
        place: usize,
        asked: &Asked,
    ) -> Option<AuditRecord> {
        let write_id: [u8; 32] = Sha256::digest(&asked.wrapped_key).into();
        let peer = self.peer(scene, place);
        let (mut from, mut found) = (0, None);
        loop {
            let request = Request::Audit { from, limit: 4096 };
            let Answer::Audit { size, records, .. } = peer.call(&request).await.unwrap() else {
                panic!("no page of the audit log")
            };
            for record in &records {
                let record = AuditRecord::from_bytes(record).unwrap();
                if record.write_id == write_id
                    && record.ephemeral_point[..] == asked.ephemeral_key[..32]
                {
                    found = Some(record);
                }
            }
            from += records.len() as u64;
            if from >= size {
                return found;
            }
        }
    }
}

/// One read: a wrapped key, the ephemeral secret made for it, and the client that asks.
pub(crate) struct Read {
    pub(crate) client: Client,
    pub(crate) secret: Vec<u8>,
    pub(crate) wrapped: VerifiedWrappedKey,
    pub(crate) ephemeral: EphemeralSecret,
}

impl Read {
    pub(crate) fn new(scene: &Scene) -> Self {
        let mut rng = rand::rng();
        let secret: [u8; 32] = rand::random();
        let y = scene.cluster.package().public_key();
        let wrapped = wrap(&y, b"a label", &secret, &mut rng).unwrap();
        let ephemeral = EphemeralSecret::new(&wrapped, &mut rng);
        Self {
            client: Client::new(),
            secret: secret.to_vec(),
            wrapped,
            ephemeral,
        }
    }

    pub(crate) fn x(&self) -> [u8; 32] {
        *self.ephemeral.public().point().as_bytes()
    }

    /// The honest request.
    pub(crate) fn asked(&self, scene: &Scene) -> Asked {
        let by: Vec<&Issuer> = scene.organisations.iter().take(2).collect();
        Asked {
            wrapped_key: self.wrapped.as_bytes().to_vec(),
            ephemeral_key: self.ephemeral.public().as_bytes().to_vec(),
            approvals: approve(&by, self.wrapped.as_bytes(), &self.x(), self.client.spki()),
        }
    }

    /// The honest twin: every node gives its share, its audit log has it with the approvals, and any t shares open.
    pub(crate) async fn assert_opens(self, scene: &Scene, asked: &Asked) {
        let mut answers = Vec::new();
        for (place, member) in scene.cluster.members().iter().enumerate() {
            match self.client.ask(scene, place, asked).await {
                Said::Share(share) => answers.push((member.index, share)),
                refused @ Said::Refused { .. } => panic!("{refused:?}"),
            }
            let record = self.client.logged(scene, place, asked).await.unwrap();
            let client: [u8; 32] = Sha256::digest(self.client.spki()).into();
            assert_eq!(record.client, client);
            let counted: Vec<&str> = record
                .approvals
                .iter()
                .map(|approval| approval.organisation.as_str())
                .collect();
            assert_eq!(counted.len(), usize::from(crate::cluster::APPROVALS));
        }
        let package = scene.cluster.package().clone();
        let mut opening = Opening::new(self.wrapped, self.ephemeral, package).unwrap();
        let opened = answers
            .iter()
            .find_map(|(index, share)| match opening.add(*index, share) {
                Progress::Opened(secret) => Some(secret),
                _ => None,
            });
        assert_eq!(opened.unwrap().expose(), self.secret);
    }
}

/// One approval by each of these organisations, as their honest peers would issue it.
pub(crate) fn approve(
    by: &[&Issuer],
    wrapped_key: &[u8],
    x: &[u8; 32],
    client_spki: &[u8],
) -> Vec<Vec<u8>> {
    let now = now();
    by.iter()
        .enumerate()
        .map(|(number, issuer)| {
            let approval = terms(wrapped_key, x, client_spki, number, (now - 5, now + 200));
            issuer.issue(&approval).unwrap()
        })
        .collect()
}

/// What an approval says.
pub(crate) fn terms(
    wrapped_key: &[u8],
    x: &[u8; 32],
    client_spki: &[u8],
    number: usize,
    (not_before, not_after): (u64, u64),
) -> Approval {
    Approval {
        write_id: Sha256::digest(wrapped_key).into(),
        ephemeral_point: *x,
        approval_id: format!("read/{number}"),
        client_spki: client_spki.to_vec(),
        not_before,
        not_after,
    }
}

/// The point U of a wrapped key.
pub(crate) fn point_u(wrapped_key: &[u8]) -> Point {
    Point::from_slice(&wrapped_key[33..65]).unwrap()
}
