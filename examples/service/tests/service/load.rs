//! The load generator.

use std::process::Command;

use crate::support::Database;

#[test]
fn the_load_generator_compares_both_caches() {
    let database = Database::new("load");
    let output = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["--rows", "100", "--requests", "400", "--connections", "4", "--cache-mib", "1"])
        .env("DATABASE_URL", &database.address)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for contender in ["bytecache", "moka"] {
        let row = text.lines().find(|line| line.contains(contender)).unwrap();
        let cells: Vec<f64> = row.split('|').filter_map(|cell| cell.trim().replace(',', "").parse().ok()).collect();
        let [_limit, requests, _p99, _longest, hits, memory] = cells[..] else { panic!("{row}") };
        assert!(requests > 0.0 && memory > 0.0 && (0.0..=100.0).contains(&hits), "{row}");
    }
}
