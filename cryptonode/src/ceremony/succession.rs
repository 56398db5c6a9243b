//! Keys that move: what a node does around a reshare, when nobody asks it anything.
//!
//! - **Telling** (`tell`). As long as the overlap lasts, each new member asks the others whether they have the new result,
//!   and pushes its certificate to those that do not. Once all have it, the time of the old share is limited: it is erased
//!   `overlap_s` later.
//! - **Erasing** (`erase_due`). At that moment, or at the latest when the proposal has expired and the overlap has passed.
//! - **Asking** (`ask_fellows`). At its start and now and then, a node asks members that it knows, in a large cluster some of them and others each time, for the newest
//!   certificate of each of its keys. If there is one of a result that it took part in, it catches up; if there is one that it has no
//!   share of, it was away, and stops serving that key.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dkg::Message;
use futures_util::{StreamExt as _, stream};
use rand::seq::SliceRandom as _;
use reencrypt::{KeyCertificate, PublicKeyPackage, ResultName};
use serde_bytes::ByteBuf;

use super::lead::ask;
use super::{Ceremonies, CeremonyError, blocking, lock, stopped};
use crate::client::Peer;
use crate::daemon::clock_s;
use crate::keyring::{AbsenceKind, KeyEntry};
use crate::randomness;
use crate::wire::v1::{Answer, Request, ResultVersion};

/// How often it is looked whether an old share's time has come.
const TICK: Duration = Duration::from_secs(1);
/// How often members that lack a new result are told of it.
const TELL: Duration = Duration::from_secs(5);
/// For one node's answer: others must not wait for the dead.
const ANSWER: Duration = Duration::from_secs(5);
/// Nodes that are asked at the same time. Each question makes a connection, and n nodes that all ask all others at once make n² of them: on
/// shared machines no handshake would end in time, and all would begin anew.
const AT_ONCE: usize = 8;
/// Fellows that are asked in one round, others each time. All of a key's members show the newest certificate that they know, so a few are enough.
const ASKED: usize = 16;

type Identity = [u8; 32];

impl Ceremonies {
    /// Looks after the keys until the node stops.
    pub(super) async fn look_after_keys(self: Arc<Self>) {
        let mut stopping = self.stopping.subscribe();
        let ask_every = Duration::from_secs(self.around.live.now().ceremony.ask_every_s);
        // Who has been found to have a result, as far as is known since the start.
        let mut having: BTreeMap<ResultName, HashSet<Identity>> = BTreeMap::new();
        let (mut asked, mut told) = (None::<Instant>, None::<Instant>);
        let mut changes = self.changes();
        let due = |last: Option<Instant>, every| last.is_none_or(|last| last.elapsed() >= every);
        loop {
            let round = async {
                self.erase_due().await?;
                if due(asked, ask_every) {
                    self.ask_fellows().await?;
                    asked = Some(Instant::now());
                }
                if due(told, TELL) {
                    self.tell(&mut having).await?;
                    told = Some(Instant::now());
                }
                Ok::<(), CeremonyError>(())
            };
            tokio::select! {
                () = stopped(&mut stopping) => return,
                outcome = round => if let Err(error) = outcome {
                    tracing::error!(code = error.code(), %error, "the node's keys could not be looked after");
                }
            }
            tokio::select! {
                () = stopped(&mut stopping) => return,
                () = tokio::time::sleep(TICK) => {}
                // A key that has just been activated is told of at once.
                Ok(()) = changes.changed() => {
                    told = None;
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Makes a change of a key durable, and shows it.
    async fn change_key<T: Send + 'static>(
        self: &Arc<Self>,
        public_key: [u8; 32],
        step: impl FnOnce(&mut KeyEntry) -> T + Send + 'static,
    ) -> Result<T, CeremonyError> {
        let this = Arc::clone(self);
        blocking(move || this.desk.change_key(&public_key, step)).await?
    }

    async fn erase_due(self: &Arc<Self>) -> Result<(), CeremonyError> {
        let now = clock_s();
        for entry in self.around.keyring.entries() {
            let mut overlaps = entry.state().overlaps.iter();
            if overlaps.all(|overlap| now < overlap.end()) {
                continue;
            }
            let key = *entry.public_key();
            let erased = self
                .change_key(key, move |entry| entry.erase_due(now))
                .await?;
            for result in erased {
                tracing::info!(key = %hex::encode(key), %result, "the overlap is over: the old share is erased");
            }
            self.forget_unheld();
            self.notify();
        }
        Ok(())
    }

    /// Finds out who has the new result, and pushes it to those that do not.
    async fn tell(
        self: &Arc<Self>,
        having: &mut BTreeMap<ResultName, HashSet<Identity>>,
    ) -> Result<(), CeremonyError> {
        let entries = self.around.keyring.entries();
        let open = entries.iter().flat_map(|entry| {
            let overlaps = entry.state().overlaps.iter();
            let open = overlaps.filter(|overlap| overlap.ends.is_none());
            open.map(move |overlap| (entry, overlap.successor))
        });
        let open: Vec<_> = open.collect();
        having.retain(|result, _| open.iter().any(|(_, successor)| successor == result));
        for (entry, successor) in open {
            let key = *entry.public_key();
            let known = having.entry(successor).or_default();
            let members = members_of(entry, &successor);
            if members.is_empty() {
                // A node that left learns who they are from the key's certificate.
                continue;
            }
            let version = ResultVersion::from(&successor);
            let missing = members
                .iter()
                .filter(|(identity, _)| **identity != self.around.own.identity)
                .filter(|(identity, _)| !known.contains(*identity));
            let questions = missing.map(async |(identity, address)| {
                let peer = self.peer_of(identity, address).ok()?;
                let has = has_result(&peer, &key, version).await
                    || self.push(entry, &successor, &peer).await;
                has.then_some(*identity)
            });
            let found: Vec<Option<Identity>> = a_few_at_once(questions).await;
            known.extend(found.into_iter().flatten());
            let all = members
                .keys()
                .all(|identity| *identity == self.around.own.identity || known.contains(identity));
            self.push_to_leaving(entry, &successor, &members, known)
                .await;
            if all {
                let ends = clock_s().saturating_add(self.around.live.now().ceremony.overlap_s);
                self.change_key(key, move |entry| entry.set_end(&successor, ends))
                    .await?;
                tracing::info!(key = %hex::encode(key), result = %successor, ends, "all members have the new result");
                having.remove(&successor);
                self.notify();
            }
        }
        Ok(())
    }

    /// Old members that leave need the certificate as well, to know that their time is over.
    async fn push_to_leaving(
        &self,
        entry: &KeyEntry,
        successor: &ResultName,
        members: &BTreeMap<Identity, String>,
        known: &mut HashSet<Identity>,
    ) {
        // Its base is the next that is held below it.
        let mut below = entry.held().filter(|key| key.result < *successor);
        let Some(base) = below.next().filter(|_| entry.current().is_some()) else {
            return;
        };
        let leaving = base
            .members
            .iter()
            .filter(|member| !members.contains_key(&member.identity))
            .filter(|member| !known.contains(&member.identity));
        let pushes = leaving.map(async |member| {
            let peer = self.peer_of(&member.identity, &member.address).ok()?;
            let told = self.push(entry, successor, &peer).await;
            told.then_some(member.identity)
        });
        let told: Vec<Option<Identity>> = a_few_at_once(pushes).await;
        known.extend(told.into_iter().flatten());
    }

    /// Gives the ceremony's certificate to a seat. Whether it has taken it.
    async fn push(&self, entry: &KeyEntry, successor: &ResultName, peer: &Peer) -> bool {
        let Some(key) = entry.held().find(|key| key.result == *successor) else {
            return false;
        };
        let id = lock(&self.made)
            .iter()
            .find(|(_, made)| made.is(key))
            .map(|(id, _)| *id);
        let Some(ceremony) = id else { return false };
        let message = Message::Certificate {
            ceremony,
            certificate: ByteBuf::from(key.certificate.clone()),
            public_shares: ByteBuf::from(packed(&key.package)),
        };
        let answer = tokio::time::timeout(ANSWER, ask(peer, &message)).await;
        matches!(answer, Ok(Ok(Message::Activated { .. })))
    }

    /// Asks the members that this node knows of for the newest certificate of each key.
    pub(super) async fn ask_fellows(self: &Arc<Self>) -> Result<(), CeremonyError> {
        for entry in self.around.keyring.entries() {
            let key = *entry.public_key();
            let mut fellows = BTreeMap::new();
            for share in entry.held() {
                for member in &share.members {
                    fellows.insert(member.identity, member.address.clone());
                }
            }
            if let Some(newest) = &entry.state().newest {
                fellows.extend(hinted(&newest.certificate, &newest.addresses));
            }
            fellows.remove(&self.around.own.identity);
            let mut fellows: Vec<(Identity, String)> = fellows.into_iter().collect();
            fellows.shuffle(&mut randomness::system());
            fellows.truncate(ASKED);
            let request = Request::KeyCertificate { public_key: key };
            let questions = fellows.iter().map(async |(identity, address)| {
                let peer = self.peer_of(identity, address).ok()?;
                let answer = tokio::time::timeout(ANSWER, peer.call(&request)).await;
                let Ok(Ok(Answer::KeyCertificate {
                    addresses,
                    certificate,
                })) = answer
                else {
                    return None;
                };
                Some((identity, peer, addresses, certificate))
            });
            let mut answers: Vec<(KeyCertificate, Vec<String>, Arc<Peer>)> = Vec::new();
            for (identity, peer, addresses, bytes) in
                a_few_at_once(questions).await.into_iter().flatten()
            {
                // Most show the same one: it is verified once.
                let known = answers
                    .iter()
                    .find(|(known, ..)| *known.as_bytes() == *bytes);
                let verified = match known {
                    Some((known, ..)) => Ok(known.clone()),
                    None => KeyCertificate::verify(&bytes, &key),
                };
                match verified {
                    Ok(certificate) => answers.push((certificate, addresses, peer)),
                    Err(error) => {
                        tracing::warn!(member = %hex::encode(identity), code = error.code(), "a member's certificate of the key is not valid: {error}");
                    }
                }
            }
            let newest = answers
                .iter()
                .max_by_key(|(certificate, ..)| certificate.name());
            if let Some((certificate, addresses, _)) = newest {
                let from: Vec<&Peer> = answers
                    .iter()
                    .filter(|(other, ..)| other.name() == certificate.name())
                    .map(|(.., peer)| peer.as_ref())
                    .collect();
                self.heard_of(&key, certificate, addresses, &from).await?;
            }
        }
        Ok(())
    }

    /// Takes notice of a certificate that was verified under Y.
    async fn heard_of(
        self: &Arc<Self>,
        key: &[u8; 32],
        certificate: &KeyCertificate,
        addresses: &[String],
        from: &[&Peer],
    ) -> Result<(), CeremonyError> {
        let name = certificate.name();
        let Some(entry) = self.around.keyring.entry(key) else {
            return Ok(());
        };
        if entry.newest_heard_of().is_some_and(|known| known > name) {
            return Ok(());
        }
        if entry.newest_known().is_none_or(|known| known < name) && self.catch_up(key, from).await?
        {
            // The ceremony that made it is still open here: it is not missed yet.
            return Ok(());
        }
        let (own, now) = (self.around.own.identity, clock_s());
        let erase_at = now.saturating_add(self.around.live.now().ceremony.overlap_s);
        let missed_before = missed(&entry);
        let (certificate, addresses) = (certificate.clone(), addresses.to_vec());
        let learned = self
            .change_key(*key, move |entry| {
                entry.learn(&certificate, &addresses, &own, now, erase_at)
            })
            .await?;
        if learned {
            let is_missed = self
                .around
                .keyring
                .entry(key)
                .is_some_and(|entry| missed(&entry));
            if is_missed && !missed_before {
                tracing::error!(
                    key = %hex::encode(key), result = %name, code = "epoch-missed",
                    "this node was away when the key was reshared: it does not serve the key until a reshare brings it back"
                );
            }
            self.notify();
        }
        Ok(())
    }

    /// If this node took part in the ceremony, and only its end was missed, a member's copy of the certificate makes up for it.
    /// Whether the ceremony is open here.
    async fn catch_up(
        self: &Arc<Self>,
        key: &[u8; 32],
        from: &[&Peer],
    ) -> Result<bool, CeremonyError> {
        let seats = lock(&self.seats).clone();
        let open = seats
            .values()
            .any(|seat| seat.is_reshare_of(key) && seat.may_be_made_up_for());
        if !open {
            return Ok(false);
        }
        let Some((certified, certificate)) = ceremony_certificate(key, from).await else {
            return Ok(true);
        };
        let ceremony = certified.proposal().id();
        let Some(seat) = seats.get(&ceremony) else {
            return Ok(false);
        };
        if !seat.may_be_made_up_for() {
            return Ok(false);
        }
        let message = Message::Certificate {
            ceremony,
            certificate,
            public_shares: ByteBuf::from(packed(certified.package())),
        };
        let (this, own) = (Arc::clone(self), self.around.own.identity);
        let reply = blocking(move || this.answer_message(&own, message)).await??;
        tracing::info!(ceremony = %hex::encode(ceremony), reply = reply.name(), "the end of a ceremony was made up for");
        // Refused: it was left out of the attempt that came to an end.
        Ok(matches!(reply, Message::Activated { .. }))
    }

    /// A connection to a member: where the operator's configuration says that it is, or else where it was said to be.
    pub(super) fn peer_of(
        &self,
        identity: &Identity,
        address: &str,
    ) -> Result<Arc<Peer>, CeremonyError> {
        let configured = self.configured(identity).map(|member| member.address);
        let mut addresses: Vec<String> = configured.into_iter().collect();
        if !address.is_empty() && !addresses.iter().any(|one| one == address) {
            addresses.push(address.to_owned());
        }
        Ok(Arc::new(self.dialer.peer_at(&addresses, identity)?))
    }
}

/// The answers to these questions, of which [`AT_ONCE`] are asked at the same time.
fn a_few_at_once<T, Q: Future<Output = T>>(
    questions: impl Iterator<Item = Q>,
) -> impl Future<Output = Vec<T>> {
    let questions: Vec<Q> = questions.collect();
    stream::iter(questions).buffer_unordered(AT_ONCE).collect()
}

/// The certificate of the ceremony that made a key's newest result, from the first of these that gives it: those that hand on
/// what they know may have no share of it themselves.
async fn ceremony_certificate(
    key: &[u8; 32],
    from: &[&Peer],
) -> Option<(dkg::CertifiedKey, ByteBuf)> {
    let request = Request::Key { public_key: *key };
    for peer in from {
        let answer = tokio::time::timeout(ANSWER, peer.call(&request)).await;
        let Ok(Ok(Answer::Key { certificate, .. })) = answer else {
            continue;
        };
        if let Ok(certified) = dkg::verify_reshare(&certificate, key) {
            return Some((certified, certificate));
        }
    }
    None
}

/// Y_1 ‖ … ‖ Y_n: to check them costs a member less than to compute them.
fn packed(package: &PublicKeyPackage) -> Vec<u8> {
    let shares = package.public_shares().iter();
    shares.flat_map(|share| *share.as_bytes()).collect()
}

fn missed(entry: &KeyEntry) -> bool {
    entry
        .state()
        .absence
        .is_some_and(|absence| absence.kind == AbsenceKind::Missed)
}

/// The members of a result that this node knows of, with their addresses.
fn members_of(entry: &KeyEntry, result: &ResultName) -> BTreeMap<Identity, String> {
    if let Some(key) = entry.held().find(|key| key.result == *result) {
        let members = key.members.iter();
        return members
            .map(|member| (member.identity, member.address.clone()))
            .collect();
    }
    match &entry.state().newest {
        Some(newest) if newest.certificate.name() == *result => {
            hinted(&newest.certificate, &newest.addresses).collect()
        }
        _ => BTreeMap::new(),
    }
}

fn hinted(
    certificate: &KeyCertificate,
    addresses: &[String],
) -> impl Iterator<Item = (Identity, String)> {
    let members = certificate.members().iter();
    members.enumerate().map(|(place, member)| {
        let address = addresses.get(place).cloned().unwrap_or_default();
        (member.identity, address)
    })
}

/// Whether a node says that it serves this result.
async fn has_result(peer: &Peer, key: &[u8; 32], result: ResultVersion) -> bool {
    match tokio::time::timeout(ANSWER, peer.call(&Request::Status {})).await {
        Ok(Ok(Answer::Status { keys, .. })) => keys.iter().any(|status| {
            let version = ResultVersion {
                epoch: status.epoch,
                attempt: status.attempt,
            };
            status.public_key == *key && version >= result
        }),
        _ => false,
    }
}
