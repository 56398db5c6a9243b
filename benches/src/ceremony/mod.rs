//! What a key generation costs one member, its leader, and the network.
//!
//! **In one process** (the default): the machines of `dkg`, one for each member and one for the leader, with every message encoded and
//! decoded as on the wire, and without a network or a disk. A member's cost is the processor time of its thread from the first message's
//! bytes to the last answer's bytes: decoding, all checks, its own deal, the state for the disk, encoding. The median over all members
//! but the leader's own is given. The leader's machine is accounted for by itself.
//!
//! With `--reshare` the key is made first and then handed on, and that alone is accounted for, also for each role: t of the old members
//! deal, new ones receive, and old ones that leave and do not deal only bear witness. Where members stay, some deal and receive.
//!
//! Two paths: *summed*, as members go when nobody cheats, and *whole*, with every deal relayed whole to everybody, as they go when the
//! sums are wrong. Beside them the key generation of `frost-core` with the same n and t, in the same group and on the same machine:
//! parts 1 to 3 of one participant, without encoding, transport, signatures, encryption or storage, none of which it does.
//!
//! **Real** (`--real`): a process for each member, with its disk, on this machine, over QUIC; what passes on the clock, of the key generation or,
//! with `--reshare`, of the handing on.

mod arguments;
mod frost;
mod in_process;
mod real;
mod records;
mod report;

use std::process::ExitCode;

pub use arguments::Arguments;

/// Why there are no numbers.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Arguments(String),
    #[error("the key generation failed: {0}")]
    Ceremony(String),
    #[error("the key generation failed: {0}")]
    Machines(#[from] ceremonies::Failed),
    #[error("frost-core's key generation failed: {0}")]
    Frost(String),
    #[error(transparent)]
    Site(#[from] threshold_exchange::site::SiteError),
    #[error("the organisation's key could not be made: {0}")]
    Issuer(String),
    #[error("cannot start the asynchronous runtime: {0}")]
    Runtime(std::io::Error),
    #[error("cannot write {path}: {reason}; name another file with --records")]
    Records {
        path: String,
        reason: std::io::Error,
    },
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    fn code(&self) -> &'static str {
        match self {
            Self::Arguments(_) => "arguments",
            Self::Ceremony(_) | Self::Machines(_) => "ceremony",
            Self::Frost(_) => "frost-core",
            Self::Site(_) => "site",
            Self::Issuer(_) => "issuer",
            Self::Runtime(_) => "runtime",
            Self::Records { .. } => "records",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Measures, and prints what came of it.
pub fn run(arguments: &Arguments) -> ExitCode {
    let measured = arguments.check().and_then(|()| {
        if arguments.real {
            let real = real::run(arguments)?;
            records::write_real(arguments, &real)?;
            report::print_real(arguments, &real);
        } else {
            let sizes = in_process::run(arguments)?;
            records::write(arguments, &sizes)?;
            report::print(arguments, &sizes);
        }
        Ok(())
    });
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::print_failure(arguments, &failure);
            ExitCode::from(2)
        }
    }
}
