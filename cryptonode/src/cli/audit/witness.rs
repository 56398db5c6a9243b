//! `cryptonode audit witness`.

use std::path::Path;

use super::super::output::field;
use super::super::{Failure, Output};
use super::when;
use crate::admin::{self, Command};
use crate::witness::{WitnessView, WitnessingView};

pub(super) fn run(dir: &Path, output: &mut Output) -> Result<(), Failure> {
    let value = admin::request(dir, &Command::AuditWitness {}, |_| {})?;
    let view: WitnessingView = serde_json::from_value(value).map_err(std::io::Error::from)?;
    let own = &view.own;
    let cosigned = own.cosigned_records.map_or_else(
        || "not cosigned yet".to_owned(),
        |size| format!("{size} cosigned"),
    );
    let mut lines = vec![field(
        "this node's log",
        format!("{} records, {cosigned}", own.records),
    )];
    lines.extend(own.witnesses.iter().map(witness));
    for log in &view.watched {
        lines.push(field(
            &log.member,
            format!(
                "{} records, seen {}{}",
                log.records,
                when(log.taken_ms),
                if log.refused.is_some() {
                    ", NOT cosigned since"
                } else {
                    ""
                }
            ),
        ));
        let now = log.refused.iter();
        let before = log
            .findings
            .iter()
            .filter(|finding| log.refused.as_ref() != Some(*finding));
        for finding in now.chain(before) {
            lines.push(format!("  {}: {}", when(finding.time_ms), finding.sentence));
        }
    }
    output.result(&view, &lines)
}

fn witness(view: &WitnessView) -> String {
    let how = match (&view.failure, view.cosigned_records, view.time_s) {
        (Some(failure), ..) => failure.clone(),
        (None, Some(size), Some(time_s)) => {
            format!("{size} records at {}", when(time_s.saturating_mul(1000)))
        }
        _ => "not asked yet".to_owned(),
    };
    format!("  by {}: {how}", view.witness)
}
