//! The operator's command line: `cryptonode …`.
//!
//! Results go to standard output, as text or, with `--json`, as one JSON document; sentences about what went wrong go to
//! standard error, with `--json` as `{"error": {"code", "message"}}` on standard output too. The exit status says what
//! kind of thing went wrong ([`exit`]).

mod audit;
mod ceremony;
mod certificate;
mod custody;
mod doctor;
pub mod exit;
mod failure;
mod init;
mod key;
mod logging;
mod member;
mod output;
mod policy;
mod request;
mod restore;
mod run;
mod unseal;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::store::{self, Passphrase, PassphraseCommand, PassphraseError};
use failure::Failure;
use output::Output;

/// One node of a threshold re-encryption cluster.
#[derive(Debug, Parser)]
#[command(
    name = "cryptonode",
    version,
    about = "One node of a threshold re-encryption cluster",
    after_help = exit::HELP,
    propagate_version = true
)]
struct Cli {
    /// Print results as one JSON document.
    #[arg(long, global = true)]
    json: bool,
    /// What to log to standard error: error, warn, info, debug, trace, or directives such as `cryptonode=debug`.
    #[arg(long, global = true, env = "CRYPTONODE_LOG", value_name = "LEVEL")]
    log: Option<String>,
    /// Form of the log.
    #[arg(long, global = true, value_enum, default_value_t = logging::Format::Text)]
    log_format: logging::Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new node: its folder, its identity, its recovery phrase.
    Init(init::Init),
    /// Run the node until SIGTERM or Ctrl-C.
    Run(run::Run),
    /// Open a node that was started without its passphrase.
    Unseal(unseal::Unseal),
    /// Print the node's public card, for the other operators.
    Card(Dir),
    /// The other members.
    #[command(subcommand)]
    Member(member::MemberCommand),
    /// The approval policy: for new keys, and of keys that are there, which all members' operators change together.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// The configuration.
    #[command(subcommand)]
    Config(member::ConfigCommand),
    /// The certificate that the node presents, if an authority of its operator is to issue it.
    #[command(subcommand)]
    Certificate(certificate::CertificateCommand),
    /// Key generation with the other members.
    #[command(subcommand)]
    Ceremony(ceremony::CeremonyCommand),
    /// The keys of which this node has a share.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// Get a lost node's identity and shares back from its recovery phrase.
    Restore(restore::Restore),
    /// A recovery phrase among custodians.
    #[command(subcommand)]
    Custody(custody::CustodyCommand),
    /// What the running node is doing.
    Status(Dir),
    /// Look at everything: disk, addresses, shares, certificates, the other members; say what to do.
    Doctor(doctor::Doctor),
    /// Have the running node take a changed config.toml at once.
    Reload(Dir),
    /// The audit log, read from its files.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Ask a cluster from the shell: wrap, prepare, approve, send, open. Needs no node of its own.
    #[command(subcommand)]
    Request(request::RequestCommand),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Which node.
#[derive(Debug, Clone, Args)]
struct Dir {
    /// The node's folder.
    #[arg(long, value_name = "DIR", env = "CRYPTONODE_DIR")]
    dir: PathBuf,
}

/// Where the passphrase is.
#[derive(Debug, Args)]
struct PassphraseSource {
    /// File with the passphrase of the node's store, on one line. Without it: the systemd credential
    /// `passphrase`, or a prompt.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Command that prints the passphrase, for the shell: the tool of a key management service, of a token, of a secrets
    /// manager.
    #[arg(long, value_name = "COMMAND", conflicts_with = "passphrase_file")]
    passphrase_command: Option<String>,
}

impl PassphraseSource {
    /// The passphrase; `None` if there is no source and nobody to ask. Asked twice for at a terminal if it is `new`.
    fn find(&self, new: bool) -> Result<Option<Passphrase>, PassphraseError> {
        match &self.passphrase_command {
            Some(command) => store::first_of(&[&PassphraseCommand(command.clone())]),
            None => Passphrase::find(self.passphrase_file.as_deref(), new),
        }
    }

    fn obtain(&self, new: bool) -> Result<Passphrase, PassphraseError> {
        self.find(new)?.ok_or(PassphraseError::NoSource)
    }
}

/// Runs the command line `args`, the first of which is the program's name, and returns its exit status.
pub fn run<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help and version to standard output, and errors to standard error.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() {
                exit::USAGE
            } else {
                exit::DONE
            });
        }
    };
    let mut output = Output::new(cli.json);
    let outcome = logging::start(cli.log.as_deref(), cli.log_format)
        .and_then(|()| dispatch(cli.command, &mut output));
    match outcome {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

fn dispatch(command: Command, output: &mut Output) -> Result<(), Failure> {
    match command {
        Command::Init(command) => init::run(&command, output),
        Command::Run(command) => run::run(&command, output),
        Command::Unseal(command) => unseal::run(&command, output),
        Command::Card(Dir { dir }) => member::card(&dir, output),
        Command::Member(command) => member::member(&command, output),
        Command::Policy(command) => policy::run(command, output),
        Command::Config(command) => member::config(&command, output),
        Command::Certificate(command) => certificate::run(&command, output),
        Command::Ceremony(command) => ceremony::run(command, output),
        Command::Key(command) => key::run(command, output),
        Command::Restore(command) => restore::run(&command, output),
        Command::Custody(command) => custody::run(&command, output),
        Command::Status(Dir { dir }) => key::status(&dir, output),
        Command::Doctor(command) => doctor::run(&command, output),
        Command::Reload(Dir { dir }) => doctor::reload(&dir, output),
        Command::Audit(command) => audit::run(command, output),
        Command::Request(command) => request::run(command, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(
                shell,
                &mut <Cli as clap::CommandFactory>::command(),
                "cryptonode",
                &mut script,
            );
            output.raw(&script)
        }
    }
}
