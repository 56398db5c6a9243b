//! What a reshare adds to a member's steps: the old member that leaves, and the order of attempts on one base.

use reencrypt::SecretScalar;
use serde_bytes::ByteBuf;

use super::stage::{Running, Stage, Verified};
use super::{LocalNode, MemberOutput};
use crate::acknowledge::{Acknowledgement, acknowledged_set};
use crate::attempt::Attempt;
use crate::base::{ConfirmedAttempt, Holding, RetiredKey};
use crate::certificate::CertifiedKey;
use crate::confirm::AttemptResult;
use crate::dealers::Dealer;
use crate::fault::Fault;
use crate::proposal::Proposal;
use crate::wire_v1::Message;

/// What an old member that leaves is asked to confirm.
pub(super) struct HandOver {
    pub(super) number: u32,
    pub(super) sums: ByteBuf,
    pub(super) acknowledgements: Vec<Acknowledgement>,
    /// Whether it comes from whoever leads now.
    pub(super) by_leader: bool,
}

/// Whether this node may take part in an attempt of this number, by what it has promised for the base. Without knowing what
/// that is, it takes part in no reshare.
pub(super) fn check_base(
    proposal: &Proposal,
    holding: Option<&Holding<'_>>,
    number: u32,
) -> Result<(), Fault> {
    match (proposal.base(), holding) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Fault::BaseUnknown),
        (Some(base), Some(holding)) => base.check(holding, number),
    }
}

/// Whether a node in this seat can take part in a reshare at all: the proposal's numbers fit what it has promised, and
/// as an old member it holds its share.
pub(super) fn check_proposed(
    proposal: &Proposal,
    seat: u16,
    holding: Option<&Holding<'_>>,
) -> Result<(), Fault> {
    let Some(base) = proposal.base() else {
        return Ok(());
    };
    let holding = holding.ok_or(Fault::BaseUnknown)?;
    base.check_proposed(holding)?;
    match proposal.old_seats().iter().find(|old| old.seat == seat) {
        Some(old) => base.usable_share(holding, old.index).map(|_| ()),
        None => Ok(()),
    }
}

/// The constant term that a dealer deals: none of its choice in a create, its share of the base in a reshare.
pub(super) fn constant(
    proposal: &Proposal,
    dealer: &Dealer,
    holding: Option<&Holding<'_>>,
) -> Result<Option<SecretScalar>, Fault> {
    let Some(base) = proposal.base() else {
        return Ok(None);
    };
    let holding = holding.ok_or(Fault::BaseUnknown)?;
    let share = base.usable_share(holding, dealer.index)?;
    SecretScalar::from_canonical_bytes(&share.secret().to_bytes())
        .map(Some)
        .map_err(|_| Fault::BaseNotHeld {
            index: dealer.index,
        })
}

impl Running {
    /// Whether this member gets no share.
    pub(super) fn is_leaving(&self) -> bool {
        self.proposal.is_leaving(self.index)
    }

    /// Step 16 of an old member that leaves: all new members have acknowledged one set of deals, and the sums are of the same Y.
    /// It checks no more of them: a false result gains nothing by its signature, because no new member confirms it.
    pub(super) fn hand_over(
        &mut self,
        node: &LocalNode,
        asked: HandOver,
        holding: Option<&Holding<'_>>,
    ) -> Result<MemberOutput, Fault> {
        if let Some(elsewhere) = self.left_behind(asked.number) {
            return Ok(MemberOutput::repeat(elsewhere));
        }
        let attempt = self.attempt_of(asked.number, "hand-over")?;
        let seat = self.own_index(attempt)?;
        if !attempt.roster.is_leaving(seat) {
            return Err(self.out_of_step("hand-over"));
        }
        let set = acknowledged_set(&attempt.roster, &attempt.params, &asked.acknowledgements)?;
        if let Some(verified) = self.stage.verified() {
            if verified.set != set {
                return Err(Fault::OtherResult);
            }
            // Another leader has told other sums of the same deals. This member cannot know whose are false, and confirms once.
            if !verified.is_of(&set, &asked.sums) {
                return Err(Fault::FalseSums);
            }
            return self.repeat_confirmation();
        }
        let Stage::Dealt(dealing) = &self.stage else {
            return Err(self.out_of_step("hand-over"));
        };
        // It cannot check the sums, and it confirms once: any member could make it confirm others than the leader's.
        if !asked.by_leader {
            return Err(Fault::NotLeader);
        }
        check_base(&self.proposal, holding, asked.number)?;
        let verified = Verified::of_hand_over(dealing.clone(), set, asked.sums);
        let sums = verified
            .sums(attempt.roster.threshold())
            .ok_or(Fault::UnusableResult)?;
        let result = AttemptResult::new(attempt, set, sums)?;
        let confirmation = result.confirm_leaving(seat, &node.identity);
        self.stage = Stage::Confirmed {
            verified,
            confirmation,
        };
        self.watch.confirmed();
        let reply = self.repeat_confirmation()?.reply;
        Ok(self.confirmed_now(asked.number, reply))
    }

    /// The output of a confirmation: the state, and the record that keeps lower attempts on the base from being confirmed.
    pub(super) fn confirmed_now(&self, number: u32, reply: Message) -> MemberOutput {
        MemberOutput {
            confirmed: self.proposal.base().map(|base| ConfirmedAttempt {
                base: base.name(),
                attempt: number,
            }),
            ..self.changed(reply)
        }
    }

    /// What becomes of the base, if this member is one of it.
    pub(super) fn retired(&self, key: &CertifiedKey, attempt: &Attempt) -> Option<RetiredKey> {
        let base = self.proposal.base()?;
        let own = self.own_index(attempt).ok()?;
        attempt
            .roster
            .old_seats()
            .iter()
            .find(|old| old.seat == own)?;
        Some(RetiredKey {
            base: base.name(),
            successor: key.name(),
            policy_hash: *key.policy_hash(),
        })
    }
}
