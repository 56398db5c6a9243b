//! Why a site cannot be built or go on.

use std::path::PathBuf;

/// What went wrong with a site, in a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The operating system refused something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Its answer.
        source: std::io::Error,
    },
    /// The folder holds something that is not ours.
    #[error("the folder {} is not empty; name a new one with --dir, or remove it first", .0.display())]
    FolderInUse(PathBuf),
    /// One of our own commands failed.
    #[error("`{command}` ended with {status}:\n{said}")]
    Command {
        /// The command line.
        command: String,
        /// Its exit status.
        status: String,
        /// The end of what it said.
        said: String,
    },
    /// One of our own commands printed something else than the JSON document it should.
    #[error("`{command}` printed something unexpected ({reason}); please report this")]
    Output {
        /// The command line.
        command: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A process did not come up.
    #[error("{name} did not start ({reason}); the end of its log {}:\n{said}", .log.display())]
    NotReady {
        /// Which process.
        name: String,
        /// What was seen of it.
        reason: String,
        /// The end of its log.
        said: String,
        /// Where the whole log is.
        log: PathBuf,
    },
    /// The platform refused a request of the site itself.
    #[error("cannot {what}: {reason} ({code})")]
    Platform {
        /// What was asked.
        what: String,
        /// The stable code of the refusal.
        code: String,
        /// The sentence of the refusal.
        reason: String,
    },
    /// Something is not as it should be.
    #[error("{0}")]
    Unexpected(String),
    /// The user interrupted us.
    #[error("interrupted; everything has been stopped")]
    Interrupted,
}

impl SiteError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &str {
        match self {
            Self::Io { .. } => "io",
            Self::FolderInUse(_) => "folder-in-use",
            Self::Command { .. } => "command",
            Self::Output { .. } => "command-output",
            Self::NotReady { .. } => "not-ready",
            Self::Platform { code, .. } => code,
            Self::Unexpected(_) => "unexpected",
            Self::Interrupted => "interrupted",
        }
    }

    /// For `map_err` behind a call of the operating system.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
