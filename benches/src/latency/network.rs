//! The network between the parties, as the arguments have it.

use std::process::Command;

use testkit::relay::{Config, Network, RelayProcess, node};
use threshold_exchange::site::SiteError;

use super::Arguments;
use super::load::seed_of_run;
use super::outcome::Failure;
use super::roles;

/// The network, if there is to be one: otherwise datagrams go over loopback as they are.
pub(super) fn network(arguments: &Arguments) -> Result<Option<Network>, Failure> {
    let Arguments {
        round_trip,
        jitter,
        loss,
        reorder,
        bandwidth,
        ..
    } = *arguments;
    let mut network = match &arguments.network {
        Some(name) => named(name)?,
        None if [round_trip, jitter, loss, reorder, bandwidth]
            .iter()
            .all(Option::is_none) =>
        {
            return Ok(None);
        }
        None => Network::uniform(0.0),
    };
    if let Some(ms) = round_trip {
        for (place, row) in network.round_trip_ms.iter_mut().enumerate() {
            if let Some(within) = row.get_mut(place) {
                *within = ms;
            }
        }
    }
    network.jitter_ms = jitter.unwrap_or(network.jitter_ms);
    network.loss_percent = loss.unwrap_or(network.loss_percent);
    network.reorder_percent = reorder.unwrap_or(network.reorder_percent);
    network.bandwidth_mbit = bandwidth.or(network.bandwidth_mbit);
    network.check()?;
    Ok(Some(network))
}

fn named(name: &str) -> Result<Network, Failure> {
    let path = std::path::Path::new(name);
    if path.is_file() {
        let text = std::fs::read_to_string(path)
            .map_err(SiteError::io(format!("read {}", path.display())))?;
        return Ok(Network::from_toml(&text)?);
    }
    Ok(Network::preset(name)?)
}

/// Starts the relay, with a front for each node, and nothing between anybody yet: the key is made before the experiment.
pub(super) fn start(arguments: &Arguments) -> Result<RelayProcess, Failure> {
    let program = std::env::current_exe().map_err(SiteError::io("find this program's own file"))?;
    let config = Config {
        parties: (1..=arguments.members).map(node).collect(),
        network: Network::uniform(0.0),
        seed: seed_of_run(arguments.seed, arguments.first_run),
    };
    Ok(RelayProcess::start(
        Command::new(program).arg(roles::RELAY),
        &config,
    )?)
}
