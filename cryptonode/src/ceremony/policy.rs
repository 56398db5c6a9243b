//! The approval policy of a ceremony: where it comes from, and who has to agree to it.
//!
//! The policy is part of the key. A new key is made under the one that each operator configured. A reshare keeps the key's, unless its
//! proposer's operator gave another: then the key passes to it with the new shares, and **every** member's operator agrees to that very
//! policy, by its hash, with `cryptonode policy accept`. Neither `accept_from` nor what is configured says it for an old member. A proposal
//! names the hash only; a member fetches the policy itself from whoever proposes it, checks it against the hash, and keeps it beside
//! the ceremony, so that its operator sees the difference in words before anything is accepted.

use std::sync::Arc;
use std::time::Duration;

use dkg::{LocalNode, Member, MemberStage, Proposal};

use super::{Ceremonies, CeremonyError, CeremonyId, CeremonyView, Surroundings, blocking, lock};
use crate::audit::OperatorRecord;
use crate::daemon::clock_ms;
use crate::wire::v1::{Answer, Request};

/// For the answer of the member that has the policy.
const FETCH: Duration = Duration::from_secs(10);

/// A policy that a member has not got yet, and where it is.
#[derive(Debug, Clone)]
pub struct MissingPolicy {
    /// SHA-256 of it.
    pub(super) hash: [u8; 32],
    /// Where the proposal says that its sender is.
    pub(super) address: String,
}

/// A key's policy, and the one that a ceremony would give it.
#[derive(Debug, Clone)]
pub(crate) struct PolicyReport {
    /// Y; `None` of a key that is not made yet.
    pub(crate) public_key: Option<[u8; 32]>,
    /// What governs now, as far as this node has it.
    pub(crate) present: Option<certs::Policy>,
    /// What the ceremony would give it.
    pub(crate) proposed: Option<certs::Policy>,
    pub(crate) ceremony: Option<CeremonyView>,
}

impl Ceremonies {
    /// The policy that this node would take part under.
    pub(super) fn policy_of_proposal(
        &self,
        proposal: &Proposal,
        from: &[u8; 32],
        offered: Option<certs::Policy>,
    ) -> Result<certs::Policy, CeremonyError> {
        let hash = proposal.policy_hash();
        if proposal.base().is_none() {
            // Another one than the configured is refused by the machine, which names both.
            let configured = self.around.policy.as_ref();
            return configured.cloned().ok_or(CeremonyError::NoPolicy);
        }
        if let Some(policy) = self.desk.known_policy(hash)? {
            return Ok(policy);
        }
        offered
            .filter(|policy| policy.hash() == *hash)
            .ok_or_else(|| {
                let sender = proposal.index_of(from).and_then(|at| proposal.member(at));
                CeremonyError::PolicyMissing(MissingPolicy {
                    hash: *hash,
                    address: sender.map(|one| one.address.clone()).unwrap_or_default(),
                })
            })
    }

    /// Fetches a policy from a member. The hash says whether it is the right one.
    pub(super) async fn fetch_policy(
        &self,
        from: &[u8; 32],
        missing: &MissingPolicy,
    ) -> Result<certs::Policy, String> {
        let peer = self
            .peer_of(from, &missing.address)
            .map_err(|error| error.to_string())?;
        let request = Request::Policy {
            policy_hash: missing.hash,
        };
        let answer = tokio::time::timeout(FETCH, peer.call(&request)).await;
        let bytes = match answer {
            Ok(Ok(Answer::Policy { policy })) => policy,
            Ok(Ok(Answer::Refused { code, message, .. })) => {
                return Err(format!("{code}: {message}"));
            }
            Ok(Ok(_)) => return Err("it answered something else than it was asked".to_owned()),
            Ok(Err(error)) => return Err(error.to_string()),
            Err(_) => return Err("it did not answer in time".to_owned()),
        };
        let policy = certs::Policy::from_bytes(&bytes).map_err(|error| error.to_string())?;
        if policy.hash() == missing.hash {
            Ok(policy)
        } else {
            Err("it sent another policy than it proposes".to_owned())
        }
    }

    /// The policy with this hash, for a member that asks. Blocks on the disk.
    pub(super) fn policy_for_members(&self, hash: &[u8; 32]) -> Option<Vec<u8>> {
        let known = self.desk.known_policy(hash).unwrap_or_else(|error| {
            tracing::error!(%error, "a policy could not be read");
            None
        });
        known.map(|policy| policy.to_bytes())
    }

    /// Whether a proposal would have this node take part under a policy that its operator has not agreed to: in a key of which it has a
    /// share, any other than the key's; in others, any other than the configured one.
    pub(super) fn changes_policy(&self, proposal: &Proposal) -> bool {
        let Some(base) = proposal.base() else {
            return false;
        };
        let name = base.name();
        let entry = self.around.keyring.entry(&name.public_key);
        let mut held = entry.iter().flat_map(|entry| entry.held());
        let agreed = match held.find(|key| key.result == name.result) {
            Some(key) => Some(key.policy.hash()),
            None => self.around.policy.as_ref().map(certs::Policy::hash),
        };
        agreed != Some(*proposal.policy_hash())
    }

    /// Refuses to accept another policy than the one that the operator was shown.
    pub(super) fn check_consent(
        &self,
        proposal: &Proposal,
        consent: Option<[u8; 32]>,
    ) -> Result<(), CeremonyError> {
        let hash = proposal.policy_hash();
        match consent {
            None if self.changes_policy(proposal) => Err(CeremonyError::ChangesPolicy {
                id: hex::encode(proposal.id()),
            }),
            Some(shown) if shown != *hash => Err(CeremonyError::OtherPolicyShown {
                shown: hex::encode(shown),
                proposed: hex::encode(hash),
            }),
            _ => Ok(()),
        }
    }

    /// Has the audit log remember that this node's operator proposes or accepts another policy for a key. Nothing of it leaves the node
    /// before that is durable.
    pub(super) async fn record_consent(
        &self,
        action: &str,
        proposal: &Proposal,
    ) -> Result<(), CeremonyError> {
        let key = proposal.base().map(|base| base.name().public_key);
        let entry = key.and_then(|key| self.around.keyring.entry(&key));
        let held = entry.and_then(|entry| entry.current().map(|key| key.policy.hash()));
        let in_place_of = held.map_or(String::new(), |hash| {
            format!(", in place of {}", hex::encode(hash))
        });
        let record = OperatorRecord {
            action: action.to_owned(),
            reason: format!(
                "ceremony {} for the key {}{in_place_of}",
                hex::encode(proposal.id()),
                hex::encode(key.unwrap_or_default()),
            ),
            subject: *proposal.policy_hash(),
            time_ms: clock_ms(),
        };
        let appended = self.around.audit.append_operator(record).await;
        appended.map(drop).map_err(CeremonyError::Audit)
    }

    /// The policy that governs a key, and the one that a ceremony would give it: of the ceremony whose id begins so, else of the key whose
    /// name does.
    pub(crate) async fn policy_report(
        self: &Arc<Self>,
        ceremony: Option<&str>,
        key: Option<&str>,
    ) -> Result<PolicyReport, CeremonyError> {
        let (public_key, proposed, view) = match ceremony {
            Some(head) => {
                let (id, view) = self.of_policy_change(head)?;
                let proposal = self.proposal(&id)?;
                let base = proposal.base().map(dkg::Base::name);
                let hash = *proposal.policy_hash();
                let this = Arc::clone(self);
                let policy = blocking(move || this.desk.known_policy(&hash)).await??;
                (base.map(|base| base.public_key), policy, Some(view))
            }
            None => {
                let head = key.unwrap_or_default().to_lowercase();
                (Some(*self.only_key(&head)?.public_key()), None, None)
            }
        };
        let entry = public_key.and_then(|key| self.around.keyring.entry(&key));
        let present = match &entry {
            Some(entry) => match entry.choose(None) {
                Ok(chosen) => Some(chosen.policy().clone()),
                Err(_) => entry.state().policy.clone(),
            },
            None => None,
        };
        let present = match (present, &view) {
            // A node that comes in has the present policy if it is the configured one.
            (None, Some(view)) => {
                let hash = view.reshare.as_ref().map(|reshare| &reshare.policy_hash);
                let configured = self.around.policy.as_ref();
                let fits = |policy: &&certs::Policy| Some(&hex::encode(policy.hash())) == hash;
                configured.filter(fits).cloned()
            }
            (present, _) => present,
        };
        Ok(PolicyReport {
            public_key,
            present,
            proposed,
            ceremony: view,
        })
    }

    /// The ceremony whose id begins with `head`; with an empty head, the latest that changes a key's policy.
    fn of_policy_change(&self, head: &str) -> Result<(CeremonyId, CeremonyView), CeremonyError> {
        let view = if head.is_empty() {
            let views = self.list().into_iter();
            let mut changing = views.filter(CeremonyView::changes_policy);
            changing.next_back().ok_or(CeremonyError::NoPolicyChange)?
        } else {
            self.view(Some(head))?
        };
        Ok((self.find(Some(&view.id))?, view))
    }

    fn proposal(&self, id: &CeremonyId) -> Result<Proposal, CeremonyError> {
        let seat = lock(&self.seats).get(id).cloned();
        let seated = seat.and_then(|seat| seat.with(|machine| machine.proposal().cloned()));
        let led = || {
            let led = lock(&self.led).get(id).cloned()?;
            Some(led.proposal())
        };
        let proposal = seated.flatten().or_else(led);
        proposal.ok_or_else(|| CeremonyError::NoSuchCeremony {
            id: hex::encode(id),
        })
    }
}

/// The machine of a stored ceremony. One that waits for its operator may be about another policy than the configured one, which is kept
/// beside it then.
pub(super) fn restore(
    around: &Surroundings,
    local: &LocalNode,
    id: &CeremonyId,
    state: &[u8],
) -> Result<Member, CeremonyError> {
    let restored = |local: LocalNode| {
        Member::restore(local, state).map_err(|error| CeremonyError::State {
            id: hex::encode(id),
            reason: error.to_string(),
        })
    };
    let mut machine = restored(local.clone())?;
    let undecided = machine.stage() == MemberStage::Proposed;
    let reshare = machine
        .proposal()
        .filter(|proposal| proposal.base().is_some());
    if let Some(hash) = reshare.map(|proposal| *proposal.policy_hash())
        && undecided
        && hash != local.policy_hash
    {
        machine = restored(LocalNode {
            policy_hash: hash,
            ..local.clone()
        })?;
    }
    Ok(machine.with_patience(around.live.now().ceremony.patience_s))
}
