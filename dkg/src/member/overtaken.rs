//! Results of a reshare that a later one has overtaken: when their shares may be forgotten.
//!
//! Who confirmed a result keeps its share until it sees the certificate. In a reshare that need not come: another attempt, or another
//! proposal from the same base, is carried out meanwhile, and nobody follows the lower of two results of one key. Once a greater one is
//! known and its overlap is over, all its members hold their shares, whoever asks is sent on to it, and a share of a lower one
//! is of use to a thief only. With them go attempts that were not confirmed, and n_j. The results of a create are keys of their own: none of them overtakes another.

use zeroize::Zeroizing;

use super::Member;
use super::stage::{Running, Stage, Verified};
use super::state;
use super::steps::result;
use crate::base::{Base, BaseName, Holding, ResultName};
use crate::certificate::CertifiedKey;
use crate::fault::Fault;
use crate::pairs::Pairs;

impl Member {
    /// Forgets the shares of results of this key that are below `newest`, confirmed in this ceremony and not activated. Returns the state
    /// to write, if anything has changed; what is left of secrets [`Member::holds_secrets`] says.
    ///
    /// The driver calls it for each of its reshares of this key when the overlap of the greatest result that it knows is over, and
    /// after a restart. Never earlier: until then a member of `newest` may not hold its share yet.
    pub fn forget_below(&mut self, newest: &BaseName) -> Option<Zeroizing<Vec<u8>>> {
        let running = self.running.as_mut()?;
        let base = running.proposal.base()?.name();
        if base.public_key != newest.public_key || newest.result <= base.result {
            return None;
        }
        running
            .forget_below(&newest.result)
            .then(|| state::encode(running))
    }
}

impl Running {
    fn forget_below(&mut self, newest: &ResultName) -> bool {
        let before = self.pending.len();
        let kept: Vec<bool> = self
            .pending
            .iter()
            .map(|pending| self.is_kept(&pending.verified, newest))
            .collect();
        let mut keep = kept.iter().copied();
        self.pending.retain(|_| keep.next().unwrap_or(true));
        // Without a share for each, as in the seat of an old member that leaves, there is none to forget.
        let mut keep = kept.iter().copied();
        self.secrets.pending.retain(|_| keep.next().unwrap_or(true));
        let confirmed = match &self.stage {
            Stage::Confirmed { verified, .. } => Some(verified),
            _ => None,
        };
        let overtaken = confirmed.is_some_and(|verified| !self.is_kept(verified, newest));
        // Nothing comes of an attempt on a base that has been handed on.
        let idle = !self.stage.keeps_share() && !matches!(self.stage, Stage::Closed { .. });
        if (overtaken || idle) && !self.fall_back() {
            self.close(overtaken_by(newest).to_string(), false);
        }
        let had_key = self.erase_encryption();
        overtaken || idle || had_key || self.pending.len() < before
    }

    /// Erases n_j, of which nothing more is asked. With the messages of the ceremony it opens what this member has dealt: in a reshare its
    /// share of the base, which it must not outlive.
    pub(super) fn erase_encryption(&mut self) -> bool {
        self.secrets.pairs = Pairs::default();
        self.secrets.encryption.take().is_some()
    }

    /// Whether this result is not below `newest`. What cannot be told is kept.
    fn is_kept(&self, verified: &Verified, newest: &ResultName) -> bool {
        let dealing = &verified.dealing;
        let (epoch, attempt) = (self.proposal.epoch(), dealing.number);
        if (epoch, attempt) != (newest.epoch, newest.attempt) {
            return (epoch, attempt) > (newest.epoch, newest.attempt);
        }
        self.attempt_in(dealing)
            .and_then(|attempt| result(&attempt, verified))
            .ok()
            .is_none_or(|result| result.hash() >= newest.hash)
    }

    /// The answer to a certificate of which no share is left, if a greater result is known.
    pub(super) fn overtaken(
        &self,
        certificate: &[u8],
        holding: Option<&Holding<'_>>,
    ) -> Option<Fault> {
        let base = self.proposal.base().map(Base::name)?;
        let newest = holding?.newest.filter(|newest| *newest > base.result)?;
        let key = CertifiedKey::verify_unpinned(certificate).ok()?;
        (*key.proposal() == self.proposal && key.name() < newest).then(|| overtaken_by(&newest))
    }
}

fn overtaken_by(newest: &ResultName) -> Fault {
    Fault::BaseSuperseded {
        epoch: newest.epoch,
        attempt: newest.attempt,
    }
}
