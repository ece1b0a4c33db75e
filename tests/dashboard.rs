//! The example `dashboard`: its page, its events, and what a browser draws of them.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The browsers that are tried.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// The example, running.
struct Dashboard {
    process: Child,
    address: String,
}

impl Dashboard {
    /// Starts the example on a free port.
    fn start(more: &[&str]) -> Self {
        let arguments = ["--port", "0", "--seconds", "900"];
        let mut process = Command::new(example()).args(arguments).args(more).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap().trim_end_matches('/').to_string();
        Self { process, address }
    }

    /// Sends a request, and returns the answer to read.
    fn request(&self, path: &str) -> BufReader<TcpStream> {
        self.request_of("localhost", path)
    }

    /// Sends a request to the host of that name.
    fn request_of(&self, host: &str, path: &str) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").unwrap();
        BufReader::new(stream)
    }

    /// Returns the first line of an answer.
    fn status_of(&self, host: &str, path: &str) -> String {
        self.request_of(host, path).lines().next().unwrap().unwrap()
    }

    /// Waits for an event that has all these parts, and of which a condition is true. The example
    /// ends after some time.
    fn wait_for(&self, parts: &[&str], is_wanted: impl Fn(&str) -> bool) {
        let lines = self.request("/events").lines().map(Result::unwrap);
        let mut events = lines.filter_map(|line| line.strip_prefix("data: ").map(str::to_string));
        let is_found = events.any(|event| parts.iter().all(|part| event.contains(part)) && is_wanted(&event));
        assert!(is_found, "no event has all of {parts:?}");
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Returns the path of the example. Cargo builds examples with all tests, beside them. With this
/// test alone it does not, and there may be an older one. Then the example is built.
fn example() -> &'static Path {
    static EXAMPLE: OnceLock<PathBuf> = OnceLock::new();
    EXAMPLE.get_or_init(|| {
        let beside = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/dashboard");
        let changed = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = ["src", "examples/dashboard", "Cargo.toml"].map(|path| root.join(path));
        let mut sources: Vec<_> = sources.into();
        let mut newest = None;
        while let Some(path) = sources.pop() {
            newest = newest.max(changed(&path));
            sources.extend(std::fs::read_dir(&path).into_iter().flatten().map(|file| file.unwrap().path()));
        }
        if changed(&beside) > newest { beside } else { build() }
    })
}

/// Builds the example, and returns its path.
fn build() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--example", "dashboard", "--message-format=json"]);
    if cfg!(all(feature = "metrics", feature = "prometheus", feature = "rkyv", feature = "tracing")) {
        cargo.arg("--all-features"); // As this test was built, so that the libraries are there.
    }
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success());
    let messages = String::from_utf8(output.stdout).unwrap();
    let (_, path) = messages.split_once(r#""executable":""#).unwrap();
    path.split('"').next().unwrap().into()
}

/// A file in the folder of temporary files, until it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, contents: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("dashboard-{}-{name}", std::process::id()));
        std::fs::write(&path, contents).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Returns an installed browser.
fn browser() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let mut places = std::env::split_paths(&folders).flat_map(|folder| BROWSERS.map(|name| folder.join(name)));
    places.find(|place| place.exists())
}

/// Runs a browser on an address, and returns what it prints.
fn browse(browser: &Path, address: &str, more: &[&str]) -> String {
    let profile = std::env::temp_dir().join(format!("dashboard-{}", std::process::id()));
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"])
        .args(["--disable-background-networking", "--disable-component-update", "--timeout=3000"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(more)
        .arg(format!("http://{address}/"))
        .output()
        .unwrap();
    let _ = std::fs::remove_dir_all(profile);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Returns `true` if an event has ages of evicted entries.
fn has_evicted(event: &str) -> bool {
    let (_, ages) = event.split_once(r#""evicted":["#).unwrap();
    let (evicted, _) = ages.split_once(']').unwrap();
    evicted.split(r#""count":"#).skip(1).any(|count| !count.starts_with('0'))
}

#[test]
fn the_page_and_its_events_show_the_cache_and_a_browser_draws_them() {
    let dashboard = Dashboard::start(&[]);
    let hot = ["/page/", "user:", "alert"];
    let parts =
        [r#""curve":[{"#, r#""history":[["#, r#""memory":[{"#, r#""ages":{"#, r#""loads":{"#, r#""hit_ratio":0."#];
    // The page draws the ages of evicted entries once there are some.
    dashboard.wait_for(&[&parts[..], &hot].concat(), has_evicted);

    let mut page = String::new();
    dashboard.request("/").read_to_string(&mut page).unwrap();
    let (head, page) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("Content-Security-Policy: default-src 'none'"));
    // Nothing comes from elsewhere, and a key cannot end the script.
    let outside = ["<link", " src=", "@import", "url("];
    assert!(outside.iter().all(|outside| !page.contains(outside)));
    assert!(page.contains("alert") && !page.contains("<script>alert"), "{page}");
    let mut missing = String::new();
    dashboard.request("/other").read_to_string(&mut missing).unwrap();
    assert!(missing.starts_with("HTTP/1.1 404 "));

    let Some(browser) = browser() else { return println!("no browser: left out") };
    let drawn = browse(&browser, &dashboard.address, &["--dump-dom"]);
    for part in ["data-draws=", "<svg", "/page/", "user:", "MiB", "evictions"] {
        assert!(drawn.contains(part), "{part} is missing in {drawn}");
    }
    assert!(drawn.matches("<svg").count() >= 5, "{drawn}");
    assert!(drawn.contains("&lt;script&gt;alert") && !drawn.contains("<script>alert"));
    if let Some(file) = std::env::var_os("DASHBOARD_SCREENSHOT") {
        let file = format!("--screenshot={}", Path::new(&file).display());
        browse(&browser, &dashboard.address, &[&file, "--window-size=1240,900", "--hide-scrollbars"]);
    }
}

#[test]
fn a_page_from_elsewhere_gets_no_answer() {
    let dashboard = Dashboard::start(&[]);
    let port = dashboard.address.rsplit(':').next().unwrap();
    for host in ["elsewhere.example", "127.0.0.1.elsewhere.example", "", "localhost.example:80"] {
        for path in ["/", "/events"] {
            assert_eq!(dashboard.status_of(host, path), "HTTP/1.1 403 Forbidden", "{host}");
        }
    }
    for host in [&dashboard.address, "localhost", &format!("LOCALHOST:{port}"), &format!("127.0.0.1:{port}")] {
        assert_eq!(dashboard.status_of(host, "/"), "HTTP/1.1 200 OK", "{host}");
    }
}

#[test]
fn a_trace_is_replayed_again_and_again() {
    let lines: String = (0..3_000).map(|page| format!("home,200\npage {page},1000\nhome,200\n")).collect();
    let trace = Scratch::new("lines.csv", format!("key,size\n{lines}").as_bytes());
    let dashboard = Dashboard::start(&["--trace", trace.path()]);
    // In the first round, a third of the reads miss. Later ones hit.
    dashboard.wait_for(&[r#""key":"home""#, r#""curve":[{"#, r#""hit_ratio":1"#], |_| true);
}

#[test]
fn a_trace_of_records_has_numbers_as_keys() {
    let record = |key: u64| [&key.to_le_bytes()[..], &500_u32.to_le_bytes(), &0_u32.to_le_bytes()].concat();
    let trace = Scratch::new("records.trc", &[77, 77, 1, 77, 2].map(record).concat());
    let dashboard = Dashboard::start(&["--trace", trace.path()]);
    dashboard.wait_for(&[r#""key":"77""#], |_| true);
}

#[test]
fn arguments_that_are_wrong_are_an_error() {
    let dashboard = Dashboard::start(&[]);
    let port = dashboard.address.rsplit(':').next().unwrap().to_string();
    for arguments in [&["--port"][..], &["--port", "x"], &["--other", "1"], &["--port", &port]] {
        let output = Command::new(example()).args(["--seconds", "1"]).args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
    }
    let traces = [
        ("none.csv", &b""[..], "no requests"),
        ("size.csv", b"a,1\nb,x\n", "after 1 requests: the size `x`"),
        ("columns.csv", b"a\n", "`a` is not key,size"),
        ("cut.trc", &[1; 17], "after 1 requests"),
        ("name.txt", b"a,1\n", "neither .trc nor .csv"),
    ];
    for (name, contents, reason) in traces {
        let trace = Scratch::new(name, contents);
        let output = Command::new(example()).args(["--seconds", "1", "--trace", trace.path()]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(reason) && error.contains(name), "{error}");
    }
}
