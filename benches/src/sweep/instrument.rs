//! The programs that measure, and how they are called.
//!
//! An instrument prints one JSON document and writes one line of JSON for each thing that it timed, whichever program it
//! is: see [`super::records`]. All but `peers` are this very executable, called as `sweep instrument NAME …`: what
//! measures, what starts the nodes and what the nodes are is one file with one hash. `peers` is called likewise, and becomes cargo's.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::CommandFactory;
use serde::Deserialize;

use super::experiment::Settings;
use super::failure::Failure;

/// The word by which this program becomes an instrument.
pub const INSTRUMENT: &str = "instrument";

/// A program that measures one point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Instrument {
    /// Re-encryption through a cluster under load.
    Latency,
    /// Whole reads through the platform, with the golden record.
    Read,
    /// Key generations, in one process or of real nodes.
    Ceremony,
    /// What the golden record makes final among organisations' peers, beside the bare order.
    Record,
    /// This project's operations beside others': a crate outside the workspace, built when it is first needed.
    Peers,
}

/// The options of `benches/peers`, which is not linked here.
const PEERS_OPTIONS: [&str; 4] = ["members", "threshold", "what", "samples"];

/// How cargo runs it, built first if need be.
const PEERS_RUN: [&str; 7] = [
    "run",
    "--quiet",
    "--release",
    "--locked",
    "--manifest-path",
    concat!(env!("CARGO_MANIFEST_DIR"), "/peers/Cargo.toml"),
    "--",
];

/// The options that the sweep itself gives.
const OURS: [&str; 3] = ["json", "records", "first-run"];

impl Instrument {
    /// Its name in files and on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Read => "read",
            Self::Ceremony => "ceremony",
            Self::Record => "record",
            Self::Peers => "peers",
        }
    }

    /// Its own command line, if it is of this crate.
    fn command(self) -> Option<clap::Command> {
        match self {
            Self::Latency => Some(crate::latency::Arguments::command()),
            Self::Read => Some(crate::read::Arguments::command()),
            Self::Ceremony => Some(crate::ceremony::Arguments::command()),
            Self::Record => Some(crate::record::Arguments::command()),
            Self::Peers => None,
        }
    }

    /// Whether it would take these settings.
    pub(super) fn check(self, settings: &Settings) -> Result<(), String> {
        if let Some(ours) = OURS.iter().find(|ours| settings.contains_key(**ours)) {
            return Err(format!("{ours} is given by the sweep itself"));
        }
        let Some(command) = self.command() else {
            let known =
                |name: &&String| name.starts_with('_') || PEERS_OPTIONS.contains(&name.as_str());
            return match settings.keys().find(|name| !known(name)) {
                Some(unknown) => Err(format!("peers has no option {unknown}")),
                None => Ok(()),
            };
        };
        command
            .try_get_matches_from(self.typed(settings, 1, 0))
            .map(drop)
            .map_err(|error| {
                let text = error.to_string();
                text.lines().next().unwrap_or("refused").to_owned()
            })
    }

    /// What a person types to measure the same.
    pub(super) fn typed(self, settings: &Settings, repetition: u32, seed: u64) -> Vec<String> {
        std::iter::once(self.name().to_owned())
            .chain(options(settings))
            .chain(self.chances(settings, repetition, seed))
            .collect()
    }

    /// From what a repetition draws its chances: from the experiment's seed, if its settings have none of their own, and each from another part
    /// of it. The runs of `latency` are numbered on from those of the repetition before; `ceremony` counts its own runs up from its seed. The
    /// other instruments, and nodes, draw from the system alone.
    fn chances(self, settings: &Settings, repetition: u32, seed: u64) -> Vec<String> {
        let number = |name: &str| -> Option<u32> { settings.get(name)?.parse().ok() };
        let before = |runs: u32| {
            let runs = number("repetitions").unwrap_or(runs);
            repetition.saturating_sub(1).saturating_mul(runs)
        };
        let own = settings.contains_key("seed");
        let real = settings.get("real").is_some_and(|real| real == "true");
        let mut words = Vec::new();
        match self {
            Self::Latency => {
                if !own {
                    words.push(format!("--seed={seed}"));
                }
                words.push(format!("--first-run={}", before(1).saturating_add(1)));
            }
            Self::Ceremony if !own && !real => {
                // Three is what it does if it is not told otherwise.
                let seed = seed.wrapping_add(before(3).into());
                words.push(format!("--seed={seed}"));
            }
            Self::Ceremony | Self::Read | Self::Record | Self::Peers => {}
        }
        words
    }

    /// The program and its words that measure a point into `records`, an absolute path.
    pub(super) fn call(
        self,
        settings: &Settings,
        (repetition, seed): (u32, u64),
        records: &Path,
    ) -> Result<(PathBuf, Vec<String>), Failure> {
        let program =
            std::env::current_exe().map_err(Failure::io("find this program's own file"))?;
        let mut words = vec![INSTRUMENT.to_owned(), self.name().to_owned()];
        words.extend(options(settings));
        words.extend(self.chances(settings, repetition, seed));
        words.push("--json".to_owned());
        words.push(format!("--records={}", records.display()));
        Ok((program, words))
    }
}

/// Becomes `benches/peers`, with these options: cargo builds it if need be, and turns into it. So it ends with the sweep that started it, as
/// every other instrument does.
#[must_use]
pub fn become_peers(options: &[OsString]) -> ExitCode {
    let error = Command::new("cargo").args(PEERS_RUN).args(options).exec();
    anstream::eprintln!("cannot run cargo: {error}; benches/peers is built by it");
    ExitCode::from(2)
}

/// What is typed: `true` is a bare flag, `false` and nothing are none, and parts joined by ` + ` are one option each.
fn options(settings: &Settings) -> impl Iterator<Item = String> {
    let settings = settings.iter().filter(|(name, _)| !name.starts_with('_'));
    settings.flat_map(|(name, value)| match value.as_str() {
        "true" => vec![format!("--{name}")],
        "false" | "" => Vec::new(),
        value => value
            .split(" + ")
            .map(|part| format!("--{name}={part}"))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(missing_docs)]
    use super::*;

    #[test]
    fn repetitions_have_chances_of_their_own_and_all_of_the_experiments_seed() {
        let chances = |instrument: Instrument, settings: &[(&str, &str)], repetition| {
            let settings = settings
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            instrument.chances(&settings, repetition, 7).join(" ")
        };
        let (latency, ceremony) = (Instrument::Latency, Instrument::Ceremony);
        let twice = ("repetitions", "2");
        assert_eq!(chances(latency, &[], 3), "--seed=7 --first-run=3");
        assert_eq!(chances(latency, &[twice], 3), "--seed=7 --first-run=5");
        assert_eq!(chances(latency, &[("seed", "1")], 3), "--first-run=3");
        assert_eq!(chances(ceremony, &[twice], 3), "--seed=11");
        assert_eq!(chances(ceremony, &[("real", "true")], 3), "");
        assert_eq!(chances(Instrument::Read, &[], 3), "");
    }

    #[test]
    fn settings_become_what_a_person_would_type() {
        let settings = [
            ("_rule", "t = f + 1"),
            ("ahead", "true"),
            ("approvals", "2"),
            ("fault", "crashed + late=20"),
            ("keep", "false"),
            ("network", ""),
        ];
        let settings = settings
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let typed: Vec<String> = options(&settings).collect();
        assert_eq!(
            typed,
            [
                "--ahead",
                "--approvals=2",
                "--fault=crashed",
                "--fault=late=20"
            ]
        );
    }
}
