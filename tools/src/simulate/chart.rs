//! Miss-ratio curves in plain text: a letter for each policy, and capacities on a logarithmic axis.
//!
//! ```text
//!   100 |
//!       |aal
//!       |   alal
//!    50 |       alal..
//!       +-------------
//!        10        100   entries
//! ```
//!
//! Between two capacities, a curve is a straight line. Where curves meet, the columns alternate
//! between them, so that no curve hides another.

use std::iter::once;

use bytecache::policy::Unit;

use super::results::{Results, Rule, amount};

/// Number of columns of the curves. The scale before them takes seven more.
const WIDTH: usize = 92;
/// Number of lines of the curves.
const HEIGHT: usize = 26;
/// Number of lines between two labels of the scale. The range has five such steps. Each is a whole
/// number of percent, because the range is a multiple of ten.
const LINES_BETWEEN_LABELS: usize = 5;
const MARGIN: usize = 7;

/// The symbol of the last row.
const LEAST: char = '.';

/// Returns the lines of the chart: curves, axis and legend.
pub(crate) fn lines(results: &Results) -> Vec<String> {
    let symbols = symbols(&results.rows.iter().map(|row| row.rule).collect::<Vec<_>>());
    let (low, high) = results.percent_range();
    let places = places(&results.capacities);
    let mut grid = vec![vec![Vec::new(); WIDTH]; HEIGHT];
    for (row, symbol) in results.rows.iter().zip(&symbols) {
        let heights: Vec<_> =
            row.runs.iter().map(|run| (high - run.miss_ratio() * 100.0) / (high - low) * (HEIGHT - 1) as f64).collect();
        for (column, line) in curve(&places, &heights) {
            grid[line][column].push(*symbol);
        }
    }
    let mut lines = Vec::new();
    for (line, cells) in grid.iter().enumerate() {
        let label = high - (high - low) * line as f64 / (HEIGHT - 1) as f64;
        let scale = if line % LINES_BETWEEN_LABELS == 0 { format!("{label:4.0} %") } else { String::new() };
        let curves: String = cells.iter().enumerate().map(|(column, symbols)| turn(symbols, column)).collect();
        lines.push(format!("{scale:6}|{curves}").trim_end().to_owned());
    }
    lines.extend(axis(&results.capacities, &places, results.unit));
    let names = results.rows.iter().zip(&symbols).map(|(row, symbol)| format!("{symbol} {}", row.rule));
    lines.extend(wrapped(names));
    lines
}

/// Returns the columns of the capacities, by their logarithms. A single capacity is in the middle.
fn places(capacities: &[u64]) -> Vec<usize> {
    let logarithm = |capacity: &u64| (*capacity as f64).ln();
    let (first, last) = (capacities.first().map_or(0.0, logarithm), capacities.last().map_or(0.0, logarithm));
    let place = |capacity| if first < last { (logarithm(capacity) - first) / (last - first) } else { 0.5 };
    capacities.iter().map(|capacity| rounded(place(capacity) * (WIDTH - 1) as f64, WIDTH)).collect()
}

/// Returns the cells of a curve through these points, one for each column between the first and the
/// last.
fn curve(places: &[usize], heights: &[f64]) -> Vec<(usize, usize)> {
    let first = places.iter().zip(heights).take(1).map(|(place, height)| (*place, rounded(*height, HEIGHT)));
    let between = places.windows(2).zip(heights.windows(2)).flat_map(|(places, heights)| {
        let width = (places[1] - places[0]) as f64;
        let height = move |column: usize| (column - places[0]) as f64 / width * (heights[1] - heights[0]) + heights[0];
        (places[0] + 1..=places[1]).map(move |column| (column, rounded(height(column), HEIGHT)))
    });
    first.chain(between).collect()
}

fn rounded(place: f64, count: usize) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the chart")]
    let place = place.round().clamp(0.0, (count - 1) as f64) as usize;
    place
}

fn turn(symbols: &[char], column: usize) -> char {
    symbols.get(column % symbols.len().max(1)).copied().unwrap_or(' ')
}

/// Returns the line below the curves, which has a mark at each capacity, and a line of as many
/// amounts as fit.
fn axis(capacities: &[u64], places: &[usize], unit: Unit) -> [String; 2] {
    let marks = (0..WIDTH).map(|column| if places.contains(&column) { '+' } else { '-' });
    let mut amounts = " ".repeat(MARGIN);
    for (capacity, place) in capacities.iter().zip(places) {
        let text = amount(*capacity, unit);
        let start = (MARGIN + place).saturating_sub(text.len() / 2).min((MARGIN + WIDTH).saturating_sub(text.len()));
        let is_apart = amounts.trim_end().is_empty() || amounts.len() + 2 <= start;
        if is_apart {
            amounts = format!("{amounts:start$}{text}");
        }
    }
    [format!("{:6}+{}", "", marks.collect::<String>()), amounts]
}

/// Returns a symbol for each rule. A policy gets the first free character of its name, or else any
/// free one, or `?` if none is left.
fn symbols(rules: &[Rule]) -> Vec<char> {
    let mut symbols = Vec::new();
    for rule in rules {
        let symbol = if rule.is_policy() {
            let name = rule.to_string();
            let others = ('a'..='z').chain('A'..='Z').chain('0'..='9');
            let mut candidates = name.chars().filter(char::is_ascii_alphanumeric).chain(others);
            candidates.find(|candidate| !symbols.contains(candidate)).unwrap_or('?')
        } else {
            LEAST
        };
        symbols.push(symbol);
    }
    symbols
}

/// Returns the texts in lines of the chart's width.
fn wrapped(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for text in texts {
        match lines.last_mut() {
            Some(line) if line.len() + 3 + text.len() <= MARGIN + WIDTH => line.extend(["   ", &text]),
            _ => lines.push(once(" ".repeat(MARGIN)).chain(once(text)).collect()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use bytecache::Policy;
    use bytecache::policy::S3FifoConfig;

    use super::*;
    use crate::simulate::results::tests::results;

    /// Returns the line and the column of each occurrence of a symbol among the curves.
    fn cells(lines: &[String], symbol: char) -> Vec<(usize, usize)> {
        let curves = lines.iter().take(HEIGHT).map(|line| line[MARGIN..].char_indices());
        let all = curves.enumerate().flat_map(|(line, cells)| cells.map(move |(column, cell)| (line, column, cell)));
        all.filter(|(.., cell)| *cell == symbol).map(|(line, column, _)| (line, column)).collect()
    }

    #[test]
    fn curves_run_from_corner_to_corner_on_a_logarithmic_axis() {
        let lines = lines(&results(&[Policy::Lru], &[10, 100, 1_000], &[&[100, 50, 0], &[100, 0, 0]]));
        assert_eq!(lines.len(), HEIGHT + 3);
        assert!(lines.iter().all(|line| line.len() <= MARGIN + WIDTH), "{lines:#?}");
        let lru = cells(&lines, 'l');
        assert_eq!((lru.first(), lru.last()), (Some(&(0, 0)), Some(&(HEIGHT - 1, WIDTH - 2))), "they alternate");
        let is_on_diagonal =
            |(line, column): &(usize, usize)| (line * (WIDTH - 1)).abs_diff(column * (HEIGHT - 1)) < WIDTH;
        assert!(lru.iter().all(is_on_diagonal), "{lru:?}");
        assert_eq!(cells(&lines, '.').last(), Some(&(HEIGHT - 1, WIDTH - 1)));
    }

    #[test]
    fn scale_axis_and_legend_say_what_is_drawn() {
        let lines = lines(&results(&[Policy::Lru, Policy::Arc], &[10, 11, 1_000], &[&[90; 3], &[80; 3], &[40; 3]]));
        let labels: Vec<_> =
            lines.iter().take(HEIGHT).filter(|line| line.contains('%')).map(|line| &line[..6]).collect();
        assert_eq!(labels, ["  90 %", "  80 %", "  70 %", "  60 %", "  50 %", "  40 %"]);
        let axis = &lines[HEIGHT][MARGIN..];
        let marks: Vec<_> = axis.match_indices('+').map(|(column, _)| column).collect();
        assert_eq!((axis.len(), marks), (WIDTH, vec![0, 2, 91]));
        let amounts: Vec<_> = lines[HEIGHT + 1].split_whitespace().collect();
        assert_eq!(amounts, ["10", "1,000"], "there is no space for 11");
        assert_eq!(lines[HEIGHT + 2].trim(), "l lru   a arc   . optimum");
    }

    #[test]
    fn curves_that_meet_take_turns() {
        let lines = lines(&results(&[Policy::Lru, Policy::Arc], &[1, 2], &[&[50; 2], &[50; 2], &[20; 2]]));
        let line = lines.iter().find(|line| line.contains('l')).expect("a curve");
        assert_eq!(line[MARGIN..], "la".repeat(WIDTH / 2));
    }

    #[test]
    fn one_capacity_is_a_column_in_the_middle() {
        let lines = lines(&results(&[Policy::Lru], &[7], &[&[50], &[20]]));
        assert_eq!((cells(&lines, 'l'), cells(&lines, '.')), (vec![(0, 46)], vec![(HEIGHT - 1, 46)]));
    }

    #[test]
    fn symbols_are_of_the_name_and_never_twice() {
        let rules = |policies: &[Policy]| policies.iter().map(|policy| Rule::Policy(*policy)).collect::<Vec<_>>();
        let policies = [Policy::Lru, Policy::Lfu, Policy::Slru, Policy::Sieve, Policy::S3Fifo];
        let of_few: String = symbols(&[rules(&policies), vec![Rule::Bound]].concat()).iter().collect();
        assert_eq!(of_few, "lfsi3.");
        let tuned = |percent| S3FifoConfig::new().small_percent(percent).expect("a share").into();
        let tuned: Vec<_> = (1..=70).map(tuned).collect();
        let many = symbols(&rules(&tuned));
        let distinct: std::collections::HashSet<_> = many.iter().collect();
        assert_eq!((distinct.len(), many.iter().filter(|symbol| **symbol == '?').count()), (63, 8));
    }
}
