//! A ceremony as operators see it: which step, who is being waited for, how it ended.

use dkg::{Exclusion, Grounds, Proposal};
use serde::{Deserialize, Serialize};

/// One ceremony, from this node's side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CeremonyView {
    /// Its id, in hexadecimal.
    pub id: String,
    /// Whether this node leads it.
    pub led: bool,
    /// Name of the member that leads it.
    pub leader: String,
    /// Name of the member that proposed it.
    #[serde(default)]
    pub proposed_by: String,
    /// Words that operators read to one another, to know that they speak of the same proposal.
    #[serde(default)]
    pub words: String,
    /// When it was proposed, seconds since the Unix epoch.
    #[serde(default)]
    pub created: u64,
    /// How many members an attempt may leave out.
    #[serde(default)]
    pub may_be_absent: u16,
    /// The proposer's software.
    #[serde(default)]
    pub software: String,
    /// The step that it is at, such as `waiting for acceptances`, or how it ended.
    pub step: String,
    /// Whether it is decided on this node: activated, failed, rejected or abandoned.
    pub decided: bool,
    /// `activated`, `failed`, `rejected` or `abandoned`, once it is decided.
    pub outcome: Option<String>,
    /// t.
    pub threshold: u16,
    /// All members by name, in index order.
    pub members: Vec<String>,
    /// Those that are waited for now, each with what was last heard of it; known to the leader only.
    pub waiting_for: Vec<Waiting>,
    /// When the proposal expires, seconds since the Unix epoch.
    pub expires: u64,
    /// Y in hexadecimal, once it is made.
    pub public_key: Option<String>,
    /// The members at fault, by name, if it failed.
    pub culprits: Vec<String>,
    /// The number of the attempt that goes on, or that made the key.
    #[serde(default)]
    pub attempt: Option<u32>,
    /// Members that are left out, and why.
    #[serde(default)]
    pub excluded: Vec<Excluded>,
    /// The evidence, or what is to be done next, in a sentence.
    pub sentence: Option<String>,
    /// SHA-256 of the policy that the key would have, in hexadecimal.
    pub policy_hash: String,
}

/// A member that takes no part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// The member's name.
    pub member: String,
    /// Why, by a stable code: `silent`, `rejected`, or what it did.
    pub code: String,
    /// Whether this node has verified evidence of it, or has only the leader's word.
    pub proved: bool,
    /// Why, in a sentence.
    pub sentence: String,
}

/// The name of the member that proposed a ceremony.
pub(super) fn proposer(proposal: &Proposal) -> String {
    proposal
        .index_of(proposal.leader())
        .and_then(|index| proposal.member(index))
        .map(|member| member.name.clone())
        .unwrap_or_default()
}

/// Who is left out of a ceremony, with what the evidence proves.
pub(super) fn excluded<'a>(
    exclusions: impl Iterator<Item = &'a Exclusion>,
    proposal: &Proposal,
) -> Vec<Excluded> {
    exclusions
        .map(|exclusion| {
            let member = proposal
                .member(exclusion.member)
                .map(|member| member.name.clone())
                .unwrap_or_default();
            let proof = exclusion.verify(proposal).ok().flatten();
            let code = proof.as_ref().map_or_else(
                || exclusion.grounds.code().to_owned(),
                |fault| fault.code().to_owned(),
            );
            let sentence = match (&exclusion.grounds, &proof) {
                (_, Some(fault)) => fault.to_string(),
                (Grounds::Silent, _) => "it gave no answer in time, says the leader".to_owned(),
                (Grounds::Declined, _) => "its operator declined, says the leader".to_owned(),
                _ => format!("it answered falsely ({code}), says the leader"),
            };
            Excluded {
                member,
                code,
                proved: proof.is_some(),
                sentence,
            }
        })
        .collect()
}

/// A member that is being waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The member's name.
    pub member: String,
    /// What it is waited for: `acceptance`, `deal`, and so on.
    pub waiting_for: String,
    /// What was last heard of it, such as why it could not be reached; empty if it is merely not done.
    pub heard: String,
}

impl CeremonyView {
    /// Every member serves the key; its certificate is not there yet.
    pub(super) fn is_being_signed(&mut self) {
        "signing".clone_into(&mut self.step);
        self.decided = false;
        self.outcome = None;
        self.sentence = Some(
            "All members serve the key; its certificate is being signed, which takes as many of them as a read does."
                .to_owned(),
        );
    }

    /// Whether it is decided, and a key came of it.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.outcome.as_deref() == Some("activated")
    }
}
