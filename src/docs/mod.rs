//! How the cache works, and where it ends.

pub mod limitations;
