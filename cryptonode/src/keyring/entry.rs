//! One key on this node: which shares of it are held, which of them is answered with, and what is known of newer results.
//!
//! ```text
//!             activate                  all new members have activated, and the overlap has passed
//!  current ────────────▶ current'  ──────────────────────────────────────────────▶ current'
//!                        previous (serves too)                                      previous erased
//!
//!             activate again within the overlap                each when its own overlap is over, or a later one
//!  current' ───────────▶ current'', previous: current' and current (both serve) ─▶ current''
//!
//!             retire                                   the same moment
//!  current ────────────▶ previous (serves) ──────────────────────────────────────▶ no share: `key-retired`
//!
//!             learn of a certificate without having a share of it
//!  current ────────────▶ no answers any more: `epoch-missed`; the share is erased after the overlap
//! ```
//!
//! Nothing here does I/O: a change is computed on a copy of the entry, made durable, and only then shown
//! ([`super::Keyring::change`]).

use std::sync::Arc;

use reencrypt::{KeyCertificate, ResultName};

use super::state::{
    Absence, AbsenceKind, KeyState, MAX_HISTORY, MAX_PREVIOUS, Newest, Overlap, PastResult,
};
use super::{ActiveKey, InsertError, KeyRefusal};
use crate::wire::v1::ResultVersion;

/// A key of which this node holds a share, or held one.
#[derive(Debug, Clone)]
pub struct KeyEntry {
    pub(crate) public_key: [u8; 32],
    /// The share of the newest result that this node is a member of, if that is the newest that it knows of.
    pub(crate) current: Option<Arc<ActiveKey>>,
    /// The shares of earlier results until they are erased, the newest first; at most [`MAX_PREVIOUS`].
    pub(crate) previous: Vec<Arc<ActiveKey>>,
    pub(crate) state: KeyState,
}

/// What a request for a share is answered with.
#[derive(Debug)]
pub struct Chosen {
    /// The share, and what belongs to it.
    pub key: Arc<ActiveKey>,
    /// The policy that governs: that of the newest result.
    policy: Governing,
    /// A newer result than the one that was asked for, if it is announced.
    pub newest: Option<ResultVersion>,
}

#[derive(Debug)]
enum Governing {
    Of(Arc<ActiveKey>),
    Stated(Arc<KeyEntry>),
}

impl Chosen {
    /// The approval policy that a request has to satisfy.
    #[must_use]
    pub fn policy(&self) -> &certs::Policy {
        match &self.policy {
            Governing::Of(key) => &key.policy,
            Governing::Stated(entry) => entry.state.policy.as_ref().unwrap_or(&self.key.policy),
        }
    }
}

impl KeyEntry {
    /// Nothing is known of the key yet.
    #[must_use]
    pub fn new(public_key: [u8; 32]) -> Self {
        Self {
            public_key,
            current: None,
            previous: Vec::new(),
            state: KeyState::default(),
        }
    }

    /// What a store has of a key. The highest share is the current one, unless this node is known to lack a newer result.
    #[must_use]
    pub fn stored(public_key: [u8; 32], mut shares: Vec<Arc<ActiveKey>>, state: KeyState) -> Self {
        shares.sort_by_key(|key| key.result);
        let current = if state.absence.is_some() {
            None
        } else {
            shares.pop()
        };
        shares.reverse();
        Self {
            public_key,
            current,
            previous: shares,
            state,
        }
    }

    /// Y.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// The share of the newest result.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<ActiveKey>> {
        self.current.as_ref()
    }

    /// The shares of the results before it until they are erased, the newest first.
    #[must_use]
    pub fn previous(&self) -> &[Arc<ActiveKey>] {
        &self.previous
    }

    /// Why this node can take no further result on now: it would have to erase a share before its time. The time when the next is
    /// erased at the latest, seconds since the Unix epoch.
    #[must_use]
    pub fn is_full_until(&self) -> Option<u64> {
        let full = self.current.is_some() && self.previous.len() >= MAX_PREVIOUS;
        let ends = self.state.overlaps.iter().map(Overlap::end).min();
        ends.filter(|_| full)
    }

    /// What is known of the key apart from shares.
    #[must_use]
    pub fn state(&self) -> &KeyState {
        &self.state
    }

    /// The shares that are answered with, the newest first.
    pub fn served(&self) -> impl Iterator<Item = &Arc<ActiveKey>> {
        let missed = matches!(
            self.state.absence,
            Some(Absence {
                kind: AbsenceKind::Missed,
                ..
            })
        );
        let previous = self.previous.iter().filter(move |_| !missed);
        self.current.iter().chain(previous)
    }

    /// The shares that are held, served or not.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Arc<ActiveKey>> {
        self.current.iter().chain(&self.previous)
    }

    /// The highest result that this node has a share of or knows that it has none of.
    #[must_use]
    pub fn newest_known(&self) -> Option<ResultName> {
        let absent = self.state.absence.map(|absence| absence.successor);
        let held = self.held().map(|key| key.result).max();
        absent.max(held)
    }

    /// The highest result of which this node has seen a certificate, or that it has a share of.
    #[must_use]
    pub fn newest_heard_of(&self) -> Option<ResultName> {
        let newest = self.state.newest.as_ref();
        let announced = newest.map(|newest| newest.certificate.name());
        self.newest_known().max(announced)
    }

    /// The highest attempt on this base that this node has confirmed; 0 for none.
    #[must_use]
    pub fn confirmed(&self, base: &ResultName) -> u32 {
        let mut confirmed = self.state.confirmed.iter();
        confirmed
            .find(|(confirmed, _)| confirmed == base)
            .map_or(0, |&(_, attempt)| attempt)
    }

    /// This node confirms an attempt on a base. Kept at least as long as the base is.
    pub fn confirm(&mut self, base: ResultName, attempt: u32) {
        let confirmed = &mut self.state.confirmed;
        match confirmed.iter_mut().find(|(known, _)| *known == base) {
            Some((_, highest)) => *highest = attempt.max(*highest),
            None => confirmed.push((base, attempt)),
        }
        confirmed.sort();
        let surplus = confirmed.len().saturating_sub(MAX_HISTORY);
        confirmed.drain(..surplus);
    }

    /// The share to answer a request with.
    ///
    /// # Errors
    /// [`KeyRefusal`] if there is none.
    pub fn choose(self: &Arc<Self>, asked: Option<ResultVersion>) -> Result<Chosen, KeyRefusal> {
        let absence = self.state.absence.as_ref();
        if let Some(Absence {
            kind: AbsenceKind::Missed,
            successor,
        }) = absence
        {
            return Err(KeyRefusal::Missed {
                successor: successor.into(),
            });
        }
        let fitting = match asked {
            None => self.served().next(),
            Some(asked) => self.served().find(|key| key.version() == asked),
        };
        let Some(key) = fitting.cloned() else {
            return Err(match (asked, absence, &self.current) {
                (_, Some(absence), _) => KeyRefusal::Retired {
                    successor: (&absence.successor).into(),
                },
                (Some(asked), None, Some(current)) if asked < current.version() => {
                    KeyRefusal::Superseded {
                        asked,
                        newest: current.version(),
                    }
                }
                (Some(asked), None, Some(current)) => KeyRefusal::EpochUnknown {
                    asked,
                    newest: current.version(),
                },
                _ => KeyRefusal::Unknown {
                    public_key: hex::encode(self.public_key),
                },
            });
        };
        let newest = self
            .state
            .newest
            .as_ref()
            .map(|newest| *newest.certificate.result())
            .filter(|newest| *newest > key.result)
            .map(|newest| (&newest).into());
        let policy = match &self.current {
            Some(current) => Governing::Of(Arc::clone(current)),
            None => Governing::Stated(Arc::clone(self)),
        };
        Ok(Chosen {
            key,
            policy,
            newest,
        })
    }

    /// A ceremony has made a result of which this node has a share. The one before serves on until `latest` (seconds since
    /// the Unix epoch) at most.
    ///
    /// # Errors
    /// [`InsertError`] if the share does not fit, or a higher result is known.
    pub fn activate(
        &mut self,
        key: ActiveKey,
        now: u64,
        latest: u64,
    ) -> Result<Arc<ActiveKey>, InsertError> {
        key.check()?;
        if let Some(known) = self.newest_known().filter(|known| *known > key.result) {
            return Err(InsertError::Lower {
                found: key.version(),
                known: (&known).into(),
            });
        }
        if let Some(current) = self
            .current
            .as_ref()
            .filter(|current| current.result == key.result)
        {
            return Ok(Arc::clone(current));
        }
        self.state.note(PastResult {
            result: key.result,
            threshold: key.package.threshold(),
            members: key
                .members
                .iter()
                .map(|member| member.name.clone())
                .collect(),
            index: Some(key.share.index()),
            since: now,
            erased: None,
        });
        let absence = self.state.absence.take();
        if absence.is_some_and(|absence| absence.kind == AbsenceKind::Missed) {
            // A share that was not served with any more is of no use to anybody now.
            self.drop_before(&key.result, now);
        }
        self.keep_current(now);
        if key.result.epoch > 0 {
            // Also where there is no earlier share: others are told of the new result in this time.
            self.state.begin_overlap(Overlap {
                successor: key.result,
                ends: None,
                latest,
            });
        }
        self.state.policy = None;
        let key = Arc::new(key);
        self.current = Some(Arc::clone(&key));
        Ok(key)
    }

    /// A reshare in which this node took part has made a result without it. It serves the base until `latest` at most, under
    /// the policy of the successor.
    pub fn retire(&mut self, successor: ResultName, policy: certs::Policy, now: u64, latest: u64) {
        if self.newest_known().is_some_and(|known| known >= successor) {
            return;
        }
        if self.current.is_some() {
            self.keep_current(now);
            self.state.begin_overlap(Overlap {
                successor,
                ends: None,
                latest,
            });
        }
        self.state.policy = Some(policy);
        self.state.absence = Some(Absence {
            kind: AbsenceKind::Retired,
            successor,
        });
    }

    /// This node has seen a certificate, verified under Y. If it is of a result that this node has no share of, and should
    /// have heard of, the node stops serving; the share that it has is erased at `erase_at`. Whether anything changed.
    pub fn learn(
        &mut self,
        certificate: &KeyCertificate,
        addresses: &[String],
        own: &[u8; 32],
        now: u64,
        erase_at: u64,
    ) -> bool {
        let result = *certificate.result();
        let known = self.state.newest.as_ref();
        if known.is_some_and(|known| *known.certificate.result() >= result) {
            return false;
        }
        self.state.newest = Some(Newest {
            certificate: certificate.clone(),
            addresses: addresses.to_vec(),
        });
        let index = (1_u16..)
            .zip(certificate.members())
            .find(|(_, member)| member.identity == *own)
            .map(|(index, _)| index);
        self.state.note(PastResult {
            result,
            threshold: certificate.package().threshold(),
            members: certificate
                .members()
                .iter()
                .map(|member| member.name.clone())
                .collect(),
            index,
            since: now,
            erased: None,
        });
        if self.newest_known().is_some_and(|known| known >= result) {
            return true;
        }
        let retired = matches!(
            self.state.absence,
            Some(Absence {
                kind: AbsenceKind::Retired,
                ..
            })
        );
        // Who handed its place on, and is in no later result either, has missed nothing.
        let kind = if retired && index.is_none() {
            AbsenceKind::Retired
        } else {
            AbsenceKind::Missed
        };
        self.state.absence = Some(Absence {
            kind,
            successor: result,
        });
        if let Some(base) = self.current.take() {
            // Those before it are served with no more, and nobody waits for them.
            self.drop_before(&result, now);
            self.previous.push(base);
            self.state.begin_overlap(Overlap {
                successor: result,
                ends: Some(erase_at),
                latest: erase_at,
            });
        }
        true
    }

    /// All new members have activated `successor`: what is left of earlier results is erased at `ends`.
    pub fn set_end(&mut self, successor: &ResultName, ends: u64) {
        let mut overlaps = self.state.overlaps.iter_mut();
        let overlap =
            overlaps.find(|overlap| overlap.successor == *successor && overlap.ends.is_none());
        if let Some(overlap) = overlap {
            overlap.ends = Some(ends);
        }
    }

    /// Lets the earlier shares go whose time has come. The results that they were of.
    pub fn erase_due(&mut self, now: u64) -> Vec<ResultName> {
        let over = self.state.overlaps.iter().rev();
        let over = over.filter(|overlap| now >= overlap.end());
        match over.map(|overlap| overlap.successor).next() {
            Some(successor) => self.drop_before(&successor, now),
            None => Vec::new(),
        }
    }

    /// The present share becomes an earlier one. It has its overlap before it, so the earliest of too many has to go.
    fn keep_current(&mut self, now: u64) {
        self.previous.splice(0..0, self.current.take());
        while self.previous.len() > MAX_PREVIOUS {
            if let Some(earliest) = self.previous.pop() {
                self.mark_erased(&earliest.result, now);
            }
        }
    }

    /// Nothing before this result is needed any more.
    fn drop_before(&mut self, successor: &ResultName, now: u64) -> Vec<ResultName> {
        self.state
            .overlaps
            .retain(|overlap| overlap.successor > *successor);
        let gone = self.previous.extract_if(.., |key| key.result < *successor);
        let gone: Vec<ResultName> = gone.map(|key| key.result).collect();
        for result in &gone {
            self.mark_erased(result, now);
        }
        gone
    }

    fn mark_erased(&mut self, result: &ResultName, now: u64) {
        for past in &mut self.state.history {
            if past.result == *result {
                past.erased = Some(now);
            }
        }
    }
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
