//! Many clients at once, on a mix of reads and writes, while two crypto nodes and one organisation's peer are killed and come back.
//!
//! ```text
//! load                            500 clients for 60 seconds, what `just load` runs
//! load --clients 100 --seconds 12 --json
//! ```
//!
//! A site of real processes: five nodes of which any three open, four organisations whose peers order the record among themselves, and the platform. Every
//! client writes documents of its own under the cluster's key, and reads what anybody wrote. Required is:
//!
//! 1. no byte that is read differs from what was acknowledged;
//! 2. every acknowledged write is there at the end, read back byte for byte;
//! 3. an operation fails only by codes that a client may try again after ([`clients::is_retryable`]), and then it is tried again.
//!
//! The program is also `cryptonode` and `coordinator`, when it is re-executed as its own child.

mod clients;
mod report;

use std::alloc::System;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use serde_json::json;
use threshold_exchange::site::{
    Exchange, Home, Program, RecordEngine, Site, SiteError, SitePlan, interruption,
};
use zeroizing_alloc::ZeroAlloc;

use clients::{Crowd, Tally};
use report::{Event, Report};

/// As in the programs that it is the child of.
#[global_allocator]
static MEMORY: ZeroAlloc<System> = ZeroAlloc(System);

/// The nodes that are killed, by their place.
const NODES: [usize; 2] = [3, 4];
/// The organisation whose peer is killed, by its place.
const PEER: usize = 3;
/// How long all organisations' peers may take until they are at the same block again.
const LEVEL_WITHIN: Duration = Duration::from_secs(60);

/// A site of five nodes, four organisations and the platform, and many clients.
#[derive(Parser)]
#[command(name = "load", version)]
pub(crate) struct Arguments {
    /// Clients at the same time.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=700))]
    clients: u16,
    /// Seconds under load; the checks at the end come on top.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Of a hundred operations, how many are writes.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u8).range(1..=99))]
    writes: u8,
    /// What sizes, contents and the order of operations follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Let everything run on.
    #[arg(long)]
    calm: bool,
    /// How much the processes write to their logs.
    #[arg(long, default_value = "warn")]
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
    open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let home = Home::make(None, false).map_err(|error| error.to_string());
    let ran = runtime
        .map_err(|error| error.to_string())
        .and_then(|runtime| Ok((runtime, home?)));
    let (runtime, home) = match ran {
        Ok(made) => made,
        Err(error) => return failed(&error),
    };
    let ran = runtime.block_on(async {
        tokio::select! {
            ran = run(&arguments, &home) => ran,
            () = interruption() => Err("interrupted".to_owned()),
        }
    });
    let root = home.layout().root().to_owned();
    let (code, fine) = match ran {
        Ok(report) => {
            if arguments.json {
                anstream::println!("{}", json!(report));
            } else {
                for line in report.lines() {
                    anstream::println!("{line}");
                }
            }
            (ExitCode::from(u8::from(!report.ok)), report.ok)
        }
        Err(error) => (failed(&error), false),
    };
    if home.finish(fine) {
        anstream::eprintln!("load: logs and folders are in {}", root.display());
    }
    code
}

fn failed(error: &str) -> ExitCode {
    anstream::eprintln!("load: {error}");
    ExitCode::from(2)
}

/// Each client has a connection here and at the platform.
fn open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum;
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
}

async fn run(arguments: &Arguments, home: &Home) -> Result<Report, String> {
    let say = |text: String| {
        if !arguments.json {
            anstream::println!("{text}");
        }
    };
    let mut site = build(arguments, home).await.map_err(words)?;
    let key = site.public_key().map_err(words)?;
    Exchange::enrol(&site, key).await.map_err(words)?;
    say(format!(
        "the site is up; {} clients for {} s",
        arguments.clients, arguments.seconds
    ));
    let tally = Arc::new(Tally::default());
    let mut crowd = Crowd::gather(&site, arguments, tally.clone())?;
    let begun = Instant::now();
    crowd.begin();
    let mut events = Vec::new();
    let lasts = Duration::from_secs(arguments.seconds);
    if !arguments.calm {
        disturb(&mut site, begun, lasts, &mut events, &say).await?;
    }
    tokio::time::sleep_until((begun + lasts).into()).await;
    crowd.end().await?;
    let seconds = begun.elapsed().as_secs_f64();
    say(format!("{seconds:>4.0} s  now everything is read back"));
    let level = level(&crowd).await;
    let lost = crowd.read_everything_back().await?;
    let killed = site.stop().await.map_err(words)?;
    Ok(Report::of(
        arguments, seconds, events, &tally, lost, level, killed,
    ))
}

fn words(error: SiteError) -> String {
    error.to_string()
}

async fn build(arguments: &Arguments, home: &Home) -> Result<Site, SiteError> {
    let program = Program::current(&arguments.log)?;
    let site = Site::new(home.layout().clone(), program, SitePlan::default());
    let mut site = site.ordered_by(RecordEngine::Simplex);
    site.init_platform().await?;
    site.init_nodes().await?;
    site.start_nodes().await?;
    site.generate_key().await?;
    site.start_platform().await?;
    Ok(site)
}

/// Two nodes go and come back, and so does an organisation's peer; for a while all three are away.
async fn disturb(
    site: &mut Site,
    begun: Instant,
    lasts: Duration,
    events: &mut Vec<Event>,
    say: &impl Fn(String),
) -> Result<(), String> {
    let steps: [(f64, &'static str); 4] = [
        (0.20, "two crypto nodes are killed"),
        (0.30, "an organisation's peer is killed"),
        (0.55, "the crypto nodes are started"),
        (0.65, "the organisation's peer is started"),
    ];
    for (share, what) in steps {
        tokio::time::sleep_until((begun + lasts.mul_f64(share)).into()).await;
        match what {
            "two crypto nodes are killed" => {
                for node in NODES {
                    site.kill_node(node).await.map_err(words)?;
                }
            }
            "an organisation's peer is killed" => site.kill_peer(PEER).await.map_err(words)?,
            "the crypto nodes are started" => {
                for node in NODES {
                    site.start_node(node).await.map_err(words)?;
                }
            }
            _ => site.start_peer(PEER).await.map_err(words)?,
        }
        let at_s = begun.elapsed().as_secs_f64();
        say(format!("{at_s:>4.0} s  {what}"));
        events.push(Event { at_s, what });
    }
    Ok(())
}

/// Whether all organisations' peers come to the same block.
async fn level(crowd: &Crowd) -> bool {
    let until = Instant::now() + LEVEL_WITHIN;
    let mut every = tokio::time::interval(Duration::from_millis(500));
    while Instant::now() < until {
        every.tick().await;
        let Ok(status) = crowd.client().status().await else {
            continue;
        };
        let heights: Vec<u64> = status.peers.iter().map(|peer| peer.height).collect();
        let well = status.peers.iter().all(|peer| peer.fault.is_none());
        if well && heights.iter().all(|height| Some(height) == heights.first()) {
            return true;
        }
    }
    false
}
