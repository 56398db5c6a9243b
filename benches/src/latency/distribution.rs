//! Percentiles of what was measured.

use serde::Serialize;

/// Exact percentiles (nearest rank) of a set of durations. Of none they are not zero but no number (null in JSON).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Distribution {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
    pub(super) max: f64,
    pub(super) mean: f64,
}

impl Distribution {
    /// Of these values, in their own unit.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        Self::with_failures(values, 0)
    }

    /// Of these times, and of so many things that never ended: they count as infinitely long, so that a percentile that falls among them is
    /// infinite (null in JSON). The mean is of those that ended.
    pub(super) fn with_failures(values: impl IntoIterator<Item = f64>, failed: usize) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let mean = sorted.iter().sum::<f64>() / sorted.len() as f64;
        sorted.extend(std::iter::repeat_n(f64::INFINITY, failed));
        let at = |percent: usize| {
            let rank = (percent * sorted.len()).div_ceil(100).max(1);
            sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
        };
        Self {
            p50: at(50),
            p90: at(90),
            p95: at(95),
            p99: at(99),
            max: at(100),
            mean,
        }
    }

    /// Of values that were counted in buckets: each stands for the upper end of its bucket, in ascending order. The
    /// mean is exact, from the sum.
    pub(super) fn of_counts(buckets: &[(f64, u64)], sum: f64) -> Self {
        let count: u64 = buckets.iter().map(|(_, count)| count).sum();
        let at = |percent: u64| {
            let rank = (percent * count).div_ceil(100).max(1);
            let mut below = 0;
            buckets
                .iter()
                .find(|(_, count)| {
                    below += count;
                    below >= rank
                })
                .map_or(f64::NAN, |(value, _)| *value)
        };
        Self {
            p50: at(50),
            p90: at(90),
            p95: at(95),
            p99: at(99),
            max: at(100),
            mean: sum / count as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, clippy::indexing_slicing, missing_docs)]
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let of = Distribution::of((1..=200).rev().map(f64::from));
        assert_eq!(
            (of.p50, of.p90, of.p95, of.p99, of.max),
            (100.0, 180.0, 190.0, 198.0, 200.0)
        );
        assert_eq!(of.mean, 100.5);
    }

    #[test]
    fn counted_values_have_the_percentiles_of_the_same_values_one_by_one() {
        let values = (1..=200).map(|value| f64::from(value % 20));
        let buckets: Vec<(f64, u64)> = (0..20).map(|value| (f64::from(value), 10)).collect();
        let counted = Distribution::of_counts(&buckets, values.clone().sum());
        assert_eq!(counted, Distribution::of(values));
    }

    #[test]
    fn what_failed_took_for_ever() {
        let of = Distribution::with_failures((1..=94).map(f64::from), 6);
        assert_eq!((of.p50, of.p90, of.mean), (50.0, 90.0, 47.5));
        assert_eq!([of.p95, of.p99, of.max], [f64::INFINITY; 3]);
        let shown = serde_json::to_value(of).unwrap_or_default();
        assert!(shown["p90"] == 90.0 && shown["p99"].is_null(), "{shown}");
    }

    #[test]
    fn one_value_is_all_of_them_and_none_is_not_zero() {
        let one = Distribution::of([7.0]);
        assert_eq!((one.p50, one.p99, one.max, one.mean), (7.0, 7.0, 7.0, 7.0));
        for none in [
            Distribution::of([]),
            Distribution::of_counts(&[], 0.0),
            Distribution::with_failures([], 0),
        ] {
            let shown = serde_json::to_value(none).unwrap_or_default();
            let fields = shown.as_object().into_iter().flatten();
            assert!(
                fields.clone().count() == 6 && fields.clone().all(|(_, value)| value.is_null())
            );
        }
        let all_failed = Distribution::with_failures([], 3);
        assert!(all_failed.p50.is_infinite() && all_failed.mean.is_nan());
    }
}
