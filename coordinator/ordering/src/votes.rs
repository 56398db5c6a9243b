//! Whether a member knows all that it ever voted.
//!
//! A vote that is forgotten can be given twice, and whoever votes for two things in one view counts as faulty with all others. So a member that lost its folder
//! follows without a vote, until nothing that it may have voted for can come up again:
//!
//! ```text
//!   lost        start s         a batch with a time later than s + ahead + CLOCKS is final, in view w
//! ───✗────────────┼──────────────┼─────────────────────────────────────────────→
//!   votes in views ≤ w          it votes in views > w
//! ```
//!
//! Why not beyond w: honest members vote for a batch whose time is not ahead of their clocks, so those that notarised this one did so after s. Had the member been in
//! view w + 1 before, there would have been a certificate of view w by then: not of this batch, and one of another, or one that gives the view up, excludes that this
//! batch is final there.
//!
//! What says that nothing is forgotten: a file in the folder, made before the first vote. A key that never voted has no folder yet either; that is what the file beside
//! says that is made with the key, and removed before the first vote. With fewer than four members none may fail: they cannot go on without the vote of one
//! that lost its folder, so it votes at once.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// By how much a member's clock may be behind the others'.
pub(crate) const CLOCKS: Duration = Duration::from_secs(3);
/// In the folder: from which height on the votes are there, in decimal.
pub(crate) const KEPT: &str = "votes-kept-from";
/// What journals of votes begin with, see `conductor`.
const JOURNAL: &str = "votes";
/// Members of which one may fail.
const ENOUGH: usize = 4;

/// What a member knows of its votes.
#[derive(Debug)]
pub(crate) struct Votes {
    folder: PathBuf,
    kept_from: Option<u64>,
}

impl Votes {
    /// Looks into a member's folder; `never_voted` is the file that a key has until its first vote.
    pub(crate) fn open(folder: &Path, never_voted: &Path) -> io::Result<Self> {
        let mut votes = Self {
            folder: folder.to_owned(),
            kept_from: None,
        };
        match fs::read_to_string(folder.join(KEPT)) {
            Ok(height) => {
                let height = height.trim().parse();
                votes.kept_from =
                    Some(height.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Folders from before there was such a file have journals without it.
                if never_voted.exists() || has_journal(folder)? {
                    votes.keep_from(0)?;
                }
            }
            Err(error) => return Err(error),
        }
        if votes.kept_from.is_some() && never_voted.exists() {
            fs::remove_file(never_voted)?;
            sync(never_voted.parent().unwrap_or(Path::new(".")))?;
        }
        Ok(votes)
    }

    /// The height of the final batch after which it votes: 0 if nothing was ever forgotten, none if it does not know yet.
    pub(crate) fn kept_from(&self) -> Option<u64> {
        self.kept_from
    }

    /// Whether it may not vote among so many.
    pub(crate) fn are_lost(&self, members: usize) -> bool {
        self.kept_from.is_none() && members >= ENOUGH
    }

    /// From now on nothing is forgotten. Durable when it returns, so that it votes after that.
    pub(crate) fn keep_from(&mut self, height: u64) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let (new, name) = (self.folder.join("new-votes"), self.folder.join(KEPT));
        let mut file = File::create(&new)?;
        writeln!(file, "{height}")?;
        file.sync_all()?;
        fs::rename(&new, &name)?;
        sync(&self.folder)?;
        if let Some(above) = self.folder.parent() {
            sync(above)?;
        }
        self.kept_from = Some(height);
        Ok(())
    }
}

fn has_journal(folder: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_dir() && name.to_string_lossy().starts_with(JOURNAL) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_votes_once_without_a_folder_and_never_again() {
        let base = tempfile::tempdir().unwrap();
        let (folder, mark) = (base.path().join("order"), base.path().join("never-voted"));
        fs::write(&mark, "").unwrap();
        let votes = Votes::open(&folder, &mark).unwrap();
        assert_eq!((votes.kept_from(), votes.are_lost(4)), (Some(0), false));
        assert!(!mark.exists());
        assert_eq!(Votes::open(&folder, &mark).unwrap().kept_from(), Some(0));

        fs::remove_dir_all(&folder).unwrap();
        let mut lost = Votes::open(&folder, &mark).unwrap();
        assert_eq!(lost.kept_from(), None);
        // Three cannot do without one of them.
        assert!(lost.are_lost(4) && !lost.are_lost(3));
        // It stays so, whatever else is in the folder by now.
        fs::create_dir_all(folder.join("follows")).unwrap();
        assert!(Votes::open(&folder, &mark).unwrap().are_lost(4));
        lost.keep_from(17).unwrap();
        assert_eq!(Votes::open(&folder, &mark).unwrap().kept_from(), Some(17));
    }

    #[test]
    fn a_folder_from_before_is_as_it_was_and_a_damaged_one_is_an_error() {
        let base = tempfile::tempdir().unwrap();
        let (folder, mark) = (base.path().join("order"), base.path().join("never-voted"));
        fs::create_dir_all(folder.join("votes-3")).unwrap();
        assert_eq!(Votes::open(&folder, &mark).unwrap().kept_from(), Some(0));
        fs::write(folder.join(KEPT), "many").unwrap();
        assert!(Votes::open(&folder, &mark).is_err());
    }
}
