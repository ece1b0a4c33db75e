//! The resident memory of this process.
//!
//! Only anonymous memory counts. The program's own code is paged in when it first runs, which is no
//! growth of the cache.
//!
//! `smaps_rollup` walks the page tables and is exact. The count in `status` (and in `statm`) is
//! summed up from the processors' counts from time to time. It can be wrong by some hundred KiB, so
//! it is used only if there is no `smaps_rollup`.

/// Returns the anonymous resident bytes, or `None` if there is no `/proc`.
pub(crate) fn resident_bytes() -> Option<u64> {
    [("/proc/self/smaps_rollup", "Anonymous:"), ("/proc/self/status", "RssAnon:")]
        .iter()
        .find_map(|(file, field)| parse(&std::fs::read_to_string(file).ok()?, field))
}

/// Makes the allocator serve all threads from one heap. Must be called before a second thread
/// starts.
///
/// [`release_free_pages`] can give back all of that heap, but not the ends of other threads' heaps.
pub(crate) fn keep_one_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::mallopt(glibc::M_ARENA_MAX, 1);
}

/// Gives the allocator's free pages back to the system, if the allocator can be asked to.
///
/// Otherwise later allocations would be served from them, and their growth would not be seen.
pub(crate) fn release_free_pages() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    glibc::malloc_trim(0);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    use core::ffi::c_int;

    /// The constant of this name in glibc's `malloc.h`.
    pub(super) const M_ARENA_MAX: c_int = -8;

    // SAFETY: the signatures are those of `malloc.h`, where `size_t` is `usize`. Both functions
    // accept every argument and synchronize with the allocator's other functions.
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
