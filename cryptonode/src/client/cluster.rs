//! The client of one cluster: opens wrapped keys, or collects shares for whoever holds the ephemeral secret.

use std::borrow::Cow;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use reencrypt::{
    Culprit, EphemeralSecret, Opening, PublicKeyPackage, SecretBytes, Share, ShareError,
    VerifiedEphemeralKey, VerifiedWrappedKey,
};
use serde_bytes::ByteBuf;

use super::call_error::CallError;
use super::descriptor::Cluster;
use super::follow::{Following, may_have_moved};
use super::load::{InFlight, Load};
use super::outcome::{ClusterError, NodeOutcome, Outcome};
use super::peer::{Dialer, PeerOptions, Traffic};
use super::race::{Collector, Progress, race};
use super::view::View;
use crate::tls::{TlsError, TlsIdentity};
use crate::wire::v1::{Answer, Request, ResultVersion, TraceParent, WireError};

/// Most results that one read tries: more than one reshare in the time of a read means that somebody lies.
const MOST_RESULTS: usize = 4;

/// Connections to members that are made at the same time: with all of a hundred at once, none might be there in time.
const CONNECT_AT_ONCE: usize = 16;

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
    /// How often newer members of the key are looked for in the background. Default 60 s.
    pub refresh_every: Duration,
    /// Reads that may go on at the same time. Further ones are refused at once ([`ClusterError::Busy`]), because they would wait
    /// for their deadline and slow the others down. Default 1,024.
    pub reads_at_once: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            request_timeout: Duration::from_secs(5),
            hedge_after: Duration::from_millis(50),
            down_for: Duration::from_secs(5),
            deadline: Duration::from_secs(15),
            refresh_every: Duration::from_secs(60),
            reads_at_once: 1_024,
        }
    }
}

/// The client of one cluster. Cheap to share (`Arc`), safe to use from many tasks of one tokio runtime.
pub struct Client {
    following: Arc<Following>,
    started: Once,
    dialer: Arc<Dialer>,
    options: ClientOptions,
    load: Load,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("cluster", &self.cluster())
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
    /// From the moment at which the first node was asked to the answer with which there was a result, whoever had to be asked in
    /// another's place meanwhile; none if there is no result.
    pub answered_after: Option<Duration>,
}

/// The result of [`Client::collect_shares`].
#[derive(Debug)]
pub struct Collected {
    /// t verified shares, each as the node encoded it.
    pub result: Result<Vec<Vec<u8>>, ClusterError>,
    /// The result of the key that they are of.
    pub cluster: Arc<Cluster>,
    /// What each member did, in index order.
    pub nodes: Vec<NodeOutcome>,
    /// From the moment at which the first node was asked to the answer with which there was a result, whoever had to be asked in
    /// another's place meanwhile; none if there is no result.
    pub answered_after: Option<Duration>,
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
        let first = View::of_descriptor(cluster, &dialer)?;
        Ok(Self {
            following: Following::new(first, Arc::clone(&dialer)),
            started: Once::new(),
            dialer,
            options,
            load: Load::default(),
        })
    }

    /// The cluster that this client talks to: what it was made with, or the newest result of that key that it has followed it
    /// to since.
    #[must_use]
    pub fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(self.following.current().cluster())
    }

    /// Looks for newer members of the key now. Whether there are.
    pub async fn refresh(&self) -> bool {
        self.following.search().await
    }

    /// The client's public key, DER SubjectPublicKeyInfo: what approvals must be bound to.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        self.dialer.identity().spki()
    }

    /// Has the cluster re-encrypt `wrapped` to `ephemeral`, and opens it. Asks the t nodes that were fastest of late,
    /// others at once when one fails and after a delay when one is slow; the first t good shares win. Nodes whose
    /// shares are false are named and replaced. If the key was reshared, it is followed to its new members.
    pub async fn open(
        &self,
        wrapped: VerifiedWrappedKey,
        ephemeral: EphemeralSecret,
        approvals: Vec<Vec<u8>>,
    ) -> Opened {
        self.open_in(None, wrapped, ephemeral, approvals).await
    }

    /// [`Self::open`] in a span that the caller records: the nodes' spans are below it.
    pub async fn open_in(
        &self,
        trace: Option<TraceParent>,
        wrapped: VerifiedWrappedKey,
        ephemeral: EphemeralSecret,
        approvals: Vec<Vec<u8>>,
    ) -> Opened {
        let view = self.following.current();
        let admitted = self.admit().and_then(|read| {
            Shape::new(&view, &wrapped, ephemeral.public(), approvals, trace)
                .map(|shape| (read, shape))
        });
        let (_read, request) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                return Opened {
                    result: Err(error),
                    nodes: view.nobody_asked(),
                    answered_after: None,
                };
            }
        };
        let opening = match Opening::begin(wrapped, ephemeral, view.cluster().package().clone()) {
            Ok(opening) => opening,
            Err(error) => {
                let result = Err(ClusterError::Request {
                    reason: error.to_string(),
                });
                return Opened {
                    result,
                    nodes: view.nobody_asked(),
                    answered_after: None,
                };
            }
        };
        let mut collector = Combining {
            opening,
            result: None,
            following: Arc::clone(&self.following),
        };
        let run = self.race(&request, &mut collector).await;
        let result = collector
            .result
            .unwrap_or_else(|| Err(too_few(&run.view, &run.nodes)));
        Opened {
            result,
            nodes: run.nodes,
            answered_after: run.answered_after,
        }
    }

    /// Collects t verified shares of one result for someone else who holds the ephemeral secret. They tell this client
    /// nothing.
    pub async fn collect_shares(
        &self,
        wrapped: &VerifiedWrappedKey,
        ephemeral: &VerifiedEphemeralKey,
        approvals: Vec<Vec<u8>>,
    ) -> Collected {
        self.collect_shares_in(None, wrapped, ephemeral, approvals)
            .await
    }

    /// [`Self::collect_shares`] in a span that the caller records.
    pub async fn collect_shares_in(
        &self,
        trace: Option<TraceParent>,
        wrapped: &VerifiedWrappedKey,
        ephemeral: &VerifiedEphemeralKey,
        approvals: Vec<Vec<u8>>,
    ) -> Collected {
        let view = self.following.current();
        let admitted = self.admit().and_then(|read| {
            Shape::new(&view, wrapped, ephemeral, approvals, trace).map(|shape| (read, shape))
        });
        let (_read, request) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => {
                return Collected {
                    result: Err(error),
                    cluster: Arc::clone(view.cluster()),
                    nodes: view.nobody_asked(),
                    answered_after: None,
                };
            }
        };
        let mut collector = Verifying {
            wrapped,
            ephemeral,
            package: view.cluster().package().clone(),
            shares: Vec::new(),
            culprits: Vec::new(),
            following: Arc::clone(&self.following),
        };
        let run = self.race(&request, &mut collector).await;
        let result = if collector.is_complete() {
            Ok(collector.shares)
        } else {
            Err(too_few(&run.view, &run.nodes))
        };
        Collected {
            result,
            cluster: Arc::clone(run.view.cluster()),
            nodes: run.nodes,
            answered_after: run.answered_after,
        }
    }

    /// Connects to every member, so that the next request finds warm connections and spares. Says how each one went, in
    /// index order.
    pub async fn connect(&self) -> Vec<(String, Result<(), CallError>)> {
        self.follow();
        let view = self.following.current();
        let connecting: Vec<_> = view
            .members()
            .iter()
            .map(async |member| (member.name().to_owned(), member.peer().connect().await))
            .collect();
        stream::iter(connecting)
            .buffered(CONNECT_AT_ONCE)
            .collect()
            .await
    }

    /// Sends one request to one member, by index: status, checkpoint, audit pages.
    ///
    /// # Errors
    /// `None` if there is no such member, otherwise [`CallError`].
    pub async fn call(&self, index: u16, request: &Request) -> Option<Result<Answer, CallError>> {
        let view = self.following.current();
        let member = view
            .members()
            .iter()
            .find(|member| member.index() == index)?;
        Some(member.peer().call(request).await)
    }

    /// What went over the present connection to each member, by name, in index order.
    #[must_use]
    pub fn traffic(&self) -> Vec<(String, Traffic)> {
        self.following
            .current()
            .members()
            .iter()
            .map(|member| (member.name().to_owned(), member.peer().traffic()))
            .collect()
    }

    /// Closes all connections and tells the nodes so.
    pub async fn close(&self) {
        self.following.close();
        self.dialer.close().await;
    }

    /// # Errors
    /// [`ClusterError::Busy`] if as many reads are going on as may.
    fn admit(&self) -> Result<InFlight, ClusterError> {
        let most = self.options.reads_at_once;
        self.load.read(most).ok_or(ClusterError::Busy { most })
    }

    /// Starts looking for newer members in the background, the first time that the client is used.
    fn follow(&self) {
        self.started
            .call_once(|| self.following.start(self.options.refresh_every));
    }

    /// Asks the members of the newest result that is known; if they are not enough, those of the one before; and if there may
    /// be others by now, looks for them. Shares of different results never meet: the collector starts over for each.
    async fn race<C: Collector>(&self, request: &Shape, collector: &mut C) -> Run {
        self.follow();
        let begun = Instant::now();
        let deadline = begun + self.options.deadline;
        let mut tried: Vec<Arc<View>> = Vec::new();
        let mut last = None;
        loop {
            let mut usable = self.following.usable().into_iter();
            let next = usable.find(|view| !tried.iter().any(|one| Arc::ptr_eq(one, view)));
            let view = match (next, last.take()) {
                (Some(view), _) => view,
                (None, outcome) => {
                    let newer = tried.len() <= MOST_RESULTS
                        && Instant::now() < deadline
                        && self.following.search().await;
                    match (newer, outcome) {
                        (false, Some(outcome)) => return outcome,
                        (false, None) => return Run::of_nobody(self.following.current()),
                        (true, outcome) => {
                            last = outcome;
                            continue;
                        }
                    }
                }
            };
            collector.restart(view.cluster().package());
            let Ok(bytes) = request.bytes_for(view.version()) else {
                return Run::of_nobody(view);
            };
            let needed = usize::from(view.cluster().package().threshold());
            let raced = race(
                view.members(),
                view.order(),
                &bytes,
                needed,
                (&self.options, &self.load),
                deadline,
                collector,
            )
            .await;
            let run = Run {
                view,
                nodes: raced.nodes,
                answered_after: raced.decided.map(|at| at.saturating_duration_since(begun)),
            };
            if collector.is_finished() || !may_have_moved(&run.nodes) {
                return run;
            }
            tried.push(Arc::clone(&run.view));
            last = Some(run);
        }
    }
}

/// What came of asking the members of one result, or of several, one after the other.
struct Run {
    /// The last whose members were asked.
    view: Arc<View>,
    nodes: Vec<NodeOutcome>,
    answered_after: Option<Duration>,
}

impl Run {
    fn of_nobody(view: Arc<View>) -> Self {
        Self {
            nodes: view.nobody_asked(),
            view,
            answered_after: None,
        }
    }
}

fn too_few(view: &View, nodes: &[NodeOutcome]) -> ClusterError {
    let (good, others): (Vec<_>, Vec<_>) = nodes
        .iter()
        .cloned()
        .partition(|node| node.what == Outcome::Answered);
    ClusterError::TooFewAnswers {
        answered: good.len(),
        members: nodes.len(),
        needed: usize::from(view.cluster().package().threshold()),
        nodes: others,
    }
}

/// A request, and its bytes for the result that it names.
struct Shape {
    request: Request,
    version: ResultVersion,
    bytes: Vec<u8>,
}

impl Shape {
    /// # Errors
    /// [`ClusterError`] if the wrapped key is another cluster's, or something is too long to be sent.
    fn new(
        view: &View,
        wrapped: &VerifiedWrappedKey,
        ephemeral: &VerifiedEphemeralKey,
        approvals: Vec<Vec<u8>>,
        traceparent: Option<TraceParent>,
    ) -> Result<Self, ClusterError> {
        let cluster = view.cluster().package().public_key();
        if wrapped.public_key() != cluster {
            return Err(ClusterError::OtherKey {
                wrapped: hex::encode(wrapped.public_key().as_bytes()),
                cluster: hex::encode(cluster.as_bytes()),
            });
        }
        let version = view.version();
        let request = Request::Reencrypt {
            result: Some(version),
            approvals: approvals.into_iter().map(ByteBuf::from).collect(),
            // What the caller does not record is nothing for the nodes to know of.
            traceparent: traceparent.filter(TraceParent::is_sampled),
            wrapped_key: ByteBuf::from(wrapped.as_bytes()),
            ephemeral_key: ByteBuf::from(ephemeral.as_bytes().as_slice()),
        };
        let bytes = request.to_bytes().map_err(|error| ClusterError::Request {
            reason: error.to_string(),
        })?;
        Ok(Self {
            request,
            version,
            bytes,
        })
    }

    /// The request for a share of `version`.
    fn bytes_for(&self, version: ResultVersion) -> Result<Cow<'_, [u8]>, WireError> {
        if version == self.version {
            return Ok(Cow::Borrowed(&self.bytes));
        }
        let mut other = self.request.clone();
        if let Request::Reencrypt { result, .. } = &mut other {
            *result = Some(version);
        }
        other.to_bytes().map(Cow::Owned)
    }
}

/// Combines optimistically: proofs are verified only if the combination does not open (protocol section 6).
struct Combining {
    opening: Opening,
    result: Option<Result<SecretBytes, ClusterError>>,
    following: Arc<Following>,
}

impl Collector for Combining {
    fn prepare(&mut self) {
        self.opening.prepare();
    }

    fn restart(&mut self, package: &PublicKeyPackage) {
        // The key is the same, and so it cannot fail; a result that were not would not open.
        let _ = self.opening.restart(package.clone());
    }

    fn is_finished(&self) -> bool {
        self.result.is_some()
    }

    fn heard_of(&mut self, newest: ResultVersion) {
        self.following.heard_of(newest);
    }

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
    package: PublicKeyPackage,
    shares: Vec<Vec<u8>>,
    culprits: Vec<Culprit>,
    following: Arc<Following>,
}

impl Verifying<'_> {
    fn is_complete(&self) -> bool {
        self.shares.len() >= usize::from(self.package.threshold())
    }

    fn verify(&self, index: u16, bytes: &[u8]) -> Result<(), ShareError> {
        let share = Share::parse(bytes)?;
        if share.index() != index {
            return Err(ShareError::OtherIndex {
                expected: index,
                got: share.index(),
            });
        }
        share
            .verify(&self.package, self.wrapped, self.ephemeral)
            .map(|_| ())
    }
}

impl Collector for Verifying<'_> {
    fn restart(&mut self, package: &PublicKeyPackage) {
        self.shares.clear();
        self.culprits.clear();
        self.package = package.clone();
    }

    fn is_finished(&self) -> bool {
        self.is_complete()
    }

    fn heard_of(&mut self, newest: ResultVersion) {
        self.following.heard_of(newest);
    }

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
