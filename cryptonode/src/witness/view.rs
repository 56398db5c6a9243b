//! Witnessing as operators and scripts see it.

use certs::checkpoint::SignedCheckpoint;
use serde::{Deserialize, Serialize};

use super::collector::Outcome;
use super::{Collector, Finding, FindingKind, Identity, Watched};

/// Everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessingView {
    /// This node's log, and who has cosigned it.
    pub own: OwnLogView,
    /// The logs that this node is a witness of.
    pub watched: Vec<WatchedView>,
    /// Cosignatures that this node has given since its start.
    pub given: u64,
}

/// This node's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnLogView {
    /// Its origin.
    pub origin: String,
    /// Acknowledged records.
    pub records: u64,
    /// Records under the newest checkpoint with cosignatures, if there is one.
    pub cosigned_records: Option<u64>,
    /// That checkpoint.
    pub cosigned_note: Option<String>,
    /// Who is asked, and how it went last.
    pub witnesses: Vec<WitnessView>,
}

/// A witness of this node's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WitnessView {
    /// Its name, as it stands at its cosignatures.
    pub witness: String,
    /// Records under the checkpoint that it cosigned in the last round.
    pub cosigned_records: Option<u64>,
    /// When, in seconds since the Unix epoch, by its own clock.
    pub time_s: Option<u64>,
    /// Why it did not.
    pub failure: Option<String>,
    /// Whether it has seen another history, and not just been away.
    pub refused: bool,
}

/// A log that this node is a witness of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedView {
    /// The member's name.
    pub member: String,
    /// Its identity in hexadecimal.
    pub identity: String,
    /// The log's origin.
    pub origin: String,
    /// Records under the newest head.
    pub records: u64,
    /// Its root in hexadecimal.
    pub root: String,
    /// When it was taken, in milliseconds since the Unix epoch.
    pub taken_ms: u64,
    /// Why the log's last offer was not cosigned, if it was not.
    pub refused: Option<FindingView>,
    /// What is held against the log.
    pub findings: Vec<FindingView>,
}

/// Two heads that do not continue each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingView {
    /// Which kind, by its stable name.
    pub kind: String,
    /// The same as a sentence.
    pub sentence: String,
    /// The checkpoint that was seen first, with the log's signature.
    pub seen: String,
    /// The one that was shown then, likewise.
    pub shown: String,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// Size and origin that a kept note has.
fn size_of(note: &str) -> Option<u64> {
    let checkpoint = SignedCheckpoint::parse(note).ok()?;
    Some(checkpoint.claimed().size)
}

impl FindingView {
    /// The finding against `member`.
    pub(super) fn of(finding: &Finding, member: &str) -> Self {
        let seen = size_of(&finding.seen).unwrap_or(0);
        let shown = size_of(&finding.shown).unwrap_or(0);
        let sentence = match finding.kind {
            FindingKind::Forked => format!(
                "{member} has signed two different logs of {seen} records: it rewrote its history; both checkpoints are kept, and convict it"
            ),
            FindingKind::NotContinued => format!(
                "{member} shows a log of {shown} records that does not continue the {seen} that it signed before: it rewrote its history, or was restored from an older copy; both checkpoints are kept"
            ),
            FindingKind::Unproven => format!(
                "{member} shows a log of {shown} records and no proof that it continues the {seen} that it signed before"
            ),
            FindingKind::SetBack => format!(
                "{member} shows a log of {shown} records, and had signed {seen}: it was restored from an older copy, or cut"
            ),
        };
        Self {
            kind: finding.kind.code().to_owned(),
            sentence,
            seen: finding.seen.clone(),
            shown: finding.shown.clone(),
            time_ms: finding.time_ms,
        }
    }
}

impl WatchedView {
    /// The log of `member`.
    pub(super) fn of(identity: &Identity, member: Option<String>, watched: &Watched) -> Self {
        let head = watched.head().ok();
        let origin = head.as_ref().map(|head| head.origin.clone());
        let origin = origin.unwrap_or_default();
        // The origin has the name that the node gives itself.
        let named = origin.split('/').nth(1).map(str::to_owned);
        let member = member.or(named).unwrap_or_default();
        let finding = |finding: &Finding| FindingView::of(finding, &member);
        Self {
            identity: hex::encode(identity),
            records: head.as_ref().map_or(0, |head| head.size),
            root: head.map(|head| hex::encode(head.root)).unwrap_or_default(),
            taken_ms: watched.taken_ms(),
            refused: watched.refused().map(finding),
            findings: watched.findings().iter().map(finding).collect(),
            origin,
            member,
        }
    }
}

impl WitnessView {
    /// The witnesses of a log.
    pub(super) fn all(collector: &Collector) -> Vec<Self> {
        let outcomes = collector.outcomes();
        let views = outcomes.map(|(key, outcome)| {
            let mut view = Self {
                witness: key.name().to_owned(),
                cosigned_records: None,
                time_s: None,
                failure: None,
                refused: false,
            };
            match outcome {
                Some(Outcome::Cosigned { size, time_s }) => {
                    view.cosigned_records = Some(*size);
                    view.time_s = Some(*time_s);
                }
                Some(Outcome::Refused { reason }) => {
                    view.failure = Some(reason.clone());
                    view.refused = true;
                }
                Some(Outcome::Silent { reason }) => view.failure = Some(reason.clone()),
                None => {}
            }
            view
        });
        views.collect()
    }
}

impl OwnLogView {
    /// The log with this origin.
    pub(super) fn of(
        origin: &str,
        records: u64,
        cosigned: Option<String>,
        collector: &Collector,
    ) -> Self {
        Self {
            origin: origin.to_owned(),
            records,
            cosigned_records: cosigned.as_deref().and_then(size_of),
            cosigned_note: cosigned,
            witnesses: WitnessView::all(collector),
        }
    }
}
