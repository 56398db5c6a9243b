//! As a log: what is offered to whom, and the cosignatures that come back. No I/O, and the time is an argument.

use std::collections::BTreeMap;

use certs::checkpoint::{Checkpoint, NoteKey, SignedCheckpoint};
use certs::cosignature::{CosignatureLine, WitnessKey};
use certs::log_proof::{ConsistencyFile, verify_head};
use certs::merkle::Hash;

use super::Identity;

/// Most offers of one round to one witness: what it may have seen meanwhile is asked for once, and then once more.
pub const MAX_STEPS: u8 = 3;
/// A round that brought fewer cosignatures than the one before takes its place only when that is so old.
const STALE_MS: u64 = 600_000;

/// The log itself: its tree.
pub trait History {
    /// The root over the first `size` records; `None` if there are fewer.
    fn root_at(&self, size: u64) -> Option<Hash>;
    /// The proof that the first `new` records begin with the first `old`.
    fn consistency(&self, old: u64, new: u64) -> Option<Vec<Hash>>;
}

/// What a witness said, or that it said nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Signature lines.
    Cosigned(String),
    /// The newest checkpoint of this log that it has seen; empty if it has seen none.
    Seen(String),
    /// It could not be asked, or refused, with the reason.
    Failed(String),
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// This is to be sent to a witness, and its answer brought back.
    Offer {
        /// The witness.
        to: Identity,
        /// The body.
        offer: String,
    },
    /// This checkpoint is to be made durable and served.
    Publish(String),
    /// A witness has shown a head that this node signed and that its log does not continue.
    SetBack(Checkpoint),
}

/// How the last round went with a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Cosigned { size: u64, time_s: u64 },
    Refused { reason: String },
    Silent { reason: String },
}

#[derive(Debug)]
struct Witness {
    key: WitnessKey,
    /// How many records the newest head had that it is known to have.
    seen: u64,
    outcome: Option<Outcome>,
    /// Offers of this round that are left; 0 if it has answered.
    steps: u8,
}

#[derive(Debug)]
struct Round {
    /// With this node's signature alone: what is offered.
    bare: SignedCheckpoint,
    /// With the cosignatures so far.
    checkpoint: SignedCheckpoint,
    head: Checkpoint,
    cosignatures: usize,
}

#[derive(Debug, Clone, Copy)]
struct Published {
    cosignatures: usize,
    at_ms: u64,
}

/// Collects cosignatures of one log's checkpoints.
#[derive(Debug)]
pub struct Collector {
    log: NoteKey,
    witnesses: BTreeMap<Identity, Witness>,
    round: Option<Round>,
    published: Option<Published>,
    begun_ms: Option<u64>,
    offered: u64,
}

impl Collector {
    /// For the log with this key.
    #[must_use]
    pub fn new(log: NoteKey) -> Self {
        Self {
            log,
            witnesses: BTreeMap::new(),
            round: None,
            published: None,
            begun_ms: None,
            offered: 0,
        }
    }

    /// Whether a round is due: none goes on, and the time has passed or so many records have come.
    #[must_use]
    pub fn is_due(&self, now_ms: u64, size: u64, every_ms: u64, after_records: u64) -> bool {
        self.round.is_none()
            && self.begun_ms.is_none_or(|begun| {
                now_ms.saturating_sub(begun) >= every_ms
                    || size.saturating_sub(self.offered) >= after_records
            })
    }

    /// Whether a round is due at once: none goes on, and the first so many records have not been offered.
    #[must_use]
    pub fn lacks(&self, records: u64) -> bool {
        self.round.is_none() && self.offered < records
    }

    /// Begins a round over this node's own signed checkpoint.
    #[must_use]
    pub fn begin(
        &mut self,
        note: &str,
        witnesses: Vec<(Identity, WitnessKey)>,
        history: &impl History,
        now_ms: u64,
    ) -> Vec<Effect> {
        let Some((checkpoint, head)) = self.own(note) else {
            return Vec::new();
        };
        self.witnesses
            .retain(|identity, _| witnesses.iter().any(|(wanted, _)| wanted == identity));
        for (identity, key) in witnesses {
            let known = self.witnesses.entry(identity).or_insert(Witness {
                key: key.clone(),
                seen: 0,
                outcome: None,
                steps: 0,
            });
            known.key = key;
            known.steps = MAX_STEPS;
        }
        self.begun_ms = Some(now_ms);
        self.offered = head.size;
        self.round = Some(Round {
            bare: checkpoint.clone(),
            checkpoint,
            head,
            cosignatures: 0,
        });
        let all: Vec<Identity> = self.witnesses.keys().copied().collect();
        let mut effects: Vec<Effect> = all
            .iter()
            .filter_map(|identity| self.offer(identity, history))
            .collect();
        effects.extend(self.end(now_ms));
        effects
    }

    /// A witness has answered, or has not.
    #[must_use]
    pub fn heard(
        &mut self,
        from: &Identity,
        heard: Heard,
        history: &impl History,
        now_ms: u64,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let (Some(round), Some(witness)) = (self.round.as_mut(), self.witnesses.get_mut(from))
        else {
            return effects;
        };
        if witness.steps == 0 {
            return effects;
        }
        let mut again = false;
        match heard {
            Heard::Cosigned(lines) => {
                let line = CosignatureLine::from_text(&lines);
                witness.outcome = Some(
                    match round.checkpoint.add_cosignature(&line, &witness.key) {
                        Ok(time_s) => {
                            round.cosignatures += 1;
                            witness.seen = round.head.size;
                            let size = round.head.size;
                            Outcome::Cosigned { size, time_s }
                        }
                        Err(error) => Outcome::Refused {
                            reason: format!("its cosignature does not hold: {error}"),
                        },
                    },
                );
            }
            Heard::Seen(note) => {
                let head = round.head.clone();
                let (reason, retry) = match self.seen(&note, history) {
                    Ok(size) if size <= head.size => {
                        let reason = format!("it does not take a proof from its {size} records");
                        (reason, Some(size))
                    }
                    // It has cosigned a later one of this log's, which continues this one: the next round has it.
                    Ok(size) => (format!("it has seen {size} records already"), None),
                    Err(Some(signed)) => {
                        effects.push(Effect::SetBack(signed.clone()));
                        let reason = format!(
                            "it has seen another log of {} records that this node signed",
                            signed.size
                        );
                        // Offered all the same, so that it has both heads in its hands.
                        (reason, Some(signed.size.min(head.size)))
                    }
                    Err(None) => (
                        "what it showed is no checkpoint of this log".to_owned(),
                        None,
                    ),
                };
                if let Some(witness) = self.witnesses.get_mut(from) {
                    witness.outcome = Some(Outcome::Refused { reason });
                    if let Some(size) = retry {
                        witness.seen = size;
                        again = witness.steps > 1;
                    }
                }
            }
            Heard::Failed(reason) => witness.outcome = Some(Outcome::Silent { reason }),
        }
        if let Some(witness) = self.witnesses.get_mut(from) {
            witness.steps = if again { witness.steps - 1 } else { 0 };
        }
        if again {
            effects.extend(self.offer(from, history));
        }
        effects.extend(self.end(now_ms));
        effects
    }

    /// How the last rounds went with each witness.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (&WitnessKey, Option<&Outcome>)> {
        let witnesses = self.witnesses.values();
        witnesses.map(|witness| (&witness.key, witness.outcome.as_ref()))
    }

    fn own(&self, note: &str) -> Option<(SignedCheckpoint, Checkpoint)> {
        let checkpoint = SignedCheckpoint::parse(note).ok()?;
        let head = verify_head(&checkpoint, &self.log).ok()?;
        Some((checkpoint, head))
    }

    /// How many records a checkpoint has that a witness shows, if this log continues or contains it; the head, if this node signed it
    /// and its log does not.
    fn seen(&self, note: &str, history: &impl History) -> Result<u64, Option<Checkpoint>> {
        if note.is_empty() {
            return Ok(0);
        }
        let (_, signed) = self.own(note).ok_or(None)?;
        match history.root_at(signed.size) {
            Some(root) if root == signed.root => Ok(signed.size),
            _ => Err(Some(signed)),
        }
    }

    fn offer(&mut self, to: &Identity, history: &impl History) -> Option<Effect> {
        let round = self.round.as_ref()?;
        let witness = self.witnesses.get_mut(to)?;
        let old = witness.seen.min(round.head.size);
        let Some(proof) = history.consistency(old, round.head.size) else {
            // A checkpoint beyond the log is none of this log; nobody is asked about it.
            witness.steps = 0;
            return None;
        };
        let file = ConsistencyFile {
            old,
            proof,
            checkpoint: round.bare.clone(),
        };
        Some(Effect::Offer {
            to: *to,
            offer: file.to_string(),
        })
    }

    /// The round's end, when every witness has answered.
    fn end(&mut self, now_ms: u64) -> Option<Effect> {
        if self.witnesses.values().any(|witness| witness.steps > 0) {
            return None;
        }
        let round = self.round.take()?;
        let worse = self.published.is_some_and(|before| {
            round.cosignatures < before.cosignatures
                && now_ms.saturating_sub(before.at_ms) < STALE_MS
        });
        if round.cosignatures == 0 || worse {
            return None;
        }
        self.published = Some(Published {
            cosignatures: round.cosignatures,
            at_ms: now_ms,
        });
        Some(Effect::Publish(round.checkpoint.to_string()))
    }
}

#[cfg(test)]
#[path = "collector_tests.rs"]
mod tests;
