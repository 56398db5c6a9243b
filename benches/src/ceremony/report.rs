//! The report, for people and for programs.

use serde_json::{Value, json};

use super::in_process::{Size, Used};
use super::real::Real;
use super::{Arguments, Failure};

/// The steps in their order, by the message that the member answers.
const STEPS: [&str; 7] = [
    "propose",
    "begin",
    "deals",
    "whole-deals",
    "acknowledgements",
    "hand-over",
    "certificate",
];

/// Prints what the machines took.
pub(super) fn print(arguments: &Arguments, sizes: &[Size]) {
    if arguments.json {
        let document = match sizes {
            [one] if !arguments.sweep => document(one),
            all => json!({ "sizes": all.iter().map(document).collect::<Vec<_>>() }),
        };
        anstream::println!("{document}");
        return;
    }
    anstream::println!(
        "{:>5}{:>5}  {:<8}{:>12}{:>12}{:>12}{:>14}{:>10}",
        "n",
        "t",
        "deals",
        "member ms",
        "leader ms",
        "KiB/member",
        "frost-core ms",
        "s·P µs"
    );
    for size in sizes {
        for (path, cost) in &size.paths {
            anstream::println!(
                "{:>5}{:>5}  {path:<8}{:>12.2}{:>12.1}{:>12.1}{:>14}{:>10.1}",
                size.members,
                size.threshold,
                cost.member.member_cpu_ms,
                cost.leader_cpu_ms,
                cost.member.bytes_per_member as f64 / 1024.0,
                size.frost_core_member_cpu_ms
                    .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}")),
                size.multiplication_us,
            );
        }
    }
    for size in sizes {
        for (path, cost) in &size.paths {
            let (t, n) = (size.threshold, size.members);
            if arguments.reshare.is_none() {
                anstream::println!("{t} of {n}, {path}: {}", steps(&cost.member));
                continue;
            }
            for (role, used) in &cost.by_role {
                let (ms, kib) = (used.member_cpu_ms, used.bytes_per_member as f64 / 1024.0);
                anstream::println!(
                    "{t} of {n}, {path}, {role}: {ms:.2} ms, {kib:.1} KiB: {}",
                    steps(used)
                );
            }
        }
    }
}

fn steps(used: &Used) -> String {
    let parts: Vec<String> = STEPS
        .iter()
        .filter_map(|step| {
            Some(format!(
                "{step} {:.2}",
                used.member_cpu_ms_by_step.get(step)?
            ))
        })
        .collect();
    parts.join(", ")
}

/// The numbers of the summed path stand at the top; those of the whole deals only where there are no others.
fn document(size: &Size) -> Value {
    let cost = size.paths.get("summed").or_else(|| size.paths.get("whole"));
    json!({
        "members": size.members,
        "threshold": size.threshold,
        "member_cpu_ms": cost.map(|cost| cost.member.member_cpu_ms),
        "leader_cpu_ms": cost.map(|cost| cost.leader_cpu_ms),
        "bytes_per_member": cost.map(|cost| cost.member.bytes_per_member),
        "frost_core_member_cpu_ms": size.frost_core_member_cpu_ms,
        "multiplication_us": size.multiplication_us,
        "paths": size.paths,
    })
}

/// Prints what a ceremony of real nodes took.
pub(super) fn print_real(arguments: &Arguments, real: &Real) {
    if arguments.json {
        anstream::println!("{}", json!(real));
        return;
    }
    anstream::println!(
        "{} of {} nodes, each a process of its own, over QUIC",
        real.threshold,
        real.members
    );
    for (step, seconds) in &real.steps_s {
        anstream::println!("{step:<28}{seconds:>10.1} s");
    }
    anstream::println!(
        "{:<28}{:>10.1} MiB, the largest node",
        "memory",
        real.node_memory_mib
    );
}

/// Says why there are no numbers.
pub(super) fn print_failure(arguments: &Arguments, failure: &Failure) {
    if arguments.json {
        let error = json!({ "code": failure.code(), "message": failure.to_string() });
        anstream::println!("{}", json!({ "error": error }));
    }
    anstream::eprintln!("{failure}");
}
