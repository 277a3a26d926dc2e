//! Bars as SVG, with a whisker from the least to the most.

use std::fmt::Write as _;

use super::figures::Spread;
use crate::rows::Unit;

const WIDTH: f64 = 860.0;
/// Where bars begin and end; names are left, figures right.
const LEFT: f64 = 250.0;
const RIGHT: f64 = 690.0;
const BAR: f64 = 18.0;
const STEP: f64 = 24.0;
const TOP: f64 = 58.0;

/// One bar.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) spread: Spread,
    /// Our own side is drawn in another colour.
    pub(super) ours: bool,
    /// Further from the bar above: a group begins.
    pub(super) begins: bool,
}

/// How far bars reach.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// For figures that are magnitudes apart.
    Logarithmic,
}

/// Draws bars of one unit below each other.
pub(super) fn bars(title: &str, unit: Unit, scale: Scale, bars: &[Bar]) -> String {
    let groups = bars.iter().filter(|bar| bar.begins).count() as f64;
    let height = TOP + bars.len() as f64 * STEP + groups * STEP / 2.0 + 16.0;
    let most = bars.iter().map(|bar| bar.spread.most).fold(f64::MIN_POSITIVE, f64::max);
    let least = bars.iter().map(|bar| bar.spread.least).fold(f64::INFINITY, f64::min).max(f64::MIN_POSITIVE) / 2.0;
    let scale = |figure: f64| {
        let part = match scale {
            Scale::Linear => figure / most,
            Scale::Logarithmic => (figure / least).ln() / (most / least).ln(),
        };
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"{WIDTH}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\"/>\n\
         <text x=\"20\" y=\"32\" font-size=\"17\" font-weight=\"bold\" fill=\"#1f2933\">{}</text>\n",
        escaped(title)
    );
    let mut y = TOP - STEP / 2.0;
    for Bar { name, spread, ours, begins } in bars {
        y += if *begins { STEP / 2.0 } else { 0.0 };
        let (middle, end) = (y + BAR / 2.0, scale(spread.median));
        let (least, most) = (scale(spread.least), scale(spread.most));
        let colour = if *ours { "#0f766e" } else { "#9aa5b1" };
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" fill=\"#1f2933\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
             <path d=\"M{least:.1} {middle}H{most:.1}M{least:.1} {}v8M{most:.1} {}v8\" stroke=\"#1f2933\" fill=\"none\"/>\
             <text x=\"{:.1}\" y=\"{}\" fill=\"#1f2933\">{}</text>",
            LEFT - 10.0,
            y + 14.0,
            escaped(name),
            end - LEFT,
            middle - 4.0,
            middle - 4.0,
            most.max(end) + 8.0,
            y + 14.0,
            unit.shown(spread.median),
        );
        y += STEP;
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_bar_is_a_greater_figure_and_none_leaves_the_picture() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let bar = |figure| Bar {
                name: "a < b & c".to_owned(),
                spread: Spread::new(&[figure / 2.0, figure, figure * 2.0]),
                ours: true,
                begins: false,
            };
            let svg = bars("t", Unit::PerSecond, scale, &[bar(1_000.0), bar(4_000.0)]);
            let widths: Vec<f64> =
                svg.split("width=\"").skip(2).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect();
            assert!(widths[0] < widths[1] && widths[1] <= RIGHT - LEFT, "{widths:?}");
            assert!(svg.contains("a &lt; b &amp; c") && svg.contains("4.0 k/s"), "{svg}");
        }
    }
}
