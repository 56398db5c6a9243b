//! What a member does at each step of the protocol, once the message has been found to be for it.
//!
//! The numbers are those of `docs/protocol/key-generation.md`. Each function first looks whether the step is done, and then answers as it did. The stage, the secrets and the attempt
//! change together or not at all.

use rand_core::CryptoRng;
use reencrypt::{KeyShare, SecretScalar};
use serde_bytes::ByteBuf;

use super::hand_over::{check_base, constant};
use super::stage::{Dealing, Pending, Running, Secrets, Stage, Verified};
use super::state::MAX_PENDING;
use super::{ActivatedKey, LocalNode, MemberOutput, state};
use crate::acknowledge::{Acknowledgement, check_acknowledgements};
use crate::attempt::{Acceptance, Attempt};
use crate::base::Holding;
use crate::certificate::{CertifiedKey, Known};
use crate::confirm::AttemptResult;
use crate::deal::{self, Sealing};
use crate::exclusion::{self, Exclusion};
use crate::fault::Fault;
use crate::pairs::Pairs;
use crate::tags;
use crate::wire_v1::{About, Message};

/// What a member is asked to confirm.
pub(super) struct AllAcknowledged {
    pub(super) number: u32,
    pub(super) acknowledgements: Vec<Acknowledgement>,
    /// Whether it comes from whoever leads now.
    pub(super) by_leader: bool,
}

/// What a `begin` asks for.
pub(super) struct Begin {
    pub(super) number: u32,
    pub(super) acceptances: Vec<Acceptance>,
    pub(super) excluded: Vec<Exclusion>,
    /// Whether the member's leader asks.
    pub(super) by_leader: bool,
}

impl Running {
    /// The answer to a proposal that is known already.
    pub(super) fn repeat_decision(&self) -> Result<MemberOutput, Fault> {
        let ceremony = self.proposal.id();
        let reply = match &self.stage {
            Stage::Proposed => Message::Pending { ceremony },
            Stage::Accepted { acceptance } => Message::Accepted {
                ceremony,
                acceptance: acceptance.clone(),
            },
            Stage::Closed {
                reason,
                rejected: true,
            } => Message::Rejected {
                ceremony,
                reason: reason.clone(),
            },
            Stage::Closed {
                reason,
                rejected: false,
            } => {
                return Err(Fault::Closed {
                    reason: reason.clone(),
                });
            }
            other => match other
                .dealing()
                .and_then(|dealing| dealing.acceptance(self.index))
            {
                Some(acceptance) => Message::Accepted {
                    ceremony,
                    acceptance: acceptance.clone(),
                },
                None => return Err(self.out_of_step("propose")),
            },
        };
        Ok(MemberOutput::repeat(reply))
    }

    /// Steps 3 to 6: verifies everybody's acceptance, fixes the parameters, and deals.
    pub(super) fn begin<R: CryptoRng>(
        &mut self,
        node: &LocalNode,
        begin: Begin,
        holding: Option<&Holding<'_>>,
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        let number = begin.number;
        if let Some(dealing) = self.stage.dealing()
            && number <= dealing.number
        {
            let same = dealing.check_repeated(&self.proposal, number, &begin.acceptances);
            return match same {
                Ok(()) => Ok(MemberOutput::repeat(self.dealt(dealing))),
                Err(fault @ Fault::TwoAcceptances { .. }) => Err(fault),
                Err(fault) => self.elsewhere().ok_or(fault).map(MemberOutput::repeat),
            };
        }
        if let Some(certificate) = self.certified() {
            return Ok(MemberOutput::repeat(certificate));
        }
        let own = match &self.stage {
            Stage::Accepted { acceptance } => Some(acceptance),
            Stage::Activated { .. } => None,
            stage => stage
                .dealing()
                .and_then(|dealing| dealing.acceptance(self.index)),
        };
        let Some(own) = own.cloned().filter(|_| self.secrets.encryption.is_some()) else {
            return Err(self.out_of_step("begin"));
        };
        let attempt =
            self.check_begin(begin.acceptances, &begin.excluded, number, begin.by_leader)?;
        if !attempt.acceptances.contains(&own) {
            return Err(Fault::OwnMessageAltered { what: "acceptance" });
        }
        if let Some(notice) = self.evidence_against(&attempt) {
            return Ok(MemberOutput::repeat(notice));
        }
        check_base(&self.proposal, holding, number)?;
        let seat = attempt.of_proposal(self.index).ok_or(Fault::NotListed)?;
        let mut pairs = None;
        let deal = match attempt.dealer_in(seat) {
            Some(dealer) => {
                let constant = constant(&self.proposal, dealer, holding)?;
                let secret = self.secrets.encryption.as_ref();
                let secret = secret.ok_or_else(|| self.out_of_step("begin"))?;
                let members = attempt.encryption_keys.iter().take(attempt.members());
                let sealing = Sealing {
                    identity: &node.identity,
                    secret,
                    pairs: pairs.insert(Pairs::new(secret, members, &self.secrets.pairs)),
                };
                let deal = deal::deal(&attempt, dealer.index, constant, sealing, rng);
                Some(deal.ok_or(Fault::NotListed)?)
            }
            None => None,
        };
        let dealing = Dealing {
            number,
            acceptances: attempt.acceptances.clone(),
            deal,
        };
        let reply = self.dealt(&dealing);
        if self.stage.confirmation().is_some() {
            self.watch.came_to_nothing();
        }
        self.set_aside();
        self.secrets.pairs = pairs.unwrap_or_default();
        self.attempt = Some(attempt);
        self.exclusions = begin.excluded;
        let exclusions = &self.exclusions;
        self.accused.retain(|known| !exclusions.contains(known));
        self.stage = Stage::Dealt(dealing);
        Ok(self.changed(reply))
    }

    /// Who takes part in the attempt, and whether the others are left out as the proposal allows. Each attempt after the
    /// first leaves out one member more at least, which bounds their number.
    fn check_begin(
        &self,
        acceptances: Vec<Acceptance>,
        excluded: &[Exclusion],
        number: u32,
        by_leader: bool,
    ) -> Result<Attempt, Fault> {
        let first = self.proposal.first_attempt();
        if !by_leader && (number > first || !excluded.is_empty()) {
            return Err(Fault::NotLeader);
        }
        if self.pending.len() >= MAX_PENDING {
            return Err(Fault::ExclusionCount { attempt: number });
        }
        exclusion::check_begin(&self.proposal, number, acceptances, excluded)
    }

    /// Leaves the attempt that this member is at. What it has confirmed is kept.
    fn set_aside(&mut self) {
        let share = self.secrets.share.take();
        if let Stage::Confirmed {
            verified,
            confirmation,
        } = &self.stage
        {
            self.pending.push(Pending {
                verified: verified.clone(),
                confirmation: confirmation.clone(),
            });
            self.secrets.pending.extend(share);
        }
    }

    /// Goes back to the last result that this member has confirmed, if there is one; the attempt since is erased.
    pub(super) fn fall_back(&mut self) -> bool {
        let Some(pending) = self.pending.pop() else {
            return false;
        };
        let Pending {
            verified,
            confirmation,
        } = pending;
        let dealing = &verified.dealing;
        self.attempt =
            Attempt::new(&self.proposal, dealing.number, dealing.acceptances.clone()).ok();
        self.secrets.share = self.secrets.pending.pop();
        self.stage = Stage::Confirmed {
            verified,
            confirmation,
        };
        true
    }

    /// From the first confirmation on a key may exist, and its share is not given up.
    pub(super) fn keeps_share(&self) -> bool {
        self.stage.keeps_share() || !self.pending.is_empty()
    }

    /// This member's seat in its attempt.
    pub(super) fn own_index(&self, attempt: &Attempt) -> Result<u16, Fault> {
        attempt.of_proposal(self.index).ok_or(Fault::NotListed)
    }

    fn dealt(&self, dealing: &Dealing) -> Message {
        let (ceremony, attempt) = (self.proposal.id(), dealing.number);
        match &dealing.deal {
            Some(deal) => Message::Dealt {
                ceremony,
                attempt,
                deal: Box::new(deal.clone()),
            },
            None => Message::Ready { attempt, ceremony },
        }
    }

    /// Steps 12 to 16: everybody has acknowledged the same deals; checks the share a second time, and confirms the result.
    pub(super) fn confirm<R: CryptoRng>(
        &mut self,
        node: &LocalNode,
        asked: &AllAcknowledged,
        holding: Option<&Holding<'_>>,
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        let number = asked.number;
        if let Some(elsewhere) = self.left_behind(number) {
            return Ok(MemberOutput::repeat(elsewhere));
        }
        let attempt = self.attempt_of(number, "acknowledgements")?;
        let verified = self.stage.verified();
        let own = verified.and_then(|verified| verified.acknowledgement.as_ref());
        let (Some(verified), Some(own)) = (verified, own) else {
            return Err(self.out_of_step("acknowledgements"));
        };
        check_acknowledgements(
            &attempt.roster,
            &attempt.params,
            own,
            &asked.acknowledgements,
        )?;
        if self.stage.confirmation().is_some() {
            return self.repeat_confirmation();
        }
        // Nobody signs sums, and it confirms once: any member could have told it sums that fit its share alone, and make it confirm them.
        if !asked.by_leader {
            return Err(Fault::NotLeader);
        }
        check_base(&self.proposal, holding, number)?;
        let Some(share) = &self.secrets.share else {
            return Err(self.out_of_step("acknowledgements"));
        };
        let result = result(attempt, verified)?;
        let index = self.own_index(attempt)?;
        let confirmation = result.confirm(&attempt.roster, index, share, &node.identity, rng)?;
        self.stage = Stage::Confirmed {
            verified: verified.clone(),
            confirmation,
        };
        self.watch.confirmed();
        let reply = self.repeat_confirmation()?.reply;
        Ok(self.confirmed_now(number, reply))
    }

    pub(super) fn repeat_confirmation(&self) -> Result<MemberOutput, Fault> {
        let (Some(verified), Some(confirmation)) =
            (self.stage.verified(), self.stage.confirmation())
        else {
            return Err(self.out_of_step("acknowledgements"));
        };
        Ok(MemberOutput::repeat(Message::Confirmed {
            ceremony: self.proposal.id(),
            attempt: verified.dealing.number,
            confirmation: confirmation.clone(),
        }))
    }

    /// Step 18: all have confirmed; hands the share over and erases what is left of the attempt. The certificate may be of this
    /// attempt or of an earlier one that this member has confirmed.
    pub(super) fn activate<R: CryptoRng>(
        &mut self,
        certificate: Vec<u8>,
        public_shares: &[u8],
        holding: Option<&Holding<'_>>,
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        let reply = Message::Activated {
            ceremony: self.proposal.id(),
        };
        let done = match &self.stage {
            Stage::Activated { verified, .. } => Some(verified.dealing.number),
            _ => None,
        };
        if done.is_some() && self.pending.is_empty() {
            return Ok(MemberOutput::repeat(reply));
        }
        if !self.keeps_share() {
            let overtaken = self.overtaken(&certificate, holding);
            return Err(overtaken.unwrap_or_else(|| self.out_of_step("certificate")));
        }
        let confirmed = self.stage.verified();
        let sums = confirmed.and_then(|verified| verified.sums(self.proposal.threshold()));
        let known = Known {
            proposal: &self.proposal,
            encoded: &self.signed.proposal,
            sums: sums.as_deref().unwrap_or_default(),
        };
        let key = CertifiedKey::verify_with(&certificate, known, public_shares, rng)?;
        let before = |hash: &ByteBuf| **hash == key.result_hash();
        if done == Some(key.attempt()) || self.activated.iter().any(before) {
            return Ok(MemberOutput::repeat(reply));
        }
        let current = matches!(&self.stage, Stage::Confirmed { verified, .. } if verified.dealing.number == key.attempt());
        let earlier = self
            .pending
            .iter()
            .position(|pending| pending.verified.dealing.number == key.attempt());
        let (pending, share) = match (&self.stage, earlier) {
            (
                Stage::Confirmed {
                    verified,
                    confirmation,
                },
                _,
            ) if current => {
                let pending = Pending {
                    verified: verified.clone(),
                    confirmation: confirmation.clone(),
                };
                (pending, self.secrets.share.as_ref())
            }
            (_, Some(place)) => match self.pending.get(place) {
                Some(pending) => (pending.clone(), self.secrets.pending.get(place)),
                None => return Err(Fault::OtherResult),
            },
            _ => {
                let overtaken = self.overtaken(&certificate, holding);
                return Err(overtaken.unwrap_or(Fault::OtherResult));
            }
        };
        let attempt = self.attempt_in(&pending.verified.dealing)?;
        self.check_certified(&key, &attempt, &pending)?;
        let retired = self.retired(&key, &attempt);
        let activated = match share {
            Some(share) => Some(self.activated(key, certificate.clone(), &attempt, share)?),
            None if self.is_leaving() => None,
            None => return Err(Fault::OtherResult),
        };
        if let Stage::Activated { verified, .. } = &self.stage {
            let hash = result(&self.attempt_in(&verified.dealing)?, verified)?.hash();
            self.activated.push(ByteBuf::from(hash.to_vec()));
        }
        if !current {
            // What this member has confirmed since is kept; an attempt that it has not is not gone on with.
            self.set_aside();
        }
        if let Some(place) = earlier {
            self.pending.remove(place);
            if place < self.secrets.pending.len() {
                drop(self.secrets.pending.remove(place));
            }
        }
        self.attempt = Some(attempt);
        self.stage = Stage::Activated {
            verified: pending.verified,
            confirmation: pending.confirmation,
            certificate: ByteBuf::from(certificate),
        };
        self.erase_encryption();
        self.secrets.share = None;
        Ok(MemberOutput {
            activated,
            retired,
            ..self.changed(reply)
        })
    }

    /// The attempt of a dealing: the present one, or an earlier one anew.
    pub(super) fn attempt_in(&self, dealing: &Dealing) -> Result<Attempt, Fault> {
        match &self.attempt {
            Some(attempt) if attempt.number == dealing.number => Ok(attempt.clone()),
            _ => Attempt::new(&self.proposal, dealing.number, dealing.acceptances.clone()),
        }
    }

    /// Checks a certificate against the result that this member has confirmed itself.
    fn check_certified(
        &self,
        key: &CertifiedKey,
        attempt: &Attempt,
        pending: &Pending,
    ) -> Result<(), Fault> {
        let same_result = *key.result() == result(attempt, &pending.verified)?;
        if *key.proposal() != self.proposal || !same_result {
            return Err(Fault::OtherResult);
        }
        if key.confirmation(self.own_index(attempt)?) != Some(&pending.confirmation) {
            return Err(Fault::OwnMessageAltered {
                what: "confirmation",
            });
        }
        Ok(())
    }

    /// The key as it is handed over.
    fn activated(
        &self,
        key: CertifiedKey,
        certificate: Vec<u8>,
        attempt: &Attempt,
        share: &SecretScalar,
    ) -> Result<ActivatedKey, Fault> {
        let index = self.own_index(attempt)?;
        let secret = SecretScalar::from_canonical_bytes(&share.to_bytes())
            .map_err(|_| Fault::UnusableResult)?;
        let share = KeyShare::new(index, key.epoch(), key.public_key(), secret)
            .ok()
            .filter(|share| share.check(key.package()).is_ok())
            .ok_or(Fault::ShareMismatch)?;
        Ok(ActivatedKey {
            share,
            package: key.package().clone(),
            members: attempt.roster.members().to_vec(),
            policy_hash: *self.proposal.policy_hash(),
            name: key.name(),
            certified: key,
            certificate,
        })
    }

    /// Section 9: the leader calls the ceremony off.
    pub(super) fn abandon(
        &mut self,
        call: &[u8; 64],
        told: Vec<Exclusion>,
    ) -> Result<MemberOutput, Fault> {
        if !self.proposal.is_signed_by_leader(tags::ABANDON, call) {
            return Err(Fault::AbandonSignature);
        }
        if let Some(certificate) = self.certified() {
            return Ok(MemberOutput::repeat(certificate));
        }
        if self.keeps_share() {
            return match self.accuse(exclusion::proved(told, &self.proposal)) {
                true => Ok(self.changed(Message::refusal(self.about(), &Fault::AlreadyConfirmed))),
                false => Err(Fault::AlreadyConfirmed),
            };
        }
        let reply = Message::Abandoned {
            ceremony: self.proposal.id(),
        };
        if matches!(self.stage, Stage::Closed { .. }) {
            return Ok(MemberOutput::repeat(reply));
        }
        // The leader's signature is on the call: what it merely says is kept as its word.
        let told = told
            .into_iter()
            .take(self.proposal.seats().len())
            .filter(|told| self.proposal.member(told.member).is_some())
            .filter(|told| told.verify(&self.proposal).is_ok())
            .collect();
        self.accuse(told);
        self.close("its leader called it off".to_owned(), false);
        Ok(self.changed(reply))
    }

    /// Gives up if it is time to. The output tells the peer, and carries the state without secrets.
    pub(super) fn expire(&mut self, now: u64) -> Option<MemberOutput> {
        let expires = self.proposal.expires();
        if now >= expires && !self.stage.keeps_share() && self.fall_back() {
            let fault = Fault::Expired { expires, now };
            return Some(self.changed(Message::refusal(self.about(), &fault)));
        }
        if now < expires || self.keeps_share() || matches!(self.stage, Stage::Closed { .. }) {
            return None;
        }
        let fault = Fault::Expired { expires, now };
        self.close(
            format!("the proposal expired at {expires} (seconds since 1970)"),
            false,
        );
        Some(self.changed(Message::refusal(self.about(), &fault)))
    }

    /// This ceremony, and no attempt of it in particular.
    fn about(&self) -> About {
        About {
            ceremony: Some(self.proposal.id()),
            attempt: None,
        }
    }

    pub(super) fn close(&mut self, reason: String, rejected: bool) {
        self.stage = Stage::Closed { reason, rejected };
        self.secrets = Secrets::default();
        self.attempt = None;
    }

    pub(super) fn changed(&self, reply: Message) -> MemberOutput {
        MemberOutput {
            persist: Some(state::encode(self)),
            ..MemberOutput::repeat(reply)
        }
    }

    pub(super) fn attempt_of(&self, number: u32, message: &'static str) -> Result<&Attempt, Fault> {
        match &self.attempt {
            Some(attempt) if attempt.number == number => Ok(attempt),
            Some(_) => Err(Fault::Attempt(number)),
            None => Err(self.out_of_step(message)),
        }
    }

    pub(super) fn out_of_step(&self, message: &'static str) -> Fault {
        match &self.stage {
            Stage::Closed { reason, .. } => Fault::Closed {
                reason: reason.clone(),
            },
            stage => Fault::OutOfStep {
                message,
                stage: stage.public().name(),
            },
        }
    }
}

/// The result that everybody computes from the deals of an attempt.
pub(super) fn result(attempt: &Attempt, verified: &Verified) -> Result<AttemptResult, Fault> {
    let sums = verified
        .sums(attempt.roster.threshold())
        .ok_or(Fault::UnusableResult)?;
    AttemptResult::new(attempt, verified.set, sums)
}
