//! What is known of a key apart from shares: the newest certificate, why there is no share, what is on its way out, the history.

use reencrypt::{KeyCertificate, ResultName};

/// Most results that the history of a key names: the oldest are forgotten first.
pub(super) const MAX_HISTORY: usize = 64;
/// Most shares of earlier results that are kept while their overlaps last. A node takes part in no reshare that would make them more.
pub const MAX_PREVIOUS: usize = 3;

/// What is known of a key apart from shares. Nothing of it is secret; all of it is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyState {
    /// The newest certificate that this node has verified.
    pub newest: Option<Newest>,
    /// There if this node holds no share of the newest result that it knows of.
    pub absence: Option<Absence>,
    /// The times in which shares of earlier results are still there, the earliest successor first.
    pub overlaps: Vec<Overlap>,
    /// The results that this node knows of, in order of their names.
    pub history: Vec<PastResult>,
    /// The highest attempt that this node has confirmed in a reshare, for each base.
    pub confirmed: Vec<(ResultName, u32)>,
    /// The approval policy of the newest result, where it is not in a share's record: it governs the earlier one too.
    pub policy: Option<certs::Policy>,
}

/// A certificate verified under Y, and where its members are said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Newest {
    /// The certificate.
    pub certificate: KeyCertificate,
    /// `host:port` of each member, in index order; empty where it is not known. Hints.
    pub addresses: Vec<String>,
}

/// Why this node has no share of a key's newest result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AbsenceKind {
    /// It took part in the reshare and handed its place on.
    Retired,
    /// It was not there.
    Missed,
}

/// This node has no share of the newest result that it knows of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Absence {
    /// Why.
    pub kind: AbsenceKind,
    /// The newest result that it knows of.
    pub successor: ResultName,
}

/// The time in which the shares of results before `successor` are still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    /// The result that takes over.
    pub successor: ResultName,
    /// When the earlier share is erased, seconds since the Unix epoch; known once all new members have activated.
    pub ends: Option<u64>,
    /// When it is erased at the latest.
    pub latest: u64,
}

impl KeyState {
    /// The overlap that the newest result began.
    #[must_use]
    pub fn overlap(&self) -> Option<&Overlap> {
        self.overlaps.last()
    }

    /// The overlap that a result began.
    #[must_use]
    pub fn overlap_of(&self, successor: &ResultName) -> Option<&Overlap> {
        let mut overlaps = self.overlaps.iter();
        overlaps.find(|overlap| overlap.successor == *successor)
    }

    /// A result takes over: what is left of earlier ones is erased at `ends`, or at `latest` if that is not known yet.
    pub(super) fn begin_overlap(&mut self, overlap: Overlap) {
        self.overlaps
            .retain(|other| other.successor != overlap.successor);
        self.overlaps.push(overlap);
        self.overlaps.sort_by_key(|overlap| overlap.successor);
        let surplus = self.overlaps.len().saturating_sub(MAX_PREVIOUS + 1);
        self.overlaps.drain(..surplus);
    }

    /// The history names a result.
    pub(super) fn note(&mut self, result: PastResult) {
        let history = &mut self.history;
        match history.iter_mut().find(|past| past.result == result.result) {
            Some(past) => past.index = past.index.or(result.index),
            None => history.push(result),
        }
        history.sort_by_key(|past| past.result);
        let surplus = history.len().saturating_sub(MAX_HISTORY);
        history.drain(..surplus);
    }
}

impl Overlap {
    /// When the earlier share is erased, as far as is known now.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.ends.map_or(self.latest, |ends| ends.min(self.latest))
    }
}

/// A result of a key, as its history names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastResult {
    /// Its name.
    pub result: ResultName,
    /// t.
    pub threshold: u16,
    /// The members' names in index order.
    pub members: Vec<String>,
    /// This node's index, if it is a member.
    pub index: Option<u16>,
    /// When this node activated it or learned of it, seconds since the Unix epoch.
    pub since: u64,
    /// When this node erased its share of it.
    pub erased: Option<u64>,
}
