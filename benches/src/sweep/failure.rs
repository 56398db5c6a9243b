//! Why a sweep could not do what it was asked.

/// Each has a stable code for programs and a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The experiment's file.
    #[error("{file}: {reason}")]
    Experiment {
        /// Its path or name.
        file: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// Neither a file nor a ready experiment.
    #[error(
        "{0} is neither a file nor a ready experiment; `sweep --list` shows those that are ready"
    )]
    Unknown(String),
    /// `--only`.
    #[error("--only {0}: {1}")]
    Only(String, String),
    /// The folder holds results of something else.
    #[error("{folder} holds another experiment ({reason}); name a new folder with --out")]
    OtherExperiment {
        /// The folder.
        folder: String,
        /// How it differs.
        reason: String,
    },
    /// The folder's results are another program's.
    #[error(
        "{folder} was begun with another build ({reason}); numbers of two builds do not belong into one figure: name a new \
         folder with --out, or say --mix-builds, and the report will tell"
    )]
    OtherBuild {
        /// The folder.
        folder: String,
        /// How it differs.
        reason: String,
    },
    /// Two sweeps on one folder.
    #[error("another sweep is at work in {0}; wait for it or name another folder")]
    Busy(String),
    /// Files.
    #[error("cannot {what}: {reason}")]
    Io {
        /// What was tried.
        what: String,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// A file that a sweep wrote, and that is not what a sweep writes.
    #[error(
        "{file} is damaged: {reason}; remove the folder it is in, and the sweep measures that point again"
    )]
    Damaged {
        /// The file.
        file: String,
        /// What is wrong.
        reason: String,
    },
    /// Nothing to report.
    #[error("{0} holds no finished measurement yet; `sweep run` makes them")]
    Nothing(String),
    /// Some points could not be measured.
    #[error(
        "{count} of {of} measurements failed, the first with: {first}; their logs are in {folder}; the same command tries them again"
    )]
    Points {
        /// How many failed.
        count: usize,
        /// How many there were to do.
        of: usize,
        /// The first one's reason.
        first: String,
        /// Where the logs are.
        folder: String,
    },
    /// Ctrl-C.
    #[error("interrupted; what is measured is kept, and the same command goes on from here")]
    Interrupted,
}

impl Failure {
    /// A stable name of the reason, for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Experiment { .. } => "experiment",
            Self::Unknown(_) => "unknown-experiment",
            Self::Only(..) => "only",
            Self::OtherExperiment { .. } => "other-experiment",
            Self::OtherBuild { .. } => "other-build",
            Self::Busy(_) => "busy",
            Self::Io { .. } => "io",
            Self::Damaged { .. } => "damaged",
            Self::Nothing(_) => "nothing",
            Self::Points { .. } => "points",
            Self::Interrupted => "interrupted",
        }
    }

    /// For `map_err`, with what was tried.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |reason| Self::Io { what, reason }
    }
}
