//! `audit approvals`: what organisations approved, out of their peers' stores.

use std::path::Path;

use serde_json::json;

use super::operator::PassphraseSource;
use super::output::field;
use super::{Failure, Output, exit};
use crate::folder::{self, Folder};
use crate::master_key::SealedMasterKey;
use crate::organisations;
use crate::peer::{settings::PeerSettings, setup};
use crate::platform::now_ms;
use crate::record::Identifier;
use crate::record::peer::{WriteApprovalsError, write_approvals};

/// Ending of the files.
const ENDING: &str = "approvals";

pub(super) fn run(
    dir: &Path,
    out: &Path,
    passphrase: &PassphraseSource,
    output: &Output,
) -> Result<(), Failure> {
    let folder = Folder::open_peer(dir).or_else(|_| Folder::open(dir))?;
    if !folder.genesis().exists() {
        return Err(crate::peer::PeerProcessError::NotJoined.into());
    }
    let genesis = setup::read_genesis(&folder.genesis())?;
    let here = organisations_of(&folder)?;
    let stores: Vec<_> = here
        .into_iter()
        .map(|name| (folder.record().join(format!("{name}.sqlite")), name))
        .filter(|(store, _)| store.is_file())
        .collect();
    if stores.is_empty() {
        let message = format!(
            "{} has no store of an organisation's peer: the peers of this record are elsewhere; ask each organisation to run this in its peer's folder",
            folder.root().display()
        );
        return Err(Failure::new(
            exit::CONFIGURATION,
            "approvals-elsewhere",
            message,
        ));
    }
    let master = SealedMasterKey::open(&folder.master_key(), &passphrase.obtain(false)?)?;
    folder::create_private_dir(out)?;
    let (mut written, mut lines) = (Vec::new(), Vec::new());
    for (store, name) in stores {
        let head_key = organisations::signing_key(&folder, &master, &name, "head")?;
        let file = out.join(format!("{name}.{ENDING}"));
        let made = write_approvals(&store, &genesis, &name, &head_key, now_ms(), &file);
        let made = made.map_err(|e: WriteApprovalsError| {
            Failure::new(exit::FAILED, e.code(), e.to_string())
        })?;
        let told = format!("{}, to block {}", made.approvals, made.block);
        lines.push(field(&format!("approvals of {name}"), told));
        written.push(made);
    }
    lines.push(field("files", out.display()));
    output.result(&json!({ "dir": out, "organisations": written }), &lines)
}

/// Whose peers' stores may lie in a folder: a peer's own, or those of the organisations that founded a record on one machine.
fn organisations_of(folder: &Folder) -> Result<Vec<Identifier>, Failure> {
    if folder.peer_settings().is_file() {
        return Ok(vec![PeerSettings::read(folder)?.organisation]);
    }
    let genesis = setup::read_genesis(&folder.genesis())?;
    let organisations = genesis.organisations.into_iter();
    Ok(organisations.map(|it| it.name).collect())
}
