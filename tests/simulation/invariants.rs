//! The named invariants, held after every event, by means of their own: what the world has seen, and not what the product says.

use std::collections::{BTreeMap, BTreeSet};

use coordinator::record::{TransactionId, quorum};
use cryptonode::wire::v1::{Answer, Request};
use dkg::{Message, ResultName};
use reencrypt::{Point, PublicKeyPackage, Scalar, SecretScalar};
use std::path::Path;

use crate::disk::Tear;
use crate::ledger::{PeerHost, Receipt};
use crate::node::{AUDIT, Host, held};
use crate::plants::Plant;
use crate::reader::Run;
use crate::world::{Asked, Document, World};

/// No two honest members activate different results.
pub const ONE_RESULT: &str = "one-result";
/// No share leaves an honest node without the valid approvals of m organisations.
pub const APPROVED: &str = "no-share-without-approvals";
/// No secret comes of fewer than t shares of one epoch, nor of t − 1 of one and t − 1 of the next; and no share is on the wire.
pub const BELOW_T: &str = "nothing-below-t";
/// Whatever was acknowledged survives.
pub const SURVIVES: &str = "acknowledged-survives";
/// An honest quorum always answers.
pub const ANSWERS: &str = "honest-quorum-answers";
/// Every release is in the log, durably, before it leaves.
pub const LOGGED: &str = "every-release-is-logged";
/// What is opened is what was written, and nobody honest is blamed.
pub const TRUE: &str = "truth-is-told";

pub const ALL: [&str; 7] = [
    ONE_RESULT, APPROVED, BELOW_T, SURVIVES, ANSWERS, LOGGED, TRUE,
];

/// How long an honest quorum may take for a read once nothing stands in its way, milliseconds.
const PATIENCE_MS: u64 = 30_000;
/// How far a clock may be off, milliseconds: the policy's tolerance.
const TOLERANCE_MS: u64 = 30_000;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

fn violated<T>(invariant: &'static str, what: String) -> Result<T, Violation> {
    Err(Violation { invariant, what })
}

/// A certificate that an organisation has given.
struct Given {
    organisation: usize,
    read: TransactionId,
    der: Vec<u8>,
    /// Seconds.
    valid: (u64, u64),
}

/// What a read is bound to: its write id, the ephemeral key, the client's public key.
type Bound = ([u8; 32], [u8; 32], Vec<u8>);

/// What was seen.
#[derive(Default)]
pub struct Monitor {
    pub found: Option<Violation>,
    /// For each node whose power is to fail: how long it stays away, and what is left of its writes.
    pub fuses: BTreeMap<usize, (u64, Tear, u64)>,
    pub peer_away_ms: BTreeMap<usize, u64>,
    /// By the parameters of their attempts: two attempts may have one number.
    results: BTreeMap<[u8; 64], (usize, PublicKeyPackage)>,
    looked: BTreeSet<(usize, [u8; 32], ResultName)>,
    pub pool: Pool,
    secrets: BTreeMap<(usize, ResultName), [u8; 32]>,
    logged: BTreeMap<usize, Vec<Vec<u8>>>,
    activated: BTreeMap<usize, BTreeSet<ResultName>>,
    given: Vec<Given>,
    /// Of each read on the record: what it is bound to.
    pub reads: BTreeMap<TransactionId, Bound>,
    acknowledged: Vec<(TransactionId, u64)>,
    pub released: u64,
    pub opened: u64,
    /// Times that the power failed in the middle of a write.
    pub torn: u64,
    /// What members and leaders of ceremonies have said that was not true.
    pub lies: u64,
}

/// What an adversary has who holds t − 1 members of every epoch.
#[derive(Default)]
pub struct Pool {
    shares: BTreeMap<(ResultName, u16), Scalar>,
}

impl Pool {
    /// Takes a share, and tries all that can be made of it with those it has.
    pub fn add(
        &mut self,
        result: ResultName,
        index: u16,
        share: Scalar,
        threshold: usize,
        public_key: &Point,
    ) -> Result<(), Violation> {
        self.shares.insert((result, index), share);
        let all: Vec<(u16, Scalar)> = self
            .shares
            .iter()
            .map(|((_, index), share)| (*index, *share))
            .collect();
        for chosen in 1_u32..1 << all.len().min(10) {
            let some: Vec<(u16, Scalar)> = (0..all.len())
                .filter(|at| chosen >> at & 1 == 1)
                .map(|at| all[at])
                .collect();
            let places: BTreeSet<u16> = some.iter().map(|(index, _)| *index).collect();
            if some.len() > threshold || places.len() < some.len() {
                continue;
            }
            let Ok(secret) = SecretScalar::from_scalar(interpolate(&some)) else {
                continue;
            };
            if secret.public() == *public_key {
                let indices: Vec<u16> = some.iter().map(|(index, _)| *index).collect();
                return violated(
                    BELOW_T,
                    format!(
                        "the key's secret comes of the shares of {indices:?}, fewer than {threshold} of each epoch"
                    ),
                );
            }
        }
        Ok(())
    }
}

/// The value at 0.
fn interpolate(shares: &[(u16, Scalar)]) -> Scalar {
    let mut sum = Scalar::ZERO;
    for (index, share) in shares {
        let mut weight = Scalar::ONE;
        for (other, _) in shares.iter().filter(|(other, _)| other != index) {
            let (at, other) = (Scalar::from(*index), Scalar::from(*other));
            weight *= other * (other - at).invert();
        }
        sum += weight * share;
    }
    sum
}

impl Monitor {
    /// What an honest node holds now.
    pub fn node_changed(
        &mut self,
        node: &Host,
        at: usize,
        threshold: usize,
    ) -> Result<(), Violation> {
        if !node.is_honest() {
            return Ok(());
        }
        for key in node.held() {
            let public_key = *key.package.public_key().as_bytes();
            if !self.looked.insert((at, public_key, key.result)) {
                continue;
            }
            let name = key.result;
            let pinned: Vec<[u8; 32]> = key.members.iter().map(|member| member.identity).collect();
            let certified = dkg::read_own_certificate(&key.certificate, &pinned);
            let params = *certified.expect("a key's certificate").params();
            let (first, package) = self
                .results
                .entry(params)
                .or_insert_with(|| (at, key.package.clone()));
            if *package != key.package {
                return violated(
                    ONE_RESULT,
                    format!(
                        "nodes {first} and {at} have different results of epoch {}, attempt {}",
                        name.epoch, name.attempt
                    ),
                );
            }
            let secret = *key.share.secret().to_bytes();
            self.secrets.insert((at, key.result), secret);
            // The adversary has the first of one epoch, and the last of the next.
            let (index, few) = (usize::from(key.share.index()), threshold.saturating_sub(1));
            let theirs = if name.epoch.is_multiple_of(2) {
                index <= few
            } else {
                index + few > key.members.len()
            };
            if theirs && threshold > 0 {
                let share = *key.share.secret().expose();
                let public_key = key.package.public_key();
                self.pool
                    .add(name, key.share.index(), share, threshold, &public_key)?;
            }
        }
        Ok(())
    }

    /// A node has answered.
    pub fn replied(&mut self, node: &Host, at: usize, answer: &Answer) {
        if let Answer::Ceremony { message } = answer
            && let Ok(Message::Activated { .. }) = Message::from_bytes(message)
        {
            let held = node.held().into_iter().map(|key| key.result);
            self.activated.entry(at).or_default().extend(held);
        }
    }

    /// These bytes leave a node.
    pub fn sent(&self, nodes: &[Host], at: usize, bytes: &[u8]) -> Result<(), Violation> {
        if !nodes[at].is_honest() {
            return Ok(());
        }
        let secrets = self.secrets.iter().filter(|((node, _), _)| *node == at);
        for ((_, result), secret) in secrets {
            if memchr::memmem::find(bytes, secret).is_some() {
                return violated(
                    BELOW_T,
                    format!("node {at}'s share of {result} is in what it sends"),
                );
            }
        }
        Ok(())
    }

    /// Whether anybody relies on what this node has.
    fn was_acknowledged(&self, at: usize) -> bool {
        self.logged.contains_key(&at) || self.activated.contains_key(&at)
    }

    /// A node has started, or cannot.
    pub fn node_booted(
        &mut self,
        node: &Host,
        at: usize,
        booted: Result<(), String>,
    ) -> Result<(), Violation> {
        if let Err(reason) = booted {
            return violated(
                SURVIVES,
                format!("node {at} does not start after a crash: {reason}"),
            );
        }
        for record in self.logged.get(&at).into_iter().flatten() {
            if !node.disk.holds_durably(Path::new(AUDIT), record) {
                return violated(SURVIVES, format!("node {at} has lost a record of its log"));
            }
        }
        let Some(running) = &node.running else {
            return Ok(());
        };
        for result in self.activated.get(&at).into_iter().flatten() {
            let entries = running.desk.keyring.entries();
            let known = entries.iter().any(|entry| {
                let held = held(entry);
                let erased = entry
                    .state()
                    .history
                    .iter()
                    .filter(|past| past.erased.is_some());
                let mut named = held
                    .map(|key| key.result)
                    .chain(erased.map(|past| past.result));
                named.any(|name| name == *result)
            });
            if !known {
                return violated(
                    SURVIVES,
                    format!(
                        "node {at} has lost its share of {result}, which it said that it serves"
                    ),
                );
            }
        }
        Ok(())
    }

    /// A peer has started, or cannot.
    pub fn peer_booted(
        &mut self,
        peer: &PeerHost,
        at: usize,
        booted: Result<(), String>,
    ) -> Result<(), Violation> {
        if let Err(reason) = booted {
            return violated(
                SURVIVES,
                format!("peer {at} does not start after a crash: {reason}"),
            );
        }
        let (height, hash) = peer.reported;
        let found = peer
            .peer
            .as_ref()
            .and_then(|peer| peer.block_hash(height).ok().flatten());
        if height > 0 && found != Some(hash) {
            return violated(
                SURVIVES,
                format!("peer {at} has lost block {height}, which it reported to be durable"),
            );
        }
        for (id, of) in self.acknowledged.iter().filter(|(_, of)| *of <= height) {
            if !peer.has(*of, id) {
                return violated(
                    SURVIVES,
                    format!(
                        "peer {at} has lost transaction {} of block {of}, which was acknowledged",
                        hex::encode(id)
                    ),
                );
            }
        }
        Ok(())
    }

    /// A peer has approved a read.
    pub fn approved(
        &mut self,
        organisation: usize,
        read: TransactionId,
        der: &[u8],
        clock_ms: u64,
    ) {
        if !self.given.iter().any(|given| given.der == der) {
            let from = clock_ms / 1000;
            self.given.push(Given {
                organisation,
                read,
                der: der.to_vec(),
                valid: (from, from + 120),
            });
        }
    }

    /// A transaction's author has been told that it is on the record.
    pub fn acknowledge(&mut self, id: TransactionId, receipt: &Receipt) {
        if let Ok(height) = receipt {
            self.acknowledged.push((id, *height));
        }
    }

    /// A share leaves a node.
    pub fn released(
        &mut self,
        node: &Host,
        at: usize,
        asked: &Asked,
        record: &[u8],
        needed: usize,
    ) -> Result<(), Violation> {
        self.released += 1;
        if !node.is_honest() {
            return Ok(());
        }
        if !node.disk.holds_durably(Path::new(AUDIT), record) {
            return violated(
                LOGGED,
                format!("node {at} gives a share whose record is not durable"),
            );
        }
        self.logged.entry(at).or_default().push(record.to_vec());
        let Request::Reencrypt {
            approvals,
            wrapped_key,
            ephemeral_key,
            ..
        } = &asked.request
        else {
            return Ok(());
        };
        let write_id: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(wrapped_key).into();
        let (clock_s, tolerance_s) = (asked.clock_ms / 1000, TOLERANCE_MS / 1000);
        let organisations: BTreeSet<usize> = self
            .given
            .iter()
            .filter(|given| approvals.iter().any(|der| der.as_slice() == given.der))
            .filter(|given| {
                let (from, until) = given.valid;
                (from.saturating_sub(tolerance_s)..=until + tolerance_s).contains(&clock_s)
            })
            .filter(|given| {
                self.reads
                    .get(&given.read)
                    .is_some_and(|(written, point, spki)| {
                        *written == write_id
                            && ephemeral_key.starts_with(point)
                            && *spki == asked.caller.spki
                    })
            })
            .map(|given| given.organisation)
            .collect();
        if organisations.len() < needed {
            return violated(
                APPROVED,
                format!(
                    "node {at} gives a share on the approvals of {} organisations, not {needed}",
                    organisations.len()
                ),
            );
        }
        Ok(())
    }

    /// A reader has opened a document.
    pub fn opened(
        &mut self,
        run: &Run,
        documents: &[Document],
        nodes: &[Host],
    ) -> Result<(), Violation> {
        self.opened += 1;
        let document = documents
            .iter()
            .find(|document| document.wrapped.write_id() == run.wrapped.write_id());
        if document.map(|document| &document.secret) != run.opened.as_ref() {
            return violated(
                TRUE,
                "what a reader opened is not what was written".to_owned(),
            );
        }
        self.blamed(&run.culprits, nodes)
    }

    pub fn blamed(&self, culprits: &BTreeSet<[u8; 32]>, nodes: &[Host]) -> Result<(), Violation> {
        for (at, node) in nodes.iter().enumerate() {
            if node.is_honest() && culprits.contains(&node.identity()) {
                return violated(TRUE, format!("node {at} is honest and was blamed"));
            }
        }
        Ok(())
    }
}

impl World {
    /// After every event.
    pub fn check(&mut self) -> Result<(), Violation> {
        if let Some(found) = self.monitor.found.take() {
            return Err(found);
        }
        if self.calm_since.is_none() || self.runs.iter().all(Run::is_over) {
            return Ok(());
        }
        let can = self.honest_quorum_is_there();
        let now = self.now_ms;
        for (number, run) in self.runs.iter_mut().enumerate() {
            if !can || run.is_over() {
                run.clear_since = now;
            } else if now > run.clear_since + PATIENCE_MS {
                return violated(
                    ANSWERS,
                    format!(
                        "read {number} is still {:?}, {} ms after the last thing that stood in its way",
                        run.stage,
                        now - run.clear_since
                    ),
                );
            }
        }
        Ok(())
    }

    /// Enough peers, and enough nodes that serve one result.
    fn honest_quorum_is_there(&self) -> bool {
        let peers = self.peers.iter().filter(|peer| peer.peer.is_some()).count();
        let Some(view) = &self.view else { return false };
        let public_key = view.package.public_key();
        let epochs = self
            .nodes
            .iter()
            .flat_map(Host::held)
            .map(|key| key.result.epoch);
        let epochs: BTreeSet<u64> = epochs.collect();
        let serving = |epoch: u64| {
            let nodes = self.nodes.iter().filter(|node| {
                node.is_honest()
                    && node.skew_ms.unsigned_abs() <= TOLERANCE_MS
                    && node.serves(public_key.as_bytes(), epoch)
            });
            nodes.count()
        };
        peers >= quorum(self.peers.len())
            && epochs
                .into_iter()
                .any(|epoch| serving(epoch) >= self.threshold)
    }

    /// When all is over: everybody loses power once more, and has what was acknowledged.
    pub fn check_end(&mut self) -> Result<(), Violation> {
        self.check()?;
        for at in 0..self.nodes.len() {
            if self.nodes[at].running.is_none() || !self.monitor.was_acknowledged(at) {
                continue;
            }
            self.nodes[at].kill();
            self.nodes[at].disk.restore(Tear::Lost, 0);
            let booted = self.nodes[at].boot();
            let node = &self.nodes[at];
            self.monitor.node_booted(node, at, booted)?;
        }
        for at in 0..self.peers.len() {
            if self.peers[at].peer.is_none() {
                self.boot_peer(at)?;
            }
        }
        for (id, height) in &self.monitor.acknowledged {
            let having = self.peers.iter().filter(|peer| peer.has(*height, id));
            if having.count() < quorum(self.peers.len()) {
                return violated(
                    SURVIVES,
                    format!(
                        "transaction {} was acknowledged and is not on a quorum's record",
                        hex::encode(id)
                    ),
                );
            }
        }
        Ok(())
    }
}

/// Whether a planted bug is one that this invariant is to find.
pub fn finds(plant: Plant) -> &'static str {
    match plant {
        Plant::OtherResult => ONE_RESULT,
        Plant::FewerOrganisations => APPROVED,
        Plant::LeaksShare => BELOW_T,
        Plant::LyingDisk | Plant::ForgetfulPeer => SURVIVES,
        Plant::Mute => ANSWERS,
        Plant::AnswersFirst => LOGGED,
        Plant::BlamesAnybody => TRUE,
    }
}
