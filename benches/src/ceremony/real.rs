//! A ceremony of real nodes: a process for each member, on this machine, over QUIC. With `--reshare` the key is made, and then handed on.

use std::fs;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use certs::{Algorithm, DEFAULT_LIFETIME_S, DEFAULT_TOLERANCE_S, Issuer};
use indicatif::ProgressBar;
use serde::Serialize;
use threshold_exchange::site::{Home, Layout, Program, Site, SiteError, SitePlan};

use super::arguments::Reshare;
use super::{Arguments, Failure};

/// How long the organisation's certificate is valid, in seconds.
const YEAR: u64 = 365 * 86_400;

/// The step that is the key generation itself.
pub(super) const KEY_GENERATED: &str = "key generated, by all";
/// The step that is the reshare.
pub(super) const KEY_HANDED_ON: &str = "key handed on, by all";

/// What passed on the clock.
#[derive(Debug, Serialize)]
pub(super) struct Real {
    pub(super) members: u16,
    pub(super) threshold: u16,
    /// In order.
    pub(super) steps_s: Vec<(&'static str, f64)>,
    /// The most memory that one node has used, in MiB.
    pub(super) node_memory_mib: f64,
}

/// Makes the nodes, starts them, has them generate a key, and stops them.
pub(super) fn run(arguments: &Arguments) -> Result<Real, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Failure::Runtime)?;
    runtime.block_on(async {
        tokio::select! {
            result = measure(arguments) => result,
            () = threshold_exchange::site::interruption() => Err(Failure::Interrupted),
        }
    })
}

async fn measure(arguments: &Arguments) -> Result<Real, Failure> {
    let home = Home::make(arguments.dir.as_deref(), arguments.keep)?;
    let progress = if arguments.json {
        ProgressBar::hidden()
    } else {
        ProgressBar::new_spinner()
    };
    progress.enable_steady_tick(std::time::Duration::from_millis(120));
    let measured = ceremony(arguments, home.layout(), &progress).await;
    progress.finish_and_clear();
    let folder = home.layout().root().to_owned();
    if home.finish(measured.is_ok()) && !arguments.json {
        anstream::eprintln!("The nodes' files are in {}.", folder.display());
    }
    measured
}

async fn ceremony(
    arguments: &Arguments,
    layout: &Layout,
    progress: &ProgressBar,
) -> Result<Real, Failure> {
    let sizes = arguments.sizes();
    let &[(members, threshold)] = sizes.as_slice() else {
        return Err(Failure::Arguments("--real runs one size".to_owned()));
    };
    let nodes = match arguments.reshare {
        Some(Reshare::Others) => members.saturating_mul(2),
        Some(Reshare::Same) | None => members,
    };
    let plan = SitePlan {
        nodes,
        threshold,
        organisations: 1,
        approvals: 1,
    };
    write_policy(layout, &plan)?;
    let mut site = Site::new(layout.clone(), Program::current("info")?, plan);
    let mut steps_s = Vec::new();
    let mut since = Instant::now();
    let mut lap = |steps: &mut Vec<_>, step| {
        steps.push((step, since.elapsed().as_secs_f64()));
        since = Instant::now();
    };
    progress.set_message(format!("making {nodes} nodes"));
    site.init_nodes().await?;
    lap(&mut steps_s, "nodes made");
    progress.set_message(format!("starting {nodes} nodes"));
    site.start_nodes().await?;
    lap(&mut steps_s, "nodes started");
    progress.set_message("generating the key");
    // A threshold over half of the members is refused unless it is asked for.
    let few = u32::from(members) + 1 < 2 * u32::from(threshold);
    let mut options: Vec<&str> = Vec::new();
    if few {
        options.push("--allow-few-members");
    }
    let names: Vec<String> = site.nodes().iter().map(|node| node.name.clone()).collect();
    let (first, others) = names.split_at(usize::from(members).min(names.len()));
    let first = first.join(",");
    if !others.is_empty() {
        options.extend(["--members", first.as_str()]);
    }
    site.generate_key_with(&options).await?;
    lap(&mut steps_s, KEY_GENERATED);
    if let Some(reshare) = arguments.reshare {
        progress.set_message("handing the key on");
        let to = match reshare {
            Reshare::Same => None,
            Reshare::Others => Some(others),
        };
        site.hand_key_on(to, few).await?;
        lap(&mut steps_s, KEY_HANDED_ON);
    }
    let node_memory_mib = (0..site.nodes().len())
        .filter_map(|index| peak_memory_mib(site.node_pid(index)?))
        .fold(0.0, f64::max);
    progress.set_message("stopping the nodes");
    site.stop().await?;
    lap(&mut steps_s, "nodes stopped");
    Ok(Real {
        members,
        threshold,
        steps_s,
        node_memory_mib,
    })
}

/// The high-water mark of a process' resident memory.
fn peak_memory_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// The policy file that the operators get: one organisation, which must approve.
fn write_policy(layout: &Layout, plan: &SitePlan) -> Result<(), Failure> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut policy = format!(
        "approvals_needed = {}\nmax_lifetime_s = {DEFAULT_LIFETIME_S}\ntolerance_s = {DEFAULT_TOLERANCE_S}\n",
        plan.approvals
    );
    for name in plan.organisation_names() {
        let issuer = Issuer::generate(&name, Algorithm::Ed25519, now - 60, now + YEAR)
            .map_err(|error| Failure::Issuer(error.to_string()))?;
        policy.push_str(&format!(
            "\n[[organisations]]\nname = \"{name}\"\nissuers = ['''\n{}''']\n",
            issuer.certificate_pem()
        ));
    }
    let folder = layout.platform();
    let path = folder.join("policy.toml");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&path, policy))
        .map_err(SiteError::io(format!("write {}", path.display())))?;
    Ok(())
}
