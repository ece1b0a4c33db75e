//! Progress bars, and the reading of traces with a progress bar.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use crate::trace::Trace;
use crate::trace::format::{Format, TraceError, load};

/// Returns a bar of `length` requests, on standard error.
pub(crate) fn of_requests(length: u64, message: String) -> ProgressBar {
    bar("{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}", length, message)
}

/// Reads a trace with a progress bar. Returns the name of its file, and the trace.
///
/// # Errors
///
/// Returns the errors of [`load`].
pub(crate) fn read(path: &Path, format: Option<Format>) -> Result<(String, Trace), TraceError> {
    let bar = bar("{msg} {wide_bar} {bytes}/{total_bytes}", 0, format!("reading {}", path.display()));
    let loaded = load(path, format, &bar);
    bar.finish_and_clear();
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    Ok((name, loaded?))
}

fn bar(template: &str, length: u64, message: String) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    ProgressBar::new(length).with_style(style).with_message(message)
}
