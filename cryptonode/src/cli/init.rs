//! `cryptonode init`.

use std::io::{BufRead, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use dkg::RecoveryPhrase;
use serde_json::json;

use super::output::field;
use super::{Failure, Output, PassphraseSource, exit};
use crate::config::{CONFIG_FILE, Card, Config};
use crate::node_files::PublicIdentity;
use crate::store::{Cost, Folder, NodeIdentity, STORE_FILE, Store, write_private};

/// Arguments of `init`.
#[derive(Debug, Args)]
#[command(after_help = "\
The 24 words of the recovery phrase open every share that this node ever holds: t phrases of a cluster open everything. \
Keep them offline, apart from the node. They are shown once.

Example:
  cryptonode init --dir n1 --name n1 --listen 0.0.0.0:7700 --advertise n1.example:7700 --passphrase-file pass")]
pub(super) struct Init {
    /// The node's folder; made if it is missing.
    #[arg(long, value_name = "DIR", env = "CRYPTONODE_DIR")]
    dir: PathBuf,
    /// What people call the node.
    #[arg(long)]
    name: String,
    /// UDP address to listen on.
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:7700")]
    listen: SocketAddr,
    /// host:port by which others reach the node; the listening address if absent.
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseSource,
    /// File that the recovery phrase is written to (mode 0600, must not exist), instead of showing it.
    #[arg(long, value_name = "FILE")]
    phrase_out: Option<PathBuf>,
    /// Memory of the passphrase's key derivation, in KiB. Less than the default is for tests only.
    #[arg(long, value_name = "KIB", hide = true)]
    argon2_memory_kib: Option<u32>,
}

pub(super) fn run(command: &Init, output: &mut Output) -> Result<(), Failure> {
    crate::process::forbid_core_dumps();
    let advertise = command
        .advertise
        .clone()
        .unwrap_or_else(|| command.listen.to_string());
    let text = Config::template(&command.name, command.listen, &advertise);
    // Checked before anything is made: a wrong name or address must not leave half a node behind.
    let config = Config::parse(&command.dir, &text)?;
    if output.is_json() && command.phrase_out.is_none() {
        let message = "give --phrase-out FILE: with --json the recovery phrase is not shown";
        return Err(Failure::new(exit::USAGE, "phrase-out", message));
    }
    let passphrase = command.passphrase.obtain(true)?;
    let cost = cost(command.argon2_memory_kib);
    let folder = Folder::create(&command.dir)?;
    let phrase = RecoveryPhrase::generate(&mut crate::randomness::system());
    let keys = phrase.node_keys();
    let identity = NodeIdentity {
        signing: keys.identity,
        recovery_public: *keys.recovery_public.as_bytes(),
    };
    let public = PublicIdentity::of(&identity);
    match &command.phrase_out {
        Some(path) => {
            let mut words = phrase.words();
            words.push('\n');
            write_private(path, words.as_bytes(), false)?;
        }
        None => show(&phrase)?,
    }
    let made = Store::create(folder.path(), &passphrase, cost, &[identity.to_change()])
        .map_err(Failure::from)
        .and_then(|()| public.write(folder.path()).map_err(Failure::from))
        .and_then(|()| {
            write_private(&folder.file(CONFIG_FILE), text.as_bytes(), false).map_err(Failure::from)
        });
    if let Err(failure) = made {
        // The words belong to a node that does not exist.
        if let Some(path) = &command.phrase_out {
            let _ = std::fs::remove_file(path);
        }
        let _ = std::fs::remove_file(folder.file(STORE_FILE));
        return Err(failure);
    }
    let card = Card::of(&public.member(&config));
    let dir = command.dir.display();
    let value = json!({
        "name": card.name, "identity": card.identity, "recovery_public": card.recovery_public, "address": card.address,
        "dir": command.dir, "phrase_out": command.phrase_out,
    });
    output.result(
        &value,
        &[
            field("node", format!("{} in {dir}", card.name)),
            field("identity", &card.identity),
            field(
                "next",
                format!("give the others this node's card: cryptonode card --dir {dir}"),
            ),
            field(
                "then",
                format!("cryptonode member add, policy set, and cryptonode run --dir {dir}"),
            ),
        ],
    )
}

/// The cost of the passphrase's key derivation, less for tests.
pub(super) fn cost(argon2_memory_kib: Option<u32>) -> Cost {
    match argon2_memory_kib {
        Some(memory_kib) => Cost {
            memory_kib,
            passes: 1,
            lanes: 1,
        },
        None => Cost::default(),
    }
}

/// Shows the words, and at a terminal asks for two of them, so that they were written down.
fn show(phrase: &RecoveryPhrase) -> Result<(), Failure> {
    let words = phrase.words();
    let mut out = anstream::stdout().lock();
    writeln!(
        out,
        "The recovery phrase of this node. Write it down, keep it offline; it is not shown again.\n"
    )?;
    let numbered: Vec<&str> = words.split(' ').collect();
    for (row, four) in numbered.chunks(4).enumerate() {
        for (column, word) in four.iter().enumerate() {
            write!(out, "{:>4}. {word:<10}", row * 4 + column + 1)?;
        }
        writeln!(out)?;
    }
    writeln!(out)?;
    if !std::io::stdin().is_terminal() {
        return Ok(());
    }
    for position in [6usize, 18] {
        write!(out, "Word {position}: ")?;
        out.flush()?;
        let mut typed = zeroize::Zeroizing::new(String::new());
        std::io::stdin().lock().read_line(&mut typed)?;
        if numbered.get(position - 1) != Some(&typed.trim().to_lowercase().as_str()) {
            let message =
                "that is not the word: nothing was made; start again and write all words down";
            return Err(Failure::new(exit::FAILED, "phrase-not-confirmed", message));
        }
    }
    Ok(())
}
