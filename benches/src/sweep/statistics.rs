//! Quantiles and means with 95 % confidence intervals.
//!
//! A point is measured in several *runs*: requests within a run share a cluster and what happened on the machine at that time,
//! so they are not independent, and a thousand of them do not make a thousand observations. Therefore:
//!
//! - **Several runs**: the *two-stage bootstrap*. Draw as many runs as there are, with replacement; of each drawn run draw as many
//!   requests as it has, with replacement; take the statistic of all that was drawn (Davison and Hinkley, *Bootstrap Methods and their
//!   Application*, 3.8). The interval lies between two quantiles of 1,000 such values, or of fewer, but at least 400, where the requests are very
//!   many. Not between those at 2.5 % and 97.5 %: a handful of runs, drawn from themselves, vary less than runs do, and with five such an
//!   interval holds the truth about 85 times in a hundred. The quantiles are further out, so far that the mean of normal values gets Student's
//!   interval (*expanded percentile interval*; Hesterberg, *What Teachers Should Know About the Bootstrap*, 2015, 5.3): with five runs at 0.1 % and
//!   99.9 %. From two or three runs no interval of this kind is wide enough: it ends at the extreme runs, and the runs' own values are plotted as well.
//! - **One run**: the *order-statistic interval* of a quantile, from the binomial distribution of how many values lie below it,
//!   without an assumption on the distribution but with that of independence (David and Nagaraja, *Order Statistics*, 7.1).
//!   Where there are too few values for an upper end, there is none. A mean has no interval then.
//! - **One number a run** (requests a second, bytes): Student's t interval of the mean over runs, from two runs on.
//!
//! Quantiles are of nearest rank, of all runs' values together, never interpolated. The bootstrap's generator has a fixed seed:
//! the same records give the same report.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

/// How often the bootstrap draws all requests anew, at most and at least, and how many requests it draws if it may choose.
const RESAMPLES: (usize, usize) = (400, 1_000);
const DRAWN: usize = 20_000_000;
/// The bootstrap's seed.
const SEED: u64 = 0x0053_7765_6570;
/// Two-sided 95 % quantiles of Student's t for 1, 2, … degrees of freedom.
const STUDENT_T: [f64; 20] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
];

/// The lower quantile of the bootstrap's values that is the interval's end with 2, 3, … runs; the upper one is as far from the other side. For n runs
/// Φ(−t·√(n / (n − 1))), with t as above for n − 1 degrees of freedom.
const TAILS: [f64; 20] = [
    1.7e-72, 6.82e-8, 0.000_119, 0.000_956, 0.00243, 0.00411, 0.00573, 0.00722, 0.00855, 0.00973,
    0.0108, 0.0117, 0.0125, 0.0132, 0.0139, 0.0144, 0.0150, 0.0154, 0.0159, 0.0163,
];

/// A value with its 95 % confidence interval, as far as there is one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Estimate {
    pub(super) value: f64,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
}

/// What is estimated of a set of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Statistic {
    /// The value of nearest rank, 0 < q < 1.
    Quantile(f64),
    /// The arithmetic mean.
    Mean,
}

/// Estimates statistics of the values of several runs. Nothing if there are no values. What failed is given as infinite; a quantile that falls among
/// these is nothing, and an end of an interval that does is none.
pub(super) fn estimate(runs: &[&[f64]], statistics: &[Statistic]) -> Vec<Option<Estimate>> {
    let runs: Vec<&[f64]> = runs.iter().copied().filter(|run| !run.is_empty()).collect();
    let mut all: Vec<f64> = runs.concat();
    all.sort_by(f64::total_cmp);
    if all.is_empty() {
        return vec![None; statistics.len()];
    }
    let drawn = (runs.len() > 1).then(|| resampled(&runs, statistics));
    let tail = TAILS
        .get(runs.len().saturating_sub(2))
        .copied()
        .unwrap_or(0.0163);
    statistics
        .iter()
        .enumerate()
        .map(|(place, statistic)| {
            let value = of_sorted(&all, *statistic);
            let (low, high) = match (&drawn, statistic) {
                (Some(drawn), _) => {
                    let mut values: Vec<f64> = drawn
                        .iter()
                        .filter_map(|values| values.get(place).copied())
                        .collect();
                    values.sort_by(f64::total_cmp);
                    let (low, high) = (rank(&values, tail), rank(&values, 1.0 - tail));
                    (Some(low), Some(high))
                }
                (None, Statistic::Quantile(q)) => order_statistics(&all, *q),
                (None, Statistic::Mean) => (None, None),
            };
            let finite = |end: Option<f64>| end.filter(|end| end.is_finite());
            value.is_finite().then_some(Estimate {
                value,
                low: finite(low),
                high: finite(high),
            })
        })
        .collect()
}

/// Whether a quantity can be below zero: a difference of two times can, a time cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// Its interval ends at zero at the latest.
    NeverNegative,
    /// Its interval is left as it is.
    Any,
}

/// The mean of one number a run.
pub(super) fn mean_of_runs(values: &[f64], sign: Sign) -> Option<Estimate> {
    let count = values.len();
    let mean = values.iter().sum::<f64>() / count as f64;
    let half = match count {
        0 => return None,
        1 => None,
        _ => {
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            let error = (squares / (count - 1) as f64 / count as f64).sqrt();
            Some(STUDENT_T.get(count - 2).copied().unwrap_or(1.96) * error)
        }
    };
    Some(Estimate {
        value: mean,
        low: half.map(|half| match sign {
            Sign::NeverNegative => (mean - half).max(0.0),
            Sign::Any => mean - half,
        }),
        high: half.map(|half| mean + half),
    })
}

/// Half the height of the 95 % band around a distribution function of `count` independent values (Dvoretzky, Kiefer,
/// Wolfowitz, with Massart's constant).
pub(super) fn distribution_band(count: usize) -> f64 {
    ((2.0_f64 / 0.05).ln() / (2.0 * count.max(1) as f64)).sqrt()
}

fn of_sorted(sorted: &[f64], statistic: Statistic) -> f64 {
    match statistic {
        Statistic::Quantile(q) => rank(sorted, q),
        Statistic::Mean => sorted.iter().sum::<f64>() / sorted.len().max(1) as f64,
    }
}

/// The value of nearest rank of sorted values; NaN if there are none.
pub(super) fn rank(sorted: &[f64], q: f64) -> f64 {
    let rank = (q * sorted.len() as f64).ceil().max(1.0) as usize;
    sorted
        .get(rank - 1)
        .or(sorted.last())
        .copied()
        .unwrap_or(f64::NAN)
}

fn resampled(runs: &[&[f64]], statistics: &[Statistic]) -> Vec<Vec<f64>> {
    let mut random = StdRng::seed_from_u64(SEED);
    let mut drawn = Vec::new();
    let requests: usize = runs.iter().map(|run| run.len()).sum();
    let resamples = (DRAWN / requests.max(1)).clamp(RESAMPLES.0, RESAMPLES.1);
    let sorted = statistics
        .iter()
        .any(|statistic| *statistic != Statistic::Mean);
    (0..resamples)
        .map(|_| {
            drawn.clear();
            for _ in runs {
                let Some(run) = runs.get(random.random_range(0..runs.len())) else {
                    continue;
                };
                drawn.extend(
                    (0..run.len()).filter_map(|_| run.get(random.random_range(0..run.len()))),
                );
            }
            if sorted {
                drawn.sort_unstable_by(f64::total_cmp);
            }
            statistics
                .iter()
                .map(|statistic| of_sorted(&drawn, *statistic))
                .collect()
        })
        .collect()
}

/// The values of the ranks l < u with P(l ≤ B < u) ≥ 95 % for B binomial(n, q), each tail at most 2.5 %.
fn order_statistics(sorted: &[f64], q: f64) -> (Option<f64>, Option<f64>) {
    let count = sorted.len();
    let (mut below, mut lower, mut upper) = (0.0, 0, None);
    let mut log_chance = count as f64 * (1.0 - q).ln();
    for successes in 0..=count {
        below += log_chance.exp();
        // below = P(B ≤ successes). The true quantile lies under the value of rank l with the chance P(B < l).
        if below <= 0.025 {
            lower = successes + 1;
        }
        if upper.is_none() && below >= 0.975 {
            upper = Some(successes + 1);
        }
        log_chance +=
            ((count - successes) as f64 / (successes + 1) as f64).ln() + (q / (1.0 - q)).ln();
    }
    let at = |rank: usize| {
        rank.checked_sub(1)
            .and_then(|place| sorted.get(place).copied())
    };
    (at(lower), upper.and_then(at))
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::float_cmp,
        clippy::panic,
        missing_docs
    )]
    use super::*;

    fn up_to(count: u32) -> Vec<f64> {
        (1..=count).map(f64::from).collect()
    }

    #[test]
    fn the_interval_of_a_median_is_that_of_the_tables() {
        // Tables of the sign test: n = 20 gives ranks 6 and 15, n = 100 gives 40 and 61.
        assert_eq!(order_statistics(&up_to(20), 0.5), (Some(6.0), Some(15.0)));
        assert_eq!(order_statistics(&up_to(100), 0.5), (Some(40.0), Some(61.0)));
    }

    #[test]
    fn a_high_quantile_of_few_values_has_no_upper_end() {
        let (low, high) = order_statistics(&up_to(100), 0.99);
        assert!(low.is_some());
        assert_eq!(high, None);
        let (_, high) = order_statistics(&up_to(1_000), 0.99);
        assert!(high.is_some_and(|high| high > 990.0));
    }

    #[test]
    fn runs_that_differ_widen_the_interval() {
        let (a, b) = (vec![1.0; 500], vec![2.0; 500]);
        let alike = estimate(&[&a, &a], &[Statistic::Mean])[0].unwrap();
        let apart = estimate(&[&a, &b], &[Statistic::Mean])[0].unwrap();
        assert_eq!((alike.low, alike.high), (Some(1.0), Some(1.0)));
        assert_eq!(
            (apart.value, apart.low, apart.high),
            (1.5, Some(1.0), Some(2.0))
        );
    }

    /// In how many of so many experiments the interval of the mean holds the truth. In each: runs of 12 values around a run's own centre.
    fn covered(experiments: u32, runs: u32, apart: f64) -> usize {
        let mut random = StdRng::seed_from_u64(7);
        let mut normal = move || -> f64 {
            let (u, v): (f64, f64) = (random.random(), random.random());
            (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
        };
        (0..experiments)
            .filter(|_| {
                let runs: Vec<Vec<f64>> = (0..runs)
                    .map(|_| {
                        let centre = apart * normal();
                        (0..12).map(|_| centre + normal()).collect()
                    })
                    .collect();
                let runs: Vec<&[f64]> = runs.iter().map(Vec::as_slice).collect();
                let mean = estimate(&runs, &[Statistic::Mean])[0].unwrap();
                mean.low.unwrap() <= 0.0 && 0.0 <= mean.high.unwrap()
            })
            .count()
    }

    #[test]
    fn the_bootstrap_of_five_runs_covers_the_truth_about_as_often_as_it_says() {
        // Of 100 at 95 %: 95, with a standard deviation of two. Quantiles at 2.5 % and 97.5 % would cover some 85.
        let far_apart = covered(100, 5, 5.0);
        assert!((90..100).contains(&far_apart), "{far_apart} of 100");
        // Where runs differ little, the interval is wider than need be.
        let alike = covered(50, 5, 0.1);
        assert!(alike >= 47, "{alike} of 50");
    }

    #[test]
    fn one_number_a_run_gets_students_interval() {
        let three = mean_of_runs(&[9.0, 10.0, 11.0], Sign::NeverNegative).unwrap();
        assert!((three.high.unwrap() - (10.0 + 4.303 / 3.0_f64.sqrt())).abs() < 1e-9);
        assert_eq!(mean_of_runs(&[5.0], Sign::Any).unwrap().low, None);
        assert_eq!(mean_of_runs(&[], Sign::Any), None);
    }

    #[test]
    fn only_what_cannot_be_negative_is_cut_at_zero() {
        let runs = [-0.1, 0.0, 0.1];
        assert_eq!(
            mean_of_runs(&runs, Sign::NeverNegative).unwrap().low,
            Some(0.0)
        );
        let difference = mean_of_runs(&runs, Sign::Any).unwrap();
        assert!((difference.low.unwrap() + difference.high.unwrap()).abs() < 1e-9);
    }

    #[test]
    fn a_quantile_among_the_failures_is_none_and_has_no_upper_end() {
        let mut run = up_to(90);
        run.extend([f64::INFINITY; 10]);
        let statistics = [0.5, 0.9, 0.99].map(Statistic::Quantile);
        for runs in [vec![run.as_slice()], vec![run.as_slice(); 3]] {
            let [median, high, highest] = estimate(&runs, &statistics)[..] else {
                panic!("three statistics");
            };
            assert_eq!(median.unwrap().value, 50.0);
            assert_eq!((high.unwrap().value, high.unwrap().high), (90.0, None));
            assert_eq!(highest, None);
        }
    }
}
