//! What the documents say that a test shows, a test shows: the names in them are those of tests that there are.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap()
}

/// Sources below the root that are ours.
fn sources() -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![PathBuf::from(ROOT)]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let ends = path.extension().is_some_and(|it| it == "rs" || it == "py");
            if path.is_dir() && name != "target" && name != "corpus" && !name.starts_with('.') {
                folders.push(path);
            } else if ends {
                found.push(path);
            }
        }
    }
    found
}

/// The names of all tests, in Rust and in Python.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in sources() {
        let text = std::fs::read_to_string(path).unwrap();
        let mut marked = false;
        for line in text.lines().map(str::trim) {
            let begun = ["fn ", "async fn ", "def "]
                .iter()
                .find_map(|it| line.strip_prefix(it));
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                marked = true;
            } else if let Some(rest) = begun {
                let name = rest.split(['(', '<']).next().unwrap_or_default();
                if marked || name.starts_with("test_") {
                    names.insert(name.to_owned());
                }
                marked = false;
            } else if line == "}" {
                marked = false;
            }
        }
    }
    names
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether it has the shape of a test's name: a sentence, and no name of a metric or of a field.
fn is_test_name(word: &str) -> bool {
    let plain = word
        .bytes()
        .all(|it| it == b'_' || it.is_ascii_lowercase() || it.is_ascii_digit());
    plain
        && word.matches('_').count() >= 3
        && !word.starts_with("cryptonode_")
        && !word.starts_with("coordinator_")
}

/// The rows of a table, each its cells, below the line that begins with these words.
fn rows<'t>(text: &'t str, heading: &str) -> Vec<Vec<&'t str>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(heading));
    lines
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let tests = tests();
    assert!(tests.len() > 800, "only {} tests were found", tests.len());
    let mut missing = BTreeMap::new();
    let mut named = 0;
    for document in [
        "SECURITY.md",
        "docs/threat-model.md",
        "docs/simulation.md",
        "docs/protocol/security.md",
    ] {
        let text = read(document);
        for word in quoted(&text).filter(|word| is_test_name(word)) {
            named += 1;
            if !tests.contains(word) {
                missing.insert(word.to_owned(), document);
            }
        }
    }
    assert!(named > 80, "only {named} names were found");
    assert_eq!(missing, BTreeMap::new());
}

/// Each claim of the threat model has something that attacks it.
#[test]
fn every_row_of_the_threat_model_names_what_shows_it() {
    let (text, tests, commands) = (read("docs/threat-model.md"), tests(), read("justfile"));
    let shows = |word: &str| {
        let recipe = word
            .strip_prefix("just ")
            .map(|it| it.split(' ').next().unwrap_or_default());
        let is_recipe = recipe.is_some_and(|recipe| {
            commands.lines().any(|line| {
                line.strip_prefix(recipe)
                    .is_some_and(|rest| rest.starts_with([':', ' ']))
            })
        });
        is_recipe || tests.contains(word)
    };
    for heading in ["| compromised together", "| attack | what stops it"] {
        let rows = rows(&text, heading);
        assert!(rows.len() > 15, "{heading}: {} rows", rows.len());
        for row in rows {
            let last = row.last().unwrap();
            assert!(
                quoted(last).any(shows),
                "nothing shows what {:?} cannot",
                row[0]
            );
        }
    }
}

#[test]
fn the_invariants_of_the_documents_are_those_of_the_simulation() {
    let held: BTreeSet<String> = read("tests/simulation/invariants.rs")
        .lines()
        .filter(|line| line.starts_with("pub const ") && line.contains(": &str = "))
        .filter_map(|line| Some(line.split('"').nth(1)?.to_owned()))
        .collect();
    assert!(held.len() >= 7, "{held:?}");
    for (document, heading, cell) in [
        ("docs/simulation.md", "| name | what holds", 0),
        ("docs/threat-model.md", "| threat | invariant", 1),
    ] {
        let text = read(document);
        let told: BTreeSet<String> = rows(&text, heading)
            .iter()
            .map(|row| row[cell].trim_matches('`').to_owned())
            .collect();
        assert_eq!(told, held, "{document}");
    }
}
