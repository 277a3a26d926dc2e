//! The figures as a table: median (least–most) of each side, and the median of the rounds' ratios.

use std::fmt::Write as _;

use crate::Side;

/// One figure, over all rounds.
pub(crate) struct Row {
    name: String,
    is_time: bool,
    tidings: Vec<f64>,
    bare: Vec<f64>,
}

impl Row {
    /// A figure a second.
    pub(crate) fn rate(name: impl Into<String>) -> Self {
        Self { name: name.into(), is_time: false, tidings: Vec::new(), bare: Vec::new() }
    }

    /// Microseconds.
    pub(crate) fn time(name: impl Into<String>) -> Self {
        Self { is_time: true, ..Self::rate(name) }
    }

    /// Adds a round's figure.
    pub(crate) fn push(&mut self, side: Side, figure: f64) {
        match side {
            Side::Tidings => self.tidings.push(figure),
            Side::Bare => self.bare.push(figure),
        }
    }

    fn ratio(&self) -> f64 {
        let ratios: Vec<f64> = self.tidings.iter().zip(&self.bare).map(|(tidings, bare)| tidings / bare).collect();
        median(&ratios)
    }

    fn shown(&self, figures: &[f64]) -> String {
        let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
        let most = figures.iter().copied().fold(0.0, f64::max);
        format!("{} ({}–{})", self.one(median(figures)), self.one(least), self.one(most))
    }

    fn one(&self, figure: f64) -> String {
        match figure {
            time if self.is_time => format!("{time:.0} µs"),
            rate if rate >= 1e6 => format!("{:.2} M/s", rate / 1e6),
            rate => format!("{:.0} k/s", rate / 1e3),
        }
    }
}

/// The whole table.
pub(crate) fn render(title: &str, rows: &[Row]) -> String {
    let mut text = format!("{title}\n\n");
    let mut line = |name: &str, tidings: &str, bare: &str, ratio: &str| {
        let _ = writeln!(text, "{name:<32} {tidings:<34} {bare:<34} {ratio:>6}");
    };
    line("", "Tidings: median (least–most)", "bare Redis", "ratio");
    for row in rows {
        line(&row.name, &row.shown(&row.tidings), &row.shown(&row.bare), &format!("{:.2}", row.ratio()));
    }
    text
}

fn median(figures: &[f64]) -> f64 {
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
    fn a_row_has_medians_extremes_and_the_median_ratio() {
        let mut row = Row::rate("publishes");
        for (tidings, bare) in [(1e6, 2e6), (3e6, 4e6), (2e3, 2e6)] {
            row.push(Side::Tidings, tidings);
            row.push(Side::Bare, bare);
        }
        let text = render("title", &[row]);
        assert!(text.contains("1.00 M/s (2 k/s–3.00 M/s)"), "{text}");
        assert!(text.trim_end().ends_with("0.50"), "{text}");
    }
}
