//! Pictures of the races: a bar for each contender and each number of threads.

use crate::output::Output;
use plotters::prelude::*;
use std::error::Error;
use std::fs;
use std::path::Path;

const SIZE: (u32, u32) = (900, 420);
const SHADES: [RGBColor; 4] =
    [RGBColor(40, 90, 160), RGBColor(120, 170, 220), RGBColor(200, 120, 40), RGBColor(90, 90, 90)];

/// The fields of a line of `races.csv` that are drawn.
struct Speed {
    race: String,
    threads: usize,
    contender: String,
    mops: f64,
}

/// Draws `NAME.svg` for each race in `races.csv`.
pub fn draw_all(output: &Output) -> Result<(), Box<dyn Error>> {
    let Some(folder) = output.folder() else { return Ok(()) };
    let speeds: Vec<Speed> = fs::read_to_string(folder.join("races.csv"))?.lines().skip(1).filter_map(parse).collect();
    let mut races: Vec<&str> = speeds.iter().map(|speed| &*speed.race).collect();
    races.dedup();
    for race in races {
        let of_race: Vec<&Speed> = speeds.iter().filter(|speed| speed.race == race).collect();
        draw(&folder.join(format!("{race}.svg")), race, &of_race)?;
    }
    Ok(())
}

fn parse(line: &str) -> Option<Speed> {
    let mut fields = line.split(',');
    Some(Speed {
        race: fields.next()?.to_string(),
        threads: fields.next()?.parse().ok()?,
        contender: fields.next()?.to_string(),
        mops: fields.next()?.parse().ok()?,
    })
}

fn draw(path: &Path, race: &str, speeds: &[&Speed]) -> Result<(), Box<dyn Error>> {
    let mut contenders: Vec<&str> = Vec::new();
    let mut threads: Vec<usize> = Vec::new();
    for speed in speeds {
        if !contenders.contains(&&*speed.contender) {
            contenders.push(&speed.contender);
        }
        if !threads.contains(&speed.threads) {
            threads.push(speed.threads);
        }
    }
    let most = speeds.iter().map(|speed| speed.mops).fold(0.0, f64::max);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{race}: million operations a second"), ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..contenders.len() as f64, 0.0..most * 1.1)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * contenders.len() + 1)
        .x_label_formatter(&|at| {
            let is_middle = (at.fract() - 0.5).abs() < 0.01;
            contenders.get(*at as usize).filter(|_| is_middle).map_or(String::new(), |name| name.to_string())
        })
        .draw()?;
    let width = 0.8 / threads.len() as f64;
    for (nth, &count) in threads.iter().enumerate() {
        let shade = SHADES[nth % SHADES.len()];
        let bars = speeds.iter().filter(|speed| speed.threads == count).filter_map(|speed| {
            let place = contenders.iter().position(|&name| name == speed.contender)?;
            let left = place as f64 + 0.1 + nth as f64 * width;
            Some(Rectangle::new([(left, 0.0), (left + width, speed.mops)], shade.filled()))
        });
        let label = if count == 1 { String::from("1 thread") } else { format!("{count} threads") };
        chart
            .draw_series(bars)?
            .label(label)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], shade.filled()));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shows_every_contender_of_its_race() {
        let folder = std::env::temp_dir().join(format!("bytecache-compare-{}", std::process::id()));
        let output = Output::to(folder.clone());
        output.begin().expect("a temporary folder");
        for (race, contender, mops) in [("hot", "one", "1.5"), ("hot", "other", "2.5"), ("cold", "one", "0.5")] {
            let row = [race, "1", contender, mops, "0", "1", "1", "0", "0"].map(String::from);
            output.row(&crate::output::RACES, &row);
        }
        draw_all(&output).expect("pictures");
        let hot = fs::read_to_string(folder.join("hot.svg")).expect("a picture");
        assert!(hot.contains("other") && hot.matches("<rect").count() > 2);
        assert!(folder.join("cold.svg").exists());
        fs::remove_dir_all(folder).expect("its own folder");
    }
}
