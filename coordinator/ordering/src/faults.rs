//! Who voted for two things at once. Such votes are signed, so they are proof; the library stops talking to whoever sent them, and
//! here it gets a name.

use crate::application::Scheme;
use commonware_actor::Feedback;
use commonware_consensus::{
    Reporter, Viewable as _,
    simplex::types::{Activity, Attributable as _},
};
use commonware_cryptography::sha256::Digest;
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

    fn note(&self, member: [u8; 32], what: &'static str) -> bool {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.insert(member, what).is_none()
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
