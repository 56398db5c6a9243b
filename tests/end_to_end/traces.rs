//! One read is one trace: the platform's spans, and below them those of the nodes that answered.

use std::collections::BTreeSet;
use std::process::Stdio;

use testkit::collector::{Collector, Span};

use super::running::{document, file, place, program, step};

/// The trace of whoever started the demo, and its span.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// None of what the demo calls its people and its things belongs into a span.
fn says_nothing_of(collector: &Collector, words: &[&str]) {
    let bodies = collector.bodies();
    for word in words {
        let found = bodies
            .windows(word.len())
            .any(|window| window == word.as_bytes());
        assert!(!found, "a collector is told {word:?}");
    }
}

/// What the dashboard asks a store of traces for is what nodes send.
fn the_dashboard_finds(spans: &[Span]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana-dashboard.json");
    let text = std::fs::read_to_string(path).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries: Vec<&str> = panels
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .filter_map(|target| target["query"].as_str())
        .collect();
    assert!(queries.len() >= 2, "it shows traces");
    for query in queries {
        let terms = query.trim_matches(['{', '}', ' ']).split(" && ");
        for (field, rest) in terms.filter_map(|term| term.split_once(' ')) {
            let value = rest.split('"').nth(1).unwrap_or_default();
            let found = spans.iter().any(|span| match field {
                "resource.service.name" => span.service == value,
                "resource.service.instance.id" => !span.instance.is_empty(),
                "name" => span.name == value,
                "duration" => true,
                other => {
                    let name = other.strip_prefix("span.").unwrap();
                    span.attributes.iter().any(|(key, _)| key == name)
                }
            });
            assert!(found, "no span fits {field} {rest}, in {query}");
        }
    }
}

#[test]
fn reads_are_in_the_callers_trace_and_nodes_below_the_platform() {
    let collector = Collector::start().unwrap();
    let (dir, site) = place();
    let letter = file(&dir, "letter.txt", b"Dear all");
    let output = program()
        .args(["demo", "--json", "--keep", "--dir"])
        .args([site.as_os_str(), letter.as_os_str()])
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
        .env("TRACEPARENT", format!("00-{TRACE}-{CALLER}-01"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = document(&output);
    assert_eq!(told["ok"], true, "{told:#}");
    let shares = step(&told, "verify-node-audits")["shares"]
        .as_u64()
        .unwrap();

    // What the processes had to say they said before they ended, but for those that the demo killed.
    let spans = collector.spans();
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    assert_eq!(ids.len(), spans.len(), "ids are told apart");
    for span in &spans {
        assert_eq!(span.trace, TRACE, "{span:?}");
        assert!(span.start_ns <= span.end_ns, "{span:?}");
    }
    let below =
        |id: &str| -> Vec<&Span> { spans.iter().filter(|span| span.parent == id).collect() };
    let reads = below(CALLER);
    assert!(
        reads.len() >= told["reads"].as_array().unwrap().len(),
        "{spans:#?}"
    );
    let (mut answered, mut complete) = (0, 0);
    for read in reads {
        assert_eq!(
            (read.service.as_str(), read.name.as_str()),
            ("coordinator", "read")
        );
        let parts = below(&read.id);
        let Some(cluster) = parts.iter().find(|part| part.name == "cluster") else {
            continue;
        };
        assert!(parts.iter().any(|part| part.name == "record"));
        if read.failure.is_empty() {
            // Where its time went, by phase.
            for phase in [
                "permission",
                "approvals",
                "reencryption",
                "fetch",
                "decrypt",
                "total",
            ] {
                let name = format!("coordinator.{phase}_ms");
                let said = read.attributes.iter().find(|(it, _)| *it == name);
                let ms = said.and_then(|(_, ms)| ms.parse::<f64>().ok());
                assert!(ms.is_some_and(|ms| ms > 0.0), "{name}: {read:#?}");
            }
        }
        let mut instances = BTreeSet::new();
        for node in below(&cluster.id) {
            assert_eq!(
                (node.service.as_str(), node.name.as_str()),
                ("cryptonode", "reencrypt")
            );
            let share = ("cryptonode.outcome".to_owned(), "share".to_owned());
            if node.attributes.contains(&share) {
                let phases = below(&node.id);
                let phases: BTreeSet<&str> =
                    phases.iter().map(|phase| phase.name.as_str()).collect();
                let all = [
                    "receive",
                    "decode",
                    "turn",
                    "approvals",
                    "proofs",
                    "share",
                    "proof",
                    "audit",
                    "audit_commit",
                ];
                assert_eq!(phases, all.into());
                answered += 1;
            }
            instances.insert(node.instance.as_str());
        }
        // A node that the demo kills may take its last half second of spans along.
        if cluster.failure.is_empty() && instances.len() >= 3 {
            complete += 1;
        }
    }
    assert!(complete > 0, "{spans:#?}");
    assert!(
        answered >= 3 && answered <= shares,
        "{answered} of {shares}"
    );
    the_dashboard_finds(&spans);
    says_nothing_of(
        &collector,
        &["letter", "Dear all", "alice", "bob", "mallory", "demo"],
    );
}
