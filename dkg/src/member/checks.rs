//! Step 2 of a member: the sum of all deals is checked, and the whole deals only if it does not hold.
//!
//! ```text
//! dealt ── deals, good ──────────────────────────────▶ acknowledged
//!       ── deals, bad ──▶ deals-wanted ── whole-deals ──▶ acknowledged, or complained
//!       ── whole-deals ──────────────────────────────▶ acknowledged, or complained
//! ```
//!
//! Deals that were acknowledged and turn out to be made up are dropped for the true ones ([`crate::sums`], *The deals' signatures*).
//!
//! Once the whole deals have decided, a repeated `deals` is answered with the decision, and other sums of the same deals are refused as false.

use rand_core::CryptoRng;
use serde_bytes::ByteBuf;

use super::stage::{Dealing, Running, Seen, Stage, Verified};
use super::{LocalNode, MemberOutput};
use crate::acknowledge::{Acknowledgement, Complaints};
use crate::attempt::Attempt;
use crate::deal::{DealExcerpt, DealHeader, RelayedDeal};
use crate::fault::Fault;
use crate::shares::{Checker, GoodDeals, Verdict};
use crate::sums::{SummedVerdict, encode_sums};
use crate::wire_v1::Message;

impl Running {
    /// Steps 7 to 9: checks the sum of all deals, and acknowledges or wants the whole deals.
    pub(super) fn check_sums<R: CryptoRng>(
        &mut self,
        node: &LocalNode,
        number: u32,
        (deals, sums): (&[DealExcerpt], &[u8]),
        by_leader: bool,
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        if let Some(elsewhere) = self.left_behind(number) {
            return Ok(MemberOutput::repeat(elsewhere));
        }
        let attempt = self.attempt_of(number, "deals")?;
        let headers = deals.iter().map(|excerpt| &excerpt.header);
        let shown_others = self.shown_made_up(attempt, headers.clone());
        if shown_others.is_none()
            && let Some(seen) = self.stage.seen()
        {
            self.check_repeated(&seen, attempt, headers)?;
            if let Some(verified) = self.stage.verified()
                && *verified.sums != *sums
            {
                // Nobody signs sums: any member could tell others, and undo what this one has acknowledged.
                if !by_leader {
                    return Err(Fault::NotLeader);
                }
                return self.doubt(sums);
            }
            return self.repeat_answer();
        }
        let dealing = match (&self.stage, shown_others) {
            (Stage::Dealt(dealing), _) | (_, Some(dealing)) => dealing,
            _ => return Err(self.out_of_step("deals")),
        };
        let checker = self.checker(attempt, dealing, "deals")?;
        let verdict = checker.check_sums(deals, sums, rng)?;
        let (dealing, headers) = (dealing.clone(), headers.cloned().collect());
        match verdict {
            SummedVerdict::Good(good) => self.acknowledge(node, dealing, headers, good, false)?,
            SummedVerdict::WholeDealsWanted => {
                self.secrets.share = None;
                self.stage = Stage::DealsWanted {
                    dealing,
                    headers,
                    sums: self.as_told(sums),
                };
            }
        }
        let reply = self.repeat_answer()?.reply;
        Ok(self.changed(reply))
    }

    /// Steps 7 to 10 with whole deals: checks every one, and acknowledges or complains.
    pub(super) fn check_whole_deals<R: CryptoRng>(
        &mut self,
        node: &LocalNode,
        number: u32,
        deals: &[RelayedDeal],
        rng: &mut R,
    ) -> Result<MemberOutput, Fault> {
        if let Some(elsewhere) = self.left_behind(number) {
            return Ok(MemberOutput::repeat(elsewhere));
        }
        let attempt = self.attempt_of(number, "whole-deals")?;
        let headers = deals.iter().map(|relayed| &relayed.header);
        let shown_others = self.shown_made_up(attempt, headers.clone());
        if shown_others.is_none()
            && let Some(seen) = self.stage.seen()
        {
            self.check_repeated(&seen, attempt, headers.clone())?;
        }
        let (dealing, told) = match (&self.stage, shown_others) {
            (Stage::Dealt(dealing), _) | (_, Some(dealing)) => (dealing, None),
            (Stage::DealsWanted { dealing, sums, .. }, _) => (dealing, Some(sums.clone())),
            (stage, _) if stage.seen().is_some() => return self.repeat_answer(),
            _ => return Err(self.out_of_step("whole-deals")),
        };
        let checker = self.checker(attempt, dealing, "whole-deals")?;
        let verdict = checker.check_whole(deals, rng)?;
        let (dealing, headers) = (dealing.clone(), headers.cloned().collect());
        let mut notice = None;
        match verdict {
            Verdict::Good(good) => {
                let false_sums = told.is_some_and(|told| *told != encode_sums(&good.sums));
                notice = false_sums.then_some(Fault::FalseSums);
                self.acknowledge(node, dealing, headers, good, true)?;
            }
            Verdict::Complain { set, complaints } => {
                let (params, index) = (&attempt.params, self.own_index(attempt)?);
                let complaints = Complaints::new(params, index, set, complaints, &node.identity);
                let attempt = attempt.clone();
                self.complain(&attempt, &complaints, deals)?;
                self.secrets.share = None;
                self.stage = Stage::Complained {
                    dealing,
                    headers,
                    complaints,
                };
            }
        }
        let reply = self.repeat_answer()?.reply;
        Ok(MemberOutput {
            notice,
            ..self.changed(reply)
        })
    }

    /// What this member goes back to if the deals that it has acknowledged were made up, as those show that it is shown now. It has not verified
    /// their signatures then, since the dealers acknowledge them too; those of whole deals it has.
    fn shown_made_up<'a>(
        &self,
        attempt: &Attempt,
        headers: impl ExactSizeIterator<Item = &'a DealHeader>,
    ) -> Option<&Dealing> {
        let (Stage::Acknowledged(verified), Some(seen)) = (&self.stage, self.stage.seen()) else {
            return None;
        };
        let made_up = !verified.whole_deals && seen.were_made_up(attempt, headers);
        made_up.then_some(&verified.dealing)
    }

    /// Whether a set of deals is the one that was answered. Who has confirmed made-up deals stands by it: the attempt comes to nothing, through no
    /// fault of its own.
    fn check_repeated<'a>(
        &self,
        seen: &Seen<'_>,
        attempt: &Attempt,
        headers: impl ExactSizeIterator<Item = &'a DealHeader> + Clone,
    ) -> Result<(), Fault> {
        match seen.check_repeated(attempt, headers.clone()) {
            Err(Fault::RelayAltered { .. })
                if matches!(self.stage, Stage::Confirmed { .. })
                    && seen.hold_made_up(attempt, headers) =>
            {
                Err(Fault::FalseDeals)
            }
            other => other,
        }
    }

    /// Two leaders, or one that lies, have told different sums of the same deals. The whole deals tell, once, which are false. Who has
    /// confirmed by then stands by it, and the attempt must be repeated.
    fn doubt(&mut self, sums: &[u8]) -> Result<MemberOutput, Fault> {
        let Stage::Acknowledged(verified) = &self.stage else {
            return Err(Fault::FalseSums);
        };
        // The whole deals have shown what the sums are: these are false, and to look again would bring nobody further.
        if verified.whole_deals {
            return Err(Fault::FalseSums);
        }
        let (dealing, headers) = (verified.dealing.clone(), verified.headers.clone());
        self.secrets.share = None;
        self.stage = Stage::DealsWanted {
            dealing,
            headers,
            sums: self.as_told(sums),
        };
        let reply = self.repeat_answer()?.reply;
        Ok(self.changed(reply))
    }

    /// Sums to be kept until the whole deals show what they are worth. A list of another length is false anyway, and may be long.
    fn as_told(&self, sums: &[u8]) -> ByteBuf {
        let fits = sums.len() == 32 * usize::from(self.proposal.threshold());
        ByteBuf::from(if fits { sums } else { &[] })
    }

    fn checker<'a>(
        &'a self,
        attempt: &'a Attempt,
        dealing: &'a Dealing,
        message: &'static str,
    ) -> Result<Checker<'a>, Fault> {
        // An old member that leaves is given nothing to check.
        let secret = self.secrets.encryption.as_ref();
        let Some(secret) = secret.filter(|_| !self.is_leaving()) else {
            return Err(self.out_of_step(message));
        };
        Ok(Checker {
            attempt,
            index: self.own_index(attempt)?,
            secret,
            pairs: &self.secrets.pairs,
            own: dealing.deal.as_ref().map(|deal| &deal.header),
        })
    }

    fn acknowledge(
        &mut self,
        node: &LocalNode,
        dealing: Dealing,
        headers: Vec<DealHeader>,
        good: GoodDeals,
        whole_deals: bool,
    ) -> Result<(), Fault> {
        let attempt = self.attempt_of(dealing.number, "deals")?;
        let (params, index) = (&attempt.params, self.own_index(attempt)?);
        let acknowledgement = Acknowledgement::new(params, index, good.set, &node.identity);
        self.secrets.share = Some(good.share);
        let mut verified = Verified::new(dealing, headers, &good.sums, acknowledgement);
        verified.whole_deals = whole_deals;
        self.stage = Stage::Acknowledged(verified);
        Ok(())
    }

    fn repeat_answer(&self) -> Result<MemberOutput, Fault> {
        let ceremony = self.proposal.id();
        let reply = match &self.stage {
            Stage::DealsWanted { dealing, .. } => Message::DealsWanted {
                ceremony,
                attempt: dealing.number,
            },
            Stage::Complained {
                dealing,
                complaints,
                ..
            } => Message::Complained {
                ceremony,
                attempt: dealing.number,
                complaints: complaints.clone(),
            },
            other => {
                let verified = other.verified();
                let acknowledged = verified.and_then(|verified| {
                    Some((verified.dealing.number, verified.acknowledgement.clone()?))
                });
                let Some((attempt, acknowledgement)) = acknowledged else {
                    return Err(self.out_of_step("deals"));
                };
                Message::Acknowledged {
                    ceremony,
                    attempt,
                    acknowledgement,
                }
            }
        };
        Ok(MemberOutput::repeat(reply))
    }
}
