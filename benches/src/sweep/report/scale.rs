//! From values to places on an axis, and the ticks beside it.

/// A linear or logarithmic axis: `low` to `high` is drawn from `start` to `end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
    log: bool,
}

impl Scale {
    /// An axis that shows all these values. A linear one begins at zero; a logarithmic one has a little room at both ends.
    pub(super) fn of(
        values: impl IntoIterator<Item = f64>,
        log: bool,
        (start, end): (f64, f64),
    ) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values
            .into_iter()
            .filter(|v| v.is_finite() && (!log || *v > 0.0))
        {
            (low, high) = (low.min(value), high.max(value));
        }
        if !(low.is_finite() && high.is_finite()) {
            (low, high) = if log { (1.0, 10.0) } else { (0.0, 1.0) };
        }
        if log {
            let room = (high / low).powf(0.05).max(1.1);
            (low, high) = (low / room, high * room);
        } else {
            (low, high) = (low.min(0.0), if high > 0.0 { high * 1.05 } else { 1.0 });
        }
        Self {
            low,
            high,
            start,
            end,
            log,
        }
    }

    /// The place of a value; values beyond the axis are at its ends.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = if self.log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.start + part.clamp(0.0, 1.0) * (self.end - self.start)
    }

    /// Round values on the axis, some `about` of them.
    pub(super) fn ticks(&self, about: usize) -> Vec<f64> {
        if self.log {
            self.log_ticks(about)
        } else {
            self.linear_ticks(about)
        }
    }

    fn linear_ticks(&self, about: usize) -> Vec<f64> {
        let rough = (self.high - self.low) / about.max(1) as f64;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|factor| factor * power)
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let first = (self.low / step).ceil();
        (0..=about * 2)
            .map(|count| (first + count as f64) * step)
            .take_while(|tick| *tick <= self.high)
            .collect()
    }

    fn log_ticks(&self, about: usize) -> Vec<f64> {
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let of = |factors: &[f64]| -> Vec<f64> {
            powers
                .clone()
                .flat_map(|power| {
                    factors
                        .iter()
                        .map(move |factor| factor * 10_f64.powi(power))
                })
                .filter(|tick| (self.low..=self.high).contains(tick))
                .collect()
        };
        // The densest set that is not too dense.
        let sets: [&[f64]; 4] = [
            &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
            &[1.0, 2.0, 5.0],
            &[1.0, 3.0],
            &[1.0],
        ];
        sets.iter()
            .map(|factors| of(factors))
            .find(|ticks| ticks.len() <= about + 2)
            .unwrap_or_else(|| of(&[1.0]))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::float_cmp, missing_docs)]
    use super::*;

    #[test]
    fn linear_axes_begin_at_zero_and_have_round_ticks() {
        let axis = Scale::of([3.0, 9.7], false, (0.0, 100.0));
        assert_eq!(axis.at(0.0), 0.0);
        assert_eq!(axis.ticks(5), [0.0, 5.0, 10.0]);
    }

    #[test]
    fn logarithmic_axes_space_by_ratio() {
        let axis = Scale::of([1.0, 100.0], true, (0.0, 100.0));
        assert!((axis.at(10.0) - 50.0).abs() < 1e-9);
        assert_eq!(axis.ticks(4), [1.0, 3.0, 10.0, 30.0, 100.0]);
    }

    #[test]
    fn no_values_are_no_special_case() {
        assert!(!Scale::of([], false, (0.0, 1.0)).ticks(4).is_empty());
        assert!(
            !Scale::of([0.0, f64::NAN], true, (0.0, 1.0))
                .ticks(4)
                .is_empty()
        );
    }
}
