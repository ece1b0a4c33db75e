//! Miss-ratio curves as a picture, with a chart for each trace, one below the other.

use std::error::Error;
use std::path::{Path, PathBuf};

use bytecache::policy::Unit;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::lettering::Lettered;
use super::results::{Results, Rule, amount};

/// Width of a chart in pixels.
const WIDTH: i32 = 1600;
const HEIGHT: u32 = 1000;
const FONT: (&str, i32) = ("sans-serif", 26);
const TITLE_FONT: (&str, i32) = ("sans-serif", 34);

const MARGIN: i32 = 20;
/// Length of the line before each name of the legend, in pixels.
const LEGEND_LINE: i32 = 40;

type Area<B> = DrawingArea<B, Shift>;
type Failure<B> = DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>;

/// A picture file, whose name tells its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Picture {
    Svg(PathBuf),
    Png(PathBuf),
}

impl Picture {
    /// Returns the picture of this name.
    ///
    /// # Errors
    ///
    /// Returns an error if the name ends neither in `.svg` nor in `.png`.
    pub(crate) fn of(path: PathBuf) -> Result<Self, String> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("svg") => Ok(Self::Svg(path)),
            Some("png") => Ok(Self::Png(path)),
            _ => Err(format!("--picture {}: the name ends neither in .svg nor in .png", path.display())),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Svg(path) | Self::Png(path) => path,
        }
    }
}

/// Draws a chart for each trace.
///
/// # Errors
///
/// Returns an error that names the file if it cannot be written.
pub(crate) fn draw(picture: &Picture, all: &[Results]) -> Result<(), Box<dyn Error>> {
    let size = (WIDTH.unsigned_abs(), HEIGHT * u32::try_from(all.len())?);
    let drawn = match picture {
        Picture::Svg(path) => draw_all(SVGBackend::new(path, size), all),
        Picture::Png(path) => draw_all(Lettered::new(BitMapBackend::new(path, size)), all),
    };
    drawn.map_err(|error| format!("{}: {error}", picture.path().display()).into())
}

fn draw_all<B: DrawingBackend>(backend: B, all: &[Results]) -> Result<(), String> {
    let root = backend.into_drawing_area();
    root.fill(&WHITE).map_err(|error| error.to_string())?;
    for (area, results) in root.split_evenly((all.len(), 1)).iter().zip(all) {
        draw_chart(area, results).map_err(|error| error.to_string())?;
    }
    root.present().map_err(|error| error.to_string())
}

fn draw_chart<B: DrawingBackend>(area: &Area<B>, results: &Results) -> Result<(), Failure<B>> {
    let unit = results.unit;
    let (low, high) = results.percent_range();
    let kind = if unit == Unit::Entries { "entries" } else { "bytes" };
    // The legend is beside the curves, because anywhere among them it could hide one.
    let (area, legend) = area.split_horizontally(WIDTH - legend_width(results));
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{}: miss ratio by capacity in {kind}", results.trace), TITLE_FONT)
        .margin(MARGIN)
        .x_label_area_size(60)
        .y_label_area_size(100)
        .build_cartesian_2d(range(&results.capacities).log_scale(), low..high)?;
    chart
        .configure_mesh()
        .label_style(FONT)
        .x_labels(12)
        .y_labels(11)
        .bold_line_style(BLACK.mix(0.2))
        .light_line_style(BLACK.mix(0.06))
        .x_label_formatter(&|capacity| tick(*capacity, unit))
        .y_label_formatter(&|percent| format!("{percent:.0} %"))
        .draw()?;
    for (index, row) in results.rows.iter().enumerate() {
        let style = style(row.rule, index, results.rows.len());
        let points = results.capacities.iter().zip(&row.runs);
        let points: Vec<_> = points.map(|(capacity, run)| (*capacity as f64, run.miss_ratio() * 100.0)).collect();
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 5, style.filled())))?;
        chart.draw_series(LineSeries::new(points, style))?;
    }
    draw_legend(&legend, results)
}

fn draw_legend<B: DrawingBackend>(area: &Area<B>, results: &Results) -> Result<(), Failure<B>> {
    let mut y = 2 * TITLE_FONT.1;
    for (index, row) in results.rows.iter().enumerate() {
        let style = style(row.rule, index, results.rows.len());
        area.draw(&PathElement::new([(0, y), (LEGEND_LINE, y)], style))?;
        let text = FONT.into_text_style(area).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw(&Text::new(row.rule.to_string(), (LEGEND_LINE + MARGIN, y), text))?;
        y += FONT.1 * 4 / 3;
    }
    Ok(())
}

/// Returns the width of the longest name in pixels, with letters of more than the usual width.
fn legend_width(results: &Results) -> i32 {
    let longest = results.rows.iter().map(|row| row.rule.to_string().len()).max().unwrap_or(0);
    let letters = i32::try_from(longest).unwrap_or(0).min(60);
    LEGEND_LINE + 2 * MARGIN + letters * FONT.1 / 2
}

/// Returns the range from the smallest to the largest capacity. A single capacity is between its
/// half and its double.
fn range(capacities: &[u64]) -> core::ops::Range<f64> {
    let (first, last) =
        (capacities.first().map_or(1.0, |first| *first as f64), capacities.last().map_or(1.0, |last| *last as f64));
    if first < last { first..last } else { first / 2.0..last * 2.0 }
}

/// Returns a round amount without decimals of zero.
fn tick(capacity: f64, unit: Unit) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two capacities")]
    let text = amount(capacity.round() as u64, unit);
    text.replace(".00 ", " ").replace(".0 ", " ")
}

/// Returns a colour from around the colour circle, of which every other one is dark. The optimum is
/// black.
fn style(rule: Rule, index: usize, rules: usize) -> ShapeStyle {
    let hue = index as f64 / rules as f64;
    let lightness = if index % 2 == 0 { 0.5 } else { 0.35 };
    let colour = if rule.is_policy() { HSLColor(hue, 0.85, lightness).to_rgba() } else { BLACK.to_rgba() };
    colour.stroke_width(3)
}

#[cfg(test)]
mod tests {
    use bytecache::Policy;

    use super::*;
    use crate::simulate::results::tests::results;

    fn drawn(name: &str) -> Vec<u8> {
        let one = || results(&[Policy::Lru, Policy::Arc], &[10, 100], &[&[90, 30], &[85, 30], &[70, 30]]);
        let alone = results(&[Policy::Lru], &[10], &[&[90], &[70]]);
        let path = std::env::temp_dir().join(format!("bytecache-simulate-{}-{name}", std::process::id()));
        let picture = Picture::of(path.clone()).expect("a picture's name");
        draw(&picture, &[one(), alone]).expect("drawn");
        let bytes = std::fs::read(&path).expect("the picture");
        std::fs::remove_file(&path).expect("the file exists");
        bytes
    }

    #[test]
    fn an_svg_has_the_names_of_all_rows() {
        let text = String::from_utf8(drawn("curves.svg")).expect("text");
        for name in ["lru", "arc", "optimum", "some.trc", "90 %", "100"] {
            assert!(text.contains(name), "{name}");
        }
    }

    #[test]
    fn a_png_has_a_chart_for_each_trace() {
        let bytes = drawn("curves.png");
        assert!(bytes.starts_with(b"\x89PNG"));
        assert_eq!(bytes[16..24], [&WIDTH.to_be_bytes()[..], &(2 * HEIGHT).to_be_bytes()].concat());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        for name in ["/nonexistent/a.svg", "/nonexistent/a.png"] {
            let error = draw(&Picture::of(name.into()).expect("a name"), &[results(&[], &[1], &[&[1]])]);
            assert!(error.expect_err("no such folder").to_string().starts_with(name));
        }
    }

    #[test]
    fn names_of_other_formats_are_refused() {
        for name in ["curves.gif", "curves", "svg"] {
            assert!(Picture::of(name.into()).expect_err("no picture").contains(name));
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(tick(1e6, Unit::Bytes), "1 MB");
        assert_eq!(tick(2.5e9, Unit::Bytes), "2.50 GB");
        assert_eq!(tick(1e5, Unit::Entries), "100,000");
    }
}
