//! Sweeps, run as a researcher runs them: the ready experiments are sound, a sweep that was killed goes on, and the report says
//! what the records say.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn sweep(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sweep"))
        .args(words)
        .output()
        .unwrap()
}

fn document(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        let (out, err) = (&output.stdout, &output.stderr);
        panic!(
            "{error}: {}{}",
            String::from_utf8_lossy(out),
            String::from_utf8_lossy(err)
        )
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, target) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// The sample with its report: page and CSV.
fn reported(folder: &Path) -> (String, String) {
    copy(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sample"),
        folder,
    );
    let output = sweep(&["report", folder.to_str().unwrap(), "--json"]);
    let report = document(&output);
    assert!(output.status.success(), "{report}");
    assert_eq!(
        (report["measured"].as_u64(), report["wanted"].as_u64()),
        (Some(11), Some(12))
    );
    let read = |name: &str| fs::read_to_string(report[name].as_str().unwrap()).unwrap();
    (read("report"), read("summary"))
}

/// The CSV's rows: column → field. No field of the sample holds a comma.
fn rows(csv: &str) -> Vec<BTreeMap<String, String>> {
    let mut lines = csv.lines();
    let head: Vec<&str> = lines.next().unwrap().split(',').collect();
    lines
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            assert_eq!(fields.len(), head.len(), "{line}");
            head.iter()
                .zip(fields)
                .map(|(name, field)| ((*name).to_owned(), field.to_owned()))
                .collect()
        })
        .collect()
}

/// All that stands between two texts, wherever they do.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    text.split(start)
        .skip(1)
        .filter_map(|rest| rest.split_once(end).map(|(it, _)| it))
        .collect()
}

#[test]
fn the_summary_says_what_the_records_say() {
    let folder = tempfile::tempdir().unwrap();
    let (_, csv) = reported(folder.path());
    let rows = rows(&csv);
    assert_eq!(rows.len(), 6);
    for row in &rows {
        let point = format!("points/algorithm={},rate={}", row["algorithm"], row["rate"]);
        let mut times = Vec::new();
        let (mut runs, mut failed) = (0, 0);
        for repetition in fs::read_dir(folder.path().join(point)).unwrap() {
            runs += 1;
            let records = repetition.unwrap().path().join("records.jsonl");
            for line in fs::read_to_string(records).unwrap().lines() {
                let record: Value = serde_json::from_str(line).unwrap();
                if record.get("failure").is_some() {
                    failed += 1;
                    times.push(f64::INFINITY);
                } else {
                    times.push(record["latency_ms"].as_f64().unwrap());
                }
            }
        }
        times.sort_by(f64::total_cmp);
        assert_eq!(row["runs"], runs.to_string());
        assert_eq!(row["failed"], failed.to_string());
        assert_eq!(row["requests"], times.len().to_string());
        let number = |name: &str| row[name].parse::<f64>().unwrap();
        // Nearest rank, and four digits.
        let median = times[times.len().div_ceil(2) - 1];
        assert!(
            (number("latency_p50_ms") / median - 1.0).abs() < 5e-4,
            "{row:?}"
        );
        assert!(number("latency_p50_ms_low") <= number("latency_p50_ms"));
        assert!(number("latency_p50_ms") <= number("latency_p50_ms_high"));
        // One run of so few requests does not bound a high quantile, and what failed took for ever.
        assert_eq!(
            row["latency_p99_ms_high"].is_empty(),
            runs == 1 || failed > 0,
            "{row:?}"
        );
        assert_eq!(row["latency_max_ms"].is_empty(), failed > 0, "{row:?}");
    }
}

#[test]
fn tables_have_the_numbers_of_the_csv() {
    let folder = tempfile::tempdir().unwrap();
    let (page, csv) = reported(folder.path());
    let rows = rows(&csv);
    let everything = page.split("<section id=\"numbers\">").nth(1).unwrap();
    let everything = everything.split("</section>").next().unwrap();
    let lines = between(everything.split("<tbody>").nth(1).unwrap(), "<tr>", "</tr>");
    assert_eq!(lines.len(), rows.len());
    let mut compared = 0;
    for (line, row) in lines.iter().zip(&rows) {
        assert_eq!(
            between(line, "<th scope=\"row\">", "</th>"),
            [&row["algorithm"], &row["rate"]]
        );
        for cell in between(line, "data-column=\"", "</td></tr>")
            .iter()
            .chain(&between(line, "data-column=\"", "</td><td"))
        {
            let (column, value) = cell.split_once("\">").unwrap();
            assert_eq!(value, row[column], "{column}");
            compared += 1;
        }
        for column in ["latency_p50_ms", "answers_mean_ms"] {
            let interval = format!(
                "{} – {}",
                row[&format!("{column}_low")],
                row[&format!("{column}_high")]
            );
            assert!(line.contains(&interval), "{interval} not in {line}");
        }
    }
    assert!(compared >= rows.len() * 10, "{compared}");
}

#[test]
fn the_page_needs_nothing_else_and_can_be_read_without_eyes_or_mouse() {
    let folder = tempfile::tempdir().unwrap();
    let (page, _) = reported(folder.path());
    for fetches in [
        " src=", "url(", "@import", "<link", "http://", "https://", "<iframe", "fetch(",
    ] {
        assert!(!page.contains(fetches), "the page has {fetches}");
    }
    let links = between(&page, "href=\"", "\"");
    assert!(
        links
            .iter()
            .all(|link| link.starts_with('#') || *link == "summary.csv"),
        "{links:?}"
    );
    assert!(page.contains("Content-Security-Policy\" content=\"default-src 'none'"));
    assert!(page.contains("prefers-color-scheme: dark"));
    assert!(page.contains("name=\"viewport\""));
    // Names are text, never markup.
    assert!(page.contains("<h1>A sample &amp; its &lt;report&gt;</h1>"));

    let ids: Vec<&str> = between(&page, " id=\"", "\"");
    assert_eq!(
        ids.iter().collect::<BTreeSet<_>>().len(),
        ids.len(),
        "{ids:?}"
    );
    let drawings = between(&page, "<figure>", "</figure>");
    assert_eq!(drawings.len(), 5);
    for drawing in drawings {
        let labelled = between(drawing, "aria-labelledby=\"", "\"")[0];
        for id in labelled.split(' ') {
            assert!(ids.contains(&id), "{id}");
        }
        let marks = drawing.matches("class=\"mark").count();
        assert!(marks > 0);
        assert_eq!(drawing.matches("data-says=\"").count(), marks);
        for tag in ["g", "svg", "text", "title", "ul", "li"] {
            let (opened, closed) = (format!("<{tag}"), format!("</{tag}>"));
            let opened = drawing.match_indices(&opened).filter(|(at, _)| {
                let next = drawing[at + opened.len()..].chars().next();
                next.is_some_and(|next| !next.is_ascii_alphabetic())
            });
            assert_eq!(opened.count(), drawing.matches(&closed).count(), "{tag}");
        }
        assert!(
            !drawing.contains("NaN") && !drawing.contains("inf"),
            "{drawing}"
        );
    }
    assert_eq!(page.matches("class=\"pair\"").count(), 5);
    assert!(page.contains("11 of 12 measurements are done"));
    assert!(page.contains("1 of 154 requests failed"));
    assert!(
        page.contains("The knee is at 200 requests/s"),
        "{:?}",
        between(&page, "finding\">", "<")
    );
    assert!(page.contains("0123456789abcdef0123456789abcdef01234567"));

    let again = tempfile::tempdir().unwrap();
    assert_eq!(
        reported(again.path()).0,
        page,
        "the same records give the same page"
    );
}

#[test]
fn the_ready_experiments_are_sound() {
    let list = document(&sweep(&["--list", "--json"]));
    let names: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    let files: BTreeSet<String> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/experiments"))
        .unwrap()
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<BTreeSet<_>>(),
        files
    );
    for name in names {
        let whole = document(&sweep(&["check", name, "--json"]));
        let quick = document(&sweep(&["check", name, "--quick", "--json"]));
        for point in whole["points"].as_array().unwrap() {
            let number = |name: &str| {
                point[name]
                    .as_str()
                    .map(|text| text.parse::<u32>().unwrap())
            };
            let real = name != "ceremony-create" && !name.starts_with("peers");
            if let (true, Some(members), Some(threshold)) =
                (real, number("members"), number("threshold"))
            {
                assert!(
                    members + 1 >= 2 * threshold,
                    "{name}: real nodes refuse {point}"
                );
            }
        }
        let points = |of: &Value| of["points"].as_array().map_or(0, Vec::len);
        assert!(points(&whole) > 1, "{name}: {whole}");
        assert!(
            (2..=points(&whole)).contains(&points(&quick)),
            "{name}: {quick}"
        );
        assert!(whole["repetitions"].as_u64().unwrap() >= 3, "{name}");
    }
}

#[test]
fn what_makes_no_experiment_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("experiment.toml");
    let head = "title = \"\"\nabout = \"\"\ninstrument = \"latency\"\n";
    for (body, code, says) in [
        ("[settings]\nmembres = 3\n", "experiment", "--membres"),
        ("[settings]\nmembers = \"many\"\n", "experiment", "many"),
        ("[settings]\njson = true\n", "experiment", "json"),
        ("repetitions = 0\n", "experiment", "repetitions"),
        (
            "[[plots]]\nkind = \"pie\"\ntitle = \"\"\n",
            "experiment",
            "pie",
        ),
    ] {
        fs::write(&file, format!("{head}{body}")).unwrap();
        let output = sweep(&["check", file.to_str().unwrap(), "--json"]);
        assert_eq!(output.status.code(), Some(2), "{body}");
        let error = &document(&output)["error"];
        assert_eq!(error["code"], code, "{body}");
        assert!(error["message"].as_str().unwrap().contains(says), "{error}");
    }
    let output = sweep(&["check", "no-such-thing", "--json"]);
    assert_eq!(document(&output)["error"]["code"], "unknown-experiment");
}

const SMALL: &str = r#"
title = "Small"
about = "One node, for the test."
instrument = "latency"
repetitions = 2

[settings]
members = 1
threshold = 1
approvals = 1
requests = 5
warm-up = 1
concurrency = [1, 2]

[[plots]]
kind = "lines"
title = "Latency"
x = "concurrency"
y = ["latency_p50_ms"]
"#;

fn finished(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let points = fs::read_dir(folder.join("points"))
        .into_iter()
        .flatten()
        .flatten();
    for point in points.filter(|point| !point.file_name().to_str().unwrap().starts_with('.')) {
        all.extend(
            fs::read_dir(point.path())
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
    }
    all
}

#[test]
fn a_full_disk_is_told_and_the_same_command_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("one.toml"), folder.path().join("out"));
    let one = SMALL
        .replace("repetitions = 2", "repetitions = 1")
        .replace("concurrency = [1, 2]", "concurrency = 1");
    fs::write(&file, one).unwrap();
    let words = [
        "run",
        file.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--json",
    ];
    // No file may grow beyond some kilobytes: room for the experiment's own files, and for no node.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 32; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_sweep"))
        .args(words)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = &document(&output)["error"];
    assert_eq!(error["code"], "points");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("1 of 1 measurements failed"), "{message}");
    assert!(
        message.contains("the same command tries them again"),
        "{message}"
    );
    let log = fs::read_dir(out.join("failed")).unwrap().next().unwrap();
    let log = fs::read_to_string(log.unwrap().path().join("log.txt")).unwrap();
    assert!(log.contains("File too large"), "{log}");

    let output = sweep(&words);
    let report = document(&output);
    assert!(output.status.success(), "{report}");
    assert_eq!(report["measured"], 1);
    let left = fs::read_dir(out.join("failed")).unwrap().count();
    assert_eq!(left, 0, "a failure is forgotten when the point is measured");
}

/// Whether a measurement has begun that has not ended.
fn under_way(folder: &Path) -> bool {
    let points = fs::read_dir(folder.join("points")).into_iter().flatten();
    points.flatten().any(|point| {
        let name = point.file_name();
        name.to_str().unwrap().starts_with(".unfinished")
    })
}

#[test]
fn a_sweep_that_was_killed_goes_on_with_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, out) = (folder.path().join("small.toml"), folder.path().join("out"));
    fs::write(&file, SMALL).unwrap();
    let words = [
        "run",
        file.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
        "--json",
    ];
    let mut child = Command::new(env!("CARGO_BIN_EXE_sweep"))
        .args(words)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // Killed while a later measurement is under way.
    let deadline = Instant::now() + Duration::from_secs(300);
    while finished(&out).is_empty() || !under_way(&out) {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the sweep ended before it was killed"
        );
        assert!(Instant::now() < deadline, "nothing was measured");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let first = finished(&out);
    assert!(first.len() < 4, "{first:?}");
    let times: Vec<_> = first
        .iter()
        .map(|path| fs::read(path.join("measurement.json")).unwrap())
        .collect();

    let output = sweep(&words);
    let report = document(&output);
    assert!(output.status.success(), "{report}");
    assert_eq!(
        (report["measured"].as_u64(), report["wanted"].as_u64()),
        (Some(4), Some(4))
    );
    for (path, before) in first.iter().zip(times) {
        let now = fs::read(path.join("measurement.json")).unwrap();
        assert!(now == before, "{} was measured twice", path.display());
    }
    for path in finished(&out) {
        let lines = fs::read_to_string(path.join("records.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 5, "{}", path.display());
    }
    assert_eq!(
        rows(&fs::read_to_string(out.join("summary.csv")).unwrap()).len(),
        2
    );
    assert!(out.join("report.html").is_file());

    // Nothing is missing, so nothing is measured; and the folder is this experiment's alone.
    assert!(sweep(&words).status.success());
    fs::write(&file, SMALL.replace("requests = 5", "requests = 6")).unwrap();
    let output = sweep(&words);
    assert_eq!(document(&output)["error"]["code"], "other-experiment");
}
