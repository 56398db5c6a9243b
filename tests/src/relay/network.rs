//! Networks: who is where, and what lies between two parties.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::schedule::Conditions;

/// The party that is not a node.
pub const CLIENT: &str = "client";

/// The name of node `number`, from 1.
#[must_use]
pub fn node(number: u16) -> String {
    format!("node-{number}")
}

/// Presets, with their source.
const PRESETS: &str = include_str!("networks.toml");

/// A network between parties at places.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Names of the places. The client is at the first; node i at number (i − 1) modulo their count.
    pub places: Vec<String>,
    /// Round trips between places in milliseconds; the diagonal is within a place.
    pub round_trip_ms: Vec<Vec<f64>>,
    /// Mean of the jitter, in percent of the delay in one direction.
    #[serde(default)]
    pub jitter_percent: f64,
    /// Mean of the jitter of one direction, in milliseconds, beside that in percent.
    #[serde(default)]
    pub jitter_ms: f64,
    /// Datagrams lost, in percent, in each direction.
    #[serde(default)]
    pub loss_percent: f64,
    /// Datagrams overtaken by later ones, in percent.
    #[serde(default)]
    pub reorder_percent: f64,
    /// Bandwidth of each direction of each pair, in megabits a second; absent: unlimited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_mbit: Option<f64>,
    /// How much may wait for bandwidth, in KiB.
    #[serde(default = "queue_kib")]
    pub queue_kib: u32,
    /// Directions that differ from all that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub directions: Vec<Exception>,
}

/// One direction that differs. What is absent is as everywhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Who sends: `client`, `node-1`, ….
    pub from: String,
    /// Who receives.
    pub to: String,
    /// Delay of this direction in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<f64>,
    /// Mean of its jitter in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
    /// Its loss in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_percent: Option<f64>,
    /// Its reordering in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder_percent: Option<f64>,
    /// Its bandwidth in megabits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_mbit: Option<f64>,
}

fn queue_kib() -> u32 {
    256
}

/// What is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Not the file format.
    #[error("not a network: {0}; see the presets in tests/src/relay/networks.toml for an example")]
    Syntax(String),
    /// A preset that does not exist.
    #[error("there is no network {0:?}: give lan, region, europe, atlantic, world, or a file")]
    Unknown(String),
    /// A number that cannot be meant.
    #[error("the network's {field} is wrong: {reason}")]
    Field {
        /// Which.
        field: &'static str,
        /// Why.
        reason: &'static str,
    },
}

impl Network {
    /// The same round trip between all parties, in milliseconds.
    #[must_use]
    pub fn uniform(round_trip_ms: f64) -> Self {
        Self {
            places: vec!["one".to_owned()],
            round_trip_ms: vec![vec![round_trip_ms]],
            jitter_percent: 0.0,
            jitter_ms: 0.0,
            loss_percent: 0.0,
            reorder_percent: 0.0,
            bandwidth_mbit: None,
            queue_kib: queue_kib(),
            directions: Vec::new(),
        }
    }

    /// A preset: `lan`, `region`, `europe`, `atlantic`, `world`.
    ///
    /// # Errors
    /// [`NetworkError::Unknown`].
    pub fn preset(name: &str) -> Result<Self, NetworkError> {
        let mut presets: BTreeMap<String, Self> =
            toml::from_str(PRESETS).map_err(|error| NetworkError::Syntax(error.to_string()))?;
        let network = presets
            .remove(name)
            .ok_or_else(|| NetworkError::Unknown(name.to_owned()))?;
        network.check()?;
        Ok(network)
    }

    /// A network of one's own, in the form of one preset.
    ///
    /// # Errors
    /// [`NetworkError`].
    pub fn from_toml(text: &str) -> Result<Self, NetworkError> {
        let network: Self =
            toml::from_str(text).map_err(|error| NetworkError::Syntax(error.to_string()))?;
        network.check()?;
        Ok(network)
    }

    /// Refuses numbers that cannot be meant.
    ///
    /// # Errors
    /// [`NetworkError::Field`].
    pub fn check(&self) -> Result<(), NetworkError> {
        let refuse = |field, reason| Err(NetworkError::Field { field, reason });
        let count = self.places.len();
        if count == 0
            || self.round_trip_ms.len() != count
            || self.round_trip_ms.iter().any(|row| row.len() != count)
        {
            return refuse(
                "round_trip_ms",
                "it must have a row and a column for each place",
            );
        }
        let percents = [self.loss_percent, self.reorder_percent].into_iter();
        let exceptional = self
            .directions
            .iter()
            .flat_map(|exception| [exception.loss_percent, exception.reorder_percent])
            .flatten();
        if percents
            .chain(exceptional)
            .any(|percent| !(0.0..=100.0).contains(&percent))
        {
            return refuse("loss or reordering", "a percentage is 0 to 100");
        }
        let times = self.round_trip_ms.iter().flatten().copied();
        let exceptional = self
            .directions
            .iter()
            .flat_map(|exception| [exception.delay_ms, exception.jitter_ms])
            .flatten();
        let jitter = [self.jitter_ms, self.jitter_percent / 100.0];
        if times
            .chain(exceptional)
            .chain(jitter)
            .any(|ms| !(0.0..=60_000.0).contains(&ms))
        {
            return refuse("delay or jitter", "a time is 0 to 60000 ms");
        }
        let bandwidths = self
            .directions
            .iter()
            .map(|exception| exception.bandwidth_mbit);
        if bandwidths
            .chain([self.bandwidth_mbit])
            .flatten()
            .any(|mbit| !(mbit.is_finite() && mbit > 0.0))
        {
            return refuse("bandwidth_mbit", "a bandwidth is more than 0");
        }
        Ok(())
    }

    /// What datagrams from one party to another go through. An unknown name counts as a client.
    #[must_use]
    pub fn between(&self, from: &str, to: &str) -> Conditions {
        let round_trip = self
            .round_trip_ms
            .get(self.place_of(from))
            .and_then(|row| row.get(self.place_of(to)))
            .copied()
            .unwrap_or_default();
        let exception = self
            .directions
            .iter()
            .find(|exception| exception.from == from && exception.to == to);
        let delay_ms = exception
            .and_then(|exception| exception.delay_ms)
            .unwrap_or(round_trip / 2.0);
        let jitter_ms = exception
            .and_then(|exception| exception.jitter_ms)
            .unwrap_or(self.jitter_ms + delay_ms * self.jitter_percent / 100.0);
        let or =
            |own: fn(&Exception) -> Option<f64>, all: f64| exception.and_then(own).unwrap_or(all);
        Conditions {
            delay: milliseconds(delay_ms),
            jitter: milliseconds(jitter_ms),
            loss: or(|exception| exception.loss_percent, self.loss_percent) / 100.0,
            reorder: or(|exception| exception.reorder_percent, self.reorder_percent) / 100.0,
            bytes_per_second: exception
                .and_then(|exception| exception.bandwidth_mbit)
                .or(self.bandwidth_mbit)
                .map(|mbit| mbit * 1e6 / 8.0),
            queue_bytes: f64::from(self.queue_kib) * 1024.0,
        }
    }

    fn place_of(&self, party: &str) -> usize {
        party
            .strip_prefix("node-")
            .and_then(|number| number.parse::<usize>().ok())
            .and_then(|number| number.checked_sub(1))
            .map_or(0, |index| index % self.places.len().max(1))
    }
}

fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn the_presets_are_networks_whose_two_directions_are_alike() {
        for name in ["lan", "region", "europe", "atlantic", "world"] {
            let network = Network::preset(name).unwrap();
            for (row, line) in network.round_trip_ms.iter().enumerate() {
                for (column, ms) in line.iter().enumerate() {
                    assert!(
                        (ms - network.round_trip_ms[column][row]).abs() < 1e-9,
                        "{name}"
                    );
                }
            }
        }
        assert_eq!(
            Network::preset("moon"),
            Err(NetworkError::Unknown("moon".to_owned()))
        );
    }

    #[test]
    fn parties_are_at_the_places_in_turn() {
        let europe = Network::preset("europe").unwrap();
        let one_way = |from: &str, to: &str| europe.between(from, to).delay;
        assert_eq!(one_way(CLIENT, "node-2"), Duration::from_micros(6_500));
        assert_eq!(one_way("node-3", CLIENT), Duration::from_micros(14_500));
        // The fourth is in Frankfurt again.
        assert_eq!(one_way(CLIENT, "node-4"), Duration::from_micros(45));
        assert_eq!(one_way("node-2", "node-3"), Duration::from_micros(13_500));
    }

    #[test]
    fn a_direction_may_differ_and_nonsense_is_refused() {
        let text = "places = ['a']\nround_trip_ms = [[10]]\nloss_percent = 1\n\
            [[directions]]\nfrom = 'client'\nto = 'node-2'\ndelay_ms = 80\nloss_percent = 20\n";
        let network = Network::from_toml(text).unwrap();
        let there = network.between(CLIENT, "node-2");
        let back = network.between("node-2", CLIENT);
        assert_eq!(there.delay, Duration::from_millis(80));
        assert_eq!(back.delay, Duration::from_millis(5));
        assert!((there.loss - 0.2).abs() < 1e-9 && (back.loss - 0.01).abs() < 1e-9);
        for nonsense in [
            "places = []\nround_trip_ms = []",
            "places = ['a']\nround_trip_ms = [[1, 2]]",
            "places = ['a']\nround_trip_ms = [[1]]\nloss_percent = 101",
            "places = ['a']\nround_trip_ms = [[-1]]",
            "places = ['a']\nround_trip_ms = [[1]]\nbandwidth_mbit = 0",
            "places = ['a']\nround_trip_ms = [[1]]\nspeed = 1",
        ] {
            assert!(Network::from_toml(nonsense).is_err(), "{nonsense}");
        }
    }
}
