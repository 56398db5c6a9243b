//! The certificate of a key, signed by t members under Y itself: this node as a signer, and as the one that asks.
//!
//! The node that led a ceremony asks as soon as all have activated its result; every other node that misses the certificate asks
//! a while later, so that nobody in particular has to stay alive. Whoever has it gives it to those that ask. Nothing but the
//! finished certificate is written: a crash costs a new session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dkg::{
    CertifiedKey, Fault, Message, Signer, SigningEffect, SigningError, SigningSession,
    check_key_certificate,
};
use std::sync::Mutex;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::lead::ask;
use super::{Ceremonies, CeremonyError, CeremonyId, blocking, lock, stopped};
use crate::client::Peer;
use crate::daemon::clock_s;
use crate::keyring::ActiveKey;
use crate::store::{Change, RecordsError, Table};

/// A key that came of a ceremony, with what signing its certificate takes.
pub(super) struct Made {
    /// Y in hexadecimal.
    pub(super) public_key: String,
    certified: CertifiedKey,
    signer: Mutex<Signer>,
    certificate: Mutex<Option<Vec<u8>>>,
    /// A session of this node is running.
    asking: AtomicBool,
}

impl Made {
    /// Of a key that was active before: verifies the ceremony's certificate.
    pub(super) fn of(key: &ActiveKey) -> Result<(CeremonyId, Self), CeremonyError> {
        let pinned: Vec<[u8; 32]> = key.members.iter().map(|member| member.identity).collect();
        let public_key = hex::encode(key.package.public_key().as_bytes());
        let certified = dkg::read_own_certificate(&key.certificate, &pinned).map_err(|error| {
            RecordsError::Unreadable {
                what: "the certificate of a key",
                reason: format!("{public_key}: {error}"),
            }
        })?;
        Ok(Self::now(certified))
    }

    /// Of a key that this member has just activated, with the ceremony's certificate as it has verified it.
    pub(super) fn now(certified: CertifiedKey) -> (CeremonyId, Self) {
        let made = Self {
            public_key: hex::encode(certified.public_key().as_bytes()),
            signer: Mutex::new(Signer::new()),
            certificate: Mutex::new(None),
            asking: AtomicBool::new(false),
            certified,
        };
        (made.certified.proposal().id(), made)
    }

    /// Takes a certificate that was kept. One that does not hold is as good as none.
    pub(super) fn restore(&self, certificate: &[u8]) {
        if check_key_certificate(certificate, &self.certified).is_ok() {
            *lock(&self.certificate) = Some(certificate.to_vec());
        }
    }

    pub(super) fn certificate(&self) -> Option<Vec<u8>> {
        lock(&self.certificate).clone()
    }

    /// Whether this identity had a seat in the ceremony.
    pub(super) fn has_seat(&self, identity: &[u8; 32]) -> bool {
        self.certified.proposal().index_of(identity).is_some()
    }

    pub(super) fn is(&self, key: &ActiveKey) -> bool {
        self.certified.package() == &key.package
    }
}

/// A member's answer to a question of a session.
struct Heard {
    from: [u8; 32],
    question: Message,
    what: Result<Message, String>,
}

impl Ceremonies {
    /// Answers what belongs to the signing of a key's certificate; `None` for every other message.
    pub(super) fn answer_signing(
        &self,
        from: &[u8; 32],
        message: &Message,
    ) -> Option<Result<Message, CeremonyError>> {
        let is_signing = matches!(
            message,
            Message::Commit { .. } | Message::Sign { .. } | Message::KeyCertificate { .. }
        );
        is_signing.then(|| match self.sign(from, message) {
            Err(CeremonyError::Fault(fault)) => Ok(Message::refusal(message.about(), &fault)),
            other => other,
        })
    }

    fn sign(&self, from: &[u8; 32], message: &Message) -> Result<Message, CeremonyError> {
        let id = message.ceremony().unwrap_or_default();
        let made = lock(&self.made).get(&id).cloned();
        let made = made.ok_or(Fault::OutOfStep {
            message: message.name(),
            stage: "not activated",
        })?;
        if let Message::KeyCertificate { certificate, .. } = message {
            if made.certified.index_of(from).is_none() {
                return Err(Fault::Stranger { from: *from }.into());
            }
            check_key_certificate(certificate, &made.certified).map_err(Fault::from)?;
            self.keep_certificate(&id, &made, certificate)?;
            return Ok(Message::Kept { ceremony: id });
        }
        let key = self
            .around
            .keyring
            .iter()
            .find(|key| made.is(key))
            .ok_or(Fault::Signing(SigningError::NotAMember))?;
        let certificate = made.certificate();
        let mut signer = lock(&made.signer);
        let answer = signer.handle(
            from,
            message,
            &key.share,
            &made.certified,
            certificate.as_deref(),
            &mut crate::randomness::system(),
        );
        Ok(answer?)
    }

    /// Makes a verified certificate durable. The first that comes is kept: all of one key and epoch say the same.
    fn keep_certificate(
        &self,
        id: &CeremonyId,
        made: &Made,
        certificate: &[u8],
    ) -> Result<(), CeremonyError> {
        let mut place = lock(&made.certificate);
        if place.is_none() {
            let bytes = Zeroizing::new(certificate.to_vec());
            self.around
                .store
                .commit(&[Change::put(Table::KeyCertificate, id, bytes)])?;
            *place = Some(certificate.to_vec());
            drop(place);
            self.learn_own(made, certificate);
            tracing::info!(ceremony = %hex::encode(id), key = made.public_key, "the key's certificate is signed");
            self.notify();
        }
        Ok(())
    }

    /// From now on the key's certificate is shown to whoever asks.
    pub(super) fn learn_own(&self, made: &Made, certificate: &[u8]) {
        let public_key = *made.certified.public_key().as_bytes();
        let Ok(certificate) = dkg::KeyCertificate::verify(certificate, &public_key) else {
            return;
        };
        let members = made.certified.members().iter();
        let addresses: Vec<String> = members.map(|member| member.address.clone()).collect();
        let (own, now) = (self.around.own.identity, clock_s());
        let kept = self.desk.change_key(&public_key, |entry| {
            entry.learn(&certificate, &addresses, &own, now, u64::MAX)
        });
        if let Err(error) = kept {
            tracing::error!(code = error.code(), %error, "the key's certificate could not be kept with the key");
        }
    }

    /// A crash may have come between a certificate and the key that it belongs to.
    pub(super) fn relearn_own(&self) {
        for made in lock(&self.made).clone().into_values() {
            if let Some(certificate) = made.certificate() {
                self.learn_own(&made, &certificate);
            }
        }
    }

    /// Starts a session for every key whose certificate is missing and that nobody of this node asks for yet.
    pub(super) fn certify_missing(self: &Arc<Self>) {
        if self.is_restored() {
            return;
        }
        let missing: Vec<CeremonyId> = lock(&self.made)
            .iter()
            .filter(|(_, made)| made.certificate().is_none())
            // What has been superseded needs none.
            .filter(|(_, made)| self.around.keyring.iter().any(|key| made.is(&key)))
            .map(|(id, _)| *id)
            .collect();
        for id in missing {
            self.certify(id);
        }
    }

    /// Asks the members to sign, until there is a certificate.
    pub(super) fn certify(self: &Arc<Self>, id: CeremonyId) {
        let Some(made) = lock(&self.made).get(&id).cloned() else {
            return;
        };
        if made.certificate().is_some() || made.asking.swap(true, Ordering::SeqCst) {
            return;
        }
        let this = Arc::clone(self);
        self.keep(tokio::spawn(async move {
            if let Err(error) = this.run_session(&id, &made).await {
                tracing::warn!(ceremony = %hex::encode(id), %error, "the key's certificate is not signed yet");
            }
            made.asking.store(false, Ordering::SeqCst);
        }));
    }

    async fn run_session(
        self: &Arc<Self>,
        id: &CeremonyId,
        made: &Arc<Made>,
    ) -> Result<(), CeremonyError> {
        let mut stopping = self.stopping.subscribe();
        let (answers, mut answered) = mpsc::channel::<Heard>(64);
        let mut questions = JoinSet::new();
        let mut session =
            SigningSession::new(made.certified.clone(), &mut crate::randomness::system());
        let mut effects = session.poll(clock_s(), &mut crate::randomness::system());
        let mut asked = 0usize;
        loop {
            for effect in effects {
                match effect {
                    SigningEffect::Send { to, message } => {
                        asked += 1;
                        self.ask_signer(to, message, made, &answers, &mut questions)?;
                    }
                    SigningEffect::Signed { certificate } => {
                        let (this, id, own) = (Arc::clone(self), *id, Arc::clone(made));
                        let kept = certificate.clone();
                        blocking(move || this.keep_certificate(&id, &own, &kept)).await??;
                        return self.announce(made, &certificate).await;
                    }
                }
            }
            for (member, fault) in session.culprits() {
                tracing::warn!(
                    member,
                    code = fault.code(),
                    "a member cheated when the key's certificate was signed"
                );
            }
            // Another member's certificate may have come meanwhile.
            let stuck = asked == 0 && session.next_poll().is_none();
            if stuck || made.certificate().is_some() {
                return Ok(());
            }
            while questions.try_join_next().is_some() {}
            let rest = session
                .next_poll()
                .map_or(3_600, |at| at.saturating_sub(clock_s()).max(1));
            effects = tokio::select! {
                () = stopped(&mut stopping) => return Ok(()),
                Some(heard) = answered.recv() => {
                    asked -= 1;
                    let (now, rng) = (clock_s(), &mut crate::randomness::system());
                    match heard.what {
                        Ok(reply) => session.handle_reply(&heard.from, &heard.question, &reply, now, rng),
                        Err(reason) => {
                            tracing::debug!(member = %hex::encode(heard.from), reason, "no answer");
                            session.unreachable(&heard.from, &heard.question, now, rng)
                        }
                    }
                }
                () = tokio::time::sleep(std::time::Duration::from_secs(rest)) => {
                    session.poll(clock_s(), &mut crate::randomness::system())
                }
            };
        }
    }

    fn ask_signer(
        self: &Arc<Self>,
        to: [u8; 32],
        question: Message,
        made: &Made,
        answers: &mpsc::Sender<Heard>,
        questions: &mut JoinSet<()>,
    ) -> Result<(), CeremonyError> {
        let answers = answers.clone();
        let peer = if to == self.around.own.identity {
            None
        } else {
            Some(self.signer_peer(&to, made)?)
        };
        let this = Arc::clone(self);
        questions.spawn(async move {
            let what = match peer {
                Some(peer) => ask(&peer, &question).await,
                None => {
                    let own = question.clone();
                    let answer = blocking(move || this.answer_message(&to, own)).await;
                    answer
                        .and_then(|answer| answer)
                        .map_err(|error| error.to_string())
                }
            };
            let _ = answers
                .send(Heard {
                    from: to,
                    question,
                    what,
                })
                .await;
        });
        Ok(())
    }

    /// A connection to a member of the key: its address is the configured one, or the ceremony's.
    fn signer_peer(&self, identity: &[u8; 32], made: &Made) -> Result<Arc<Peer>, CeremonyError> {
        let known = self.configured(identity).map(|member| member.address);
        let address = known.or_else(|| {
            let member = made.certified.member(made.certified.index_of(identity)?)?;
            Some(member.address.clone())
        });
        Ok(Arc::new(
            self.dialer.peer(&address.unwrap_or_default(), identity)?,
        ))
    }

    /// Gives the certificate to all members once; who does not hear of it asks by itself.
    async fn announce(
        self: &Arc<Self>,
        made: &Made,
        certificate: &[u8],
    ) -> Result<(), CeremonyError> {
        let message = SigningSession::announcement(&made.certified, certificate);
        let mut told = JoinSet::new();
        for member in made.certified.members() {
            if member.identity == self.around.own.identity {
                continue;
            }
            let peer = self.signer_peer(&member.identity, made)?;
            let message = message.clone();
            told.spawn(async move { ask(&peer, &message).await });
        }
        while let Some(outcome) = told.join_next().await {
            if let Ok(Err(reason)) = outcome {
                tracing::debug!(reason, "a member could not be given the key's certificate");
            }
        }
        Ok(())
    }
}
