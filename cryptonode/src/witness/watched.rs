//! As a witness: what this node has seen of others' logs. No I/O: what an offer leads to is computed ([`Watch::weigh`]), made durable
//! by the caller, and only then answered ([`Watch::take`]); the cosignature is made there and nowhere else.

use std::collections::BTreeMap;

use certs::checkpoint::{Checkpoint, NoteKey, SignedCheckpoint};
use certs::cosignature::cosign;
use certs::log_proof::{ConsistencyFile, LogProofError, verify_head};
use certs::merkle::{empty_root, verify_consistency};
use ed25519_dalek::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use super::Identity;
use crate::audit::is_origin_of;

/// Most findings that are kept of one log; the first ones.
pub const MAX_FINDINGS: usize = 4;
/// Most logs that are watched.
pub const MAX_LOGS: usize = 4_096;
/// Offers of one log at once after a rest, and how many come back in a second.
const BURST: f64 = 16.0;
const PER_SECOND: f64 = 4.0;

/// What two heads of a log that were both signed say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// Two roots over the same number of records. Nothing but the two heads is needed to convict the log.
    Forked,
    /// The later head came with a proof from the earlier one that does not hold. The log can clear itself by one that does, and
    /// nobody else can make one.
    NotContinued,
    /// It showed a later head, and no proof from the earlier one. It is told of that one, and makes up for it with its next offer.
    Unproven,
    /// It showed a head shorter than one that it had signed before: restored from an older copy, or cut.
    SetBack,
}

impl FindingKind {
    /// Its stable name.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Forked => "forked",
            Self::NotContinued => "not-continued",
            Self::Unproven => "unproven",
            Self::SetBack => "set-back",
        }
    }
}

/// Two heads of one log, each with the log's signature, of which the second does not continue the first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// What they say together.
    pub kind: FindingKind,
    /// The head that this node had cosigned.
    pub seen: String,
    /// The head that it was shown then.
    pub shown: String,
    /// When, in milliseconds since the Unix epoch.
    pub time_ms: u64,
}

/// What is kept of one log, durably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watched {
    /// The newest head that was proved to continue all before it, with the log's signature.
    note: String,
    /// When it was taken, in milliseconds since the Unix epoch.
    taken_ms: u64,
    /// Why the log's last offer was not cosigned.
    refused: Option<Finding>,
    /// What can never be undone, the first ones of it.
    findings: Vec<Finding>,
}

impl Watched {
    /// The newest head's note.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// When it was taken, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn taken_ms(&self) -> u64 {
        self.taken_ms
    }

    /// Why the log's last offer was not cosigned; `None` if it was.
    #[must_use]
    pub fn refused(&self) -> Option<&Finding> {
        self.refused.as_ref()
    }

    /// The evidence against the log.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The newest head.
    ///
    /// # Errors
    /// [`LogProofError`] if what was kept is no checkpoint: the store gives back what was put into it, or nothing.
    pub fn head(&self) -> Result<Checkpoint, LogProofError> {
        Ok(SignedCheckpoint::parse(&self.note)?.claimed().clone())
    }

    /// The form that is stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Strings and numbers always have a JSON form.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads it back.
    ///
    /// # Errors
    /// The reason why it cannot be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let watched: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        watched.head().map_err(|error| error.to_string())?;
        if watched.findings.len() > MAX_FINDINGS {
            return Err("it has more findings than are kept".to_owned());
        }
        Ok(watched)
    }
}

/// Why an offer was not even weighed. It says nothing about the log.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotWeighed {
    /// Not of the form, or not signed by the log.
    #[error("{0}")]
    Offer(#[from] LogProofError),
    /// The log of somebody else, or a second log.
    #[error(
        "the checkpoint is of the log {origin}, which is not this member's, or not the one that it began with"
    )]
    OtherLog {
        /// Its origin.
        origin: String,
    },
    /// More often than needed.
    #[error("this log's checkpoints are offered too often: try again in {retry_after_ms} ms")]
    TooOften {
        /// When to try again.
        retry_after_ms: u64,
    },
    /// No room for another log.
    #[error("this node watches as many logs as it can")]
    Full,
}

impl NotWeighed {
    /// A stable code for peers.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Offer(error) => error.code(),
            Self::OtherLog { .. } => "witness-other-log",
            Self::TooOften { .. } => "rate-limited",
            Self::Full => "witness-full",
        }
    }
}

/// What an offer leads to. [`Watch::take`] answers it, once [`Weighed::durable`] is on the disk.
#[derive(Debug)]
#[must_use]
pub struct Weighed {
    log: Identity,
    next: Watched,
    durable: bool,
    verdict: Verdict,
}

#[derive(Debug)]
enum Verdict {
    Cosign(Checkpoint),
    Seen,
}

impl Weighed {
    /// What must be on the disk before the answer leaves; `None` if nothing changes there.
    #[must_use]
    pub fn durable(&self) -> Option<(&Identity, &Watched)> {
        self.durable.then_some((&self.log, &self.next))
    }

    /// What the offer says against the log.
    #[must_use]
    pub fn finding(&self) -> Option<&Finding> {
        self.next.refused.as_ref()
    }
}

/// The answer to an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A signature line.
    Cosigned(String),
    /// The newest head that is known of this log, with its signature; empty if none is.
    Seen(String),
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    tokens: f64,
    at_ms: u64,
}

/// All logs that this node is a witness of.
pub struct Watch {
    name: String,
    key: SigningKey,
    logs: BTreeMap<Identity, Watched>,
    paces: BTreeMap<Identity, Pace>,
    cosigned: u64,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("name", &self.name)
            .field("logs", &self.logs.len())
            .finish_non_exhaustive()
    }
}

impl Watch {
    /// A witness that cosigns under `name`, with what it has stored.
    #[must_use]
    pub fn new(name: &str, key: &SigningKey, logs: BTreeMap<Identity, Watched>) -> Self {
        Self {
            name: name.to_owned(),
            key: key.clone(),
            logs,
            paces: BTreeMap::new(),
            cosigned: 0,
        }
    }

    /// The logs.
    #[must_use]
    pub fn logs(&self) -> &BTreeMap<Identity, Watched> {
        &self.logs
    }

    /// Cosignatures given since the start.
    #[must_use]
    pub fn cosigned(&self) -> u64 {
        self.cosigned
    }

    /// Weighs an offer of the member `log`, whose identity the connection proved. Changes nothing that is kept.
    ///
    /// # Errors
    /// [`NotWeighed`] for what is no offer of this member's log, or comes too often.
    pub fn weigh(
        &mut self,
        log: &Identity,
        offer: &str,
        now_ms: u64,
    ) -> Result<Weighed, NotWeighed> {
        self.pass(log, now_ms)?;
        let known = self.logs.get(log);
        if known.is_none() && self.logs.len() >= MAX_LOGS {
            return Err(NotWeighed::Full);
        }
        let offer = ConsistencyFile::parse(offer)?;
        let origin = offer.checkpoint.claimed().origin.clone();
        let key = VerifyingKey::from_bytes(log)
            .ok()
            .filter(|_| is_origin_of(&origin, log))
            .and_then(|key| NoteKey::new(&origin, key).ok());
        let Some(key) = key else {
            return Err(NotWeighed::OtherLog { origin });
        };
        let head = verify_head(&offer.checkpoint, &key)?;
        // Whatever else the member wrote below its checkpoint is not kept.
        let mut shown = offer.checkpoint;
        shown.keep_only(&key);
        let fresh = Watched {
            note: shown.to_string(),
            taken_ms: now_ms,
            refused: None,
            findings: Vec::new(),
        };
        let Some(known) = known else {
            let proved = verify_consistency(0, head.size, &offer.proof, &empty_root(), &head.root);
            let (durable, verdict) = match proved {
                Ok(()) if offer.old == 0 => (true, Verdict::Cosign(head)),
                // It says that this node has seen more of it than it has.
                _ => (false, Verdict::Seen),
            };
            let log = *log;
            return Ok(Weighed {
                log,
                next: fresh,
                durable,
                verdict,
            });
        };
        let seen = known.head()?;
        if seen.origin != head.origin {
            return Err(NotWeighed::OtherLog { origin });
        }
        let found = |kind| Finding {
            kind,
            seen: known.note.clone(),
            shown: fresh.note.clone(),
            time_ms: now_ms,
        };
        let continued =
            || verify_consistency(seen.size, head.size, &offer.proof, &seen.root, &head.root);
        let finding = if head.size < seen.size {
            Some(found(FindingKind::SetBack))
        } else if head.size == seen.size {
            (head.root != seen.root).then(|| found(FindingKind::Forked))
        } else if offer.old != seen.size {
            // It may not know what this node has seen, and is told. Nothing of it needs to last.
            let mut next = known.clone();
            next.refused = Some(found(FindingKind::Unproven));
            return Ok(Weighed {
                log: *log,
                next,
                durable: false,
                verdict: Verdict::Seen,
            });
        } else {
            continued()
                .is_err()
                .then(|| found(FindingKind::NotContinued))
        };
        let mut next = known.clone();
        let verdict = match finding {
            None => {
                if head.size > seen.size {
                    next.note = fresh.note;
                    next.taken_ms = now_ms;
                }
                next.refused = None;
                Verdict::Cosign(head)
            }
            Some(finding) => {
                let same = |other: &Finding| {
                    (other.kind, &other.seen, &other.shown)
                        == (finding.kind, &finding.seen, &finding.shown)
                };
                // A shorter head may be an old one that was long on its way: it stands against the log only until the next.
                let lasts = finding.kind != FindingKind::SetBack
                    && next.findings.len() < MAX_FINDINGS
                    && !next.findings.iter().any(same);
                if lasts {
                    next.findings.push(finding.clone());
                }
                if !next.refused.as_ref().is_some_and(same) {
                    next.refused = Some(finding);
                }
                Verdict::Seen
            }
        };
        Ok(Weighed {
            log: *log,
            durable: next != *known,
            next,
            verdict,
        })
    }

    /// Takes what was weighed, now that it is on the disk, and answers.
    ///
    /// # Errors
    /// [`NotWeighed::Offer`] for a checkpoint that cannot be signed, which no verified one is.
    pub fn take(&mut self, weighed: Weighed, now_s: u64) -> Result<Reply, NotWeighed> {
        let Weighed {
            log, next, verdict, ..
        } = weighed;
        match verdict {
            Verdict::Cosign(head) => {
                let line = cosign(&head, &self.name, &self.key, now_s);
                let line = line.map_err(LogProofError::from)?;
                self.logs.insert(log, next);
                self.cosigned += 1;
                Ok(Reply::Cosigned(line.to_string()))
            }
            Verdict::Seen => {
                let known = self.logs.get_mut(&log).map(|known| {
                    *known = next;
                    known.note.clone()
                });
                Ok(Reply::Seen(known.unwrap_or_default()))
            }
        }
    }

    fn pass(&mut self, log: &Identity, now_ms: u64) -> Result<(), NotWeighed> {
        if self.paces.len() > MAX_LOGS && !self.paces.contains_key(log) {
            return Err(NotWeighed::Full);
        }
        let pace = self.paces.entry(*log).or_insert(Pace {
            tokens: BURST,
            at_ms: now_ms,
        });
        let since_s = now_ms.saturating_sub(pace.at_ms) as f64 / 1000.0;
        pace.tokens = (pace.tokens + since_s * PER_SECOND).min(BURST);
        pace.at_ms = now_ms;
        if pace.tokens < 1.0 {
            let retry_after_ms = (1000.0 * (1.0 - pace.tokens) / PER_SECOND).ceil() as u64;
            return Err(NotWeighed::TooOften { retry_after_ms });
        }
        pace.tokens -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
#[path = "watched_tests.rs"]
mod tests;
