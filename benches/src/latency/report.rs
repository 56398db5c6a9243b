//! The report, for people and for programs.

use std::collections::BTreeMap;
use std::process::ExitCode;

use cryptonode::server::Phase;
use serde_json::json;

use super::Arguments;
use super::account::Run;
use super::distribution::Distribution;
use super::experiment::Report;
use super::outcome::Failure;

/// Prints what came of the experiment and gives the exit status.
pub(super) fn print(arguments: &Arguments, result: &Result<Report, Failure>) -> ExitCode {
    match result {
        Ok(report) => {
            if arguments.json {
                anstream::println!("{}", document(arguments, report));
            } else {
                anstream::print!("{}", text(arguments, report));
            }
            if report.runs.iter().all(|run| run.failed == 0) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(failure) => {
            if arguments.json {
                let error = json!({ "code": failure.code(), "message": failure.to_string() });
                anstream::println!("{}", json!({ "error": error }));
            }
            anstream::eprintln!("{failure}");
            ExitCode::from(2)
        }
    }
}

fn document(arguments: &Arguments, report: &Report) -> serde_json::Value {
    json!({
        "experiment": {
            "members": arguments.members,
            "threshold": arguments.threshold,
            "approvals": arguments.approvals,
            "algorithm": arguments.algorithm,
            "requests": arguments.requests,
            "warm_up": arguments.warm_up,
            "concurrency": arguments.rate.is_none().then_some(arguments.concurrency),
            "rate": arguments.rate,
            "arrivals": arguments.rate.map(|_| arguments.arrivals),
            "seed": arguments.seed,
            "documents": arguments.documents,
            "ahead": arguments.ahead,
            "repetitions": arguments.repetitions,
            "payload": arguments.payload,
            "combination": arguments.combination,
            "hedge_after_ms": (!arguments.no_hedging).then_some(arguments.hedge_after),
            "audit": arguments.audit,
            "processes": arguments.processes,
            "network": arguments.network,
            "network_in_full": report.network,
            "faults": report.faults.iter().map(|(node, fault)| (format!("node-{node}"), *fault)).collect::<BTreeMap<_, _>>(),
            "flood": arguments.flood,
            "client_rate": arguments.client_rate,
            "unwatched": arguments.unwatched,
            "first_run": arguments.first_run,
            "probes": arguments.probes,
            "handshakes": arguments.handshakes,
        },
        "environment": report.environment,
        "connections": report.connections,
        "runs": report.runs,
        "flood": report.flood,
    })
}

fn text(arguments: &Arguments, report: &Report) -> String {
    let environment = &report.environment;
    let load = match arguments.rate {
        Some(rate) => format!("open loop, {rate} requests/s"),
        None => format!("closed loop, {} at a time", arguments.concurrency),
    };
    let disk = environment.disk_sync_ms;
    let mut out = format!(
        "{} of {} nodes, {} approvals ({:?}), {load}\n{}, {} cores{}, Linux {}; fdatasync p50 {:.2} p99 {:.2} ms\n",
        arguments.threshold,
        arguments.members,
        arguments.approvals,
        arguments.algorithm,
        environment.processor,
        environment.cores,
        if environment.avx512_ifma {
            " with AVX-512 IFMA"
        } else {
            ""
        },
        environment.kernel,
        disk.p50,
        disk.p99,
    );
    for (node, fault) in &report.faults {
        out.push_str(&format!("node-{node} is faulty: {fault}\n"));
    }
    if let Some(network) = &report.network {
        out.push_str(&format!(
            "network {}: places {}, {}% of datagrams lost\n",
            arguments.network.as_deref().unwrap_or("uniform"),
            network.places.join(", "),
            network.loss_percent,
        ));
    }
    for (number, run) in (1..).zip(&report.runs) {
        out.push_str(&format!(
            "\nrun {number}: {} requests, {:.0}/s, load average {:.1} → {:.1}{}\n",
            run.requests,
            run.requests_per_second,
            run.load_average.0,
            run.load_average.1,
            match run.steal_share {
                Some(share) => format!(", {:.1} % of the processors stolen", 100.0 * share),
                None => String::new(),
            }
        ));
        if let (Some(offered), Some(drain)) = (run.offered_per_second, run.drain_seconds) {
            out.push_str(&format!(
                "{offered:.0} requests/s came; the last were done {drain:.3} s after the last came\n"
            ));
        }
        out.push_str(&run_text(arguments, run));
    }
    if let Some(flood) = &report.flood {
        let (asked, shares) = flood.rates();
        out.push_str(&format!(
            "\nmeanwhile another client, {} callers: {asked:.0} requests/s, {shares:.0} shares/s; {:?}\n",
            flood.callers, flood.outcomes
        ));
    }
    out.push_str(&report.connections.text());
    out
}

/// The phases of a node that the table shows.
const NODE_PHASES: [(Phase, &str); 8] = [
    (Phase::Whole, "node: whole"),
    (Phase::Decode, "  decode"),
    (Phase::Turn, "  wait for a turn"),
    (Phase::Approvals, "  approvals checked"),
    (Phase::Proofs, "  proofs checked"),
    (Phase::Share, "  share"),
    (Phase::Proof, "  proof"),
    (Phase::Audit, "  audit commit"),
];

fn run_text(arguments: &Arguments, run: &Run) -> String {
    let mut out = format!(
        "{:<24}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        "milliseconds", "p50", "p90", "p95", "p99", "max", "mean"
    );
    let mut row = |name: &str, of: &Distribution| {
        out.push_str(&format!("{name:<24}"));
        for value in [of.p50, of.p90, of.p95, of.p99, of.max, of.mean] {
            if value.is_finite() {
                out.push_str(&format!("{value:>9.3}"));
            } else {
                out.push_str(&format!("{:>9}", "none"));
            }
        }
        out.push('\n');
    };
    row("request", &run.latency_ms);
    let phases = &run.phases_ms;
    if arguments.rate.is_some() {
        row("  started late by", &phases.late);
    }
    if !arguments.ahead {
        row("  ephemeral key", &phases.ephemeral_key);
        row("  approvals", &phases.approvals);
    }
    row("  t-th answer", &phases.answers);
    row("  opening", &phases.opening);
    for (phase, name) in NODE_PHASES {
        if let Some(of) = run.node_phases_ms.get(phase.name()) {
            row(name, of);
        }
    }
    for (name, of) in run.probes.rows() {
        row(name, of);
    }
    for (network, of) in [
        (run.network_ms, "call"),
        (run.probes.network_ms, "probe's call"),
    ] {
        if let Some(network) = network {
            out.push_str(&format!(
                "a {of}'s mean without the node's part (network, QUIC, waiting): {network:.3} ms\n"
            ));
        }
    }
    out.push_str(&format!("{:.2} nodes asked a request\n", run.asked));
    if let Some(relay) = &run.relay {
        let did = &relay.statistics;
        out.push_str(&format!(
            "relay: {} datagrams, {} lost, {} overflowed, {} reordered; sent late by p50 {:.0} µs, p99 {:.0} µs\n",
            did.datagrams, did.lost, did.overflowed, did.reordered, did.late_us_p50, did.late_us_p99
        ));
    }
    out.push_str(&format!(
        "for each request: nodes {:.3} ms of processor in all ({:.3} of it those that were not asked), client {:.3} ms; {:.0} bytes in {:.1} datagrams out, {:.0} in {:.1} back\n",
        run.nodes_cpu_ms,
        run.idle_nodes_cpu_ms,
        run.client.cpu_ms,
        run.bytes_sent,
        run.datagrams_sent,
        run.bytes_received,
        run.datagrams_received,
    ));
    for node in &run.nodes {
        let used = &node.processor;
        out.push_str(&format!(
            "  {:<10} {:>6} shares used, {:.3} ms of processor, {:.3} ms waiting for one, {:.1} times scheduled, {:.0} bytes to it, {:.0} back\n",
            node.name,
            node.answered,
            used.cpu_ms,
            used.waiting_ms,
            used.slices,
            node.bytes_sent,
            node.bytes_received,
        ));
    }
    for (code, (count, sentence)) in &run.failures {
        out.push_str(&format!("  {count} failed ({code}): {sentence}\n"));
    }
    out
}
