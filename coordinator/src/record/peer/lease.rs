//! What keeps a peer that was set back from approving a read twice.
//!
//! An approval is issued once for a read. What was issued is in the store; a store that was set back to an earlier state, by a backup or by hand, has forgotten some
//! of it, and the blocks that come again from the others bring the reads back, but not the approvals.
//!
//! 1. With approvals the peer notes how many it has issued and until when it may be issuing more: in the store, and then in a file beside it, before they leave. The file is
//!    made durable when the time is new, about twice a minute, and merely written with the numbers between. A store that says less than its file was set back. A
//!    store with a note and no file came from somewhere else.
//! 2. A peer that was set back issues nothing for reads of the time before: the ones that it can have approved are those in blocks up to the noted time, and
//!    clocks differ by less than [`MARGIN_MS`], or peers do not talk. What it remembers it gives again.
//!
//! 3. A peer that starts with an empty store notes when. Either the ledger is new, or the peer lost all that it had, note and file too: if the blocks that it then gets have
//!    a read from before its start that it can have approved, it lost something, and 2 holds for the time before its start. On a ledger without such a read it works at once.
//!
//! A folder that was set back as a whole, file and store, tells nothing: take it back with `coordinator peer restore`, which writes the note.

use super::store::{Store, StoreError};
use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
};

/// How long approvals may be issued after one note.
const LEASE_MS: u64 = 60_000;
/// By how much the clocks of a record's peers differ at most.
pub(super) const MARGIN_MS: u64 = 60_000;

/// What this peer has issued, and what an earlier one of the same store may have.
#[derive(Debug)]
pub(super) struct Lease {
    file: PathBuf,
    noted: Noted,
    /// Reads up to this time may have an approval that the store does not know.
    set_back_ms: Option<u64>,
    /// The store came without its file: the time before now counts as the time before.
    came_alone: bool,
    /// When the peer first started with an empty store.
    empty_ms: Option<u64>,
}

/// What is noted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Noted {
    /// Until when approvals may be issued, milliseconds since the Unix epoch.
    until_ms: u64,
    /// How many have been.
    issued: u64,
}

impl Noted {
    /// As the store has it.
    pub(super) fn rows(self) -> [(&'static str, u64); 2] {
        [("approving", self.until_ms), ("issued", self.issued)]
    }
}

impl Lease {
    /// Reads both notes.
    pub(super) fn open(store: &Store) -> Result<Self, StoreError> {
        let file = store.path().with_extension("approving");
        let beside = read(&file);
        let inside = Noted {
            until_ms: store.note("approving")?.unwrap_or(0),
            issued: store.note("issued")?.unwrap_or(0),
        };
        let mut lease = Self {
            came_alone: beside.is_none() && inside.until_ms > 0,
            noted: inside,
            set_back_ms: store.note("set-back")?,
            empty_ms: store.note("empty")?,
            file,
        };
        let newer = |it: &Noted| it.until_ms > inside.until_ms || it.issued > inside.issued;
        if let Some(beside) = beside.filter(newer) {
            tracing::warn!(
                store = %store.path().display(),
                "the store is older than what was approved from it: it was set back; reads of the time before get no new approval"
            );
            lease.noted.issued = inside.issued.max(beside.issued);
            lease.set_back(store, beside.until_ms.max(inside.until_ms))?;
        }
        Ok(lease)
    }

    /// Notes when the peer starts with an empty store; at its next start with it nothing new can be forgotten. Durable when it returns, so before there is any block.
    pub(super) fn begin_empty(&mut self, store: &Store, now_ms: u64) -> Result<(), StoreError> {
        if self.empty_ms.is_none() {
            store.put_notes(&[("empty", now_ms)])?;
            self.empty_ms = Some(now_ms);
        }
        Ok(())
    }

    /// Until when reads may have an approval that the store does not know, if one in a block of this time may. `approvable_before` says whether there is a read before
    /// a time that this peer can have approved.
    pub(super) fn may_be_forgotten(
        &self,
        read_ms: u64,
        approvable_before: impl Fn(u64) -> bool,
    ) -> Option<u64> {
        let concerned = |at_ms: u64| {
            let until = at_ms.saturating_add(MARGIN_MS);
            (read_ms <= until).then_some(until)
        };
        let lost = |at_ms: &u64| concerned(*at_ms).is_some() && approvable_before(*at_ms);
        let set_back = self.set_back_ms.and_then(concerned);
        let empty = self.empty_ms.filter(lost).and_then(concerned);
        set_back.max(empty)
    }

    /// Asked before anything is decided: for a store that came without its file, the time before ends now.
    pub(super) fn settle(&mut self, store: &Store, now_ms: u64) -> Result<(), StoreError> {
        if !self.came_alone {
            return Ok(());
        }
        tracing::warn!(
            store = %store.path().display(),
            "the store came without the note of what was approved from it: reads of the time before get no new approval"
        );
        self.set_back(store, now_ms)?;
        self.write(self.noted, true)?;
        self.came_alone = false;
        Ok(())
    }

    /// What is to be noted with so many approvals that leave now.
    pub(super) fn next(&self, number: usize, now_ms: u64) -> Noted {
        let covered = now_ms.saturating_add(LEASE_MS / 2) <= self.noted.until_ms;
        Noted {
            until_ms: if covered {
                self.noted.until_ms
            } else {
                now_ms.saturating_add(LEASE_MS)
            },
            issued: self.noted.issued.saturating_add(number as u64),
        }
    }

    /// The store has the note: now the file. Approvals may leave when it returns.
    pub(super) fn noted(&mut self, noted: Noted) -> Result<(), StoreError> {
        self.write(noted, noted.until_ms != self.noted.until_ms)?;
        self.noted = noted;
        Ok(())
    }

    fn write(&self, noted: Noted, durably: bool) -> Result<(), StoreError> {
        write(&self.file, noted, durably).map_err(|error| StoreError::Database {
            path: self.file.clone(),
            reason: error.to_string(),
        })
    }

    fn set_back(&mut self, store: &Store, at_ms: u64) -> Result<(), StoreError> {
        let at_ms = self.set_back_ms.map_or(at_ms, |known| known.max(at_ms));
        self.noted.until_ms = self.noted.until_ms.max(at_ms);
        let [until, issued] = self.noted.rows();
        store.put_notes(&[("set-back", at_ms), until, issued])?;
        self.set_back_ms = Some(at_ms);
        Ok(())
    }
}

fn read(file: &Path) -> Option<Noted> {
    let text = std::fs::read_to_string(file).ok()?;
    let (until_ms, issued) = text.trim().split_once(' ')?;
    Some(Noted {
        until_ms: until_ms.parse().ok()?,
        issued: issued.parse().ok()?,
    })
}

fn write(file: &Path, noted: Noted, durably: bool) -> std::io::Result<()> {
    // Of one length, so that it can be written over in place and is never half of two.
    let text = format!("{:020} {:020}\n", noted.until_ms, noted.issued);
    if !durably && file.exists() {
        return File::options()
            .write(true)
            .open(file)?
            .write_all(text.as_bytes());
    }
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(file).map_err(|error| error.error)?;
    File::open(folder)?.sync_all()
}
