//! The tables in Markdown.

use crate::output::{Output, RACES};
use crate::race::Score;
use crate::works::Work;
use std::fmt::Write;

/// Prints the results of a race with this number of threads.
///
/// The columns `of bytecache` and `of floor` are medians of ratios within rounds: 2.00 is twice as
/// fast.
pub fn print_race(output: &Output, work: &Work, threads: usize, scores: &[Score]) {
    let against: Vec<&Score> =
        [scores.first(), scores.iter().find(|score| score.name == "floor")].into_iter().flatten().collect();
    let mut head = String::from("| contender | Mops/s | spread |");
    let mut rule = String::from("|---|---:|---:|");
    for score in &against {
        head += &format!(" of {} |", score.name);
        rule += "---:|";
    }
    head += " hit ratio | resident MiB | of payload |";
    rule += "---:|---:|---:|";

    let mut text = format!("### {}, {threads} {}\n\n", work.name, if threads == 1 { "thread" } else { "threads" });
    text += &format!("{}\n\n{head}\n{rule}\n", work.describe());
    for score in scores {
        let speed = quantile(&score.speeds, 0.5);
        let spread = spread(&score.speeds);
        let _ = write!(text, "| {} | {:.2} | {:.0} % |", score.name, speed / 1e6, 100.0 * spread);
        for other in &against {
            let _ = write!(text, " {:.2} |", paired_ratio(&score.speeds, &other.speeds));
        }
        let hit_ratio = score.hit_ratio.map_or(String::from("-"), |ratio| format!("{ratio:.4}"));
        let payload = work.expected_entries * work.payload_bytes();
        let of_payload = score.resident_bytes as f64 / payload as f64;
        let _ = writeln!(text, " {hit_ratio} | {} | {of_payload:.2} |", score.resident_bytes >> 20);
        output.row(
            &RACES,
            &[
                work.name.to_string(),
                threads.to_string(),
                score.name.to_string(),
                format!("{:.4}", speed / 1e6),
                format!("{spread:.4}"),
                format!("{:.4}", scores.first().map_or(f64::NAN, |first| paired_ratio(&score.speeds, &first.speeds))),
                score.hit_ratio.map_or(String::new(), |ratio| format!("{ratio:.6}")),
                format!("{:.6}", score.refused_ratio),
                score.resident_bytes.to_string(),
            ],
        );
    }
    text += "\n";
    text += &refusals(scores);
    output.print(&text);
}

/// Returns a paragraph for each contender that refused inserts.
pub fn refusals(scores: &[Score]) -> String {
    let refusing = scores.iter().filter(|score| score.refused_ratio > 0.0);
    refusing.map(|score| format!("{} refused {:.4} of its inserts.\n\n", score.name, score.refused_ratio)).collect()
}

/// Returns the distance of the quartiles divided by the median.
pub fn spread(speeds: &[f64]) -> f64 {
    (quantile(speeds, 0.75) - quantile(speeds, 0.25)) / quantile(speeds, 0.5)
}

/// Returns the median over rounds of the ratio of two contenders' speeds within a round.
pub fn paired_ratio(speeds: &[f64], other: &[f64]) -> f64 {
    let ratios: Vec<f64> = speeds.iter().zip(other).map(|(a, b)| a / b).collect();
    quantile(&ratios, 0.5)
}

/// Returns the value below which this share of `values` lies, interpolated, or NaN if there are
/// none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share * sorted.len().saturating_sub(1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    match (sorted.get(low), sorted.get(high)) {
        (Some(a), Some(b)) => a + (b - a) * at.fract(),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&values, 0.0), 1.0);
        assert_eq!(quantile(&values, 0.5), 2.5);
        assert_eq!(quantile(&values, 1.0), 4.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn ratios_are_paired_by_round() {
        assert_eq!(paired_ratio(&[2.0, 20.0, 300.0], &[1.0, 10.0, 100.0]), 2.0);
    }
}
