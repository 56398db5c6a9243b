//! The programs that measure, and how they are called.
//!
//! An instrument prints one JSON document and writes one line of JSON for each thing that it timed, whichever program it
//! is: see [`super::records`]. Those of this crate are this very executable, called as `sweep instrument NAME …`: what
//! measures, what starts the nodes and what the nodes are is one file with one hash.

use std::path::{Path, PathBuf};

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
}

/// The options that the sweep itself gives.
const OURS: [&str; 2] = ["json", "records"];

impl Instrument {
    /// Its name in files and on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
        }
    }

    /// Its own command line.
    fn command(self) -> clap::Command {
        match self {
            Self::Latency => crate::latency::Arguments::command(),
        }
    }

    /// Whether it would take these settings.
    pub(super) fn check(self, settings: &Settings) -> Result<(), String> {
        if let Some(ours) = OURS.iter().find(|ours| settings.contains_key(**ours)) {
            return Err(format!("{ours} is given by the sweep itself"));
        }
        let words = std::iter::once(self.name().to_owned()).chain(options(settings));
        match self.command().try_get_matches_from(words) {
            Ok(_) => Ok(()),
            Err(error) => Err(error
                .to_string()
                .lines()
                .next()
                .unwrap_or("refused")
                .to_owned()),
        }
    }

    /// The program and its words that measure a point into `records`.
    pub(super) fn call(
        self,
        settings: &Settings,
        records: &Path,
    ) -> Result<(PathBuf, Vec<String>), Failure> {
        let program =
            std::env::current_exe().map_err(Failure::io("find this program's own file"))?;
        let mut words = vec![INSTRUMENT.to_owned(), self.name().to_owned()];
        words.extend(options(settings));
        words.push("--json".to_owned());
        words.push(format!("--records={}", records.display()));
        Ok((program, words))
    }
}

fn options(settings: &Settings) -> impl Iterator<Item = String> {
    settings
        .iter()
        .filter_map(|(name, value)| match value.as_str() {
            "true" => Some(format!("--{name}")),
            "false" => None,
            value => Some(format!("--{name}={value}")),
        })
}
