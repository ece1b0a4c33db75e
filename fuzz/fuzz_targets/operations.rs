//! Applies any sequence of operations to a cache and to a map, and compares them. The crate's own
//! tests run the same model on random operations.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/operations.rs"]
mod operations;

use operations::{Operation, Setup};

fuzz_target!(|input: (Setup, Vec<Operation>)| operations::run(&input.0, input.1));
