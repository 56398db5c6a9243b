//! `coordinator up`: a platform for a first try, with one command.
//!
//! What `init` and `run` do, with choices made: three organisations in this process, two approvals, an administrator whose key the platform keeps,
//! and a passphrase in a file beside the folder. Good for a developer's machine; who runs a platform for others makes those choices himself.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use cryptonode::randomness;
use zeroize::Zeroizing;

use super::output::field;
use super::{Failure, Output, block_on};
use crate::client::profile::Profile;
use crate::daemon::{self, Ready, RunOptions};
use crate::folder::{self, Folder};
use crate::master_key::Passphrase;
use crate::record::Identifier;
use crate::setup::{self, InitOptions};

use super::operator::loopback;

/// Arguments of `up`.
#[derive(Debug, Args)]
#[command(after_help = "\
Makes DIR on the first start, with a managed administrator, and beside it:
  DIR.passphrase   the passphrase of the platform's master key
  DIR.key          the API key, for curl
Whoever has them and the folder has everything: for real use, take `init` and `run`.

Example:
  coordinator up --dir try")]
pub(super) struct Up {
    /// The platform's folder; made if there is none.
    #[arg(
        long,
        value_name = "DIR",
        env = "COORDINATOR_DIR",
        default_value = "coordinator-platform"
    )]
    dir: PathBuf,
    /// The tenant, when the folder is made.
    #[arg(long = "first-tenant", value_name = "TENANT", default_value = "main")]
    first_tenant: Identifier,
    /// Where the HTTP API listens; port 0 takes a free port.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7710")]
    listen: SocketAddr,
    /// Stop when standard input is closed.
    #[arg(long)]
    exit_with_stdin: bool,
}

pub(super) fn run(command: Up, output: &Output) -> Result<(), Failure> {
    daemon::harden();
    loopback(command.listen)?;
    let beside = |ending: &str| {
        let mut name = command.dir.clone().into_os_string();
        name.push(ending);
        PathBuf::from(name)
    };
    let (secret, api_key) = (beside(".passphrase"), beside(".key"));
    let is_new = Folder::open(&command.dir).is_err();
    if is_new && !secret.exists() {
        if let Some(parent) = secret.parent().filter(|it| !it.as_os_str().is_empty()) {
            folder::create_private_dir(parent)?;
        }
        let drawn = randomness::secret::<16>();
        let text = Zeroizing::new(hex::encode(drawn.as_slice()));
        folder::write_private_new(&secret, text.as_bytes())?;
    }
    let passphrase = || Passphrase::from_file(&secret);
    if is_new {
        make(&command, &passphrase()?)?;
    }
    let folder = Folder::open(&command.dir)?;
    if let Some(key) = Profile::read(&folder.client_profile())?.api_key {
        folder::write_private(&api_key, key.expose().as_bytes())?;
    }
    let prepared = daemon::prepare(&command.dir)?;
    let options = RunOptions {
        listen: Some(command.listen),
        exit_with_stdin: command.exit_with_stdin,
        bodies: None,
    };
    let tenant = Profile::read(&folder.client_profile())?.tenant;
    let tenant = tenant.map_or_else(|| "main".to_owned(), |tenant| tenant.to_string());
    let announce = |ready: &Ready| {
        let url = format!("{}/v1/tenants/{tenant}", ready.url);
        let key = format!("-H \"Authorization: Bearer $(cat {})\"", api_key.display());
        let lines = [
            field("ready", &ready.url),
            field("next", "in another terminal"),
            format!(
                "  curl {key} --json '{{\"dataset\":\"designs\",\"encryption\":\"platform\",\"storage\":\"off-chain\"}}' '{url}/datasets?author=admin'"
            ),
            format!(
                "  curl {key} -T FILE '{url}/datasets/designs/documents/bridge/content?author=admin'"
            ),
            format!(
                "  curl {key} -o copy '{url}/datasets/designs/documents/bridge/content?reader=admin'"
            ),
            field(
                "or",
                "the same user on the command line, which `--help` explains",
            ),
            format!(
                "  {} --profile {} ls designs",
                this_program(),
                folder.client_profile().display()
            ),
        ];
        if output.result(ready, &lines).is_err() {
            tracing::warn!("nobody reads standard output: the ready line was lost");
        }
    };
    let passphrase = passphrase()?;
    block_on(async { Ok(daemon::run(prepared, passphrase, options, announce).await?) })
}

/// How this command line is called: it may be a part of another program.
fn this_program() -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("coordinator"));
    match program.file_stem().is_some_and(|it| it == "coordinator") {
        true => program.display().to_string(),
        false => format!("{} coordinator", program.display()),
    }
}

fn make(command: &Up, passphrase: &Passphrase) -> Result<(), Failure> {
    let names = ["alder", "birch", "cedar", "admin"].map(str::parse::<Identifier>);
    let [Ok(alder), Ok(birch), Ok(cedar), Ok(admin)] = names else {
        let message = "the names of the organisations are none";
        return Err(Failure::new(super::exit::FAILED, "internal", message));
    };
    let options = InitOptions {
        dir: command.dir.clone(),
        organisations: vec![alder, birch, cedar],
        approvals: 2,
        tenant: command.first_tenant.clone(),
        administrator: admin,
        managed_administrator: true,
        listen: command.listen,
        exchange: None,
    };
    block_on(async { Ok(setup::init(options, passphrase).await?) })?;
    Ok(())
}
