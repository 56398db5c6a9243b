//! `cryptonode request`: from the shell, with files, what [`crate::client`] does for platforms.
//!
//! ```text
//! writer        wrap      a key, under the cluster's Y                → wrapped key
//! reader        prepare   a client key and an ephemeral secret       → what is to be approved
//! organisations approve   (their ledgers do, in production)          → approvals
//! reader        send      to the nodes                               → the key, or its re-encryption
//! reader        open      offline, a re-encryption that was kept     → the key
//! ```

mod cluster;
mod files;
mod offline;
mod send;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Failure, Output, exit};

/// `cryptonode request`.
#[derive(Debug, Subcommand)]
pub(super) enum RequestCommand {
    /// Wrap a key under a cluster's key. Needs no network.
    #[command(after_help = "\
Example:
  cryptonode request wrap --cluster cluster.json --label letter-7 --secret data.key --out letter-7.wrapped")]
    Wrap(Wrap),
    /// Make what a read needs, and say what the organisations are to approve. Needs no network.
    #[command(after_help = "\
The ephemeral secret is for one read: whoever has it and the approvals reads.

Example:
  cryptonode request prepare --wrapped-key letter-7.wrapped --client-key client.pem --ephemeral-secret read.secret --out read.json")]
    Prepare(Prepare),
    /// Approve a read as an organisation, with its issuer's key. Its ledger does that in production. Needs no network.
    #[command(after_help = "\
Example:
  cryptonode request approve --read read.json --issuer hospital.pem --issuer-key hospital.key --out hospital.approval")]
    Approve(Approve),
    /// Send a read to the nodes, and open what they answer.
    #[command(after_help = "\
With --ephemeral-secret the key is opened, and goes to --out. With --ephemeral-key alone, the public half, the re-encrypted key goes \
there: verified shares, which tell nothing to whoever sends. Every node's part is told either way; exit status 10 if too few answered.

Examples:
  cryptonode request send --cluster cluster.json --wrapped-key letter-7.wrapped --client-key client.pem \\
    --ephemeral-secret read.secret --approval hospital.approval --out data.key
  cryptonode request send --public-key 3af1… --key-certificate key.cert --node n1=192.0.2.1:7700 --node n2=192.0.2.2:7700 …")]
    Send(send::Send),
    /// Open a re-encrypted key that `send` wrote. Needs no network.
    #[command(after_help = "\
Example:
  cryptonode request open --cluster cluster.json --wrapped-key letter-7.wrapped --ephemeral-secret read.secret \\
    --shares read.shares --out data.key")]
    Open(Open),
}

/// Which cluster.
#[derive(Debug, Args)]
pub(super) struct ClusterArguments {
    /// The cluster's description, as `cryptonode key export` writes it.
    #[arg(long, value_name = "FILE", required_unless_present = "key_certificate")]
    cluster: Option<PathBuf>,
    /// Instead: the key's certificate, which is verified under --public-key.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "cluster",
        requires = "public_key"
    )]
    key_certificate: Option<PathBuf>,
    /// Y in hexadecimal, from a source that is trusted.
    #[arg(long, value_name = "HEX", requires = "key_certificate")]
    public_key: Option<String>,
    /// Where a member is: its name in the certificate, and its address. It comes before the description's address.
    #[arg(long = "node", value_name = "NAME=HOST:PORT")]
    nodes: Vec<String>,
}

/// Arguments of `wrap`.
#[derive(Debug, Args)]
pub(super) struct Wrap {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// The writer's name for what the key opens; it is bound to the key and can be read by everybody.
    #[arg(long, default_value = "")]
    label: String,
    /// File with the key: 16 to 1,024 bytes, as they are.
    #[arg(long, value_name = "FILE")]
    secret: PathBuf,
    /// Where the wrapped key goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Arguments of `prepare`.
#[derive(Debug, Args)]
pub(super) struct Prepare {
    /// The wrapped key.
    #[arg(long, value_name = "FILE")]
    wrapped_key: PathBuf,
    /// The client's TLS key (PEM, PKCS #8: Ed25519 or P-256), to which the approvals will be bound; made if it is missing.
    #[arg(long, value_name = "FILE")]
    client_key: PathBuf,
    /// Where the ephemeral secret goes.
    #[arg(long, value_name = "FILE")]
    ephemeral_secret: PathBuf,
    /// Where its public half goes, for somebody else to send.
    #[arg(long, value_name = "FILE")]
    ephemeral_key: Option<PathBuf>,
    /// Where the description of the read goes, for the organisations; standard output if absent.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Arguments of `approve`.
#[derive(Debug, Args)]
pub(super) struct Approve {
    /// The description of the read.
    #[arg(long, value_name = "FILE")]
    read: PathBuf,
    /// The issuer's certificate, PEM: one of those in the policy.
    #[arg(long, value_name = "FILE")]
    issuer: PathBuf,
    /// The issuer's private key, PEM (PKCS #8).
    #[arg(long, value_name = "FILE")]
    issuer_key: PathBuf,
    /// The organisation's name for this approval, which the nodes' audit logs keep.
    #[arg(long, value_name = "TEXT", default_value = "by hand")]
    id: String,
    /// How long it is valid, from now on, in seconds; a policy allows 300 if it does not say otherwise.
    #[arg(long, value_name = "S", default_value_t = 240, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    lifetime_s: u64,
    /// Where the approval goes (DER).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Arguments of `open`.
#[derive(Debug, Args)]
pub(super) struct Open {
    #[command(flatten)]
    cluster: ClusterArguments,
    /// The wrapped key.
    #[arg(long, value_name = "FILE")]
    wrapped_key: PathBuf,
    /// The ephemeral secret that `prepare` made.
    #[arg(long, value_name = "FILE")]
    ephemeral_secret: PathBuf,
    /// The re-encrypted key that `send` wrote.
    #[arg(long, value_name = "FILE")]
    shares: PathBuf,
    /// Where the key goes (mode 0600).
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(command: RequestCommand, output: &mut Output) -> Result<(), Failure> {
    crate::process::forbid_core_dumps();
    match command {
        RequestCommand::Wrap(command) => offline::wrap(&command, output),
        RequestCommand::Prepare(command) => offline::prepare(&command, output),
        RequestCommand::Approve(command) => offline::approve(&command, output),
        RequestCommand::Send(command) => send::send(&command, output),
        RequestCommand::Open(command) => offline::open(&command, output),
    }
}
