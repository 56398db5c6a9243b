//! `demo`: the whole idea on files of your own, as a story with timings or as one JSON document.
//!
//! Real processes, real QUIC, real certificates, real disks: a site is built ([`crate::site`]), files are written and read
//! back, a stranger is refused, nodes are killed and restarted, and all audits are verified. The exit status is 0 only if
//! every step did what it should; a refusal that should come and does not is a failure too.
//!
//! Whatever happens, nothing is left running. The folder is removed unless it was named by `--dir`, `--keep` is given, or
//! a step failed: then it holds the logs that say why.

mod acts;
mod audits;
mod document;
mod phases;
mod story;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;

pub use document::{Document, DocumentError};
pub use story::{Outcome, Step, Story, Told, human_size, human_time};

use crate::cli::DemoArguments;
use crate::site::{Home, Program, Site, SiteError, SitePlan, interruption};

/// Runs the demo and gives its exit status.
pub async fn run(arguments: DemoArguments) -> ExitCode {
    let documents = match Document::open_all(&arguments.files) {
        Ok(documents) => documents,
        Err(error) => return refuse(&arguments, "file", &error.to_string()),
    };
    let place = &arguments.place;
    let home = match Home::make(place.dir.as_deref(), arguments.keep) {
        Ok(home) => home,
        Err(error) => return refuse(&arguments, error.code(), &error.to_string()),
    };
    let program = match Program::current(&place.log) {
        Ok(program) => program,
        Err(error) => return refuse(&arguments, error.code(), &error.to_string()),
    };
    let mut site =
        Site::new(home.layout().clone(), program, SitePlan::default()).ordered_by(place.engine);
    let mut story = Story::new(arguments.json);
    let mut reads = Vec::new();
    story.say(&format!(
        "Everything happens in {}.",
        home.layout().root().display()
    ));

    let interrupted = tokio::select! {
        () = acts::play(&mut site, &mut story, &documents, &mut reads) => false,
        () = interruption() => true,
    };
    if interrupted {
        story.say("\nInterrupted: stopping everything …");
    }
    acts::stop(&mut site, &mut story).await;

    let ok = !interrupted && story.all_ok();
    let root = home.layout().root().to_owned();
    let kept = home.finish(ok || interrupted);
    if arguments.json {
        let document = json!({
            "ok": ok,
            "interrupted": interrupted,
            "milliseconds": story.elapsed().as_secs_f64() * 1e3,
            "dir": root,
            "kept": kept,
            "steps": story.steps(),
            "reads": reads,
        });
        anstream::println!("{document:#}");
    } else {
        phases::print(&story, &reads);
        conclude(&story, ok, interrupted, &root, kept);
    }
    match (ok, interrupted) {
        (true, _) => ExitCode::SUCCESS,
        (false, true) => ExitCode::from(130),
        (false, false) => ExitCode::FAILURE,
    }
}

fn conclude(story: &Story, ok: bool, interrupted: bool, root: &Path, kept: bool) {
    story.heading("In short");
    let steps = story.steps().len();
    let time = human_time(story.elapsed().as_secs_f64() * 1e3);
    if ok {
        story.say(&format!(
            "All {steps} steps did what they should, in {time}."
        ));
    } else if interrupted {
        story.say(&SiteError::Interrupted.to_string());
    } else {
        let failed = story
            .steps()
            .iter()
            .filter(|step| step.outcome == Outcome::Failed);
        let names: Vec<&str> = failed.map(|step| step.name).collect();
        story.say(&format!(
            "This did not do what it should: {}.",
            names.join(", ")
        ));
    }
    if kept {
        let root = root.display();
        story.say(&format!(
            "All files are in {root}: nodes/ (a folder a node), platform/ (the record and the bodies), users/ (keys),\n\
             read/ (what was read back), cluster.json (the cluster's public description), record.jsonl (the exported record), logs/."
        ));
    } else {
        story.say("The folder has been removed; --keep or --dir DIR leaves it to look at.");
    }
}

fn refuse(arguments: &DemoArguments, code: &str, sentence: &str) -> ExitCode {
    if arguments.json {
        let document = json!({ "ok": false, "error": { "code": code, "message": sentence } });
        anstream::println!("{document:#}");
    }
    anstream::eprintln!("{sentence}");
    ExitCode::from(2)
}

/// The file that a document is read back into.
fn read_back(site: &Site, document: &Document) -> PathBuf {
    site.layout().read_back().join(&document.name)
}
