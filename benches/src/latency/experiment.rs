//! The experiment: a cluster, a warm-up, the runs, and what each of them took.

use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use testkit::relay::Network;
use threshold_exchange::site::Home;

use super::Arguments;
use super::account::{Account, Run};
use super::connections::{self, Connections};
use super::environment::Environment;
use super::faults::Faults;
use super::flood::{Flood, Flooded};
use super::load::{self, seed_of_run};
use super::node_phases::NodePhases;
use super::outcome::Failure;
use super::probe;
use super::records::Records;
use super::running::Running;
use super::workload::Workload;

/// Everything that was measured.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) environment: Environment,
    /// The network that the relay made, in full; none: loopback.
    pub(super) network: Option<Network>,
    /// Which node misbehaves how.
    pub(super) faults: Faults,
    /// What connections take, with this network and these faults.
    pub(super) connections: Connections,
    pub(super) runs: Vec<Run>,
    /// What the client that floods did, if there was one.
    pub(super) flood: Option<Flooded>,
}

/// Starts a cluster, measures, and stops it.
pub(super) async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    arguments.check()?;
    let home = Home::make(arguments.dir.as_deref(), arguments.keep)?;
    let starting = spinner();
    let measured = match Running::start(arguments, home.layout(), &starting).await {
        Ok(mut running) => {
            starting.finish_and_clear();
            let measured = measure(arguments, &mut running, &home).await;
            let stopped = running.stop().await;
            measured.and_then(|report| stopped.map(|()| report))
        }
        Err(failure) => {
            starting.finish_and_clear();
            Err(failure)
        }
    };
    let folder = home.layout().root().to_owned();
    if home.finish(measured.is_ok()) {
        anstream::eprintln!("The nodes' files are in {}.", folder.display());
    }
    measured
}

async fn measure(
    arguments: &Arguments,
    running: &mut Running,
    home: &Home,
) -> Result<Report, Failure> {
    let environment = Environment::look(home.layout().root())?;
    let client = running.warm_client().await?;
    let total = arguments
        .requests
        .saturating_add(arguments.warm_up)
        .saturating_add(arguments.probes)
        .saturating_mul(arguments.repetitions);
    let issuers = std::mem::take(&mut running.issuers);
    let documents = arguments.documents.unwrap_or(total).min(total);
    let workload = Arc::new(Workload::new(client, issuers, documents, arguments)?);
    let mut records = arguments
        .records
        .as_deref()
        .map(Records::create)
        .transpose()?;
    let layout = home.layout();
    let flood = Flood::start(arguments, &workload, &layout.cluster(), layout.root()).await?;
    let mut runs = Vec::new();
    let mut first = 0_u32;
    for number in 1..=arguments.repetitions {
        let seed = seed_of_run(
            arguments.seed,
            arguments.first_run.saturating_add(number - 1),
        );
        let progress = bar(arguments.warm_up, "warm-up");
        let queue = load::prepare(&workload, arguments, first, arguments.warm_up)?;
        load::run(&workload, arguments, !seed, queue, &progress).await?;
        first = first.saturating_add(arguments.warm_up);
        let queue = load::prepare(&workload, arguments, first, arguments.requests)?;
        first = first.saturating_add(arguments.requests);

        running.relay_statistics()?;
        let before = Account::before(running, workload.client());
        let title = format!("run {number} of {}", arguments.repetitions);
        let progress = bar(arguments.requests, &title);
        let load = load::run(&workload, arguments, seed, queue, &progress).await?;
        let after = Account::after(running, workload.client());
        let relay = running.relay_statistics()?;
        if let Some(records) = &mut records {
            records.write(number, &load.samples)?;
        }
        let folders = running.honest_folders();
        let phases = || NodePhases::of(&folders);
        let probes = probe::measure(&workload, first, arguments.probes, phases).await;
        first = first.saturating_add(arguments.probes);
        runs.push(Run::of(&load, &before, &after, running, relay, probes));
    }
    let flood = match flood {
        Some(flood) => Some(flood.stop().await?),
        None => None,
    };
    workload.client().close().await;
    Ok(Report {
        environment,
        network: running.network.clone(),
        faults: running.faults.clone(),
        connections: connections::measure(arguments, running).await?,
        runs,
        flood,
    })
}

/// Progress goes to standard error, and only if that is a terminal: it is no part of what `--json` prints.
fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(std::time::Duration::from_millis(120));
    spinner
}

/// A line on the terminal, if there is one; it is redrawn by a thread of its own, a few times a second.
fn bar(length: u32, title: &str) -> ProgressBar {
    let bar = ProgressBar::new(length.into()).with_message(title.to_owned());
    if let Ok(style) =
        ProgressStyle::with_template("{msg:14} {bar:32} {pos}/{len} {per_sec} {eta} left")
    {
        bar.set_style(style);
    }
    bar
}
