//! The table of phases: where the time of each read went.

use coordinator::platform::{Phases, ReadReport};
use serde::Serialize;

use super::Story;

/// A read of the story, with what the platform reported of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ToldRead {
    /// When in the story it happened.
    pub(super) when: &'static str,
    /// What the platform reported.
    #[serde(flatten)]
    pub(super) report: ReadReport,
}

/// A column: its head, and the phase below it.
type Column = (&'static str, fn(&Phases) -> f64);

const COLUMNS: [Column; 8] = [
    ("record", |p| p.record_ms),
    ("approvals", |p| p.approvals_ms),
    ("cluster", |p| p.cluster_ms),
    ("fetch", |p| p.fetch_ms),
    ("checksum", |p| p.checksum_ms),
    ("decrypt", |p| p.decrypt_ms),
    ("first byte", |p| p.first_byte_ms),
    ("total", |p| p.total_ms),
];

/// Prints the table for a person.
pub(super) fn print(story: &Story, reads: &[ToldRead]) {
    if reads.is_empty() {
        return;
    }
    story.heading("Where the time of each read went, in milliseconds");
    let mut head = format!("{:<34}", "");
    for (name, _) in COLUMNS {
        head.push_str(&format!("{name:>11}"));
    }
    story.say(&head);
    for read in reads {
        let mut label = format!("{} {}", read.when, read.report.document);
        if label.chars().count() > 33 {
            label = label.chars().take(32).chain(['…']).collect();
        }
        let mut line = format!("{label:<34}");
        for (_, phase) in COLUMNS {
            line.push_str(&format!("{:>11.2}", phase(&read.report.phases)));
        }
        story.say(&line);
    }
}
