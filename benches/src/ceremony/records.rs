//! The file of records, one line of JSON for each account, in the form that `sweep` plots.
//!
//! | who | `latency_ms` |
//! |---|---|
//! | `member, summed deals`, `member, whole deals` | processor time of the median member; the other times are its steps |
//! | `dealer, summed deals`, `receiver, …`, `dealer and receiver, …`, `witness, …` | of a reshare: the same of the median member of each role |
//! | `leader, summed deals`, … | processor time of the leader's machine |
//! | `frost-core, one participant` | processor time of parts 1 to 3 |
//! | `real nodes, on the clock` | from the proposal to the key in every node; with `--reshare` of the handing on |

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::in_process::{Size, Used};
use super::real::{KEY_GENERATED, KEY_HANDED_ON, Real};
use super::{Arguments, Failure};

/// Writes what the machines took, if a file is named.
pub(super) fn write(arguments: &Arguments, sizes: &[Size]) -> Result<(), Failure> {
    let mut lines = Vec::new();
    for size in sizes {
        for (path, cost) in &size.paths {
            match arguments.reshare {
                None => lines.push(account("member", path, &cost.member)),
                Some(_) => lines.extend(
                    cost.by_role
                        .iter()
                        .map(|(role, used)| account(role, path, used)),
                ),
            }
            lines.push(json!({
                "run": 1,
                "who": format!("leader, {path} deals"),
                "latency_ms": cost.leader_cpu_ms,
            }));
        }
        lines.extend(
            size.frost_core_member_cpu_ms.map(
                |ms| json!({ "run": 1, "who": "frost-core, one participant", "latency_ms": ms }),
            ),
        );
    }
    file(arguments.records.as_deref(), &lines)
}

fn account(role: &str, path: &str, used: &Used) -> Value {
    let mut account = json!({
        "run": 1,
        "who": format!("{role}, {path} deals"),
        "latency_ms": used.member_cpu_ms,
        "sent_bytes": used.bytes_sent,
        "received_bytes": used.bytes_received,
        "state_bytes": used.state_bytes,
    });
    if let Some(fields) = account.as_object_mut() {
        let steps = used.member_cpu_ms_by_step.iter();
        fields.extend(steps.map(|(step, ms)| (format!("{step}_ms"), json!(ms))));
    }
    account
}

/// Writes what a ceremony of real nodes took, if a file is named.
pub(super) fn write_real(arguments: &Arguments, real: &Real) -> Result<(), Failure> {
    let counts = match arguments.reshare {
        Some(_) => KEY_HANDED_ON,
        None => KEY_GENERATED,
    };
    let seconds = real.steps_s.iter().find(|(step, _)| *step == counts);
    let lines: Vec<Value> = seconds
        .map(|(_, seconds)| {
            json!({
                "run": 1,
                "who": "real nodes, on the clock",
                "latency_ms": seconds * 1e3,
                "node_memory_bytes": real.node_memory_mib * 1024.0 * 1024.0,
            })
        })
        .into_iter()
        .collect();
    file(arguments.records.as_deref(), &lines)
}

fn file(path: Option<&Path>, lines: &[Value]) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for line in lines {
            writeln!(file, "{line}")?;
        }
        file.flush()
    };
    write().map_err(|reason| Failure::Records {
        path: path.display().to_string(),
        reason,
    })
}
