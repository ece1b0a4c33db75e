//! The page of the documentation that quotes this service.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::fs;
use std::path::Path;

/// The files that the page quotes.
const FILES: [&str; 6] =
    ["schema.sql", "src/database.rs", "src/listener.rs", "src/routes.rs", "src/service.rs", "src/users.rs"];

/// Returns the lines without their indentation.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

/// Returns the quoted parts of the page.
fn quotes(page: &str) -> Vec<String> {
    let (mut quotes, mut quote) = (Vec::new(), None::<String>);
    for line in page.lines() {
        let line = line.strip_prefix("//!").unwrap_or(line).trim();
        match &mut quote {
            None if ["```rust,ignore", "```sql"].contains(&line) => quote = Some(String::new()),
            None => {}
            Some(_) if line == "```" => quotes.extend(quote.take()),
            Some(text) => *text += &format!("{line}\n"),
        }
    }
    assert!(quote.is_none(), "a quotation has no end");
    quotes
}

#[test]
fn the_page_quotes_the_code_as_it_is() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(package.join("../../src/docs/service.rs")).unwrap();
    let files = FILES.map(|file| fs::read_to_string(package.join(file)).unwrap());
    let quotes = quotes(&page);
    assert!(quotes.len() > 5, "the quotations were not found");
    for quote in quotes {
        let quoted = lines(&quote);
        let is_there = files.iter().any(|file| lines(file).windows(quoted.len()).any(|part| part == quoted));
        assert!(is_there, "no file has this code:\n{quote}");
    }
}
