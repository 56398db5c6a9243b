//! Tables: the same numbers as in the CSV, character by character.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::series;
use super::text::{column, escape, setting};
use crate::sweep::experiment::{Plot, PlotKind};
use crate::sweep::summary::{Row, Summary, number};

/// The table beside a plot: the rows that it shows, with the columns that it shows.
pub(super) fn beside(plot: &Plot, summary: &Summary) -> String {
    let rows = series::rows(plot, summary);
    let columns: Vec<String> = match plot.kind {
        PlotKind::Cdf => ["latency_p50_ms", "latency_p90_ms", "latency_p99_ms"]
            .map(str::to_owned)
            .to_vec(),
        PlotKind::Phases => {
            let mean = std::iter::once(plot.total.clone());
            let shares = plot
                .y
                .iter()
                .map(|column| column.replace("_mean_ms", "_share"));
            mean.chain(plot.y.iter().cloned()).chain(shares).collect()
        }
        PlotKind::Knee => {
            let done = std::iter::once("requests_per_second".to_owned());
            done.chain(plot.y.iter().cloned()).collect()
        }
        PlotKind::Lines | PlotKind::Dots => plot.y.clone(),
    };
    let columns: Vec<&String> = summary
        .columns
        .iter()
        .filter(|c| columns.contains(c))
        .collect();
    let rows: Vec<&Row> = rows
        .into_iter()
        .filter(|row| {
            columns
                .iter()
                .any(|column| row.values.contains_key(*column))
        })
        .collect();
    // What the plot tells apart, if that tells all rows apart.
    let shown = |key: &&String| plot.x == **key || plot.series.contains(key);
    let keys: Vec<&String> = summary.keys.iter().filter(shown).collect();
    let distinct: BTreeSet<Vec<&str>> = rows
        .iter()
        .map(|row| keys.iter().map(|key| row.setting(key)).collect())
        .collect();
    let keys = if distinct.len() == rows.len() {
        keys
    } else {
        summary.keys.iter().collect()
    };
    html(&plot.title, &keys, &columns, &rows)
}

/// Everything.
pub(super) fn everything(summary: &Summary) -> String {
    let keys: Vec<&String> = summary.keys.iter().collect();
    let columns: Vec<&String> = summary.columns.iter().collect();
    let rows: Vec<&Row> = summary.rows.iter().collect();
    html("All numbers", &keys, &columns, &rows)
}

fn html(caption: &str, keys: &[&String], columns: &[&String], rows: &[&Row]) -> String {
    let mut out = format!(
        "<div class=\"table\" tabindex=\"0\" role=\"region\" aria-label=\"Table: {caption}\"><table><caption>{caption}</caption><thead><tr>",
        caption = escape(caption)
    );
    let mut head = |class: &str, name: &str| {
        let _ = write!(out, "<th scope=\"col\"{class}>{}</th>", escape(name));
    };
    for key in keys {
        head("", &setting(key));
    }
    for name in columns {
        head(" class=\"n\"", &column(name));
        head(" class=\"n i\"", "95 % interval");
    }
    for name in ["runs", "requests", "failed"] {
        head(" class=\"n\"", name);
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for key in keys {
            let _ = write!(out, "<th scope=\"row\">{}</th>", escape(row.setting(key)));
        }
        for name in columns {
            cells(&mut out, row, name);
        }
        let counts = [row.runs.len(), row.requests, row.failed as usize];
        for count in counts {
            let _ = write!(out, "<td class=\"n\">{count}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>");
    out
}

fn cells(out: &mut String, row: &Row, name: &str) {
    let Some(estimate) = row.values.get(name) else {
        out.push_str("<td></td><td></td>");
        return;
    };
    let interval = match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{} – {}", number(low), number(high)),
        (Some(low), None) => format!("{} –", number(low)),
        (None, Some(high)) => format!("– {}", number(high)),
        (None, None) => String::new(),
    };
    let value = number(estimate.value);
    let _ = write!(
        out,
        "<td class=\"n\" data-column=\"{name}\">{value}</td><td class=\"n i\">{interval}</td>"
    );
}
