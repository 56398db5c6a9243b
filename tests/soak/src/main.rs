//! A whole site of real processes under load, faults one after the other and several at a time, and the checks that nothing
//! that was promised is broken: nothing acknowledged is lost, nobody unapproved is let in, and all is well again without
//! an operator, but for what the documentation says an operator has to do.
//!
//! ```text
//! soak --seconds 600              what `just soak` runs; as root, on machines of its own
//! soak --seconds 60 --plain       no namespaces, no mounts, no clocks: processes alone are killed, stopped and damaged
//! soak --seed 7 --json            the same faults in the same order as every run of seed 7
//! soak --only kill-peer,reshare   episodes that begin with these kinds of faults, in the seed's order
//! ```
//!
//! Five crypto nodes, four organisations' peers on the engine `simplex`, and the platform: each a process of its own, with
//! addresses of its own.
//!
//! | module | what |
//! |---|---|
//! | `plan` | which faults, when: follows from the seed alone |
//! | `lab`, `tunnel` | machines of their own: cables, disks, clocks; the way to the peers' APIs |
//! | `workload`, `intruder`, `promises` | the users, and what they were promised |
//! | `field`, `faults`, `organisations` | the site, the service managers, the operators; how faults begin and end |
//! | `verify`, `history`, `report` | the checks, what happened, what is said |
//!
//! The program is also `cryptonode` and `coordinator`, when it is re-executed as its own child.

mod faults;
mod field;
mod history;
mod intruder;
mod lab;
mod organisations;
mod plan;
mod promises;
mod report;
mod tunnel;
mod verify;
mod workload;

use std::alloc::System;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use clap::builder::PossibleValuesParser;
use serde_json::json;
use threshold_exchange::site::{
    Exchange, Home, Program, RecordEngine, Site, SitePlan, interruption,
};
use zeroizing_alloc::ZeroAlloc;

use faults::PLATFORM_DISK_MIB;
use field::Field;
use history::History;
use lab::{Lab, PLATFORM};
use plan::{APPROVALS, KINDS, NODES, ORGANISATIONS, Pace, Schedule, THRESHOLD};
use promises::Promises;
use report::Report;
use verify::Found;
use workload::{Load, Workload, World};

/// As in the programs that it is the child of.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

/// Nodes that may be made in the place of lost ones, and peers.
const SPARE_NODES: usize = 3;
/// See [`SPARE_NODES`].
const SPARE_PEERS: usize = 3;
/// Batches in an epoch of the order, after which a new peer votes: some twenty seconds when nobody submits anything.
const EPOCH_BATCHES: u32 = 16;
/// Seconds of a run from which on it has time for every kind of fault, and has not ended before each has come.
const TIME_FOR_ALL: u64 = 600;
/// Bytes that no document may take of the platform's small disk.
const RESERVE: u64 = 16 << 20;

/// A site of five nodes, four organisations' peers and the platform, under load and faults.
#[derive(Parser)]
#[command(name = "soak", version)]
struct Arguments {
    /// Seconds under load, and from 600 on until every kind of fault has come once; the checks at the end come on top.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Play so many episodes of faults at least, however long that takes.
    #[arg(long, default_value_t = 0)]
    episodes: usize,
    /// Begin episodes with these kinds of faults only.
    #[arg(long, value_name = "KIND", value_delimiter = ',', value_parser = PossibleValuesParser::new(KINDS))]
    only: Vec<String>,
    /// What faults and users follow from; the time of day if absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Ask nothing of the system: only processes are made to fail.
    #[arg(long)]
    plain: bool,
    /// The folder for everything, new or empty [default: a temporary one, which is kept if something was found]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave the folder in place.
    #[arg(long)]
    keep: bool,
    /// Write the history there, a line of JSON for each operation and fault [default: history.jsonl in the folder]
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
    /// How much the processes write to their logs.
    #[arg(long, default_value = "info")]
    log: String,
    /// Print one JSON document at the end instead of progress and table.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let role = std::env::args().nth(1);
    if matches!(role.as_deref(), Some("cryptonode" | "coordinator")) {
        return threshold_exchange::cli::run(std::env::args_os());
    }
    let arguments = Arguments::parse();
    match prepare(&arguments) {
        Ok((home, lab)) => soak(&arguments, home, lab),
        Err(error) => {
            anstream::eprintln!("soak: {error}");
            ExitCode::from(2)
        }
    }
}

/// Lays the machines out, and takes this thread to the platform's before there are others.
fn prepare(arguments: &Arguments) -> Result<(Home, Lab), String> {
    let home = Home::make(arguments.dir.as_deref(), arguments.keep);
    let home = home.map_err(|error| error.to_string())?;
    let mut peers = site_plan().organisation_names();
    peers.extend((1..=SPARE_PEERS).map(organisations::successor));
    let names: Vec<String> = (1..=NODES + SPARE_NODES)
        .map(|number| format!("node-{number}"))
        .chain([PLATFORM.to_owned()])
        .chain(peers.clone())
        .collect();
    let mut lab = Lab::set_up(home.layout().root(), &names, arguments.plain);
    lab.enter(&peers)?;
    Ok((home, lab))
}

fn soak(arguments: &Arguments, home: Home, lab: Lab) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ran = runtime.map_err(|error| error.to_string()).and_then(|it| {
        it.block_on(async {
            tokio::select! {
                ran = run(arguments, &home, lab) => ran,
                () = interruption() => Err("interrupted".to_owned()),
            }
        })
    });
    let root = home.layout().root().to_owned();
    let (code, fine) = match ran {
        Ok(report) => {
            if arguments.json {
                anstream::println!("{}", json!(report));
            } else {
                report
                    .lines()
                    .iter()
                    .for_each(|line| anstream::println!("{line}"));
            }
            let code = if report.ok {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            };
            (code, report.ok)
        }
        Err(error) => {
            anstream::eprintln!("soak: {error}");
            (ExitCode::from(2), false)
        }
    };
    if home.finish(fine) {
        anstream::eprintln!("soak: history, logs and folders are in {}", root.display());
    }
    code
}

async fn run(arguments: &Arguments, home: &Home, lab: Lab) -> Result<Report, String> {
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let say = |text: String| {
        if !arguments.json {
            anstream::println!("{text}");
        }
    };
    say(format!("seed {seed}, {} s", arguments.seconds));
    for it in lab.lacks() {
        say(format!("cannot be made to fail here: {it}"));
    }
    let root = home.layout().root();
    let file = arguments.history.clone();
    let file = file.unwrap_or_else(|| root.join("history.jsonl"));
    let history = History::begin(&file).map_err(|error| error.to_string())?;
    let mut field = build(arguments, home, lab, Arc::new(history)).await?;
    say(format!(
        "the site is up after {:.0?}",
        field.history().elapsed()
    ));

    let load = Load {
        writers: 2,
        readers: 3,
        guests: 2,
        pause_ms: 400,
    };
    let cluster = field.first_cluster.clone();
    let workload = Workload::start(&field.world, seed, load, &cluster).await?;
    // All kinds, so that the report says also what never happened.
    let mut faults: BTreeMap<&'static str, u64> = KINDS.iter().map(|kind| (*kind, 0)).collect();
    let mut left_out = BTreeMap::new();
    let mut episodes = 0;
    let (begun, lasts) = (
        tokio::time::Instant::now(),
        Duration::from_secs(arguments.seconds),
    );
    let pace = Pace::for_run(arguments.seconds);
    let mut schedule = Schedule::new(seed, pace, arguments.only.clone());
    // Every kind of fault is carried out at least once, however slow the machine is.
    let all = arguments.seconds >= TIME_FOR_ALL;
    while begun.elapsed() < lasts
        || episodes < arguments.episodes
        || (all && schedule.left_of_the_first_round() > 0)
    {
        let Some(episode) = schedule.next() else {
            break;
        };
        tokio::time::sleep(Duration::from_millis(episode.calm_ms)).await;
        let names: Vec<_> = episode.faults.iter().map(|it| it.name()).collect();
        say(format!(
            "{:>4} s  {} operations  {}",
            begun.elapsed().as_secs(),
            field.history().count(),
            names.join(" + ")
        ));
        match field.play(&episode).await {
            Ok(played) => {
                episodes += 1;
                for fault in played.faults {
                    *faults.entry(fault).or_default() += 1;
                }
                for fault in played.left_out {
                    *left_out.entry(fault).or_default() += 1;
                }
            }
            Err(error) => {
                let seen = format!("after {names:?}: {error}");
                field
                    .history()
                    .violated("all is well again without an operator", seen);
                break;
            }
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    workload.stop().await?;
    let asked_for = |kind: &&str| {
        let only = &arguments.only;
        only.is_empty() || only.iter().any(|it| it == *kind)
    };
    let never: Vec<&'static str> = faults
        .iter()
        .filter(|(kind, count)| **count == 0 && !left_out.contains_key(*kind))
        .map(|(kind, _)| *kind)
        .filter(asked_for)
        .collect();
    if all && !never.is_empty() {
        let seen = format!("{} never came", never.join(", "));
        field
            .history()
            .violated("every kind of fault is carried out", seen);
    }
    say(format!(
        "{seconds:>4.0} s  {} operations; now the checks",
        field.history().count()
    ));
    let mut found = Found::default();
    verify::everything_is_there(&field.world, &mut found).await;
    if let Err(error) = field.logs_agree(&mut found).await {
        field
            .history()
            .violated("the logs verify and agree with each other", error);
    }
    if let Err(error) = field.close().await {
        field
            .history()
            .violated("everything stops when it is told to", error);
    }
    let history = field.history().clone();
    verify::served_throughout(&history);
    history.note("found", verify::as_json(&found));
    history.flush();
    let mut recoveries = std::mem::take(&mut field.recoveries);
    recoveries.sort_unstable();
    let middle = recoveries.get(recoveries.len() / 2).copied();
    let violations = history.violations();
    Ok(Report {
        ok: violations.is_empty(),
        seed,
        seconds,
        episodes,
        faults,
        left_out,
        never,
        lacks: field.lab.lacks().to_vec(),
        operations: history.sums(),
        recovery_ms: (
            middle.unwrap_or_default(),
            recoveries.last().copied().unwrap_or_default(),
        ),
        restarts: std::mem::take(&mut field.restarts),
        operator: std::mem::take(&mut field.operator),
        found,
        violations,
    })
}

fn site_plan() -> SitePlan {
    let number = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    SitePlan {
        nodes: number(NODES),
        threshold: number(THRESHOLD),
        organisations: number(ORGANISATIONS),
        approvals: number(APPROVALS),
    }
}

/// Brings the site up, each process on its machine.
async fn build(
    arguments: &Arguments,
    home: &Home,
    lab: Lab,
    history: Arc<History>,
) -> Result<Field, String> {
    let failed = |error: threshold_exchange::site::SiteError| error.to_string();
    let program = Program::current(&arguments.log).map_err(failed)?;
    let layout = home.layout().clone();
    let mut site = Site::new(layout.clone(), program, site_plan())
        .on(lab.machines())
        .ordered_by(RecordEngine::Simplex)
        .with_epochs_of(EPOCH_BATCHES);
    let mut lab = lab;
    site.found_record().await.map_err(failed)?;
    organisations::give_disks(&mut lab, &site)?;
    site.init_platform().await.map_err(failed)?;
    if lab.has_disks() {
        reserve(&layout.platform().join("coordinator.toml"))?;
        lab.give_disk(&layout.platform(), PLATFORM_DISK_MIB)?;
    }
    site.init_nodes().await.map_err(failed)?;
    for node in site.nodes() {
        faults::prepare(&mut lab, &node.folder)?;
    }
    site.start_nodes().await.map_err(failed)?;
    site.generate_key().await.map_err(failed)?;
    site.start_platform().await.map_err(failed)?;
    let key = site.public_key().map_err(failed)?;
    let exchange = Exchange::enrol(&site, key).await.map_err(failed)?;
    let world = World {
        exchange,
        promises: Promises::default(),
        history,
    };
    Ok(Field {
        first_cluster: layout.cluster(),
        site,
        lab,
        world: Arc::new(world),
        seats: (0..NODES).collect(),
        described_in: BTreeMap::new(),
        retired: Vec::new(),
        desks: (0..ORGANISATIONS).collect(),
        retired_peers: Vec::new(),
        forgetful: BTreeSet::new(),
        set_back: BTreeMap::new(),
        restarts: BTreeMap::new(),
        operator: BTreeMap::new(),
        recoveries: Vec::new(),
    })
}

/// The platform keeps a little of its small disk free for the record.
fn reserve(config: &std::path::Path) -> Result<(), String> {
    let text = std::fs::read_to_string(config).map_err(|error| error.to_string())?;
    let usual = format!("free_bytes = {}", 1_u64 << 30);
    let edited = text.replacen(&usual, &format!("free_bytes = {RESERVE}"), 1);
    if edited == text {
        return Err(format!("{} has no free_bytes", config.display()));
    }
    std::fs::write(config, edited).map_err(|error| error.to_string())
}
