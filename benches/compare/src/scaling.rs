//! Speeds by the number of threads.
//!
//! The operations are reads, half reads and half updates, or only updates. Each has uniform keys
//! and Zipf keys. All keys are present, and all fit. The numbers of threads are powers of two up to
//! the number of cores, and one and two in any case. The speed-up is the speed with the most
//! threads divided by that with one, taken within a round.
//!
//! Each of the six tables is a race of its own ([`PARTS`]). The race `scaling` stands for all of
//! them.

use crate::contenders;
use crate::output::{Output, SCALING};
use crate::race::{self, Method, Score};
use crate::report::{paired_ratio, quantile, refusals, spread};
use crate::works::{Kind, Skew, Work};
use std::fmt::Write;
use std::thread;

/// The name that stands for all parts.
pub const NAME: &str = "scaling";

/// The name, the kind and the distribution of keys of each race.
const PARTS: [(&str, Kind, Skew); 6] = [
    ("scaling-reads-uniform", Kind::Read, Skew::Uniform),
    ("scaling-reads-zipf", Kind::Read, Skew::Zipf(0.99)),
    ("scaling-half-uniform", Kind::Half, Skew::Uniform),
    ("scaling-half-zipf", Kind::Half, Skew::Zipf(0.99)),
    ("scaling-writes-uniform", Kind::Update, Skew::Uniform),
    ("scaling-writes-zipf", Kind::Update, Skew::Zipf(0.99)),
];

const KEYS: usize = 1_000_000;
const VALUE_LEN: usize = 256;

/// Numbers of threads that are measured if there are as many cores.
const THREADS: [usize; 5] = [1, 2, 4, 8, 16];

/// Number of threads that is measured even if there are fewer cores.
const LEAST_THREADS: usize = 2;

/// Hit ratio below which a contender is mentioned, although everything fits. Its speed is then
/// partly that of misses.
const FULL_HIT_RATIO: f64 = 0.9995;

/// Returns the races that `name` stands for.
pub fn parts(name: String) -> Vec<String> {
    if name != NAME {
        return vec![name];
    }
    PARTS.iter().map(|(part, ..)| part.to_string()).collect()
}

/// Returns the work of the part called `name`, with its number of keys divided by `scale`. Returns
/// `None` if there is no such part.
pub fn part(name: &str, scale: usize) -> Option<Work> {
    let (name, kind, skew) = PARTS.into_iter().find(|(part, ..)| *part == name)?;
    Some(Work::fitting(name, kind, skew, KEYS, VALUE_LEN, scale))
}

/// Runs the race of one part, and prints its table.
pub fn print_part(output: &Output, work: &Work, names: &[&'static str], method: &Method) {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let method = Method { threads: thread_counts(cores), ..method.clone() };
    let standings = race::race(work, &racing(names, work.kind), &method);
    output.print(&table(work, &standings, cores));
    write_rows(output, work, &standings);
}

fn thread_counts(cores: usize) -> Vec<usize> {
    THREADS.into_iter().filter(|&threads| threads <= cores.max(LEAST_THREADS)).collect()
}

/// Returns all names except the floors. If only writes count, bytecache also races with a fixed
/// number of shards.
fn racing(names: &[&'static str], kind: Kind) -> Vec<&'static str> {
    let mut racing: Vec<&str> = names.iter().copied().filter(|name| !contenders::is_floor(name)).collect();
    if let Some(place) = racing.iter().position(|&name| name == "bytecache")
        && kind == Kind::Update
        && !racing.contains(&"bytecache-16")
    {
        racing.insert(place + 1, "bytecache-16");
    }
    racing
}

fn table(work: &Work, standings: &[(usize, Vec<Score>)], cores: usize) -> String {
    let mut text = format!("### {}\n\n{}; Mops/s\n\n| contender |", work.name, work.describe());
    for (threads, _) in standings {
        let _ = write!(text, " {threads} {} |", if *threads == 1 { "thread" } else { "threads" });
    }
    let (one, most) = (standings.first(), standings.last());
    let _ = writeln!(text, " speed-up |\n|---|{}---:|", "---:|".repeat(standings.len()));
    for (place, name) in names(standings).enumerate() {
        let _ = write!(text, "| {name} |");
        for (_, scores) in standings {
            let _ = write!(text, " {:.2} |", quantile(&scores[place].speeds, 0.5) / 1e6);
        }
        let speed_up = one.zip(most).map_or(f64::NAN, |((_, one), (_, most))| speed_up(&most[place], &one[place]));
        let _ = writeln!(text, " {speed_up:.2} |");
    }
    text += "\n";
    if cores <= LEAST_THREADS {
        let have = if cores == 1 { "core is" } else { "cores are" };
        let _ = writeln!(text, "Only {cores} {have} at hand: nothing is measured beyond {LEAST_THREADS} threads.\n");
    }
    if let Some((_, scores)) = most {
        for score in scores {
            if let Some(hit_ratio) = score.hit_ratio.filter(|&ratio| ratio < FULL_HIT_RATIO) {
                let _ = writeln!(text, "{} hit only {hit_ratio:.4} of what it read.\n", score.name);
            }
        }
        text += &refusals(scores);
    }
    text
}

fn write_rows(output: &Output, work: &Work, standings: &[(usize, Vec<Score>)]) {
    let Some((_, one)) = standings.first() else { return };
    for (threads, scores) in standings {
        for (score, one) in scores.iter().zip(one) {
            let row = [
                work.name.to_string(),
                threads.to_string(),
                score.name.to_string(),
                format!("{:.4}", quantile(&score.speeds, 0.5) / 1e6),
                format!("{:.4}", spread(&score.speeds)),
                format!("{:.4}", speed_up(score, one)),
                score.hit_ratio.map_or(String::new(), |ratio| format!("{ratio:.6}")),
                format!("{:.6}", score.refused_ratio),
            ];
            output.row(&SCALING, &row);
        }
    }
}

/// Returns the speed of `score` divided by that of `one`.
fn speed_up(score: &Score, one: &Score) -> f64 {
    paired_ratio(&score.speeds, &one.speeds)
}

fn names(standings: &[(usize, Vec<Score>)]) -> impl Iterator<Item = &'static str> {
    standings.first().into_iter().flat_map(|(_, scores)| scores).map(|score| score.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_powers_of_two_up_to_the_cores() {
        assert_eq!(thread_counts(1), [1, 2]);
        assert_eq!(thread_counts(2), [1, 2]);
        assert_eq!(thread_counts(6), [1, 2, 4]);
        assert_eq!(thread_counts(64), [1, 2, 4, 8, 16]);
    }

    #[test]
    fn the_name_stands_for_all_parts() {
        let all = parts(NAME.into());
        assert_eq!(all.len(), PARTS.len());
        for name in all {
            let work = part(&name, 4).expect("a part");
            assert_eq!((work.name, work.keys), (&*name, KEYS / 4));
        }
        assert_eq!(parts("hot".into()), ["hot"]);
    }

    #[test]
    fn fixed_shards_race_beside_bytecache_where_only_writes_count() {
        let names = ["bytecache", "moka", "floor"];
        assert_eq!(racing(&names, Kind::Update), ["bytecache", "bytecache-16", "moka"]);
        assert_eq!(racing(&names, Kind::Read), ["bytecache", "moka"]);
        assert_eq!(racing(&["moka", "bytecache-16"], Kind::Update), ["moka", "bytecache-16"]);
    }

    #[test]
    fn table_has_a_column_for_each_number_of_threads_and_the_speed_up() {
        let score = |speed: f64, hit_ratio| Score {
            name: "one",
            speeds: vec![speed, speed],
            hit_ratio: Some(hit_ratio),
            refused_ratio: 0.0,
            resident_bytes: 0,
        };
        let work = part("scaling-half-zipf", 1).expect("a part");
        let standings = [(1, vec![score(2e6, 1.0)]), (2, vec![score(3e6, 0.9)])];
        let text = table(&work, &standings, 2);
        assert!(text.contains("| contender | 1 thread | 2 threads | speed-up |\n|---|---:|---:|---:|\n"));
        assert!(text.contains("| one | 2.00 | 3.00 | 1.50 |\n"));
        assert!(text.contains("Only 2 cores are at hand") && text.contains("one hit only 0.9000"));
        assert!(!table(&work, &standings, 4).contains("at hand"));
    }
}
