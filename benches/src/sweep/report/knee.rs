//! The knee: how much a cluster takes before users feel it.

use crate::sweep::summary::{Row, number};

/// What the highest good rate must complete of what is offered.
const COMPLETED: f64 = 0.95;
/// How many times the median latency at the lowest rate is still good.
const SLOWER: f64 = 2.0;

/// The knee of one line.
pub(super) struct Knee {
    /// The highest good rate of those measured, if any is.
    pub(super) rate: Option<f64>,
    /// The same in words.
    pub(super) sentence: String,
}

/// The highest measured rate up to which every rate is good: at least 95 % of the requests that come are completed while they come, and the
/// median latency is at most twice that at the lowest rate. `rate` names the setting.
pub(super) fn find(rate: &str, rows: &[&Row]) -> Knee {
    let value = |row: &Row, column: &str| row.values.get(column).map(|estimate| estimate.value);
    let mut measured: Vec<(f64, f64, f64, f64)> = rows
        .iter()
        .filter_map(|row| {
            let offered: f64 = row.setting(rate).parse().ok()?;
            let done = value(row, "requests_per_second")?;
            // Random arrivals are a little more or fewer than the rate says.
            let came = value(row, "offered_per_second").unwrap_or(offered);
            // A row without a median is one most of whose requests failed.
            let median = value(row, "latency_p50_ms").unwrap_or(f64::INFINITY);
            Some((offered, done, done / came, median))
        })
        .collect();
    measured.sort_by(|a, b| a.0.total_cmp(&b.0));
    let Some((_, _, _, calm)) = measured.first().copied() else {
        return Knee {
            rate: None,
            sentence: "Nothing is measured.".to_owned(),
        };
    };
    let good = measured
        .iter()
        .take_while(|(_, _, completed, median)| {
            *completed >= COMPLETED && median.is_finite() && *median <= SLOWER * calm
        })
        .count();
    let rate = good
        .checked_sub(1)
        .and_then(|last| measured.get(last))
        .map(|of| of.0);
    let sentence = match (rate, measured.get(good)) {
        (Some(rate), Some((beyond, done, _, median))) => {
            let median = if median.is_finite() {
                format!("a median of {} ms", number(*median))
            } else {
                "no median, because so many fail".to_owned()
            };
            format!(
                "The knee is at {} requests/s; at {} the cluster completes {} a second with {median}.",
                number(rate),
                number(*beyond),
                number(*done),
            )
        }
        (Some(rate), None) => format!(
            "No knee up to {} requests/s, the highest rate measured.",
            number(rate)
        ),
        (None, _) => "The lowest rate is beyond the knee.".to_owned(),
    };
    Knee { rate, sentence }
}

#[cfg(test)]
mod tests {
    #![allow(missing_docs)]
    use super::*;
    use crate::sweep::statistics::Estimate;

    fn row(rate: f64, done: f64, median: f64) -> Row {
        let estimate = |value| Estimate {
            value,
            low: None,
            high: None,
        };
        Row {
            settings: [("rate".to_owned(), rate.to_string())].into(),
            requests: 1,
            failed: 0,
            values: [
                ("requests_per_second".to_owned(), estimate(done)),
                ("latency_p50_ms".to_owned(), estimate(median)),
            ]
            .into(),
            runs: Vec::new(),
        }
    }

    #[test]
    fn the_knee_is_the_last_rate_before_the_first_bad_one() {
        let rows = [
            row(400.0, 390.0, 1.5),
            row(100.0, 99.0, 1.0),
            row(800.0, 790.0, 2.4),
            // Good again by chance: does not count.
            row(900.0, 890.0, 1.9),
            row(1600.0, 900.0, 300.0),
        ];
        let rows: Vec<&Row> = rows.iter().collect();
        let knee = find("rate", &rows);
        assert_eq!(knee.rate, Some(400.0));
        assert!(knee.sentence.contains("at 800"), "{}", knee.sentence);
    }

    #[test]
    fn a_rate_at_which_most_requests_fail_is_beyond_the_knee() {
        let mut failing = row(200.0, 199.0, 1.0);
        failing.values.remove("latency_p50_ms");
        let rows = [row(100.0, 100.0, 1.0), failing, row(400.0, 399.0, 1.0)];
        let rows: Vec<&Row> = rows.iter().collect();
        let knee = find("rate", &rows);
        assert_eq!(knee.rate, Some(100.0));
        assert!(knee.sentence.contains("no median"), "{}", knee.sentence);
    }

    #[test]
    fn completed_requests_are_held_against_those_that_came() {
        let mut few = row(400.0, 370.0, 1.0);
        let came = Estimate {
            value: 372.0,
            low: None,
            high: None,
        };
        few.values.insert("offered_per_second".to_owned(), came);
        let rows = [row(100.0, 100.0, 1.0), few];
        let rows: Vec<&Row> = rows.iter().collect();
        assert_eq!(find("rate", &rows).rate, Some(400.0));
    }

    #[test]
    fn a_line_without_a_knee_says_so() {
        let rows = [row(100.0, 100.0, 1.0), row(200.0, 199.0, 1.1)];
        let rows: Vec<&Row> = rows.iter().collect();
        assert!(
            find("rate", &rows)
                .sentence
                .starts_with("No knee up to 200")
        );
    }
}
