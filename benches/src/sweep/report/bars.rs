//! Rows beside each other: stacked phases of a mean, and values of named things.

use super::scale::Scale;
use super::series::{self, says};
use super::svg::{BARS, BOTTOM, Drawing, HEIGHT, RIGHT, TOP, WIDTH, legend};
use super::text::{self, escape};
use crate::sweep::experiment::Plot;
use crate::sweep::summary::{Row, Summary, number};

/// Room for the axis below.
const FOOT: f64 = HEIGHT - BOTTOM;
/// The left end of the bars is where the longest name ends, but no further than this.
const NAMES: f64 = 0.36 * WIDTH;
/// The left end where names stand above their rows.
const ABOVE: f64 = 8.0;
/// The least width of a bar that has its number in it.
const NUMBER: f64 = 11.0;
/// The height of a name above.
const NAME: f64 = 19.0;

/// Stacked means of phases, one bar a row; `None` if nothing of it is measured.
pub(super) fn phases(id: &str, plot: &Plot, summary: &Summary) -> Option<String> {
    const BAR: f64 = 18.0;
    let rows = series::rows(plot, summary);
    let phases: Vec<&String> = plot
        .y
        .iter()
        .filter(|column| rows.iter().any(|row| value(row, column) > 0.0))
        .collect();
    if phases.is_empty() {
        return None;
    }
    let names: Vec<String> = rows.iter().map(|row| name_of(plot, row)).collect();
    let left = left_of(&names);
    // Names that are too long for the side stand above.
    let above = if left == ABOVE { NAME } else { 4.0 };
    let step = above + BAR + 4.0;
    let total = |row: &Row| value(row, &plot.total);
    let ends = rows.iter().map(|row| {
        let high = row.values.get(&plot.total).and_then(|mean| mean.high);
        high.unwrap_or(0.0).max(total(row))
    });
    let x = Scale::of(ends, false, (left, RIGHT));
    let bottom = TOP + step * rows.len() as f64;
    let mut drawing = Drawing::new(bottom + FOOT);
    foot(&mut drawing, &x, bottom, left, "mean time (ms)");
    for (place, (row, name)) in rows.iter().zip(&names).enumerate() {
        let top = TOP + step * place as f64 + above;
        if left == ABOVE {
            drawing.text("tick", (left + 3.0, top - 4.0), "start", name);
        } else {
            drawing.text("tick", (left - 6.0, top + 13.0), "end", name);
        }
        let mut start = 0.0;
        for (style, phase) in phases.iter().enumerate() {
            let length = value(row, phase);
            let (from, to) = (x.at(start), x.at(start + length));
            let says = format!(
                "{name}, {}: {} ms",
                text::short_column(phase),
                number(length)
            );
            drawing.add(&format!(
                "<g class=\"mark bar c{}\" data-says=\"{says}\"><title>{says}</title><rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/></g>",
                style % BARS,
                to - from,
                BAR,
                says = escape(&says),
            ));
            // Which phase it is shows without its colour too, where there is room.
            if to - from >= NUMBER {
                let number = (style + 1).to_string();
                drawing.text(
                    "segment",
                    ((from + to) / 2.0, top + 13.0),
                    "middle",
                    &number,
                );
            }
            start += length;
        }
        // What is in no phase.
        if total(row) > start {
            drawing.add(&format!(
                "<rect class=\"rest\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>",
                x.at(start),
                x.at(total(row)) - x.at(start),
                BAR
            ));
        }
        interval(&mut drawing, "axis", row, &plot.total, &x, top + BAR / 2.0);
    }
    let entries: Vec<(usize, String)> = phases
        .iter()
        .map(|phase| text::short_column(phase))
        .enumerate()
        .collect();
    let description = format!(
        "Stacked mean times of {} phases, {} bars. The numbers are in the table beside it.",
        phases.len(),
        rows.len()
    );
    Some(drawing.finish(id, &plot.title, &description) + &legend(&entries, true))
}

/// Values of named things: a row for each value of the x setting, a dot for each line in it.
pub(super) fn dots(id: &str, plot: &Plot, summary: &Summary) -> Option<String> {
    const LINE: f64 = 15.0;
    let rows = series::rows(plot, summary);
    let groups = series::groups(plot, &rows);
    let column = plot.y.first()?;
    let mut things: Vec<&str> = Vec::new();
    for row in &rows {
        if row.values.contains_key(column) && !things.contains(&row.setting(&plot.x)) {
            things.push(row.setting(&plot.x));
        }
    }
    if things.is_empty() {
        return None;
    }
    let mut lines: Vec<(f64, usize, &Row)> = Vec::new();
    let names: Vec<String> = things.iter().map(|thing| (*thing).to_owned()).collect();
    let left = left_of(&names);
    let (mut y, mut heads) = (TOP, Vec::new());
    for thing in &things {
        let first = y;
        if left == ABOVE {
            y += NAME - 4.0;
        }
        for (style, (_, members)) in groups.iter().enumerate() {
            for row in members.iter().filter(|row| row.setting(&plot.x) == *thing) {
                lines.push((y + LINE / 2.0 + 3.0, style, row));
                y += LINE;
            }
        }
        y += 8.0;
        heads.push((first, *thing, y));
    }
    let ends = lines
        .iter()
        .filter_map(|(_, _, row)| row.values.get(column))
        .flat_map(|estimate| {
            [Some(estimate.value), estimate.low, estimate.high]
                .into_iter()
                .flatten()
        });
    let x = Scale::of(ends, plot.log_y, (left, RIGHT));
    let mut drawing = Drawing::new(y + FOOT);
    let name = text::scaled(&text::column(column), plot.log_y);
    foot(&mut drawing, &x, y, left, &name);
    for (first, name, end) in &heads {
        if left == ABOVE {
            drawing.text("tick", (left + 3.0, first + 13.0), "start", name);
        } else {
            drawing.text("tick", (left - 6.0, (first + end) / 2.0 + 4.0), "end", name);
        }
        drawing.line("grid", (left, *end), (RIGHT, *end));
    }
    for (place, style, row) in lines {
        let Some(estimate) = row.values.get(column) else {
            continue;
        };
        let name = groups.get(style).map_or("", |(name, _)| name.as_str());
        interval(
            &mut drawing,
            &format!("series c{} whisker", style % 6),
            row,
            column,
            &x,
            place,
        );
        let says = format!("{}, {name}: {}", row.setting(&plot.x), says(estimate));
        drawing.mark(style, (x.at(estimate.value), place), &says);
    }
    let entries: Vec<(usize, String)> = groups
        .iter()
        .map(|(name, _)| name.clone())
        .enumerate()
        .collect();
    let description = format!(
        "{} of {} things. The numbers are in the table beside it.",
        text::column(column),
        things.len()
    );
    Some(drawing.finish(id, &plot.title, &description) + &legend(&entries, false))
}

fn value(row: &Row, column: &str) -> f64 {
    row.values
        .get(column)
        .map_or(0.0, |estimate| estimate.value)
}

fn name_of(plot: &Plot, row: &Row) -> String {
    let mut names = plot.series.clone();
    names.push(plot.x.clone());
    text::values(&row.settings, &names)
}

fn left_of(names: &[String]) -> f64 {
    let longest = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    let side = 12.0 + 6.6 * longest as f64;
    if side > NAMES { ABOVE } else { side }
}

fn foot(drawing: &mut Drawing, x: &Scale, bottom: f64, left: f64, name: &str) {
    drawing.x_ticks(x, &x.ticks(5), bottom);
    drawing.line("axis", (left, bottom), (RIGHT, bottom));
    drawing.line("axis", (left, TOP), (left, bottom));
    drawing.text(
        "name",
        ((left + RIGHT) / 2.0, bottom + FOOT - 6.0),
        "middle",
        name,
    );
}

fn interval(drawing: &mut Drawing, class: &str, row: &Row, column: &str, x: &Scale, y: f64) {
    let Some(estimate) = row.values.get(column) else {
        return;
    };
    let (Some(low), Some(high)) = (estimate.low, estimate.high) else {
        return;
    };
    let (from, to) = (x.at(low), x.at(high));
    drawing.line(class, (from, y), (to, y));
    drawing.line(class, (from, y - 3.0), (from, y + 3.0));
    drawing.line(class, (to, y - 3.0), (to, y + 3.0));
}
