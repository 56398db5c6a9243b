//! The client of one cluster: opens wrapped keys, or collects shares for whoever holds the ephemeral secret.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reencrypt::{
    Culprit, EphemeralSecret, Opening, PublicKeyPackage, SecretBytes, Share, ShareError,
    VerifiedEphemeralKey, VerifiedWrappedKey,
};
use serde_bytes::ByteBuf;

use super::call_error::CallError;
use super::descriptor::{Cluster, MemberDescriptor};
use super::outcome::{ClusterError, NodeOutcome, Outcome};
use super::peer::{Dialer, Peer, PeerOptions, Traffic};
use super::race::{Collector, Progress, race};
use super::standing::Standing;
use crate::tls::{TlsError, TlsIdentity};
use crate::wire::v1::{Answer, Request};

/// How long to wait, and for what.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// For a connection to one node, and for its first sign of life after a request. Default 1 s.
    pub connect_timeout: Duration,
    /// For the answer of one node. Default 5 s.
    pub request_timeout: Duration,
    /// Another node is asked as well when one takes longer than this and than three times what it took of late.
    /// Default 50 ms.
    pub hedge_after: Duration,
    /// How long a node that could not be reached is asked last. Default 5 s.
    pub down_for: Duration,
    /// For the whole operation. Default 15 s.
    pub deadline: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(5),
            hedge_after: Duration::from_millis(50),
            down_for: Duration::from_secs(5),
            deadline: Duration::from_secs(15),
        }
    }
}

/// A member of the cluster, its connection and its record.
pub(super) struct Member {
    descriptor: MemberDescriptor,
    pub(super) peer: Peer,
    standing: Mutex<Standing>,
}

impl Member {
    pub(super) fn index(&self) -> u16 {
        self.descriptor.index
    }

    pub(super) fn name(&self) -> &str {
        &self.descriptor.name
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The client of one cluster. Cheap to share (`Arc`), safe to use from many tasks of one tokio runtime.
pub struct Client {
    cluster: Cluster,
    dialer: Arc<Dialer>,
    members: Vec<Member>,
    options: ClientOptions,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

/// The result of [`Client::open`].
#[derive(Debug)]
pub struct Opened {
    /// The secret that the wrapped key held.
    pub result: Result<SecretBytes, ClusterError>,
    /// What each member did, in index order.
    pub nodes: Vec<NodeOutcome>,
}

/// The result of [`Client::collect_shares`].
#[derive(Debug)]
pub struct Collected {
    /// t verified shares, each as the node encoded it.
    pub result: Result<Vec<Vec<u8>>, ClusterError>,
    /// What each member did, in index order.
    pub nodes: Vec<NodeOutcome>,
}

impl Client {
    /// A client that presents `identity`: approvals must name its key ([`Self::spki`]). Nothing is sent yet.
    ///
    /// # Errors
    /// [`TlsError`] if the identity cannot be used for TLS.
    pub fn new(
        cluster: Cluster,
        identity: TlsIdentity,
        options: ClientOptions,
    ) -> Result<Self, TlsError> {
        let waits = PeerOptions {
            connect_timeout: options.connect_timeout,
            request_timeout: options.request_timeout,
            down_for: options.down_for,
        };
        let dialer = Dialer::new(identity, waits);
        let members = cluster
            .members()
            .iter()
            .map(|descriptor| {
                let peer = dialer.peer(&descriptor.address, &descriptor.identity)?;
                Ok(Member {
                    descriptor: descriptor.clone(),
                    peer,
                    standing: Mutex::default(),
                })
            })
            .collect::<Result<_, TlsError>>()?;
        Ok(Self {
            cluster,
            dialer,
            members,
            options,
        })
    }

    /// The cluster that this client talks to.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The client's public key, DER SubjectPublicKeyInfo: what approvals must be bound to.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        self.dialer.identity().spki()
    }

    /// Has the cluster re-encrypt `wrapped` to `ephemeral`, and opens it. Asks the t nodes that were fastest of late,
    /// others at once when one fails and after a delay when one is slow; the first t good shares win. Nodes whose
    /// shares are false are named and replaced.
    pub async fn open(
        &self,
        wrapped: VerifiedWrappedKey,
        ephemeral: EphemeralSecret,
        approvals: Vec<Vec<u8>>,
    ) -> Opened {
        let request = match self.request(&wrapped, ephemeral.public(), approvals) {
            Ok(request) => request,
            Err(error) => {
                return Opened {
                    result: Err(error),
                    nodes: self.nobody_asked(),
                };
            }
        };
        let opening = match Opening::new(wrapped, ephemeral, self.cluster.package().clone()) {
            Ok(opening) => opening,
            Err(error) => {
                let result = Err(ClusterError::Request {
                    reason: error.to_string(),
                });
                return Opened {
                    result,
                    nodes: self.nobody_asked(),
                };
            }
        };
        let mut collector = Combining {
            opening,
            result: None,
        };
        let nodes = self.race(&request, &mut collector).await;
        let result = collector
            .result
            .unwrap_or_else(|| Err(self.too_few(&nodes)));
        Opened { result, nodes }
    }

    /// Collects t verified shares for someone else who holds the ephemeral secret. They tell this client nothing.
    pub async fn collect_shares(
        &self,
        wrapped: &VerifiedWrappedKey,
        ephemeral: &VerifiedEphemeralKey,
        approvals: Vec<Vec<u8>>,
    ) -> Collected {
        let request = match self.request(wrapped, ephemeral, approvals) {
            Ok(request) => request,
            Err(error) => {
                return Collected {
                    result: Err(error),
                    nodes: self.nobody_asked(),
                };
            }
        };
        let package = self.cluster.package();
        let mut collector = Verifying {
            wrapped,
            ephemeral,
            package,
            shares: Vec::new(),
            culprits: Vec::new(),
        };
        let nodes = self.race(&request, &mut collector).await;
        let result = if collector.shares.len() >= usize::from(package.threshold()) {
            Ok(collector.shares)
        } else {
            Err(self.too_few(&nodes))
        };
        Collected { result, nodes }
    }

    /// Connects to every member, so that the next request finds warm connections and spares. Says how each one went, in
    /// index order.
    pub async fn connect(&self) -> Vec<(String, Result<(), CallError>)> {
        futures_util::future::join_all(
            self.members
                .iter()
                .map(async |member| (member.name().to_owned(), member.peer.connect().await)),
        )
        .await
    }

    /// Sends one request to one member, by index: status, checkpoint, audit pages.
    ///
    /// # Errors
    /// `None` if there is no such member, otherwise [`CallError`].
    pub async fn call(&self, index: u16, request: &Request) -> Option<Result<Answer, CallError>> {
        let member = self.members.iter().find(|member| member.index() == index)?;
        Some(member.peer.call(request).await)
    }

    /// What went over the present connection to each member, by name, in index order.
    #[must_use]
    pub fn traffic(&self) -> Vec<(String, Traffic)> {
        self.members
            .iter()
            .map(|member| (member.name().to_owned(), member.peer.traffic()))
            .collect()
    }

    /// Closes all connections and tells the nodes so.
    pub async fn close(&self) {
        self.dialer.close().await;
    }

    fn request(
        &self,
        wrapped: &VerifiedWrappedKey,
        ephemeral: &VerifiedEphemeralKey,
        approvals: Vec<Vec<u8>>,
    ) -> Result<Vec<u8>, ClusterError> {
        let cluster = self.cluster.package().public_key();
        if wrapped.public_key() != cluster {
            return Err(ClusterError::OtherKey {
                wrapped: hex::encode(wrapped.public_key().as_bytes()),
                cluster: hex::encode(cluster.as_bytes()),
            });
        }
        let request = Request::Reencrypt {
            approvals: approvals.into_iter().map(ByteBuf::from).collect(),
            wrapped_key: ByteBuf::from(wrapped.as_bytes()),
            ephemeral_key: ByteBuf::from(ephemeral.as_bytes().as_slice()),
        };
        request.to_bytes().map_err(|error| ClusterError::Request {
            reason: error.to_string(),
        })
    }

    async fn race<C: Collector>(&self, request: &[u8], collector: &mut C) -> Vec<NodeOutcome> {
        let needed = usize::from(self.cluster.package().threshold());
        race(
            &self.members,
            self.order(),
            request,
            needed,
            &self.options,
            collector,
        )
        .await
    }

    /// The members, the most promising first.
    fn order(&self) -> Vec<usize> {
        let now = Instant::now();
        let mut ranked: Vec<_> = self
            .members
            .iter()
            .enumerate()
            .map(|(node, member)| {
                (
                    member
                        .standing()
                        .rank(member.peer.is_down(), rand::random(), now),
                    node,
                )
            })
            .collect();
        ranked
            .sort_by(|(a, _), (b, _)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        ranked.into_iter().map(|(_, node)| node).collect()
    }

    fn too_few(&self, nodes: &[NodeOutcome]) -> ClusterError {
        let (good, others): (Vec<_>, Vec<_>) = nodes
            .iter()
            .cloned()
            .partition(|node| node.what == Outcome::Answered);
        ClusterError::TooFewAnswers {
            answered: good.len(),
            members: nodes.len(),
            needed: usize::from(self.cluster.package().threshold()),
            nodes: others,
        }
    }

    fn nobody_asked(&self) -> Vec<NodeOutcome> {
        let outcome = |member: &Member| NodeOutcome {
            index: member.index(),
            name: member.name().to_owned(),
            what: Outcome::NotAsked,
            millis: None,
        };
        self.members.iter().map(outcome).collect()
    }
}

/// Combines optimistically: proofs are verified only if the combination does not open (protocol section 6).
struct Combining {
    opening: Opening,
    result: Option<Result<SecretBytes, ClusterError>>,
}

impl Collector for Combining {
    fn add(&mut self, index: u16, share: &[u8]) -> Progress {
        match self.opening.add(index, share) {
            reencrypt::Progress::Need(more) => Progress::Missing(more),
            reencrypt::Progress::Opened(secret) => {
                self.result = Some(Ok(secret));
                Progress::Finished
            }
            reencrypt::Progress::InvalidWrappedKey => {
                self.result = Some(Err(ClusterError::InvalidWrappedKey));
                Progress::Finished
            }
            reencrypt::Progress::Finished => Progress::Finished,
        }
    }

    fn culprits(&self) -> &[Culprit] {
        self.opening.culprits()
    }
}

/// Verifies each share as it comes.
struct Verifying<'a> {
    wrapped: &'a VerifiedWrappedKey,
    ephemeral: &'a VerifiedEphemeralKey,
    package: &'a PublicKeyPackage,
    shares: Vec<Vec<u8>>,
    culprits: Vec<Culprit>,
}

impl Verifying<'_> {
    fn verify(&self, index: u16, bytes: &[u8]) -> Result<(), ShareError> {
        let share = Share::parse(bytes)?;
        if share.index() != index {
            return Err(ShareError::OtherIndex {
                expected: index,
                got: share.index(),
            });
        }
        share
            .verify(self.package, self.wrapped, self.ephemeral)
            .map(|_| ())
    }
}

impl Collector for Verifying<'_> {
    fn add(&mut self, index: u16, share: &[u8]) -> Progress {
        match self.verify(index, share) {
            Ok(()) => self.shares.push(share.to_vec()),
            Err(reason) => self.culprits.push(Culprit { index, reason }),
        }
        match usize::from(self.package.threshold()).saturating_sub(self.shares.len()) {
            0 => Progress::Finished,
            more => Progress::Missing(more),
        }
    }

    fn culprits(&self) -> &[Culprit] {
        &self.culprits
    }
}
