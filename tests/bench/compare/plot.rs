//! Lines over a logarithmic axis, as SVG.

use anyhow::{Context as _, anyhow};
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;

use super::figures::{Rounds, number};

/// A figure of several systems over something that grows.
pub(crate) struct Plot {
    /// Last part of the file's name.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) lines: Vec<Line>,
}

/// One system.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, Rounds)>,
}

/// Easy to tell apart, also for who does not see all colours (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
    RGBColor(160, 130, 0),
];

impl Plot {
    /// The picture.
    pub(crate) fn draw(&self) -> anyhow::Result<String> {
        let mut svg = String::new();
        self.draw_into(&mut svg).map_err(|e| anyhow!("plot {}: {e}", self.name))?;
        Ok(svg)
    }

    fn draw_into(&self, svg: &mut String) -> anyhow::Result<()> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let xs = points().map(|(x, _)| *x);
        let (left, right) = range(xs, 1.15).context("nothing to draw")?;
        let ys = points().flat_map(|(_, y)| [y.least(), y.most()]).filter(|y| *y > 0.0);
        let (low, high) = range(ys, 1.4).context("nothing to draw")?;
        // The legend is above the lines.
        let top = high * (high / low).sqrt();
        let area = SVGBackend::with_string(svg, (900, 460)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(42)
            .y_label_area_size(72)
            .build_cartesian_2d((left..right).log_scale(), (low..top).log_scale())?;
        mesh(&mut chart, self.x, self.y)?;
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let middle = line.points.iter().map(|(x, y)| (*x, y.median()));
            let drawn = chart.draw_series(LineSeries::new(middle, colour.stroke_width(2)))?;
            let colour = *colour;
            drawn.label(line.name.as_str()).legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3))
            });
            for (x, y) in &line.points {
                let (least, most) = (y.least().max(low), y.most());
                let spread = PathElement::new([(*x, least), (*x, most)], colour.stroke_width(1));
                chart.draw_series([spread])?;
                chart.draw_series([Circle::new((*x, y.median()), 3, colour.filled())])?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.85))
            .border_style(BLACK.mix(0.3))
            .label_font(("sans-serif", 13))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

fn mesh<X, Y>(
    chart: &mut ChartContext<'_, SVGBackend<'_>, Cartesian2d<X, Y>>,
    x: &str,
    y: &str,
) -> anyhow::Result<()>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&|n| short(*n))
        .y_label_formatter(&|n| short(*n))
        .light_line_style(BLACK.mix(0.04))
        .bold_line_style(BLACK.mix(0.12))
        .label_style(("sans-serif", 13))
        .axis_desc_style(("sans-serif", 14))
        .draw()?;
    Ok(())
}

/// As short as an axis wants it.
fn short(n: f64) -> String {
    let text = number(n);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// From the least to the most, and some room around.
fn range(values: impl Iterator<Item = f64>, room: f64) -> Option<(f64, f64)> {
    let (low, high) = values
        .filter(|v| v.is_finite() && *v > 0.0)
        .fold((f64::INFINITY, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
    (high > 0.0).then_some((low / room, high * room))
}
