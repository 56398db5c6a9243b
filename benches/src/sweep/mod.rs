//! Experiments: from a file that says what to measure to a report that can be cited.
//!
//! `sweep run` measures every point of an [experiment](experiment) with an [instrument](instrument), so often as the file says,
//! each time on a new cluster of real processes. Every measurement leaves its raw records; see [`folder`]. From these alone,
//! and by `sweep report` again at any time, come `summary.csv`, one row a point, and `report.html`, one page without anything to fetch.
//! How uncertain a number is comes with it: see [`statistics`].
//!
//! What goes wrong: the machine's own noise. All points are measured once, in random order, then all again, so that a
//! slow hour widens the intervals instead of bending a curve. The load average before and after each measurement is
//! in its folder. A build that changed in the middle is refused.

mod arguments;
mod environment;
mod experiment;
mod failure;
mod folder;
mod instrument;
mod measure;
mod progress;
mod records;
mod report;
mod statistics;
mod summary;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

pub use arguments::{Arguments, Command, RunArguments};
pub use instrument::{INSTRUMENT, become_peers};

use environment::Environment;
use experiment::{Experiment, Only};
use failure::Failure;
use folder::Folder;
use measure::Ended;

/// Does what the command line asks for. The exit status is 0 only if every measurement succeeded.
pub async fn run(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.command {
        None => list(),
        Some(Command::Run(arguments)) => sweep(arguments).await,
        Some(Command::Report { dir }) => write_report(&Folder::open(dir)),
        Some(Command::Check { experiment, quick }) => check(experiment, *quick),
    };
    match done {
        Ok(done) => {
            if arguments.json {
                anstream::println!("{}", done.document);
            } else {
                anstream::println!("{}", done.text);
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            if arguments.json {
                let error = json!({ "code": failure.code(), "message": failure.to_string() });
                anstream::println!("{}", json!({ "error": error }));
            }
            anstream::eprintln!("{failure}");
            match failure {
                Failure::Points { .. } => ExitCode::FAILURE,
                Failure::Interrupted => ExitCode::from(130),
                _ => ExitCode::from(2),
            }
        }
    }
}

/// What was done, for people and for programs.
struct Done {
    text: String,
    document: Value,
}

fn list() -> Result<Done, Failure> {
    let ready = experiment::ready()?;
    let text: Vec<String> = ready
        .iter()
        .map(|(name, file)| format!("{name:<22}{}\n{:<22}{}", file.title, "", file.about))
        .collect();
    let document = ready
        .iter()
        .map(|(name, file)| json!({ "name": name, "title": file.title, "about": file.about }))
        .collect();
    Ok(Done {
        text: text.join("\n"),
        document,
    })
}

fn check(name: &str, quick: bool) -> Result<Done, Failure> {
    let experiment = Experiment::open(name, quick)?;
    let points: Vec<String> = experiment.points().iter().map(experiment::label).collect();
    let (count, repetitions) = (points.len(), experiment.file.repetitions);
    Ok(Done {
        text: format!(
            "{}\n\n{count} points, each {repetitions} times",
            points.join("\n")
        ),
        document: json!({ "points": experiment.points(), "repetitions": repetitions }),
    })
}

async fn sweep(arguments: &RunArguments) -> Result<Done, Failure> {
    let experiment = Experiment::open(&arguments.experiment, arguments.quick)?;
    let only = Only::parse(&arguments.only, experiment.points())?;
    let environment = Environment::look()?;
    let folder = Folder::begin(
        &arguments.out,
        &experiment,
        &environment,
        arguments.mix_builds,
    )?;

    let mut known = BTreeMap::new();
    let mut missing = Vec::new();
    for (settings, repetition) in experiment.measurements(&only) {
        let slug = experiment.slug(&settings);
        if folder.has(&slug, repetition) {
            let measurement = folder.read_measurement(&slug, repetition)?;
            known.insert(slug, measurement.seconds);
        } else {
            missing.push((slug, (settings, repetition)));
        }
    }
    let slugs = missing.iter().map(|(slug, _)| slug.clone()).collect();
    let mut progress = progress::Progress::new(slugs, known);
    let mut failures = Vec::new();
    for (slug, point) in &missing {
        progress.begins(slug);
        let (instrument, seed) = (experiment.file.instrument, experiment.file.seed);
        let build = &environment.build;
        let ended = measure::measure(&folder, instrument, point, seed, slug, build).await;
        match ended {
            Ok(Ended::Measured) => progress.ended(slug, None),
            Ok(Ended::Failed(reason)) => {
                progress.ended(slug, Some(&reason));
                failures.push(format!("{slug}: {reason}"));
            }
            Err(failure) => {
                progress.finish();
                return Err(failure);
            }
        }
    }
    progress.finish();
    let done = write_report(&folder);
    match failures.first() {
        None => done,
        Some(first) => Err(Failure::Points {
            count: failures.len(),
            of: missing.len(),
            first: first.clone(),
            folder: folder.root().join("failed").display().to_string(),
        }),
    }
}

fn write_report(folder: &Folder) -> Result<Done, Failure> {
    let experiment = folder.experiment()?;
    let summary = summary::Summary::read(folder, &experiment)?;
    let csv = folder.write("summary.csv", &summary.csv())?;
    let page = report::page(&folder.begun()?, &experiment, &summary);
    let html = folder.write("report.html", &page)?;
    let shown = |path: &Path| path.display().to_string();
    Ok(Done {
        text: format!(
            "{} of {} measurements\n{}\n{}",
            summary.measured,
            summary.wanted,
            shown(&csv),
            shown(&html)
        ),
        document: json!({
            "measured": summary.measured,
            "wanted": summary.wanted,
            "summary": shown(&csv),
            "report": shown(&html),
        }),
    })
}
