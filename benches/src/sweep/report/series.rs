//! Which rows of the summary a plot shows, as which lines.

use super::text;
use crate::sweep::experiment::{Only, Plot, Settings};
use crate::sweep::statistics::Estimate;
use crate::sweep::summary::{Row, Summary, compare, number};

/// One line of a plot: a combination of the series' settings, and a column.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<Point>,
}

/// A point of a line.
pub(super) struct Point {
    /// The setting on the x axis.
    pub(super) x: f64,
    pub(super) estimate: Estimate,
    /// Each run's own value.
    pub(super) runs: Vec<f64>,
}

/// The rows that a plot is of.
pub(super) fn rows<'a>(plot: &Plot, summary: &'a Summary) -> Vec<&'a Row> {
    let all: Vec<Settings> = summary
        .rows
        .iter()
        .map(|row| row.settings.clone())
        .collect();
    let only = plot.only.iter().cloned().collect::<Vec<_>>();
    // A choice that fits nothing yet (the points are not measured) shows nothing.
    match Only::parse(&only, &all) {
        Ok(only) => summary
            .rows
            .iter()
            .filter(|row| only.takes(&row.settings))
            .collect(),
        Err(_) => Vec::new(),
    }
}

/// The distinct combinations of the plot's series settings, in order.
pub(super) fn groups<'a>(plot: &Plot, rows: &[&'a Row]) -> Vec<(String, Vec<&'a Row>)> {
    let mut groups: Vec<(Vec<String>, Vec<&'a Row>)> = Vec::new();
    for row in rows {
        let key: Vec<String> = plot
            .series
            .iter()
            .map(|name| row.setting(name).to_owned())
            .collect();
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, members)) => members.push(row),
            None => groups.push((key, vec![row])),
        }
    }
    groups.sort_by(|(a, _), (b, _)| {
        a.iter()
            .zip(b)
            .map(|(a, b)| compare(a, b))
            .find(|order| order.is_ne())
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    groups
        .into_iter()
        .map(|(_, rows)| {
            let name = rows
                .first()
                .map(|row| text::values(&row.settings, &plot.series))
                .unwrap_or_default();
            (name, rows)
        })
        .collect()
}

/// The lines of a plot over a setting that is a number.
pub(super) fn lines(plot: &Plot, summary: &Summary) -> Vec<Series> {
    let rows = rows(plot, summary);
    let mut lines = Vec::new();
    for (name, rows) in groups(plot, &rows) {
        for column in &plot.y {
            let mut points: Vec<Point> = rows
                .iter()
                .filter_map(|row| {
                    Some(Point {
                        x: row.setting(&plot.x).parse().unwrap_or(f64::NAN),
                        estimate: *row.values.get(column)?,
                        runs: row.values_of_runs(column),
                    })
                })
                .collect();
            points.sort_by(|a, b| a.x.total_cmp(&b.x));
            if !points.is_empty() {
                let name = match (name.is_empty(), plot.y.len()) {
                    (true, _) => text::short_column(column),
                    (false, 1) => name.clone(),
                    (false, _) => format!("{name}, {}", text::short_column(column)),
                };
                lines.push(Series { name, points });
            }
        }
    }
    lines
}

/// An estimate in words: value, and interval as far as there is one.
pub(super) fn says(estimate: &Estimate) -> String {
    let value = number(estimate.value);
    match (estimate.low, estimate.high) {
        (Some(low), Some(high)) => format!("{value} ({} to {})", number(low), number(high)),
        (Some(low), None) => format!("{value} ({} or more)", number(low)),
        _ => value,
    }
}
