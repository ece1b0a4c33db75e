//! Typed values: to be written.
