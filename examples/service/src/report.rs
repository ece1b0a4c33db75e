//! Messages to the operator.

use std::error::Error;

/// Writes what has failed, with the error and its sources, to the standard error.
pub fn report(what: &str, error: &(dyn Error + 'static)) {
    let sources = std::iter::successors(Some(error), |&error| error.source());
    let messages: Vec<_> = sources.map(ToString::to_string).collect();
    eprintln!("{what}: {}", messages.join(": "));
}
