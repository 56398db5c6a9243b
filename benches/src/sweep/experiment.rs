//! The experiment's file, and the points that it asks for.
//!
//! ```toml
//! title = "Latency against the number of nodes"
//! about = "One sentence or two for the report's head."
//! instrument = "latency"        # latency, read, ceremony or peers: whose options the settings are
//! repetitions = 3               # each point so often, each time on a new cluster; all points once, then all again
//! seed = 1                      # of the points' order, which is shuffled, so that drift of the machine is not taken for effect; and of all
//!                               # chances of the instrument that can have a seed, unless the settings have one
//!
//! [settings]                    # of every point: the instrument's options without their dashes
//! requests = 400                # true is a bare flag, "" leaves the option away, "a + b" gives it twice
//! _rule = "t = f + 1"           # with an underscore: no option, only a name for the plots
//!
//! [[points]]                    # lists are multiplied out
//! members = 4
//! threshold = 2
//!
//! [vary]                        # multiplied with every point
//! preset = ["lan", "wan"]
//!
//! [quick]                       # what --quick changes
//! repetitions = 1
//! settings = { requests = 40 }
//! only = ["members=4"]
//!
//! [[plots]]
//! kind = "lines"                # lines, knee, cdf, phases (of total = "latency_mean_ms", if not said otherwise), dots
//! title = "Latency against n"
//! x = "members"
//! series = ["preset"]           # tells the lines apart
//! y = ["latency_p50_ms"]        # columns of summary.csv
//! ```
//!
//! Every point is checked against the instrument's own command line before anything is measured.

use std::collections::{BTreeMap, BTreeSet};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::instrument::Instrument;

/// The settings of one point: option → value as it is typed. A flag's value is `true`.
pub(super) type Settings = BTreeMap<String, String>;

/// Those that come with the program: name and text.
const READY: &[(&str, &str)] = &[
    (
        "latency-members",
        include_str!("../../experiments/latency-members.toml"),
    ),
    (
        "latency-networks",
        include_str!("../../experiments/latency-networks.toml"),
    ),
    (
        "throughput",
        include_str!("../../experiments/throughput.toml"),
    ),
    (
        "ceremony-create",
        include_str!("../../experiments/ceremony-create.toml"),
    ),
    (
        "ceremony-reshare",
        include_str!("../../experiments/ceremony-reshare.toml"),
    ),
    (
        "ceremony-real",
        include_str!("../../experiments/ceremony-real.toml"),
    ),
    (
        "ceremony-real-reshare",
        include_str!("../../experiments/ceremony-real-reshare.toml"),
    ),
    ("overload", include_str!("../../experiments/overload.toml")),
    ("faults", include_str!("../../experiments/faults.toml")),
    (
        "approvals",
        include_str!("../../experiments/approvals.toml"),
    ),
    ("record", include_str!("../../experiments/record.toml")),
    (
        "record-share",
        include_str!("../../experiments/record-share.toml"),
    ),
    (
        "peers-reencryption",
        include_str!("../../experiments/peers-reencryption.toml"),
    ),
    (
        "peers-key-generation",
        include_str!("../../experiments/peers-key-generation.toml"),
    ),
];

/// An experiment, checked.
#[derive(Clone, Debug)]
pub(super) struct Experiment {
    pub(super) text: String,
    pub(super) file: File,
    pub(super) quick: bool,
    points: Vec<Settings>,
}

/// The file's content.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) title: String,
    pub(super) about: String,
    pub(super) instrument: Instrument,
    #[serde(default = "one")]
    pub(super) repetitions: u32,
    #[serde(default)]
    pub(super) seed: u64,
    #[serde(default)]
    settings: BTreeMap<String, Value>,
    #[serde(default)]
    points: Vec<BTreeMap<String, Value>>,
    #[serde(default)]
    vary: BTreeMap<String, Value>,
    #[serde(default)]
    quick: Quick,
    #[serde(default)]
    pub(super) plots: Vec<Plot>,
}

fn one() -> u32 {
    1
}

fn whole_request() -> String {
    "latency_mean_ms".to_owned()
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Quick {
    repetitions: Option<u32>,
    #[serde(default)]
    settings: BTreeMap<String, Value>,
    #[serde(default)]
    only: Vec<String>,
}

/// A figure of the report.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Plot {
    pub(super) kind: PlotKind,
    pub(super) title: String,
    /// A sentence below the title.
    #[serde(default)]
    pub(super) about: String,
    /// The setting on the x axis, or, of bars and dots, the rows.
    #[serde(default)]
    pub(super) x: String,
    /// The settings and labels that tell the lines apart.
    #[serde(default)]
    pub(super) series: Vec<String>,
    /// Columns of the summary, such as `latency_p50_ms`.
    #[serde(default)]
    pub(super) y: Vec<String>,
    /// Of phases: the column of the whole.
    #[serde(default = "whole_request")]
    pub(super) total: String,
    /// Only the points with these settings.
    #[serde(default)]
    pub(super) only: Option<String>,
    /// A logarithmic x axis.
    #[serde(default)]
    pub(super) log_x: bool,
    /// A logarithmic y axis (of dots: the values').
    #[serde(default)]
    pub(super) log_y: bool,
}

/// How a figure looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PlotKind {
    /// Values against a setting that is a number, with confidence intervals.
    Lines,
    /// The same against the offered rate, with the knee.
    Knee,
    /// Distributions of all requests' latency, with confidence bands.
    Cdf,
    /// Stacked mean times of a request's phases.
    Phases,
    /// Values of named things beside each other, with confidence intervals.
    Dots,
}

/// A setting's value, or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Boolean(bool),
    Integer(i64),
    Number(f64),
    Text(String),
    List(Vec<Value>),
}

impl Value {
    /// What is typed, one for each value.
    fn choices(&self) -> Vec<String> {
        match self {
            Self::Boolean(value) => vec![value.to_string()],
            Self::Integer(value) => vec![value.to_string()],
            Self::Number(value) => vec![value.to_string()],
            Self::Text(value) => vec![value.clone()],
            Self::List(values) => values.iter().flat_map(Self::choices).collect(),
        }
    }
}

/// The ready experiments: name, title, and sentence.
pub(super) fn ready() -> Result<Vec<(&'static str, File)>, Failure> {
    READY
        .iter()
        .map(|(name, text)| Ok((*name, parse(name, text)?)))
        .collect()
}

fn parse(name: &str, text: &str) -> Result<File, Failure> {
    toml::from_str(text).map_err(|error| Failure::Experiment {
        file: name.to_owned(),
        reason: error.to_string(),
    })
}

impl Experiment {
    /// A ready experiment by its name, or a file by its path.
    pub(super) fn open(name: &str, quick: bool) -> Result<Self, Failure> {
        if let Some((name, text)) = READY.iter().find(|(ready, _)| *ready == name) {
            return Self::of(name, text, quick);
        }
        let text = match std::fs::read_to_string(name) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Failure::Unknown(name.to_owned()));
            }
            Err(reason) => return Err(Failure::io(format!("read {name}"))(reason)),
        };
        Self::of(name, &text, quick)
    }

    /// Of a file's text; `name` is for messages.
    pub(super) fn of(name: &str, text: &str, quick: bool) -> Result<Self, Failure> {
        let wrong = |reason: String| Failure::Experiment {
            file: name.to_owned(),
            reason,
        };
        let mut file = parse(name, text)?;
        let mut points = multiply_out(&file);
        if quick {
            file.repetitions = file.quick.repetitions.unwrap_or(file.repetitions);
            for (option, value) in &file.quick.settings {
                for point in &mut points {
                    point.extend(value.choices().into_iter().map(|one| (option.clone(), one)));
                }
            }
            if !file.quick.only.is_empty() {
                let only = Only::parse(&file.quick.only, &points)?;
                points.retain(|point| only.takes(point));
            }
        }
        if file.repetitions == 0 {
            return Err(wrong("repetitions must be at least 1".to_owned()));
        }
        let mut slugs = BTreeSet::new();
        for point in &points {
            file.instrument
                .check(point)
                .map_err(|reason| wrong(format!("{}: {reason}", label(point))))?;
            slugs.insert(slug(point, &points));
        }
        if slugs.len() != points.len() {
            return Err(wrong("two points have the same settings".to_owned()));
        }
        Ok(Self {
            text: text.to_owned(),
            file,
            quick,
            points,
        })
    }

    /// All points, in the file's order.
    pub(super) fn points(&self) -> &[Settings] {
        &self.points
    }

    /// The folder's name of a point: what distinguishes it from the others.
    pub(super) fn slug(&self, point: &Settings) -> String {
        slug(point, &self.points)
    }

    /// The settings that are not the same in all points, in the order of their first mention in the file.
    pub(super) fn varied(&self) -> Vec<String> {
        varied(&self.points)
    }

    /// What is to be measured: all chosen points once, then all again, each time in another order, which the seed fixes.
    pub(super) fn measurements(&self, only: &Only) -> Vec<(Settings, u32)> {
        let mut random = StdRng::seed_from_u64(self.file.seed);
        (1..=self.file.repetitions)
            .flat_map(|repetition| {
                let mut points: Vec<Settings> = self.points.clone();
                points.shuffle(&mut random);
                points
                    .into_iter()
                    .map(move |point| (point, repetition))
                    .collect::<Vec<_>>()
            })
            .filter(|(point, _)| only.takes(point))
            .collect()
    }
}

fn multiply_out(file: &File) -> Vec<Settings> {
    let mut points: Vec<Settings> = Vec::new();
    let alone = [BTreeMap::new()];
    let tables = if file.points.is_empty() {
        alone.as_slice()
    } else {
        file.points.as_slice()
    };
    for table in tables {
        let mut all = file.settings.clone();
        all.extend(table.clone());
        all.extend(file.vary.clone());
        let mut of_table = vec![Settings::new()];
        for (option, value) in all {
            of_table = of_table
                .into_iter()
                .flat_map(|point| {
                    let option = option.clone();
                    value.choices().into_iter().map(move |choice| {
                        let mut point = point.clone();
                        point.insert(option.clone(), choice);
                        point
                    })
                })
                .collect();
        }
        points.extend(of_table);
    }
    points
}

fn varied(points: &[Settings]) -> Vec<String> {
    let names: BTreeSet<&String> = points.iter().flat_map(BTreeMap::keys).collect();
    names
        .into_iter()
        .filter(|name| {
            let values: BTreeSet<Option<&String>> =
                points.iter().map(|point| point.get(*name)).collect();
            values.len() > 1
        })
        .cloned()
        .collect()
}

fn slug(point: &Settings, points: &[Settings]) -> String {
    let parts: Vec<String> = varied(points)
        .iter()
        .filter_map(|name| point.get(name).map(|value| format!("{name}={value}")))
        .map(|part| {
            part.chars()
                .map(|c| {
                    if c.is_ascii_alphanumeric() || "=.-".contains(c) {
                        c
                    } else {
                        '_'
                    }
                })
                .collect()
        })
        .collect();
    if parts.is_empty() {
        "the-point".to_owned()
    } else {
        parts.join(",")
    }
}

/// A point's settings in one line.
pub(super) fn label(point: &Settings) -> String {
    let parts: Vec<String> = point
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.join(" ")
}

/// A choice of points: any of the alternatives, each a set of settings that all must fit.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Only(Vec<Settings>);

impl Only {
    /// Of texts such as `members=64,preset=wan`; a value may hold commas and `=`. A setting that no point has is refused: it would choose nothing, silently.
    pub(super) fn parse(texts: &[String], points: &[Settings]) -> Result<Self, Failure> {
        texts
            .iter()
            .map(|text| {
                let refuse = |reason: String| Failure::Only(text.clone(), reason);
                let mut wanted = Settings::new();
                let mut last: Option<String> = None;
                for part in text.split(',') {
                    match (part.split_once('='), &last) {
                        (Some((name, value)), _) => {
                            wanted.insert(name.trim().to_owned(), value.trim().to_owned());
                            last = Some(name.trim().to_owned());
                        }
                        // A comma within a value.
                        (None, Some(last)) => {
                            wanted
                                .entry(last.clone())
                                .or_default()
                                .push_str(&format!(",{part}"));
                        }
                        (None, None) => return Err(refuse(format!("{part} is not NAME=VALUE"))),
                    }
                }
                if points.iter().any(|point| fits(&wanted, point)) {
                    Ok(wanted)
                } else {
                    Err(refuse(
                        "no point of the experiment has these settings".to_owned(),
                    ))
                }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a point is chosen; without alternatives all are.
    pub(super) fn takes(&self, point: &Settings) -> bool {
        self.0.is_empty() || self.0.iter().any(|wanted| fits(wanted, point))
    }
}

fn fits(wanted: &Settings, point: &Settings) -> bool {
    wanted
        .iter()
        .all(|(name, value)| point.get(name) == Some(value))
}
