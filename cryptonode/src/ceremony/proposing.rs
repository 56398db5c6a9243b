//! A proposal of this node: from what its operator wishes for to the first question.

use std::sync::Arc;

use dkg::{LeaderEffect, MemberIdentity, Proposal, Terms};

use super::handing_on::Handed;
use super::lead::Led;
use super::{Ceremonies, CeremonyError, CeremonyView, blocking, lock};
use crate::daemon::clock_s;
use crate::server::SOFTWARE;
use crate::store::policy_change;

/// What the operator asks for in a proposal.
pub(crate) struct Wish {
    /// t; in a reshare as it is, if absent.
    pub(crate) threshold: Option<u16>,
    /// The key that is reshared, by the head of Y in hexadecimal; a new key is made if absent.
    pub(crate) reshare: Option<String>,
    /// The policy that the reshare gives the key; the key's own if absent.
    pub(crate) policy: Option<certs::Policy>,
    /// Names of present members that the reshare may go without.
    pub(crate) absent: Vec<String>,
    /// Attempts on this base are numbered from here on, if others have confirmed some that this node does not know of.
    pub(crate) after_attempt: u32,
    /// Names of the members; all configured ones if absent.
    pub(crate) members: Option<Vec<String>>,
    /// How long the proposal stays open, in seconds; as configured if absent.
    pub(crate) open_for_s: Option<u64>,
    /// How many members may be left out.
    pub(crate) may_be_absent: u16,
    /// How long a member may keep silent in a step before it is left out, in seconds.
    pub(crate) patience_s: Option<u32>,
    /// Allows n < 2t − 1.
    pub(crate) allow_few_members: bool,
}

impl Ceremonies {
    /// Makes a proposal with this node as leader, accepts it here, and starts asking the others.
    pub(crate) async fn propose(
        self: &Arc<Self>,
        wish: Wish,
    ) -> Result<CeremonyView, CeremonyError> {
        self.shown().await;
        self.remembers()?;
        let (proposal, policy) = self.proposal_for(&wish)?;
        if wish.policy.is_some() {
            self.record_consent("propose-policy", &proposal).await?;
        }
        let created = proposal.created();
        let id = proposal.id();
        let led = Arc::new(Led::new(
            proposal,
            &self.around.signing,
            // Who is said to be absent is not waited for as long as others are.
            wish.patience_s.unwrap_or(match wish.may_be_absent {
                0 if !wish.absent.is_empty() => 30,
                _ => self.around.live.now().ceremony.patience_s,
            }),
            created,
        )?);
        let mut effects = led.begin().into_iter();
        // Durable before the operator is told of it. What follows is sent by the task.
        let (this, leading) = (Arc::clone(self), Arc::clone(&led));
        let effects = blocking(move || -> Result<Vec<LeaderEffect>, CeremonyError> {
            let _one = lock(&this.resharing);
            this.around.store.commit(&[policy_change(&policy)])?;
            let mut later = Vec::new();
            for effect in effects.by_ref() {
                match effect {
                    LeaderEffect::Persist(state) => this.persist_leader(&id, state)?,
                    other => later.push(other),
                }
            }
            this.note_arrival(id);
            lock(&this.led).insert(id, leading);
            Ok(later)
        })
        .await??;
        self.spawn_lead(led, effects);
        self.notify();
        self.view(Some(&hex::encode(id)))
    }

    /// What the operator wishes for as a proposal, with its policy.
    pub(super) fn proposal_for(
        &self,
        wish: &Wish,
    ) -> Result<(Proposal, certs::Policy), CeremonyError> {
        let created = clock_s();
        let config = self.around.live.now();
        let open_for_s = wish.open_for_s.unwrap_or(config.ceremony.open_for_s);
        let Handed {
            threshold,
            members,
            base,
            policy,
        } = self.wished(wish)?;
        let terms = Terms {
            threshold,
            policy_hash: policy.hash(),
            members,
            base,
            leader: self.around.own.identity,
            created,
            expires: created.saturating_add(open_for_s),
            may_be_absent: wish.may_be_absent,
            allow_few_members: wish.allow_few_members,
            software: SOFTWARE.to_owned(),
        };
        Ok((
            Proposal::new(terms, &mut crate::randomness::system())?,
            policy,
        ))
    }

    pub(super) fn members_called(
        &self,
        names: Option<&[String]>,
    ) -> Result<Vec<MemberIdentity>, CeremonyError> {
        let own = &self.around.own;
        let mut members = vec![own.clone()];
        let config = self.around.live.now();
        let configured = config.members.iter();
        match names {
            None => members.extend(
                configured
                    .filter(|member| member.identity != own.identity)
                    .cloned(),
            ),
            Some(names) => {
                for name in names.iter().filter(|name| **name != own.name) {
                    let member = configured.clone().find(|member| member.name == *name);
                    members.push(
                        member
                            .ok_or_else(|| CeremonyError::NoSuchMember { name: name.clone() })?
                            .clone(),
                    );
                }
            }
        }
        Ok(members)
    }
}
