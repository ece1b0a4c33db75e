//! Parameters of the default policy.

use super::Adaptive;
use crate::policy::built_in::{BuiltIn, Parameters};
use crate::policy::parameter::{OutOfRange, Parameter};

/// Which hits [`Policy::Adaptive`](crate::Policy::Adaptive) maximises where sizes vary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Favor {
    /// Hits, each counted once: of two entries the smaller one stays. Written `"requests"`.
    #[default]
    Requests,
    /// Bytes of the hits: sizes make no difference to which entry leaves. Written `"bytes"`.
    Bytes,
}

impl Favor {
    const ALL: [Self; 2] = [Self::Requests, Self::Bytes];

    const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Bytes => "bytes",
        }
    }
}

/// Parameters of [`Policy::Adaptive`](crate::Policy::Adaptive).
///
/// ```
/// use bytecache::Policy;
/// use bytecache::policy::{AdaptiveConfig, Favor};
///
/// let policy = Policy::from(AdaptiveConfig::new().favor(Favor::Bytes));
/// assert_eq!(policy.to_string(), "adaptive(favor=bytes)");
/// assert_eq!("adaptive(favor=bytes)".parse::<Policy>()?, policy);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct AdaptiveConfig {
    pub(super) favor: Favor,
}

impl AdaptiveConfig {
    /// Its words are the names of [`Favor::ALL`].
    const FAVOR: Parameter = Parameter::word(Adaptive::NAME, "favor", &[Favor::ALL[0].name(), Favor::ALL[1].name()]);

    /// Returns the default parameters, which favor [`Favor::Requests`].
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::AdaptiveConfig;
    ///
    /// assert_eq!(Policy::from(AdaptiveConfig::new()), Policy::Adaptive);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets which hits the policy maximises.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::{AdaptiveConfig, Favor};
    ///
    /// let policy = Policy::from(AdaptiveConfig::new().favor(Favor::Bytes));
    /// assert_eq!(policy.to_string(), "adaptive(favor=bytes)");
    /// ```
    #[must_use]
    pub fn favor(mut self, favor: Favor) -> Self {
        self.favor = favor;
        self
    }
}

impl Parameters for AdaptiveConfig {
    fn values(self) -> Vec<(Parameter, String)> {
        vec![(Self::FAVOR, self.favor.name().to_owned())]
    }

    fn with(self, parameter: &Parameter, value: &str) -> Result<Self, OutOfRange> {
        Ok(self.favor(Favor::ALL[parameter.parse_word(value)?]))
    }
}
