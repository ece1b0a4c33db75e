//! [`Parameter`]: the name of a number or word that tunes a policy, and the values that it takes.
//!
//! Each is declared once, beside the configuration that it belongs to. The setter and the parser
//! both use it.

use core::ops::RangeInclusive;

use crate::error::{BuildError, ParsePolicyError};

/// A parameter of a policy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameter {
    policy: &'static str,
    name: &'static str,
    takes: Values,
}

/// The values that a parameter takes.
#[derive(Debug, PartialEq, Eq)]
enum Values {
    Numbers(RangeInclusive<u8>),
    Words(&'static [&'static str]),
}

/// A value that a parameter does not take.
#[derive(Debug)]
pub(crate) struct OutOfRange {
    policy: &'static str,
    parameter: &'static str,
    value: String,
    range: String,
}

impl From<OutOfRange> for BuildError {
    fn from(OutOfRange { policy, parameter, value, range }: OutOfRange) -> Self {
        Self::PolicyParameter { policy, parameter, value, range }
    }
}

impl From<OutOfRange> for ParsePolicyError {
    fn from(OutOfRange { policy, parameter, value, range }: OutOfRange) -> Self {
        Self::PolicyParameter { policy, parameter, value, range }
    }
}

impl Parameter {
    /// Creates a parameter that takes the numbers of `range`.
    pub(crate) const fn number(policy: &'static str, name: &'static str, range: RangeInclusive<u8>) -> Self {
        Self { policy, name, takes: Values::Numbers(range) }
    }

    /// Creates a parameter that takes one of `words`.
    pub(crate) const fn word(policy: &'static str, name: &'static str, words: &'static [&'static str]) -> Self {
        Self { policy, name, takes: Values::Words(words) }
    }

    /// Creates a parameter that is true or false.
    pub(crate) const fn flag(policy: &'static str, name: &'static str) -> Self {
        Self::word(policy, name, &["false", "true"])
    }

    /// Returns the name of the parameter in texts.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Returns `number` if it is in range.
    pub(crate) fn check(&self, number: u8) -> Result<u8, OutOfRange> {
        match &self.takes {
            Values::Numbers(range) if range.contains(&number) => Ok(number),
            _ => Err(self.out_of_range(&number.to_string())),
        }
    }

    /// Parses a number that is in range.
    pub(crate) fn parse_number(&self, text: &str) -> Result<u8, OutOfRange> {
        let number = text.parse().map_err(|_| self.out_of_range(text))?;
        self.check(number)
    }

    /// Parses a word, and returns its index among the words.
    pub(crate) fn parse_word(&self, text: &str) -> Result<usize, OutOfRange> {
        let place = match self.takes {
            Values::Words(words) => words.iter().position(|word| *word == text),
            Values::Numbers(_) => None,
        };
        place.ok_or_else(|| self.out_of_range(text))
    }

    /// Parses a flag.
    pub(crate) fn parse_flag(&self, text: &str) -> Result<bool, OutOfRange> {
        Ok(self.parse_word(text)? == 1)
    }

    fn out_of_range(&self, value: &str) -> OutOfRange {
        let range = match &self.takes {
            Values::Numbers(range) => format!("a number from {} to {}", range.start(), range.end()),
            Values::Words(words) => match words.split_last() {
                Some((last, others)) => format!("{} or {last}", others.join(", ")),
                None => String::new(),
            },
        };
        OutOfRange { policy: self.policy, parameter: self.name, value: value.to_owned(), range }
    }
}
