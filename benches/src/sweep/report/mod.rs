//! `report.html`: one page that needs nothing else.
//!
//! Plots are SVG made here, so that the page shows them without running anything; the little script only lets one point at
//! values, with the mouse, a finger or the arrow keys. Style and script are of the page itself, and its policy forbids it to
//! fetch anything. Colours follow the reader's light or dark theme; lines also differ in their marks. Beside each plot stand its numbers.

mod bars;
mod cdf;
mod knee;
mod lines;
mod scale;
mod series;
mod svg;
mod table;
mod text;

use std::fmt::Write;

use super::experiment::{Experiment, Plot, PlotKind};
use super::folder::Begun;
use super::summary::{Summary, number};
use text::escape;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page.
pub(super) fn page(begun: &Begun, experiment: &Experiment, summary: &Summary) -> String {
    let file = &experiment.file;
    let mut contents = String::new();
    let mut figures = String::new();
    for (place, plot) in file.plots.iter().enumerate() {
        let id = format!("figure-{}", place + 1);
        if let Some(section) = figure(&id, plot, summary) {
            let _ = writeln!(
                contents,
                "<li><a href=\"#{id}\">{}</a></li>",
                escape(&plot.title)
            );
            figures.push_str(&section);
        }
    }
    let parts = [
        ("title", escape(&file.title)),
        ("about", escape(&file.about)),
        ("where", escape(&place(begun))),
        ("warnings", warnings(begun, summary)),
        ("contents", contents),
        ("figures", figures),
        ("everything", table::everything(summary)),
        ("environment", environment(begun, experiment, summary)),
        ("experiment", escape(&experiment.text)),
        ("style", STYLE.to_owned()),
        ("script", SCRIPT.to_owned()),
    ];
    let mut page = String::with_capacity(PAGE.len() + 100_000);
    let mut rest = PAGE;
    // Whatever stands in the parts is not looked at again.
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or(("", after));
        let part = parts.iter().find(|(known, _)| *known == name);
        page.push_str(part.map_or("", |(_, text)| text));
        rest = after;
    }
    page.push_str(rest);
    page
}

fn figure(id: &str, plot: &Plot, summary: &Summary) -> Option<String> {
    let drawn = match plot.kind {
        PlotKind::Lines | PlotKind::Knee => lines::draw(id, plot, summary),
        PlotKind::Cdf => cdf::draw(id, plot, summary),
        PlotKind::Phases => bars::phases(id, plot, summary),
        PlotKind::Dots => bars::dots(id, plot, summary),
    }?;
    let mut section = format!("<section id=\"{id}\">\n<h2>{}</h2>\n", escape(&plot.title));
    if !plot.about.is_empty() {
        let _ = writeln!(section, "<p>{}</p>", escape(&plot.about));
    }
    let _ = write!(
        section,
        "<div class=\"pair\"><figure>{drawn}</figure>\n{}</div>\n</section>\n",
        table::beside(plot, summary)
    );
    Some(section)
}

fn warnings(begun: &Begun, summary: &Summary) -> String {
    let mut sentences = Vec::new();
    if begun.quick {
        sentences.push("Measured with --quick: to see that it works, not to cite.".to_owned());
    }
    if summary.measured < summary.wanted {
        sentences.push(format!(
            "{} of {} measurements are done; the rest is missing here.",
            summary.measured, summary.wanted
        ));
    }
    if begun.environment.build.profile != "release" {
        sentences.push("Measured with a debug build: the numbers say nothing of speed.".to_owned());
    }
    if summary.builds.len() > 1 {
        let builds: Vec<String> = summary
            .builds
            .iter()
            .map(|(hash, commit)| format!("{commit} (SHA-256 {}…)", hash.get(..12).unwrap_or(hash)))
            .collect();
        sentences.push(format!(
            "Measured with different builds: {}.",
            builds.join("; ")
        ));
    }
    if begun.environment.build.changed || begun.environment.build.outdated {
        sentences.push(
            "The program is perhaps not that of the commit below: files differed from it, or were newer than the program.".to_owned(),
        );
    }
    let failed: u64 = summary.rows.iter().map(|row| u64::from(row.failed)).sum();
    let requests: usize = summary.rows.iter().map(|row| row.requests).sum();
    if failed > 0 {
        sentences.push(format!(
            "{failed} of {requests} requests failed. In percentiles they count as requests that never ended; means, phases and bytes are of the others."
        ));
    }
    sentences
        .iter()
        .map(|sentence| format!("<p class=\"warning\">{}</p>\n", escape(sentence)))
        .collect()
}

/// In one line what a reader asks first: where, of what, when.
fn place(begun: &Begun) -> String {
    let (machine, build) = (&begun.environment.machine, &begun.environment.build);
    let commit = build.commit.as_deref().unwrap_or("of no repository");
    format!(
        "{}, {} hardware threads, Linux {}; commit {}; begun {}.",
        machine.processor,
        machine.cores,
        machine.kernel,
        commit.get(..12).unwrap_or(commit),
        begun.begun
    )
}

fn environment(begun: &Begun, experiment: &Experiment, summary: &Summary) -> String {
    let (machine, build) = (&begun.environment.machine, &begun.environment.build);
    let load = summary.load.map_or_else(String::new, |(low, high)| {
        format!("{} to {}", number(low), number(high))
    });
    let rows = [
        ("instrument", experiment.file.instrument.name().to_owned()),
        (
            "repetitions of each point",
            experiment.file.repetitions.to_string(),
        ),
        ("begun", begun.begun.clone()),
        ("processor", machine.processor.clone()),
        ("hardware threads", machine.cores.to_string()),
        (
            "AVX-512 IFMA",
            if machine.avx512_ifma { "yes" } else { "no" }.to_owned(),
        ),
        (
            "clock governor",
            machine
                .governor
                .clone()
                .unwrap_or_else(|| "not told".to_owned()),
        ),
        ("memory", format!("{} MiB", machine.memory_mib)),
        ("kernel", machine.kernel.clone()),
        ("system", machine.system.clone()),
        ("load average before measurements", load),
        ("commit", build.commit_text()),
        ("executable, SHA-256", build.executable_sha256.clone()),
        ("compiler", build.rustc.clone()),
        ("target", build.target.clone()),
        (
            "profile",
            format!("{}, optimisation {}", build.profile, build.opt_level),
        ),
        ("flags", build.flags.clone()),
    ];
    let mut out = String::from(
        "<div class=\"table\" tabindex=\"0\" role=\"region\" aria-label=\"Table: environment\"><table class=\"facts\"><tbody>",
    );
    for (name, value) in rows {
        let _ = write!(
            out,
            "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
            escape(name),
            escape(&value)
        );
    }
    out.push_str("</tbody></table></div>");
    out
}
