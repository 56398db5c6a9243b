//! Ceremonies in lines of text.

use std::path::Path;

use crate::ceremony::{CeremonyView, when};
use crate::cli::output::field;
use crate::cli::{Failure, Output};

/// The first digits of an id, which operators can tell ceremonies apart by.
fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

pub(in crate::cli) fn line(view: &CeremonyView) -> String {
    let mut text = format!(
        "{}{} led by {}, {} of {}: {}",
        short(&view.id),
        if view.changes_policy() {
            " (reshare, changes the policy)"
        } else if view.reshare.is_some() {
            " (reshare)"
        } else {
            ""
        },
        view.leader,
        view.threshold,
        view.members.len(),
        view.step
    );
    if view.step == "proposed" || view.step == "accepting" {
        text.push_str(&format!(" [{}]", view.words));
    }
    if let Some(reason) = view.sentence.as_deref().filter(|_| view.decided) {
        text.push_str(&format!(" ({reason})"));
    }
    let names: Vec<&str> = view
        .waiting_for
        .iter()
        .map(|waiting| waiting.member.as_str())
        .collect();
    // A member that follows waits for its leader in any case.
    let names = match names.split_last() {
        Some((_, others)) if !view.led && !others.is_empty() => others,
        _ => names.as_slice(),
    };
    if !names.is_empty() {
        text.push_str(&format!(", waiting for {}", names.join(", ")));
    }
    text
}

pub(super) fn print(dir: &Path, view: &CeremonyView, output: &mut Output) -> Result<(), Failure> {
    output.result(view, &lines(dir, view))
}

/// A ceremony with everything that was proposed.
pub(super) fn show(dir: &Path, view: &CeremonyView, output: &mut Output) -> Result<(), Failure> {
    let mut lines = lines(dir, view);
    lines.extend([
        field(
            "proposed by",
            format!("{} ({})", view.proposed_by, view.software),
        ),
        field("proposed", when(view.created)),
        field("expires", when(view.expires)),
        field("may be absent", view.may_be_absent),
        field("policy", &view.policy_hash),
    ]);
    output.result(view, &lines)
}

fn lines(dir: &Path, view: &CeremonyView) -> Vec<String> {
    let mut lines = vec![
        field("ceremony", &view.id),
        field("words", &view.words),
        field("led by", &view.leader),
        field(
            "key",
            format!("{} of {}", view.threshold, view.members.join(", ")),
        ),
        field("step", &view.step),
    ];
    if let Some(reshare) = &view.reshare {
        let list = |names: &[String]| {
            if names.is_empty() {
                "nobody".to_owned()
            } else {
                names.join(", ")
            }
        };
        let mut before = vec![
            field("reshares", &reshare.public_key),
            field(
                "from",
                format!(
                    "epoch {}, {} of {}",
                    reshare.epoch,
                    reshare.threshold,
                    reshare.members.join(", ")
                ),
            ),
            field("leaving", list(&reshare.leaving)),
            field("joining", list(&reshare.joining)),
        ];
        if !reshare.may_be_absent.is_empty() {
            before.push(field("may be absent", list(&reshare.may_be_absent)));
        }
        if view.changes_policy() {
            let how = format!("{} (cryptonode policy diff)", view.policy_hash);
            before.push(field("new policy", how));
        }
        lines.splice(2..2, before);
    }
    for waiting in &view.waiting_for {
        let since = waiting.since.map(|since| format!("since {}", when(since)));
        let said = (!waiting.heard.is_empty()).then(|| waiting.heard.clone());
        let more: Vec<String> = since.into_iter().chain(said).collect();
        let more = match more.as_slice() {
            [] => String::new(),
            more => format!(" ({})", more.join(", ")),
        };
        lines.push(field(
            "waiting for",
            format!("{}: {}{more}", waiting.member, waiting.waiting_for),
        ));
    }
    for other in &view.other_versions {
        lines.push(field(
            "another version",
            format!("{} runs {}", other.member, other.software),
        ));
    }
    for excluded in &view.excluded {
        let basis = if excluded.proved {
            "proved"
        } else {
            "not proved"
        };
        lines.push(field(
            "left out",
            format!("{} ({basis}): {}", excluded.member, excluded.sentence),
        ));
    }
    if let Some(key) = &view.public_key {
        lines.push(field("public key", key));
    }
    if !view.culprits.is_empty() {
        lines.push(field("at fault", view.culprits.join(", ")));
    }
    if let Some(sentence) = &view.sentence {
        lines.push(sentence.clone());
    }
    if let Some(command) = again(dir, view) {
        // Only its proposer calls it off.
        let how = if view.decided || view.proposed_by != view.leader {
            command
        } else {
            let place = quoted(&dir.to_string_lossy());
            let id = short(&view.id);
            format!("cryptonode ceremony abort {id} --dir {place}; {command}")
        };
        lines.push(field("without them", how));
    }
    lines
}

/// The command that proposes the same without those that are at fault or away, as a shell takes it.
pub(super) fn again(dir: &Path, view: &CeremonyView) -> Option<String> {
    let words = view.propose_again.as_ref()?.iter();
    let words: Vec<String> = words.map(|word| quoted(word)).collect();
    let dir = quoted(&dir.to_string_lossy());
    Some(format!("cryptonode {} --dir {dir}", words.join(" ")))
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.,/:=@".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_shell_takes_each_word_as_it_is() {
        for (word, told) in [
            ("n1,n2", "n1,n2"),
            ("--members", "--members"),
            ("", "''"),
            ("node one", "'node one'"),
            ("it's $(rm)", "'it'\\''s $(rm)'"),
        ] {
            assert_eq!(quoted(word), told);
        }
    }
}
