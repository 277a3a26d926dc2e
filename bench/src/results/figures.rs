//! Medians, and figures as people read them.

use crate::rows::Unit;

/// The middle and the ends of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

impl Spread {
    /// Of these.
    pub(super) fn new(figures: &[f64]) -> Self {
        let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
        let most = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { median: median(figures), least, most }
    }

    /// `median (least–most)`.
    pub(super) fn shown(&self, unit: Unit) -> String {
        let [median, least, most] = [self.median, self.least, self.most].map(|figure| unit.shown(figure));
        format!("{median} ({least}–{most})")
    }
}

impl Unit {
    /// A figure with its unit.
    pub(super) fn shown(self, figure: f64) -> String {
        match self {
            Self::PerSecond if figure >= 1e6 => format!("{:.2} M/s", figure / 1e6),
            Self::PerSecond => format!("{:.1} k/s", figure / 1e3),
            Self::Microseconds if figure >= 1e4 => format!("{:.0} ms", figure / 1e3),
            Self::Microseconds if figure < 10.0 => format!("{figure:.1} µs"),
            Self::Microseconds => format!("{figure:.0} µs"),
            Self::Milliseconds => format!("{figure:.0} ms"),
            Self::Nanoseconds => format!("{figure:.0} ns"),
            Self::Kibibytes => format!("{figure:.2} KiB"),
            Self::Percent if figure < 10.0 => format!("{figure:.1} %"),
            Self::Percent => format!("{figure:.0} %"),
        }
    }
}

/// With as many digits as mean something.
pub(super) fn ratio(ratio: f64) -> String {
    if ratio < 0.1 { format!("{ratio:.3}") } else { format!("{ratio:.2}") }
}

/// The middle one, or the mean of both.
pub(super) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[length / 2],
        length => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_and_the_ends() {
        let spread = Spread::new(&[3e6, 1e6, 2e3]);
        assert_eq!(spread, Spread { median: 1e6, least: 2e3, most: 3e6 });
        assert_eq!(spread.shown(Unit::PerSecond), "1.00 M/s (2.0 k/s–3.00 M/s)");
        assert_eq!(median(&[1.0, 4.0, 2.0, 3.0]), 2.5);
    }
}
