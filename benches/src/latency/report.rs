//! The report, for people and for programs.

use std::process::ExitCode;

use serde_json::json;

use super::Arguments;
use super::distribution::Distribution;
use super::experiment::{Report, Run};
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
            "seed": arguments.rate.map(|_| arguments.seed),
            "documents": arguments.documents,
            "ahead": arguments.ahead,
        },
        "environment": report.environment,
        "runs": report.runs,
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
    for (number, run) in (1..).zip(&report.runs) {
        out.push_str(&format!(
            "\nrun {number}: {} requests, {:.0}/s, load average {:.1} → {:.1}\n",
            run.requests, run.requests_per_second, run.load_average.0, run.load_average.1
        ));
        out.push_str(&run_text(arguments, run));
    }
    out
}

fn run_text(arguments: &Arguments, run: &Run) -> String {
    let mut out = format!(
        "{:<24}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        "milliseconds", "p50", "p90", "p95", "p99", "max", "mean"
    );
    let mut row = |name: &str, of: &Distribution| {
        out.push_str(&format!(
            "{name:<24}{:>9.3}{:>9.3}{:>9.3}{:>9.3}{:>9.3}{:>9.3}\n",
            of.p50, of.p90, of.p95, of.p99, of.max, of.mean
        ));
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
    out.push_str(&format!(
        "for each request: nodes {:.3} ms of processor in all, client {:.3} ms; {:.0} bytes in {:.1} datagrams out, {:.0} in {:.1} back\n",
        run.nodes_cpu_ms,
        run.client.cpu_ms,
        run.bytes_sent,
        run.datagrams_sent,
        run.bytes_received,
        run.datagrams_received,
    ));
    for node in &run.nodes {
        let used = &node.processor;
        out.push_str(&format!(
            "  {:<10} {:>6} shares used, {:.3} ms of processor, {:.3} ms waiting for one, {:.1} times scheduled\n",
            node.name, node.answered, used.cpu_ms, used.waiting_ms, used.slices
        ));
    }
    for (code, (count, sentence)) in &run.failures {
        out.push_str(&format!("  {count} failed ({code}): {sentence}\n"));
    }
    out
}
