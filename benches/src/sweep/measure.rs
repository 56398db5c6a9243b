//! One measurement: the instrument as a child process, its files, its end.

use std::fs::File;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use super::environment::{load_average, now};
use super::experiment::Settings;
use super::failure::Failure;
use super::folder::{Folder, Measurement};
use super::instrument::Instrument;
use crate::build::Build;
use crate::steal::Ticks;

/// How a measurement ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// With results.
    Measured,
    /// Without: the last line that the instrument said.
    Failed(String),
}

/// Measures a point once and files the results.
pub(super) async fn measure(
    folder: &Folder,
    instrument: Instrument,
    (settings, repetition): &(Settings, u32),
    seed: u64,
    slug: &str,
    build: &Build,
) -> Result<Ended, Failure> {
    let unfinished = folder.unfinished()?;
    let records = std::path::absolute(unfinished.join("records.jsonl"))
        .map_err(Failure::io("find the folder"))?;
    let (program, words) = instrument.call(settings, (*repetition, seed), &records)?;
    let (started, clock, load_before) = (now(), Instant::now(), load_average());
    let ticks_before = Ticks::now();
    let file = |name: &str| {
        File::create(unfinished.join(name)).map_err(Failure::io(format!("make {name}")))
    };
    let mut child = Command::new(&program)
        .args(&words)
        .stdin(Stdio::null())
        .stdout(file("result.json")?)
        .stderr(file("log.txt")?)
        // A group of its own: Ctrl-C on the terminal reaches us, and we decide.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(Failure::io(format!("start {}", program.display())))?;
    let status = tokio::select! {
        status = child.wait() => status.map_err(Failure::io("wait for the instrument"))?,
        () = threshold_exchange::site::interruption() => {
            stop(&mut child).await;
            return Err(Failure::Interrupted);
        }
    };
    if !has_results(status, &unfinished) {
        let folder = folder.keep_failed(&unfinished, slug, *repetition)?;
        return Ok(Ended::Failed(last_words(&folder, status)));
    }
    let measurement = Measurement {
        settings: settings.clone(),
        repetition: *repetition,
        command: instrument.typed(settings, *repetition, seed),
        started,
        seconds: clock.elapsed().as_secs_f64(),
        load_average: (load_before, load_average()),
        steal_share: Ticks::now()
            .zip(ticks_before)
            .and_then(|(after, before)| after.stolen_since(before)),
        build: build.clone(),
    };
    folder.finish(&unfinished, slug, *repetition, &measurement)?;
    folder.forget_failed(slug, *repetition);
    Ok(Ended::Measured)
}

/// Status 1 says that requests failed: that is a result, and in experiments with faults perhaps the one looked for.
fn has_results(status: ExitStatus, folder: &Path) -> bool {
    matches!(status.code(), Some(0 | 1))
        && super::records::read(&folder.join("records.jsonl"), &folder.join("result.json"))
            .is_ok_and(|records| !records.is_empty())
}

fn last_words(folder: &Path, status: ExitStatus) -> String {
    let log = std::fs::read_to_string(folder.join("log.txt")).unwrap_or_default();
    let line = log.lines().rev().find(|line| !line.trim().is_empty());
    line.map_or_else(|| format!("no results, {status}"), str::to_owned)
}

/// Lets the instrument stop its nodes. It is killed if it does not, and its nodes end with it.
async fn stop(child: &mut Child) {
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process_group(pid, Signal::INT);
    }
    let grace = std::time::Duration::from_secs(30);
    if tokio::time::timeout(grace, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
