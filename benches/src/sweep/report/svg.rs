//! What all plots are drawn with: the frame with its axes, marks, and the legend.

use std::fmt::Write;

use super::scale::Scale;
use super::text::escape;
use crate::sweep::summary::number;

/// Units of the drawing; the page scales it to its column.
pub(super) const WIDTH: f64 = 460.0;
/// The height of a plot with two axes.
pub(super) const HEIGHT: f64 = 300.0;
/// Room for the axes.
pub(super) const LEFT: f64 = 50.0;
/// Room at the right end of the x axis.
pub(super) const RIGHT: f64 = WIDTH - 14.0;
/// Room above.
pub(super) const TOP: f64 = 12.0;
/// Where the x axis is.
pub(super) const BOTTOM: f64 = HEIGHT - 44.0;
/// How many colours and shapes there are; more lines than that repeat them.
const STYLES: usize = 6;
/// How many colours of bars there are.
pub(super) const BARS: usize = 9;

/// A drawing that grows.
#[derive(Debug, Default)]
pub(super) struct Drawing {
    body: String,
    height: f64,
}

impl Drawing {
    /// An empty one of this height.
    pub(super) fn new(height: f64) -> Self {
        Self {
            body: String::new(),
            height,
        }
    }

    /// Adds elements.
    pub(super) fn add(&mut self, elements: &str) {
        self.body.push_str(elements);
        self.body.push('\n');
    }

    /// A line.
    pub(super) fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ = writeln!(
            self.body,
            "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
        );
    }

    /// Text; `anchor` is start, middle or end.
    pub(super) fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: &str, text: &str) {
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
            escape(text)
        );
    }

    /// Both axes with grid, ticks and names. `x_ticks` replaces the x axis' own.
    pub(super) fn axes(&mut self, x: (&Scale, &str, Option<&[f64]>), y: (&Scale, &str)) {
        let (bottom, (x_scale, x_name, x_ticks)) = (self.height - (HEIGHT - BOTTOM), x);
        let (y_scale, y_name) = y;
        for tick in y_scale.ticks(5) {
            let place = y_scale.at(tick);
            self.line("grid", (LEFT, place), (RIGHT, place));
            self.text("tick", (LEFT - 6.0, place + 4.0), "end", &tick_text(tick));
        }
        let own = x_scale.ticks(6);
        self.x_ticks(x_scale, x_ticks.unwrap_or(&own), bottom);
        self.line("axis", (LEFT, bottom), (RIGHT, bottom));
        self.text(
            "name",
            ((LEFT + RIGHT) / 2.0, self.height - 6.0),
            "middle",
            x_name,
        );
        let (x, y) = (13.0, (TOP + bottom) / 2.0);
        let _ = writeln!(
            self.body,
            "<text class=\"name\" transform=\"translate({x} {y:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(y_name)
        );
    }

    /// Ticks below an x axis at `bottom`; those that would run into the one before have no number.
    pub(super) fn x_ticks(&mut self, scale: &Scale, ticks: &[f64], bottom: f64) {
        let mut free = f64::NEG_INFINITY;
        for tick in ticks {
            let (place, text) = (scale.at(*tick), tick_text(*tick));
            let half = 3.6 * text.len() as f64;
            self.line("grid", (place, TOP), (place, bottom + 4.0));
            if place - half > free {
                self.text("tick", (place, bottom + 17.0), "middle", &text);
                free = place + half + 4.0;
            }
        }
    }

    /// A value that can be pointed at: the mark of a style, and what is said of it.
    pub(super) fn mark(&mut self, style: usize, (x, y): (f64, f64), says: &str) {
        let _ = writeln!(
            self.body,
            "<g class=\"mark c{}\" data-says=\"{says}\"><title>{says}</title><circle class=\"hit\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"11\"/>{}</g>",
            style % STYLES,
            shape(style, (x, y)),
            says = escape(says),
        );
    }

    /// The whole, with a title and a sentence for those who do not see it.
    pub(super) fn finish(self, id: &str, title: &str, description: &str) -> String {
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"group\" aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n{}</svg>",
            self.height,
            escape(title),
            escape(description),
            self.body
        )
    }
}

/// A tick's number, short.
fn tick_text(value: f64) -> String {
    match value {
        _ if value >= 1e6 => format!("{}M", number(value / 1e6)),
        _ if value >= 1e4 => format!("{}k", number(value / 1e3)),
        _ => number(value),
    }
}

fn shape(style: usize, (x, y): (f64, f64)) -> String {
    match style % STYLES {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.6\"/>"),
        1 => format!("<path d=\"M{:.1} {:.1}h6.4v6.4h-6.4z\"/>", x - 3.2, y - 3.2),
        2 => format!("<path d=\"M{x:.1} {:.1}l4.4 7.4h-8.8z\"/>", y - 4.6),
        3 => format!(
            "<path d=\"M{x:.1} {:.1}l4.6 4.6l-4.6 4.6l-4.6 -4.6z\"/>",
            y - 4.6
        ),
        4 => format!("<path d=\"M{x:.1} {:.1}l4.4 -7.4h-8.8z\"/>", y + 4.6),
        _ => format!("<circle class=\"ring\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.4\"/>"),
    }
}

/// The class of a line of this style.
pub(super) fn line_class(style: usize) -> String {
    format!("series c{} d{}", style % STYLES, (style / STYLES) % 2)
}

/// The legend below a plot: styles with their names.
pub(super) fn legend(entries: &[(usize, String)], bars: bool) -> String {
    if entries.len() < 2 {
        return String::new();
    }
    let mut out = String::from("<ul class=\"legend\">");
    for (style, name) in entries {
        let class = line_class(*style);
        let picture = if bars {
            format!(
                "<rect class=\"bar c{}\" width=\"16\" height=\"14\"/><text class=\"segment\" x=\"8\" y=\"11\" text-anchor=\"middle\">{}</text>",
                style % BARS,
                style + 1
            )
        } else {
            format!(
                "<path class=\"{class}\" d=\"M0 7h26\"/><g class=\"c{}\">{}</g>",
                style % STYLES,
                shape(*style, (13.0, 7.0))
            )
        };
        let width = if bars { 16 } else { 26 };
        let _ = write!(
            out,
            "<li><svg viewBox=\"0 0 {width} 14\" width=\"{width}\" height=\"14\" aria-hidden=\"true\">{picture}</svg>{}</li>",
            escape(name)
        );
    }
    out.push_str("</ul>");
    out
}
