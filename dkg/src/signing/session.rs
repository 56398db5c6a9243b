//! The coordinator of a signing session, as a machine without I/O.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::CryptoRng;
use serde_bytes::ByteBuf;

use super::{SigningError, check_key_certificate};
use crate::certificate::CertifiedKey;
use crate::frost::{self, NonceCommitments};
use crate::key_certificate::ToSign;
use crate::wire_v1::Message;

/// How long a signer that has committed may take to sign, in seconds.
const SIGNING_TIME_S: u64 = 10;
/// The longest wait before a member is asked again, in seconds.
const LONGEST_WAIT_S: u64 = 30;

/// What the driver of a session does, in the order given.
#[derive(Debug)]
pub enum SigningEffect {
    /// Ask a member, and report with [`SigningSession::handle_reply`] or [`SigningSession::unreachable`].
    Send {
        /// The member's identity.
        to: [u8; 32],
        /// The question.
        message: Message,
    },
    /// The key's certificate: write it, and give it to all members.
    Signed {
        /// Its canonical bytes.
        certificate: Vec<u8>,
    },
}

#[derive(Debug, Clone, Default)]
struct Peer {
    in_flight: bool,
    not_before: u64,
    tries: u32,
}

enum Round {
    Committing(BTreeMap<u16, NonceCommitments>),
    Signing {
        commitments: Vec<NonceCommitments>,
        shares: BTreeMap<u16, [u8; 32]>,
        deadline: u64,
    },
    Done,
}

/// Coordinates the signing of one key's statement. It holds no secret and nothing that need survive a crash.
pub struct SigningSession {
    key: CertifiedKey,
    to_sign: ToSign,
    session: [u8; 16],
    round: Round,
    peers: BTreeMap<u16, Peer>,
    /// Passed over in this session, because they failed an earlier one.
    benched: BTreeSet<u16>,
    culprits: BTreeMap<u16, SigningError>,
}

impl SigningSession {
    /// A session for a key that this node has activated.
    pub fn new<R: CryptoRng>(key: CertifiedKey, rng: &mut R) -> Self {
        let peers = (1..)
            .zip(key.members())
            .map(|(index, _)| (index, Peer::default()))
            .collect();
        let mut session = Self {
            to_sign: ToSign::of(&key),
            key,
            session: [0; 16],
            round: Round::Committing(BTreeMap::new()),
            peers,
            benched: BTreeSet::new(),
            culprits: BTreeMap::new(),
        };
        session.begin(rng);
        session
    }

    /// The members that gave false shares of a signature, with the evidence's verdict.
    pub fn culprits(&self) -> &BTreeMap<u16, SigningError> {
        &self.culprits
    }

    /// Whether the certificate has been made.
    pub fn is_done(&self) -> bool {
        matches!(self.round, Round::Done)
    }

    /// When to poll again if no reply comes before, seconds since the Unix epoch. `None` with no question out means that it
    /// cannot go on: too many have cheated, or it is done.
    pub fn next_poll(&self) -> Option<u64> {
        match &self.round {
            Round::Committing(committed) => self
                .peers
                .iter()
                .filter(|(index, peer)| {
                    !peer.in_flight && self.may_ask(**index) && !committed.contains_key(index)
                })
                .map(|(_, peer)| peer.not_before)
                .min(),
            Round::Signing { deadline, .. } => Some(*deadline),
            Round::Done => None,
        }
    }

    fn begin<R: CryptoRng>(&mut self, rng: &mut R) {
        rng.fill_bytes(&mut self.session);
        self.round = Round::Committing(BTreeMap::new());
        for peer in self.peers.values_mut() {
            peer.in_flight = false;
        }
        let left = self
            .peers
            .keys()
            .filter(|index| self.may_ask(**index))
            .count();
        if left < usize::from(self.key.package().threshold()) {
            self.benched.clear();
        }
    }

    fn may_ask(&self, index: u16) -> bool {
        !self.benched.contains(&index) && !self.culprits.contains_key(&index)
    }

    /// What is to be done at `now`, seconds since the Unix epoch.
    pub fn poll<R: CryptoRng>(&mut self, now: u64, rng: &mut R) -> Vec<SigningEffect> {
        if let Round::Signing {
            commitments,
            shares,
            deadline,
        } = &self.round
            && now >= *deadline
        {
            let silent: Vec<u16> = commitments
                .iter()
                .map(|signer| signer.index)
                .filter(|index| !shares.contains_key(index))
                .collect();
            self.give_up(&silent, now, rng);
        }
        let Round::Committing(committed) = &self.round else {
            return Vec::new();
        };
        let (ceremony, result) = (self.key.proposal().id(), self.key.result_hash());
        let mut effects = Vec::new();
        for ((index, member), session) in (1u16..)
            .zip(self.key.members())
            .zip(std::iter::repeat(self.session))
        {
            let open = self.may_ask(index) && !committed.contains_key(&index);
            let Some(peer) = self.peers.get_mut(&index) else {
                continue;
            };
            if open && !peer.in_flight && peer.not_before <= now {
                peer.in_flight = true;
                effects.push(SigningEffect::Send {
                    to: member.identity,
                    message: Message::Commit {
                        result,
                        session,
                        ceremony,
                    },
                });
            }
        }
        effects
    }

    fn give_up<R: CryptoRng>(&mut self, failed: &[u16], now: u64, rng: &mut R) {
        for index in failed {
            self.benched.insert(*index);
            self.wait(*index, now);
        }
        self.begin(rng);
    }

    fn wait(&mut self, index: u16, now: u64) {
        if let Some(peer) = self.peers.get_mut(&index) {
            let seconds = 1u64
                .checked_shl(peer.tries)
                .unwrap_or(u64::MAX)
                .min(LONGEST_WAIT_S);
            peer.in_flight = false;
            peer.not_before = now.saturating_add(seconds);
            peer.tries = peer.tries.saturating_add(1).min(8);
        }
    }

    /// A member did not answer `question`.
    pub fn unreachable<R: CryptoRng>(
        &mut self,
        member: &[u8; 32],
        question: &Message,
        now: u64,
        rng: &mut R,
    ) -> Vec<SigningEffect> {
        if let Some(index) = self.key.index_of(member)
            && self.is_current(question)
        {
            self.failed(index, now, rng);
        }
        self.poll(now, rng)
    }

    /// Whether a question is one of this session, not of one that was given up.
    fn is_current(&self, question: &Message) -> bool {
        matches!(question, Message::Commit { session, .. } | Message::Sign { session, .. } if *session == self.session)
    }

    fn failed<R: CryptoRng>(&mut self, index: u16, now: u64, rng: &mut R) {
        match &self.round {
            Round::Signing {
                commitments,
                shares,
                ..
            } => {
                let awaited = commitments.iter().any(|signer| signer.index == index)
                    && !shares.contains_key(&index);
                if awaited {
                    self.give_up(&[index], now, rng);
                } else {
                    self.wait(index, now);
                }
            }
            Round::Committing(_) => self.wait(index, now),
            Round::Done => {}
        }
    }

    /// A member's answer to `question`.
    pub fn handle_reply<R: CryptoRng>(
        &mut self,
        from: &[u8; 32],
        question: &Message,
        reply: &Message,
        now: u64,
        rng: &mut R,
    ) -> Vec<SigningEffect> {
        let Some(index) = self.key.index_of(from) else {
            return Vec::new();
        };
        let stale = !self.is_current(question) && !matches!(reply, Message::KeyCertificate { .. });
        if self.is_done() || stale {
            return self.poll(now, rng);
        }
        if reply.ceremony() != Some(self.key.proposal().id()) {
            self.failed(index, now, rng);
            return self.poll(now, rng);
        }
        let mut effects = Vec::new();
        match (reply, &mut self.round) {
            (Message::KeyCertificate { certificate, .. }, _) => {
                if check_key_certificate(certificate, &self.key).is_ok() {
                    return self.done(certificate.to_vec());
                }
                self.failed(index, now, rng);
            }
            (
                Message::Committed {
                    session,
                    commitments,
                    ..
                },
                Round::Committing(committed),
            ) if *session == self.session && commitments.index == index => {
                committed.insert(index, commitments.clone());
                if let Some(peer) = self.peers.get_mut(&index) {
                    *peer = Peer::default();
                }
                effects.extend(self.ask_to_sign(now));
            }
            (
                Message::Signed { session, share, .. },
                Round::Signing {
                    commitments,
                    shares,
                    ..
                },
            ) if *session == self.session => {
                if commitments.iter().any(|signer| signer.index == index) {
                    shares.insert(index, *share);
                }
                if shares.len() == commitments.len() {
                    let outcome = frost::aggregate(
                        commitments,
                        shares,
                        &self.to_sign.message,
                        self.key.package(),
                    );
                    match outcome {
                        Ok(signature) => {
                            let certificate = self.to_sign.with_signature(signature);
                            return self.done(certificate);
                        }
                        Err(error) => self.blame(&error, now, rng),
                    }
                }
            }
            _ => self.failed(index, now, rng),
        }
        effects.extend(self.poll(now, rng));
        effects
    }

    /// Once t have committed: asks exactly those to sign.
    fn ask_to_sign(&mut self, now: u64) -> Vec<SigningEffect> {
        let threshold = usize::from(self.key.package().threshold());
        let Round::Committing(committed) = &self.round else {
            return Vec::new();
        };
        if committed.len() < threshold {
            return Vec::new();
        }
        let commitments: Vec<NonceCommitments> =
            committed.values().take(threshold).cloned().collect();
        let (ceremony, result) = (self.key.proposal().id(), self.key.result_hash());
        let effects = commitments
            .iter()
            .filter_map(|signer| self.key.member(signer.index))
            .map(|member| SigningEffect::Send {
                to: member.identity,
                message: Message::Sign {
                    result,
                    session: self.session,
                    ceremony,
                    commitments: commitments.clone(),
                },
            })
            .collect();
        self.round = Round::Signing {
            commitments,
            shares: BTreeMap::new(),
            deadline: now.saturating_add(SIGNING_TIME_S),
        };
        effects
    }

    fn blame<R: CryptoRng>(&mut self, error: &SigningError, now: u64, rng: &mut R) {
        let named = match error {
            SigningError::FalseShares { signers } => signers.clone(),
            SigningError::BadCommitments { signer } => vec![*signer],
            _ => Vec::new(),
        };
        for index in &named {
            self.culprits.insert(*index, error.clone());
        }
        self.give_up(&named, now, rng);
    }

    fn done(&mut self, certificate: Vec<u8>) -> Vec<SigningEffect> {
        self.round = Round::Done;
        vec![SigningEffect::Signed { certificate }]
    }

    /// The message by which a member is given the certificate; it answers `kept`.
    pub fn announcement(key: &CertifiedKey, certificate: &[u8]) -> Message {
        Message::KeyCertificate {
            result: key.result_hash(),
            ceremony: key.proposal().id(),
            certificate: ByteBuf::from(certificate.to_vec()),
        }
    }
}
