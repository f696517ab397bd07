//! Small line charts, drawn by hand.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// What a legend takes below it.
const LEGEND: f64 = 24.0;
/// Points a line is drawn with; more than pixels would only make the file large.
const MOST_POINTS: usize = 2_000;

/// A line.
pub(super) struct Line {
    pub(super) name: String,
    /// A class of the page's style.
    pub(super) class: &'static str,
    /// By ascending x.
    pub(super) points: Vec<(f64, f64)>,
    /// Whether a value holds until the next, rather than changing on the way.
    pub(super) stepped: bool,
}

/// A chart with its legend, for a page.
pub(super) fn chart(x_label: &str, y_label: &str, lines: &[Line], limit: Option<(f64, &str)>) -> String {
    let svg = drawing(x_label, y_label, lines, limit);
    let legend = lines.iter().map(|line| format!("<li class=\"{}\">{}</li>", line.class, escape(&line.name)));
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">{svg}</svg><ul class=\"legend\">{}</ul>",
        legend.collect::<String>()
    )
}

/// A chart with its legend, as a file of its own.
pub(super) fn image(x_label: &str, y_label: &str, lines: &[Line], style: &str) -> String {
    let svg = drawing(x_label, y_label, lines, None);
    let legend = lines
        .iter()
        .map(|line| format!("<tspan class=\"{}\" dx=\"14\">— {}</tspan>", line.class, escape(&line.name)));
    let height = HEIGHT + LEGEND;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" font-family=\"sans-serif\">\
         <style>{style}</style><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>{svg}\
         <text class=\"names\" x=\"{LEFT}\" y=\"{}\">{}</text></svg>\n",
        height - 8.0,
        legend.collect::<String>()
    )
}

/// Axes from 0, the lines, and a line across where a limit is given.
fn drawing(x_label: &str, y_label: &str, lines: &[Line], limit: Option<(f64, &str)>) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
    let x_most = ceiling(most(&mut all().map(|point| point.0)));
    let y_most = ceiling(most(&mut all().map(|point| point.1).chain(limit.map(|limit| limit.0))));
    let x = |value: f64| LEFT + value / x_most * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / y_most * (HEIGHT - TOP - BOTTOM);

    let mut svg = String::new();
    let mut draw = |element: String| svg.push_str(&element);
    for part in 0..=5 {
        let share = f64::from(part) / 5.0;
        let (at_x, at_y) = (x(x_most * share), y(y_most * share));
        draw(format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at_y:.1}\" y2=\"{at_y:.1}\"/>",
            WIDTH - RIGHT
        ));
        draw(format!(
            "<text class=\"y\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            at_y + 4.0,
            tick(y_most * share)
        ));
        draw(format!(
            "<text class=\"x\" x=\"{at_x:.1}\" y=\"{:.1}\">{}</text>",
            HEIGHT - BOTTOM + 16.0,
            tick(x_most * share)
        ));
    }
    draw(format!(
        "<text class=\"x\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        (LEFT + WIDTH) / 2.0,
        HEIGHT - 6.0,
        escape(x_label)
    ));
    let middle = (HEIGHT - BOTTOM) / 2.0;
    draw(format!(
        "<text class=\"x\" transform=\"translate(12 {middle:.1}) rotate(-90)\">{}</text>",
        escape(y_label)
    ));
    if let Some((value, name)) = limit {
        let at_y = y(value);
        draw(format!(
            "<line class=\"limit\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at_y:.1}\" y2=\"{at_y:.1}\"/>",
            WIDTH - RIGHT
        ));
        draw(format!(
            "<text class=\"limit-name\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            at_y - 4.0,
            escape(name)
        ));
    }
    for line in lines {
        let path = path(&thinned(&line.points), line.stepped, x, y);
        draw(format!(
            "<path class=\"line {}\" d=\"{path}\"><title>{}</title></path>",
            line.class,
            escape(&line.name)
        ));
    }
    svg
}

fn path(points: &[(f64, f64)], stepped: bool, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    for (number, point) in points.iter().enumerate() {
        let (at_x, at_y) = (x(point.0), y(point.1));
        // Writing to a string doesn't fail.
        let _ = match (number, stepped) {
            (0, _) => write!(path, "M{at_x:.1} {at_y:.1}"),
            (_, true) => write!(path, "H{at_x:.1}V{at_y:.1}"),
            (_, false) => write!(path, "L{at_x:.1} {at_y:.1}"),
        };
    }
    path
}

/// Of each group of neighbours the smallest and the largest, so that no peak is lost.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(MOST_POINTS / 2).max(1);
    if group <= 2 {
        return points.to_vec();
    }
    let mut kept = Vec::new();
    for neighbours in points.chunks(group) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let mut pair: Vec<(f64, f64)> = neighbours
            .iter()
            .min_by(by_value)
            .into_iter()
            .chain(neighbours.iter().max_by(by_value))
            .copied()
            .collect();
        pair.sort_by(|a, b| a.0.total_cmp(&b.0));
        kept.extend(pair);
    }
    kept.extend(points.last());
    kept
}

/// A round number at or above, so that fifths of it are round too.
fn ceiling(most: f64) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    let magnitude = 10f64.powf(most.log10().floor());
    let step =
        [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.5, 10.0].into_iter().find(|step| step * magnitude >= most);
    step.unwrap_or(10.0) * magnitude
}

fn tick(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!([0.0, 0.7, 12.0, 108.6, 1000.0].map(ceiling), [1.0, 0.75, 15.0, 150.0, 1000.0]);
        assert_eq!([0.0, 0.15, 30.0, 2.5].map(tick), ["0", "0.15", "30", "2.5"]);
    }

    #[test]
    fn thinning_keeps_peaks_and_the_end() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|x| (f64::from(x), 1.0)).collect();
        points[54_321].1 = 99.0;
        let thinned = thinned(&points);
        assert!(thinned.len() <= MOST_POINTS + 2);
        assert!(thinned.contains(&(54_321.0, 99.0)) && thinned.last() == points.last());
    }
}
