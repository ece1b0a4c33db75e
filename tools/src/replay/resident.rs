//! How much memory of this process is resident.
//!
//! Anonymous memory only: the program's own code is paged in as it first runs, which is no growth
//! of the cache. `smaps_rollup` walks the page tables and is exact; the count in `status` (and in
//! `statm`) is summed up from the processors' counts now and then, and can be off by some hundred
//! KiB, so it serves only where there is nothing better.

/// The anonymous resident set, or `None` where there is no `/proc`.
pub(crate) fn resident_bytes() -> Option<u64> {
    [("/proc/self/smaps_rollup", "Anonymous:"), ("/proc/self/status", "RssAnon:")]
        .iter()
        .find_map(|(file, field)| parse(&std::fs::read_to_string(file).ok()?, field))
}

/// Has the allocator serve all threads from one heap; to be called before a second thread starts.
///
/// [`release_free_pages`] gets all of that heap back, but not the end of other threads' heaps.
pub(crate) fn keep_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::mallopt(glibc::M_ARENA_MAX, 1);
}

/// Gives the allocator's free pages back to the system, as far as it can be asked to.
///
/// What comes after would be served from them, and its growth would not be seen.
pub(crate) fn release_free_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::malloc_trim(0);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use core::ffi::c_int;

    /// As in glibc's `malloc.h`.
    pub(super) const M_ARENA_MAX: c_int = -8;

    // SAFETY: the signatures are those of `malloc.h`, where `size_t` is `usize`. Both functions
    // take every argument and synchronize with the allocator's other functions.
    unsafe extern "C" {
        pub(super) safe fn mallopt(parameter: c_int, value: c_int) -> c_int;
        pub(super) safe fn malloc_trim(kept_bytes: usize) -> c_int;
    }
}

fn parse(text: &str, field: &str) -> Option<u64> {
    let kibibytes = text.lines().find_map(|line| line.strip_prefix(field))?.trim().strip_suffix(" kB")?;
    Some(kibibytes.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_found_and_scaled() {
        let status = "Name:\treplay\nVmRSS:\t    9000 kB\nRssAnon:\t    2248 kB\n";
        assert_eq!(parse(status, "RssAnon:"), Some(2248 * 1024));
        assert_eq!(parse("Name:\treplay\n", "RssAnon:"), None);
    }
}
