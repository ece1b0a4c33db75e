//! Any operations against a map, the model that the crate's own tests run on drawn ones.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/operations.rs"]
mod operations;

use operations::{Operation, Setup};

fuzz_target!(|input: (Setup, Vec<Operation>)| operations::run(&input.0, input.1));
