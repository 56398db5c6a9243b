//! Distributions of all requests' latency, with their confidence bands.

use super::scale::Scale;
use super::series;
use super::svg::{BOTTOM, Drawing, HEIGHT, LEFT, RIGHT, TOP, legend, line_class};
use super::text;
use crate::sweep::experiment::Plot;
use crate::sweep::records::Run;
use crate::sweep::statistics::{distribution_band, rank};
use crate::sweep::summary::{Row, Summary, number};

/// Steps of a drawn curve: more than a screen shows.
const STEPS: u32 = 250;

/// The drawing with its legend; `None` if nothing of it is measured.
pub(super) fn draw(id: &str, plot: &Plot, summary: &Summary) -> Option<String> {
    let rows = series::rows(plot, summary);
    let curves: Vec<(String, Vec<f64>)> = rows
        .iter()
        .map(|row| (text::values(&row.settings, &plot.series), sorted(row)))
        .filter(|(_, values)| values.first().is_some_and(|first| first.is_finite()))
        .collect();
    if curves.is_empty() {
        return None;
    }
    // The slowest thousandth would squeeze all the rest.
    let ends = curves
        .iter()
        .flat_map(|(_, values)| [rank(values, 0.001), rank(values, 0.999)]);
    let x = Scale::of(ends, plot.log_x, (LEFT, RIGHT));
    let y = Scale::of([1.0 / 1.05], false, (BOTTOM, TOP));
    let mut drawing = Drawing::new(HEIGHT);
    drawing.axes(
        (&x, &text::scaled("time (ms)", plot.log_x), None),
        (&y, "share of requests done"),
    );
    for (style, (_, values)) in curves.iter().enumerate() {
        band(&mut drawing, style, values, (&x, &y));
    }
    for (style, (name, values)) in curves.iter().enumerate() {
        let path: Vec<String> = quantiles()
            .filter(|q| rank(values, *q).is_finite())
            .map(|q| format!("{:.1} {:.1}", x.at(rank(values, q)), y.at(q)))
            .collect();
        drawing.add(&format!(
            "<path class=\"{}\" d=\"M{}\"/>",
            line_class(style),
            path.join("L")
        ));
        for q in [0.5, 0.9, 0.99] {
            let value = rank(values, q);
            if !value.is_finite() {
                continue;
            }
            let says = format!(
                "{name}: {} % within {} ms",
                number(q * 100.0),
                number(value)
            );
            drawing.mark(style, (x.at(value), y.at(q)), &says);
        }
    }
    let entries: Vec<(usize, String)> = curves
        .iter()
        .map(|(name, _)| name.clone())
        .enumerate()
        .collect();
    let description = format!(
        "Cumulative distribution of the time of all requests, {} curves. Quantiles are in the table beside it.",
        curves.len()
    );
    Some(drawing.finish(id, &plot.title, &description) + &legend(&entries, false))
}

fn sorted(row: &Row) -> Vec<f64> {
    let mut values: Vec<f64> = row.runs.iter().flat_map(Run::with_failures).collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Requests that failed are the infinite values at the end: the curve stops below them, at the share that succeeded.
fn quantiles() -> impl DoubleEndedIterator<Item = f64> {
    (1..=STEPS).map(|step| f64::from(step) / f64::from(STEPS))
}

fn band(drawing: &mut Drawing, style: usize, values: &[f64], (x, y): (&Scale, &Scale)) {
    let half = distribution_band(values.len());
    let edge = |q: f64, by: f64| {
        format!(
            "{:.1} {:.1}",
            x.at(rank(values, q)),
            y.at((q + by).clamp(0.0, 1.0))
        )
    };
    let drawn = || quantiles().filter(|q| rank(values, *q).is_finite());
    let mut edges: Vec<String> = drawn().map(|q| edge(q, half)).collect();
    edges.extend(drawn().rev().map(|q| edge(q, -half)));
    drawing.add(&format!(
        "<path class=\"band c{}\" d=\"M{}Z\"/>",
        style % 6,
        edges.join("L")
    ));
}
