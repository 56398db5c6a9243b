//! A reader's client: a read from the signed request to the opened key.
//!
//! What it makes of shares is the product's own ([`reencrypt::Opening`], [`reencrypt::KeyCertificate`]), and so is whom it asks, and when
//! ([`cryptonode::client::Hand`]). When all have answered and it was not enough, it looks for newer members, and tries again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use coordinator::record::{SignedTransaction, TransactionId};
use cryptonode::client::{CallError, Hand, Heard, Outcome};
use cryptonode::wire::v1::{Answer, ByteBuf, Request, ResultVersion};
use reencrypt::{
    Culprit, EphemeralSecret, KeyCertificate, Opening, Progress, PublicKeyPackage,
    VerifiedWrappedKey,
};

/// An answer that takes longer is overdue.
const HEDGE: Duration = Duration::from_millis(200);
/// How long a client waits for one answer, milliseconds.
pub const ANSWER_MS: u64 = 2_000;
/// How long a client waits before it asks all again, milliseconds.
const PAUSE_MS: u64 = 1_000;
/// After this a client makes a new read: approvals live two minutes.
const RENEW_MS: u64 = 60_000;

/// One result of the key, as the client knows it.
#[derive(Clone)]
pub struct View {
    pub package: PublicKeyPackage,
    pub version: ResultVersion,
    /// Identities in index order.
    pub members: Vec<[u8; 32]>,
}

impl View {
    pub fn of(certificate: &KeyCertificate) -> Self {
        let members = certificate.members().iter();
        Self {
            package: certificate.package().clone(),
            version: certificate.result().into(),
            members: members.map(|member| member.identity).collect(),
        }
    }
}

/// What a client does next.
pub enum Act {
    Submit,
    /// Asks these peers for their approvals.
    Approve(Vec<usize>),
    /// Asks these members.
    Ask(Vec<[u8; 32]>, Request),
    /// Makes a new read.
    Renew,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Submitting,
    Approving,
    Opening,
    Opened,
    /// For good: the reader may not read it.
    Refused,
}

/// A moment of the virtual clock, as the product's code takes it.
fn moment(ms: u64) -> Instant {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    *BEGIN + Duration::from_millis(ms)
}

/// One read.
pub struct Run {
    pub reader: usize,
    pub begun_ms: u64,
    /// Since when nothing has stood in its way.
    pub clear_since: u64,
    pub stage: Stage,
    pub transaction: SignedTransaction,
    pub spki: Vec<u8>,
    pub wrapped: VerifiedWrappedKey,
    pub ephemeral_key: Vec<u8>,
    pub approvals: BTreeMap<usize, Vec<u8>>,
    /// The secret that came out.
    pub opened: Option<Vec<u8>>,
    opening: Opening,
    pub view: View,
    hand: Hand,
    renewed_ms: u64,
    paused_until: u64,
    newest: Option<ResultVersion>,
    looked_ms: u64,
    pub culprits: BTreeSet<[u8; 32]>,
    /// Calls on their way, of the present stage.
    pub waiting: BTreeSet<u64>,
    pub attempt: u32,
}

/// Names what a share was asked for: the read, the result, and which try it was.
pub type Round = (TransactionId, ResultVersion, u32);

/// What one read is made of.
pub struct Making {
    pub reader: usize,
    pub transaction: SignedTransaction,
    pub secret: EphemeralSecret,
    pub wrapped: VerifiedWrappedKey,
    pub spki: Vec<u8>,
}

impl Run {
    pub fn new(making: Making, view: View, now_ms: u64) -> Self {
        let Making {
            reader,
            transaction,
            secret,
            wrapped,
            spki,
        } = making;
        let ephemeral_key = secret.public().as_bytes().to_vec();
        let opening = Opening::new(wrapped.clone(), secret, view.package.clone()).unwrap();
        Self {
            reader,
            begun_ms: now_ms,
            clear_since: now_ms,
            stage: Stage::Submitting,
            transaction,
            spki,
            wrapped,
            ephemeral_key,
            approvals: BTreeMap::new(),
            opened: None,
            opening,
            hand: hand(&view, reader, 1),
            view,
            renewed_ms: now_ms,
            paused_until: 0,
            newest: None,
            looked_ms: 0,
            culprits: BTreeSet::new(),
            waiting: BTreeSet::new(),
            attempt: 1,
        }
    }

    pub fn id(&self) -> TransactionId {
        self.transaction.id()
    }

    pub fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Opened | Stage::Refused)
    }

    /// What is to be done at this moment.
    pub fn next(&mut self, now_ms: u64, peers: usize, needed: usize) -> Option<Act> {
        if self.is_over() {
            return None;
        }
        if now_ms >= self.renewed_ms + RENEW_MS {
            return Some(Act::Renew);
        }
        match self.stage {
            Stage::Submitting => self.waiting.is_empty().then_some(Act::Submit),
            Stage::Approving if self.approvals.len() >= needed => {
                self.stage = Stage::Opening;
                self.waiting.clear();
                self.next(now_ms, peers, needed)
            }
            Stage::Approving => {
                let missing = (0..peers).filter(|peer| !self.approvals.contains_key(peer));
                let ask = self.waiting.is_empty();
                ask.then(|| Act::Approve(missing.collect()))
            }
            Stage::Opening => self.next_opening(now_ms),
            Stage::Opened | Stage::Refused => None,
        }
    }

    fn next_opening(&mut self, now_ms: u64) -> Option<Act> {
        let at = moment(now_ms);
        self.hand.look(at, |_| HEDGE);
        let mut next = Vec::new();
        while self.hand.wants_another(at) {
            let node = self.hand.ask(at, |_| false);
            next.extend(node.map(|node| self.view.members[node]));
        }
        let behind = self.newest.is_some_and(|newest| newest > self.view.version);
        let stuck = self.hand.is_over();
        if next.is_empty() && (behind || stuck) && now_ms >= self.looked_ms + PAUSE_MS {
            self.looked_ms = now_ms;
            let request = Request::KeyCertificate {
                public_key: *self.view.package.public_key().as_bytes(),
            };
            return Some(Act::Ask(self.view.members.clone(), request));
        }
        if stuck {
            if self.paused_until == 0 {
                self.paused_until = now_ms + PAUSE_MS;
            } else if now_ms >= self.paused_until {
                self.paused_until = 0;
                self.restart();
            }
            return None;
        }
        let request = Request::Reencrypt {
            result: Some(self.view.version),
            approvals: self
                .approvals
                .values()
                .cloned()
                .map(ByteBuf::from)
                .collect(),
            wrapped_key: ByteBuf::from(self.wrapped.as_bytes()),
            ephemeral_key: ByteBuf::from(self.ephemeral_key.clone()),
            traceparent: None,
        };
        (!next.is_empty()).then_some(Act::Ask(next, request))
    }

    /// Turns to the members of a result that it knows already.
    pub fn follow(&mut self, view: View) {
        self.view = view;
        self.restart();
    }

    fn restart(&mut self) {
        self.opening.restart(self.view.package.clone()).unwrap();
        self.attempt += 1;
        self.hand = hand(&self.view, self.reader, self.attempt);
    }

    /// Where it is: shares of an earlier round are of no use any more, as in the product's race.
    pub fn round(&self) -> Round {
        (self.id(), self.view.version, self.attempt)
    }

    /// A member's answer, or that there is none. `round`: in which a share was asked for.
    pub fn heard(
        &mut self,
        from: [u8; 32],
        round: Option<Round>,
        answer: Option<Answer>,
        now_ms: u64,
    ) {
        if self.stage != Stage::Opening || round.is_some_and(|round| round != self.round()) {
            return;
        }
        if round.is_none() {
            if let Some(Answer::KeyCertificate { certificate, .. }) = answer {
                self.look_at(&certificate);
            }
            return;
        }
        let Some(node) = self.view.members.iter().position(|member| *member == from) else {
            return;
        };
        let silent = CallError::TimedOut {
            after: Duration::from_millis(ANSWER_MS),
        };
        match Heard::from(answer.ok_or(silent)) {
            Heard::Share { share, newest } => {
                self.newest = self.newest.max(newest);
                self.hand.answered(node, moment(now_ms));
                match self.opening.add(u16::try_from(node + 1).unwrap(), &share) {
                    Progress::Need(missing) => self.hand.missing(missing),
                    Progress::Opened(secret) => {
                        self.opened = Some(secret.expose().to_vec());
                        self.stage = Stage::Opened;
                    }
                    Progress::InvalidWrappedKey | Progress::Finished => {}
                }
                for Culprit { index, reason } in self.opening.culprits() {
                    let node = usize::from(*index) - 1;
                    let reason = (reason.to_string(), reason.is_misbehaviour());
                    self.hand
                        .found_out(node, Outcome::Cheated { reason: reason.0 });
                    if reason.1 {
                        self.culprits.insert(self.view.members[node]);
                    }
                }
            }
            Heard::Nothing { outcome, pause } => {
                self.hand.failed(node, outcome, pause, moment(now_ms));
            }
        }
    }

    /// Follows the key to newer members.
    fn look_at(&mut self, certificate: &[u8]) {
        let public_key = *self.view.package.public_key().as_bytes();
        if let Ok(certificate) = KeyCertificate::verify(certificate, &public_key)
            && ResultVersion::from(certificate.result()) > self.view.version
        {
            self.follow(View::of(&certificate));
        }
    }
}

/// Everybody begins with somebody else.
fn hand(view: &View, reader: usize, attempt: u32) -> Hand {
    let members = view.members.len();
    let first = reader + attempt as usize;
    let order = (0..members).map(|at| (at + first) % members).collect();
    Hand::new(order, view.package.threshold().into())
}
