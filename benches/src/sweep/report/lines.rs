//! Values against a setting that is a number, with confidence intervals; and, over the offered rate, the knee.

use super::knee;
use super::scale::Scale;
use super::series::{self, Point, Series, says};
use super::svg::{BOTTOM, Drawing, HEIGHT, LEFT, RIGHT, TOP, legend, line_class};
use super::text;
use crate::sweep::experiment::{Plot, PlotKind};
use crate::sweep::summary::{Summary, number};

/// The drawing with its legend; `None` if nothing of it is measured.
pub(super) fn draw(id: &str, plot: &Plot, summary: &Summary) -> Option<String> {
    let lines = series::lines(plot, summary);
    if lines.is_empty() {
        return None;
    }
    let points = || lines.iter().flat_map(|line| &line.points);
    let values = points().flat_map(|point| {
        let estimate = point.estimate;
        let ends = [Some(estimate.value), estimate.low, estimate.high];
        ends.into_iter().flatten().chain(point.runs.iter().copied())
    });
    let x = Scale::of(points().map(|point| point.x), plot.log_x, (LEFT, RIGHT));
    let y = Scale::of(values, plot.log_y, (BOTTOM, TOP));
    let mut drawing = Drawing::new(HEIGHT);
    let mut places: Vec<f64> = points().map(|point| point.x).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let measured = (places.len() <= 12).then_some(places.as_slice());
    drawing.axes(
        (
            &x,
            &text::scaled(&text::setting(&plot.x), plot.log_x),
            measured,
        ),
        (&y, &text::scaled(&text::axis(&plot.y), plot.log_y)),
    );
    let knees = match plot.kind {
        PlotKind::Knee => mark_knees(&mut drawing, &x, plot, summary),
        _ => Vec::new(),
    };
    for (style, line) in lines.iter().enumerate() {
        draw_line(&mut drawing, style, line, (&x, &y), plot);
    }
    let entries: Vec<(usize, String)> = lines
        .iter()
        .map(|line| line.name.clone())
        .enumerate()
        .collect();
    let mut description = format!(
        "{} against {}, {} lines. The numbers are in the table beside it.",
        text::axis(&plot.y),
        text::setting(&plot.x),
        lines.len()
    );
    for sentence in &knees {
        description.push(' ');
        description.push_str(sentence);
    }
    let mut out = drawing.finish(id, &plot.title, &description);
    out.push_str(&legend(&entries, false));
    for sentence in knees {
        out.push_str(&format!(
            "<p class=\"finding\">{}</p>",
            text::escape(&sentence)
        ));
    }
    Some(out)
}

fn draw_line(
    drawing: &mut Drawing,
    style: usize,
    line: &Series,
    (x, y): (&Scale, &Scale),
    plot: &Plot,
) {
    let class = line_class(style);
    let path: Vec<String> = line
        .points
        .iter()
        .map(|point| format!("{:.1} {:.1}", x.at(point.x), y.at(point.estimate.value)))
        .collect();
    drawing.add(&format!(
        "<path class=\"{class}\" d=\"M{}\"/>",
        path.join("L")
    ));
    for point in &line.points {
        whisker(drawing, &class, point, (x, y));
    }
    for point in &line.points {
        let says = format!(
            "{}: {} {}, {}",
            line.name,
            text::setting(&plot.x),
            number(point.x),
            says(&point.estimate)
        );
        drawing.mark(style, (x.at(point.x), y.at(point.estimate.value)), &says);
    }
}

/// The interval, and each run's own value as a dot.
fn whisker(drawing: &mut Drawing, class: &str, point: &Point, (x, y): (&Scale, &Scale)) {
    let place = x.at(point.x);
    let class = format!("{class} whisker");
    if point.runs.len() > 1 {
        for value in &point.runs {
            let at = y.at(*value);
            drawing.add(&format!(
                "<circle class=\"{class} run\" cx=\"{place:.1}\" cy=\"{at:.1}\" r=\"1.5\"/>"
            ));
        }
    }
    let Some(low) = point.estimate.low else {
        return;
    };
    let (bottom, value) = (y.at(low), y.at(point.estimate.value));
    let top = point.estimate.high.map_or(value, |high| y.at(high));
    drawing.line(&class, (place, bottom), (place, top));
    drawing.line(&class, (place - 3.0, bottom), (place + 3.0, bottom));
    if point.estimate.high.is_some() {
        drawing.line(&class, (place - 3.0, top), (place + 3.0, top));
    }
}

fn mark_knees(drawing: &mut Drawing, x: &Scale, plot: &Plot, summary: &Summary) -> Vec<String> {
    let rows = series::rows(plot, summary);
    let mut sentences = Vec::new();
    for (name, rows) in series::groups(plot, &rows) {
        let knee = knee::find(&plot.x, &rows);
        let who = if name.is_empty() {
            String::new()
        } else {
            format!("{name}: ")
        };
        if let Some(rate) = knee.rate {
            let place = x.at(rate);
            drawing.line("knee", (place, TOP), (place, BOTTOM));
            let (at, anchor) = if place > (LEFT + RIGHT) / 2.0 {
                (place - 5.0, "end")
            } else {
                (place + 5.0, "start")
            };
            let row = TOP + 12.0 + 13.0 * sentences.len() as f64;
            drawing.text(
                "tick",
                (at, row),
                anchor,
                &format!("{who}knee {}/s", number(rate)),
            );
        }
        sentences.push(format!("{who}{}", knee.sentence));
    }
    sentences
}
