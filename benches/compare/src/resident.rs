//! The memory that this process occupies.

/// Returns the resident bytes of this process, after the allocator has given back what it could.
pub fn bytes() -> usize {
    #[cfg(target_env = "gnu")]
    // SAFETY: any thread may call this function at any time.
    unsafe {
        libc::malloc_trim(0);
    }
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: usize = statm.split(' ').nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    // SAFETY: the call returns a constant of the system.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    pages * usize::try_from(page_bytes).unwrap_or(4096)
}
