//! Whose signature counts at the end of an export: from the keys that an auditor pins, by one change of the organisations after the other.
//!
//! 1. At first it is the pinned keys.
//! 2. A block that changes whose keys sign heads is followed by a *handover*: its head, which has the new organisations in the state's root, signed by those
//!    before. Signed by a quorum of the keys that count, it makes those count that are on the record after it.
//! 3. One that has too few signatures breaks the chain, and so does a change without a handover. The pinned keys count again then, and nothing else does.
//!
//! So whoever pinned the founders' keys follows every join, departure and exchange of keys, and whoever pins later ones enters where a quorum of these first
//! signed. A head names the whole record before it (size, roots, the ledger's id in its origin), so a quorum that signed one vouches for all that led there: a
//! genesis that has the pinned keys' names and other operators is of another id, and none of its heads has their signatures.

use crate::record::{
    genesis::quorum,
    head::{Head, HeadError, SignedHead},
    state::State,
};
use certs::checkpoint::NoteKey;
use serde::Serialize;

/// A change of the keys that sign heads, as those before signed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Handover {
    /// The block.
    pub block: u64,
    /// Who of those before signed the head after it.
    pub signed_by: Vec<String>,
    /// The verifier keys that are on the record from then on.
    pub verifiers: Vec<String>,
}

/// Whose keys are on the record, and how many of them decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signers {
    keys: Vec<NoteKey>,
    quorum: usize,
}

impl Signers {
    pub(super) fn of(state: &State) -> Self {
        Self {
            keys: state.head_keys().collect(),
            quorum: state.quorum(),
        }
    }

    pub(super) fn verifiers(&self) -> Vec<String> {
        self.keys.iter().map(NoteKey::to_string).collect()
    }
}

/// Follows who counts.
#[derive(Debug)]
pub(super) struct Succession<'k> {
    pinned: &'k [NoteKey],
    /// Those on the record, if the pinned keys lead to them.
    followed: Option<Vec<NoteKey>>,
    handovers: Vec<Handover>,
    /// The first block with which the organisations changed and nobody who counts said so.
    broken: Option<u64>,
}

/// Who of those who count signed, and who did not.
pub(super) type Counted = (Vec<String>, Vec<String>);

impl<'k> Succession<'k> {
    pub(super) fn new(pinned: &'k [NoteKey]) -> Self {
        Self {
            pinned,
            followed: None,
            handovers: Vec::new(),
            broken: None,
        }
    }

    /// Takes the head after a block with an endorsement, and what was signed of it. `before` and `after` are those on the record.
    pub(super) fn hand_over(
        &mut self,
        block: u64,
        note: &str,
        head: &Head,
        before: &Signers,
        after: &Signers,
    ) -> Result<(), String> {
        let signed = SignedHead::parse(note).map_err(|error| error.to_string())?;
        if signed.claimed() != head {
            return Err("the handover is of another head than that of the block".to_owned());
        }
        let keys = self.followed.as_deref().unwrap_or(self.pinned);
        let signers = signed.signers(keys).map_err(|error| error.to_string())?;
        let enough = signers.len() >= quorum(keys.len()).max(before.quorum);
        if !enough {
            if before.keys != after.keys {
                self.lose(block);
            }
            return Ok(());
        }
        if before.keys != after.keys {
            self.handovers.push(Handover {
                block,
                signed_by: signers.iter().map(|key| key.name().to_owned()).collect(),
                verifiers: after.verifiers(),
            });
        }
        self.followed = Some(after.keys.clone());
        self.broken = None;
        Ok(())
    }

    /// The organisations changed, and nobody who counts said so.
    pub(super) fn lose(&mut self, block: u64) {
        self.followed = None;
        self.broken.get_or_insert(block);
    }

    /// Judges the last head: enough of those who count must have signed it.
    pub(super) fn conclude(
        self,
        note: &str,
        head: &Head,
        last: &Signers,
    ) -> Result<(Counted, Vec<Handover>), ConcludeError> {
        let signed = SignedHead::parse(note)?;
        if signed.claimed() != head {
            return Err(ConcludeError::OtherHead);
        }
        let keys = self.followed.as_deref().unwrap_or(self.pinned);
        // A record of one organisation's making must not do with one signature because it names no others.
        let needed = quorum(keys.len()).max(last.quorum);
        if let Err(error) = signed.verify(keys, needed) {
            return Err(match self.broken {
                Some(block) => ConcludeError::Broken { block, error },
                None => error.into(),
            });
        }
        let signers = signed.signers(keys)?;
        let (yes, no): (Vec<_>, Vec<_>) = keys.iter().partition(|key| signers.contains(key));
        let names =
            |keys: Vec<&NoteKey>| keys.into_iter().map(|key| key.name().to_owned()).collect();
        Ok(((names(yes), names(no)), self.handovers))
    }
}

/// Why the last head does not count.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConcludeError {
    /// It is of other transactions.
    #[error("the signed head is not that of these transactions")]
    OtherHead,
    /// Too few signed it, or falsely.
    #[error(transparent)]
    Signatures(#[from] HeadError),
    /// The same, and the pinned keys do not lead to those who would have to sign.
    #[error(
        "{error}. The organisations changed with block {block}, and no quorum of those whose keys are known by then signed that: give the keys of those who are on the record now, got from them, or an export from who has the signatures"
    )]
    Broken {
        /// The block.
        block: u64,
        /// What is wrong with the last head under the pinned keys.
        error: HeadError,
    },
}
