//! `cryptonode card`, `member`, `config`: the node's public card and the files that its operator sets up.

use std::fs;
use std::path::Path;

use clap::Subcommand;
use serde_json::json;

use super::output::field;
use super::{Dir, Failure, Output, exit};
use crate::config::{CONFIG_FILE, Card, Config, ConfigError};
use crate::node_files::{PublicIdentity, PublicIdentityError};
use crate::reload::{self, ReloadError};
use crate::store::{FolderError, write_private};

/// `cryptonode member`.
#[derive(Debug, Subcommand)]
pub(super) enum MemberCommand {
    /// Add members by their cards: files, or the line of JSON itself. The node's own card is passed over.
    #[command(after_help = "Example:\n  cryptonode member add --dir n1 n2.card n3.card")]
    Add {
        #[command(flatten)]
        dir: Dir,
        /// Files with cards, or cards.
        #[arg(required = true, value_name = "CARD")]
        cards: Vec<String>,
    },
    /// Remove members by their names: nodes that have no share any more. Keys that they share are not touched: a reshare takes a node out.
    #[command(after_help = "Example:\n  cryptonode member remove --dir n1 n5")]
    Remove {
        #[command(flatten)]
        dir: Dir,
        /// Their names.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// List the configured members.
    List(Dir),
}

/// `cryptonode config`.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check config.toml and the policy.
    Check(Dir),
}

impl From<ReloadError> for Failure {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Config(error) => error.into(),
            ReloadError::Policy(error) => error.into(),
            ReloadError::Tls(error) => Self::new(exit::CONFIGURATION, "tls", error.to_string()),
        }
    }
}

impl From<PublicIdentityError> for Failure {
    fn from(error: PublicIdentityError) -> Self {
        Self::new(exit::DAMAGED, "identity-file", error.to_string())
    }
}

/// Configuration and identity of the node in `dir`, or the sentence that there is none.
pub(super) fn open(dir: &Path) -> Result<(Config, PublicIdentity), Failure> {
    if !dir.join(CONFIG_FILE).exists() {
        return Err(FolderError::NoNode {
            path: dir.to_owned(),
        }
        .into());
    }
    Ok((Config::load(dir)?, PublicIdentity::read(dir)?))
}

pub(super) fn card(dir: &Path, output: &mut Output) -> Result<(), Failure> {
    let (config, identity) = open(dir)?;
    let card = Card::of(&identity.member(&config));
    output.result(&card, &[card.to_line()])
}

pub(super) fn member(command: &MemberCommand, output: &mut Output) -> Result<(), Failure> {
    match command {
        MemberCommand::Add { dir, cards } => add(&dir.dir, cards, output),
        MemberCommand::Remove { dir, names } => remove(&dir.dir, names, output),
        MemberCommand::List(Dir { dir }) => {
            let (config, _) = open(dir)?;
            let cards: Vec<Card> = config.members.iter().map(Card::of).collect();
            let lines: Vec<String> = cards
                .iter()
                .map(|card| field(&card.name, format!("{} at {}", card.identity, card.address)))
                .collect();
            output.result(&json!({ "members": cards }), &lines)
        }
    }
}

fn text_of(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| ConfigError::Io {
        what: "read",
        path: path.to_owned(),
        reason: error.to_string(),
    })
}

fn remove(dir: &Path, names: &[String], output: &mut Output) -> Result<(), Failure> {
    open(dir)?;
    let path = dir.join(CONFIG_FILE);
    let mut text = text_of(&path)?;
    for name in names {
        text = Config::without_member(dir, &text, name)?.ok_or_else(|| {
            let message = format!("no member is called {name:?}: `cryptonode member list` shows them; nothing was changed");
            Failure::new(exit::CONFIGURATION, "no-such-member", message)
        })?;
    }
    write_private(&path, text.as_bytes(), true)?;
    output.result(
        &json!({ "removed": names }),
        &[field("removed", listed(names))],
    )?;
    output.note("A running node takes the change by itself within a few seconds.");
    Ok(())
}

fn add(dir: &Path, cards: &[String], output: &mut Output) -> Result<(), Failure> {
    let (_, own) = open(dir)?;
    let path = dir.join(CONFIG_FILE);
    let mut text = text_of(&path)?;
    let (mut added, mut known) = (Vec::new(), Vec::new());
    for argument in cards {
        for card in read_cards(argument)? {
            if card.identity == hex::encode(own.identity) {
                continue;
            }
            match Config::with_member(dir, &text, &card)? {
                Some(longer) => {
                    text = longer;
                    added.push(card.name);
                }
                None => known.push(card.name),
            }
        }
    }
    if !added.is_empty() {
        write_private(&path, text.as_bytes(), true)?;
    }
    output.result(
        &json!({ "added": added, "known": known }),
        &[
            field("added", listed(&added)),
            field("known before", listed(&known)),
        ],
    )?;
    output.note("A running node takes the change by itself within a few seconds.");
    Ok(())
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// The cards in an argument: one as it is, or a file with one on each line.
pub(super) fn read_cards(argument: &str) -> Result<Vec<Card>, Failure> {
    if argument.trim_start().starts_with('{') {
        return Ok(vec![Card::parse(argument)?]);
    }
    let text = fs::read_to_string(argument).map_err(|error| {
        Failure::new(
            exit::CONFIGURATION,
            "card",
            format!("cannot read the card {argument}: {error}"),
        )
    })?;
    let cards: Vec<Card> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(Card::parse)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            Failure::new(exit::CONFIGURATION, "card", format!("{argument}: {error}"))
        })?;
    if cards.is_empty() {
        return Err(Failure::new(
            exit::CONFIGURATION,
            "card",
            format!("{argument} has no card in it"),
        ));
    }
    Ok(cards)
}

pub(super) fn config(command: &ConfigCommand, output: &mut Output) -> Result<(), Failure> {
    let ConfigCommand::Check(Dir { dir }) = command;
    let (_, own) = open(dir)?;
    let (config, policy) = reload::read(dir, &own.identity)?;
    let policy_hash = policy.map(|policy| hex::encode(policy.hash()));
    let members: Vec<&str> = config
        .members
        .iter()
        .map(|card| card.name.as_str())
        .collect();
    let value = json!({
        "ok": true, "name": config.name, "listen": config.listen, "advertise": config.advertise,
        "members": members, "policy_hash": policy_hash,
    });
    output.result(
        &value,
        &[
            field("configuration", "in order"),
            field(
                "node",
                format!(
                    "{}, listens on {}, reached at {}",
                    config.name, config.listen, config.advertise
                ),
            ),
            field(
                "members",
                if members.is_empty() {
                    "none yet".to_owned()
                } else {
                    members.join(", ")
                },
            ),
            field(
                "policy",
                policy_hash.unwrap_or_else(|| "none yet; set one before a ceremony".to_owned()),
            ),
        ],
    )
}
