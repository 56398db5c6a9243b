//! How a running peer is.

use std::path::Path;

use super::output::field;
use super::{Failure, Output, block_on};
use crate::folder::Folder;
use crate::peer::{
    ask::AskedPeer,
    run::read_token,
    settings::PeerSettings,
    setup::{self, MembersFile},
};
use crate::record::Identifier;

/// Asks the peer of a folder, and shows what it says.
pub(super) fn status(dir: &Path, url: Option<String>, output: &Output) -> Result<(), Failure> {
    let folder = Folder::open_peer(dir)?;
    let settings = PeerSettings::read(&folder)?;
    let url = url.unwrap_or_else(|| format!("http://{}", settings.api));
    let token = read_token(&folder)?;
    let status = block_on(async { Ok(AskedPeer::new(url, token)?.status().await?) })?;
    let mut lines = vec![
        field("organisation", &status.organisation),
        field("ledger", &status.ledger),
        field("block", status.height),
        field("transactions", status.transactions),
        field("state", status.state_root.as_deref().unwrap_or("none yet")),
        field("batch of the order", status.ordered),
        field(
            "epoch",
            format!(
                "{}{}",
                status.epoch,
                match (status.votes, status.votes_lost) {
                    (true, _) => "",
                    (false, false) => ", without a vote: it follows",
                    (false, true) => {
                        ", without a vote: it lost its votes, and waits until those are over"
                    }
                }
            ),
        ),
        field("organisations", join(&status.organisations)),
    ];
    lines.extend(status.changes.iter().map(|it| {
        let endorsed = join(&it.endorsed_by);
        field(
            "undecided",
            format!("{} {}, endorsed by {endorsed}", it.change, it.organisation),
        )
    }));
    lines.extend(status.fault.iter().map(|fault| field("fault", fault)));
    let accused = status.accused.iter();
    lines.extend(accused.map(|it| {
        field(
            "proof against",
            format!("{}: {}", it.organisation, it.fault),
        )
    }));
    output.result(&status, &lines)
}

/// Writes who is on the record, as the running peer says, and where they are, as its settings say.
pub(super) fn members(
    dir: &Path,
    out: &Path,
    url: Option<String>,
    output: &Output,
) -> Result<(), Failure> {
    let folder = Folder::open_peer(dir)?;
    let settings = PeerSettings::read(&folder)?;
    let url = url.unwrap_or_else(|| format!("http://{}", settings.api));
    let token = read_token(&folder)?;
    let on_record = block_on(async { Ok(AskedPeer::new(url, token)?.members().await?) })?;
    let ledger = hex::encode(setup::read_genesis(&folder.genesis())?.id());
    let file = MembersFile::of(ledger, on_record, &settings);
    file.write(out)?;
    let names: Vec<_> = file
        .members
        .iter()
        .map(|it| it.organisation.clone())
        .collect();
    let lines = [
        field("for a newcomer", out.display()),
        field("organisations", join(&names)),
    ];
    output.result(&file, &lines)
}

/// Names in one line.
pub(super) fn join(names: &[Identifier]) -> String {
    let names: Vec<_> = names.iter().map(Identifier::as_str).collect();
    names.join(", ")
}
