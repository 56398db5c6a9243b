//! The command line `coordinator`.
//!
//! Operators' commands work in a folder (`--dir`); users' commands speak to a running platform over HTTP, as the profile, the
//! environment or the options say. Every command prints text for people or, with `--json`, one JSON document; errors
//! are one sentence that says what to do next, and an exit status.

mod approvals;
mod audit;
mod audit_rows;
mod bodies;
mod connect;
mod datasets;
mod documents;
mod erase;
mod exit;
mod failure;
mod keys;
mod links;
mod logging;
mod operator;
mod output;
mod peer;
mod peer_arguments;
mod peer_status;
mod peer_tenants;
mod pki;
mod profiles;
mod reconcile;
mod requests;
mod rewrap;
mod up;
mod users;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use connect::Connect;
use failure::Failure;
use output::Output;

#[derive(Debug, Parser)]
#[command(
    name = "coordinator",
    version,
    about = "Protected exchange of documents between organisations",
    after_help = exit::HELP,
)]
struct Cli {
    /// Print results as one JSON document.
    #[arg(long, global = true)]
    json: bool,
    /// What to log to standard error: error, warn, info, debug, trace, or directives such as `coordinator=debug`.
    #[arg(long, global = true, env = "COORDINATOR_LOG", value_name = "LEVEL")]
    log: Option<String>,
    /// Form of the log.
    #[arg(long, global = true, value_enum, default_value_t = logging::Format::Text)]
    log_format: logging::Format,
    #[command(flatten)]
    connect: Connect,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new platform: its folder, the organisations' keys, the record, the first tenant.
    Init(operator::Init),
    /// Run the platform until SIGTERM or Ctrl-C.
    #[command(visible_alias = "serve")]
    Run(operator::Run),
    /// Make a platform of its own, if there is none, and run it: for a first try.
    Up(up::Up),
    /// An organisation's peer of the record as a process of its own.
    #[command(subcommand)]
    Peer(peer::PeerCommand),
    /// The clusters of crypto nodes that datasets may use.
    #[command(subcommand)]
    Cluster(operator::ClusterCommand),
    /// The store of bodies.
    #[command(subcommand)]
    Bodies(bodies::BodiesCommand),
    /// API keys: make, list, rotate, revoke; and the platform's master key.
    #[command(subcommand)]
    Key(keys::KeyCommand),
    /// Tenants.
    #[command(subcommand)]
    Tenant(operator::TenantCommand),
    /// The platform's settings.
    #[command(subcommand)]
    Config(operator::ConfigCommand),
    /// Named profiles of this command line: which platform, tenant, API key and user.
    #[command(subcommand)]
    Profile(profiles::ProfileCommand),
    /// A profile of this command line in a file of its own.
    #[command(subcommand)]
    Client(connect::ClientCommand),
    /// How the platform, its record and its clusters are.
    Status,
    /// The tenant's users and their keys.
    #[command(subcommand)]
    User(users::UserCommand),
    /// The tenant's own public-key infrastructure: authorities and revocation lists.
    #[command(subcommand)]
    Pki(pki::PkiCommand),
    /// Datasets.
    #[command(subcommand)]
    Dataset(datasets::DatasetCommand),
    /// Give a user a role in a dataset.
    Grant(datasets::Permission),
    /// Take a role in a dataset from a user.
    Revoke(datasets::Permission),
    /// Who may do what with a dataset.
    #[command(subcommand)]
    Permission(datasets::PermissionCommand),
    /// Requests for access to a dataset: ask, grant, decline.
    #[command(subcommand)]
    Request(requests::RequestCommand),
    /// Links between versions of documents, and their proofs.
    #[command(subcommand)]
    Link(links::LinkCommand),
    /// Erase a document, a version of it, or all that the user owns.
    Erase(erase::Erasure),
    /// Wrap keys anew: under the platform's present master key, or under a dataset's present cluster key.
    #[command(subcommand)]
    Rewrap(rewrap::RewrapCommand),
    /// Write a document, or a new version of it.
    Put(documents::Put),
    /// Read a document.
    Get(documents::Get),
    /// List datasets, documents, or the versions of a document.
    Ls(documents::Ls),
    /// Proofs of what happened.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Print the description of the HTTP API (OpenAPI 3.1).
    Api,
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// Runs the command line `args`, the first of which is the program's name, and returns its exit status.
pub fn run<I, T>(args: I) -> ExitCode
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version go to standard output, errors to standard error.
            let _ = e.print();
            if !e.use_stderr() {
                return ExitCode::from(exit::DONE);
            }
            let text = e.to_string();
            let first = text.lines().take_while(|line| !line.is_empty());
            let first: Vec<&str> = first.map(str::trim).collect();
            let json = args.iter().any(|it| it == "--json");
            Output::new(json).usage(first.join(" ").trim_start_matches("error: "));
            return ExitCode::from(exit::USAGE);
        }
    };
    // Whatever is written is its user's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let output = Output::new(cli.json);
    let (mut log, default) = (cli.log, "warn");
    match &cli.command {
        Command::Run(_) | Command::Up(_) => log = log.or_else(|| Some("info".to_owned())),
        // The consensus library tells of every message and every view: whoever wants that names it.
        Command::Peer(peer::PeerCommand::Run { .. }) => {
            let level = log.unwrap_or_else(|| "info".to_owned());
            let plain = level.chars().all(|c| c.is_ascii_alphabetic());
            let own = || format!("warn,coordinator={level},ordering={level}");
            log = Some(if plain { own() } else { level });
        }
        _ => {}
    }
    let outcome = logging::start(log.as_deref(), default, cli.log_format)
        .and_then(|()| dispatch(cli.command, &cli.connect, &output));
    match outcome {
        Ok(()) => ExitCode::from(exit::DONE),
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit)
        }
    }
}

fn dispatch(command: Command, connect: &Connect, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Init(it) => operator::init(it, output),
        Command::Run(it) => operator::run(&it, output),
        Command::Up(it) => up::run(it, output),
        Command::Peer(it) => peer::run(it, output),
        Command::Cluster(it) => operator::cluster(&it, output),
        Command::Bodies(it) => bodies::run(&it, output),
        Command::Key(it) => keys::run(&it, connect, output),
        Command::Tenant(it) => operator::tenant(&it, connect, output),
        Command::Config(it) => operator::config(&it, output),
        Command::Profile(it) => profiles::run(&it, connect, output),
        Command::Client(it) => connect::client(&it, connect, output),
        Command::Status => connect::status(connect, output),
        Command::User(it) => users::run(&it, connect, output),
        Command::Pki(it) => pki::run(&it, connect, output),
        Command::Dataset(it) => datasets::run(&it, connect, output),
        Command::Grant(it) => datasets::grant(&it, connect, output),
        Command::Revoke(it) => datasets::revoke(&it, connect, output),
        Command::Permission(it) => datasets::permission(&it, connect, output),
        Command::Request(it) => requests::run(&it, connect, output),
        Command::Link(it) => links::run(&it, connect, output),
        Command::Erase(it) => erase::run(&it, connect, output),
        Command::Rewrap(it) => rewrap::run(&it, connect, output),
        Command::Put(it) => documents::put(it, connect, output),
        Command::Get(it) => documents::get(&it, connect, output),
        Command::Ls(it) => documents::ls(&it, connect, output),
        Command::Audit(it) => audit::run(&it, connect, output),
        Command::Api => output.raw(crate::api::openapi::text().as_bytes()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "coordinator", &mut script);
            output.raw(&script)
        }
    }
}

/// Runs a command that waits for others.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let result = runtime.block_on(future);
    // A read of standard input cannot be taken back; nobody waits for it.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    /// Help is wrapped to the terminal's width: a longer command would be cut in two, and not run as it stands there.
    #[test]
    fn commands_in_examples_fit_into_one_line() {
        fn check(command: &clap::Command) {
            let help = command.get_after_help().map(ToString::to_string);
            for line in help.unwrap_or_default().lines() {
                let fits = !line.starts_with("  ") || line.chars().count() <= 80;
                assert!(fits, "{}: {line}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }
}
