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
    /// Members that run another version than this node, as far as it has asked them.
    #[serde(default)]
    pub other_versions: Vec<OtherVersion>,
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
    /// What is handed on, if it is a reshare.
    #[serde(default)]
    pub reshare: Option<ReshareView>,
    /// Those that are waited for now, each with what was last heard of it. The leader knows it; a member that follows shows those that the leader
    /// names, and the leader.
    pub waiting_for: Vec<Waiting>,
    /// What follows `cryptonode` in the command that proposes the same without the members that are at fault or cannot be reached, if any are
    /// and this node leads.
    #[serde(default)]
    pub propose_again: Option<Vec<String>>,
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

/// What a reshare hands on, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReshareView {
    /// Y in hexadecimal.
    pub public_key: String,
    /// The epoch that the shares are of now; the reshare makes the next.
    pub epoch: u64,
    /// t as it is now.
    pub threshold: u16,
    /// The present members by name, in index order.
    pub members: Vec<String>,
    /// Present members that the ceremony may go without.
    pub may_be_absent: Vec<String>,
    /// Members that are new.
    pub joining: Vec<String>,
    /// Present members that hand their place on.
    pub leaving: Vec<String>,
    /// SHA-256 of the present policy, in hexadecimal.
    pub policy_hash: String,
}

/// What a proposal hands on.
fn reshared(proposal: &Proposal) -> Option<ReshareView> {
    let base = proposal.base()?;
    let certificate = base.certificate();
    let old = certificate.members();
    let is_old = |identity: &[u8; 32]| old.iter().any(|member| member.identity == *identity);
    let is_new = |identity: &[u8; 32]| {
        let mut members = proposal.members().iter();
        members.any(|member| member.identity == *identity)
    };
    Some(ReshareView {
        public_key: hex::encode(base.name().public_key),
        epoch: certificate.name().epoch,
        threshold: base.threshold(),
        members: old.iter().map(|member| member.name.clone()).collect(),
        may_be_absent: (1_u16..)
            .zip(old)
            .filter(|(index, _)| base.old_may_be_absent().contains(index))
            .map(|(_, member)| member.name.clone())
            .collect(),
        joining: proposal
            .members()
            .iter()
            .filter(|member| !is_old(&member.identity))
            .map(|member| member.name.clone())
            .collect(),
        leaving: old
            .iter()
            .filter(|member| !is_new(&member.identity))
            .map(|member| member.name.clone())
            .collect(),
        policy_hash: hex::encode(certificate.policy_hash()),
    })
}

/// A member that runs another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherVersion {
    /// The member's name.
    pub member: String,
    /// Name and version of its software, as it says. Untrusted text.
    pub software: String,
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
fn proposer(proposal: &Proposal) -> String {
    proposal
        .index_of(proposal.leader())
        .and_then(|index| proposal.member(index))
        .map(|member| member.name.clone())
        .unwrap_or_default()
}

/// Why a member takes no part that has looked at a proposal. Nothing of it is false, and its operator can put it right.
fn is_refusal(code: &str) -> bool {
    let codes = [
        "other-policy",
        "other-version",
        "not-listed",
        "base-superseded",
        "base-not-held",
        "attempt-taken",
        "attempts-ahead",
        "restored-node",
        "expired",
    ];
    codes.contains(&code)
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
                (Grounds::Claimed { code }, _) if code == "refused" => {
                    "it refused to take part, says the leader".to_owned()
                }
                (Grounds::Claimed { code }, _) if is_refusal(code) => {
                    format!("it refused to take part ({code}), says the leader")
                }
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
    /// What it is waited for: `acceptance`, `deal`, and so on; on a member that follows, `its answer` or `its next question`.
    pub waiting_for: String,
    /// What was last heard of it, such as why it could not be reached; empty if it is merely not done.
    pub heard: String,
    /// Since when this node waits for it, seconds since the Unix epoch, where it is known: of the leader, since it brought this node a step further.
    #[serde(default)]
    pub since: Option<u64>,
}

/// A time as people read it, to the second.
pub(crate) fn when(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| {
            time.format(&time::format_description::well_known::Rfc3339)
                .ok()
        })
        .unwrap_or_else(|| seconds.to_string())
}

impl CeremonyView {
    /// What the proposal says. The rest is for whoever knows how far it is.
    pub(super) fn of(proposal: &Proposal) -> Self {
        let members = proposal.members().iter();
        Self {
            id: hex::encode(proposal.id()),
            led: false,
            leader: String::new(),
            proposed_by: proposer(proposal),
            words: proposal.words(),
            created: proposal.created(),
            may_be_absent: proposal.may_be_absent(),
            software: proposal.software().to_owned(),
            other_versions: Vec::new(),
            step: String::new(),
            decided: false,
            outcome: None,
            threshold: proposal.threshold(),
            members: members.map(|member| member.name.clone()).collect(),
            reshare: reshared(proposal),
            waiting_for: Vec::new(),
            propose_again: None,
            expires: proposal.expires(),
            public_key: None,
            culprits: Vec::new(),
            attempt: None,
            excluded: Vec::new(),
            sentence: None,
            policy_hash: hex::encode(proposal.policy_hash()),
        }
    }

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

    /// Whether it would give the key another policy.
    #[must_use]
    pub fn changes_policy(&self) -> bool {
        let reshare = self.reshare.as_ref();
        reshare.is_some_and(|reshare| reshare.policy_hash != self.policy_hash)
    }

    /// Whether it is decided, and a key came of it.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.outcome.as_deref() == Some("activated")
    }
}
