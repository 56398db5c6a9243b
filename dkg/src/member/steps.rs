//! What a member does at each step of the protocol, once the message has been found to be for it.
//!
//! The numbers are those of `docs/protocol/key-generation.md`. Each function first looks whether the step is done, and then answers as it did. The stage, the secrets and the attempt
//! change together or not at all.

use rand_core::CryptoRng;
use reencrypt::{KeyShare, SecretScalar};

use super::stage::{Dealing, Running, Secrets, Stage, Verified};
use super::{ActivatedKey, LocalNode, MemberOutput, state};
use crate::acknowledge::{Acknowledgement, Complaints, check_acknowledgements};
use crate::attempt::{Acceptance, Attempt};
use crate::certificate::CertifiedKey;
use crate::confirm::AttemptResult;
use crate::deal::{self, RelayedDeal};
use crate::fault::Fault;
use crate::shares::{Checker, Verdict};
use crate::tags;
use crate::wire_v1::Message;

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
        number: u32,
        acceptances: Vec<Acceptance>,
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        if let Some(dealing) = self.stage.dealing() {
            dealing.check_repeated(&self.proposal, number, &acceptances)?;
            return Ok(MemberOutput::repeat(self.dealt(dealing)));
        }
        let Stage::Accepted { acceptance: own } = &self.stage else {
            return Err(self.out_of_step("begin"));
        };
        let attempt = Attempt::new(&self.proposal, number, acceptances)?;
        if !attempt.acceptances.contains(own) {
            return Err(Fault::OwnMessageAltered { what: "acceptance" });
        }
        let deal = deal::deal(&self.proposal, &attempt, self.index, &node.identity, rng);
        let dealing = Dealing {
            number,
            acceptances: attempt.acceptances.clone(),
            deal,
        };
        let reply = self.dealt(&dealing);
        self.attempt = Some(attempt);
        self.stage = Stage::Dealt(dealing);
        Ok(self.changed(reply))
    }

    fn dealt(&self, dealing: &Dealing) -> Message {
        Message::Dealt {
            ceremony: self.proposal.id(),
            attempt: dealing.number,
            deal: Box::new(dealing.deal.clone()),
        }
    }

    /// Steps 7 to 10: checks everybody's deal, and acknowledges or complains.
    pub(super) fn check_deals<R: CryptoRng>(
        &mut self,
        node: &LocalNode,
        number: u32,
        deals: &[RelayedDeal],
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        let attempt = self.attempt_of(number, "deals")?;
        if let Some(seen) = self.stage.seen() {
            seen.check_repeated(&self.proposal, attempt, deals)?;
            return self.repeat_answer();
        }
        let (Stage::Dealt(dealing), Some(secret)) = (&self.stage, &self.secrets.encryption) else {
            return Err(self.out_of_step("deals"));
        };
        let checker = Checker {
            proposal: &self.proposal,
            attempt,
            index: self.index,
            secret,
            own: &dealing.deal.header,
        };
        let verdict = checker.check(deals, rng)?;
        let headers = deals.iter().map(|relayed| relayed.header.clone()).collect();
        let dealing = dealing.clone();
        match verdict {
            Verdict::Good(good) => {
                let acknowledgement =
                    Acknowledgement::new(&attempt.params, self.index, good.set, &node.identity);
                self.secrets.share = Some(good.share);
                self.stage = Stage::Acknowledged(Verified::new(
                    dealing,
                    headers,
                    &good.sums,
                    acknowledgement,
                ));
            }
            Verdict::Complain { set, complaints } => {
                let complaints =
                    Complaints::new(&attempt.params, self.index, set, complaints, &node.identity);
                self.stage = Stage::Complained {
                    dealing,
                    headers,
                    complaints,
                };
            }
        }
        let reply = self.repeat_answer()?.reply;
        Ok(self.changed(reply))
    }

    fn repeat_answer(&self) -> Result<MemberOutput, Fault> {
        let ceremony = self.proposal.id();
        let reply = match &self.stage {
            Stage::Complained {
                dealing,
                complaints,
                ..
            } => Message::Complained {
                ceremony,
                attempt: dealing.number,
                complaints: complaints.clone(),
            },
            other => match other.verified() {
                Some(verified) => Message::Acknowledged {
                    ceremony,
                    attempt: verified.dealing.number,
                    acknowledgement: verified.acknowledgement.clone(),
                },
                None => return Err(self.out_of_step("deals")),
            },
        };
        Ok(MemberOutput::repeat(reply))
    }

    /// Steps 12 to 16: everybody has acknowledged the same deals; checks the share a second time, and confirms the result.
    pub(super) fn confirm<R: CryptoRng>(
        &mut self,
        node: &LocalNode,
        number: u32,
        acknowledgements: &[Acknowledgement],
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        let attempt = self.attempt_of(number, "acknowledgements")?;
        let Some(verified) = self.stage.verified() else {
            return Err(self.out_of_step("acknowledgements"));
        };
        check_acknowledgements(
            &self.proposal,
            &attempt.params,
            &verified.acknowledgement,
            acknowledgements,
        )?;
        if let Some(reply) = self.confirmed() {
            return Ok(MemberOutput::repeat(reply));
        }
        let Some(share) = &self.secrets.share else {
            return Err(self.out_of_step("acknowledgements"));
        };
        let result = self.result(attempt, verified)?;
        let confirmation =
            result.confirm(&self.proposal, self.index, share, &node.identity, rng)?;
        self.stage = Stage::Confirmed {
            verified: verified.clone(),
            confirmation,
        };
        match self.confirmed() {
            Some(reply) => Ok(self.changed(reply)),
            None => Err(self.out_of_step("acknowledgements")),
        }
    }

    fn confirmed(&self) -> Option<Message> {
        let verified = self.stage.verified()?;
        let confirmation = self.stage.confirmation()?.clone();
        Some(Message::Confirmed {
            ceremony: self.proposal.id(),
            attempt: verified.dealing.number,
            confirmation,
        })
    }

    fn result(&self, attempt: &Attempt, verified: &Verified) -> Result<AttemptResult, Fault> {
        Ok(AttemptResult {
            params: attempt.params,
            epoch: 0,
            set: verified.acknowledgement.set,
            qualified: attempt
                .acceptances
                .iter()
                .map(|acceptance| acceptance.index)
                .collect(),
            sums: verified.sums().ok_or(Fault::UnusableResult)?,
        })
    }

    /// Step 18: all have confirmed; hands the share over and erases what is left.
    pub(super) fn activate(&mut self, certificate: Vec<u8>) -> Result<MemberOutput, Fault> {
        let reply = Message::Activated {
            ceremony: self.proposal.id(),
        };
        if matches!(self.stage, Stage::Activated { .. }) {
            return Ok(MemberOutput::repeat(reply));
        }
        let (
            Stage::Confirmed {
                verified,
                confirmation,
            },
            Some(attempt),
            Some(share),
        ) = (&self.stage, &self.attempt, &self.secrets.share)
        else {
            return Err(self.out_of_step("certificate"));
        };
        let key = CertifiedKey::verify_unpinned(&certificate)?;
        let same_result = key.result_hash() == self.result(attempt, verified)?.hash();
        if *key.proposal() != self.proposal || !same_result {
            return Err(Fault::OtherResult);
        }
        if key.confirmation(self.index) != Some(confirmation) {
            return Err(Fault::OwnMessageAltered {
                what: "confirmation",
            });
        }
        let secret = SecretScalar::from_canonical_bytes(&share.to_bytes())
            .map_err(|_| Fault::UnusableResult)?;
        let share = KeyShare::new(self.index, key.epoch(), key.public_key(), secret)
            .ok()
            .filter(|share| share.check(key.package()).is_ok())
            .ok_or(Fault::ShareMismatch)?;
        let activated = ActivatedKey {
            share,
            package: key.package().clone(),
            members: self.proposal.members().to_vec(),
            policy_hash: *self.proposal.policy_hash(),
            certificate,
        };
        self.stage = Stage::Activated {
            verified: verified.clone(),
            confirmation: confirmation.clone(),
        };
        self.secrets = Secrets::default();
        Ok(MemberOutput {
            activated: Some(activated),
            ..self.changed(reply)
        })
    }

    /// Section 9: the leader calls the ceremony off.
    pub(super) fn abandon(&mut self, call: &[u8; 64]) -> Result<MemberOutput, Fault> {
        if !self.proposal.is_signed_by_leader(tags::ABANDON, call) {
            return Err(Fault::AbandonSignature);
        }
        if self.stage.keeps_share() {
            return Err(Fault::AlreadyConfirmed);
        }
        let reply = Message::Abandoned {
            ceremony: self.proposal.id(),
        };
        if matches!(self.stage, Stage::Closed { .. }) {
            return Ok(MemberOutput::repeat(reply));
        }
        self.close("its leader called it off".to_owned(), false);
        Ok(self.changed(reply))
    }

    /// Gives up if it is time to. The output tells the peer, and carries the state without secrets.
    pub(super) fn expire(&mut self, now: u64) -> Option<MemberOutput> {
        let expires = self.proposal.expires();
        if now < expires || self.stage.keeps_share() || matches!(self.stage, Stage::Closed { .. }) {
            return None;
        }
        let fault = Fault::Expired { expires, now };
        self.close(
            format!("the proposal expired at {expires} (seconds since 1970)"),
            false,
        );
        Some(self.changed(Message::refusal(Some(self.proposal.id()), &fault)))
    }

    pub(super) fn close(&mut self, reason: String, rejected: bool) {
        self.stage = Stage::Closed { reason, rejected };
        self.secrets = Secrets::default();
        self.attempt = None;
    }

    pub(super) fn changed(&self, reply: Message) -> MemberOutput {
        MemberOutput {
            persist: Some(state::encode(self)),
            reply,
            activated: None,
        }
    }

    fn attempt_of(&self, number: u32, message: &'static str) -> Result<&Attempt, Fault> {
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
