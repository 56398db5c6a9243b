//! Who voted for two things at once. Such votes are signed, so they are proof; the library stops talking to whoever sent them, and
//! here it gets a name. It also stops talking to who sent something else that breaks the rules; that gets a name too.

use crate::application::Scheme;
use commonware_actor::Feedback;
use commonware_consensus::{
    Reporter, Viewable as _,
    simplex::types::{Activity, Attributable as _},
};
use commonware_cryptography::{ed25519::PublicKey, sha256::Digest};
use commonware_p2p::{BlockedSubscription, Blocker, authenticated::lookup::Oracle};
use commonware_parallel::Sequential;
use commonware_runtime::tokio::Context;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// A member that broke the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Its key.
    pub member: [u8; 32],
    /// What it did.
    pub what: &'static str,
}

/// What was found so far, one fault a member.
#[derive(Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<BTreeMap<[u8; 32], &'static str>>>);

impl Faults {
    pub(crate) fn list(&self) -> Vec<Fault> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = |(member, what): (&[u8; 32], &&'static str)| Fault {
            member: *member,
            what,
        };
        found.iter().map(fault).collect()
    }

    /// Proof outweighs what was only seen.
    fn note(&self, member: [u8; 32], what: &'static str) -> bool {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found
            .insert(member, what)
            .is_none_or(|before| before == SEEN)
    }

    fn suspect(&self, member: [u8; 32]) -> bool {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let new = !found.contains_key(&member);
        found.entry(member).or_insert(SEEN);
        new
    }
}

/// Of what is no proof for others: this member saw it.
const SEEN: &str =
    "it sent what nobody sends who keeps the rules, and nothing is taken from it for an hour";

/// Shuts out who breaks the rules, and says who.
#[derive(Clone)]
pub(crate) struct Bouncer {
    pub(crate) oracle: Oracle<PublicKey>,
    pub(crate) faults: Faults,
}

impl Blocker for Bouncer {
    type PublicKey = PublicKey;

    fn block(&mut self, peer: PublicKey) -> Feedback {
        let mut member = [0; 32];
        member.copy_from_slice(peer.as_ref());
        if self.faults.suspect(member) {
            tracing::error!(key = %peer, what = SEEN, "a member is faulty");
        }
        self.oracle.block(peer)
    }

    fn blocked(&mut self) -> BlockedSubscription<PublicKey> {
        self.oracle.blocked()
    }
}

/// Looks through what consensus reports. Votes reach it unverified, so proof is verified here.
#[derive(Clone)]
pub(crate) struct Watch {
    pub(crate) faults: Faults,
    pub(crate) scheme: Scheme,
    pub(crate) random: Arc<Mutex<Context>>,
}

impl Reporter for Watch {
    type Activity = Activity<Scheme, Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        let (signer, what) = match &activity {
            Activity::ConflictingNotarize(proof) => {
                (proof.signer(), "it voted for two batches in one view")
            }
            Activity::ConflictingFinalize(proof) => {
                (proof.signer(), "it finalised two batches in one view")
            }
            Activity::NullifyFinalize(proof) => {
                (proof.signer(), "it finalised a view that it gave up")
            }
            _ => return Feedback::Ok,
        };
        let proven = {
            let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
            activity.verify(&mut *random, &self.scheme, &Sequential)
        };
        let key = commonware_cryptography::certificate::Scheme::participants(&self.scheme)
            .iter()
            .nth(signer.into());
        if let Some(key) = key.filter(|_| proven) {
            let mut member = [0; 32];
            member.copy_from_slice(key.as_ref());
            if self.faults.note(member, what) {
                tracing::error!(%key, view = %activity.view(), what, "a member is faulty, and nothing more is taken from it");
            }
        }
        Feedback::Ok
    }
}
