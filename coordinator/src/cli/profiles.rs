//! Named profiles: kept, listed, shown, chosen, removed.

use clap::Subcommand;
use serde_json::json;

use super::output::{field, table};
use super::{Connect, Failure, Output, exit};
use crate::client::profile::Profile;
use crate::client::profiles::{Profiles, is_name};

/// Commands about named profiles.
#[derive(Debug, Subcommand)]
pub(super) enum ProfileCommand {
    /// Keep what the options and the environment say under a name, but for an operator's API key.
    #[command(after_help = "\
Example:
  coordinator profile add acme --url http://127.0.0.1:7710 --tenant acme \\
    --api-key-file acme.key --user alice --key alice.pem
  coordinator --profile acme ls")]
    Add {
        /// Its name: letters, digits, '-', '_' and '.'.
        #[arg(value_name = "NAME")]
        name: String,
        /// Use it when no profile is named.
        #[arg(long)]
        default: bool,
    },
    /// List them.
    Ls,
    /// Show what a profile says, without its keys.
    Show {
        /// The profile; the one that would be used if not given.
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Say which one is used when none is named.
    Use {
        /// The profile.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Remove one. The files of keys that it names stay.
    Remove {
        /// The profile.
        #[arg(value_name = "NAME")]
        name: String,
    },
}

pub(super) fn run(
    command: &ProfileCommand,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    if let ProfileCommand::Show { name } = command {
        let profile = match name {
            Some(name) => connect.named(name)?,
            None => connect.resolve()?,
        };
        return show(&profile, output);
    }
    let nowhere = || {
        let message = "there is no place for profiles: set HOME, or COORDINATOR_PROFILES to a file";
        Failure::new(exit::CONFIGURATION, "profile", message)
    };
    let path = Profiles::path().ok_or_else(nowhere)?;
    let mut all = Profiles::read(&path)?;
    match command {
        ProfileCommand::Add { name, default } => {
            if !is_name(name) {
                let message = format!(
                    "{name:?} is no name of a profile: it has letters, digits, '-', '_' and '.', and does not end in .toml"
                );
                return Err(Failure::new(exit::USAGE, "usage", message));
            }
            let profile = connect.to_keep()?;
            all.profiles.insert(name.clone(), profile);
            if *default || all.profiles.len() == 1 {
                all.default = Some(name.clone());
            }
            all.write(&path)?;
            let is_default = all.default.as_ref() == Some(name);
            let lines = [
                field("profile", name),
                field("file", path.display()),
                match is_default {
                    true => "it is used when none is named".to_owned(),
                    false => format!("use it with --profile {name}"),
                },
            ];
            let value = json!({ "profile": name, "file": path, "default": is_default });
            output.result(&value, &lines)
        }
        ProfileCommand::Ls => {
            let rows: Vec<Vec<String>> = all
                .profiles
                .iter()
                .map(|(name, profile)| {
                    let text = |it: Option<String>| it.unwrap_or_default();
                    let is_default = all.default.as_ref() == Some(name);
                    vec![
                        name.clone(),
                        text(profile.url.clone()),
                        text(profile.tenant.as_ref().map(ToString::to_string)),
                        text(profile.user.as_ref().map(ToString::to_string)),
                        if is_default { "default" } else { "" }.to_owned(),
                    ]
                })
                .collect();
            let names: Vec<&String> = all.profiles.keys().collect();
            let value = json!({ "file": path, "default": all.default, "profiles": names });
            output.result(
                &value,
                &table(&["profile", "url", "tenant", "user", ""], &rows),
            )
        }
        ProfileCommand::Use { name } => {
            all.find(Some(name), &path)?;
            all.default = Some(name.clone());
            all.write(&path)?;
            let line = format!("{name} is used when no profile is named");
            output.result(&json!({ "default": name }), &[line])
        }
        ProfileCommand::Remove { name } => {
            all.find(Some(name), &path)?;
            all.profiles.remove(name);
            all.default = all.default.filter(|it| it != name);
            all.write(&path)?;
            output.result(&json!({ "removed": name }), &[format!("{name} is removed")])
        }
        ProfileCommand::Show { .. } => Ok(()),
    }
}

/// What a profile says, without its keys.
pub(super) fn show(profile: &Profile, output: &Output) -> Result<(), Failure> {
    let known = |known: bool| if known { "known" } else { "not known" };
    let text = |value: Option<String>| value.unwrap_or_else(|| "not known".to_owned());
    let value = json!({
        "url": profile.url, "tenant": profile.tenant, "user": profile.user, "key": profile.key,
        "ledger": profile.ledger, "api_key": profile.has_api_key(), "operator_key": profile.operator_key.is_some(),
        "verifiers": profile.verifiers,
    });
    let key = match (&profile.key, &profile.user) {
        (Some(key), _) => key.display().to_string(),
        (None, Some(_)) => "kept by the platform, if the user is managed".to_owned(),
        (None, None) => "not known".to_owned(),
    };
    let lines = [
        field("url", text(profile.url.clone())),
        field(
            "tenant",
            text(profile.tenant.as_ref().map(ToString::to_string)),
        ),
        field("user", text(profile.user.as_ref().map(ToString::to_string))),
        field("key", key),
        field("ledger", text(profile.ledger.clone())),
        field(
            "verifier keys",
            text(
                profile
                    .verifiers
                    .as_ref()
                    .map(|file| file.display().to_string()),
            ),
        ),
        field("API key", known(profile.has_api_key())),
        field("operator's API key", known(profile.operator_key.is_some())),
    ];
    output.result(&value, &lines)
}
