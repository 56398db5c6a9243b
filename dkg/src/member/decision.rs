//! Before the first attempt: the member looks at a proposal, and its operator, or its configuration, decides.

use rand_core::CryptoRng;
use reencrypt::SecretScalar;

use super::hand_over::check_proposed;
use super::lead::Watch;
use super::stage::{Running, Secrets, Stage};
use super::{Member, MemberOutput, state};
use crate::attempt::Acceptance;
use crate::base::Holding;
use crate::fault::Fault;
use crate::proposal::{Proposal, SignedProposal};
use crate::wire_v1::{MAX_SENTENCE, Message, truncate};

impl Member {
    /// Step 1: looks at a proposal before anybody is asked to decide.
    pub(super) fn propose(
        &mut self,
        from: &[u8; 32],
        signed: SignedProposal,
        holding: Option<&Holding<'_>>,
        now: u64,
    ) -> Result<MemberOutput, Fault> {
        let proposal = signed.verify_knowing(&self.known)?;
        let Some(index) = proposal.index_of(&self.node.identity.verifying_key().to_bytes()) else {
            return Err(Fault::NotListed);
        };
        if proposal.index_of(from).is_none() {
            return Err(Fault::Stranger { from: *from });
        }
        if let Some(running) = &mut self.running {
            if running.proposal != proposal {
                return Err(Fault::OtherProposal);
            }
            if let Some(output) = running.expire(now) {
                return Ok(output);
            }
            if let Some(asks) = proposal.index_of(from) {
                running.is_led_by(asks, now, self.patience_s);
            }
            return running.repeat_decision();
        }
        if now >= proposal.expires() {
            return Err(Fault::Expired {
                expires: proposal.expires(),
                now,
            });
        }
        self.check_terms(&proposal, index)?;
        let first = proposal.index_of(proposal.leader());
        check_proposed(&proposal, index, holding)?;
        let running = Running {
            signed,
            proposal,
            index,
            stage: Stage::Proposed,
            exclusions: Vec::new(),
            pending: Vec::new(),
            activated: Vec::new(),
            attempt: None,
            secrets: Secrets::default(),
            accused: Vec::new(),
            watch: Watch::of(first.unwrap_or(index)),
        };
        let output = MemberOutput {
            persist: Some(state::encode(&running)),
            reply: Message::Pending {
                ceremony: running.proposal.id(),
            },
            activated: None,
            confirmed: None,
            retired: None,
            notice: None,
        };
        self.running = Some(running);
        Ok(output)
    }

    fn check_terms(&self, proposal: &Proposal, index: u16) -> Result<(), Fault> {
        if *proposal.policy_hash() != self.node.policy_hash {
            return Err(Fault::OtherPolicy {
                ours: self.node.policy_hash,
                theirs: *proposal.policy_hash(),
            });
        }
        let own = proposal.member(index).ok_or(Fault::NotListed)?;
        if own.recovery_public != *self.node.recovery_public.as_bytes() {
            return Err(Fault::NotListed);
        }
        Ok(())
    }

    /// Step 2: the operator, or the configuration, takes part. Makes the encryption key. The reply is what the leader gets when
    /// it asks again; it need not be sent now. Accepting again changes nothing.
    ///
    /// # Errors
    /// [`Fault::OutOfStep`] without a proposal, [`Fault::Closed`] or [`Fault::Expired`] if it is too late,
    /// [`Fault::OtherPolicy`] if the node's policy has changed meanwhile.
    pub fn accept<R: CryptoRng>(&mut self, now: u64, rng: &mut R) -> Result<MemberOutput, Fault> {
        let Some(running) = &self.running else {
            return Err(Fault::OutOfStep {
                message: "accept",
                stage: "new",
            });
        };
        if matches!(running.stage, Stage::Proposed) && now < running.proposal.expires() {
            self.check_terms(&running.proposal, running.index)?;
        }
        let Some(running) = &mut self.running else {
            return Err(Fault::OutOfStep {
                message: "accept",
                stage: "new",
            });
        };
        if let Some(output) = running.expire(now) {
            return Ok(output);
        }
        if !matches!(running.stage, Stage::Proposed) {
            return running.repeat_decision();
        }
        let secret = SecretScalar::random(rng);
        let acceptance = Acceptance::new(
            &running.proposal,
            running.index,
            &secret,
            &self.node.identity,
        );
        running.secrets.encryption = Some(secret);
        running.stage = Stage::Accepted { acceptance };
        let reply = running.repeat_decision()?.reply;
        Ok(running.changed(reply))
    }

    /// The operator does not take part, or withdraws. Erases what the machine holds.
    ///
    /// # Errors
    /// [`Fault::AlreadyConfirmed`] once the key may exist; [`Fault::OutOfStep`] without a proposal.
    pub fn reject(&mut self, reason: &str) -> Result<MemberOutput, Fault> {
        let Some(running) = &mut self.running else {
            return Err(Fault::OutOfStep {
                message: "reject",
                stage: "new",
            });
        };
        if matches!(running.stage, Stage::Closed { .. }) {
            return running.repeat_decision();
        }
        if running.keeps_share() {
            return Err(Fault::AlreadyConfirmed);
        }
        running.close(truncate(reason.to_owned(), MAX_SENTENCE), true);
        let reply = running.repeat_decision()?.reply;
        Ok(running.changed(reply))
    }
}
