//! The experiment: a cluster, a warm-up, the runs, and what each of them took.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::sync::Arc;

use cryptonode::client::Client;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use threshold_exchange::site::Home;

use super::Arguments;
use super::distribution::Distribution;
use super::environment::{Environment, load_average};
use super::load::{self, Load};
use super::outcome::Failure;
use super::process_time::Usage;
use super::running::Running;
use super::workload::{Sample, Workload, failures};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) environment: Environment,
    pub(super) runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) requests: usize,
    pub(super) failed: u32,
    /// Code → how often, and one sentence.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) failures: BTreeMap<String, (u32, String)>,
    pub(super) seconds: f64,
    pub(super) requests_per_second: f64,
    /// Of the requests that succeeded, from the start (in the open loop: from the moment at which it should have been).
    pub(super) latency_ms: Distribution,
    pub(super) phases_ms: Phases,
    /// A request's share of each process' time.
    pub(super) client: Processor,
    pub(super) nodes: Vec<NodeReport>,
    /// What the nodes used together for one request.
    pub(super) nodes_cpu_ms: f64,
    /// UDP payloads between the client and all nodes, for one request.
    pub(super) bytes_sent: f64,
    pub(super) bytes_received: f64,
    pub(super) datagrams_sent: f64,
    pub(super) datagrams_received: f64,
    /// The machine's load average of one minute, before and after.
    pub(super) load_average: (f64, f64),
}

/// Where a request's time went.
#[derive(Debug, Serialize)]
pub(super) struct Phases {
    /// Only in the open loop: between the moment at which a request should have started and that at which it did.
    pub(super) late: Distribution,
    pub(super) ephemeral_key: Distribution,
    pub(super) approvals: Distribution,
    pub(super) answers: Distribution,
    pub(super) opening: Distribution,
}

/// One process' use of the processors, in milliseconds for each request of the run.
#[derive(Debug, Serialize)]
pub(super) struct Processor {
    pub(super) cpu_ms: f64,
    /// Ready, and waiting for a processor.
    pub(super) waiting_ms: f64,
    /// How often the system put one of its threads on a processor.
    pub(super) slices: f64,
}

/// One node in a run.
#[derive(Debug, Serialize)]
pub(super) struct NodeReport {
    pub(super) name: String,
    /// Requests that its share was used for.
    pub(super) answered: usize,
    #[serde(flatten)]
    pub(super) processor: Processor,
}

/// Starts a cluster, measures, and stops it.
pub(super) async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    arguments.check()?;
    let home = Home::make(arguments.dir.as_deref(), arguments.keep)?;
    let starting = spinner(arguments);
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
    if home.finish(measured.is_ok()) && !arguments.json {
        anstream::eprintln!("The nodes' files are in {}.", folder.display());
    }
    measured
}

async fn measure(
    arguments: &Arguments,
    running: &mut Running,
    home: &Home,
) -> Result<Report, Failure> {
    let environment = Environment::look(home.layout().root());
    let client = running.client().await?;
    let total = arguments
        .requests
        .saturating_add(arguments.warm_up)
        .saturating_mul(arguments.repetitions);
    let issuers = std::mem::take(&mut running.issuers);
    let documents = arguments.documents.unwrap_or(total).min(total);
    let workload = Arc::new(Workload::new(client, issuers, documents)?);
    let mut records = arguments
        .records
        .as_deref()
        .map(Records::create)
        .transpose()?;
    let mut runs = Vec::new();
    let mut first = 0_u32;
    for number in 1..=arguments.repetitions {
        let progress = bar(arguments, arguments.warm_up, "warm-up");
        let queue = load::prepare(&workload, arguments, first, arguments.warm_up)?;
        load::run(&workload, arguments, queue, &progress).await;
        first = first.saturating_add(arguments.warm_up);
        let queue = load::prepare(&workload, arguments, first, arguments.requests)?;
        first = first.saturating_add(arguments.requests);

        let before = Account::now(running, workload.client());
        let load_before = load_average();
        let title = format!("run {number} of {}", arguments.repetitions);
        let progress = bar(arguments, arguments.requests, &title);
        let load = load::run(&workload, arguments, queue, &progress).await;
        if let Some(records) = &mut records {
            records.write(number, &load.samples)?;
        }
        let after = Account::now(running, workload.client());
        runs.push(Run::of(&load, &before, &after, load_before));
    }
    workload.client().close().await;
    Ok(Report { environment, runs })
}

/// What has been used so far.
struct Account {
    client: Usage,
    nodes: Vec<(String, Usage)>,
    /// Bytes and datagrams sent, and received.
    traffic: [u64; 4],
}

impl Account {
    fn now(running: &Running, client: &Client) -> Self {
        let mut sum = [0; 4];
        for (_, traffic) in client.traffic() {
            let numbers = [
                traffic.bytes_sent,
                traffic.bytes_received,
                traffic.datagrams_sent,
                traffic.datagrams_received,
            ];
            for (sum, number) in sum.iter_mut().zip(numbers) {
                *sum += number;
            }
        }
        Self {
            client: Usage::of_process(std::process::id()),
            nodes: running.usage(),
            traffic: sum,
        }
    }
}

impl Run {
    fn of(load: &Load, before: &Account, after: &Account, load_before: f64) -> Self {
        let samples = &load.samples;
        let good: Vec<&Sample> = samples
            .iter()
            .filter(|sample| sample.failure.is_none())
            .collect();
        let of = |value: fn(&Sample) -> f64| Distribution::of(good.iter().map(|s| value(s)));
        let each = 1.0 / (samples.len().max(1) as f64);
        let processor = |before: Usage, after: Usage| {
            let used = after.since(before);
            Processor {
                cpu_ms: used.running_ms() * each,
                waiting_ms: used.waiting_ms() * each,
                slices: used.slices() * each,
            }
        };
        let nodes: Vec<NodeReport> = (1_u16..)
            .zip(before.nodes.iter().zip(&after.nodes))
            .map(|(index, ((name, before), (_, after)))| NodeReport {
                name: name.clone(),
                answered: good.iter().filter(|s| s.answered.contains(&index)).count(),
                processor: processor(*before, *after),
            })
            .collect();
        let mut traffic = before.traffic.iter().zip(&after.traffic);
        let mut next = || {
            traffic.next().map_or(0.0, |(before, after)| {
                after.saturating_sub(*before) as f64 * each
            })
        };
        let (bytes_sent, bytes_received) = (next(), next());
        let (datagrams_sent, datagrams_received) = (next(), next());
        let failures = failures(samples);
        let seconds = load.took.as_secs_f64();
        Self {
            requests: samples.len(),
            failed: failures.values().map(|(count, _)| count).sum(),
            failures,
            seconds,
            requests_per_second: good.len() as f64 / seconds,
            latency_ms: of(|sample| sample.latency_ms),
            phases_ms: Phases {
                late: of(|sample| sample.late_ms),
                ephemeral_key: of(|sample| sample.ephemeral_key_ms),
                approvals: of(|sample| sample.approvals_ms),
                answers: of(|sample| sample.answers_ms),
                opening: of(|sample| sample.opening_ms),
            },
            client: processor(before.client, after.client),
            nodes_cpu_ms: nodes.iter().map(|node| node.processor.cpu_ms).sum(),
            nodes,
            bytes_sent,
            bytes_received,
            datagrams_sent,
            datagrams_received,
            load_average: (load_before, load_average()),
        }
    }
}

/// The file of raw records, one line of JSON a request.
struct Records {
    path: String,
    file: BufWriter<File>,
}

impl Records {
    fn create(path: &std::path::Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        match File::create(path) {
            Ok(file) => Ok(Self {
                path: shown,
                file: BufWriter::new(file),
            }),
            Err(reason) => Err(Failure::Records {
                path: shown,
                reason,
            }),
        }
    }

    fn write(&mut self, run: u32, samples: &[Sample]) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Line<'a> {
            run: u32,
            #[serde(flatten)]
            sample: &'a Sample,
        }
        let file = &mut self.file;
        let mut write = || -> std::io::Result<()> {
            for sample in samples {
                serde_json::to_writer(&mut *file, &Line { run, sample })?;
                file.write_all(b"\n")?;
            }
            file.flush()
        };
        write().map_err(|reason| Failure::Records {
            path: self.path.clone(),
            reason,
        })
    }
}

fn spinner(arguments: &Arguments) -> ProgressBar {
    if arguments.json {
        return ProgressBar::hidden();
    }
    let spinner = ProgressBar::new_spinner();
    spinner.enable_steady_tick(std::time::Duration::from_millis(120));
    spinner
}

/// A line on the terminal, if there is one; it is redrawn by a thread of its own, a few times a second.
fn bar(arguments: &Arguments, length: u32, title: &str) -> ProgressBar {
    if arguments.json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length.into()).with_message(title.to_owned());
    if let Ok(style) =
        ProgressStyle::with_template("{msg:14} {bar:32} {pos}/{len} {per_sec} {eta} left")
    {
        bar.set_style(style);
    }
    bar
}
