//! Why an experiment gives no result.

use threshold_exchange::site::SiteError;

/// Why an experiment gives no result, in a sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The numbers make no cluster or no load.
    #[error("{0}")]
    Arguments(String),
    /// The cluster could not be started or stopped.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The organisations' approvals could not be made.
    #[error("cannot make an approval: {0}; please report this")]
    Issuer(#[from] certs::IssuerError),
    /// The client could not be made, or the nodes not be reached.
    #[error("cannot use the cluster: {0}; the nodes' logs say more, look at them with --keep")]
    Client(String),
    /// A file of results could not be written.
    #[error("cannot write {path}: {reason}; make room there, or name another file with --records")]
    Records {
        /// The file.
        path: String,
        /// The system's reason.
        reason: std::io::Error,
    },
    /// The network that was named is none.
    #[error("--network: {0}")]
    Network(#[from] testkit::relay::NetworkError),
    /// The relay failed.
    #[error(transparent)]
    Relay(#[from] testkit::relay::RelayError),
    /// A process of the experiment did not come up.
    #[error("the {role} did not start; its log {log} says more, look at it with --keep")]
    Role {
        /// What it was to be.
        role: String,
        /// Where it wrote.
        log: String,
    },
    /// A part of the load generator panicked: what it did not measure is missing.
    #[error(
        "{0} stopped in the middle, so the run has no result: please report this, with what stands above"
    )]
    Stopped(&'static str),
    /// Ctrl-C.
    #[error("interrupted; every node has been stopped")]
    Interrupted,
}

impl Failure {
    /// A stable name of the reason, for programs.
    pub(super) fn code(&self) -> &str {
        match self {
            Self::Arguments(_) => "arguments",
            Self::Site(error) => error.code(),
            Self::Issuer(error) => error.code(),
            Self::Client(_) => "client",
            Self::Records { .. } => "records",
            Self::Network(_) => "network",
            Self::Relay(_) => "relay",
            Self::Role { .. } => "not-ready",
            Self::Stopped(_) => "stopped",
            Self::Interrupted => "interrupted",
        }
    }
}
